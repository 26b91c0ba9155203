"""The least that replicas cost over time to do given work within given intervals. May import numpy and scipy (late).

One pool. Item i is work of w_i replica seconds that must be done between r_i and e_i, and costs nothing where the
request is one of the few that may be missed. What is wanted is a lower bound of ``∫ n(t) dt``, n being the replicas
ordered, whatever the orders.

1. *Lives.* A replica ordered at o is ready at o + s, takes requests until it is told to leave at l, and then finishes
   what it has begun: counted work (of requests that meet their targets) within d more seconds. So it works within
   [o + s, l + d]. Orders are counted on [o, l]; moved by d they are [o + d, l + d], which covers all its work if
   d ≤ s, and σ = s − d seconds before. Where d > s, work up to ext = d − s seconds after those is charged
   θ = s / d < 1 of its size: squeezing [o + s, l + d] onto [o, l] at most divides it by θ, as l − o ≥ s, and moves no
   work by less than s or more than d. Then σ = 0.
2. *Holding.* With r(u) the replicas that can work at u and M = max(n_min, r): the orders moved by d are at least M, and
   for each rise of M by one they are one more in the σ seconds before it. (Rises to come add up, as each is a replica
   of its own; and where r < n_min, as many rises of r as n_min hides do not raise M.) A replica that rises less than σ
   after the begin was ordered before it: let M count it from the begin on. Then M has no such rises, it does no less
   work, and ``∫ n ≥ ∫ M + σ · (rises of M)``.
3. *Windows.* Cut time into windows of length L and let M_k be the mean of M. Then ``∫ M = Σ L M_k``, and the rises of M
   sum to at least the rises of its means: between two means M attains values on either side of them. The first mean is
   free of a rise.
4. *Work.* ``L M_k`` is at least the work done in window k. An item within window k is done there; one that crosses a
   single boundary in both, in any proportion; what crosses more is left out.
5. *Misses.* The policy chooses which K requests to miss. In a class of items (one window or one boundary), sorted by
   work and cut into groups, leaving out work x of a group whose largest item is w takes x / w requests or more.

M_k, rises, splits and work left out are the variables of a linear programme, and every real run is a feasible point of
it, so its optimum is a bound. Lower bounds stay bounds for any L.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]

GROUPS = np.array([0.0, 0.02, 0.06, 0.15, 0.35, 0.65, 1.0])
"""Where the items of a class, the largest first, are cut, as shares of their number."""

TOLERANCE = 1e-6
"""Relative; what the solver's optimum may be above the true one."""


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """Work and when it must be done: from ``release_s`` on, until ``due_s``; ``work_s`` in replica seconds."""

    release_s: Reals
    due_s: Reals
    work_s: Reals

    def of(self, which: NDArray[np.bool_]) -> "Items":
        """Return some of them."""
        return Items(self.release_s[which], self.due_s[which], self.work_s[which])


@dataclass(frozen=True, slots=True)
class Holding:
    """What replicas cost.

    Parameters
    ----------
    begin_s, end_s
        Orders count between these.
    least
        Replicas that are ordered at any time.
    startup_s
        From order to ready, s above.
    drain_s
        Longest work on counted requests after a replica is told to leave, d above.
    """

    begin_s: float
    end_s: float
    least: int
    startup_s: float
    drain_s: float

    @property
    def rise_s(self) -> float:
        """σ: what a rise costs beside holding."""
        return max(0.0, self.startup_s - self.drain_s)

    @property
    def share(self) -> float:
        """θ: the share of the work that is charged."""
        return min(1.0, self.startup_s / self.drain_s) if self.drain_s > 0 else 1.0

    @property
    def late_s(self) -> float:
        """ext: how much later than due charged work may lie."""
        return max(0.0, self.drain_s - self.startup_s)


def least_replica_s(items: Items, holding: Holding, misses: int, window_s: float) -> float:
    """Return a lower bound of the replica seconds ordered, by windows of a length; see the module's proof.

    Parameters
    ----------
    items
        The work of requests that meet their targets if they are not missed.
    holding
        What replicas cost.
    misses
        Requests that may be missed, at least 0.
    window_s
        Length of the windows, seconds, > 0.

    Examples
    --------
    >>> one = Items(np.array([100.0]), np.array([101.0]), np.array([1.0]))
    >>> holding = Holding(0.0, 200.0, 1, startup_s=20.0, drain_s=0.0)
    >>> round(least_replica_s(one, holding, 0, 1.0), 3), round(least_replica_s(one, holding, 1, 1.0), 3)
    (200.0, 200.0)
    >>> three = Items(np.full(3, 100.0), np.full(3, 101.0), np.full(3, 1.0))
    >>> round(least_replica_s(three, holding, 0, 1.0), 3), round(least_replica_s(three, holding, 1, 1.0), 3)
    (242.0, 221.0)
    """
    span_s = holding.end_s - holding.begin_s
    if span_s <= 0:
        return 0.0
    floor_s = span_s * holding.least
    begin_s, end_s = holding.begin_s + holding.drain_s, holding.end_s + holding.drain_s
    items = Items(items.release_s, items.due_s + holding.late_s, items.work_s * holding.share)
    items = items.of((items.release_s >= begin_s) & (items.due_s <= end_s) & (items.work_s > 0))
    if not len(items.work_s):
        return floor_s
    edges_s = np.append(begin_s + window_s * np.arange(max(1, math.floor(span_s / window_s))), end_s)
    groups = _groups(items, edges_s)
    return max(floor_s, _solve(groups, edges_s, holding, misses) * (1 - TOLERANCE))


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """Groups of items: their window, whether they cross its end, their work together, and the largest of one."""

    window: Integers
    crosses: NDArray[np.bool_]
    total_s: Reals
    largest_s: Reals


