"""Orders of replicas, as what happens to a pool. Imports numpy, the standard library and core only."""

import math
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


def changes_of(pool: Pool, initial: int, orders: Sequence[Order], startup_s: float) -> Changes:
    """Return what the orders do to a pool.

    A scale-up serves ``startup_s`` after its order. A scale-down takes first those that are not ready yet, the newest
    first, then ready ones. What becomes ready at the instant of an order is ready before it.

    Raises
    ------
    InvalidInputError
        If a count is below 1, or the orders are not in order of time.
    """
    if initial < 1:
        raise InvalidInputError(f"{pool.value} replicas", f"must be at least 1, found {initial}")
    if not math.isfinite(startup_s) or startup_s < 0:
        raise InvalidInputError(f"spec.{pool.value}.startup", f"must be a duration of at least 0, found {startup_s}")
    events: list[tuple[float, int]] = []
    ordered_s = [-math.inf] * initial
    pending: list[float] = []
    cancelled: list[tuple[float, float]] = []
    serving = initial

    def begin_until(now_s: float) -> None:
        nonlocal serving
        while pending and pending[0] + startup_s <= now_s:
            begun_s = pending.pop(0)
            ordered_s.append(begun_s)
            serving += 1
            events.append((begun_s + startup_s, 1))

    last_s = -math.inf
    for order in orders:
        wanted = order.replicas[pool]
        if wanted < 1:
            raise InvalidInputError(f"{pool.value} replicas", f"must be at least 1, found {wanted}")
        if not last_s <= order.at_s < math.inf:
            raise InvalidInputError("orders", f"must be in order of time, found {order.at_s} after {last_s}")
        last_s = order.at_s
        begin_until(order.at_s)
        pending += [order.at_s] * (wanted - serving - len(pending))
        begin_until(order.at_s)  # at once, where nothing takes time to start
        while pending and serving + len(pending) > wanted:
            cancelled.append((pending.pop(), order.at_s))
        if serving > wanted:
            events.append((order.at_s, wanted - serving))
            serving = wanted
    begin_until(math.inf)
    return Changes(
        initial,
        np.array([at_s for at_s, _ in events], np.float64),
        np.array([ready for _, ready in events], np.int64),
        np.array(ordered_s, np.float64),
        tuple(cancelled),
    )
