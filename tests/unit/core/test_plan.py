"""One evaluation after the other: what the fault table says must happen. The paper's load needs 4P4D."""

import math
from dataclasses import replace

import pytest

from pdscaler.core.decision import (
    Decision,
    Limit,
    Outcome,
    Paused,
    PlanInputs,
    PlanState,
    PoolMemory,
    PoolState,
    Recommendation,
    ScaleEvent,
    TargetUnknown,
    Trouble,
)
from pdscaler.core.plan import plan, resume
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.spec import (
    Behavior,
    Constraints,
    Fallback,
    FallbackBehavior,
    PolicyType,
    PoolLimits,
    Ratio,
    ScalingPolicy,
    ScalingRules,
    ScalingSpec,
)
from pdscaler.core.workload import LengthStats, NoData, NoDataReason, WorkloadStats
from pdscaler.errors import InvalidInputError
from pdscaler.forecast.last_value import last_value
from support.core_cases import inputs, no_data, paper_spec, paper_workload, scaling

NOW_S = 10_000.0
LOAD = paper_workload()
STEADY = PlanState(PerPool(PoolMemory((Recommendation(NOW_S - 10, 1),)), PoolMemory((Recommendation(NOW_S - 10, 1),))))
"""Windows that would let any scale-down pass."""


def decide(
    given: PlanInputs, state: PlanState = STEADY, spec: ScalingSpec | None = None, now_s: float = NOW_S
) -> Decision:
    return plan(spec or scaling(), given, state, now_s, last_value)


def desired(decision: Decision) -> tuple[int | None, int | None]:
    return decision.pools.prefill.desired, decision.pools.decode.desired


def budget(gpus: int) -> ScalingSpec:
    return scaling(paper_spec(constraints=Constraints(max_gpus=gpus)))


