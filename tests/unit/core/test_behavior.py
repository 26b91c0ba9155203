"""HPA v2's semantics: what its documentation and its controller do."""

import pytest

from pdscaler.core.behavior import limit_rate, remember, seed, stabilize, within_tolerance
from pdscaler.core.decision import Limit, PoolMemory, Recommendation, ScaleEvent
from pdscaler.core.spec import Behavior, PolicyType, ScalingPolicy, ScalingRules, SelectPolicy


def memory(*recommendations: tuple[float, int], events: tuple[tuple[float, int], ...] = ()) -> PoolMemory:
    return PoolMemory(
        tuple(Recommendation(*entry) for entry in recommendations), tuple(ScaleEvent(*event) for event in events)
    )


def rules(
    *policies: tuple[PolicyType, int, float],
    window_s: float = 0.0,
    select: SelectPolicy = SelectPolicy.MAX,
    tolerance: float = 0.0,
) -> ScalingRules:
    return ScalingRules(window_s, tuple(ScalingPolicy(*policy) for policy in policies), select, tolerance)


class TestStabilization:
    def test_defaults_up_at_once(self) -> None:
        assert stabilize(memory((90.0, 2)), Behavior(), 2, 9, 100.0).replicas == 9

    def test_down_waits_for_the_greatest_of_the_window(self) -> None:
        seen = memory((0.0, 9), (100.0, 6), (250.0, 4))
        assert stabilize(seen, Behavior(), 9, 3, 299.0).replicas == 9
        step = stabilize(seen, Behavior(), 9, 3, 300.0)
        assert (step.replicas, step.limit) == (6, Limit.SCALE_DOWN_STABILIZATION)
        assert stabilize(seen, Behavior(), 9, 3, 549.0).replicas == 4
        done = stabilize(seen, Behavior(), 9, 3, 550.0)
        assert (done.replicas, done.limit) == (3, None)

    def test_up_window_takes_the_least(self) -> None:
        slow = Behavior(scale_up=rules(window_s=60.0))
        step = stabilize(memory((50.0, 3), (80.0, 6)), slow, 2, 9, 100.0)
        assert (step.replicas, step.limit) == (3, Limit.SCALE_UP_STABILIZATION)

    def test_a_valley_inside_the_down_window_keeps_the_current_count(self) -> None:
        step = stabilize(memory((90.0, 8)), Behavior(), 5, 3, 100.0)
        assert (step.replicas, step.limit) == (5, Limit.SCALE_DOWN_STABILIZATION)

    def test_nothing_to_do(self) -> None:
        assert stabilize(memory((90.0, 8)), Behavior(), 5, 5, 100.0).limit is None


class TestPolicies:
    def test_none_means_no_limit(self) -> None:
        assert limit_rate(PoolMemory(), Behavior(), 1, 300, 0.0).replicas == 300
        assert limit_rate(PoolMemory(), Behavior(), 300, 1, 0.0).replicas == 1

    @pytest.mark.parametrize(
        ("select", "replicas"), [(SelectPolicy.MAX, 14), (SelectPolicy.MIN, 13), (SelectPolicy.DISABLED, 10)]
    )
    def test_up(self, select: SelectPolicy, replicas: int) -> None:
        behavior = Behavior(scale_up=rules((PolicyType.PODS, 4, 60), (PolicyType.PERCENT, 25, 60), select=select))
        step = limit_rate(PoolMemory(), behavior, 10, 50, 0.0)
        assert (step.replicas, step.limit) == (replicas, Limit.SCALE_UP_POLICY)

    @pytest.mark.parametrize(
        ("select", "replicas"), [(SelectPolicy.MAX, 6), (SelectPolicy.MIN, 7), (SelectPolicy.DISABLED, 10)]
    )
    def test_down(self, select: SelectPolicy, replicas: int) -> None:
        behavior = Behavior(scale_down=rules((PolicyType.PODS, 4, 60), (PolicyType.PERCENT, 25, 60), select=select))
        step = limit_rate(PoolMemory(), behavior, 10, 1, 0.0)
        assert (step.replicas, step.limit) == (replicas, Limit.SCALE_DOWN_POLICY)

    def test_percent_up_rounds_up_and_down_rounds_down(self) -> None:
        ten = Behavior(rules((PolicyType.PERCENT, 10, 60)), rules((PolicyType.PERCENT, 10, 60)))
        assert limit_rate(PoolMemory(), ten, 1, 9, 0.0).replicas == 2
        assert limit_rate(PoolMemory(), ten, 5, 1, 0.0).replicas == 4

    def test_changes_within_the_period_count(self) -> None:
        behavior = Behavior(scale_up=rules((PolicyType.PODS, 4, 60)))
        grown = memory(events=((50.0, 3),))
        assert limit_rate(grown, behavior, 10, 50, 100.0).replicas == 11
        assert limit_rate(grown, behavior, 10, 50, 110.0).replicas == 14

    def test_the_count_at_the_start_adds_what_was_removed_since(self) -> None:
        behavior = Behavior(scale_up=rules((PolicyType.PERCENT, 100, 60)))
        assert limit_rate(memory(events=((90.0, -4),)), behavior, 6, 50, 100.0).replicas == 20

    def test_an_exhausted_limit_keeps_the_current_count(self) -> None:
        behavior = Behavior(rules((PolicyType.PODS, 2, 60)), rules((PolicyType.PODS, 2, 60)))
        assert limit_rate(memory(events=((90.0, 5),)), behavior, 10, 50, 100.0).replicas == 10
        assert limit_rate(memory(events=((90.0, -5),)), behavior, 10, 1, 100.0).replicas == 10


