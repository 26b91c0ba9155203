"""The demo's samples: what the model plans for them, and that its closed loop settles there, whatever the seed."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from localplane.demo_ahead import judge_foreseen
from localplane.demo_scenario import SAMPLES, scenario_of_phases, scenario_of_trace
from localplane.demo_types import Observation, PhaseResult, Served
from localplane.errors import LocalPlaneError
from pdscaler.api.parse import load_pddeployment, parse_pddeployment
from pdscaler.api.pddeployment import PDDeployment
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.sizing import size
from pdscaler.core.workload import WorkloadStats
from pdscaler.simulator.workload import read_phases
from support.rehearsal import Foresight, rehearse

PROFILE = {
    "source": "made up",
    "model": "m",
    "gpu": "g",
    "gpus_prefill": 4,
    "gpus_decode": 1,
    "max_kv_tokens": 400000,
    "prefill": [{"input_tokens": n, "batch": 1, "latency_ms": 10 + n / 40} for n in (100, 1000, 4000)],
    "decode": [
        {"batch": batch, "context_tokens": context, "tpot_ms": 5 + batch / 16, "consistent": True}
        for context in (500, 2000)
        for batch in (1, 32, 128)
    ],
}


def looking_ahead() -> PDDeployment:
    """Return the sample as it is once the demo has patched it."""
    document = yaml.safe_load((SAMPLES / "pddeployment.yaml").read_text())
    document["spec"]["forecast"] = {"method": "Auto"}
    return parse_pddeployment(document)


def test_each_phase_turns_the_plan() -> None:
    scenario = scenario_of_phases()
    plans = [(phase.name, phase.planned.prefill, phase.planned.decode) for phase in scenario.phases]
    assert plans == [
        ("quiet", 3, 2), ("surge", 5, 3), ("mix turns", 2, 5), ("night", 1, 1), ("dawn", 1, 1), ("morning", 5, 3),
        ("noon", 5, 3),
    ]  # fmt: skip
    assert scenario.duration_s == 210.0
    assert (scenario.namespace, scenario.name, scenario.model) == ("demo", "chat", "chat-small")
    quiet, surge, turned, night = scenario.phases[:4]
    assert surge.arrival_rate_rps > 1.9 * quiet.arrival_rate_rps
    assert turned.planned.prefill < surge.planned.prefill
    assert turned.planned.decode > surge.planned.decode
    assert all(night.planned[pool] < turned.planned[pool] for pool in Pool)
    assert all(before.end_s == after.begin_s for before, after in pairwise(scenario.phases))


def test_the_rise_is_foreseen_from_dawn_on() -> None:
    scenario = scenario_of_phases()
    assert [phase.name for phase in scenario.phases if phase.foreseen] == ["dawn", "morning", "noon"]
    assert scenario.looks_ahead_from_s == scenario.phases[4].begin_s
    assert [phase.name for phase in scenario.phases if phase.steps] == ["morning"]
    morning = scenario.phases[5]
    assert (morning.arrival_rate_rps, morning.arrival_rate_end_rps) == (12.0, 90.0)
    steps = [(step.pool.value, step.replicas) for step in morning.steps]
    assert steps == [("prefill", 2), ("decode", 2), ("prefill", 3), ("prefill", 4), ("decode", 3), ("prefill", 5)]
    assert scenario.spec.sizing.limits.prefill.startup_s == scenario.spec.sizing.limits.decode.startup_s == 20.0


def test_the_first_replicas_are_those_of_the_quiet_phase() -> None:
    """Whoever applies the targets has sized them; the demo's first surge is the first thing to scale for."""
    documents = yaml.safe_load_all((SAMPLES / "targets.yaml").read_text())
    replicas = {_role(item): item["spec"]["replicas"] for item in documents if item["kind"] == "Deployment"}
    planned = scenario_of_phases().phases[0].planned
    assert replicas == {"prefill": planned.prefill, "decode": planned.decode}


def test_noise_cannot_reach_the_next_count() -> None:
    """A window holds a few hundred requests: the needed count must be three and a half standard errors off."""
    scenario = scenario_of_phases()
    for phase, plan in zip(read_phases(SAMPLES / "phases.yaml"), scenario.phases, strict=True):
        if plan.foreseen:
            continue  # a forecast may hold a replica more
        answer = size(scenario.spec.sizing, WorkloadStats(phase.arrival_rate_rps, phase.isl, phase.osl))
        requests = phase.arrival_rate_rps * scenario.spec.window_s
        for pool, lengths in ((Pool.PREFILL, phase.isl), (Pool.DECODE, phase.osl)):
            needed = answer.pools[pool].required
            error = needed * ((1 + lengths.scv) / requests) ** 0.5
            assert answer.pools[pool].replicas - needed > 3.5 * error, (phase.name, pool)
            # Downwards the stabilisation window helps: a short dip changes nothing.
            assert needed - (answer.pools[pool].replicas - 1) > 2.5 * error, (phase.name, pool)