class TestPlanned:
    def test_up_at_once_and_why(self) -> None:
        decision = decide(inputs(LOAD, 2, 4))
        assert decision.outcome is Outcome.PLANNED
        assert desired(decision) == (4, 4)
        assert decision.pools.prefill.change == 2
        assert decision.pools.prefill.limited_by == ()
        assert decision.pools.prefill.reason == "12.5 requests/s need 3.07 replicas; TTFT at 3 would be 2.4s"
        assert decision.sizing is not None
        assert decision.predicted == decision.sizing.predicted
        assert decision.workload == LOAD

    def test_first_evaluation_waits_with_scale_down(self) -> None:
        decision = decide(inputs(LOAD, 8, 2), PlanState())
        assert desired(decision) == (8, 4)
        assert decision.pools.prefill.limited_by == (Limit.SCALE_DOWN_STABILIZATION,)
        assert decision.pools.prefill.reason.endswith("stays 8: needed within the last 300s")
        later = decide(inputs(LOAD, 8, 4), decision.state, now_s=NOW_S + 299)
        assert desired(later) == (8, 4)
        assert desired(decide(inputs(LOAD, 8, 4), later.state, now_s=NOW_S + 300)) == (4, 4)

    @pytest.mark.parametrize("window_s", [0.0, 5.0, 15.0])
    def test_windows_shorter_than_the_period_still_let_pools_shrink(self, window_s: float) -> None:
        rules = Behavior(scale_down=ScalingRules(window_s))
        spec = scaling(paper_spec(limits=PerPool(PoolLimits(behavior=rules), PoolLimits(behavior=rules))))
        first = decide(inputs(LOAD, 8, 8), PlanState(), spec)
        assert desired(decide(inputs(LOAD, 8, 8), first.state, spec, NOW_S + 15)) == (4, 4)

    def test_prediction_is_of_the_desired_counts(self) -> None:
        decision = decide(inputs(LOAD, 8, 4), PlanState())
        assert decision.sizing is not None
        assert decision.predicted is not None
        assert decision.predicted != decision.sizing.predicted
        assert decision.pools.prefill.utilization == pytest.approx(3.0677 / 8, abs=1e-4)

    def test_the_forecast_looks_ahead_by_the_longer_startup_and_one_period(self) -> None:
        asked: list[float] = []

        def forecaster(workload: WorkloadStats, horizon_s: float) -> WorkloadStats:
            asked.append(horizon_s)
            return replace(workload, arrival_rate_rps=2 * workload.arrival_rate_rps)

        limits = PerPool(PoolLimits(max_replicas=99, startup_s=60.0), PoolLimits(max_replicas=99, startup_s=240.0))
        decision = plan(scaling(paper_spec(limits=limits)), inputs(LOAD, 4, 4), STEADY, NOW_S, forecaster)
        assert asked == [255.0]
        assert desired(decision) == (7, 8)
        assert decision.state.last_workload == LOAD

    def test_tolerance(self) -> None:
        rules = Behavior(ScalingRules(0.0, tolerance=0.1), ScalingRules(300.0, tolerance=0.1))
        limits = PerPool(PoolLimits(max_replicas=16, behavior=rules), PoolLimits(max_replicas=16, behavior=Behavior()))
        decision = decide(inputs(LOAD, 3, 3), spec=scaling(paper_spec(limits=limits)))
        assert desired(decision) == (3, 4)
        assert decision.pools.prefill.limited_by == (Limit.TOLERANCE,)

    def test_policies_and_orders_that_were_not_written(self) -> None:
        rules = Behavior(scale_up=ScalingRules(0.0, (ScalingPolicy(PolicyType.PODS, 1, 60.0),)))
        spec = scaling(paper_spec(limits=PerPool(PoolLimits(behavior=rules), PoolLimits(behavior=rules))))
        first = decide(inputs(LOAD, 2, 2), spec=spec)
        assert desired(first) == (3, 3)
        assert first.pools.prefill.limited_by == (Limit.SCALE_UP_POLICY,)
        assert first.state.pools.prefill.events == (ScaleEvent(NOW_S, 1),)
        # Written for prefill, refused for decode: the controller takes that event out.
        refused = replace(first.state, pools=first.state.pools.replace(Pool.DECODE, STEADY.pools.decode))
        second = decide(inputs(LOAD, 3, 2), refused, spec, NOW_S + 15)
        assert desired(second) == (3, 3)
        third = decide(inputs(LOAD, 3, 3), second.state, spec, NOW_S + 61)
        assert desired(third) == (4, 3)

    def test_bounds_are_enforced_at_once(self) -> None:
        assert desired(decide(inputs(LOAD, 20, 4), PlanState())) == (16, 4)

    def test_infeasible_targets_are_named(self) -> None:
        decision = decide(inputs(LOAD, 4, 4), spec=scaling(paper_spec(tpot_s=0.005)))
        assert desired(decision) == (4, 8)
        assert decision.pools.decode.limited_by == (Limit.SERVICE_TIME_EXCEEDS_SLO,)
        assert "one request alone decodes at 12.8ms/token" in decision.pools.decode.reason


class TestIdle:
    IDLE = WorkloadStats(0.0, None, None)

    def test_lengths_are_carried_forward_and_the_minimums_follow(self) -> None:
        busy = decide(inputs(LOAD, 4, 4))
        idle = decide(inputs(self.IDLE, 4, 4), busy.state, now_s=NOW_S + 15)
        assert desired(idle) == (4, 4)
        assert idle.workload == paper_workload(0.0)
        assert idle.predicted is not None
        assert idle.predicted.ttft_s.mean is not None
        assert idle.pools.prefill.reason.startswith("nothing arrives: the minimum is enough; stays 4")
        assert desired(decide(inputs(self.IDLE, 4, 4), idle.state, now_s=NOW_S + 315)) == (1, 1)

    def test_without_any_length_ever_seen(self) -> None:
        decision = decide(inputs(self.IDLE, 1, 1))
        assert desired(decision) == (1, 1)
        assert decision.predicted is not None
        assert decision.predicted.ttft_s.mean is None

    def test_non_finite_lengths_of_an_idle_engine_do_no_harm(self) -> None:
        workload = WorkloadStats(0.0, LengthStats(math.nan), LengthStats(math.nan))
        assert decide(inputs(workload, 3, 3)).outcome is Outcome.PLANNED


