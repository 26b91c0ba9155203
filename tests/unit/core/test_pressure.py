"""What piles up counts as load, beyond what chance explains; a target that is missed asks for a step, and no more."""

import math
from dataclasses import replace

import pytest

from pdscaler.core.decision import (
    Decision,
    Limit,
    PlanInputs,
    PlanState,
    PoolMemory,
    PoolState,
    Recommendation,
    TargetUnknown,
)
from pdscaler.core.plan import MOST_MARGIN, plan
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.pressure import DRAIN_S, MOST_PRESSURE, NOISE, pressure_of, step_up
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import SizingModel, SizingSpec
from pdscaler.core.workload import LengthStats, PoolLoad, Telemetry, WorkloadStats
from pdscaler.forecast.last_value import last_value
from support.core_cases import points_spec, scaling, telemetry

NOW_S = 10_000.0
LOAD = WorkloadStats(40.0, LengthStats(1500.0, 0.5), LengthStats(200.0, 0.5))
LONG_AGO = PlanState(PerPool(PoolMemory((Recommendation(NOW_S - 1, 1),)), PoolMemory((Recommendation(NOW_S - 1, 1),))))


def percentiles() -> SizingSpec:
    slo = Slo(LatencyTarget(0.4, Statistic.P99), LatencyTarget(0.015, Statistic.P99))
    return replace(points_spec(), slo=slo, model=SizingModel.AUTO)


def decide(reading: Telemetry, replicas: PerPool[PoolState], growth: float = 1.0) -> Decision:
    def forecaster(now: WorkloadStats, _: float) -> WorkloadStats:
        return replace(now, arrival_rate_rps=now.arrival_rate_rps * growth)

    targets: PerPool[PoolState | TargetUnknown] = PerPool(replicas.prefill, replicas.decode)
    return plan(
        scaling(percentiles()), PlanInputs(reading, targets), LONG_AGO, NOW_S, last_value if growth == 1 else forecaster
    )


def ready(counts: PerPool[int]) -> PerPool[PoolState]:
    return counts.map(lambda count: PoolState(count, count))


SETTLED = decide(telemetry(LOAD), ready(PerPool(9, 9))).pools.map(lambda pool: pool.recommended or 0)


def test_nothing_seen_adds_nothing() -> None:
    for pool in Pool:
        found = pressure_of(percentiles(), telemetry(LOAD), LOAD)[pool]
        assert (found.factor, found.missed, found.text) == (1.0, "", "")


def test_a_queue_is_drained_beside_what_arrives() -> None:
    allowed = 40.0 * 0.4
    plausible = allowed + NOISE * math.sqrt(allowed)
    assert queue(plausible) == 1.0
    assert queue(plausible + 600.0) == pytest.approx(1 + 600.0 / DRAIN_S / 40.0)
    assert queue(1e6) == MOST_PRESSURE
    for unknown in (None, math.nan, math.inf, -3.0):
        assert queue(unknown) == 1.0


def queue(waiting: float | None) -> float:
    reading = replace(telemetry(LOAD), prefill=PoolLoad(waiting_requests=waiting))
    found = pressure_of(percentiles(), reading, LOAD)
    assert found.decode.factor == 1.0
    return found.prefill.factor


@pytest.mark.parametrize(("observed_s", "stay_s"), [(0.010, 1.99), (0.050, 2.985), (None, 2.985)])
def test_resident_requests_are_a_load_by_littles_law(observed_s: float | None, stay_s: float) -> None:
    """A TPOT above the target does not make the load less: there are too few replicas."""
    expected = 40.0 * stay_s
    many = 1.5 * expected
    reading = replace(telemetry(LOAD), tpot_mean_s=observed_s, decode=PoolLoad(many - 7.0, 7.0))
    found = pressure_of(percentiles(), reading, LOAD)
    assert found.prefill.factor == 1.0
    assert found.decode.factor == pytest.approx(1.5 - NOISE / math.sqrt(expected))
    assert "resident requests count as a load" in found.decode.text
    few = replace(reading, decode=PoolLoad(0.0, expected + NOISE * math.sqrt(expected)))
    assert pressure_of(percentiles(), few, LOAD).decode.factor == 1.0