def _groups(items: Items, edges_s: Reals) -> _Groups:
    last = len(edges_s) - 2
    first = np.clip(np.searchsorted(edges_s, items.release_s, side="right") - 1, 0, last)
    final = np.clip(np.searchsorted(edges_s, items.due_s, side="left") - 1, first, last)
    short = final - first <= 1
    window, crosses, work_s = first[short], (final > first)[short], items.work_s[short]
    kind = 2 * window + crosses
    order = np.lexsort((-work_s, kind))
    kind, work_s = kind[order], work_s[order]
    begins = np.flatnonzero(np.diff(kind, prepend=-1))
    sizes = np.diff(np.append(begins, len(kind)))
    cuts = np.unique((begins[:, None] + np.floor(sizes[:, None] * GROUPS[None, :-1]).astype(np.int64)).ravel())
    total_s = np.add.reduceat(work_s, cuts) if len(cuts) else np.zeros(0)
    return _Groups(kind[cuts] // 2, kind[cuts] % 2 == 1, total_s, work_s[cuts])


def _solve(groups: _Groups, edges_s: Reals, holding: Holding, misses: int) -> float:
    """Return the optimum of the linear programme, replica seconds.

    Variables: the means M_k; the rises; of each boundary the crossing work done before it, and behind it; the work left
    out of each group.
    """
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    lengths_s = np.diff(edges_s)
    count, ahead = len(lengths_s), len(groups.window)
    risen = np.arange(1, count)  # from the window before into this one
    mean, rise = 0, count
    before = rise + len(risen)
    behind = before + count - 1
    left_out = behind + count - 1
    rows: list[Any] = []

    def put(row: Integers, column: Integers, value: Reals) -> None:
        rows.append((row, column, value))

    windows, bounds = np.arange(count), np.arange(count - 1)
    inner = np.flatnonzero(~groups.crosses)
    across = np.flatnonzero(groups.crosses)
    # The work done in a window is no more than its replicas can do.
    put(windows, mean + windows, -lengths_s)
    put(bounds, before + bounds, np.ones(count - 1))
    put(bounds + 1, behind + bounds, np.ones(count - 1))
    put(groups.window[inner], left_out + inner, -np.ones(len(inner)))
    # Work that crosses a boundary is done before it, or behind it, or left out.
    put(count + bounds, before + bounds, -np.ones(count - 1))
    put(count + bounds, behind + bounds, -np.ones(count - 1))
    put(count + groups.window[across], left_out + across, -np.ones(len(across)))
    # A rise is what a mean exceeds the one before by.
    places = 2 * count - 1 + np.arange(len(risen))
    put(places, mean + risen, np.ones(len(risen)))
    put(places, mean + risen - 1, -np.ones(len(risen)))
    put(places, rise + np.arange(len(risen)), -np.ones(len(risen)))
    # Misses.
    final = 2 * count - 1 + len(risen)
    put(np.full(ahead, final), left_out + np.arange(ahead), 1 / groups.largest_s)

    limits = np.zeros(final + 1)
    limits[:count] = -np.bincount(groups.window[inner], groups.total_s[inner], minlength=count)
    limits[count : 2 * count - 1] = -np.bincount(groups.window[across], groups.total_s[across], minlength=count)[:-1]
    limits[final] = misses
    costs = np.zeros(left_out + ahead)
    costs[:count] = lengths_s
    costs[rise:before] = holding.rise_s
    lowest = np.zeros(left_out + ahead)
    lowest[:count] = holding.least
    highest = np.full(left_out + ahead, np.inf)
    highest[left_out:] = groups.total_s
    row, column, value = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    matrix = coo_array((value, (row, column)), shape=(final + 1, left_out + ahead)).tocsr()
    answer = linprog(costs, matrix, limits, bounds=np.column_stack((lowest, highest)), method="highs")
    return float(answer.fun) if answer.status == 0 else 0.0
