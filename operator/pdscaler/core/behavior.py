"""HPA v2 behaviour: stabilisation windows, rate limits, tolerance. Imports core only.

Pure functions over :class:`PoolMemory`. The semantics are those of the horizontal pod autoscaler (autoscaling/v2): down
the greatest recommendation of the window counts, up the least; policies limit the change against the count at the start
of their period. What differs are the defaults (no tolerance) and what the tolerance compares: needed with current
replicas.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pdscaler.core.decision import Limit, PoolMemory, Recommendation, ScaleEvent
from pdscaler.core.spec import Behavior, PolicyType, ScalingRules, SelectPolicy


@dataclass(frozen=True, slots=True)
class Step:
    """A count after one rule, and the rule's name where it changed the count."""

    replicas: int
    limit: Limit | None = None


def seed(memory: PoolMemory, current: int, now_s: float) -> PoolMemory:
    """Return the memory with the current count as a recommendation of now: nothing moves before the window has passed.

    Used at the first evaluation and after a restart, as HPA does.
    """
    return PoolMemory((*memory.recommendations, Recommendation(now_s, current)), memory.events)


def fade(memory: PoolMemory, behavior: Behavior, now_s: float) -> PoolMemory:
    """Return the memory after an evaluation that recommended nothing: empty once all of it has left the windows.

    An empty memory is seeded at the next recommendation, so that one reading after an outage cannot drop a pool.
    """
    window_s = max(behavior.scale_down.stabilization_window_s, behavior.scale_up.stabilization_window_s)
    if any(entry.at_s > now_s - window_s for entry in memory.recommendations):
        return memory
    return PoolMemory((), memory.events)


def within_tolerance(behavior: Behavior, current: int, wanted: int, needed: float) -> bool:
    """Whether the need is so near the current count that the tolerance keeps it.

    Parameters
    ----------
    behavior
        Tolerances of both directions, as shares of the current count.
    current, wanted
        Counts; their order is the direction.
    needed
        Real-valued need, replicas.
    """
    rules = behavior.scale_up if wanted > current else behavior.scale_down
    if rules.tolerance <= 0 or wanted == current:
        return False
    return abs(needed / current - 1.0) <= rules.tolerance


def stabilize(memory: PoolMemory, behavior: Behavior, current: int, wanted: int, now_s: float) -> Step:
    """Return the count after the stabilisation windows.

    Up, to the least that was recommended during the up window; down, to the greatest that was recommended during the
    down window; ``wanted`` counts in both.

    Examples
    --------
    >>> memory = PoolMemory((Recommendation(100.0, 7),))
    >>> stabilize(memory, Behavior(), 8, 3, 300.0), stabilize(memory, Behavior(), 8, 3, 400.0).replicas
    (Step(replicas=7, limit=<Limit.SCALE_DOWN_STABILIZATION: 'ScaleDownStabilization'>), 3)
    """
    up = down = wanted
    up_after = now_s - behavior.scale_up.stabilization_window_s
    down_after = now_s - behavior.scale_down.stabilization_window_s
    for recommendation in memory.recommendations:
        if recommendation.at_s > up_after:
            up = min(up, recommendation.replicas)
        if recommendation.at_s > down_after:
            down = max(down, recommendation.replicas)
    if current < up:
        return Step(up, Limit.SCALE_UP_STABILIZATION if up != wanted else None)
    if current > down:
        return Step(down, Limit.SCALE_DOWN_STABILIZATION if down != wanted else None)
    if wanted == current:
        return Step(current)
    return Step(current, Limit.SCALE_UP_STABILIZATION if wanted > current else Limit.SCALE_DOWN_STABILIZATION)


