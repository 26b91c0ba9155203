"""``pdscaler plan``: the JSON contract, the table, exit statuses and errors."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from pdscaler.cli.output import WIDTH, terminal_width
from support.commands import answer, command, variant

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "deploy/samples/paper-mm1.yaml"
PAPER = ("--arrival-rate", "12.52", "--input-tokens", "6144", "--output-tokens", "512")
STATISTICS = ["mean", "p50", "p90", "p95", "p99"]


def run(*args: object) -> Result:
    return command("plan", *args)


def plan(*args: object, status: int = 0) -> dict[str, Any]:
    return answer("plan", *args, status=status)


def test_the_papers_scenario() -> None:
    answer = plan("-f", SAMPLE, *PAPER)
    assert answer["feasible"] is True
    assert (answer["label"], answer["gpus"], answer["limitedBy"]) == ("4P4D", 64, [])
    prefill, decode = answer["prefill"], answer["decode"]
    assert (prefill["replicas"], decode["replicas"]) == (4, 4)
    assert round(prefill["required"], 2) == 3.07
    assert round(decode["required"], 2) == 3.74
    assert prefill["capacity_rps"] * 6144 == pytest.approx(25075, abs=1)
    assert decode["capacity_rps"] * 512 == pytest.approx(1714, abs=1)
    assert prefill["utilization"] == pytest.approx(prefill["required"] / 4)
    assert (prefill["binding"], decode["binding"]) == ("TTFT", "TPOT")


def test_the_papers_scenario_without_rounding_of_the_rate() -> None:
    rate = 5e6 / 60 / (6144 + 512)
    answer = plan("-f", SAMPLE, "--arrival-rate", rate, "--input-tokens", 6144, "--output-tokens", 512)
    assert round(answer["prefill"]["required"], 2) == 3.07
    assert round(answer["decode"]["required"], 2) == 3.74


def test_the_keys_are_the_contract() -> None:
    answer = plan("-f", SAMPLE, *PAPER)
    contract = {"feasible", "label", "gpus", "limitedBy", "prefill", "decode", "predicted", "whatIf"}
    assert contract <= set(answer)
    for pool in ("prefill", "decode"):
        assert {"replicas", "required", "utilization", "capacity_rps", "binding"} <= set(answer[pool])
    assert list(answer["predicted"]) == ["ttft_s", "tpot_s"]
    assert list(answer["predicted"]["ttft_s"]) == list(answer["predicted"]["tpot_s"]) == STATISTICS
    assert {(entry["prefill"], entry["decode"]) for entry in answer["whatIf"]} == {(3, 4), (5, 4), (4, 3), (4, 5)}
    assert {(entry["prefill"], entry["decode"]) for entry in answer["whatIf"] if entry["feasible"]} == {(5, 4), (4, 5)}
    for entry in answer["whatIf"]:
        assert entry["gpus"] == 8 * (entry["prefill"] + entry["decode"])
        assert list(entry["predicted"]["ttft_s"]) == STATISTICS


def test_predictions_meet_the_targets_and_one_fewer_does_not() -> None:
    answer = plan("-f", SAMPLE, *PAPER)
    assert answer["predicted"]["ttft_s"]["mean"] <= 2.0
    assert answer["predicted"]["tpot_s"]["mean"] <= 0.02
    by_pair = {(entry["prefill"], entry["decode"]): entry["predicted"] for entry in answer["whatIf"]}
    assert by_pair[3, 4]["ttft_s"]["mean"] > 2.0
    assert by_pair[4, 3]["tpot_s"]["mean"] > 0.02


def test_an_impossible_target_exits_3_with_one_document(tmp_path: Path) -> None:
    path = variant(SAMPLE, tmp_path, ("target: 20ms", "target: 5ms"))
    answer = plan("-f", path, *PAPER, status=3)
    assert answer["feasible"] is False
    assert answer["limitedBy"] == ["ServiceTimeExceedsSLO"]
    assert answer["decode"]["required"] is None, "no count suffices, and infinity is no JSON"
    assert "TPOT 5ms cannot be met" in answer["infeasibleReason"]
    assert answer["prefill"]["replicas"] == 4, "the other pool is not touched by it"


def test_a_budget_that_binds_exits_3_and_names_it(tmp_path: Path) -> None:
    path = variant(SAMPLE, tmp_path, ("maxGPUs: 128", "maxGPUs: 48"))
    answer = plan("-f", path, *PAPER, status=3)
    assert answer["gpus"] <= 48
    assert "MaxGPUs" in answer["limitedBy"]
    assert answer["predicted"]["ttft_s"]["mean"] is None or answer["predicted"]["ttft_s"]["mean"] > 0


def test_nothing_arrives() -> None:
    answer = plan("-f", SAMPLE, "--arrival-rate", 0, "--input-tokens", 6144, "--output-tokens", 512)
    assert (answer["label"], answer["feasible"]) == ("1P1D", True)
    assert answer["prefill"]["binding"] == answer["decode"]["binding"] == "MinReplicas"


def test_prefix_hits_spare_prefill_only() -> None:
    without, hits = plan("-f", SAMPLE, *PAPER), plan("-f", SAMPLE, *PAPER, "--prefix-hit-ratio", "0.5")
    assert hits["prefill"]["required"] < without["prefill"]["required"] / 2 + 0.1
    assert hits["decode"]["required"] == without["decode"]["required"]


def test_figures_that_the_model_does_not_use_are_named() -> None:
    answer = plan("-f", SAMPLE, *PAPER, "--arrival-scv", "2", "--input-tokens-scv", "0.9")
    assert "--input-tokens-scv, --arrival-scv: the model PaperMM1 uses mean lengths" in answer["warnings"][0]
    assert plan("-f", SAMPLE, *PAPER)["warnings"] == []


def auto(tmp_path: Path) -> Path:
    return variant(SAMPLE, tmp_path, ("model: PaperMM1", "model: Auto"))


def test_the_formula_is_not_simulated() -> None:
    for extra in ((), ("--verify",), ("--no-verify",)):
        answer = plan("-f", SAMPLE, *PAPER, *extra)
        assert (answer["label"], answer["verified"], answer["simulatedRequests"]) == ("4P4D", False, 0)
        assert answer["margin"] == {"ttft": None, "tpot": None}
        assert answer["served_rps"] == pytest.approx(4 * answer["decode"]["capacity_rps"])


def test_auto_is_settled_by_simulation(tmp_path: Path) -> None:
    answer = plan("-f", auto(tmp_path), *PAPER)
    assert answer["verified"] is True
    assert answer["simulatedRequests"] > 1000
    for name, target_s in (("ttft", 2.0), ("tpot", 0.02)):
        assert answer["margin"][name] == pytest.approx(
            1 - answer["predicted"][f"{name}_s"]["mean"] / target_s, abs=0.02
        )
        assert answer["margin"][name] > 0
    assert answer["served_rps"] > 12.52
    assert answer["warnings"] == [], "this model uses what it is given"


def test_auto_without_simulation(tmp_path: Path) -> None:
    answer = plan("-f", auto(tmp_path), *PAPER, "--no-verify", "--arrival-scv", "2")
    assert (answer["verified"], answer["simulatedRequests"], answer["verification"]) == (False, 0, None)
    assert answer["warnings"] == []
    assert "simulated" not in run("-f", auto(tmp_path), *PAPER, "--no-verify").stdout
    varied = plan("-f", auto(tmp_path), *PAPER, "--no-verify", "--input-tokens-scv", "4")
    assert varied["prefill"]["required"] > answer["prefill"]["required"]


def test_the_table_says_what_simulation_came_to(tmp_path: Path) -> None:
    text = " ".join(run("-f", auto(tmp_path), *PAPER).stdout.split())
    assert "simulated verified: TTFT at " in text
    assert "requests)" in text


def test_the_load_served_is_named_where_no_change_names_it(tmp_path: Path) -> None:
    fixed = variant(
        SAMPLE,
        tmp_path,
        ("minReplicas: 1\n    maxReplicas: 16", "minReplicas: 4\n    maxReplicas: 4"),
        ("minReplicas: 1\n    maxReplicas: 32", "minReplicas: 4\n    maxReplicas: 4"),
    )
    assert "serves up to 13.4 requests/s of this mix" in " ".join(run("-f", fixed, *PAPER).stdout.split())
    assert "serves up to" not in " ".join(run("-f", SAMPLE, *PAPER).stdout.split())


def test_yaml_says_the_same() -> None:
    result = run("-f", SAMPLE, *PAPER, "-o", "yaml")
    assert yaml.safe_load(result.stdout) == plan("-f", SAMPLE, *PAPER)


def test_the_table_answers_first() -> None:
    result = run("-f", SAMPLE, *PAPER)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    words = [" ".join(line.split()) for line in lines]
    assert words[0] == "deepseek-v31: 4P4D, 64 GPUs 12.5 requests/s × (6144 in + 512 out) = 5 M tokens/min"
    assert words[2] == "replicas needed load at this plan target what binds"
    assert lines[3].split()[:5] == ["prefill", "4", "3.07", "77", "%"]
    assert "TTFT mean 777ms" in lines[3]
    assert lines[4].split()[:5] == ["decode", "4", "3.74", "93", "%"]
    assert "batch 34.3 at 20ms: 1 fewer gives 24.4ms" in lines[4]
    text = "\n".join(lines)
    assert "next change   at 13.4 requests/s decode needs 5;  below 12.2 prefill 3 suffices" in text
    assert "one less      3P4D: TTFT 2.4s (over by 20 %)      4P3D: TPOT 24.4ms (over by 22 %)" in text
    assert "\x1b" not in result.stdout, "no colour where no terminal is"


def test_the_table_says_why_there_is_no_plan(tmp_path: Path) -> None:
    path = variant(SAMPLE, tmp_path, ("target: 20ms", "target: 5ms"))
    result = run("-f", path, *PAPER)
    assert result.exit_code == 3
    first = result.stdout.splitlines()[0]
    assert first.startswith(
        "no plan: TPOT 5ms cannot be met: one request alone decodes at 12.8ms/token on this engine."
    )
    assert "best within the constraints" in result.stdout
    assert "limited by    ServiceTimeExceedsSLO" in result.stdout


@pytest.mark.parametrize("rate", ["0", "0.001", "3", "12.52", "60", "100000"])
@pytest.mark.parametrize("statistic", ["Mean", "P99"])
@pytest.mark.parametrize("lengths", [("1", "1"), ("100", "5000"), ("6144", "512"), ("250000", "2")])
def test_the_table_stays_below_120_columns(tmp_path: Path, rate: str, statistic: str, lengths: tuple[str, str]) -> None:
    path = variant(SAMPLE, tmp_path, ("statistic: Mean", f"statistic: {statistic}"))
    result = run("-f", path, "--arrival-rate", rate, "--input-tokens", lengths[0], "--output-tokens", lengths[1])
    assert result.exit_code in (0, 3)
    assert max(map(len, result.stdout.splitlines())) < 120
    assert "inf" not in result.stdout.replace("infeasible", "")
    assert "nan" not in result.stdout


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("tpot", ["20ms", "5ms"])
def test_the_table_fits_a_narrow_terminal(
    tmp_path: Path, width: int, tpot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdscaler.cli.plan.terminal_width", lambda: width)
    result = run("-f", variant(SAMPLE, tmp_path, ("target: 20ms", f"target: {tpot}")), *PAPER)
    assert max(map(len, result.stdout.splitlines())) <= width
    assert "queueing: 1 fewer gives 2.4s" in result.stdout


def test_a_terminal_is_as_wide_as_it_is_but_not_wider_than_120(monkeypatch: pytest.MonkeyPatch) -> None:
    assert terminal_width() == WIDTH, "a pipe has no width"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for columns, width in (("80", 80), ("300", WIDTH), ("10", 40)):
        monkeypatch.setenv("COLUMNS", columns)
        assert terminal_width() == width


def test_a_single_objective(tmp_path: Path) -> None:
    path = variant(SAMPLE, tmp_path, ("    tpot: {target: 20ms, statistic: Mean}\n", ""))
    answer = plan("-f", path, *PAPER)
    assert round(answer["prefill"]["required"], 2) == 3.07
    table = run("-f", path, *PAPER).stdout
    row = next(line for line in table.splitlines() if line.startswith("  decode"))
    assert row.split()[-1] == "–", "no target is a dash"


TRACE = "arrival_s,input_tokens,output_tokens\n" + "".join(
    f"{second:.3f},1000,200\n" for second in [*range(0, 600, 2), *(600 + n / 10 for n in range(600))]
)
"""Ten minutes at 0.5 requests/s, then one minute at 10."""


def test_a_trace_is_sized_for_its_busiest_minute(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE, encoding="utf-8")
    by_trace = plan("-f", SAMPLE, "--trace", path)
    by_figures = plan("-f", SAMPLE, "--arrival-rate", 10, "--input-tokens", 1000, "--output-tokens", 200)
    assert by_trace["prefill"]["required"] == pytest.approx(by_figures["prefill"]["required"])
    assert by_trace["decode"]["required"] == pytest.approx(by_figures["decode"]["required"])
    assert by_trace["warnings"][:2] == [
        "the load is that of the busiest 60 s of 900 requests (10 requests/s, mean 1.36)",
        "sized by formula for that load: no request was replayed",
    ]
    tripled = plan("-f", SAMPLE, "--trace", path, "--rate-scale", 3, status=0)
    assert tripled["decode"]["required"] > 2 * by_trace["decode"]["required"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "missing option '-f' / '--file' (pdscaler plan --help shows what is possible)"),
        (("-f", "nix.yaml", *PAPER), "nix.yaml: cannot be read: no such file or directory"),
        (("-f", SAMPLE), "--arrival-rate: is required (or --trace FILE)"),
        (
            ("-f", SAMPLE, "--arrival-rate", "1", "--input-tokens", "5"),
            "--output-tokens: is required (or --trace FILE)",
        ),
        (("-f", SAMPLE, *PAPER, "--arrival-rate", "many"), '--arrival-rate: "many" is not a number'),
        (
            ("-f", SAMPLE, *PAPER, "--arrival-rate", "nan"),
            "--arrival-rate: nan must be at least 0 and at most 10000000",
        ),
        (("-f", SAMPLE, *PAPER, "--arrival-rate", "-1"), "--arrival-rate: -1 must be at least 0 and at most 10000000"),
        (("-f", SAMPLE, *PAPER, "--arrival-rate", "inf"), "--arrival-rate: inf must be at least 0"),
        (("-f", SAMPLE, *PAPER, "--input-tokens", "0"), "--input-tokens: 0 must be at least 1 and at most 100000000"),
        (("-f", SAMPLE, *PAPER, "--prefix-hit-ratio", "1"), "--prefix-hit-ratio: 1 must be at least 0 and below 1"),
        (("-f", SAMPLE, *PAPER, "--rate-scale", "2"), "--rate-scale: goes with --trace"),
        (("-f", SAMPLE, *PAPER, "--trace", "t.csv"), "--arrival-rate: excludes --trace: the trace says it"),
        (("-f", SAMPLE, "--trace", "nix.csv"), "nix.csv: cannot be read"),
        (("-f", SAMPLE, *PAPER, "-o", "xml"), "'xml' is not one of 'table', 'json', 'yaml'"),
        (("-f", SAMPLE, *PAPER, "--arival-rate", "1"), "no such option '--arival-rate'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(args: tuple[object, ...], words: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words.lower() in result.stderr.lower()


def test_what_only_the_core_checks_names_the_file_too(tmp_path: Path) -> None:
    path = variant(SAMPLE, tmp_path, ("contextTokens: 6400, batch: 10,", "contextTokens: 5000, batch: 10,"))
    result = run("-f", path, *PAPER)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {path}: spec.decode.profile.points: contextTokens 5000 has one batch only")


def test_a_bad_resource_names_file_and_field(tmp_path: Path) -> None:
    path = variant(SAMPLE, tmp_path, ("target: 2s", "target: fast"))
    result = run("-f", path, *PAPER)
    assert result.exit_code == 2
    assert result.stderr == (
        f'error: {path}: spec.slo.ttft.target: "fast" is not a duration (write 2s, 350ms or 6500us)\n'
    )


def test_the_real_command_imports_no_heavy_library(tmp_path: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pdscaler", "plan", "-f", str(SAMPLE), *PAPER, "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "4P4D"
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "pdscaler" in imported
    assert not imported & {"kubernetes", "kopf", "scipy", "aiohttp", "rich", "prometheus_api_client", "matplotlib"}