class TestNoData:
    @pytest.mark.parametrize(
        ("workload", "reason"),
        [
            (replace(LOAD, arrival_rate_rps=math.nan), NoDataReason.NON_FINITE),
            (replace(LOAD, arrival_rate_rps=-1.0), NoDataReason.NON_FINITE),
            (replace(LOAD, isl=LengthStats(math.nan)), NoDataReason.NON_FINITE),
            (replace(LOAD, osl=LengthStats(math.inf)), NoDataReason.NON_FINITE),
            (replace(LOAD, osl=None), NoDataReason.NO_DATA),
        ],
    )
    def test_values_that_mean_nothing_hold(self, workload: WorkloadStats, reason: NoDataReason) -> None:
        decision = decide(inputs(workload, 7, 7))
        assert decision.outcome is Outcome.HELD
        assert desired(decision) == (7, 7)
        assert isinstance(decision.telemetry, NoData)
        assert decision.telemetry.reason is reason

    def test_holds_both_and_counts(self) -> None:
        decision = decide(inputs(no_data(), 7, 2))
        assert decision.outcome is Outcome.HELD
        assert desired(decision) == (7, 2)
        assert not decision.changed
        assert decision.state.telemetry_failures == 1
        assert decision.state.healthy_since_s is None
        assert decision.pools.prefill.limited_by == (Limit.NO_DATA,)
        assert decision.pools.prefill.reason == 'NoData: query "arrivals" returned nothing; holds 7'
        assert decision.pools.prefill.recommended is None
        assert decide(inputs(LOAD, 7, 2), decision.state).state.telemetry_failures == 0

    def test_bounds_hold_all_the_same(self) -> None:
        limits = PerPool(PoolLimits(3, 16), PoolLimits(1, 5))
        decision = decide(inputs(no_data(), 2, 9), spec=scaling(paper_spec(limits=limits)))
        assert desired(decision) == (3, 5)
        assert decision.pools.prefill.limited_by == (Limit.NO_DATA, Limit.MIN_REPLICAS)
        assert decision.pools.decode.limited_by == (Limit.NO_DATA, Limit.MAX_REPLICAS)

    def test_an_outage_does_not_empty_the_window(self) -> None:
        # Held for an hour, every recommendation has expired: the first reading must not drop the pools at once.
        blind = decide(inputs(no_data(), 9, 9), STEADY, now_s=NOW_S + 3600)
        assert desired(decide(inputs(LOAD, 9, 9), blind.state, now_s=NOW_S + 3615)) == (9, 9)


def fallback(behavior: FallbackBehavior) -> ScalingSpec:
    return replace(scaling(), fallback=Fallback(behavior, 3, PerPool(5, 6)))


def blind_for(evaluations: int, spec: ScalingSpec, current: tuple[int, int]) -> Decision:
    state, decision = STEADY, None
    for number in range(evaluations):
        decision = decide(inputs(no_data(), *current), state, spec, NOW_S + 15 * number)
        state = decision.state
    assert decision is not None
    return decision