def limit_rate(memory: PoolMemory, behavior: Behavior, current: int, wanted: int, now_s: float) -> Step:
    """Return the count after the policies of the direction.

    Examples
    --------
    >>> from pdscaler.core.spec import ScalingPolicy
    >>> rules = ScalingRules(0.0, (ScalingPolicy(PolicyType.PODS, 2, 60.0),))
    >>> limit_rate(PoolMemory(), Behavior(scale_up=rules), 4, 9, 0.0).replicas
    6
    """
    if wanted > current:
        allowed = max(current, _up_limit(memory, behavior.scale_up, current, now_s))
        return Step(min(wanted, allowed), Limit.SCALE_UP_POLICY if allowed < wanted else None)
    if wanted < current:
        allowed = min(current, _down_limit(memory, behavior.scale_down, current, now_s))
        return Step(max(wanted, allowed), Limit.SCALE_DOWN_POLICY if allowed > wanted else None)
    return Step(current)


def remember(memory: PoolMemory, behavior: Behavior, wanted: int, change: int, now_s: float) -> PoolMemory:
    """Return the memory after an evaluation, without what can matter no more.

    Parameters
    ----------
    wanted
        The recommendation before stabilisation.
    change
        What is ordered; 0 for nothing.
    """
    recommendations = (*memory.recommendations, Recommendation(now_s, wanted))
    events = memory.events if change == 0 else (*memory.events, ScaleEvent(now_s, change))
    rules = (behavior.scale_up, behavior.scale_down)
    longest_s = max((policy.period_s for rule in rules for policy in rule.policies), default=0.0)
    return PoolMemory(
        _relevant(recommendations, behavior, now_s),
        tuple(event for event in events if event.at_s > now_s - longest_s),
    )


def _relevant(
    recommendations: Sequence[Recommendation], behavior: Behavior, now_s: float
) -> tuple[Recommendation, ...]:
    """Drop what has left both windows, and what a later entry outlives: a higher one for down, a lower one for up.

    What stays for one direction is strictly ordered by count, so that there are never more entries than counts. The
    newest entry always stays, however short the windows: it says that the pool has been evaluated (see :func:`seed`).
    """
    kept: list[Recommendation] = []
    least, greatest = math.inf, -math.inf
    for entry in reversed(recommendations):
        for_down = entry.at_s > now_s - behavior.scale_down.stabilization_window_s and entry.replicas > greatest
        for_up = entry.at_s > now_s - behavior.scale_up.stabilization_window_s and entry.replicas < least
        if for_down or for_up or not kept:
            kept.append(entry)
        greatest = max(greatest, entry.replicas)
        least = min(least, entry.replicas)
    return tuple(reversed(kept))


def _up_limit(memory: PoolMemory, rules: ScalingRules, current: int, now_s: float) -> int:
    if rules.select_policy is SelectPolicy.DISABLED:
        return current
    limits = []
    for policy in rules.policies:
        start = _count_at_start(memory, current, now_s - policy.period_s, 1)
        grown = start + policy.value if policy.type is PolicyType.PODS else _percent_up(start, policy.value)
        limits.append(grown)
    if not limits:
        return _NO_LIMIT
    return max(limits) if rules.select_policy is SelectPolicy.MAX else min(limits)


def _down_limit(memory: PoolMemory, rules: ScalingRules, current: int, now_s: float) -> int:
    if rules.select_policy is SelectPolicy.DISABLED:
        return current
    limits = []
    for policy in rules.policies:
        start = _count_at_start(memory, current, now_s - policy.period_s, -1)
        shrunk = start - policy.value if policy.type is PolicyType.PODS else start * (100 - policy.value) // 100
        limits.append(shrunk)
    if not limits:
        return 0
    # Max selects the policy that allows the greatest change, which going down is the least count.
    return min(limits) if rules.select_policy is SelectPolicy.MAX else max(limits)


_NO_LIMIT = 2**31


def _percent_up(start: int, percent: int) -> int:
    return -(-start * (100 + percent) // 100)


def _count_at_start(memory: PoolMemory, current: int, after_s: float, direction: int) -> int:
    """Return the count at the start of a policy's period: the current one without the changes since."""
    return current - sum(
        event.change
        for event in memory.events
        if event.at_s > after_s and (not event.found or event.change * direction > 0)
    )
