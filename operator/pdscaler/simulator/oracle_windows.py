"""Windows of time, what each may miss, and orders that give each its replicas in time. May import numpy and core."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.changes import Order

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]

_SLACK_S = 1e-6
"""Instants closer than this are one: an order one start-up ahead is in time in spite of rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """A run cut into windows.

    Parameters
    ----------
    edges_s
        Begins of the windows, and the end of the last one, seconds, ascending.
    first
        The first request that arrives in each window, and the number of requests.
    """

    edges_s: Reals
    first: Integers

    def __len__(self) -> int:
        return len(self.edges_s) - 1

    @property
    def requests(self) -> Integers:
        """Requests that arrive in each window."""
        return np.asarray(np.diff(self.first), np.int64)

    def count(self, which: NDArray[np.bool_]) -> Integers:
        """Count a mask of the requests by the window of their arrival."""
        total = np.concatenate(([0], np.cumsum(which)))
        return np.asarray(np.diff(total[self.first]), np.int64)

    def allowance(self, share: float, hopeless: Integers) -> Integers:
        """Return how many requests each window may miss.

        Parameters
        ----------
        share
            Share of the requests that must meet both targets.
        hopeless
            Requests in each window that no number of replicas serves in time. Where they alone are more than the
            allowance, the share is asked of the others.
        """
        requests = self.requests
        base = np.floor((1 - share) * requests + 1e-9)
        others = hopeless + np.floor((1 - share) * (requests - hopeless) + 1e-9)
        return np.asarray(np.where(hopeless <= base, base, others), np.int64)


def windows_of(arrival_s: Reals, measured_from_s: float, window_s: float) -> Windows:
    """Cut a run into windows that begin at ``measured_from_s`` and multiples of ``window_s`` before and after it.

    What is left at both ends is a window of its own if it is at least half as long, and else belongs to its neighbour.

    Examples
    --------
    >>> windows_of(np.array([0.0, 10.0, 130.0]), 60.0, 60.0).edges_s.tolist()
    [0.0, 60.0, 130.0]
    """
    begin_s, end_s = float(arrival_s[0]), float(arrival_s[-1])
    lowest = math.ceil((begin_s - measured_from_s) / window_s)
    highest = math.floor((end_s - measured_from_s) / window_s)
    inner_s = measured_from_s + window_s * np.arange(lowest, highest + 1)
    inner_s = inner_s[(inner_s >= begin_s + window_s / 2) & (inner_s <= end_s - window_s / 2)]
    edges_s = np.concatenate(([begin_s], inner_s, [max(end_s, begin_s + _SLACK_S)]))
    first = np.searchsorted(arrival_s, edges_s)
    first[0], first[-1] = 0, len(arrival_s)
    return Windows(edges_s, first)


def steps_of(needs: Integers, windows: Windows, startup_s: float) -> list[tuple[float, int]]:
    """Return the orders (when, how many) that give every window what it needs, from its begin to its end.

    At any instant as many are ordered as the present window needs, and every window that begins within one start-up. So
    a replica is ordered one start-up before the window that needs it, and is given up at the end of the last one; one
    that would be needed again within a start-up stays. The first order holds from the begin: what should have been
    ordered before it is there.
    """
    edges_s = windows.edges_s
    times_s = np.unique(np.concatenate((edges_s[:-1], edges_s[1:-1] - startup_s)))
    times_s = times_s[times_s >= edges_s[0]]
    begins = np.searchsorted(edges_s, times_s + _SLACK_S, side="right") - 1
    ends = np.searchsorted(edges_s[:-1], times_s + startup_s + _SLACK_S, side="right")
    steps: list[tuple[float, int]] = []
    for at_s, begin, end in zip(times_s.tolist(), begins.tolist(), ends.tolist(), strict=True):
        wanted = int(needs[begin:end].max())
        if not steps or wanted != steps[-1][1]:
            steps.append((at_s, wanted))
    return steps


def merged(steps: PerPool[list[tuple[float, int]]]) -> tuple[Order, ...]:
    """Return the orders of both pools as one sequence; the first one is what the run begins with."""
    times_s = sorted({at_s for _, each in steps.items() for at_s, _ in each})
    wanted = steps.map(dict)
    orders: list[Order] = []
    held = steps.map(lambda each: each[0][1])
    for at_s in times_s:
        held = PerPool(wanted.prefill.get(at_s, held.prefill), wanted.decode.get(at_s, held.decode))
        orders.append(Order(at_s, held))
    return tuple(orders)
