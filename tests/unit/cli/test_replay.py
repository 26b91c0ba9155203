"""``pdscaler replay``: the JSON contract, decisions.csv, the table, exit statuses and errors."""

import csv
import hashlib
import io
import math
import os
import shlex
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from pdscaler.cli.output import WIDTH
from pdscaler.cli.replay import _progress
from pdscaler.units import format_number, format_share
from support.commands import answer, command
from support.reports import parsed

SAMPLE = Path(__file__).parents[3] / "deploy/samples/deepseek-v31.yaml"
PHASES = """
phases:
- {name: calm, duration: 300s, arrivalRate: 4, inputTokens: {mean: 3000, scv: 0.5}, outputTokens: {mean: 200}}
- {name: surge, duration: 600s, arrivalRate: 16, inputTokens: {mean: 3000, scv: 0.5}, outputTokens: {mean: 200}}
"""


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of an hour whose rate triples on the way."""
    rng = np.random.default_rng(4)
    arrival_s = np.sort(np.concatenate((900 * rng.random(3600), 400 + 500 * rng.random(4000))))
    path = tmp_path_factory.mktemp("replay") / "tripled.csv"
    rows = zip(arrival_s, rng.geometric(1 / 6000, len(arrival_s)), rng.geometric(1 / 500, len(arrival_s)), strict=True)
    lines = [f"{at_s:.4f},{inputs},{outputs}" for at_s, inputs, outputs in rows]
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *lines]), encoding="utf-8")
    return path


def run(*args: object) -> Result:
    return command("replay", *args)


def replay(*args: object) -> dict[str, Any]:
    return answer("replay", *args)


def gpu_hours(rows: list[dict[str, str]], begin_s: float, end_s: float) -> float:
    """The GPU-hours of a decisions.csv, 8 GPUs to a replica."""
    times = [float(row["time_s"]) for row in rows]
    total = 0.0
    for row, since_s, until_s in zip(rows, times, [*times[1:], math.inf], strict=True):
        held_s = max(0.0, min(until_s, end_s) - max(since_s, begin_s))
        total += 8 * (int(row["prefill"]) + int(row["decode"])) * held_s / 3600
    return total


def test_the_answer_is_the_contract_and_adds_up_with_the_decisions(trace: Path, tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    options = ("-f", SAMPLE, "--trace", trace, "--startup", "60s", "--measure-from", "5m", "--decisions", path)
    answer = replay(*options)
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["time_s", "prefill", "decode"]
    assert answer["initial"] == f"{rows[0]['prefill']}P{rows[0]['decode']}D"
    assert rows[0]["time_s"] == "0"
    assert len(rows) > 2  # it did scale
    assert all(float(row["time_s"]) % 15 == 0 for row in rows)
    arrivals = np.loadtxt(trace, delimiter=",", skiprows=1)[:, 0]
    assert answer["requests"] == (arrivals >= 300).sum()
    assert answer["measured"] == {"from_s": 300.0, "until_s": arrivals.max()}
    assert answer["gpu_hours"] == pytest.approx(gpu_hours(rows, 300.0, arrivals.max()))
    assert answer["gpu_hours_with_drain"] >= answer["gpu_hours"]
    late = [row for row in rows if float(row["time_s"]) >= 300]
    changes = sum(
        before[pool] != row[pool] for before, row in pairwise(rows) if row in late for pool in ("prefill", "decode")
    )
    assert answer["scale_operations"] == changes > 0
    held = [rows[len(rows) - len(late) - 1], *late]  # what holds when the measurement begins counts, too
    assert answer["max_gpus"] == max(8 * (int(row["prefill"]) + int(row["decode"])) for row in held)
    assert 0 < answer["attainment"]["joint"] <= min(answer["attainment"]["ttft"], answer["attainment"]["tpot"]) <= 1
    assert 0 < answer["bound_gpu_hours"] <= answer["oracle_gpu_hours"]
    assert replay(*options, "--no-oracle")["oracle_gpu_hours"] is None
    assert answer["policy"] == "pdscaler"
    assert any("begins with the plan for the first 180s" in note for note in answer["warnings"])
    assert replay(*options) == answer  # to the last bit


def test_static_holds_the_initial_counts(trace: Path) -> None:
    answer = replay("-f", SAMPLE, "--trace", trace, "--policy", "static", "--initial", "3p4d", "--rate-scale", "0.5")
    assert (answer["initial"], answer["scale_operations"], answer["max_gpus"]) == ("3P4D", 0, 56)
    assert answer["gpu_hours"] == pytest.approx(56 * answer["measured"]["until_s"] / 3600)
    assert answer["attainment"]["joint"] > 0.9
    assert answer["warnings"] == []


def test_phases_are_a_trace_too(tmp_path: Path) -> None:
    path = tmp_path / "phases.yaml"
    path.write_text(PHASES, encoding="utf-8")
    one, other = (replay("-f", SAMPLE, "--phases", path, "--policy", "last-minute", "--seed", seed) for seed in (1, 2))
    assert one["requests"] == pytest.approx(300 * 4 + 600 * 16, rel=0.05)
    assert one["requests"] != other["requests"]  # the seed draws them


def test_the_table_says_what_it_cost_and_attained(trace: Path) -> None:
    result = run("-f", SAMPLE, "--trace", trace, "--policy", "static", "--initial", "4P5D")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= WIDTH
    for words in ("policy static", "tripled.csv, 7600 requests", "2s (mean)", "within both", "GPU-hours", "4P5D"):
        assert words in result.stdout
    assert result.stderr == ""  # no bar where there is no terminal


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--trace: is required (or --phases FILE)"),
        (("--trace", "TRACE", "--phases", "x.yaml"), "--trace: excludes --phases"),
        (("--phases", "x.yaml", "--rate-scale", "2"), "--rate-scale: goes with --trace"),
        (
            ("--trace", "TRACE", "--report", "/nowhere/r.html"),
            "--report: /nowhere/r.html cannot be written: there",
        ),
        (("--trace", "TRACE", "--report", "/"), "--report: / cannot be written: is a folder"),
        (("--trace", "TRACE", "--report", "x" * 300), f"--report: {'x' * 300} cannot be written: file name too long"),
        (("--trace", "TRACE", "--report", "TRACE"), "--report: TRACE cannot be written: it is read by this command"),
        (
            ("--trace", "TRACE", "--report", "same", "--decisions", "./same"),
            "--report: same is where --decisions",
        ),
        (("--trace", "TRACE", "--policy", "magic"), '--policy: "magic" is unknown (there are: pdscaler, static,'),
        (("--trace", "TRACE", "--initial", "7"), '--initial: "7" is not like 7P5D'),
        (("--trace", "TRACE", "--initial", "0P5D"), "--initial: 0 prefill replicas are out of bounds (minReplicas 1"),
        (("--trace", "TRACE", "--startup", "soon"), "--startup: "),
        (("--trace", "TRACE", "--measure-from", "2h"), "--measure-from: leaves nothing to measure: the last request"),
        (("--trace", "TRACE", "--decisions", "/nowhere/d.csv"), "--decisions: /nowhere/d.csv cannot be written"),
        (("--trace", "missing.csv"), "missing.csv: cannot be read: no such file"),
    ],
)
def test_bad_input_is_one_line(trace: Path, options: tuple[str, ...], message: str) -> None:
    result = run("-f", SAMPLE, *(trace if option == "TRACE" else option for option in options))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {message.replace('TRACE', str(trace))}")
    assert result.stderr.count("\n") == 1


def test_the_report_repeats_the_answer_and_the_command(trace: Path, tmp_path: Path) -> None:
    page, decisions = tmp_path / "a report.html", tmp_path / "decisions.csv"
    page.write_text("an old one", encoding="utf-8")
    page.chmod(0o640)
    options = ("-f", SAMPLE, "--trace", trace, "--startup", "1m", "--measure-from", "5m", "--initial", "3p4d")
    answer = replay(*options, "--report", page, "--decisions", decisions, "--rate-scale", "0.5")
    document = parsed(page.read_text(encoding="utf-8"))
    assert page.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a report.html", "decisions.csv"]
    tiles = {tile.one("dt").text: [node.text for node in tile.all("dd")] for tile in document.one("dl").all("div")}
    assert tiles["Within both targets"][0] == format_share(answer["attainment"]["joint"])
    assert tiles["GPU-hours"][0] == format_number(answer["gpu_hours"], 4)
    ratio = format_number(answer["gpu_hours"] / answer["oracle_gpu_hours"])
    assert tiles["Against hindsight"][0] == f"{ratio}×"
    (orders,) = [table for table in document.all("table") if table.one("caption").text == "Orders"]
    with decisions.open(encoding="utf-8") as file:
        assert len(orders.one("tbody").all("tr")) == len(list(csv.DictReader(file))) - 1
    # The trace's hash, and a command that does the same again.
    assert hashlib.sha256(trace.read_bytes()).hexdigest() in document.text
    assert SAMPLE.read_text(encoding="utf-8") in document.text
    (command,) = [code.text for code in document.all("code") if code.text.startswith("pdscaler replay ")]
    written = page.read_bytes()
    words = shlex.split(command)
    assert words[words.index("--startup") + 1] == "60s"
    assert words[words.index("--initial") + 1] == "3P4D"
    assert words[words.index("--report") + 1] == str(page)
    assert words[-2:] == ["-o", "json"]
    assert replay(*words[2:-2]) == answer
    assert page.read_bytes() == written


def test_a_report_into_a_pipe_is_written_as_it_is(trace: Path, tmp_path: Path) -> None:
    """What is no regular file is not replaced by one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text, "utf-8")
        result = run("-f", SAMPLE, "--trace", trace, "--policy", "static", "--no-oracle", "--report", pipe)
        assert result.exit_code == 0, result.output
        assert read.result(30).startswith("<!DOCTYPE html>")
    assert pipe.is_fifo()


def test_a_report_that_cannot_be_written_in_the_end_is_one_line(trace: Path) -> None:
    result = run("-f", SAMPLE, "--trace", trace, "--policy", "static", "--no-oracle", "--report", "/dev/full")
    assert result.exit_code == 2
    assert result.stderr == "error: --report: /dev/full cannot be written: no space left on device\n"


def test_the_bar_names_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with _progress() as stage:
        tell = stage("replaying")
        assert tell is not None
        tell(0.5)
        stage("lower bound")
    said = terminal.getvalue()
    assert 0 <= said.rindex("replaying") < said.rindex("lower bound")


def test_too_little_load_to_plan_for_begins_with_the_least(tmp_path: Path) -> None:
    path = tmp_path / "seldom.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n0,100,5\n900,100,1\n", encoding="utf-8")
    answer = replay("-f", SAMPLE, "--trace", path)
    assert answer["initial"] == "1P1D"
    assert answer["attainment"]["joint"] == 1.0
    assert any("begins with the least replicas" in note for note in answer["warnings"])