class TestTolerance:
    def test_default_is_none(self) -> None:
        assert not within_tolerance(Behavior(), 10, 11, 10.001)

    def test_each_direction_has_its_own(self) -> None:
        behavior = Behavior(scale_up=rules(tolerance=0.1), scale_down=rules(tolerance=0.3))
        assert within_tolerance(behavior, 10, 11, 10.9)
        assert not within_tolerance(behavior, 10, 12, 11.1)
        assert within_tolerance(behavior, 10, 8, 7.5)
        assert not within_tolerance(behavior, 10, 7, 6.9)


class TestMemory:
    def test_constant_load_keeps_one_entry(self) -> None:
        kept = PoolMemory()
        for second in range(0, 3600, 15):
            kept = remember(kept, Behavior(), 4, 0, float(second))
        assert kept == memory((3585.0, 4))

    def test_dominated_entries_are_dropped(self) -> None:
        kept = remember(memory((0.0, 3), (10.0, 9), (20.0, 5)), Behavior(), 4, 0, 30.0)
        assert kept == memory((10.0, 9), (20.0, 5), (30.0, 4))

    def test_an_up_window_keeps_the_least_too(self) -> None:
        behavior = Behavior(scale_up=rules(window_s=300.0))
        kept = remember(memory((0.0, 3), (10.0, 9), (20.0, 5)), behavior, 4, 0, 30.0)
        assert kept == memory((0.0, 3), (10.0, 9), (20.0, 5), (30.0, 4))

    def test_events_live_as_long_as_the_longest_period(self) -> None:
        behavior = Behavior(scale_down=rules((PolicyType.PODS, 1, 60), (PolicyType.PODS, 1, 120)))
        kept = remember(memory(events=((0.0, 2), (50.0, -1))), behavior, 4, 3, 130.0)
        assert kept.events == (ScaleEvent(50.0, -1), ScaleEvent(130.0, 3))
        assert remember(kept, Behavior(), 4, 1, 131.0).events == ()

    def test_seed(self) -> None:
        assert seed(memory((1.0, 2)), 7, 9.0) == memory((1.0, 2), (9.0, 7))


class TestFoundAfterARestart:
    """An order of which nobody knows when it was written: at the latest now, perhaps long ago."""

    SLOW = Behavior(scale_up=rules((PolicyType.PODS, 2, 60.0)), scale_down=rules((PolicyType.PODS, 2, 60.0)))

    @pytest.mark.parametrize(("change", "allowed"), [(2, 6), (1, 7), (-1, 8), (-4, 8)])
    def test_it_uses_up_its_own_direction_and_makes_no_room_for_the_other(self, change: int, allowed: int) -> None:
        found = PoolMemory((), (ScaleEvent(100.0, change, found=True),))
        assert limit_rate(found, self.SLOW, 6, 20, 101.0).replicas == allowed
        assert limit_rate(found, self.SLOW, 6, 1, 101.0).replicas == min(6, {2: 4, 1: 4, -1: 5, -4: 8}[change])

    def test_what_was_ordered_in_the_period_does_make_room(self) -> None:
        ordered = PoolMemory((), (ScaleEvent(100.0, -1),))
        assert limit_rate(ordered, self.SLOW, 6, 20, 101.0).replicas == 9, "as with HPA"

    def test_it_is_forgotten_with_its_period(self) -> None:
        found = PoolMemory((), (ScaleEvent(100.0, 2, found=True),))
        assert limit_rate(found, self.SLOW, 6, 20, 160.0).replicas == 8