class TestFallback:
    @pytest.mark.parametrize(
        ("behavior", "outcome", "counts"),
        [
            (FallbackBehavior.HOLD, Outcome.HELD, (8, 2)),
            (FallbackBehavior.HOLD_OR_HIGHER, Outcome.FALLBACK, (8, 6)),
            (FallbackBehavior.STATIC, Outcome.FALLBACK, (5, 6)),
        ],
    )
    def test_after_the_threshold_for_both_pools_at_once(
        self, behavior: FallbackBehavior, outcome: Outcome, counts: tuple[int, int]
    ) -> None:
        assert desired(blind_for(2, fallback(behavior), (8, 2))) == (8, 2)
        decision = blind_for(3, fallback(behavior), (8, 2))
        assert decision.outcome is outcome
        assert desired(decision) == counts
        assert decision.state.fallback_active
        assert (Limit.FALLBACK in decision.pools.prefill.limited_by) == (outcome is Outcome.FALLBACK)

    def test_within_bounds_and_budget(self) -> None:
        spec = replace(
            scaling(
                paper_spec(
                    constraints=Constraints(max_gpus=80), limits=PerPool(PoolLimits(1, 4, 8), PoolLimits(1, 9, 8))
                )
            ),
            fallback=Fallback(FallbackBehavior.STATIC, 1, PerPool(9, 9)),
        )
        decision = decide(inputs(no_data(), 3, 3), spec=spec)
        assert sum(count or 0 for count in desired(decision)) * 8 == 80
        # 4P9D would be 13 of the 10 replicas that fit: equal shares of what each wants, 3/4 and 7/9.
        assert desired(decision) == (3, 7)
        assert decision.pools.prefill.limited_by == (
            Limit.NO_DATA,
            Limit.FALLBACK,
            Limit.MAX_REPLICAS,
            Limit.MAX_GPUS,
        )
        assert decision.pools.decode.limited_by == (Limit.NO_DATA, Limit.FALLBACK, Limit.MAX_GPUS)

    def test_no_scale_down_until_a_full_fresh_window_has_passed(self) -> None:
        spec = fallback(FallbackBehavior.STATIC)
        state = blind_for(3, spec, (5, 6)).state
        start_s = NOW_S + 1000
        state = replace(state, pools=STEADY.pools.map(lambda _: PoolMemory((Recommendation(start_s - 5, 1),))))
        back = decide(inputs(LOAD, 5, 3), state, spec, start_s)
        assert desired(back) == (5, 4)
        assert back.pools.prefill.limited_by == (Limit.FALLBACK,)
        assert back.outcome is Outcome.PLANNED
        still = decide(inputs(LOAD, 5, 4), back.state, spec, start_s + 179)
        assert desired(still) == (5, 4)
        normal = decide(inputs(LOAD, 5, 4), still.state, spec, start_s + 180)
        assert desired(normal) == (4, 4)
        assert not normal.state.fallback_active

    def test_another_failure_starts_the_window_again(self) -> None:
        spec = fallback(FallbackBehavior.STATIC)
        state = decide(inputs(LOAD, 5, 6), blind_for(3, spec, (5, 6)).state, spec, NOW_S + 1000).state
        gap = decide(inputs(no_data(), 9, 9), state, spec, NOW_S + 1100)
        assert desired(gap) == (9, 9)
        assert gap.state.fallback_active
        assert gap.state.healthy_since_s is None

    def test_replicas_are_needed(self) -> None:
        spec = replace(scaling(), fallback=Fallback(FallbackBehavior.STATIC))
        with pytest.raises(InvalidInputError) as error:
            decide(inputs(LOAD, 1, 1), spec=spec)
        assert error.value.field == "spec.fallback.replicas"


