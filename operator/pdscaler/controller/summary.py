"""The printer columns: one short string for each, a dash where nothing is known. No kopf, no I/O, no clock."""

from pdscaler.api.status import Summary
from pdscaler.controller.conditions import ConditionType, Truth, Verdict
from pdscaler.controller.evaluation import INVALID_SPEC, Evaluation, Rejection
from pdscaler.core.decision import Limit, Outcome
from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyTarget
from pdscaler.core.workload import NoData, Telemetry
from pdscaler.units import format_duration, format_number

DASH = "–"


def summarize(
    outcome: Evaluation | Rejection, judged: tuple[Verdict, ...], previous: Summary, last_change: str | None
) -> Summary:
    """Write the printer columns of one evaluation.

    Parameters
    ----------
    outcome
        What the evaluation came to.
    judged
        Its conditions.
    previous
        The columns as they were: what is not known of an invalid resource stays.
    last_change
        Time of the last order, RFC 3339; None where nothing was ordered yet.
    """
    if isinstance(outcome, Rejection):
        state = "Invalid" if outcome.reason == INVALID_SPEC else "Error"
        return Summary(prefill=previous.prefill, decode=previous.decode, state=state, last_change=last_change or DASH)
    telemetry = outcome.decision.telemetry
    known = telemetry if isinstance(telemetry, Telemetry) else None
    slo = outcome.spec.sizing.slo
    return Summary(
        prefill=replicas_column(outcome, Pool.PREFILL),
        decode=replicas_column(outcome, Pool.DECODE),
        rate=DASH if known is None else f"{format_number(known.workload.arrival_rate_rps)}/s",
        ttft=DASH if known is None else latency_column(known.ttft_mean_s, known.ttft_bucket_s, slo.ttft),
        tpot=DASH if known is None else latency_column(known.tpot_mean_s, known.tpot_bucket_s, slo.tpot),
        state=state_column(outcome, judged),
        limited_by=", ".join(limits(outcome)) or DASH,
        forecast=DASH
        if outcome.decision.workload is None
        else f"{format_number(outcome.decision.workload.arrival_rate_rps)}/s",
        gpus=gpus_column(outcome),
        last_change=last_change or DASH,
    )


def replicas_column(evaluation: Evaluation, pool: Pool) -> str:
    """Ready and ordered replicas: ``4``, or ``3→4`` on the way; ``2 (4)`` where 4 are only recommended."""
    current, ready = evaluation.current(pool), evaluation.decision.pools[pool].ready
    if current is None:
        return DASH
    ordered = evaluation.ordered(pool)
    if evaluation.recommend_only:
        return str(current) if ordered is None else f"{current} ({ordered})"
    if ready is None or ready == ordered:
        return str(ordered)
    return f"{ready}→{ordered}"


def latency_column(mean_s: float | None, bucket_s: tuple[float, float] | None, target: LatencyTarget | None) -> str:
    """Observed and target, ``1.62s/2s``; a percentile read from buckets is an interval, ``1s–2.5s/2s``."""
    if target is None:
        return format_duration(mean_s)
    if target.statistic.quantile is None:
        observed = format_duration(mean_s)
    else:
        observed = DASH if bucket_s is None else "–".join(format_duration(bound_s) for bound_s in bucket_s)
    return f"{observed}/{format_duration(target.target_s)}"


def gpus_column(evaluation: Evaluation) -> str:
    """GPUs ordered, over the budget where there is one: ``64/128``."""
    counts = [evaluation.current(pool) for pool in Pool]
    if any(count is None for count in counts):
        return DASH
    used = sum(
        (count or 0) * evaluation.spec.sizing.limits[pool].gpus_per_replica
        for pool, count in zip(Pool, counts, strict=True)
    )
    budget = evaluation.spec.sizing.constraints.max_gpus
    return str(used) if budget is None else f"{used}/{budget}"


def limits(evaluation: Evaluation) -> tuple[str, ...]:
    """Everything that stands between recommended and desired, in either pool or in the pair, each once."""
    found: dict[Limit, None] = {}
    if evaluation.decision.sizing is not None:
        found.update(dict.fromkeys(evaluation.decision.sizing.limited_by))
    for pool in (evaluation.decision.pools.prefill, evaluation.decision.pools.decode):
        found.update(dict.fromkeys(pool.limited_by))
    return tuple(limit.value for limit in found)


def state_column(evaluation: Evaluation, judged: tuple[Verdict, ...]) -> str:
    """One or two words: what the operator is doing."""
    by_type = {verdict.type: verdict for verdict in judged}
    able, active = by_type[ConditionType.ABLE_TO_SCALE], by_type[ConditionType.SCALING_ACTIVE]
    if able.status is Truth.FALSE:
        return f"Blocked: {able.reason}"
    if active.reason == "TargetAtZero":
        return "Holding: TargetAtZero"
    if evaluation.paused.scale_up and evaluation.paused.scale_down:
        return "Paused"
    telemetry = evaluation.decision.telemetry
    if isinstance(telemetry, NoData):
        word = "Fallback" if evaluation.outcome is Outcome.FALLBACK else "Holding"
        return f"{word}: {telemetry.reason.value}"
    if evaluation.recommend_only:
        return "Recommending"
    return _movement(evaluation)


def _movement(evaluation: Evaluation) -> str:
    directions: set[str] = set()
    for pool in Pool:
        ready, ordered = evaluation.decision.pools[pool].ready, evaluation.ordered(pool)
        changes = {write.after - write.before for write in evaluation.done_writes if write.pool is pool}
        if ready is not None and ordered is not None:
            changes.add(ordered - ready)
        directions.update("up" if change > 0 else "down" for change in changes if change)
    if len(directions) == 2:
        return "Rebalancing"
    return {"up": "ScalingUp", "down": "ScalingDown"}.get(next(iter(directions), ""), "Steady")
