"""The exact choice of an integer pair of replicas under bounds, ratio and budget. Imports core and errors only.

For every prefill count the decode counts that the constraints allow are one interval, so that one pass over the
prefill counts (a few hundred at most) finds the optimum of all pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pdscaler.core.decision import Limit
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.spec import Constraints, PoolLimits
from pdscaler.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Bounds:
    """Least and greatest replicas of one pool."""

    low: int
    high: int

    def clamp(self, replicas: int) -> int:
        """Return the nearest count within the bounds."""
        return min(max(replicas, self.low), self.high)


@dataclass(frozen=True, slots=True)
class Space:
    """The pairs among which is chosen.

    Parameters
    ----------
    bounds
        Of each pool.
    gpus
        GPUs of one replica of each pool.
    constraints
        Ratio and budget.
    """

    bounds: PerPool[Bounds]
    gpus: PerPool[int]
    constraints: Constraints

    def cost(self, pair: PerPool[int]) -> int:
        """Return the GPUs of a pair."""
        return pair.prefill * self.gpus.prefill + pair.decode * self.gpus.decode

    def within_ratio(self, pair: PerPool[int]) -> bool:
        """Whether a pair's P:D lies between the ratio's bounds."""
        low, high = decode_interval(pair.prefill, self.constraints)
        return low <= pair.decode and (high is None or pair.decode <= high)

    def within_budget(self, pair: PerPool[int]) -> bool:
        """Whether a pair's GPUs fit the budget."""
        return self.constraints.max_gpus is None or self.cost(pair) <= self.constraints.max_gpus

    def without_budget(self) -> "Space":
        """Return the same pairs, and those that only the budget excludes."""
        return replace(self, constraints=replace(self.constraints, max_gpus=None))

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """Yield (prefill, least decode, greatest decode) of every allowed pair, prefill ascending."""
        first, last = self.bounds.prefill.low, self.bounds.prefill.high
        least, most = self.bounds.decode.low, self.bounds.decode.high
        budget, cost_p, cost_d = self.constraints.max_gpus, self.gpus.prefill, self.gpus.decode
        if budget is not None:
            last = min(last, (budget - least * cost_d) // cost_p)
        for prefill in range(first, last + 1):
            low, high = decode_interval(prefill, self.constraints)
            low, high = max(low, least), most if high is None else min(high, most)
            if budget is not None:
                high = min(high, (budget - prefill * cost_p) // cost_d)
            if low <= high:
                yield prefill, low, high


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen pair, and what kept each pool from the count it asked for."""

    replicas: PerPool[int]
    limited_by: PerPool[tuple[Limit, ...]]
    serves_all: bool
    """Whether both pools got what they asked for within their own bounds."""


def decode_interval(prefill: int, constraints: Constraints) -> tuple[int, int | None]:
    """Return the least and the greatest decode count that the ratio allows beside ``prefill`` replicas.

    Examples
    --------
    >>> from pdscaler.core.spec import Ratio
    >>> decode_interval(3, Constraints(min_ratio=Ratio(1, 4), max_ratio=Ratio(2, 1)))
    (2, 12)
    """
    low, high = 1, None
    if constraints.max_ratio is not None:
        low = -(-prefill * constraints.max_ratio.decode // constraints.max_ratio.prefill)
    if constraints.min_ratio is not None:
        high = prefill * constraints.min_ratio.decode // constraints.min_ratio.prefill
    return low, high


def space_of(limits: PerPool[PoolLimits], constraints: Constraints) -> Space:
    """Return the pairs that a spec allows.

    Raises
    ------
    InvalidInputError
        If bounds contradict each other, or no pair at all meets the constraints.
    """
    for pool, limit in limits.items():
        if limit.min_replicas < 1:
            raise InvalidInputError(f"spec.{pool}.minReplicas", f"must be at least 1, found {limit.min_replicas}")
        if limit.max_replicas < limit.min_replicas:
            raise InvalidInputError(
                f"spec.{pool}.maxReplicas", f"{limit.max_replicas} is less than minReplicas {limit.min_replicas}"
            )
        if limit.gpus_per_replica < 1:
            raise InvalidInputError(
                f"spec.{pool}.gpusPerReplica", f"must be at least 1, found {limit.gpus_per_replica}"
            )
    for name, ratio in (("min", constraints.min_ratio), ("max", constraints.max_ratio)):
        if ratio is not None and min(ratio.prefill, ratio.decode) < 1:
            raise InvalidInputError(f"spec.constraints.ratio.{name}", "both sides must be at least 1")
    space = Space(
        limits.map(lambda limit: Bounds(limit.min_replicas, limit.max_replicas)),
        limits.map(lambda limit: limit.gpus_per_replica),
        constraints,
    )
    pair = cheapest_pair(space)
    if pair is None:
        raise InvalidInputError("spec.constraints.ratio", "no pair of replicas within the bounds of both pools has it")
    if not space.within_budget(pair):
        raise InvalidInputError(
            "spec.constraints.maxGPUs",
            f"{constraints.max_gpus} GPUs do not hold the least allowed pair: {label(pair)}, {space.cost(pair)} GPUs",
        )
    return space


def cheapest_pair(space: Space) -> PerPool[int] | None:
    """Return the pair of fewest GPUs within bounds and ratio, whatever the budget; None where no pair has the ratio.

    Examples
    --------
    >>> from pdscaler.core.spec import Ratio
    >>> cheapest_pair(Space(PerPool(Bounds(1, 4), Bounds(1, 9)), PerPool(1, 1), Constraints(max_ratio=Ratio(1, 3))))
    PerPool(prefill=1, decode=3)
    """
    return _least_with(space.without_budget(), PerPool(space.bounds.prefill.low, space.bounds.decode.low))


def label(pair: PerPool[int]) -> str:
    """Return a pair in the field's notation.

    Examples
    --------
    >>> label(PerPool(3, 4))
    '3P4D'
    """
    return f"{pair.prefill}P{pair.decode}D"


def choose(space: Space, wanted: PerPool[int], capacity: PerPool[float], current: PerPool[int] | None = None) -> Choice:
    """Choose the pair: both get what they want with the fewest GPUs, else the pair that serves the largest load.

    Parameters
    ----------
    space
        Allowed pairs; at least one.
    wanted
        The counts the pools ask for, before their bounds.
    capacity
        Load that one replica of each pool serves, any common unit; it matters only where not both can get enough.
    current
        The present counts: among equals the fewest changes win. None where unknown.

    Returns
    -------
    Choice
        Ties are broken by GPUs, then by changes against ``current``, then by the fewest prefill replicas.
    """
    asked = PerPool(space.bounds.prefill.clamp(wanted.prefill), space.bounds.decode.clamp(wanted.decode))
    pair = _least_with(space, asked)
    serves_all = pair is not None
    if pair is None:
        pair = largest_served(space, capacity, current)
    joint = _joint_limits(space, asked)
    limits = (_own_limits(space, wanted, pool) + (joint if pair[pool] != asked[pool] else ()) for pool in Pool)
    return Choice(pair, PerPool(*limits), serves_all)


def largest_served(space: Space, capacity: PerPool[float], current: PerPool[int] | None = None) -> PerPool[int]:
    """Return the pair with the largest load min(P capacity_P, D capacity_D), with the fewest GPUs among equals."""
    best: tuple[float, int, int, int] | None = None
    best_pair = PerPool(space.bounds.prefill.low, space.bounds.decode.low)
    for prefill, low, high in space.rows():
        load = prefill * capacity.prefill
        decode = _least_count(load, capacity.decode, low, high)
        pair = PerPool(prefill, decode)
        served = min(load, decode * capacity.decode)
        changes = 0 if current is None else abs(prefill - current.prefill) + abs(decode - current.decode)
        key = (-served, space.cost(pair), changes, prefill)
        if best is None or key < best:
            best, best_pair = key, pair
    return best_pair


def _least_count(load: float, capacity: float, low: int, high: int) -> int:
    """Return the least count of the interval with count * capacity >= load, as floats compare; else ``high``."""
    if capacity <= 0:
        return low
    if high * capacity < load:
        return high
    count = max(low, int(load / capacity))
    while count * capacity < load:
        count += 1
    while count > low and (count - 1) * capacity >= load:
        count -= 1
    return count


def _least_with(space: Space, asked: PerPool[int]) -> PerPool[int] | None:
    """Return the pair of fewest GPUs that gives both pools at least what they ask; None where there is none.

    The least allowed decode count never falls as prefill grows, so the first prefill count with an allowed pair is the
    cheapest, and no two pairs tie.
    """
    enough = Space(
        PerPool(
            Bounds(asked.prefill, space.bounds.prefill.high),
            Bounds(asked.decode, space.bounds.decode.high),
        ),
        space.gpus,
        space.constraints,
    )
    row = next(enough.rows(), None)
    return None if row is None else PerPool(row[0], row[1])


def _joint_limits(space: Space, asked: PerPool[int]) -> tuple[Limit, ...]:
    """Return which of ratio and budget keeps the pools from exactly what they ask."""
    limits: list[Limit] = []
    if not space.within_ratio(asked):
        limits.append(Limit.RATIO)
    pair = _least_with(space.without_budget(), asked) or asked
    if not space.within_budget(pair):
        limits.append(Limit.MAX_GPUS)
    return tuple(limits)


def _own_limits(space: Space, wanted: PerPool[int], pool: Pool) -> tuple[Limit, ...]:
    """Return which of its own bounds keeps a pool from what it wants."""
    if wanted[pool] < space.bounds[pool].low:
        return (Limit.MIN_REPLICAS,)
    return (Limit.MAX_REPLICAS,) if wanted[pool] > space.bounds[pool].high else ()
