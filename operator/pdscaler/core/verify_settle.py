"""Settle the least count of one pool within a budget of simulated requests. Imports core only."""

from dataclasses import dataclass
from typing import Protocol

from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyStatistics, LatencyTarget
from pdscaler.core.verification import Trial
from pdscaler.core.verify_search import Verdict, least_count

MOST_REPLICAS = 2000
"""Counts beyond this are not simulated."""

SHARE = 4
"""A count may first take a quarter of what is left of the budget: its neighbours must be looked at too."""

SPARE = 0.01
"""A count that may miss the target by at most this share of it, so far as is known, is as good as enough."""

SHARP = 0.02
"""A 95 % interval up to this half width, as a share of the target, is believed. A wider one comes from a queue near
saturation, whose rare long excursions a run of this length may have missed: the estimate is then too low more often
than too high, and must clear the target by twice the half width."""


@dataclass(frozen=True, slots=True)
class Margin:
    """How far below the target a count stays, and half the width of that's 95 % interval, as shares of the target.

    None where it is unknown; minus infinity where the queue grows.
    """

    share: float | None
    half_width: float | None

    @property
    def surely(self) -> float | None:
        """The share below the target that is as good as certain; None where nothing is known."""
        if self.share is None or self.half_width is None:
            return None
        return self.share - self.half_width * (1 if self.half_width <= SHARP else 2)


class Trials(Protocol):
    """Trials of one pool, whatever they simulate."""

    @property
    def pool(self) -> Pool:
        """Whose trials."""

    @property
    def target(self) -> LatencyTarget | None:
        """What they are held against; None where there is nothing."""

    @property
    def requests(self) -> int:
        """Requests simulated so far, over all counts."""

    def judge(self, replicas: int, budget: int) -> Verdict:
        """Say whether a count meets the target, for one block of requests or ``budget`` in all for this count."""

    def look(self, replicas: int) -> None:
        """Make sure that a count was simulated."""

    def unattainable(self) -> bool:
        """Whether requests that have a replica to themselves miss the target too."""

    def spent(self, replicas: int) -> int:
        """Return the requests that a count has cost."""

    def statistics(self, replicas: int) -> LatencyStatistics | None:
        """Return every statistic of a count; None where it was not simulated for long enough."""

    def margin(self, replicas: int) -> Margin:
        """Return by which share of the target a count stays below it."""

    def trials(self) -> tuple[Trial, ...]:
        """Return what was simulated, in order."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What simulation settled of one pool.

    Parameters
    ----------
    trials
        What was simulated.
    least
        The least count that was seen to meet the target; None where not even the greatest allowed one does. Where
        nothing was searched for (no target, or one that no count meets), the model's own count.
    decided
        Whether both it and the count below were clear of the target.
    searched
        Whether there was a count to search for.
    """

    trials: Trials
    least: int | None
    decided: bool
    searched: bool = True


def settle(trials: Trials, start: int, ceiling: int, budget: int) -> Settled:
    """Search from ``start`` and spend what is left of the budget where it is still undecided.

    Parameters
    ----------
    trials
        The pool's trials, which have a target.
    start
        The model's count.
    ceiling
        The greatest count allowed: a need beyond it is not counted.
    budget
        Requests that the trials of this pool may cost. A count that is tried costs one block at least.

    Notes
    -----
    First each count that the search asks for gets a share of what is left, and one that is still undecided then counts
    by its estimate. After that, all the rest goes to the two counts at the border, as long as they are undecided. If
    the budget ends before, a count is taken for enough where its 95 % interval (a wide one twice: ``SHARP``) ends
    within 1 % above the target, half of what anybody's sampling tolerates, and the next one otherwise.
    """
    simulable = ceiling <= MOST_REPLICAS
    ceiling = min(ceiling, MOST_REPLICAS)
    search = _Search(trials, budget)
    found = least_count(search.opinion, min(start, ceiling), 1, ceiling).replicas
    while True:
        border = (ceiling,) if found is None else (found, found - 1)
        weak = [count for count in border if count >= 1 and search.undecided(count)]
        if not weak or not search.insist(weak):
            break
        found = least_count(search.opinion, border[0], 1, ceiling).replicas
    if found is not None and search.undecided(found) and not search.acceptable(found):
        # Where the next one is no clearer, nothing but the model is left to go by.
        above = found < ceiling and search.opinion(found + 1) is Verdict.MEETS
        found = found + 1 if above else max(found, min(start, ceiling))
    if found is None:
        return Settled(trials, None, simulable and search.clear(ceiling, meets=False))
    decided = search.clear(found, meets=True) and (found == 1 or search.clear(found - 1, meets=False))
    return Settled(trials, found, decided)


class _Search:
    """The trials of one search, its budget, and what to think of a count that is not decided."""

    def __init__(self, trials: Trials, budget: int) -> None:
        self._trials = trials
        self._budget = budget
        self._verdicts: dict[int, Verdict] = {}

    def opinion(self, replicas: int) -> Verdict:
        """Return the verdict on a count; the side of its estimate where it is undecided."""
        if replicas not in self._verdicts:
            self._judge(replicas, max(self._left, 0) // SHARE)
        verdict = self._verdicts[replicas]
        share = self._trials.margin(replicas).share
        if verdict is not Verdict.UNDECIDED or share is None:
            return verdict
        return Verdict.MEETS if share >= 0 else Verdict.MISSES

    def undecided(self, replicas: int) -> bool:
        """Whether a count was tried, and is not decided."""
        return self._verdicts.get(replicas) is Verdict.UNDECIDED

    def insist(self, counts: list[int]) -> bool:
        """Spend what is left on counts; return whether any of them could be simulated further."""
        before = self._trials.requests
        for index, replicas in enumerate(counts):
            self._judge(replicas, max(self._left, 0) // (len(counts) - index))
        return self._trials.requests > before

    def acceptable(self, replicas: int) -> bool:
        """Whether an undecided count is as good as enough."""
        surely = self._trials.margin(replicas).surely
        return surely is not None and surely >= -SPARE

    def clear(self, replicas: int, *, meets: bool) -> bool:
        """Whether a count is decided one way, at least by its 95 % interval."""
        if not self.undecided(replicas):
            return self._verdicts.get(replicas) is (Verdict.MEETS if meets else Verdict.MISSES)
        margin = self._trials.margin(replicas)
        if margin.share is None or margin.half_width is None or margin.surely is None:
            return False
        return margin.surely >= 0 if meets else margin.share + margin.half_width < 0

    @property
    def _left(self) -> int:
        return self._budget - self._trials.requests

    def _judge(self, replicas: int, more: int) -> None:
        self._verdicts[replicas] = self._trials.judge(replicas, self._trials.spent(replicas) + more)
