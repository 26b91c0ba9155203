"""The fence: when a write may begin, and how long it may take."""

import pytest

from pdscaler.cluster.fence import Fence, LeaseTiming, NotLeadingError, suspended_too

TIMING = LeaseTiming(duration_s=15.0, renew_deadline_s=10.0, retry_period_s=2.0)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_nothing_passes_before_a_lease_was_granted() -> None:
    fence = Fence(TIMING, Clock())
    assert not fence.open
    assert fence.term() is None
    with pytest.raises(NotLeadingError):
        fence.allowance_s()


def test_a_write_ends_before_anybody_else_may_take_the_lease() -> None:
    clock = Clock()
    fence = Fence(TIMING, clock)
    fence.extend(clock.now_s)
    for age_s in (0.0, 3.0, 9.999):
        clock.now_s = 1000.0 + age_s
        ends_s = age_s + fence.allowance_s()
        assert ends_s == pytest.approx(14.25), "95 % of 15 s: two clocks may run apart by 5 %"
        assert fence.allowance_s() >= fence.least_allowance_s == pytest.approx(4.25)


@pytest.mark.parametrize("age_s", [10.0, 14.9, 3600.0])
def test_it_closes_by_itself(age_s: float) -> None:
    clock = Clock()
    fence = Fence(TIMING, clock)
    fence.extend(clock.now_s)
    clock.now_s += age_s
    assert not fence.open
    with pytest.raises(NotLeadingError):
        fence.allowance_s()


def test_it_counts_from_before_the_request_and_not_from_its_answer() -> None:
    clock = Clock()
    fence = Fence(TIMING, clock)
    sent_s = clock.now_s
    clock.now_s += 4.0
    fence.extend(sent_s)
    assert fence.left_s == pytest.approx(6.0)
    clock.now_s += 6.0
    assert not fence.open


def test_a_late_answer_shortens_nothing_that_was_granted_since() -> None:
    clock = Clock()
    fence = Fence(TIMING, clock)
    fence.extend(1000.0)
    fence.extend(998.0)
    clock.now_s = 1009.0
    assert fence.open


def test_a_term_is_new_where_the_last_one_had_run_out() -> None:
    clock = Clock()
    fence = Fence(TIMING, clock)
    fence.extend(clock.now_s)
    clock.now_s += 9.0
    fence.extend(clock.now_s)
    assert fence.term() == 1
    clock.now_s += 10.0
    assert fence.term() is None
    fence.extend(clock.now_s)
    assert fence.term() == 2, "what was known in the first term may be wrong by now"
    fence.close()
    assert fence.term() is None
    fence.extend(clock.now_s)
    assert fence.term() == 3


def test_a_clock_that_goes_back_opens_nothing() -> None:
    clock = Clock()
    fence = Fence(TIMING, clock)
    fence.extend(clock.now_s)
    clock.now_s -= 1.0
    assert not fence.open
    with pytest.raises(NotLeadingError):
        fence.allowance_s()


def test_the_clock_never_goes_back() -> None:
    readings = [suspended_too() for _ in range(100)]
    assert readings == sorted(readings)
