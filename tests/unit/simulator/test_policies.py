"""The first policies: the hand-tuned rule by hand, what our policy makes of its observation, the names."""

import math

import pytest

from pdscaler.core.decision import PoolState
from pdscaler.core.pools import PerPool
from pdscaler.core.workload import NoData, NoDataReason, Telemetry
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies import POLICIES, Setting, make_policy
from pdscaler.simulator.policies.expectation import LearnedExpectation, last_minute
from pdscaler.simulator.policies.last_minute import LastMinute
from pdscaler.simulator.policies.ours import Ours, telemetry_of
from pdscaler.simulator.replay import replay
from pdscaler.simulator.scrapes import ScrapeLog
from support.replays import Scripted, clock, spec_of, stream

SETTING = Setting(spec_of(), PerPool(3, 4))
ONE = PerPool(PoolState(3, 3), PoolState(4, 4))
NOTHING = Observation(15.0, ONE, ScrapeLog(), 0)


def observed(rates: list[tuple[float, float]]) -> list[Observation]:
    counts = PerPool(20, 20)
    policy = Scripted(lambda _: counts)
    replay(SETTING.spec, clock(rates), policy, counts)
    return policy.seen


def test_every_name_makes_a_policy_that_decides_without_any_data() -> None:
    for name in POLICIES:
        wanted = make_policy(name, SETTING).decide(NOTHING, 15.0)
        assert wanted.replicas == PerPool(3, 4)
    with pytest.raises(InvalidInputError, match=r'--policy: "keda" is unknown \(there are: pdscaler, '):
        make_policy("keda", SETTING)


def test_the_rule_divides_the_rate_by_the_throughput() -> None:
    """1500 tokens take 20 ms + 1400 / 1900 · 30 ms = 42.1 ms: 23.75 requests/s for each prefill replica."""
    seen = observed([(600, 60.0)])
    policy = LastMinute(Setting(SETTING.spec, PerPool(1, 1)))
    wanted = policy.decide(seen[-1], seen[-1].now_s)
    surface_step_s = 0.015  # the TPOT target binds: the largest batch within it
    assert wanted.replicas.prefill == math.ceil(60.0 / (23.75 * 0.7))
    # Between contexts of 1000 and 8000 at 1530: the batch b solves step(b) = 15 ms; b / (0.015 · 59) requests/s.
    share = (1530 - 1000) / 7000

    def step_s(batch: int) -> float:
        low = 0.0044 + (batch - 1) * (0.012 - 0.0044) / 99 if batch <= 100 else 0.012 + (batch - 100) * 0.00007
        high = 0.014 + (batch - 40) * 0.0004 if batch >= 40 else 0.0046 + (batch - 1) * (0.014 - 0.0046) / 39
        return low + (high - low) * share

    batch = max(each for each in range(1, 161) if step_s(each) <= surface_step_s)
    assert 40 < batch < 160
    assert wanted.replicas.decode == math.ceil(60.0 / (batch / (step_s(batch) * 59) * 0.7))
    assert wanted.reasons.prefill == "60 requests/s at 70% of 23.7 per replica"


def test_the_rule_holds_its_peak_for_a_while() -> None:
    seen = observed([(300, 60.0), (1500, 6.0)])
    policy = LastMinute(Setting(SETTING.spec, PerPool(1, 9)), hold_s=600.0)
    wanted = {each.now_s: policy.decide(each, each.now_s).replicas for each in seen}
    high, low = wanted[300.0].prefill, wanted[1785.0].prefill
    assert high > 2 * low
    assert wanted[885.0].prefill == high
    assert wanted[1005.0].prefill == low  # the last minute with the high rate ended at 375
    # What it began with is a peak, too: its first decision is at 30.
    assert wanted[615.0].decode == 9 > wanted[630.0].decode


def test_ours_reads_what_the_operator_reads() -> None:
    seen = observed([(600, 20.0)])
    early = telemetry_of(seen[1], SETTING.spec)  # two scrapes: covers 27.5 s of 180 s
    assert isinstance(early, NoData)
    assert early.reason is NoDataReason.NO_DATA
    assert isinstance(telemetry_of(NOTHING, SETTING.spec), NoData)
    reading = telemetry_of(seen[20], SETTING.spec)
    assert isinstance(reading, Telemetry)
    assert reading.observed_at_s == seen[20].now_s - 5.0
    assert reading.workload.arrival_rate_rps == pytest.approx(20.0)
    assert reading.workload.isl is not None
    assert reading.workload.osl is not None
    assert (reading.workload.isl.mean_tokens, reading.workload.osl.mean_tokens) == (1500, 60)
    assert reading.ttft_mean_s is not None
    assert reading.ttft_bucket_s is not None
    assert reading.ttft_bucket_s[0] <= reading.ttft_mean_s <= reading.ttft_bucket_s[1]  # all are alike
    assert reading.tpot_mean_s is not None
    assert reading.decode.running_requests == pytest.approx(20.0 * 59 * reading.tpot_mean_s, abs=2)


def test_arrivals_without_an_answer_yet_are_no_data() -> None:
    """Answers of 20 000 tokens take minutes: nothing is known of OSL, and nothing is decided."""
    policy = Scripted(lambda _: PerPool(4, 9))
    replay(SETTING.spec, clock([(120, 2.0)], osl=20_000), policy, PerPool(4, 9))
    reading = telemetry_of(policy.seen[6], SETTING.spec)
    assert isinstance(reading, NoData)
    assert reading.message == "2 requests/s arrive, and no answer has finished yet"


def test_silence_is_a_load_of_zero() -> None:
    seen = observed([(120, 2.0), (600, 1 / 599)])
    reading = telemetry_of(seen[25], SETTING.spec)
    assert isinstance(reading, Telemetry)
    assert reading.workload.arrival_rate_rps == 0.0
    assert reading.workload.isl is None


def test_a_forecast_that_learns_is_pluggable() -> None:
    """It orders for more than is seen now: a quantile of the next peak, and never for less."""
    requests = stream([(1500, 25.0)])
    learned, plain = Ours(SETTING, LearnedExpectation), Ours(SETTING)
    ahead, now = (replay(SETTING.spec, requests, policy, PerPool(2, 2)) for policy in (learned, plain))
    assert learned.decision is not None
    assert plain.decision is not None
    assert learned.decision.workload is not None
    assert plain.decision.workload is not None
    assert learned.decision.workload.arrival_rate_rps > plain.decision.workload.arrival_rate_rps
    assert ahead.attainment.joint >= now.attainment.joint
    assert ahead.gpu_hours >= now.gpu_hours


def test_the_history_keeps_the_last_minute() -> None:
    seen = observed([(300, 10.0), (300, 40.0)])
    assert last_minute(seen[0]) is None
    reading = last_minute(seen[24])  # 375 s: 75 s after the step
    assert reading is not None
    assert reading.arrival_rate_rps == pytest.approx(40.0)
