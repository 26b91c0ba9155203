"""The smallest pair, against looking at every pair."""

import numpy as np
import pytest
from bench.sizing import reference
from bench.sizing.reference import Floats, Reference, Verdict, least

from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, DecodeProfile, PrefillPoint, PrefillProfile
from pdscaler.core.simulation.outcome import summary
from pdscaler.core.simulation.requests import draw_requests
from pdscaler.core.simulation.run import Deployment, simulate
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.workload import LengthStats, WorkloadStats

DEPLOYMENT = Deployment(
    PrefillProfile((PrefillPoint(500.0, 0.04), PrefillPoint(4000.0, 0.30)), max_batched_tokens=2048),
    DecodeProfile(
        (DecodePoint(1000.0, 1.0, 0.010), DecodePoint(1000.0, 40.0, 0.030)), max_batch=40, kv_capacity_tokens=60_000
    ),
)
WORKLOAD = WorkloadStats(30.0, LengthStats(800.0, 1.0), LengthStats(60.0, 0.5), arrival_scv=1.5)
SLO = Slo(LatencyTarget(0.35, Statistic.P90), LatencyTarget(0.016))


@pytest.mark.parametrize("start", [1, 2, 7, 30, 64])
@pytest.mark.parametrize("truth", [1, 2, 3, 8, 31, 32, 64])
def test_least_finds_the_step_wherever_it_starts(truth: int, start: int) -> None:
    tried: list[int] = []

    def meets(count: int) -> bool:
        tried.append(count)
        return count >= truth

    assert least(meets, start, 64) == truth
    assert len(tried) == len(set(tried))
    assert len(tried) <= 14


def test_next_to_the_start_it_takes_two_looks() -> None:
    tried: list[int] = []

    def meets(count: int) -> bool:
        tried.append(count)
        return count >= 200

    assert least(meets, 200, 1000) == 200
    assert tried == [200, 199]


def test_nothing_up_to_the_limit_is_none() -> None:
    assert least(lambda _: False, 3, 50) is None


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "FEWEST_REQUESTS", 6000)
    monkeypatch.setattr(reference, "CONFIRMED_REQUESTS", 6000)
    monkeypatch.setattr(reference, "MOST_REQUESTS", 6000)


@pytest.mark.usefixtures("short")
def test_the_smallest_pair_is_that_of_brute_force() -> None:
    requests = draw_requests(WORKLOAD, 6000, seed=5)
    met = {}
    for prefill in range(1, 6):
        for decode in range(1, 6):
            found = summary(simulate(DEPLOYMENT, requests, PerPool(prefill, decode), seed=5), SLO)
            ratios = found.ttft_s.p90.value / 0.35, found.tpot_s.mean.value / 0.016
            met[prefill, decode] = all(ratio <= 1 for ratio in ratios)
            assert all(abs(ratio - 1) > 0.01 for ratio in ratios), "a case on the edge tells nothing"
    smallest = min((pair for pair, both in met.items() if both), key=sum)
    assert min(smallest) > 1, "so that one fewer can be looked at in both pools"
    for start in (PerPool(1, 1), PerPool(5, 5)):
        judge = Reference(DEPLOYMENT, WORKLOAD, SLO, seed=5)
        assert judge.smallest(start, 50) == PerPool(*smallest)
        assert judge.ttft(smallest[0]).meets
        assert judge.tpot(*smallest).meets
        assert not judge.ttft(smallest[0] - 1).within
        assert not judge.tpot(smallest[0], smallest[1] - 1).within


@pytest.mark.usefixtures("short")
def test_a_target_below_the_service_time_has_no_smallest_pair() -> None:
    slo = Slo(LatencyTarget(0.03), LatencyTarget(0.016))
    assert Reference(DEPLOYMENT, WORKLOAD, slo, seed=5).smallest(PerPool(2, 2), 20) is None


def test_a_simulation_lasts_until_it_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "FEWEST_REQUESTS", 4000)
    monkeypatch.setattr(reference, "MOST_REQUESTS", 64_000)
    clear = Reference(DEPLOYMENT, WORKLOAD, SLO, seed=5)
    assert clear.ttft(1).requests == 4000
    value_s = clear.ttft(3).value_s
    close = Reference(DEPLOYMENT, WORKLOAD, Slo(LatencyTarget(value_s, Statistic.P90), SLO.tpot), seed=5)
    assert close.ttft(3).requests > 4000


class Deceptive(Reference):
    """Two prefill replicas hold for a while, and then no more; three hold, and so does any decode pool."""

    def _ttfts(self, prefill: int, count: int) -> Floats:
        late = prefill == 1 or (prefill == 2 and count > 10_000)
        return np.linspace(0.9, 1.1, count) if late else np.linspace(0.1, 0.2, count)

    def _tpots(self, prefill: int, decode: int, count: int) -> Floats:
        return np.full(count, 0.001)


def test_a_short_simulation_does_not_say_that_a_count_suffices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "FEWEST_REQUESTS", 5000)
    monkeypatch.setattr(reference, "CONFIRMED_REQUESTS", 20_000)
    judge = Deceptive(DEPLOYMENT, WORKLOAD, SLO, seed=5)
    assert judge.ttft(2).within
    assert judge.smallest(PerPool(2, 1), 50) == PerPool(3, 1)
    assert not judge.ttft(2).within
    assert judge.ttft(3).requests == 20_000


def test_the_tolerance_is_the_plan_s_not_the_smallest_pair_s() -> None:
    just_above = Verdict(1.015, 0.001, 1000, 1.0)
    assert just_above.meets
    assert not just_above.within
    assert not Verdict(1.021, 0.001, 1000, 1.0).meets
    assert just_above.settled
    assert not Verdict(1.015, 0.004, 1000, 1.0).settled
    assert not Verdict(1.015, 0.004, 1000, 1.0).unsure
    assert Verdict(0.997, 0.004, 1000, 1.0).unsure
