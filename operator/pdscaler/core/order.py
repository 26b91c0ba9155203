"""Joint rules on what is ordered: the ratio, the GPU budget, and in which order to write. Imports core only."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from pdscaler.core.choice import Bounds, Space, decode_interval, largest_served
from pdscaler.core.decision import Decision, Limit, PoolState, TargetUnknown
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.spec import Constraints, PoolLimits


@dataclass(frozen=True, slots=True)
class Order:
    """One pool on its way to a decision.

    Parameters
    ----------
    current
        What ``/scale`` asks for; where that is unknown, the count that is assumed for the joint rules.
    desired
        What shall be ordered; ``current`` where nothing is.
    may_rise
        Whether a joint rule may still raise it above ``current``.
    limits
        What has limited it so far.
    """

    current: int
    desired: int
    may_rise: bool
    limits: tuple[Limit, ...] = ()

    def moved(self, desired: int, limit: Limit) -> "Order":
        """Return the order with another count, naming the rule that moved it."""
        limits = self.limits if limit in self.limits else (*self.limits, limit)
        return replace(self, desired=desired, limits=limits)


def repair_ratio(orders: PerPool[Order], limits: PerPool[PoolLimits], constraints: Constraints) -> PerPool[Order]:
    """Raise the pool that lags behind the ratio, as far as its bounds and its direction allow.

    A pool that is about to shrink is raised to its present count at most: a direction never flips. Where the ratio
    cannot be had that way the lagging pool reports it.
    """
    for pool in Pool:
        least = _least_by_ratio(pool, orders[pool.other].desired, constraints)
        order = orders[pool]
        if order.desired >= least:
            continue
        highest = order.current
        if order.may_rise and order.desired >= order.current:
            highest = max(order.current, limits[pool].max_replicas)
        return orders.replace(pool, order.moved(max(order.desired, min(least, highest)), Limit.RATIO))
    return orders


def report_ratio(orders: PerPool[Order], constraints: Constraints) -> PerPool[Order]:
    """Name the ratio in the limits of the pool that still lags behind it."""
    for pool in Pool:
        if orders[pool].desired < _least_by_ratio(pool, orders[pool.other].desired, constraints):
            return orders.replace(pool, orders[pool].moved(orders[pool].desired, Limit.RATIO))
    return orders


def _least_by_ratio(pool: Pool, other: int, constraints: Constraints) -> int:
    """Return the least count of ``pool`` that the ratio allows beside ``other`` replicas of the other pool."""
    if pool is Pool.DECODE:
        return decode_interval(other, constraints)[0]
    ratio = constraints.min_ratio
    return 1 if ratio is None else -(-other * ratio.prefill // ratio.decode)


def cut_growth(
    orders: PerPool[Order],
    draining: PerPool[int],
    limits: PerPool[PoolLimits],
    constraints: Constraints,
    capacity: PerPool[float],
) -> PerPool[Order]:
    """Cut growth to what the budget has free; never cut what is there.

    A pool that shrinks in the same evaluation still counts in full, and so do replicas that still terminate: growth
    into their GPUs waits until they are gone. So the sum of the orders stays within the budget at every instant,
    whichever write comes first or fails.

    Parameters
    ----------
    draining
        Replicas that still terminate and hold GPUs, by pool.
    capacity
        Load that one replica serves, any common unit: what is free goes where it serves the most.
    """
    if constraints.max_gpus is None:
        return orders
    gpus = limits.map(lambda limit: limit.gpus_per_replica)
    held = sum(gpus[pool] * draining[pool] for pool in Pool)
    present = sum(gpus[pool] * order.current for pool, order in orders.items())
    free = constraints.max_gpus - held - present
    growth = sum(gpus[pool] * max(0, order.desired - order.current) for pool, order in orders.items())
    if growth <= max(0, free):
        return orders
    bounds = orders.map(lambda order: Bounds(order.current, max(order.current, order.desired)))
    space = Space(bounds, gpus, Constraints(max_gpus=present + max(0, free)))
    loads: PerPool[Callable[[int], float]] = capacity.map(lambda each: lambda count: count * each)
    pair = largest_served(space, loads, orders.map(lambda order: max(order.current, order.desired)))
    pair = _spend_rest(space, pair, orders)
    # What the budget holds in the end, but not yet, is another thing for people than a budget that is too small.
    asked = sum(gpus[pool] * order.desired for pool, order in orders.items())
    limit = Limit.GPUS_NOT_FREE_YET if asked <= constraints.max_gpus else Limit.MAX_GPUS
    for pool in Pool:
        if pair[pool] < orders[pool].desired:
            orders = orders.replace(pool, orders[pool].moved(pair[pool], limit))
    return orders


def _spend_rest(space: Space, pair: PerPool[int], orders: PerPool[Order]) -> PerPool[int]:
    """Grow further where GPUs are left: both pools asked for what they asked for."""
    for pool in Pool:
        while pair[pool] < orders[pool].desired:
            larger = pair.replace(pool, pair[pool] + 1)
            if not space.within_budget(larger):
                break
            pair = larger
    return pair


def draining_replicas(target: PoolState | TargetUnknown) -> int:
    """Return the replicas that terminate and hold their GPUs, beyond what ``/scale`` asks for.

    During a rollout the pods that terminate are being replaced: they are counted with the target's replicas.
    """
    return target.terminating_replicas if isinstance(target, PoolState) and not target.rollout else 0


def write_order(decision: Decision) -> tuple[Pool, ...]:
    """Return the pools to write, in an order that is safe: what shrinks first, then what grows.

    Every prefix of the writes keeps the sum of the orders within the budget, as :func:`cut_growth` lets a pool grow
    only into what is free beside the present orders.
    """
    changed = [pool for pool, entry in decision.pools.items() if entry.change != 0]
    return tuple(sorted(changed, key=lambda pool: decision.pools[pool].change > 0))
