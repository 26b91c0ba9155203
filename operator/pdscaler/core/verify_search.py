"""Search for the least count of replicas that a judge lets pass, whatever the judge. Imports the standard library only.

The judge is a simulation with sampling error, so that it may leave a count undecided, and need not be quite monotone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a trial says of a count."""

    MEETS = "Meets"
    MISSES = "Misses"
    UNDECIDED = "Undecided"


Judge = Callable[[int], Verdict]
"""From a count of replicas to the verdict. May be asked about a count again, with more effort, once."""


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a search.

    Parameters
    ----------
    replicas
        The least count that meets the target, as far as was decided; None where not even the greatest count does.
    settled
        Whether this count (None: the greatest) and the one below it were both decided.
    """

    replicas: int | None
    settled: bool


def least_count(judge: Judge, start: int, low: int, high: int) -> Found:
    """Find the least count of an interval that meets the target.

    Parameters
    ----------
    judge
        Tells whether a count meets the target. More replicas are taken to be no worse.
    start
        Where to begin: the model's answer.
    low, high
        The interval, both ends included.

    Returns
    -------
    Found
        An undecided count is taken for one that misses: the safe side.

    Notes
    -----
    Goes from ``start`` in the direction of the verdict, by one, one, two, four …, then bisects: an exact start costs
    two verdicts, one that is off by k about 2·log2(k) + 2. Each verdict is asked for once.

    Examples
    --------
    >>> least_count(lambda count: Verdict.MEETS if count >= 7 else Verdict.MISSES, start=5, low=1, high=100)
    Found(replicas=7, settled=True)
    """
    verdicts: dict[int, Verdict] = {}

    def meets(count: int) -> bool:
        verdicts[count] = verdicts.get(count) or judge(count)
        return verdicts[count] is Verdict.MEETS

    enough: int | None
    count = min(max(start, low), high)
    stride = 1
    if meets(count):
        enough, short = count, low - 1
        while enough > low:
            below = max(low, enough - stride)
            if not meets(below):
                short = below
                break
            stride = stride * 2 if below < count - 1 else 1
            enough = below
    else:
        enough, short = None, count
        while short < high:
            above = min(high, short + stride)
            if meets(above):
                enough = above
                break
            stride = stride * 2 if above > count + 1 else 1
            short = above
        if enough is None:
            return Found(None, verdicts[high] is Verdict.MISSES)
    while enough - short > 1:
        middle = (enough + short) // 2
        if meets(middle):
            enough = middle
        else:
            short = middle
    return Found(enough, short < low or verdicts[short] is Verdict.MISSES)
