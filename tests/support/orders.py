"""What an autoscaler ordered, read from the audit log, and the rules that no order may break at any instant."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localplane.audit import AuditRequest
from pdscaler.core.pools import PerPool, Pool

SLACK_S = 1.0
"""A decision is up to so much older than its write, seconds: it was read, decided and checked before."""


@dataclass(frozen=True, slots=True)
class Order:
    """One accepted write of a target's scale."""

    at_s: float
    pool: Pool
    replicas: int


@dataclass(frozen=True, slots=True)
class Phase:
    """From when on a load arrives, and the counts that it needs."""

    at_s: float
    needs: PerPool[int]


@dataclass(frozen=True, slots=True)
class Rules:
    """What was asked of the autoscaler.

    Parameters
    ----------
    bounds
        Least and greatest count of each pool.
    max_gpus
        Budget; every replica takes one GPU.
    up, down
        Rate limits: so many replicas in so many seconds.
    window_s
        Stabilisation window of scale-down, seconds.
    memory_s
        How long a load of the past may still be seen in the metrics, seconds.
    """

    bounds: PerPool[tuple[int, int]]
    max_gpus: int
    up: tuple[int, float]
    down: tuple[int, float]
    window_s: float
    memory_s: float


def orders_of(requests: Sequence[AuditRequest], targets: Mapping[str, Pool]) -> list[Order]:
    """Return the accepted orders, oldest first."""
    found = []
    for request in requests:
        if request.resource == "deployments/scale" and request.verb == "patch" and request.code == 200:
            assert request.body is not None
            replicas = int(request.body["spec"]["replicas"])
            found.append(Order(request.arrived_s, targets[request.name], replicas))
    return sorted(found, key=lambda order: order.at_s)


def broken_rules(orders: Sequence[Order], initial: PerPool[int], phases: Sequence[Phase], rules: Rules) -> list[str]:
    """Return every rule that an order has broken, in words; empty where all was well.

    Parameters
    ----------
    orders
        Oldest first.
    initial
        Counts before the first of them.
    phases
        The loads, oldest first; the first began before everything else.
    rules
        What was asked.
    """
    history = {pool: _Counts(initial[pool]) for pool in Pool}
    wrong = []
    for order in orders:
        before = history[order.pool].last
        what = f"{order.pool} {before}→{order.replicas} at {order.at_s:.3f}"
        low, high = rules.bounds[order.pool]
        if not low <= order.replicas <= high:
            wrong.append(f"{what}: outside of {low} to {high}")
        if order.replicas == before:
            wrong.append(f"{what}: an order that changes nothing")
        other = next(pool for pool in Pool if pool is not order.pool)
        gpus = order.replicas + history[other].last
        if order.replicas > before and gpus > rules.max_gpus:
            wrong.append(f"{what}: {gpus} GPUs, of {rules.max_gpus}")
        wrong += [f"{what}: {problem}" for problem in _pace(order, history[order.pool], rules)]
        wrong += [f"{what}: {problem}" for problem in _need(order, before, phases, rules)]
        history[order.pool].add(order)
    return wrong


class _Counts:
    """The count of one pool over time."""

    def __init__(self, initial: int) -> None:
        self._at_s = [float("-inf")]
        self._counts = [initial]

    @property
    def last(self) -> int:
        return self._counts[-1]

    def add(self, order: Order) -> None:
        self._at_s.append(order.at_s)
        self._counts.append(order.replicas)

    def between(self, from_s: float, to_s: float) -> list[int]:
        """Every count that stood at some time of an interval."""
        first = bisect_right(self._at_s, from_s) - 1
        return self._counts[max(0, first) : bisect_right(self._at_s, to_s)]


def _pace(order: Order, counts: _Counts, rules: Rules) -> list[str]:
    """A step that is doubled is more than the policies allow since the start of their period."""
    step, period_s = rules.up if order.replicas > counts.last else rules.down
    starts = counts.between(order.at_s - period_s - SLACK_S, order.at_s - period_s + SLACK_S)
    if order.replicas > counts.last and order.replicas > max(starts) + step:
        return [f"more than {step} up in {period_s:g}s (from {max(starts)})"]
    if order.replicas < counts.last and order.replicas < min(starts) - step:
        return [f"more than {step} down in {period_s:g}s (from {min(starts)})"]
    return []


def _need(order: Order, before: int, phases: Sequence[Phase], rules: Rules) -> list[str]:
    """Up: never beyond what any load of the metrics needs. Down: never below what they need, throughout the window."""
    if order.replicas > before:
        most = max(_needs(order.pool, phases, order.at_s - SLACK_S - rules.memory_s, order.at_s))
        return [f"no load needs more than {most}"] if order.replicas > most else []
    # What the metrics have said at any time of the window is at least the least of the loads they could see then.
    steps = [order.at_s - SLACK_S - rules.window_s * share / 20 for share in range(19)]
    held = max(min(_needs(order.pool, phases, at_s - rules.memory_s, at_s)) for at_s in steps)
    return [f"{held} were needed within the window of {rules.window_s:g}s"] if order.replicas < held else []


def _needs(pool: Pool, phases: Sequence[Phase], from_s: float, to_s: float) -> list[int]:
    starts = [phase.at_s for phase in phases]
    first = max(0, bisect_right(starts, from_s) - 1)
    return [phase.needs[pool] for phase in phases[first : max(first + 1, bisect_right(starts, to_s))]]