class TestTargets:
    MISSING = TargetUnknown("FailedGetScale", 'Deployment "decode" not found in "serving"')

    def test_a_missing_target_leaves_the_other_pool_alone(self) -> None:
        decision = decide(inputs(LOAD, 2, self.MISSING))
        assert desired(decision) == (4, None)
        assert decision.pools.decode.limited_by == (Limit.TARGET_UNKNOWN,)
        assert decision.pools.decode.recommended == 4
        assert decision.pools.decode.current is None
        assert decision.pools.decode.reason.startswith("FailedGetScale: Deployment")
        assert decision.predicted is None

    def test_a_missing_target_is_assumed_to_hold_its_gpus(self) -> None:
        assert desired(decide(inputs(LOAD, 1, self.MISSING), spec=budget(64))) == (4, None)
        remembered = replace(
            STEADY, pools=STEADY.pools.replace(Pool.DECODE, PoolMemory((Recommendation(NOW_S - 10, 6),)))
        )
        assert desired(decide(inputs(LOAD, 1, self.MISSING), remembered, budget(64))) == (2, None)

    @pytest.mark.parametrize("reading", [LOAD, no_data()])
    def test_a_target_at_zero_is_somebodys_emergency_stop(self, reading: WorkloadStats) -> None:
        decision = decide(inputs(reading, 0, 2))
        assert decision.pools.prefill.desired is None
        assert decision.pools.prefill.change == 0
        assert Limit.TARGET_AT_ZERO in decision.pools.prefill.limited_by

    @pytest.mark.parametrize("trouble", [Trouble.UNSCHEDULABLE, Trouble.QUOTA_EXCEEDED])
    def test_no_capacity_stops_up_and_not_down(self, trouble: Trouble) -> None:
        up = decide(inputs(LOAD, PoolState(2, 1, 1, trouble=trouble), 2))
        assert desired(up) == (2, 4)
        assert up.pools.prefill.limited_by == (Limit.CAPACITY_PENDING,)
        assert "1 replica pending" in up.pools.prefill.reason
        assert desired(decide(inputs(LOAD, PoolState(9, 6, 3, trouble=trouble), 4))) == (4, 4)

    @pytest.mark.parametrize("trouble", [Trouble.CRASH_LOOP, Trouble.IMAGE_PULL])
    def test_failing_pods_stop_both_directions(self, trouble: Trouble) -> None:
        for current in (2, 9):
            decision = decide(inputs(LOAD, PoolState(current, 1, trouble=trouble), 4))
            assert desired(decision) == (current, 4)
            assert decision.pools.prefill.limited_by == (Limit.PODS_FAILING,)

    def test_pending_replicas_are_committed(self) -> None:
        decision = decide(inputs(LOAD, PoolState(4, 1, pending_replicas=3), 4))
        assert desired(decision) == (4, 4)
        assert decision.pools.prefill.ready == 1

    def test_rollout_and_termination_block_down_only(self) -> None:
        for state, limit in (
            (PoolState(9, 9, rollout=True, terminating_replicas=2), Limit.ROLLOUT),
            (PoolState(9, 9, terminating_replicas=2), Limit.PODS_TERMINATING),
        ):
            down = decide(inputs(LOAD, state, 4))
            assert desired(down) == (9, 4)
            assert down.pools.prefill.limited_by == (limit,)
            assert desired(decide(inputs(LOAD, replace(state, spec_replicas=2), 4))) == (4, 4)

    @pytest.mark.parametrize(
        ("paused", "counts"),
        [
            (Paused(), (4, 4)),
            (Paused(scale_up=True), (2, 4)),
            (Paused(scale_down=True), (4, 9)),
            (Paused(scale_up=True, scale_down=True), (2, 9)),
        ],
    )
    def test_pause(self, paused: Paused, counts: tuple[int, int]) -> None:
        decision = decide(replace(inputs(LOAD, 2, 9), paused=paused))
        assert desired(decision) == counts
        assert decision.pools.prefill.recommended == 4
        assert (Limit.PAUSED in decision.pools.prefill.limited_by) == paused.scale_up
        assert (Limit.PAUSED in decision.pools.decode.limited_by) == paused.scale_down


