"""Settling one pool within a budget: what is spent where, and what is left undecided."""

from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyStatistics, LatencyTarget
from pdscaler.core.verification import Trial
from pdscaler.core.verify_search import Verdict
from pdscaler.core.verify_settle import MOST_REPLICAS, Margin, Settled, settle

MEETS, MISSES, UNDECIDED = Verdict.MEETS, Verdict.MISSES, Verdict.UNDECIDED
BLOCK = 100


class FakeTrials:
    """Each count is decided after as many blocks of requests as ``blocks`` says (1 where it is silent).

    Until then ``seen`` says what it looks like: its margin and half width.
    """

    def __init__(
        self, least: int, blocks: dict[int, int] | None = None, seen: dict[int, tuple[float, float]] | None = None
    ) -> None:
        self.pool = Pool.PREFILL
        self.target: LatencyTarget | None = LatencyTarget(1.0)
        self.requests = 0
        self._least = least
        self._blocks = blocks or {}
        self._seen = seen or {}
        self.cost: dict[int, int] = {}

    def judge(self, replicas: int, budget: int) -> Verdict:
        needed = BLOCK * self._blocks.get(replicas, 1)
        while self.spent(replicas) < needed and (self.spent(replicas) == 0 or self.spent(replicas) + BLOCK <= budget):
            self.cost[replicas] = self.spent(replicas) + BLOCK
            self.requests += BLOCK
        if self.spent(replicas) < needed:
            return UNDECIDED
        return MEETS if replicas >= self._least else MISSES

    def look(self, replicas: int) -> None:
        self.cost.setdefault(replicas, 0)

    def unattainable(self) -> bool:
        return False

    def spent(self, replicas: int) -> int:
        return self.cost.get(replicas, 0)

    def statistics(self, replicas: int) -> LatencyStatistics | None:
        return LatencyStatistics() if replicas in self.cost else None

    def margin(self, replicas: int) -> Margin:
        if replicas not in self.cost:
            return Margin(None, None)
        return Margin(*self._seen.get(replicas, (0.2 if replicas >= self._least else -0.2, 0.1)))

    def trials(self) -> tuple[Trial, ...]:
        return ()


def outcome(found: Settled) -> tuple[int | None, bool]:
    return found.least, found.decided


def test_a_clear_case_costs_two_blocks() -> None:
    trials = FakeTrials(5)
    assert outcome(settle(trials, 5, 100, 10_000)) == (5, True)
    assert trials.cost == {5: BLOCK, 4: BLOCK}


def test_a_close_count_below_gets_all_that_is_left() -> None:
    trials = FakeTrials(5, {4: 70})
    assert outcome(settle(trials, 5, 100, 10_000)) == (5, True)
    assert trials.cost == {5: BLOCK, 4: 70 * BLOCK}


def test_where_a_close_count_turns_out_to_be_enough_the_search_goes_on_below() -> None:
    trials = FakeTrials(4, {4: 70}, {4: (-0.01, 0.1)})
    assert outcome(settle(trials, 5, 100, 10_000)) == (4, True)
    assert trials.cost == {5: BLOCK, 4: 70 * BLOCK, 3: BLOCK}


def test_a_close_start_that_looks_enough_is_looked_at_again() -> None:
    trials = FakeTrials(5, {5: 70})
    assert outcome(settle(trials, 5, 100, 10_000)) == (5, True)
    assert trials.cost == {5: 70 * BLOCK, 4: BLOCK}


def test_a_close_start_that_looks_too_few_is_left_for_the_next_then_looked_at_again() -> None:
    trials = FakeTrials(5, {5: 70}, {5: (-0.01, 0.1)})
    assert outcome(settle(trials, 5, 100, 10_000)) == (5, True)
    assert trials.cost == {5: 70 * BLOCK, 6: BLOCK, 4: BLOCK}


def test_at_the_end_of_the_budget_the_safe_count_is_taken_and_not_called_decided() -> None:
    below = FakeTrials(5, {4: 200}, {4: (-0.01, 0.02)})
    assert outcome(settle(below, 5, 100, 10_000)) == (5, False)
    assert below.requests == 10_000
    start = FakeTrials(5, {5: 200}, {5: (0.01, 0.03)})
    assert outcome(settle(start, 5, 100, 10_000)) == (6, False)
    assert start.requests == 10_000 + BLOCK, "the last count that is looked at may cost a block more"


def test_at_the_end_of_the_budget_a_count_that_cannot_miss_by_much_is_enough() -> None:
    barely = FakeTrials(5, {5: 200}, {5: (0.01, 0.015)})
    assert outcome(settle(barely, 5, 100, 10_000)) == (5, False), "at most half a percent above the target"
    plainly = FakeTrials(5, {5: 200}, {5: (0.03, 0.02)})
    assert outcome(settle(plainly, 5, 100, 10_000)) == (5, True), "its 95 % interval is clear of the target"


def test_where_nothing_is_clear_the_model_is_believed() -> None:
    murky = dict.fromkeys(range(1, 101), 1000)
    looks = {count: (0.01 if count == 9 else -0.01, 0.2) for count in murky}
    assert outcome(settle(FakeTrials(7, murky, looks), 9, 100, 10_000)) == (9, False)


def test_every_count_that_is_tried_costs_a_block_whatever_the_budget() -> None:
    trials = FakeTrials(5)
    assert outcome(settle(trials, 5, 100, 0)) == (5, True)
    assert trials.cost == {5: BLOCK, 4: BLOCK}


def test_the_greatest_allowed_count_is_tried_where_the_model_asks_for_more() -> None:
    trials = FakeTrials(30)
    assert outcome(settle(trials, 25, 20, 10_000)) == (None, True)
    assert outcome(settle(FakeTrials(20), 25, 20, 10_000)) == (20, True)


def test_counts_beyond_what_is_simulated_are_not_tried() -> None:
    trials = FakeTrials(10 * MOST_REPLICAS)
    assert outcome(settle(trials, 9 * MOST_REPLICAS, 10 * MOST_REPLICAS, 10**9)) == (None, False)
