"""Laws of calibration on line: whatever is read, it is bounded and deterministic, and garbage teaches nothing."""

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pdscaler.core.calibration import DERATE_BOUNDS
from pdscaler.core.corrections import MOST_EXTRA_S, NOTHING, EngineCorrection, corrected
from pdscaler.core.decision import PoolState, TargetUnknown, Trouble
from pdscaler.core.live_calibration import CalibrationState, learn
from pdscaler.core.operating_point import MOST_POINTS
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.sizing import size
from pdscaler.core.workload import LengthStats, NoData, PoolLoad, Telemetry, WorkloadStats
from support.calibrating import ISL, OSL, SLOW, Observed, auto_spec
from support.core_cases import no_data

anything = st.floats(allow_nan=True, allow_infinity=True)
sane = st.floats(0.001, 10.0)
figures = st.none() | anything | sane
lengths = st.none() | st.builds(LengthStats, anything | st.floats(1.0, 1e5), anything | st.floats(0.0, 4.0))


@st.composite
def readings(draw: st.DrawFn) -> Telemetry | NoData:
    if draw(st.integers(0, 9)) == 0:
        return no_data()
    reading = Observed().reading(40.0)
    rate = draw(anything | st.floats(0.0, 200.0))
    workload = WorkloadStats(rate, draw(lengths), draw(lengths), 1.0, draw(anything | st.floats(0.0, 0.9)))
    return replace(
        reading,
        workload=workload,
        ttft_mean_s=draw(figures),
        tpot_mean_s=draw(figures),
        prefill=PoolLoad(draw(figures)),
        decode=PoolLoad(draw(figures)),
    )


targets = st.just(TargetUnknown("FailedGetScale", "not found")) | st.builds(
    PoolState,
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
    st.none() | st.sampled_from(Trouble),
)


def bounded(state: CalibrationState) -> None:
    for pool in (state.pools.prefill, state.pools.decode):
        assert DERATE_BOUNDS[0] <= pool.correction.derate <= DERATE_BOUNDS[1]
        assert abs(pool.correction.extra_s) <= MOST_EXTRA_S
        assert len(pool.points) <= MOST_POINTS
        for point in pool.points:
            assert math.isfinite(point.latency_s)
            assert point.latency_s > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(readings(), targets, targets, st.floats(-30.0, 400.0)), max_size=12))
def test_whatever_is_read_nothing_crashes_and_nothing_is_learnt_from_it(
    seen: list[tuple[Telemetry | NoData, PoolState | TargetUnknown, PoolState | TargetUnknown, float]],
) -> None:
    """Moments that have nothing to do with each other are never steady."""
    observed, states = Observed(), [CalibrationState(), CalibrationState()]
    now_s = observed.now_s
    for reading, prefill, decode, later_s in seen:
        now_s += later_s
        current = replace(reading, observed_at_s=now_s - 5.0) if isinstance(reading, Telemetry) else reading
        states = [learn(state, observed.spec, current, PerPool(prefill, decode), now_s) for state in states]
        bounded(states[0])
    assert states[0] == states[1]
    assert states[0].corrections == NOTHING


@settings(max_examples=20, deadline=None)
@given(
    st.floats(1e-4, 1e4) | st.floats(0.3, 3.0),
    st.floats(1e-4, 1e4) | st.floats(0.3, 3.0),
    st.lists(st.floats(0.5, 150.0), min_size=1, max_size=4),
    st.integers(1, 6),
)
def test_whatever_engines_do_the_correction_is_bounded(
    ttft: float, tpot: float, rates: list[float], replicas: int
) -> None:
    def distort(reading: Telemetry, since_s: float) -> Telemetry:
        known = [value for value in (reading.ttft_mean_s, reading.tpot_mean_s) if value is not None]
        return replace(reading, ttft_mean_s=known[0] * ttft, tpot_mean_s=known[1] * tpot)

    observed = Observed(distort=distort, replicas=PerPool(replicas, replicas))
    for rate in rates:
        bounded(observed.run((600.0, rate)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 79), st.sampled_from(["unready", "rollout", "no data", "surge", "queue"]))
def test_one_bad_moment_keeps_its_window_from_being_a_point(at: int, what: str) -> None:
    """No point's window, nor the time to settle before it, holds the moment that was not steady."""
    observed = Observed(SLOW)
    bad_s = observed.now_s + 15.0 * (at + 1)

    def target(pool: Pool, state: PoolState, since_s: float) -> PoolState:
        if observed.now_s != bad_s:
            return state
        return replace(state, ready_replicas=2) if what == "unready" else replace(state, rollout=what == "rollout")

    def distort(reading: Telemetry, since_s: float) -> Telemetry:
        if observed.now_s != bad_s:
            return reading
        if what == "surge":
            return replace(reading, workload=replace(reading.workload, arrival_rate_rps=70.0))
        waiting = PoolLoad(waiting_requests=500.0 if what == "queue" else 0.0)
        return replace(reading, prefill=waiting, decode=waiting)

    observed.target, observed.distort = target, distort
    for number in range(80):
        if what == "no data" and number == at:
            observed.now_s += 15.0
            unheard: PerPool[PoolState | TargetUnknown] = PerPool(PoolState(3, 3), PoolState(3, 3))
            observed.state = learn(observed.state, observed.spec, no_data(), unheard, observed.now_s)
        else:
            observed.run((15.0, 40.0))
    for pool in (observed.state.pools.prefill, observed.state.pools.decode):
        for point in pool.points:
            if what == "queue":  # it says nothing but at the end of a window
                assert point.at_s != math.floor(bad_s)
            else:
                assert not 0 <= point.at_s - bad_s < 170.0, f"{what} {point.at_s - bad_s}"


@settings(max_examples=40, deadline=None)
@given(st.floats(0.5, 2.0), st.floats(0.5, 2.0), st.floats(0.0, 0.2), st.floats(1.0, 80.0))
def test_a_slower_engine_never_needs_fewer(one: float, other: float, extra_s: float, rate: float) -> None:
    slow, fast = sorted((one, other))
    workload = WorkloadStats(rate, ISL, OSL)
    needs = [
        size(corrected(auto_spec(), PerPool(EngineCorrection(derate, extra), EngineCorrection(derate))), workload).pools
        for derate, extra in ((slow, extra_s), (fast, 0.0))
    ]
    for pool in Pool:
        assert needs[0][pool].recommended >= needs[1][pool].recommended
