"""One pool under a need of replicas for each window: who is late. May import numpy and core; numba when it runs.

Where a few windows changed, only they are simulated, with their neighbours as a run-in: states forget within seconds.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.simulation.changes import Order, changes_of
from pdscaler.simulator.oracle_windows import Integers, Windows, steps_of

Bools = NDArray[np.bool_]

Late = Callable[[slice, int, Sequence[Order]], Bools]
"""Simulates some requests with so many replicas at first and orders that serve at once; which of them are late."""


@dataclass(slots=True, eq=False)
class PoolTrials:
    """Trials of one pool.

    Parameters
    ----------
    pool, windows
        Whose, and when.
    late
        Simulates a part of the run.
    startup_s
        Of a replica.
    margin_s
        What lies so far before a window and after it matters to it.
    arrival_s
        Arrivals of the requests, seconds.
    simulated
        Requests simulated so far.
    """

    pool: Pool
    windows: Windows
    late: Late
    startup_s: float
    margin_s: float
    arrival_s: NDArray[np.float64]
    simulated: int = 0

    def misses(self, needs: Integers, which: Bools) -> tuple[Integers, Integers]:
        """Return how many requests of some windows are late, and how many of them arrive in the second half.

        What is said of other windows means nothing.
        """
        late = np.zeros(int(self.windows.first[-1]), bool)
        times_s, serving = self._serving(needs)
        for first, last in _runs(which):
            begin_s = self.windows.edges_s[first] - self.margin_s
            end_s = self.windows.edges_s[last] + self.margin_s
            part = slice(*np.searchsorted(self.arrival_s, (begin_s, end_s)).tolist())
            if part.start == part.stop:
                continue
            place = max(0, bisect_right(times_s, begin_s) - 1)
            orders = [
                Order(at_s, PerPool(count, count))
                for at_s, count in zip(times_s[place + 1 :], serving[place + 1 :], strict=True)
                if at_s <= end_s
            ]
            own = slice(*self.windows.first[[first, last]].tolist())
            late[own] = self.late(part, serving[place], orders)[own.start - part.start : own.stop - part.start]
            self.simulated += part.stop - part.start
        edges_s = self.windows.edges_s
        middles = np.searchsorted(self.arrival_s, (edges_s[:-1] + edges_s[1:]) / 2)
        total = np.concatenate(([0], np.cumsum(late)))
        return self.windows.count(late), np.asarray(total[self.windows.first[1:]] - total[middles], np.int64)

    def _serving(self, needs: Integers) -> tuple[list[float], list[int]]:
        """Return when how many replicas serve."""
        (begin_s, initial), *steps = steps_of(needs, self.windows, self.startup_s)
        orders = [Order(at_s, PerPool(count, count)) for at_s, count in steps]
        changes = changes_of(self.pool, initial, orders, self.startup_s)
        serving = list(accumulate(changes.ready.tolist(), initial=initial))
        return [begin_s, *changes.at_s.tolist()], serving


def _runs(which: Bools) -> Iterator[tuple[int, int]]:
    """Yield (first, behind the last) of each run of neighbours."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], which, [False])).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
