"""The conditions of a PDDeployment, each a plain function of one evaluation. No kopf, no I/O, no clock.

Reasons are stable CamelCase words. Messages say what happened, on what, what is done about it, what the user can do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pdscaler.api.status import Condition
from pdscaler.controller.evaluation import Evaluation, Rejection, ScaleWrite, TargetConflict
from pdscaler.controller.standoff import FLIPS, WINDOW_S
from pdscaler.controller.times import rfc3339
from pdscaler.core.decision import Limit, Outcome, TargetUnknown, Trouble
from pdscaler.core.pools import Pool
from pdscaler.core.spec import FallbackBehavior
from pdscaler.core.workload import NoData, Telemetry
from pdscaler.units import format_duration, format_number

_SIZING_LIMITS = (
    Limit.SERVICE_TIME_EXCEEDS_SLO,
    Limit.MAX_GPUS,
    Limit.MAX_REPLICAS,
    Limit.RATIO,
)
_ELSEWHERE = frozenset({Limit.NO_DATA, Limit.FALLBACK, Limit.TARGET_UNKNOWN, Limit.SERVICE_TIME_EXCEEDS_SLO})
"""Limits that have a condition of their own, or mean that nothing is known."""


class ConditionType(StrEnum):
    """The conditions, in the order they are shown."""

    READY = "Ready"
    STALLED = "Stalled"
    METRICS_AVAILABLE = "MetricsAvailable"
    SCALING_ACTIVE = "ScalingActive"
    ABLE_TO_SCALE = "AbleToScale"
    SCALING_LIMITED = "ScalingLimited"
    SLO_ATTAINABLE = "SLOAttainable"
    FALLBACK_ACTIVE = "FallbackActive"
    CAPACITY_PENDING = "CapacityPending"


class Truth(StrEnum):
    """Status of a condition, in the API's words."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition without its times."""

    type: ConditionType
    status: Truth
    reason: str
    message: str


def verdicts(outcome: Evaluation | Rejection, was_partial: bool = False) -> tuple[Verdict, ...]:
    """Judge one evaluation.

    Parameters
    ----------
    outcome
        What the evaluation came to.
    was_partial
        The previous evaluation left one of two orders unwritten.

    Returns
    -------
    tuple of Verdict
        One for each :class:`ConditionType`, in its order.
    """
    if isinstance(outcome, Rejection):
        return tuple(_rejected(type_, outcome) for type_ in ConditionType)
    return (
        Verdict(
            ConditionType.READY,
            Truth.TRUE,
            "Evaluated",
            f"The spec is valid and is evaluated every {format_duration(outcome.period_s)}.",
        ),
        Verdict(ConditionType.STALLED, Truth.FALSE, "SpecValid", "The spec is valid."),
        metrics_available(outcome),
        scaling_active(outcome),
        able_to_scale(outcome, was_partial),
        scaling_limited(outcome),
        slo_attainable(outcome),
        fallback_active(outcome),
        capacity_pending(outcome),
    )


def carry(
    judged: Iterable[Verdict], previous: Iterable[Condition], at_s: float, generation: int
) -> tuple[Condition, ...]:
    """Turn verdicts into conditions; the transition time changes only where the status does.

    Parameters
    ----------
    judged
        Verdicts of this evaluation.
    previous
        Conditions of the status as it was.
    at_s
        Time of this evaluation, seconds since the epoch.
    generation
        Generation of the spec that was judged.
    """
    before = {condition.type: condition for condition in previous}
    result = []
    for verdict in judged:
        old = before.get(verdict.type)
        said = (verdict.status.value, verdict.reason, verdict.message, generation)
        if old is not None and (old.status, old.reason, old.message, old.observed_generation) == said:
            result.append(old)
            continue
        kept = old is not None and old.status == verdict.status
        result.append(
            Condition(
                type=verdict.type.value,
                status=verdict.status.value,
                reason=verdict.reason,
                message=verdict.message,
                last_transition_time=old.last_transition_time if old is not None and kept else rfc3339(at_s),
                observed_generation=generation,
            )
        )
    return tuple(result)


