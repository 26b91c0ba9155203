"""One line for people on what was decided for a pool, and why. Imports core and units only."""

import math
from collections.abc import Iterable

from pdscaler.core.decision import Limit, SizingResult
from pdscaler.core.explain import LATENCY
from pdscaler.core.freeze import Block
from pdscaler.core.pools import Pool
from pdscaler.core.spec import PoolLimits, ScalingRules
from pdscaler.core.workload import NoData, WorkloadStats
from pdscaler.units import format_duration, format_need, format_number


def need_text(pool: Pool, sizing: SizingResult, workload: WorkloadStats, *, verified: bool = False) -> str:
    """Say what the load needs: ``18 requests/s need 2.61 replicas (verified); TTFT at 2 would be 1.9s``."""
    answer = sizing.pools[pool]
    if workload.arrival_rate_rps == 0:
        return "nothing arrives: the minimum is enough"
    rate = f"{format_number(workload.arrival_rate_rps)} requests/s"
    if math.isinf(answer.required):
        return f"{rate}: {answer.explanation}"
    text = f"{rate} need {format_need(answer.required, answer.recommended)} replicas{' (verified)' * verified}"
    if answer.replicas > answer.recommended:
        return text
    # What fewer than needed give, or what one fewer would.
    count = answer.replicas if answer.replicas < answer.recommended else answer.replicas - 1
    value_s = answer.latency_s(count) if count else None
    if value_s is None:
        return text
    if math.isinf(value_s):
        return f"{text}; {count} cannot keep up"
    return f"{text}; {LATENCY[pool]} at {count} would be {format_duration(value_s)}"


def limits_text(limits: Iterable[Limit], blocks: Iterable[Block], bounds: PoolLimits) -> str:
    """Say what stands between the need and the order; empty where nothing does."""
    behavior = bounds.behavior
    blocked = {block.limit: block.message for block in blocks}
    words = {
        Limit.MIN_REPLICAS: f"minReplicas {bounds.min_replicas}",
        Limit.MAX_REPLICAS: f"maxReplicas {bounds.max_replicas}",
        Limit.MAX_GPUS: "maxGPUs",
        Limit.GPUS_NOT_FREE_YET: "waits for GPUs of the budget that replicas still hold until they are gone",
        Limit.RATIO: "the P:D ratio",
        Limit.SCALE_UP_STABILIZATION: f"more for less than {_seconds(behavior.scale_up)} yet",
        # What is ordered is the greatest need of the window.
        Limit.SCALE_DOWN_STABILIZATION: f"needed within the last {_seconds(behavior.scale_down)}",
        Limit.SCALE_UP_POLICY: "the scale-up policy",
        Limit.SCALE_DOWN_POLICY: "the scale-down policy",
        Limit.TOLERANCE: "the tolerance",
        Limit.SLO_MISSED: "a step more, as the target is missed",
        Limit.SCALE_DOWN_MARGIN: "fewer suffice only just",
        Limit.FALLBACK: "the fallback, until a full window of fresh data has passed",
    }
    return ", ".join(
        blocked.get(limit, words.get(limit, limit.value))
        for limit in limits
        if limit not in (Limit.SERVICE_TIME_EXCEEDS_SLO, Limit.NO_DATA)
    )


def _seconds(rules: ScalingRules) -> str:
    return format_duration(rules.stabilization_window_s)


def no_data_text(missing: NoData) -> str:
    """Say why nothing can be said: ``NoData: query "arrivals" returned nothing``."""
    return f"{missing.reason}: {missing.message}" if missing.message else str(missing.reason)
