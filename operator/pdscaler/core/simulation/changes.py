"""Orders of replicas, as what happens to a pool. Imports numpy, the standard library and core only."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import PerPool, Pool
from pdscaler.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Order:
    """From ``at_s`` on these replicas are wanted."""

    at_s: float
    replicas: PerPool[int]


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What happens to one pool, in order.

    Parameters
    ----------
    initial
        Replicas that are ready from the start.
    at_s
        When, seconds, ascending.
    ready
        1: one becomes ready then; negative: how many of the ready ones leave, the least loaded first.
    ordered_s
        When each replica that ever becomes ready was ordered, by its rank; minus infinity for the initial ones.
    cancelled_s
        (order, cancellation) of those that never became ready.
    """

    initial: int
    at_s: NDArray[np.float64]
    ready: NDArray[np.int64]
    ordered_s: NDArray[np.float64]
    cancelled_s: tuple[tuple[float, float], ...] = ()

    @property
    def most(self) -> int:
        """Replicas that ever serve."""
        return len(self.ordered_s)


class Staffing:
    """One pool's replicas under orders that are decided on the way: what each of them does to the pool.

    A scale-up serves ``startup_s`` after its order. A scale-down takes first those that are not ready yet, the newest
    first, then ready ones. What becomes ready at the instant of an order is ready before it.

    Parameters
    ----------
    pool
        Which pool, for messages.
    initial
        Replicas that are ready from the start.
    startup_s
        Seconds from an order to the first request served.

    Raises
    ------
    InvalidInputError
        If a count is below 1, or the start-up is no duration.
    """

    __slots__ = ("cancelled", "last_s", "ordered_s", "pending", "pool", "serving", "startup_s")

    def __init__(self, pool: Pool, initial: int, startup_s: float) -> None:
        if initial < 1:
            raise InvalidInputError(f"{pool.value} replicas", f"must be at least 1, found {initial}")
        if not math.isfinite(startup_s) or startup_s < 0:
            raise InvalidInputError(
                f"spec.{pool.value}.startup", f"must be a duration of at least 0, found {startup_s}"
            )
        self.pool = pool
        self.startup_s = startup_s
        self.serving = initial
        self.pending: list[float] = []
        """When each of those that are not ready yet was ordered."""
        self.ordered_s = [-math.inf] * initial
        self.cancelled: list[tuple[float, float]] = []
        self.last_s = -math.inf

    @property
    def ordered(self) -> int:
        """What was ordered last: those that serve, and those that will."""
        return self.serving + len(self.pending)

    def until(self, now_s: float) -> list[tuple[float, int]]:
        """Return who has become ready up to and including ``now_s``: (when, 1) each."""
        begun = bisect_right(self.pending, now_s, key=lambda ordered_s: ordered_s + self.startup_s)
        begun_s, self.pending = self.pending[:begun], self.pending[begun:]
        self.ordered_s += begun_s
        self.serving += begun
        return [(ordered_s + self.startup_s, 1) for ordered_s in begun_s]

    def order(self, at_s: float, wanted: int) -> list[tuple[float, int]]:
        """Order ``wanted`` replicas; return what happens up to this instant: who became ready, how many leave.

        Raises
        ------
        InvalidInputError
            If the count is below 1, or an earlier order is later.
        """
        if wanted < 1:
            raise InvalidInputError(f"{self.pool.value} replicas", f"must be at least 1, found {wanted}")
        if not self.last_s <= at_s < math.inf:
            raise InvalidInputError("orders", f"must be in order of time, found {at_s} after {self.last_s}")
        self.last_s = at_s
        events = self.until(at_s)
        self.pending += [at_s] * (wanted - self.ordered)
        events += self.until(at_s)  # at once, where nothing takes time to start
        while self.pending and self.ordered > wanted:
            self.cancelled.append((self.pending.pop(), at_s))
        if self.serving > wanted:
            events.append((at_s, wanted - self.serving))
            self.serving = wanted
        return events


def changes_of(pool: Pool, initial: int, orders: Sequence[Order], startup_s: float) -> Changes:
    """Return what the orders do to a pool, by the rules of :class:`Staffing`.

    Raises
    ------
    InvalidInputError
        If a count is below 1, or the orders are not in order of time.
    """
    staffing = Staffing(pool, initial, startup_s)
    events: list[tuple[float, int]] = []
    for order in orders:
        events += staffing.order(order.at_s, order.replicas[pool])
    events += staffing.until(math.inf)
    return Changes(
        initial,
        np.array([at_s for at_s, _ in events], np.float64),
        np.array([ready for _, ready in events], np.int64),
        np.array(staffing.ordered_s, np.float64),
        tuple(staffing.cancelled),
    )
