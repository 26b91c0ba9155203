"""Laws of what is seen now: whatever the gauges say, it is bounded, and never lowers a need."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pdscaler.core.decision import PlanInputs, PlanState, PoolState
from pdscaler.core.plan import plan
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.pressure import MOST_PRESSURE, pressure_of
from pdscaler.core.workload import LengthStats, PoolLoad, Telemetry, WorkloadStats
from pdscaler.forecast.last_value import last_value
from support.core_cases import points_spec, scaling, telemetry

gauges = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0.0, 5000.0)


@st.composite
def readings(draw: st.DrawFn) -> Telemetry:
    load = WorkloadStats(draw(st.floats(0.1, 500.0)), LengthStats(1500.0, 0.5), LengthStats(200.0, 0.5))
    return replace(
        telemetry(load),
        ttft_mean_s=draw(gauges),
        tpot_mean_s=draw(gauges),
        prefill=PoolLoad(draw(gauges), draw(gauges)),
        decode=PoolLoad(draw(gauges), draw(gauges)),
    )


@given(readings())
def test_pressure_is_bounded(reading: Telemetry) -> None:
    found = pressure_of(points_spec(), reading, reading.workload)
    for each in (found.prefill, found.decode):
        assert 1.0 <= each.factor <= MOST_PRESSURE
        assert bool(each.text) == (each.factor > 1.0)


@given(readings(), st.integers(1, 30), st.integers(1, 30))
def test_what_is_seen_never_lowers_an_order_and_moves_its_own_pool_only(
    reading: Telemetry, prefill: int, decode: int
) -> None:
    def desired(seen: Telemetry) -> PerPool[int | None]:
        inputs = PlanInputs(seen, PerPool(PoolState(prefill, prefill), PoolState(decode, decode)))
        return plan(scaling(points_spec()), inputs, PlanState(), 1000.0, last_value).pools.map(
            lambda pool: pool.desired
        )

    blind = telemetry(reading.workload)
    none, both = desired(blind), desired(reading)
    queue_only = desired(replace(blind, prefill=reading.prefill, ttft_mean_s=reading.ttft_mean_s))
    for pool in Pool:
        assert (both[pool] or 0) >= (none[pool] or 0)
    assert queue_only.decode == none.decode
    assert queue_only.prefill == both.prefill
