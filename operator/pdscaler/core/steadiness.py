"""Which moments may be learned from: only steady ones, of which everything is known. Imports core only.

A mean over a window says what an engine does under a load only where that load, the replicas and the latency were the
same before the window and throughout it. Everything else (rollouts, starts, drains, surges, queues that grow, gaps in
the metrics) is refused, and says why.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pdscaler.core.decision import PoolState, TargetUnknown
from pdscaler.core.pools import Pool
from pdscaler.core.workload import LengthStats, NoData, Telemetry

LEAST_REQUESTS = 30
"""A mean over fewer requests says too little."""

RATE_SPREAD = 0.15
"""The rate may vary by so much between the windows that end within one window, beside what chance explains."""

LENGTH_SPREAD = 0.2
LATENCY_SPREAD = {Pool.PREFILL: 0.35, Pool.DECODE: 0.15}
"""Likewise mean lengths, and mean latencies (over their mean). A queue that grows shows here first."""

NOISE = 4.0
"""Standard deviations of a Poisson number that are chance."""

QUEUE_SHARE = 0.01
"""A queue that takes up more than this share of the arrivals grows."""

SETTLING_S = 30.0
"""Time that a prefill pool needs after a change of its replicas, seconds."""

STAYS = 2.0
LONGEST_STAY_S = 600.0
"""A decode pool needs so many stays of a request, at most so long."""

MOST_AGE_S = 60.0
"""Metrics that are older do not say what the replicas of now do."""

MOST_READINGS = 512


@dataclass(frozen=True, slots=True)
class Moment:
    """What one evaluation saw of a pool in which nothing was under way.

    Parameters
    ----------
    at_s, observed_at_s
        Time of the evaluation and of the newest sample, seconds since the epoch.
    replicas
        Replicas that were ordered and ready.
    rate_rps, isl, osl, prefix_hit_ratio
        The load over the window.
    latency_s
        Mean TTFT (prefill) or TPOT (decode) over the window, seconds.
    tpot_s
        Mean TPOT: how long a request stays.
    waiting
        Requests that wait, of this pool and of those before it, by pool; None where unknown.
    """

    at_s: float
    observed_at_s: float
    replicas: int
    rate_rps: float
    isl: LengthStats
    osl: LengthStats
    prefix_hit_ratio: float
    latency_s: float
    tpot_s: float
    waiting: tuple[float | None, ...]


def moment_of(
    pool: Pool, telemetry: Telemetry | NoData, target: PoolState | TargetUnknown, now_s: float
) -> Moment | str:
    """Return what is seen of a pool now, or why it says nothing of its engines."""
    if isinstance(telemetry, NoData):
        return "no metrics"
    if isinstance(target, TargetUnknown):
        return "the target cannot be read"
    why = _under_way(target)
    if why:
        return why
    workload = telemetry.workload
    latency_s = telemetry.ttft_mean_s if pool is Pool.PREFILL else telemetry.tpot_mean_s
    isl, osl = workload.isl, workload.osl
    if not (math.isfinite(workload.arrival_rate_rps) and workload.arrival_rate_rps > 0):
        return "nothing arrives"
    if not (_usable(isl) and _usable(osl) and _positive(latency_s)):
        return "lengths or latencies are not known"
    if not 0 <= workload.prefix_hit_ratio < 1:
        return "the prefix-hit ratio is not known"
    if not 0 <= now_s - telemetry.observed_at_s <= MOST_AGE_S:
        return "the metrics are old"
    assert isl is not None
    assert osl is not None
    assert latency_s is not None
    tpot_s = telemetry.tpot_mean_s
    queues = (telemetry.prefill.waiting_requests, telemetry.decode.waiting_requests)
    return Moment(
        at_s=now_s,
        observed_at_s=telemetry.observed_at_s,
        replicas=target.spec_replicas,
        rate_rps=workload.arrival_rate_rps,
        isl=isl,
        osl=osl,
        prefix_hit_ratio=workload.prefix_hit_ratio,
        latency_s=latency_s,
        tpot_s=tpot_s if tpot_s is not None and _positive(tpot_s) else 0.0,
        # What waits before prefill does not reach decode: a growing queue there is less load here.
        waiting=queues[:1] if pool is Pool.PREFILL else queues,
    )


def span_s(pool: Pool, newest: Moment, window_s: float) -> float:
    """Return for how long before now everything must have been steady, seconds."""
    settling_s = SETTLING_S
    if pool is Pool.DECODE:
        settling_s = min(LONGEST_STAY_S, STAYS * newest.osl.mean_tokens * newest.tpot_s)
    return window_s + (newest.at_s - newest.observed_at_s) + settling_s


def followed(moments: Sequence[Moment], new: Moment, period_s: float, window_s: float) -> tuple[Moment, ...]:
    """Return the moments up to a new one without a gap or a change of the replicas between them, oldest first."""
    if not moments:
        return (new,)
    last = moments[-1]
    if not 0 < new.at_s - last.at_s <= 2.5 * period_s or last.replicas != new.replicas:
        return (new,)
    keep_s = window_s + MOST_AGE_S + LONGEST_STAY_S
    kept = tuple(moment for moment in moments if moment.at_s >= new.at_s - keep_s)
    return (*kept, new)[-MOST_READINGS:]


def unsteady(pool: Pool, moments: Sequence[Moment], window_s: float) -> str:
    """Say why the last window may not be learned from; empty where it may.

    Parameters
    ----------
    pool
        Whose moments they are.
    moments
        As :func:`followed` gives them, at least one.
    window_s
        Rates and means are over so long, seconds.
    """
    newest = moments[-1]
    needed_s = span_s(pool, newest, window_s)
    if newest.at_s - moments[0].at_s < needed_s:
        return "the replicas have not been the same for long enough"
    requests = newest.rate_rps * window_s
    if requests < LEAST_REQUESTS:
        return f"fewer than {LEAST_REQUESTS} requests in the window"
    recent = [moment for moment in moments if moment.at_s >= newest.at_s - window_s]
    by_chance = NOISE / math.sqrt(requests)
    if _spread([moment.rate_rps for moment in recent]) > RATE_SPREAD + by_chance:
        return "the load varies"
    for name, lengths in (
        ("prompts", [moment.isl for moment in recent]),
        ("answers", [moment.osl for moment in recent]),
    ):
        chance = by_chance * math.sqrt(max(each.scv for each in lengths))
        if _spread([each.mean_tokens for each in lengths]) > LENGTH_SPREAD + chance:
            return f"the length of the {name} varies"
    if _spread([moment.latency_s for moment in recent]) > LATENCY_SPREAD[pool]:
        return "the latency is not steady"
    return _queue_grows(recent)


def _under_way(target: PoolState) -> str:
    if target.rollout:
        return "a rollout is in progress"
    if target.trouble is not None:
        return f"replicas fail to start ({target.trouble})"
    if target.pending_replicas or target.ready_replicas != target.spec_replicas:
        return "not all replicas are ready"
    if target.terminating_replicas:
        return "replicas are terminating"
    return "" if target.spec_replicas > 0 else "no replicas"


def _queue_grows(recent: Sequence[Moment]) -> str:
    first, last = recent[0], recent[-1]
    arrived = last.rate_rps * (last.at_s - first.at_s)
    for before, after in zip(first.waiting, last.waiting, strict=True):
        if before is None or after is None:
            continue
        if not after - before <= NOISE * math.sqrt(1.0 + max(0.0, before)) + QUEUE_SHARE * arrived:
            return "a queue grows"
    return ""


def _spread(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / (math.fsum(values) / len(values))


def _usable(length: LengthStats | None) -> bool:
    return length is not None and _positive(length.mean_tokens) and 0 <= length.scv < math.inf


def _positive(value: float | None) -> bool:
    return value is not None and 0 < value < math.inf
