"""From what one pool should have to what it may be ordered: behaviour, bounds, freezes. Imports core only."""

import math
from dataclasses import dataclass, replace

from pdscaler.core.behavior import fade, limit_rate, seed, stabilize, within_tolerance
from pdscaler.core.decision import Limit, PoolMemory, PoolSizing, Recommendation
from pdscaler.core.freeze import Block, Freeze
from pdscaler.core.pressure import step_up
from pdscaler.core.spec import PoolLimits


@dataclass(frozen=True, slots=True)
class Move:
    """What one pool's own rules allow.

    Parameters
    ----------
    desired
        The count after behaviour, bounds and freezes; None where the target must not be touched.
    wanted
        The count to remember for the stabilisation windows; None where nothing is remembered.
    limits
        What limited it, in the order applied.
    blocks
        The freezes among them, with their messages.
    memory
        The pool's memory, seeded where it was empty.
    """

    desired: int | None
    wanted: int | None
    limits: tuple[Limit, ...]
    blocks: tuple[Block, ...]
    memory: PoolMemory


def untouched(freeze: Freeze, memory: PoolMemory, limits: tuple[Limit, ...] = ()) -> Move:
    """Return the move of a pool whose target must be left alone."""
    assert freeze.untouchable is not None
    return Move(None, None, (*limits, freeze.untouchable.limit), (freeze.untouchable,), memory)


def planned_move(
    answer: PoolSizing,
    freeze: Freeze,
    memory: PoolMemory,
    limits: PoolLimits,
    now_s: float,
    *,
    recovering: bool,
    missing: bool = False,
    enough: int | None = None,
) -> Move:
    """Return what a pool may be ordered, given what sizing chose for it.

    Parameters
    ----------
    answer
        The sizing of the pool.
    recovering
        Telemetry is back after a fallback, and a full fresh window has not passed: no scale-down yet.
    missing
        The target is missed with replicas that suffice by the model: a step more than it says, and no further, so that
        a model that is wrong, or a target missed for another reason, never runs away.
    enough
        The count that suffices with a margin: the pool shrinks to it at most. None: to what sizing chose.
    """
    if freeze.untouchable is not None or freeze.current is None:
        return untouched(freeze, fade(memory, limits.behavior, now_s), answer.limited_by)
    current, behavior = freeze.current, limits.behavior
    memory = _usable(memory, current, now_s)
    applied = list(answer.limited_by)
    wanted = answer.replicas
    exact = wanted == answer.recommended and math.isfinite(answer.required)
    if within_tolerance(behavior, current, wanted, answer.required if exact else float(wanted)):
        wanted = current
        applied.append(Limit.TOLERANCE)
    if missing and math.isfinite(answer.required) and wanted < step_up(answer.recommended):
        wanted = step_up(answer.recommended)
        applied.append(Limit.SLO_MISSED)
    if enough is not None and wanted < min(current, enough):
        wanted = min(current, enough)
        applied.append(Limit.SCALE_DOWN_MARGIN)
    desired = wanted
    for step in (stabilize, limit_rate):
        result = step(memory, behavior, current, desired, now_s)
        desired = result.replicas
        if result.limit is not None:
            applied.append(result.limit)
    if recovering and desired < current:
        desired = current
        applied.append(Limit.FALLBACK)
    desired = min(max(desired, limits.min_replicas), limits.max_replicas)
    desired, blocks = blocked(freeze, desired)
    applied.extend(block.limit for block in blocks)
    return Move(desired, wanted, tuple(dict.fromkeys(applied)), blocks, memory)


def blind_move(freeze: Freeze, memory: PoolMemory, limits: PoolLimits, now_s: float, fallback: int | None) -> Move:
    """Return what a pool may be ordered without data: its present count, or the fallback's, within bounds.

    Parameters
    ----------
    fallback
        The count of an active fallback; None to hold.
    """
    memory = fade(memory, limits.behavior, now_s)
    if freeze.untouchable is not None or freeze.current is None:
        return untouched(freeze, memory, (Limit.NO_DATA,))
    applied = [Limit.NO_DATA]
    wanted = freeze.current
    if fallback is not None:
        wanted = fallback
        applied.append(Limit.FALLBACK)
    if wanted < limits.min_replicas:
        applied.append(Limit.MIN_REPLICAS)
    if wanted > limits.max_replicas:
        applied.append(Limit.MAX_REPLICAS)
    desired, blocks = blocked(freeze, min(max(wanted, limits.min_replicas), limits.max_replicas))
    applied.extend(block.limit for block in blocks)
    return Move(desired, None, tuple(dict.fromkeys(applied)), blocks, memory)


def blocked(freeze: Freeze, desired: int) -> tuple[int, tuple[Block, ...]]:
    """Return the count after the freezes of the direction, and those that applied."""
    assert freeze.current is not None
    blocks = freeze.blocks(desired)
    return (freeze.current if blocks else desired), blocks


def _usable(memory: PoolMemory, current: int, now_s: float) -> PoolMemory:
    """Return the memory with no time in the future, seeded with the current count where it is empty.

    A clock that was set back must not keep an entry for ever.
    """
    memory = PoolMemory(
        tuple(Recommendation(min(entry.at_s, now_s), entry.replicas) for entry in memory.recommendations),
        tuple(replace(event, at_s=min(event.at_s, now_s)) for event in memory.events),
    )
    return memory if memory.recommendations else seed(memory, current, now_s)
