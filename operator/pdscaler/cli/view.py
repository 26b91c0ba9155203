"""A PDDeployment as the command line shows it: the document read once, leniently.

May import api, core, units, printable and the controller's reading of times.

What cannot be read becomes a line that says so: a status view must work best when something is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from pydantic import ValidationError

from pdscaler.api.annotations import paused_of
from pdscaler.api.base import exact_duration
from pdscaler.api.parse import parse_pddeployment
from pdscaler.api.slo import LatencyTargetSpec
from pdscaler.api.spec import PDDeploymentSpec
from pdscaler.api.status import Condition, PDDeploymentStatus, PoolStatus, Summary
from pdscaler.controller.times import parse_rfc3339
from pdscaler.core.decision import Limit, Paused
from pdscaler.core.pools import PerPool, Pool
from pdscaler.errors import InvalidInputError
from pdscaler.printable import clipped

UNKNOWN = "–"
_LONGEST_WORD = 253
_TROUBLE_WHEN_TRUE = frozenset({"Stalled", "ScalingLimited", "FallbackActive", "CapacityPending"})
"""Conditions that are well when False; all others are well when True."""

_NO_RECOMMENDATION = "NoRecommendation"
"""Reason of the conditions that say nothing while there are no metrics."""


@dataclass(frozen=True, slots=True)
class View:
    """One PDDeployment, ready to be shown.

    Parameters
    ----------
    namespace, name
        Its identity.
    mode
        Auto or RecommendOnly.
    paused
        Directions paused by annotation.
    generation
        Generation of the spec; None where unknown.
    spec
        The spec with its defaults; None where it cannot be read.
    problem
        Why it cannot be read; empty where it can.
    status
        What the operator wrote; empty where it has not written yet.
    """

    namespace: str
    name: str
    mode: str
    paused: Paused
    generation: int | None
    spec: PDDeploymentSpec | None
    problem: str
    status: PDDeploymentStatus

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name

    @property
    def summary(self) -> Summary:
        """The printer columns."""
        return self.status.summary or Summary()

    @property
    def seen(self) -> bool:
        """Whether an operator has looked at it."""
        return bool(self.status.conditions)

    @property
    def outdated(self) -> bool:
        """Whether the status answers an older spec."""
        observed = self.status.observed_generation
        return self.generation is not None and observed is not None and observed < self.generation

    @property
    def pools(self) -> PerPool[PoolStatus]:
        """Status of both pools."""
        return PerPool(self.status.prefill or PoolStatus(), self.status.decode or PoolStatus())

    @property
    def state(self) -> str:
        """One or two words: what it is doing."""
        if not self.seen:
            return "NotSeenYet"
        return self.summary.state

    @property
    def troubles(self) -> tuple[Condition, ...]:
        """Conditions that are not well, without those that are unknown only because another is not well."""
        found = tuple(condition for condition in self.status.conditions if not _well(condition))
        causes = tuple(condition for condition in found if condition.reason != _NO_RECOMMENDATION)
        return causes or found

    @property
    def paused_words(self) -> str:
        """Which directions are paused; empty where none is."""
        if self.paused.scale_up and self.paused.scale_down:
            return "paused"
        if self.paused.scale_up:
            return "scale-up paused"
        return "scale-down paused" if self.paused.scale_down else ""

    def target(self, pool: Pool) -> LatencyTargetSpec | None:
        """Return the objective that sizes a pool; None where there is none, or the spec cannot be read."""
        if self.spec is None:
            return None
        return self.spec.slo.ttft if pool is Pool.PREFILL else self.spec.slo.tpot


def view_of(document: Mapping[str, Any]) -> View:
    """Read a PDDeployment as the API server holds it; never raises for what stands in it."""
    metadata, raw_spec = _mapping(document.get("metadata")), _mapping(document.get("spec"))
    spec, problem = None, ""
    try:
        spec = parse_pddeployment(document).spec
    except InvalidInputError as error:
        problem = str(error)
    try:
        status = PDDeploymentStatus.model_validate(_mapping(document.get("status")))
    except ValidationError:
        status = PDDeploymentStatus()
        problem = problem or "status was written by another release: it cannot be read"
    generation = metadata.get("generation")
    return View(
        namespace=clipped(str(metadata.get("namespace") or "default"), _LONGEST_WORD),
        name=clipped(str(metadata.get("name") or UNKNOWN), _LONGEST_WORD),
        mode=clipped(str(raw_spec.get("mode") or "Auto"), _LONGEST_WORD),
        paused=paused_of(_mapping(metadata.get("annotations"))),
        generation=generation if isinstance(generation, int) else None,
        spec=spec,
        problem=problem,
        status=status,
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def without_metrics(pool: PoolStatus) -> bool:
    """Return whether a pool holds because there are no metrics: the condition MetricsAvailable says why."""
    return Limit.NO_DATA.value in pool.limited_by


def latency_name(pool: Pool) -> str:
    """Return the latency that a pool answers for."""
    return "TTFT" if pool is Pool.PREFILL else "TPOT"


def observed_latency(view: View, pool: Pool) -> str | None:
    """Return the observed latency that a pool answers for, as written in status."""
    observed = view.status.observed
    if observed is None:
        return None
    return observed.ttft if pool is Pool.PREFILL else observed.tpot


def predicted_latency(view: View, pool: Pool) -> str | None:
    """Return the predicted statistic that the target binds, as written in status."""
    prediction, target = view.status.prediction, view.target(pool)
    if prediction is None:
        return None
    latency = prediction.ttft if pool is Pool.PREFILL else prediction.tpot
    if latency is None:
        return None
    value: str | None = getattr(latency, target.statistic.value.lower() if target is not None else "mean")
    return value


def target_words(view: View, pool: Pool) -> str:
    """Write an objective: ``2s (mean)``, ``500ms (P95)``."""
    target = view.target(pool)
    if target is None:
        return UNKNOWN
    statistic = target.statistic.value
    return f"{exact_duration(target.target_s)} ({'mean' if statistic == 'Mean' else statistic})"


def clock_time(text: str | None, zone: tzinfo | None = None, now_s: float | None = None) -> str:
    """Write an RFC 3339 time as a clock shows it, with the date where that is not today's.

    Parameters
    ----------
    text
        The time as status has it.
    zone
        Time zone to show; None: this machine's.
    now_s
        The present, seconds since the epoch; None: the date is always written.

    Examples
    --------
    >>> from datetime import UTC
    >>> clock_time("2026-11-21T14:02:15Z", UTC, 1795269600.0), clock_time("2026-11-20T14:02:15Z", UTC, 1795269600.0)
    ('14:02:15', '2026-11-20 14:02:15')
    """
    at_s = parse_rfc3339(text)
    if at_s is None:
        return UNKNOWN
    time = datetime.fromtimestamp(at_s, UTC).astimezone(zone)
    today = now_s is not None and datetime.fromtimestamp(now_s, time.tzinfo).date() == time.date()
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def age_s(text: str | None, now_s: float) -> float | None:
    """Return how long ago an RFC 3339 time was, seconds, at least 0; None where it is no time."""
    at_s = parse_rfc3339(text)
    return None if at_s is None else max(0.0, now_s - at_s)


def _well(condition: Condition) -> bool:
    return condition.status == ("False" if condition.type in _TROUBLE_WHEN_TRUE else "True")
