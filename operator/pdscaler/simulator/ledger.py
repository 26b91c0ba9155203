"""The account of what was ordered: steps over time, GPU-hours with and without the drain. May import numpy and core."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.run import Lives

HOUR_S = 3600.0


NO_REASONS = PerPool("", "")


@dataclass(frozen=True, slots=True)
class OrderMade:
    """From ``at_s`` on these replicas were ordered; the first one of a run is what it began with."""

    at_s: float
    replicas: PerPool[int]
    reasons: PerPool[str] = NO_REASONS


def ordered_gpu_hours(orders: Sequence[OrderMade], gpus: PerPool[int], begin_s: float, end_s: float) -> float:
    """Return the GPU-hours of the orders between two points of time.

    Parameters
    ----------
    orders
        At least one, in order of time; each holds until the next one. The first one holds before its time, too.
    gpus
        Of one replica of each pool.

    Examples
    --------
    >>> orders = [OrderMade(0.0, PerPool(1, 2)), OrderMade(1800.0, PerPool(2, 2))]
    >>> ordered_gpu_hours(orders, PerPool(8, 1), 0.0, 3600.0)
    14.0
    """
    counts = np.array([order.replicas.prefill * gpus.prefill + order.replicas.decode * gpus.decode for order in orders])
    times_s = np.clip([order.at_s for order in orders[1:]], begin_s, max(begin_s, end_s))
    lasted_s = np.diff(np.concatenate(([begin_s], times_s, [max(begin_s, end_s)])))
    return float((counts * lasted_s).sum()) / HOUR_S


def used_gpu_hours(lives: PerPool[Lives], gpus: PerPool[int], begin_s: float, end_s: float) -> float:
    """Return the GPU-hours with the drain: each replica's from its order to the end of its last request."""
    total_s = 0.0
    for pool, each in lives.items():
        begun_s = np.concatenate((each.ordered_s, [ordered_s for ordered_s, _ in each.cancelled_s]))
        ended_s = np.concatenate((each.gone_s, [cancelled_s for _, cancelled_s in each.cancelled_s]))
        span_s = np.clip(ended_s, begin_s, end_s) - np.clip(begun_s, begin_s, end_s)
        total_s += gpus[pool] * float(span_s.sum())
    return total_s / HOUR_S


def largest_order(orders: Sequence[OrderMade], gpus: PerPool[int], begin_s: float, end_s: float) -> int:
    """Return the most GPUs that were ordered at any instant between two points of time."""
    ends_s = [*(order.at_s for order in orders[1:]), np.inf]
    return max(
        order.replicas.prefill * gpus.prefill + order.replicas.decode * gpus.decode
        for order, until_s in zip(orders, ends_s, strict=True)
        if until_s > begin_s and (order.at_s <= end_s or order is orders[0])
    )


def operations(orders: Sequence[OrderMade], begin_s: float) -> int:
    """Return how often a pool's count was changed from ``begin_s`` on: each is one write of ``/scale``."""
    return sum(
        before.replicas[pool] != count
        for before, order in pairwise(orders)
        for pool, count in order.replicas.items()
        if order.at_s >= begin_s
    )
