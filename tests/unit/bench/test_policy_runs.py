"""Cases from files and flags, the tuning, and the command from end to end on little work."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bench.policy import runs
from bench.policy.cases import ENGINE, Case, cases_of, recorded, requests_of, spec_of, synthetic
from bench.policy.runs import TUNED, Job, Reference, Run, answer
from bench.policy.sources import behaviour, version

from pdscaler.core.pools import PerPool
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.policies import POLICIES

ROOT = Path(__file__).resolve().parents[3]
SHORT = replace(synthetic(names=["step"])[0], hours=0.2, measure_from_s=300.0)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "azure2023_code.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n" + "".join(f"{n},{500 + n % 7},20\n" for n in range(1200)))
    return path


def test_a_known_file_brings_its_targets(trace: Path) -> None:
    known = trace.with_name("azure2023_code.csv.gz")
    known.write_bytes(trace.read_bytes())  # what is packed is told by its first bytes, not by its name
    (found,) = recorded([known], ENGINE, {})
    assert (found.name, found.ttft_s, found.tpot_s, found.rate_scale, found.measure_from_s) == (
        "code",
        0.6,
        0.015,
        20,
        900,
    )
    spec = spec_of(Case(found, startup_s=15.0)).sizing
    assert spec.slo.ttft is not None
    assert spec.slo.ttft.target_s == 0.6
    assert spec.limits.decode.startup_s == 15.0


def test_other_files_need_targets(trace: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"ttft: is missing: what is the target of azure2023_code\.csv"):
        recorded([trace], ENGINE, {})
    (found,) = recorded([trace], ENGINE, {"ttft": "1s", "tpot": "20ms", "rateScale": 2.0})
    assert (found.name, found.ttft_s, found.measure_from_s) == ("azure2023_code", 1.0, 900.0)
    assert len(requests_of(Case(found))) == 2400
    assert len(requests_of(Case(found, rate_factor=0.5))) == 1200


def test_a_list_of_traces(trace: Path) -> None:
    listed = trace.with_name("mine.yaml")
    listed.write_text(f"traces:\n- {{file: {trace.name}, name: mine, ttft: 500ms, tpot: 20ms, measureFrom: 5m}}\n")
    (found,) = recorded([listed], ENGINE, {})
    assert (found.name, found.file, found.measure_from_s, found.rate_scale) == ("mine", trace, 300.0, 1.0)
    with pytest.raises(InvalidInputError, match="two traces are named mine"):
        recorded([listed, listed], ENGINE, {})
    for text, problem in (
        ("traces: []\n", "traces: expected a list of at least one trace"),
        ("traces:\n- {name: x}\n", r"traces\[0\]: expected a mapping with file"),
        (f"traces:\n- {{file: {trace.name}, ttfb: 1s}}\n", r"traces\[0\]\.ttfb: unknown field \(known: file, "),
        (f"traces:\n- {{file: {trace.name}, ttft: 1s, tpot: 1s, rateScale: -1}}\n", "rateScale: is -1, expected"),
    ):
        listed.write_text(text)
        with pytest.raises(InvalidInputError, match=problem):
            recorded([listed], ENGINE, {})


def test_one_thing_is_varied_at_a_time_or_all() -> None:
    few = cases_of([SHORT], [0.5, 2.0], [15.0, 600.0], every=False)
    assert [(case.rate_factor, case.startup_s) for case in few] == [
        (1.0, 120.0), (1.0, 15.0), (1.0, 600.0), (0.5, 120.0), (2.0, 120.0),
    ]  # fmt: skip
    assert [case.is_base for case in few] == [True, False, False, False, False]
    assert len(cases_of([SHORT], [0.5, 1.0, 2.0], [15.0, 120.0, 600.0], every=True)) == 9


def test_a_measured_profile_is_an_engine(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    document = {
        "gpus_prefill": 2,
        "gpus_decode": 4,
        "max_kv_tokens": 300_000,
        "prefill": [{"input_tokens": n, "latency_ms": 10 + 0.02 * n} for n in (500, 2000, 4000)],
        "decode": [
            {"context_tokens": c, "batch": b, "tpot_ms": 5 + 0.05 * b} for c in (500, 2000) for b in (1, 20, 100)
        ],
    }
    path.write_text(json.dumps(document))
    spec = spec_of(Case(replace(SHORT, engine=path))).sizing
    assert spec.limits.map(lambda limits: limits.gpus_per_replica) == PerPool(2, 4)
    assert spec.decode_profile.kv_capacity_tokens == 300_000
    assert spec.prefill_profile.points[1].latency_s == pytest.approx(0.05)


def test_a_reference_and_a_run() -> None:
    case = Case(SHORT)
    reference = answer(Job(case))
    assert isinstance(reference, Reference)
    assert 0 < reference.bound_gpu_hours <= reference.oracle_gpu_hours
    assert reference.oracle_reached
    static = answer(Job(case, "static", initial=reference.static))
    assert isinstance(static, Run)
    assert static.joint >= 0.99
    assert static.gpu_hours == pytest.approx(sum(reference.static) * 420 / 3600, rel=0.01)
    assert static.scale_operations == 0
    assert static.requests == (requests_of(case).arrival_s >= 300).sum()
    assert static.fingerprint == reference.fingerprint
    assert runs.print_of(replace(case, startup_s=60.0)) != reference.fingerprint


def test_tuning_takes_the_cheapest_that_reaches_the_goal_on_the_training_part() -> None:
    case = Case(SHORT, startup_s=30.0)
    tuned = answer(Job(case, "tokenscale", TUNED, (2, 2)))
    assert isinstance(tuned, Run)
    knob = POLICIES["tokenscale"].knob
    assert knob is not None
    assert tuned.option in knob.values
    assert tuned.option == runs.tuned(case, "tokenscale", PerPool(2, 2))
    # Nothing of the measured part is seen: it may be anything.
    longer = replace(case, trace=replace(SHORT, hours=0.3))
    assert runs.tuned(longer, "tokenscale", PerPool(2, 2)) == tuned.option


def test_versions_tell_what_a_result_rests_on() -> None:
    assert len({version("reference"), version("pdscaler"), version("hpa")}) == 3
    assert version("hpa") == version("dopd")
    first = behaviour()
    behaviour.cache_clear()
    assert behaviour() == first  # the simulation repeats itself


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.policy", *arguments], cwd=ROOT, check=False, capture_output=True, text=True
    )


@pytest.mark.long
def test_a_quick_run_writes_its_lines_and_its_document_and_goes_on(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "document.md"
    page.parent.mkdir()
    page.write_text("<!-- bench-policy:begin -->\n<!-- bench-policy:end -->\n")
    arguments = (
        *("--quick", "--synthetic", "step", "--policies", "static", "hpa-batch"),
        *("--workers", "1", "--output", str(tmp_path)),
    )
    done = bench(*arguments, "--document", str(page))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines].count("reference") == 1
    assert {line["policy"] for line in lines if line["kind"] == "run"} == {"static", "hpa-batch"}
    assert "| hpa-batch |" in page.read_text()
    assert (page.parent / "images" / "policy-benchmark-synthetic.png").exists()
    kept = (tmp_path / "runs.jsonl").read_text()
    again = bench(*arguments)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "runs.jsonl").read_text() == kept


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    done = bench("--traces", str(tmp_path / "none.csv"), "--ttft", "1s", "--tpot", "20ms", "--output", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "none.csv" in done.stderr
    assert "Traceback" not in done.stderr
