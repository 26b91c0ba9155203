"""Kubernetes Events: one on each transition that a user should hear of, none while a state lasts. No kopf, no I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pdscaler.api.status import CalibrationStatus, Condition
from pdscaler.cluster.events import EventType
from pdscaler.controller.conditions import ConditionType, Truth
from pdscaler.controller.driftwords import drift_words
from pdscaler.controller.evaluation import Evaluation, Rejection
from pdscaler.core.pools import Pool

_TROUBLE: Mapping[str, Truth] = {
    ConditionType.STALLED: Truth.TRUE,
    ConditionType.METRICS_AVAILABLE: Truth.FALSE,
    ConditionType.ABLE_TO_SCALE: Truth.FALSE,
    ConditionType.SLO_ATTAINABLE: Truth.FALSE,
    ConditionType.FALLBACK_ACTIVE: Truth.TRUE,
    ConditionType.CAPACITY_PENDING: Truth.TRUE,
}
"""Which status of a condition is trouble. Ready repeats Stalled, ScalingLimited changes with the load: no events."""

_TROUBLE_REASONS: Mapping[str, frozenset[str]] = {ConditionType.SCALING_ACTIVE: frozenset({"TargetAtZero"})}
"""Conditions of which only some reasons are trouble."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """An Event to be posted."""

    type: EventType
    reason: str
    message: str


def announcements(
    outcome: Evaluation | Rejection, before: Iterable[Condition], after: Iterable[Condition]
) -> tuple[Announcement, ...]:
    """Return the Events of one evaluation: orders that were written, then transitions of conditions.

    Parameters
    ----------
    outcome
        What the evaluation came to.
    before, after
        Conditions of the status before and after it.
    """
    orders: list[Announcement] = []
    if isinstance(outcome, Evaluation):
        for write in outcome.done_writes:
            reason = "ScaledUp" if write.after > write.before else "ScaledDown"
            because = f": {write.reason}" if write.reason else ""
            orders.append(Announcement(EventType.NORMAL, reason, f"{write.pool} {write.before}→{write.after}{because}"))
    old = {condition.type: condition for condition in before}
    changes = (_transition(old.get(condition.type), condition) for condition in after)
    return (*orders, *(change for change in changes if change is not None))


def drift_announcements(before: CalibrationStatus | None, after: CalibrationStatus | None) -> tuple[Announcement, ...]:
    """Return the Events of engines that went off their profile, or came back to it.

    Parameters
    ----------
    before, after
        Calibration of the status before and after an evaluation.
    """
    if after is None:
        return ()
    was = before or CalibrationStatus()
    found = []
    for pool, old, new in ((Pool.PREFILL, was.prefill, after.prefill), (Pool.DECODE, was.decode, after.decode)):
        if new.off_profile == old.off_profile:
            continue
        said = drift_words(pool, new.drift)
        if new.off_profile:
            doing = "sizing goes by what was measured" if new.last_fit else new.note or "nothing could be corrected yet"
            message = f"{pool.value}: {said}; {doing}. Measure the profile anew."
            found.append(Announcement(EventType.WARNING, "ProfileDrift", message))
        else:
            found.append(Announcement(EventType.NORMAL, "ProfileHolds", f"{pool.value}: {said or 'as its profile'}."))
    return tuple(found)


def _transition(before: Condition | None, after: Condition) -> Announcement | None:
    if before is after:  # of nearly all, nearly always
        return None
    was, now = before is not None and _is_trouble(before), _is_trouble(after)
    if now and (not was or (before is not None and before.reason != after.reason)):
        return Announcement(EventType.WARNING, after.reason, f"{after.type}={after.status}: {after.message}")
    if was and not now and before is not None and after.status != Truth.UNKNOWN.value:
        return Announcement(
            EventType.NORMAL, after.reason, f"{after.type}={after.status}, after {before.reason}: {after.message}"
        )
    return None


def _is_trouble(condition: Condition) -> bool:
    if condition.type in _TROUBLE_REASONS:
        return condition.status == Truth.FALSE.value and condition.reason in _TROUBLE_REASONS[condition.type]
    return condition.type in _TROUBLE and condition.status == _TROUBLE[condition.type].value
