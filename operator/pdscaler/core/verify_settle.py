"""Settle the least count of one pool within a budget of simulated requests. Imports core only."""

from dataclasses import dataclass

from pdscaler.core.verify_search import Found, Verdict, least_count
from pdscaler.core.verify_trial import PoolTrials

MOST_REPLICAS = 2000
"""Counts beyond this are not simulated."""


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

    trials: PoolTrials
    least: int | None
    decided: bool
    searched: bool = True


def settle(trials: PoolTrials, start: int, ceiling: int, budget: int) -> Settled:
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
    return Settled(trials, found.replicas, found.settled)
