"""The exact choice of an integer pair of replicas under bounds, ratio and budget. Imports core and errors only.

For every prefill count the decode counts that the constraints allow are one interval, whose ends are monotone in the
prefill count: bisection finds the optimum of all pairs, however dear it is to ask what a count serves.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
        joint = self.constraints
        if joint.max_gpus is None:
            return self
        return Space(self.bounds, self.gpus, Constraints(None, joint.min_ratio, joint.max_ratio))

    def least_decode(self, prefill: int) -> int:
        """Return the least decode count that bounds and ratio allow beside a prefill count; it never falls with it."""
        return max(self.bounds.decode.low, decode_interval(prefill, self.constraints)[0])

    def most_decode(self, prefill: int) -> int:
        """Return the greatest decode count that bounds and ratio allow beside a prefill count; it never falls with it.

        What the budget leaves beside it is :meth:`affordable_decode`.
        """
        high = decode_interval(prefill, self.constraints)[1]
        return self.bounds.decode.high if high is None else min(high, self.bounds.decode.high)

    def affordable_decode(self, prefill: int) -> int:
        """Return how many decode replicas the budget leaves beside a prefill count; it never rises with it."""
        budget = self.constraints.max_gpus
        if budget is None:
            return self.bounds.decode.high
        return max(0, (budget - prefill * self.gpus.prefill) // self.gpus.decode)

    def row(self, prefill: int) -> tuple[int, int, int] | None:
        """Return (prefill, least decode, greatest decode) of the allowed pairs; None where there is none."""
        low, high = self.least_decode(prefill), min(self.most_decode(prefill), self.affordable_decode(prefill))
        return (prefill, low, high) if low <= high else None

    def rows(self, start: int | None = None) -> Iterator[tuple[int, int, int]]:
        """Yield every row of allowed pairs, prefill ascending, from ``start`` on."""
        first, ratio = self.bounds.prefill.low, self.constraints.min_ratio
        if ratio is not None:  # fewer prefill replicas than this allow less than the least decode count
            first = max(first, -(-self.bounds.decode.low * ratio.prefill // ratio.decode))
        if start is not None:
            first = max(first, start)
        for prefill in range(first, self.bounds.prefill.high + 1):
            row = self.row(prefill)
            if row is not None:
                yield row
            elif self.least_decode(prefill) > min(self.bounds.decode.high, self.affordable_decode(prefill)):
                return  # what is asked only grows from here on, and what is there only falls


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
        if not limit.min_replicas >= 1:
            raise InvalidInputError(f"spec.{pool}.minReplicas", f"must be at least 1, found {limit.min_replicas}")
        if not limit.max_replicas >= limit.min_replicas:
            raise InvalidInputError(
                f"spec.{pool}.maxReplicas", f"{limit.max_replicas} is less than minReplicas {limit.min_replicas}"
            )
        if not limit.gpus_per_replica >= 1:
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


Loads = PerPool[Callable[[int], float]]
"""By pool, the largest load that a count of replicas serves within the target; it never falls as the count grows."""


def choose(space: Space, wanted: PerPool[int], loads: Loads) -> Choice:
    """Choose the pair: both get what they want with the fewest GPUs, else the pair that serves the largest load.

    Parameters
    ----------
    space
        Allowed pairs; at least one.
    wanted
        The counts the pools ask for, before their bounds.
    loads
        Load that each count of each pool serves, any common unit; it matters only where not both can get enough.

    Returns
    -------
    Choice
        The one pair of fewest GPUs that does what it was chosen for: no other ties with it, so that changes against the
        present counts never decide. For the counts that suffice are bounded from below only, and where two pairs lie
        within bounds, ratio and budget, so does the pair of the smaller count of each pool, with fewer GPUs than both.
    """
    asked = PerPool(space.bounds.prefill.clamp(wanted.prefill), space.bounds.decode.clamp(wanted.decode))
    pair = _least_with(space, asked)
    serves_all = pair is not None
    if pair is None:
        pair = largest_served(space, loads, asked)
    joint = () if pair == asked else _joint_limits(space, asked)
    limits = (_own_limits(space, wanted, pool) + (joint if pair[pool] != asked[pool] else ()) for pool in Pool)
    return Choice(pair, PerPool(*limits), serves_all)


def largest_served(space: Space, loads: Loads, near: PerPool[int]) -> PerPool[int]:
    """Return the pair with the largest load min(load_P(P), load_D(D)), with the fewest GPUs among equals.

    Parameters
    ----------
    space
        Allowed pairs; at least one.
    loads
        See :func:`choose`.
    near
        Counts in about the proportion of the answer: the search begins there.

    Notes
    -----
    While the budget leaves more decode replicas than their bounds and the ratio allow, and while what it leaves serves
    more than prefill does, more prefill never serves less; from there on it never serves more. That count is found by
    galloping and bisection; where the ratio allows no decode count beside it, its nearest neighbours stand for it. So
    each load is asked for a few times only.
    """
    loads = loads.map(_Remembered)
    first, last = space.bounds.prefill.low, space.bounds.prefill.high

    def budget_is_less(prefill: int) -> bool:
        decode = space.affordable_decode(prefill)
        return decode < space.most_decode(prefill) and (decode < 1 or loads.decode(decode) <= loads.prefill(prefill))

    budget = space.constraints.max_gpus
    guess = near.prefill if budget is None else near.prefill * budget // space.cost(near)
    turn = _first_true(budget_is_less, first, last + 1, guess)
    rows = (
        next(space.rows(turn), None),
        next(filter(None, map(space.row, range(turn - 1, first - 1, -1))), None),
    )
    best_load, prefill, decode = max(
        (min(loads.prefill(row[0]), loads.decode(row[2])), row[0], row[2]) for row in rows if row is not None
    )
    least = PerPool(
        _least_serving(loads.prefill, best_load, space.bounds.prefill.low, prefill),
        _least_serving(loads.decode, best_load, space.bounds.decode.low, decode),
    )
    pair = _least_with(space, least)
    assert pair is not None, "the pair that was found is among them"
    return pair


def _least_serving(load: Callable[[int], float], wanted: float, low: int, high: int) -> int:
    """Return the least count from ``low`` to ``high`` that serves the load; ``high`` does."""
    return _first_true(lambda count: load(count) >= wanted, low, high)


class _Remembered:
    """A function of counts that is asked for each value once."""

    def __init__(self, load: Callable[[int], float]) -> None:
        self._load = load
        self._found: dict[int, float] = {}

    def __call__(self, count: int) -> float:
        found = self._found.get(count)
        if found is None:
            found = self._found[count] = self._load(count)
        return found


def _first_true(holds: Callable[[int], bool], low: int, high: int, guess: int | None = None) -> int:
    """Return the least number from ``low`` on that holds; ``high`` where none below it does.

    What holds for a number holds for every greater one. The search gallops away from the guess (by default just below
    ``high``), then bisects.
    """
    step = 1
    probe = high - 1 if guess is None else min(max(guess, low), high - 1)
    while low < high:
        if holds(probe):
            high = probe
            probe -= step
        else:
            low = probe + 1
            probe += step
        step *= 2
        if not low <= probe < high:
            probe = (low + high) // 2
    return high


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