def test_what_has_piled_up_raises_its_own_pool_at_once_and_says_so() -> None:
    reading = replace(telemetry(LOAD), prefill=PoolLoad(waiting_requests=2000.0))
    decision = decide(reading, ready(SETTLED))
    assert decision.pools.prefill.change > 0
    assert decision.pools.decode.change == 0
    assert "2000 requests wait, to be drained within 60 s" in decision.pools.prefill.reason
    longer = replace(telemetry(LOAD), decode=PoolLoad(0.0, 400.0))
    decision = decide(longer, ready(SETTLED))
    assert decision.pools.decode.change > 0
    assert decision.pools.prefill.change == 0


MISSED = [
    ({"ttft_surely_s": 0.4}, Pool.PREFILL),
    ({"ttft_mean_s": 0.43}, Pool.PREFILL),
    ({"tpot_surely_s": 0.02}, Pool.DECODE),
    ({"tpot_mean_s": 0.016}, Pool.DECODE),
]


@pytest.mark.parametrize(("seen", "pool"), MISSED)
def test_a_missed_target_asks_for_one_step_more_than_the_model_says(seen: dict[str, float], pool: Pool) -> None:
    reading = replace(telemetry(LOAD), **seen)  # type: ignore[arg-type]
    decision = decide(reading, ready(SETTLED))
    assert decision.pools[pool].desired == step_up(SETTLED[pool])
    assert decision.pools[pool].limited_by == (Limit.SLO_MISSED,)
    assert "observed" in decision.pools[pool].reason
    assert decision.pools[pool.other].change == 0
    # It never runs away: with the step there, nothing more is asked for, however long the miss lasts.
    stepped = SETTLED.replace(pool, step_up(SETTLED[pool]))
    assert not decide(reading, ready(stepped)).changed
    # While what the model asks for is still starting, the miss is no news.
    starting = PoolState(SETTLED[pool], SETTLED[pool] - 1, 1)
    assert not decide(reading, ready(SETTLED).replace(pool, starting)).changed


@pytest.mark.parametrize(
    "seen",
    [
        {"ttft_bucket_s": (0.4, 0.6)},
        {"ttft_surely_s": 0.3},
        {"tpot_surely_s": 0.01},
        {"ttft_mean_s": 0.41},
        {"tpot_mean_s": 0.0155},
        {},
    ],
)
def test_a_bucket_or_a_mean_about_the_target_says_nothing(seen: dict[str, float]) -> None:
    assert not decide(replace(telemetry(LOAD), **seen), ready(SETTLED)).changed  # type: ignore[arg-type]


def test_a_mean_above_a_median_target_is_no_miss() -> None:
    spec = replace(percentiles(), slo=Slo(LatencyTarget(0.4, Statistic.P50), None))
    reading = replace(telemetry(LOAD), ttft_mean_s=5.0)
    assert pressure_of(spec, reading, LOAD).prefill.missed == ""


def test_fewer_must_suffice_with_a_margin_where_the_load_is_uncertain() -> None:
    """The load at the upper edge of a count: a certain one shrinks to it, an uncertain one does not."""
    base = decide(telemetry(LOAD), ready(PerPool(9, 9)))
    assert base.sizing is not None
    count = SETTLED.prefill
    edge_rps = base.sizing.pools.prefill.capacity_rps * base.sizing.pools.prefill.replicas * 0.99
    above = ready(PerPool(count + 1, 9))
    certain = decide(telemetry(replace(LOAD, arrival_rate_rps=edge_rps)), above)
    assert certain.pools.prefill.desired == count
    growth = 1.2
    uncertain = decide(telemetry(replace(LOAD, arrival_rate_rps=edge_rps / growth)), above, growth)
    assert uncertain.pools.prefill.recommended == count
    assert uncertain.pools.prefill.desired == count + 1
    assert uncertain.pools.prefill.limited_by == (Limit.SCALE_DOWN_MARGIN,)
    clear_rps = edge_rps / (1 + MOST_MARGIN) / 1.01
    clear = decide(telemetry(replace(LOAD, arrival_rate_rps=clear_rps / growth)), above, growth)
    assert clear.pools.prefill.desired == count
