"""Both commands from end to end, on little work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench.sizing import reference, report, same_work
from bench.sizing.engines import engine_of, every_decode_row
from bench.sizing.planners import PLANNERS

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.sizing", *arguments], cwd=ROOT, check=False, capture_output=True, text=True
    )


@pytest.mark.long
def test_a_trial_judges_its_cases_and_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    document = tmp_path / "docs" / "document.md"
    document.parent.mkdir()
    document.write_text(f"{report.BEGIN}\n{report.END}\n")
    arguments = ("--cases", "1", "--workers", "1", "--output", str(tmp_path), "--document", str(document))
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "cases.jsonl").read_text().splitlines()
    answer = json.loads(line)
    assert set(answer["planners"]) == {planner.name for planner in PLANNERS}
    assert answer["prefill"] >= 1
    assert answer["planners"]["verified"]["meets_ttft"]
    assert answer["planners"]["verified"]["meets_tpot"]
    assert "1 cases, seed 1" in document.read_text()
    assert (document.parent / "images" / "sizing-benchmark.png").exists()
    again = run(*arguments, "--resume")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "cases.jsonl").read_text().splitlines() == [line]


def test_no_case_is_refused() -> None:
    done = run("--cases", "0")
    assert done.returncode == 2
    assert "--cases" in done.stderr


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A pass of 10 ms and 20 us a token; a step of 5 ms, 50 us a request and 20 ns a KV token."""
    path = tmp_path / "engine.json"
    rows = [(context, batch) for context in (1000, 4000) for batch in (1, 20, 100)]
    document = {
        "model": "small",
        "gpus_prefill": 1,
        "gpus_decode": 1,
        "max_kv_tokens": 300_000,
        "prefill": [{"input_tokens": n, "latency_ms": 10 + 0.02 * n} for n in (500, 2000, 4000, 8000)],
        "decode": [
            {
                "context_tokens": c,
                "batch": b,
                "tpot_ms": 5 + 0.05 * b + 2e-5 * b * c,
                "consistent": (c, b) != (4000, 20),
            }
            for c, b in rows
        ],
    }
    path.write_text(json.dumps(document))
    return path


def test_the_same_work_is_planned_and_simulated(
    measured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "FEWEST_REQUESTS", 5000)
    monkeypatch.setattr(reference, "CONFIRMED_REQUESTS", 5000)
    monkeypatch.setattr(reference, "MOST_REQUESTS", 5000)
    monkeypatch.setattr(same_work, "ROWS", ((20.0, 1000, 100, 0.2, 0.02),))
    monkeypatch.setattr(same_work, "CLIFF_TPOT_S", (0.02, 0.004))
    monkeypatch.setattr(same_work, "CLIFF", (20.0, 1000, 100, 0.2))
    monkeypatch.setattr(sys, "argv", ["same_work", "--profile", str(measured)])
    same_work.main()
    output = capsys.readouterr().out
    work, _, cliff = output.partition("The cliff")
    for name in ("ours, mean", "ours, P95", "Dynamo current", "Dynamo classic"):
        assert work.count(name) == 1
        assert cliff.count(name) == 2
    # Twenty passes of 30 ms a second want one replica; a step of one request takes 5.07 ms.
    assert "1P1D" in work
    assert "cannot be" in cliff


def test_the_current_planner_of_nvidia_sees_every_row(measured: Path) -> None:
    engine = engine_of(measured)
    assert len(engine.decode.points) == 5
    assert len(every_decode_row(engine, measured).decode.points) == 6


def test_a_missing_file_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["same_work", "--profile", "nowhere.json"])
    with pytest.raises(SystemExit) as stopped:
        same_work.main()
    assert stopped.value.code == 2
    assert "cannot be read" in capsys.readouterr().err