def _rejected(type_: ConditionType, rejection: Rejection) -> Verdict:
    if type_ is ConditionType.READY:
        return Verdict(type_, Truth.FALSE, rejection.reason, rejection.message)
    if type_ is ConditionType.STALLED:
        return Verdict(type_, Truth.TRUE, rejection.reason, rejection.message)
    return Verdict(type_, Truth.UNKNOWN, rejection.reason, "Not evaluated; see Ready. Both pools hold.")


def metrics_available(evaluation: Evaluation) -> Verdict:
    """Whether the metrics of this evaluation can be trusted."""
    telemetry = evaluation.decision.telemetry
    if isinstance(telemetry, NoData):
        return Verdict(
            ConditionType.METRICS_AVAILABLE, Truth.FALSE, telemetry.reason.value, _held(telemetry, evaluation)
        )
    window = format_duration(telemetry.window_s)
    return Verdict(
        ConditionType.METRICS_AVAILABLE,
        Truth.TRUE,
        "MetricsFound",
        f'Arrivals of model "{evaluation.model}" are read from {telemetry.arrival_source.value}, rates over {window}.',
    )


def _held(telemetry: NoData, evaluation: Evaluation) -> str:
    message = _sentence(telemetry.message)
    if evaluation.outcome is Outcome.FALLBACK:
        return f"{message}. The fallback applies; see FallbackActive."
    return f"{message}. Both pools hold."


def scaling_active(evaluation: Evaluation) -> Verdict:
    """Whether the operator is scaling: switched on, with something to go by."""
    type_ = ConditionType.SCALING_ACTIVE
    telemetry = evaluation.decision.telemetry
    for pool, seen in evaluation.seen.items():
        if Limit.TARGET_AT_ZERO in evaluation.decision.pools[pool].limited_by:
            ref = evaluation.targets[pool]
            message = f'{ref.kind} "{ref.name}" ({pool}) is at 0 replicas: taken as a deliberate stop'
            return Verdict(type_, Truth.FALSE, "TargetAtZero", f"{message}. Scale it to at least 1 to hand it back.")
        if isinstance(seen, TargetUnknown):
            return Verdict(type_, Truth.FALSE, seen.reason, f"The {pool} target cannot be read; see AbleToScale.")
    if evaluation.recommend_only:
        return Verdict(
            type_, Truth.FALSE, "RecommendOnly", "mode is RecommendOnly: replicas are recommended, never written."
        )
    if evaluation.paused.scale_up and evaluation.paused.scale_down:
        return Verdict(type_, Truth.FALSE, "Paused", "Paused by annotation; remove pdscaler.io/paused to resume.")
    if isinstance(telemetry, NoData) and evaluation.outcome is not Outcome.FALLBACK:
        return Verdict(
            type_, Truth.FALSE, telemetry.reason.value, "No metrics to scale by; see MetricsAvailable. Both pools hold."
        )
    direction = "up" if evaluation.paused.scale_up else "down" if evaluation.paused.scale_down else ""
    message = (
        f"Scaling {direction} is paused by annotation, the other direction is active."
        if direction
        else "Both pools are scaled."
    )
    if evaluation.conflict is not None:
        message = "Nothing is written while somebody else scales a target; see AbleToScale."
    return Verdict(type_, Truth.TRUE, "ScalingEnabled", message)


