"""Calibration on line: what is learnt from steady windows, and that nothing is learnt from anything else."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from pdscaler.core.calibration import DERATE_BOUNDS
from pdscaler.core.corrections import AS_PROFILED, NOTHING, EngineCorrection, corrected
from pdscaler.core.decision import PoolState, TargetUnknown, Trouble
from pdscaler.core.live_calibration import DERATE_STEP, CalibrationState, learn
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.profile import MaxThroughput
from pdscaler.core.sizing import size
from pdscaler.core.spec import SizingModel
from pdscaler.core.workload import LengthStats, NoData, NoDataReason, Telemetry, WorkloadStats
from support.calibrating import ISL, OSL, SLOW, Observed, auto_spec, waves

DAY = waves([20.0, 30.0, 40.0, 50.0, 30.0])


def test_an_engine_as_its_profile_changes_nothing() -> None:
    state = Observed().run(*DAY)
    for pool in (state.pools.prefill, state.pools.decode):
        assert len(pool.points) >= 8
        assert pool.correction == AS_PROFILED
        assert pool.drift == pytest.approx(0.0, abs=1e-3)
        assert pool.mean_error == pytest.approx(0.0, abs=1e-3)
        assert not pool.drifted
        assert pool.note == "as its profile"
    spec = auto_spec()
    assert corrected(spec, state.corrections) is spec


@pytest.mark.parametrize("slower", [0.7, 0.8, 1.2])
def test_the_throughput_of_both_pools_is_found(slower: float) -> None:
    state = Observed(PerPool(EngineCorrection(slower), EngineCorrection(slower))).run(*DAY)
    for pool in (state.pools.prefill, state.pools.decode):
        assert pool.correction.derate == pytest.approx(slower, rel=0.05)
        assert pool.mean_error is not None
        assert pool.prior_error is not None
        assert pool.mean_error < 0.03 < pool.prior_error
    assert state.pools.prefill.correction.extra_s == pytest.approx(0.0, abs=0.002)
    assert state.pools.decode.correction.extra_s == 0.0


def test_overhead_is_told_from_throughput() -> None:
    state = Observed(PerPool(EngineCorrection(1.0, 0.06), AS_PROFILED)).run(*DAY, *DAY)
    assert state.pools.prefill.correction.extra_s == pytest.approx(0.06, rel=0.1)
    assert state.pools.prefill.correction.derate == pytest.approx(1.0, abs=0.05)
    assert state.pools.decode.correction == AS_PROFILED


def test_one_load_tells_the_decode_throughput_and_nothing_of_prefill() -> None:
    state = Observed(SLOW).run((4 * 3600.0, 40.0))
    assert state.pools.decode.correction.derate == pytest.approx(0.8, rel=0.02)
    prefill = state.pools.prefill
    assert prefill.correction == AS_PROFILED
    assert prefill.note == "1 operating point, at least 2 that differ are needed"
    assert prefill.drifted, "what cannot be corrected is said all the same"


def test_a_correction_comes_in_bounded_steps_and_then_stands() -> None:
    observed, seen = Observed(PerPool(AS_PROFILED, EngineCorrection(0.6))), [1.0]
    for _ in range(4 * 240):
        observed.run((15.0, 40.0))
        seen.append(observed.state.pools.decode.correction.derate)
    changes = [(before, after) for before, after in pairwise(seen) if before != after]
    assert 1 < len(changes) <= 5
    for before, after in changes:
        assert 1 / DERATE_STEP - 1e-3 <= after / before <= DERATE_STEP + 1e-3
    assert seen[-1] == pytest.approx(0.6, rel=0.03)
    assert len(set(seen[-480:])) == 1, "at a constant load it settles"


def test_noise_moves_no_correction_at_a_constant_load() -> None:
    steps = iter(range(10**6))

    def noisy(reading: Telemetry, since_s: float) -> Telemetry:
        assert reading.ttft_mean_s is not None
        assert reading.tpot_mean_s is not None
        off = ((next(steps) * 7919) % 101 - 50) / 50
        return replace(
            reading,
            ttft_mean_s=reading.ttft_mean_s * (1 + 0.06 * off),
            tpot_mean_s=reading.tpot_mean_s * (1 + 0.03 * off),
        )

    assert Observed(distort=noisy).run((6 * 3600.0, 40.0)).corrections == NOTHING


def test_an_engine_that_is_well_again_is_found_to_be() -> None:
    observed = Observed(SLOW)
    observed.run(*DAY)
    observed.truth = NOTHING
    state = observed.run(*waves([20.0, 30.0, 40.0, 50.0, 30.0] * 6))
    for pool in (state.pools.prefill, state.pools.decode):
        assert pool.correction.derate == pytest.approx(1.0, abs=0.03)
        assert not pool.drifted


def waiting(reading: Telemetry, since_s: float) -> Telemetry:
    return replace(reading, prefill=replace(reading.prefill, waiting_requests=4.0 * since_s))


def rising(reading: Telemetry, since_s: float) -> Telemetry:
    assert reading.ttft_mean_s is not None
    assert reading.tpot_mean_s is not None
    grown = math.exp(since_s / 200)
    return replace(reading, ttft_mean_s=reading.ttft_mean_s * grown, tpot_mean_s=reading.tpot_mean_s * grown)


def old(reading: Telemetry, since_s: float) -> Telemetry:
    return replace(reading, observed_at_s=reading.observed_at_s - 90)


def longer(reading: Telemetry, since_s: float) -> Telemetry:
    lengths = LengthStats(OSL.mean_tokens * math.exp(since_s / 300))
    return replace(reading, workload=replace(reading.workload, osl=lengths))


def absurd(reading: Telemetry, since_s: float) -> Telemetry:
    return replace(reading, ttft_mean_s=300.0, tpot_mean_s=30.0)


def silent(reading: Telemetry, since_s: float) -> Telemetry:
    return replace(reading, ttft_mean_s=None, tpot_mean_s=None)


@pytest.mark.parametrize(
    ("distort", "said"),
    [
        (waiting, "a queue grows"),
        (rising, "the latency is not steady"),
        (old, "the metrics are old"),
        (longer, "the length of the answers varies"),
        (absurd, "times what the profile says: more than calibration corrects"),
        (silent, "lengths or latencies are not known"),
    ],
)
def test_what_is_not_steady_is_not_learned_from(distort: Callable[[Telemetry, float], Telemetry], said: str) -> None:
    state = Observed(SLOW, distort=distort).run((1200.0, 40.0))
    for pool in (state.pools.prefill, state.pools.decode):
        assert not pool.points
        assert pool.correction == AS_PROFILED
        assert said in pool.refused


def test_a_load_that_varies_is_not_learned_from() -> None:
    state = Observed(SLOW).run(*((30.0, 20.0 + 2 * number) for number in range(20)))
    for pool in (state.pools.prefill, state.pools.decode):
        assert not pool.points
        assert pool.refused == "the load varies"


def test_too_few_requests_are_not_learned_from() -> None:
    state = Observed(SLOW).run((1200.0, 0.1))
    assert all(pool.refused == "fewer than 30 requests in the window" for _, pool in state.pools.items())


def test_overload_is_not_learned_from() -> None:
    by_model = Observed().run((1200.0, 90.0))
    assert not by_model.pools.prefill.points
    assert by_model.pools.prefill.refused == "overloaded: at 97% of what the replicas serve by the model"
    assert by_model.pools.decode.points, "one pool's overload says nothing of the other's"


def test_what_was_learnt_counts_for_what_is_an_overload() -> None:
    observed = Observed(SLOW)
    observed.run(*DAY)
    before = len(observed.state.pools.prefill.points)
    state = observed.run((1200.0, 73.0))  # 79 % of the profile, and 99 % of the engine
    assert state.pools.prefill.refused == "overloaded: at 98% of what the replicas serve by the model"
    assert len(state.pools.prefill.points) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rollout": True}, "a rollout is in progress"),
        ({"ready_replicas": 2, "pending_replicas": 1}, "not all replicas are ready"),
        ({"ready_replicas": 2}, "not all replicas are ready"),
        ({"terminating_replicas": 1}, "replicas are terminating"),
        ({"trouble": Trouble.CRASH_LOOP}, "replicas fail to start (CrashLoop)"),
    ],
)
def test_a_pool_in_which_something_is_under_way_is_not_learned_from(change: dict[str, object], said: str) -> None:
    def target(pool: Pool, state: PoolState, since_s: float) -> PoolState:
        return replace(state, **change) if pool is Pool.DECODE else state  # type: ignore[arg-type]

    state = Observed(SLOW, target=target).run(*DAY)
    assert not state.pools.decode.points
    assert state.pools.decode.refused == said
    assert state.pools.prefill.correction != AS_PROFILED, "the other pool learns"


def test_replicas_must_have_been_the_same_throughout_the_window() -> None:
    def target(pool: Pool, state: PoolState, since_s: float) -> PoolState:
        count = 3 + int(since_s // 150) % 2
        return PoolState(count, count)

    state = Observed(SLOW, target=target).run((3600.0, 40.0))
    for pool in (state.pools.prefill, state.pools.decode):
        assert not pool.points
        assert pool.refused == "the replicas have not been the same for long enough"


def test_a_gap_in_the_metrics_begins_the_window_anew() -> None:
    observed = Observed(SLOW)
    observed.run((180.0, 40.0))
    gone = NoData(NoDataReason.STALE_DATA, "no samples")
    targets: PerPool[PoolState | TargetUnknown] = PerPool(PoolState(3, 3), PoolState(3, 3))
    observed.state = learn(observed.state, observed.spec, gone, targets, observed.now_s)
    assert all(pool.refused == "no metrics" and not pool.moments for _, pool in observed.state.pools.items())
    state = observed.run((195.0, 40.0))
    assert all(not pool.points for _, pool in state.pools.items())
    assert all(pool.points for _, pool in observed.run((60.0, 40.0)).pools.items())


def test_an_unknown_target_is_not_learned_from() -> None:
    observed = Observed(SLOW)
    unknown = TargetUnknown("FailedGetScale", "not found")
    reading = observed.reading(40.0)
    for number in range(100):
        now_s = observed.now_s + 15.0 * number
        seen = replace(reading, observed_at_s=now_s)
        observed.state = learn(observed.state, observed.spec, seen, PerPool(unknown, unknown), now_s)
    assert all(not pool.points for _, pool in observed.state.pools.items())


def test_a_rollout_drops_the_points_and_keeps_the_correction() -> None:
    observed = Observed(SLOW)
    before = observed.run(*DAY).corrections
    observed.target = lambda pool, state, since_s: replace(state, rollout=True)
    state = observed.run((15.0, 40.0))
    for pool in (state.pools.prefill, state.pools.decode):
        assert pool.points == ()
        assert pool.drift is None
        assert pool.mean_error is None
    assert state.corrections == before


def test_another_profile_begins_anew_and_another_bound_does_not() -> None:
    observed = Observed(SLOW)
    learnt = observed.run(*DAY)
    spec = observed.spec
    more = replace(spec.sizing, limits=spec.sizing.limits.map(lambda limits: replace(limits, max_replicas=9)))
    observed.spec = replace(spec, sizing=more)
    assert observed.run((15.0, 30.0)).corrections == learnt.corrections
    observed.spec = replace(spec, sizing=replace(spec.sizing, decode_derate=0.9))
    assert observed.run((15.0, 30.0)).corrections == NOTHING
    assert observed.state.about != learnt.about


def test_the_published_formulas_are_never_corrected() -> None:
    spec = replace(auto_spec(), model=SizingModel.PAPER_MM1)
    observed = Observed(SLOW)
    observed.spec = replace(observed.spec, sizing=spec)
    state = observed.run(*DAY)
    assert all(not pool.points for _, pool in state.pools.items())
    assert corrected(spec, SLOW) is spec


def test_a_spec_is_corrected_in_its_profiles_alone() -> None:
    spec = auto_spec()
    slow = corrected(spec, PerPool(EngineCorrection(0.8, 0.05), EngineCorrection(0.9)))
    for before, after in zip(spec.prefill_profile.points, slow.prefill_profile.points, strict=True):
        assert after.latency_s == pytest.approx(before.latency_s / 0.8)
    assert slow.prefill_profile.overhead.fixed_s == spec.prefill_profile.overhead.fixed_s + 0.05
    assert slow.decode_derate == pytest.approx(0.9)
    same = replace(slow, prefill_profile=spec.prefill_profile, decode_derate=spec.decode_derate)
    assert same == spec
    by_rate = replace(
        spec, prefill_profile=replace(spec.prefill_profile, points=(), max_throughput=MaxThroughput(1000, 50_000.0))
    )
    maximum = corrected(by_rate, SLOW).prefill_profile.max_throughput
    assert maximum == MaxThroughput(1000, 40_000.0)
    less = corrected(spec, PerPool(EngineCorrection(1.0, -5.0), AS_PROFILED))
    assert less.prefill_profile.overhead.fixed_s == 0.0


def test_a_slower_engine_needs_more_and_a_faster_one_fewer() -> None:
    workload = WorkloadStats(60.0, ISL, OSL)
    needs = [
        size(corrected(auto_spec(), PerPool(EngineCorrection(derate), EngineCorrection(derate))), workload).pools
        for derate in (0.7, 1.0, 1.4)
    ]
    for pool in Pool:
        required = [need[pool].required for need in needs]
        assert required[0] > required[1] > required[2]


def test_what_was_read_back_is_judged_at_once() -> None:
    learnt = Observed(SLOW).run(*DAY)
    bare = CalibrationState(
        learnt.about,
        learnt.pools.map(lambda pool: replace(pool, mean_error=None, prior_error=None, drift=None, moments=())),
    )
    observed = Observed(SLOW, state=bare)
    observed.now_s = learnt.pools.decode.points[-1].at_s
    again = observed.run((15.0, 30.0))
    for pool, known in learnt.pools.items():
        assert again.pools[pool].drift == pytest.approx(known.drift, rel=0.01)
        assert again.pools[pool].correction == known.correction
        assert again.pools[pool].points == known.points


def test_of_what_was_read_back_only_points_count_that_could_have_been_taken() -> None:
    learnt = Observed(SLOW).run(*DAY)
    good = learnt.pools.decode.points[-1]
    bad = (
        replace(good, rate_rps=100 * good.rate_rps),
        replace(good, latency_s=1000.0),
        replace(good, isl=LengthStats(1e8, 1e3), osl=LengthStats(1e8, 1e3)),
        replace(good, at_s=good.at_s + 1e6),
    )
    poisoned = replace(learnt.pools.decode, points=(*bad, good), mean_error=None, drift=None)
    observed = Observed(SLOW, state=replace(learnt, pools=learnt.pools.replace(Pool.DECODE, poisoned)))
    observed.now_s = good.at_s
    again = observed.run((15.0, 30.0))
    assert again.pools.decode.points in {(good,), ()}
    assert again.pools.decode.correction == learnt.pools.decode.correction
    assert again.pools.prefill.points == learnt.pools.prefill.points


def test_bounds_hold_whatever_the_engine() -> None:
    state = Observed(PerPool(AS_PROFILED, EngineCorrection(0.45)), replicas=PerPool(6, 12)).run((6 * 3600.0, 40.0))
    assert state.pools.decode.correction.derate == pytest.approx(DERATE_BOUNDS[0], rel=0.02)