@pytest.mark.parametrize("seed", range(10))
def test_the_closed_loop_settles_as_planned(seed: int) -> None:
    scenario = scenario_of_phases()
    slo = scenario.spec.sizing.slo
    assert slo.ttft is not None
    assert slo.tpot is not None
    phases = read_phases(SAMPLES / "phases.yaml")[:4]
    seen = rehearse(scenario.spec, phases, seed)
    for phase in scenario.phases[:4]:
        # The first replicas fit; a change of the load is read over the window, then pods start.
        begin, end = int(phase.begin_s), int(phase.end_s)
        settled_s = begin + (5 if phase.name == "quiet" else 23 if phase.name == "night" else 29)
        tail = seen.ready[settled_s:end]
        assert len(tail) >= 10
        assert set(tail) == {phase.planned}
        assert set(seen.ordered[settled_s:end]) == {phase.planned}
        settled = [done for done in seen.done if settled_s + 1 <= done.request.arrival_s < end]
        assert sum(done.ttft_s for done in settled) / len(settled) <= slo.ttft.target_s
        tpots = [done.tpot_s for done in settled if done.tpot_s is not None]
        assert sum(tpots) / len(tpots) <= slo.tpot.target_s


def test_too_few_replicas_show_in_the_rehearsal() -> None:
    """The surge must hurt before it is answered, or the demo would prove nothing."""
    scenario = scenario_of_phases()
    seen = rehearse(scenario.spec, read_phases(SAMPLES / "phases.yaml")[:2], 0)
    early = [done.ttft_s for done in seen.done if 23 <= done.request.arrival_s < 33]
    assert sum(early) / len(early) > 0.5


def _morning(foresight: Foresight | None, seed: int) -> PhaseResult:
    scenario = scenario_of_phases()
    slo = scenario.spec.sizing.slo
    assert slo.ttft is not None
    assert slo.tpot is not None
    seen = rehearse(scenario.spec, read_phases(SAMPLES / "phases.yaml"), seed, foresight=foresight)
    counts = zip(seen.ordered, seen.ready, strict=True)
    looks = [
        Observation(float(second), ordered, ready, PerPool(None, None), None, None, None)
        for second, (ordered, ready) in enumerate(counts, 1)
    ]
    served = [
        Served(
            done.request.arrival_s, 0.0, 0.0, done.ttft_s, done.tpot_s, done.e2e_s,
            done.ttft_s <= slo.ttft.target_s, done.tpot_s is None or done.tpot_s <= slo.tpot.target_s,
        )
        for done in sorted(seen.done, key=lambda done: done.request.arrival_s)
    ]  # fmt: skip
    return judge_foreseen(scenario.phases[5], looks, served, slo)


@pytest.mark.parametrize(("seed", "late_s"), [(0, 0.0), (1, -2.0), (2, 2.0)])
def test_the_morning_is_met_ahead(seed: int, late_s: float) -> None:
    """Also where the day begins two seconds off the days before: pods are not ready to the second."""
    scenario = scenario_of_phases()
    from_s = scenario.looks_ahead_from_s
    assert from_s is not None
    # The history has come 4 s after it was asked for.
    result = _morning(Foresight(looking_ahead(), from_s + 4.0, late_s), seed)
    assert result.problems == ()
    assert all(step.ready_s is not None and step.ready_s < step.step.needed_s - 2.0 for step in result.steps)
    assert result.attainment is not None
    assert result.attainment.joint > 0.99


def test_without_a_forecast_the_morning_is_met_late() -> None:
    result = _morning(None, 0)
    assert all(step.ordered_s is None or step.ordered_s > step.step.needed_s for step in result.steps)
    assert sum("not met ahead" in problem for problem in result.problems) == len(result.steps)
    assert result.attainment is not None
    assert result.attainment.joint < 0.3


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    rows = [f"{second / 10},{800 + 40 * (second % 11)},{100 + 10 * (second % 7)}" for second in range(1000)]
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *rows]) + "\n")
    return path


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(PROFILE))
    return path


def test_a_trace_is_played_on_a_measured_profile(trace: Path, profile: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    scenario = scenario_of_trace(trace, profile, 60.0, 2.0, out)
    assert scenario.load == ("--trace", str(trace), "--rate-scale", "2.0", "--duration", "60s")
    assert scenario.phases == ()
    loaded = load_pddeployment(scenario.resource)
    assert loaded.spec.prefill.gpus_per_replica == 4
    assert loaded.spec.decode.gpus_per_replica == 1
    slo = scenario.spec.sizing.slo
    assert slo.ttft is not None
    assert slo.tpot is not None
    # Five passes over 1 000 tokens of 35 ms and 20 ms of overhead; 1.5 times 5.06 ms; both rounded up.
    assert slo.ttft.target_s == pytest.approx(0.2, abs=0.01)
    assert slo.tpot.target_s == pytest.approx(0.0076)
    assert scenario.spec.sizing.decode_derate == 0.9
    targets = list(yaml.safe_load_all(scenario.targets.read_text()))
    assert {_role(item): _gpus(item) for item in targets if item["kind"] == "Deployment"} == {
        "prefill": "4",
        "decode": "1",
    }


def test_a_trace_without_requests_is_refused(trace: Path, profile: Path, tmp_path: Path) -> None:
    with pytest.raises(LocalPlaneError, match=r"trace\.csv: fewer than two requests arrive in the first 0\.05 seconds"):
        scenario_of_trace(trace, profile, 0.05, 1.0, tmp_path)


def _role(deployment: dict[str, Any]) -> str:
    return str(deployment["spec"]["selector"]["matchLabels"]["role"])


def _gpus(deployment: dict[str, Any]) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