def able_to_scale(evaluation: Evaluation, was_partial: bool) -> Verdict:
    """Whether both targets can be read and written, and are nobody else's."""
    type_ = ConditionType.ABLE_TO_SCALE
    unreadable = [(pool, seen) for pool, seen in evaluation.seen.items() if isinstance(seen, TargetUnknown)]
    if unreadable:
        said = ". ".join(_sentence(seen.message) for _, seen in unreadable)
        other = f" {unreadable[0][0].other.capitalize()} is not affected." if len(unreadable) == 1 else ""
        if evaluation.conflict is not None:
            other = f" {_contested(evaluation.conflict)}"
        soon = f"looking again every {format_duration(evaluation.period_s)}"
        return Verdict(type_, Truth.FALSE, unreadable[0][1].reason, f"{said}; {soon}.{other}")
    if evaluation.conflict is not None:
        return Verdict(type_, Truth.FALSE, "TargetConflict", _contested(evaluation.conflict))
    if evaluation.failed_writes:
        return _unwritten(evaluation, was_partial)
    unwatched = f" {evaluation.unwatched}." if evaluation.unwatched else ""
    return Verdict(type_, Truth.TRUE, "ReadyForNewScale", f"Both targets can be scaled.{unwatched}")


def _contested(conflict: TargetConflict) -> str:
    target = f"{conflict.target.short} ({conflict.pool})"
    if conflict.standoff is None:
        return f"{conflict.owner} also scales {target}; not writing until it is gone or names another target."
    last, window = conflict.standoff.flips[-1], f"{WINDOW_S / 60:g} minutes"
    who = f'Field manager "{conflict.owner}"' if conflict.owner else "Somebody"
    return (
        f"{who} set {target} away from what was ordered {FLIPS} times within {window}, last "
        f"{last.before}→{last.after}; not writing until {window} have passed in which nobody else changed it. "
        "Let one of the two decide the replicas."
    )


def _unwritten(evaluation: Evaluation, was_partial: bool) -> Verdict:
    type_ = ConditionType.ABLE_TO_SCALE
    refused = "; ".join(f"{_step(write)} could not be ordered: {write.problem}" for write in evaluation.failed_writes)
    soon = f"trying again in {format_duration(evaluation.retry_s or evaluation.period_s)}."
    if not evaluation.done_writes and not was_partial:
        return Verdict(type_, Truth.FALSE, "FailedUpdateScale", f"{refused}; {soon}")
    done = ", ".join(_step(write) for write in evaluation.done_writes) or "the other pool"
    return Verdict(type_, Truth.FALSE, "PartiallyApplied", f"{done} was ordered, but {refused}; {soon}")


def _step(write: ScaleWrite) -> str:
    return f"{write.pool} {write.before}→{write.after}"


def scaling_limited(evaluation: Evaluation) -> Verdict:
    """Whether something stands between what is recommended and what is desired."""
    type_ = ConditionType.SCALING_LIMITED
    if evaluation.decision.sizing is None:
        return Verdict(
            type_, Truth.UNKNOWN, "NoRecommendation", "There is nothing to limit: no metrics, no recommendation."
        )
    said = []
    first: Limit | None = None
    for pool, decision in evaluation.decision.pools.items():
        limits = [limit for limit in decision.limited_by if limit not in _ELSEWHERE]
        ordered = evaluation.ordered(pool)
        if limits and ordered != decision.recommended:
            first = first or limits[0]
            by = ", ".join(limit.value for limit in limits)
            said.append(f"{pool} {_count(ordered)} instead of {_count(decision.recommended)}: {by}")
    if first is None:
        return Verdict(type_, Truth.FALSE, "DesiredWithinRange", "What is recommended is desired.")
    return Verdict(type_, Truth.TRUE, first.value, "; ".join(said) + ".")


def slo_attainable(evaluation: Evaluation) -> Verdict:
    """Whether any allowed number of replicas meets the objectives."""
    type_ = ConditionType.SLO_ATTAINABLE
    sizing = evaluation.decision.sizing
    if sizing is None:
        return Verdict(type_, Truth.UNKNOWN, "NoRecommendation", "Not known without metrics.")
    if sizing.feasible:
        return Verdict(type_, Truth.TRUE, "SLOAttainable", f"{sizing.label} meets the objectives at the present load.")
    reason = next((limit.value for limit in _SIZING_LIMITS if limit in sizing.limited_by), "NotFeasible")
    why = _sentence(sizing.infeasible_reason) or "No allowed number of replicas meets the objectives"
    return Verdict(type_, Truth.FALSE, reason, f"{why}. The best feasible is {sizing.label}.")


