"""The status as a rendering of one evaluation. No kopf, no I/O, no clock.

Figures are rounded to three significant digits here, so that what is compared is what is written.
"""

import math

from pdscaler.api.status import (
    MAX_DECISIONS,
    DecisionStatus,
    EngineLoad,
    ForecastStatus,
    LatencyStatus,
    LengthStatus,
    ObservedStatus,
    PDDeploymentStatus,
    PoolStatus,
    PredictionStatus,
    StepStatus,
    Summary,
    WorkloadStatus,
)
from pdscaler.controller import calibrations, memory
from pdscaler.controller.conditions import ConditionType, Verdict, carry, verdicts
from pdscaler.controller.evaluation import Evaluation, Rejection
from pdscaler.controller.expectation import PRESENT
from pdscaler.controller.summary import DASH, limits, summarize
from pdscaler.controller.times import rfc3339
from pdscaler.core.decision import PoolDecision
from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyStatistics, LatencyTarget
from pdscaler.core.workload import LengthStats, NoData, PoolLoad, Telemetry
from pdscaler.units import format_duration, format_need, format_number


def render(outcome: Evaluation | Rejection, previous: PDDeploymentStatus) -> PDDeploymentStatus:
    """Return the status after an evaluation.

    Parameters
    ----------
    outcome
        What the evaluation came to.
    previous
        The status as it was: transition times, the last decisions, and all that a rejection leaves standing.
    """
    judged = verdicts(outcome, was_partial(previous))
    conditions = carry(judged, previous.conditions, outcome.at_s, outcome.generation)
    if isinstance(outcome, Rejection):
        return previous.model_copy(
            update={
                "observed_generation": outcome.generation,
                "conditions": conditions,
                "summary": _summary(outcome, judged, previous, previous.decisions),
            }
        )
    decisions = _decisions(outcome, previous)
    telemetry = outcome.decision.telemetry
    return PDDeploymentStatus(
        observed_generation=outcome.generation,
        conditions=conditions,
        summary=_summary(outcome, judged, previous, decisions),
        prefill=_pool(outcome, Pool.PREFILL),
        decode=_pool(outcome, Pool.DECODE),
        workload=_workload(telemetry) if isinstance(telemetry, Telemetry) else None,
        forecast=_forecast(outcome),
        calibration=calibrations.to_status(outcome.calibration, outcome.spec.sizing),
        observed=_observed(outcome, telemetry) if isinstance(telemetry, Telemetry) else None,
        prediction=_prediction(outcome),
        limited_by=limits(outcome),
        decisions=decisions,
        memory=memory.to_status(outcome.state, outcome.standoffs).model_copy(
            update={"calibration": calibrations.to_memory(outcome.calibration)}
        ),
    )


def was_partial(previous: PDDeploymentStatus) -> bool:
    """Whether the last evaluation left one of two orders unwritten."""
    able = ConditionType.ABLE_TO_SCALE.value
    return any(condition.type == able and condition.reason == "PartiallyApplied" for condition in previous.conditions)


def rounded(value: float | None) -> float | None:
    """Round to three significant digits; what is not finite is not known.

    Examples
    --------
    >>> rounded(12.345), rounded(6144.2), rounded(math.inf), rounded(None)
    (12.3, 6144.0, None, None)
    """
    if value is None or not math.isfinite(value):
        return None
    return float(format_number(value))


def _summary(
    outcome: Evaluation | Rejection,
    judged: tuple[Verdict, ...],
    previous: PDDeploymentStatus,
    decisions: tuple[DecisionStatus, ...],
) -> Summary:
    last_change = decisions[0].time if decisions else None
    return summarize(outcome, judged, previous.summary or Summary(), last_change)


def _pool(evaluation: Evaluation, pool: Pool) -> PoolStatus:
    decision = evaluation.decision.pools[pool]
    return PoolStatus(
        current=evaluation.current(pool),
        ready=decision.ready,
        required=_required(decision),
        recommended=decision.recommended,
        desired=decision.desired,
        utilization=rounded(decision.utilization),
        binding=None if decision.binding is None else decision.binding.value,
        limited_by=tuple(limit.value for limit in decision.limited_by),
        reason=decision.reason or None,
    )


def _required(decision: PoolDecision) -> float | None:
    if decision.required is None or not math.isfinite(decision.required):
        return None
    return float(format_need(decision.required, decision.recommended))


def _workload(telemetry: Telemetry) -> WorkloadStatus:
    workload = telemetry.workload
    return WorkloadStatus(
        arrival_rate=rounded(workload.arrival_rate_rps),
        arrival_source=telemetry.arrival_source.value,
        input_tokens=_lengths(workload.isl),
        output_tokens=_lengths(workload.osl),
        prefix_hit_ratio=rounded(workload.prefix_hit_ratio),
        window=format_duration(telemetry.window_s),
        observed_at=rfc3339(telemetry.observed_at_s),
        alternatives=dict(telemetry.alternatives),
    )


def _lengths(lengths: LengthStats | None) -> LengthStatus | None:
    return None if lengths is None else LengthStatus(mean=rounded(lengths.mean_tokens), scv=rounded(lengths.scv))


