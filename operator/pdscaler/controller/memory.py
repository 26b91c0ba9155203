"""What an evaluation hands to the next one, mirrored in ``status.memory``: a restart loses nothing. No kopf, no I/O."""

from dataclasses import replace

from pdscaler.api.status import (
    MAX_EVENTS,
    MAX_RECOMMENDATIONS,
    EventMemory,
    FlipMemory,
    LengthStatus,
    MemoryStatus,
    PDDeploymentStatus,
    PoolMemoryStatus,
    RecommendationMemory,
    WorkloadMemory,
)
from pdscaler.cluster.changes import ForeignChange
from pdscaler.controller.standoff import Standoff
from pdscaler.controller.times import parse_rfc3339, rfc3339
from pdscaler.core.decision import PlanState, PoolMemory, Recommendation, ScaleEvent
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.workload import LengthStats, WorkloadStats


def to_status(state: PlanState, standoffs: PerPool[Standoff]) -> MemoryStatus:
    """Write a state as the status holds it; the newest entries are kept where there are too many."""
    return MemoryStatus(
        prefill=_pool_to_status(state.pools.prefill, standoffs.prefill),
        decode=_pool_to_status(state.pools.decode, standoffs.decode),
        telemetry_failures=state.telemetry_failures,
        fallback_active=state.fallback_active,
        healthy_since=None if state.healthy_since_s is None else rfc3339(state.healthy_since_s, milliseconds=True),
        last_workload=_workload_to_status(state.last_workload),
    )


def from_status(memory: MemoryStatus | None) -> PlanState:
    """Read a state from the status; what is missing or cannot be read is left out."""
    if memory is None:
        return PlanState()
    return PlanState(
        pools=PerPool(_pool_from_status(memory.prefill), _pool_from_status(memory.decode)),
        telemetry_failures=memory.telemetry_failures,
        fallback_active=memory.fallback_active,
        healthy_since_s=parse_rfc3339(memory.healthy_since),
        last_workload=_workload_from_status(memory.last_workload),
    )


def standoffs(memory: MemoryStatus | None) -> PerPool[Standoff]:
    """Read what somebody else's changes of each target came to; what is missing or cannot be read is left out."""
    memory = memory or MemoryStatus()
    return PerPool(_standoff_from_status(memory.prefill), _standoff_from_status(memory.decode))


def count_unreported(
    state: PlanState, status: PDDeploymentStatus, current: PerPool[int | None], now_s: float
) -> PlanState:
    """Count a change of replicas that no status reports as an order of now.

    A process that was killed between a write and its status has forgotten the order. Replicas that differ from those
    last reported may be that order, so they count towards the rate limits: a restart never doubles a step. When it was
    ordered nobody knows, so it makes no room for an order of the other direction.

    Parameters
    ----------
    state
        The state read from the status.
    status
        The status it was read from.
    current
        What ``/scale`` asks for now.
    now_s
        The time, seconds since the epoch.
    """
    pools = state.pools
    for pool, replicas in current.items():
        reported = status.prefill if pool is Pool.PREFILL else status.decode
        if replicas is None or reported is None or reported.current is None or reported.current == replicas:
            continue
        memory = pools[pool]
        event = ScaleEvent(now_s, replicas - reported.current, found=True)
        pools = pools.replace(pool, replace(memory, events=(*memory.events, event)))
    return replace(state, pools=pools)


def settle(before: PlanState, after: PlanState, written: frozenset[Pool]) -> PlanState:
    """Return the state after a decision, without the orders that were not written.

    Parameters
    ----------
    before, after
        States before and after the decision.
    written
        Pools whose order was written.
    """
    pools = after.pools
    for pool, memory in after.pools.items():
        if pool not in written:
            known = frozenset(before.pools[pool].events)
            pools = pools.replace(
                pool, replace(memory, events=tuple(event for event in memory.events if event in known))
            )
    return replace(after, pools=pools)


def keep_orders(before: PlanState, after: PlanState, written: frozenset[Pool]) -> PlanState:
    """Return the state before a decision, plus the orders that were written: what to decide again from."""
    pools = before.pools
    for pool in written:
        pools = pools.replace(pool, replace(pools[pool], events=after.pools[pool].events))
    return replace(before, pools=pools)


def _pool_to_status(memory: PoolMemory, standoff: Standoff) -> PoolMemoryStatus:
    return PoolMemoryStatus(
        recommendations=tuple(
            RecommendationMemory(time=rfc3339(entry.at_s, milliseconds=True), replicas=entry.replicas)
            for entry in memory.recommendations[-MAX_RECOMMENDATIONS:]
        ),
        events=tuple(
            EventMemory(
                time=rfc3339(entry.at_s, milliseconds=True), change=entry.change, found=True if entry.found else None
            )
            for entry in memory.events[-MAX_EVENTS:]
        ),
        flips=tuple(
            FlipMemory(
                target=flip.target,
                time=rfc3339(flip.at_s, milliseconds=True),
                version=flip.version,
                from_=flip.before,
                to=flip.after,
                by=flip.by,
            )
            for flip in standoff.flips
        ),
        contested_until=None if standoff.until_s is None else rfc3339(standoff.until_s, milliseconds=True),
    )


def _pool_from_status(memory: PoolMemoryStatus) -> PoolMemory:
    recommendations = ((parse_rfc3339(entry.time), entry.replicas) for entry in memory.recommendations)
    events = ((parse_rfc3339(entry.time), entry.change, bool(entry.found)) for entry in memory.events)
    return PoolMemory(
        recommendations=tuple(Recommendation(at_s, replicas) for at_s, replicas in recommendations if at_s is not None),
        events=tuple(ScaleEvent(at_s, change, found) for at_s, change, found in events if at_s is not None),
    )


def _standoff_from_status(memory: PoolMemoryStatus) -> Standoff:
    flips = ((parse_rfc3339(flip.time), flip) for flip in memory.flips)
    return Standoff(
        flips=tuple(
            ForeignChange(flip.target, at_s, flip.version, flip.from_, flip.to, flip.by, overrode=True)
            for at_s, flip in flips
            if at_s is not None
        ),
        until_s=parse_rfc3339(memory.contested_until),
    )


def _workload_to_status(workload: WorkloadStats | None) -> WorkloadMemory | None:
    if workload is None:
        return None
    return WorkloadMemory(
        arrival_rate=workload.arrival_rate_rps,
        input_tokens=_lengths_to_status(workload.isl),
        output_tokens=_lengths_to_status(workload.osl),
        arrival_scv=workload.arrival_scv,
        prefix_hit_ratio=workload.prefix_hit_ratio,
    )


def _lengths_to_status(lengths: LengthStats | None) -> LengthStatus | None:
    return None if lengths is None else LengthStatus(mean=lengths.mean_tokens, scv=lengths.scv)


def _workload_from_status(memory: WorkloadMemory | None) -> WorkloadStats | None:
    if memory is None or memory.arrival_rate is None:
        return None
    return WorkloadStats(
        arrival_rate_rps=memory.arrival_rate,
        isl=_lengths_from_status(memory.input_tokens),
        osl=_lengths_from_status(memory.output_tokens),
        arrival_scv=1.0 if memory.arrival_scv is None else memory.arrival_scv,
        prefix_hit_ratio=memory.prefix_hit_ratio or 0.0,
    )


def _lengths_from_status(lengths: LengthStatus | None) -> LengthStats | None:
    if lengths is None or lengths.mean is None:
        return None
    return LengthStats(lengths.mean, lengths.scv or 0.0)
