"""What several policies are made of: holding, acting now and then, rounding up. May import core."""

import math

from pdscaler.core.pools import PerPool
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.policy import Wanted

_SLACK = 1e-9
"""Relative: 3.0000000001 replicas are 3."""


def hold(observation: Observation, why: str) -> Wanted:
    """Return what is ordered already."""
    return Wanted(observation.ordered, PerPool(why, why))


def count(need: float) -> int:
    """Return the whole replicas that a real-valued need takes, at least one.

    Examples
    --------
    >>> count(2.2), count(3.0), count(0.0)
    (3, 3, 1)
    """
    return max(1, math.ceil(need * (1 - _SLACK)))


class Every:
    """Says when it is time again; the first time is at once.

    Parameters
    ----------
    interval_s
        Seconds from one time to the next.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next_s = -math.inf

    def due(self, now_s: float) -> bool:
        """Return whether it is time; if so the next time is one interval from now."""
        if now_s < self._next_s - 1e-6:
            return False
        self._next_s = now_s + self._interval_s
        return True