def fallback_active(evaluation: Evaluation) -> Verdict:
    """Whether the fallback decides instead of the metrics."""
    type_ = ConditionType.FALLBACK_ACTIVE
    fallback = evaluation.spec.fallback
    if not evaluation.state.fallback_active:
        return Verdict(type_, Truth.FALSE, "MetricsDecide", "The metrics decide.")
    does = {
        FallbackBehavior.HOLD: "both pools hold",
        FallbackBehavior.HOLD_OR_HIGHER: "both pools hold, or grow to the fallback's replicas",
        FallbackBehavior.STATIC: "both pools go to the fallback's replicas",
    }[fallback.behavior]
    window = format_duration(evaluation.spec.window_s)
    telemetry = evaluation.decision.telemetry
    if isinstance(telemetry, Telemetry):
        message = f"Metrics are back: pools may grow; none shrinks before a full fresh window of {window}."
    else:
        # Not how many by now: a message that counts on would be a write for every PDDeployment and minute of an outage.
        times = f"{fallback.failure_threshold} or more evaluations in a row"
        message = f"No metrics in {times} ({telemetry.reason.value}): {does} until a full fresh window of {window}."
    return Verdict(type_, Truth.TRUE, f"Fallback{fallback.behavior.value}", message)


def capacity_pending(evaluation: Evaluation) -> Verdict:
    """Whether replicas that were ordered are kept from becoming ready, for longer than a start takes."""
    type_ = ConditionType.CAPACITY_PENDING
    said: list[str] = []
    first: Trouble | None = None
    starting: list[str] = []
    unknown: TargetUnknown | None = None
    for pool, seen in evaluation.seen.items():
        if isinstance(seen, TargetUnknown):
            unknown = unknown or seen
            continue
        waiting = seen.spec_replicas - seen.ready_replicas
        if seen.trouble is not None and _overdue(evaluation, pool, seen.trouble):
            first = first or seen.trouble
            said.append(
                f"{pool}: {max(waiting, seen.pending_replicas)} of {seen.spec_replicas} replicas are not ready "
                f"({seen.trouble.value})"
            )
        elif waiting > 0:
            starting.append(f"{pool} {seen.ready_replicas} of {seen.spec_replicas} ready")
    if first is not None:
        advice = {
            Trouble.UNSCHEDULABLE: "free GPUs or lower maxReplicas",
            Trouble.QUOTA_EXCEEDED: "raise the namespace's quota or lower maxReplicas",
            Trouble.IMAGE_PULL: "check the target's image",
            Trouble.CRASH_LOOP: "check the logs of the target's pods",
        }[first]
        return Verdict(
            type_, Truth.TRUE, first.value, f"{'; '.join(said)}. That pool is not scaled up further; {advice}."
        )
    if unknown is not None:
        return Verdict(
            type_, Truth.UNKNOWN, unknown.reason, "Not known of a target that cannot be read; see AbleToScale."
        )
    if starting:
        return Verdict(type_, Truth.FALSE, "Starting", f"{'; '.join(starting)}.")
    return Verdict(type_, Truth.FALSE, "AllReady", "Every replica that was ordered is ready.")


def _overdue(evaluation: Evaluation, pool: Pool, trouble: Trouble) -> bool:
    # A pod is Unschedulable for a moment whenever the cluster autoscaler adds a node: that alone is no news.
    if trouble in {Trouble.IMAGE_PULL, Trouble.CRASH_LOOP}:
        return True
    return evaluation.troubled_for_s[pool] >= evaluation.spec.sizing.limits[pool].startup_s


def _sentence(message: str) -> str:
    return message.rstrip().removesuffix(".")


def _count(replicas: int | None) -> str:
    return "–" if replicas is None else format_number(float(replicas), 9)