def _forecast(evaluation: Evaluation) -> ForecastStatus | None:
    """Render the forecast; what is sized for the load seen now, and waits for nothing, has none."""
    expectation, found = evaluation.expectation, evaluation.expectation.forecast
    if isinstance(evaluation.decision.telemetry, NoData) or expectation == PRESENT:
        return None
    fallback, waiting = expectation.fallback or None, expectation.unforeseen or None
    if found is None:
        return ForecastStatus(fallback=fallback, waiting=waiting)
    return ForecastStatus(
        method=found.method.value,
        horizon=format_duration(found.horizon_s),
        quantile=rounded(found.quantile),
        rate=rounded(found.rate_rps),
        expected_rate=rounded(found.expected_rps),
        dispersion=rounded(found.dispersion),
        input_tokens=_lengths(found.isl),
        output_tokens=_lengths(found.osl),
        fallback=fallback,
        waiting=waiting,
        reason=found.reason or None,
    )


def _observed(evaluation: Evaluation, telemetry: Telemetry) -> ObservedStatus:
    slo = evaluation.spec.sizing.slo
    return ObservedStatus(
        ttft=_observed_latency(telemetry.ttft_mean_s, telemetry.ttft_bucket_s, slo.ttft),
        tpot=_observed_latency(telemetry.tpot_mean_s, telemetry.tpot_bucket_s, slo.tpot),
        prefill=_load(telemetry.prefill),
        decode=_load(telemetry.decode),
    )


def _observed_latency(
    mean_s: float | None, bucket_s: tuple[float, float] | None, target: LatencyTarget | None
) -> str | None:
    if target is None or target.statistic.quantile is None:
        return None if mean_s is None else format_duration(mean_s)
    return None if bucket_s is None else "–".join(format_duration(bound_s) for bound_s in bucket_s)


def _load(load: PoolLoad) -> EngineLoad:
    return EngineLoad(
        waiting=rounded(load.waiting_requests),
        running=rounded(load.running_requests),
        kv_usage=rounded(load.kv_usage_ratio),
    )


def _prediction(evaluation: Evaluation) -> PredictionStatus | None:
    predicted = evaluation.decision.predicted
    if predicted is None:
        return None
    return PredictionStatus(ttft=_latencies(predicted.ttft_s), tpot=_latencies(predicted.tpot_s))


def _latencies(statistics: LatencyStatistics) -> LatencyStatus:
    def word(value_s: float | None) -> str | None:
        text = format_duration(value_s)
        return None if text == DASH else text

    return LatencyStatus(
        mean=word(statistics.mean),
        p50=word(statistics.p50),
        p90=word(statistics.p90),
        p95=word(statistics.p95),
        p99=word(statistics.p99),
    )


def _decisions(evaluation: Evaluation, previous: PDDeploymentStatus) -> tuple[DecisionStatus, ...]:
    """Return the last decisions, newest first: orders that were written, or new recommendations where none can be."""
    steps = _recommended_steps(evaluation) if evaluation.recommend_only else _written_steps(evaluation)
    last = previous.decisions[0] if previous.decisions else None
    if not steps or (evaluation.recommend_only and last is not None and _same_counts(last, steps)):
        return previous.decisions
    telemetry = evaluation.decision.telemetry
    workload = telemetry.workload if isinstance(telemetry, Telemetry) else None
    expected = evaluation.expectation.forecast
    newest = DecisionStatus(
        time=rfc3339(evaluation.at_s),
        expected_rate=None if expected is None else rounded(expected.rate_rps),
        expected_by=None if expected is None else rfc3339(expected.at_s + expected.horizon_s),
        expected_from=None if expected is None else f"P{expected.quantile * 100:g}, {expected.method}",
        prefill=steps.get(Pool.PREFILL),
        decode=steps.get(Pool.DECODE),
        arrival_rate=None if workload is None else rounded(workload.arrival_rate_rps),
        input_tokens=None if workload is None or workload.isl is None else rounded(workload.isl.mean_tokens),
        output_tokens=None if workload is None or workload.osl is None else rounded(workload.osl.mean_tokens),
    )
    return (newest, *previous.decisions)[:MAX_DECISIONS]


def _written_steps(evaluation: Evaluation) -> dict[Pool, StepStatus]:
    written = {write.pool: write for write in evaluation.done_writes}
    if not written:
        return {}
    steps = {pool: _stays(evaluation, pool) for pool in Pool}
    for pool, write in written.items():
        steps[pool] = StepStatus(from_=write.before, to=write.after, reason=write.reason)
    return {pool: step for pool, step in steps.items() if step.from_ is not None}


def _stays(evaluation: Evaluation, pool: Pool) -> StepStatus:
    current = evaluation.current(pool)
    return StepStatus(from_=current, to=current, reason=evaluation.decision.pools[pool].reason)


def _recommended_steps(evaluation: Evaluation) -> dict[Pool, StepStatus]:
    if not evaluation.decision.changed:
        return {}
    return {
        pool: StepStatus(from_=decision.current, to=evaluation.ordered(pool), reason=decision.reason)
        for pool, decision in evaluation.decision.pools.items()
        if decision.current is not None
    }


def _same_counts(last: DecisionStatus, steps: dict[Pool, StepStatus]) -> bool:
    before = {Pool.PREFILL: last.prefill, Pool.DECODE: last.decode}
    return all(_counts(before[pool]) == _counts(steps.get(pool)) for pool in Pool)


def _counts(step: StepStatus | None) -> tuple[int | None, int | None] | None:
    return None if step is None else (step.from_, step.to)
