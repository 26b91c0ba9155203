"""Publishes an evaluation: status, events, metrics, one log line. Nothing is decided here. No kopf."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from pdscaler.api.pddeployment import API_VERSION, KIND
from pdscaler.api.status import PDDeploymentStatus
from pdscaler.cluster.errors import NOT_FOUND, ClusterError
from pdscaler.cluster.events import ObjectIdentity
from pdscaler.controller import logs
from pdscaler.controller.book import Entry
from pdscaler.controller.evaluation import INTERNAL_ERROR, Evaluation, Rejection, ResourceKey, SupersededError
from pdscaler.controller.events import announcements, drift_announcements
from pdscaler.controller.metrics import Metrics
from pdscaler.controller.render import render, rounded
from pdscaler.controller.summary import limits
from pdscaler.controller.writerule import worth_writing
from pdscaler.core.pools import Pool
from pdscaler.core.workload import NoData, Telemetry

_logger = logging.getLogger(__name__)


class WritesStatus(Protocol):
    """Replaces the status of a PDDeployment."""

    async def write(self, about: ObjectIdentity, document: Mapping[str, Any]) -> str:
        """Write a status if the resource is as it was last seen; return its resourceVersion as it is now."""


class EmitsEvents(Protocol):
    """Posts Events."""

    async def emit(self, about: ObjectIdentity, kind: str, reason: str, message: str) -> None:
        """Post an Event."""


class Publisher:
    """Makes evaluations known.

    Parameters
    ----------
    statuses, events
        Where status and Events go.
    metrics
        The operator's own metrics.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self, statuses: WritesStatus, events: EmitsEvents, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._statuses = statuses
        self._events = events
        self._metrics = metrics
        self._clock = clock

    def forget(self, key: ResourceKey) -> None:
        """Drop the metrics of a resource that is gone."""
        self._metrics.forget(key)

    async def publish(self, entry: Entry, outcome: Evaluation | Rejection, duration_s: float) -> None:
        """Publish one evaluation.

        Parameters
        ----------
        entry
            Memory of the resource; its status is brought up to date.
        outcome
            What the evaluation came to.
        duration_s
            How long it took, seconds.

        Raises
        ------
        SupersededError
            If the resource is gone.
        NotLeadingError
            If another replica leads by now: nothing more was written.
        """
        before = entry.status
        after = render(outcome, before)
        entry.status = after
        self._metrics.record(outcome, duration_s)
        document = after.to_document()
        news = announcements(outcome, before.conditions, after.conditions)
        news += drift_announcements(before.calibration, after.calibration)
        if news or _failed(outcome) or _decided(before) != _decided(after):
            _log(outcome, duration_s)
        about = ObjectIdentity(API_VERSION, KIND, entry.key.namespace, entry.key.name, entry.uid)
        await self._write(entry, replace(about, resource_version=entry.version), document)
        for item in news:
            await self._events.emit(about, item.type, item.reason, item.message)

    async def _write(self, entry: Entry, about: ObjectIdentity, document: dict[str, Any]) -> None:
        now_s = self._clock()
        if not worth_writing(entry.written, document, now_s - entry.written_at_s):
            return
        try:
            entry.version = await self._statuses.write(about, document)
        except ClusterError as error:
            if error.reason == NOT_FOUND:
                raise SupersededError(gone=True) from error
            fields = {"namespace": entry.key.namespace, "name": entry.key.name, "reason": str(error)}
            logs.event(_logger, logging.WARNING, "status not written", fields)
            return
        entry.written, entry.written_at_s = document, now_s


def _failed(outcome: Evaluation | Rejection) -> bool:
    if isinstance(outcome, Rejection):
        # An invalid spec is news once; nothing fails anew until it changes.
        return outcome.reason == INTERNAL_ERROR
    return isinstance(outcome.decision.telemetry, NoData) or bool(outcome.failed_writes)


def _decided(status: PDDeploymentStatus) -> tuple[object, ...]:
    """Return what is news for the log: counts and conditions, not the reasons, figures and ready pods between them."""
    counts = [None if pool is None else (pool.current, pool.desired) for pool in (status.prefill, status.decode)]
    return counts, [(condition.type, condition.status) for condition in status.conditions]


def _log(outcome: Evaluation | Rejection, duration_s: float) -> None:
    fields: dict[str, Any] = {"namespace": outcome.key.namespace, "name": outcome.key.name}
    if isinstance(outcome, Rejection):
        fields |= {"outcome": outcome.reason, "reason": outcome.message}
    else:
        telemetry, decision = outcome.decision.telemetry, outcome.decision
        read = telemetry.workload.arrival_rate_rps if isinstance(telemetry, Telemetry) else None
        fields |= {
            "outcome": outcome.outcome.value,
            "arrival_rate_rps": rounded(read),
            "current": {pool.value: outcome.current(pool) for pool in Pool},
            "recommended": {pool.value: value.recommended for pool, value in decision.pools.items()},
            "desired": {pool.value: value.desired for pool, value in decision.pools.items()},
            "written": [
                {"pool": write.pool.value, "from": write.before, "to": write.after, "result": write.result.value}
                for write in outcome.writes
            ],
            "limited_by": list(limits(outcome)),
            "verified": decision.verified,
            "reason": _reason(outcome),
        }
    fields["duration_ms"] = rounded(duration_s * 1000)
    bad = isinstance(outcome, Rejection) or _failed(outcome)
    logs.event(_logger, logging.WARNING if bad else logging.INFO, "evaluated", fields)


def _reason(evaluation: Evaluation) -> str:
    telemetry = evaluation.decision.telemetry
    said = [write.problem for write in evaluation.failed_writes]
    if isinstance(telemetry, NoData):
        said.append(f"{telemetry.reason.value}: {telemetry.message}")
        said += [f"{write.pool} {write.before}→{write.after}" for write in evaluation.done_writes]
    else:
        said += [
            f"{pool}: {decision.reason}" for pool, decision in evaluation.decision.pools.items() if decision.reason
        ]
    return "; ".join(said)
