"""Settle the least count of one pool within a budget of simulated requests. Imports core only."""

from dataclasses import dataclass
from typing import Protocol

from pdscaler.core.decision import Trial
from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyStatistics, LatencyTarget
from pdscaler.core.verify_search import Found, Verdict, least_count

MOST_REPLICAS = 2000
"""Counts beyond this are not simulated."""


@dataclass(frozen=True, slots=True)
class Margin:
    """How far below the target a count stays, and half the width of that's 95 % interval, as shares of the target.

    None where it is unknown; minus infinity where the queue grows.
    """

    share: float | None
    half_width: float | None


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
        """Say whether a count meets the target, for at most ``budget`` requests in all for this count."""

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
        Requests that the trials of this pool may cost.

    Notes
    -----
    A trial may first take half of what is left, so that its neighbours can be looked at too. Then the count just below
    the answer, if undecided, gets all the rest: should it meet the target after all, the search goes on below it.
    """
    simulable = ceiling <= MOST_REPLICAS
    ceiling = min(ceiling, MOST_REPLICAS)

    def judge(replicas: int) -> Verdict:
        left = max(budget - trials.requests, 0)
        return trials.judge(replicas, trials.spent(replicas) + left // 2)

    found = least_count(judge, min(start, ceiling), 1, ceiling)
    while not found.settled:
        undecided = ceiling if found.replicas is None else found.replicas - 1
        left = max(budget - trials.requests, 0)
        verdict = trials.judge(undecided, trials.spent(undecided) + left)
        if verdict is Verdict.UNDECIDED:
            break
        if verdict is Verdict.MISSES:
            found = Found(found.replicas, settled=True)
        else:
            found = least_count(judge, undecided, 1, undecided)
    return Settled(trials, found.replicas, found.settled and (simulable or found.replicas is not None))
