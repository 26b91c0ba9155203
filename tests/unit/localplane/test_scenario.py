"""The demo's samples: what the model plans for them, and that its closed loop settles there, whatever the seed."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from localplane.demo_scenario import SAMPLES, scenario_of_phases, scenario_of_trace
from localplane.errors import LocalPlaneError
from pdscaler.api.parse import load_pddeployment
from pdscaler.core.pools import Pool
from pdscaler.core.sizing import size
from pdscaler.core.workload import WorkloadStats
from pdscaler.simulator.workload import read_phases
from support.rehearsal import rehearse

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


def test_each_phase_turns_the_plan() -> None:
    scenario = scenario_of_phases()
    plans = [(phase.name, phase.planned.prefill, phase.planned.decode) for phase in scenario.phases]
    assert plans == [("quiet", 2, 1), ("surge", 5, 3), ("mix turns", 2, 5), ("night", 1, 2)]
    assert scenario.duration_s == 180.0
    assert (scenario.namespace, scenario.name) == ("demo", "chat")
    quiet, surge, turned, night = scenario.phases
    assert surge.arrival_rate_rps == 3 * quiet.arrival_rate_rps
    assert turned.planned.prefill < surge.planned.prefill
    assert turned.planned.decode > surge.planned.decode
    assert all(night.planned[pool] < turned.planned[pool] for pool in Pool)
    assert all(before.end_s == after.begin_s for before, after in pairwise(scenario.phases))


def test_noise_cannot_reach_the_next_count() -> None:
    """A window holds a few hundred requests: the needed count must be three and a half standard errors off."""
    spec = scenario_of_phases().spec
    for phase in read_phases(SAMPLES / "phases.yaml"):
        answer = size(spec.sizing, WorkloadStats(phase.arrival_rate_rps, phase.isl, phase.osl))
        requests = phase.arrival_rate_rps * spec.window_s
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
    seen = rehearse(scenario.spec, read_phases(SAMPLES / "phases.yaml"), seed)
    for phase in scenario.phases:
        begin, end = int(phase.begin_s), int(phase.end_s)
        tail = seen.ready[begin + 29 : end]
        assert len(tail) >= 5
        assert set(tail) == {phase.planned}
        assert set(seen.ordered[begin + 29 : end]) == {phase.planned}
        settled = [done for done in seen.done if begin + 30 <= done.request.arrival_s < end]
        assert sum(done.ttft_s for done in settled) / len(settled) <= slo.ttft.target_s
        tpots = [done.tpot_s for done in settled if done.tpot_s is not None]
        assert sum(tpots) / len(tpots) <= slo.tpot.target_s


def test_too_few_replicas_show_in_the_rehearsal() -> None:
    """The surge must hurt before it is answered, or the demo would prove nothing."""
    scenario = scenario_of_phases()
    seen = rehearse(scenario.spec, read_phases(SAMPLES / "phases.yaml"), 0)
    early = [done.ttft_s for done in seen.done if 38 <= done.request.arrival_s < 48]
    assert sum(early) / len(early) > 0.5


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