class TestJointRules:
    def test_growth_waits_for_the_gpus_that_the_other_pool_still_holds(self) -> None:
        # 64 GPUs: 2P6D turns to 4P4D. First decode shrinks; only then is there room.
        first = decide(inputs(LOAD, 2, 6), spec=budget(64))
        assert desired(first) == (2, 4)
        assert first.pools.prefill.limited_by == (Limit.GPUS_NOT_FREE_YET,)
        draining = decide(inputs(LOAD, 2, PoolState(4, 4, terminating_replicas=2)), first.state, budget(64))
        assert desired(draining) == (2, 4)
        assert draining.pools.prefill.limited_by == (Limit.GPUS_NOT_FREE_YET,)
        assert "waits for GPUs of the budget that replicas still hold" in draining.pools.prefill.reason
        done = decide(inputs(LOAD, 2, 4), draining.state, budget(64))
        assert desired(done) == (4, 4)

    def test_a_budget_that_binds_says_what_its_count_gives(self) -> None:
        decision = decide(inputs(LOAD, 2, 4), spec=budget(56))
        assert decision.pools.prefill.reason == (
            "12.5 requests/s need 3.07 replicas; TTFT at 3 would be 2.4s; goes to 3: maxGPUs"
        )

    def test_free_gpus_go_where_they_serve_the_most(self) -> None:
        # 2P4D and 5 replicas of room are not enough for 6P8D: both grow by shares of the load.
        spec = scaling(paper_spec(tpot_s=0.0128, ttft_s=0.6, constraints=Constraints(max_gpus=88)))
        decision = decide(inputs(LOAD, 2, 4), spec=spec)
        assert sum(count or 0 for count in desired(decision)) == 11

    def test_a_budget_that_is_exceeded_already_cuts_nothing_that_is_there(self) -> None:
        decision = decide(inputs(LOAD, 4, 6), PlanState(), budget(64))
        assert desired(decision) == (4, 6)
        assert desired(decide(inputs(LOAD, 2, 9), PlanState(), budget(64))) == (2, 9)

    def test_ratio_raises_the_pool_that_lags_behind_a_stabilised_one(self) -> None:
        spec = scaling(paper_spec(constraints=Constraints(min_ratio=Ratio(1, 2))))
        decision = decide(inputs(LOAD, 4, 12), PlanState(), spec)
        assert desired(decision) == (6, 12)
        assert decision.pools.prefill.limited_by == (Limit.RATIO,)

    def test_ratio_stops_a_shrinking_pool_at_its_present_count(self) -> None:
        spec = scaling(paper_spec(constraints=Constraints(min_ratio=Ratio(1, 2))))
        decision = decide(
            inputs(LOAD, 5, 12), replace(PlanState(), pools=PerPool(STEADY.pools.prefill, PoolMemory())), spec
        )
        assert desired(decision) == (5, 12)
        assert decision.pools.prefill.limited_by == (Limit.RATIO,)

    def test_a_ratio_that_cannot_be_had_is_reported(self) -> None:
        spec = scaling(paper_spec(constraints=Constraints(min_ratio=Ratio(1, 2))))
        decision = decide(replace(inputs(LOAD, 4, 12), paused=Paused(scale_up=True)), PlanState(), spec)
        assert desired(decision) == (4, 12)
        assert Limit.RATIO in decision.pools.prefill.limited_by


class TestRestart:
    def test_windows_are_seeded_with_the_current_counts(self) -> None:
        state = resume(STEADY, PerPool(9, None), NOW_S)
        assert state.pools.prefill.recommendations[-1] == Recommendation(NOW_S, 9)
        assert state.pools.decode == STEADY.pools.decode
        assert desired(decide(inputs(LOAD, 9, 4), state, now_s=NOW_S + 60)) == (9, 4)
        assert desired(decide(inputs(LOAD, 9, 4), state, now_s=NOW_S + 299)) == (9, 4)
        assert desired(decide(inputs(LOAD, 9, 4), state, now_s=NOW_S + 300)) == (4, 4)

    def test_a_clock_that_was_set_back_keeps_nothing_for_ever(self) -> None:
        future = PerPool(*(PoolMemory((Recommendation(NOW_S + 1e6, 16),)) for _ in Pool))
        state = decide(inputs(LOAD, 9, 4), PlanState(future)).state
        for step in range(1, 22):
            decision = decide(inputs(LOAD, 9, 4), state, now_s=NOW_S + 15 * step)
            state = decision.state
        assert desired(decision) == (4, 4)
