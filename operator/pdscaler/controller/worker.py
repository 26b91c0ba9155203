"""Evaluates one PDDeployment and publishes the outcome. No kopf; the clock is an argument."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from pdscaler.cluster.changes import ForeignChange
from pdscaler.cluster.targets import TargetRef
from pdscaler.controller.apply import Applied
from pdscaler.controller.book import Book, Entry
from pdscaler.controller.calibrations import applied, calibrates, learnt
from pdscaler.controller.claims import contest, rivalry, standoffs_after
from pdscaler.controller.evaluate import Advisor, Autoscaler, Case
from pdscaler.controller.evaluation import Evaluation, Rejection, ResourceKey, TargetConflict, broken
from pdscaler.controller.expectation import Expectation
from pdscaler.controller.prepare import Document, Prepared, fingerprint_of, key_of
from pdscaler.controller.publish import Publisher
from pdscaler.controller.standoff import Standoff
from pdscaler.core.decision import PlanInputs, PlanState, PoolState, TargetUnknown
from pdscaler.core.pools import PerPool
from pdscaler.core.workload import NoData, NoDataReason, Telemetry
from pdscaler.telemetry.subject import Subject
from pdscaler.units import format_duration


class KnowsTargets(Protocol):
    """Says from memory what is known of targets and their pods."""

    def target(self, ref: TargetRef) -> PoolState | TargetUnknown:
        """Return the state of a target."""

    def pod_names(self, ref: TargetRef, since_s: float) -> frozenset[str]:
        """Return the names of its pods, those gone since then included."""

    def rival(self, ref: TargetRef) -> str:
        """Name another autoscaler of a target; empty where none is known."""

    def unwatched(self, ref: TargetRef) -> str:
        """Say which autoscalers of a target would go unnoticed, and why; empty where none would."""

    def foreign_changes(self, ref: TargetRef) -> tuple[ForeignChange, ...]:
        """Return the last changes of its replicas by somebody else, the oldest first."""


class ExpectsLoad(Protocol):
    """Says what load the PDDeployments have to expect."""

    def expectation(self, prepared: Prepared) -> Expectation:
        """Return what one has to expect from now on."""

    def forget(self, key: ResourceKey) -> None:
        """Forget one that is gone."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the metrics said of a resource, and what was asked."""

    subject: Subject
    telemetry: Telemetry | NoData
    at_s: float


@dataclass(frozen=True, slots=True)
class Job:
    """One resource to evaluate.

    Parameters
    ----------
    document
        The resource as the watch has it.
    prepared
        The same, parsed; or why it cannot be evaluated.
    conflict
        Somebody else who holds one of its targets; None where nobody does.
    """

    document: Document
    prepared: Prepared | Rejection
    conflict: TargetConflict | None

    @property
    def key(self) -> ResourceKey:
        """Namespace and name."""
        return key_of(self.document)


class Worker:
    """Evaluates resources one by one.

    Parameters
    ----------
    advisor
        Evaluates what is RecommendOnly: it holds no writer.
    autoscaler
        Evaluates what is Auto.
    targets
        Knows the targets.
    forecasts
        Knows the load to expect.
    publisher
        Publishes the outcomes.
    period_s
        The evaluation period, seconds.
    clock
        Seconds since the epoch.
    timer
        Seconds that never go back, for durations.
    """

    def __init__(
        self,
        *,
        advisor: Advisor,
        autoscaler: Autoscaler,
        targets: KnowsTargets,
        forecasts: ExpectsLoad,
        publisher: Publisher,
        period_s: float,
        clock: Callable[[], float],
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._advisor = advisor
        self._autoscaler = autoscaler
        self._targets = targets
        self._forecasts = forecasts
        self._publisher = publisher
        self._period_s = period_s
        self._clock = clock
        self._timer = timer
        self._book = Book()
        self._last_reading_s: dict[ResourceKey, float] = {}

    def known(self) -> frozenset[ResourceKey]:
        """Return which resources are remembered."""
        return self._book.keys()

    def forget(self, key: ResourceKey) -> None:
        """Forget a resource that is gone, its metrics included."""
        self._book.forget(key)
        self._last_reading_s.pop(key, None)
        self._forecasts.forget(key)
        self._publisher.forget(key)

    def begin(self, found: Iterable[Document]) -> None:
        """Begin a term: whatever another leader did meanwhile, start from what the API server holds.

        Parameters
        ----------
        found
            Every PDDeployment as it was just read.
        """
        self.stand_down()
        self._book.begin(found)

    def stand_down(self) -> None:
        """Forget everything, the metrics of the resources included: they are another leader's now."""
        for key in self.known():
            self.forget(key)

    def subject(self, prepared: Prepared, now_s: float) -> Subject:
        """Return what the collector must know of a resource."""
        since_s = now_s - prepared.spec.window_s
        return prepared.subject(prepared.targets.map(lambda ref: self._targets.pod_names(ref, since_s)))

    async def work(self, job: Job, reading: Reading | None) -> float | None:
        """Evaluate and publish.

        Parameters
        ----------
        job
            The resource.
        reading
            Its metrics; None only where it is invalid.

        Returns
        -------
        float or None
            How soon to evaluate again, seconds; None: at the next period.

        Raises
        ------
        SupersededError
            If the resource is gone or has changed.
        NotLeadingError
            If another replica leads by now.
        """
        began_s = self._timer()
        entry = self._entry(job)
        if isinstance(job.prepared, Rejection):
            await self._publisher.publish(entry, job.prepared, self._timer() - began_s)
            return None
        assert reading is not None
        evaluation = await self._evaluate(entry, job.prepared, job.conflict, reading)
        await self._publisher.publish(entry, evaluation, self._timer() - began_s)
        return evaluation.retry_s

    async def report(self, job: Job, error: Exception) -> None:
        """Publish that an evaluation broke inside; it is tried again at the next period."""
        entry = self._entry(job)
        generation = fingerprint_of(job.document).generation
        rejection = broken(job.key, generation, self._clock(), error, self._period_s)
        await self._publisher.publish(entry, rejection, 0.0)

    def _entry(self, job: Job) -> Entry:
        entry = self._book.entry(job.document)
        entry.see(str(job.document["metadata"].get("resourceVersion", "")))
        return entry

    async def _evaluate(
        self, entry: Entry, prepared: Prepared, conflict: TargetConflict | None, reading: Reading
    ) -> Evaluation:
        now_s = self._clock()
        seen = prepared.targets.map(self._targets.target)
        state = self._count_once(entry.key, entry.starting_state(seen, now_s), reading)
        inputs = PlanInputs(telemetry=_still_good(reading, now_s), targets=seen, paused=prepared.paused)
        known = entry.standoffs
        entry.standoffs = standoffs_after(known, prepared, self._targets.foreign_changes, now_s)
        if not prepared.recommend_only:
            conflict = conflict or rivalry(prepared, self._targets.rival) or contest(prepared, entry.standoffs)
        expectation = self._forecasts.expectation(prepared)
        entry.calibration = learnt(entry.calibration, prepared, inputs, now_s)
        prepared = applied(prepared, entry.calibration)
        case = Case(prepared, inputs, state, now_s, conflict, expectation)
        path = self._advisor if prepared.recommend_only else self._autoscaler
        outcome = await path.evaluate(case)
        entry.state = outcome.state
        evaluation = self._outcome(entry, case, outcome, known)
        failed = bool(evaluation.failed_writes)
        return replace(evaluation, retry_s=entry.retry_s(failed, self._period_s))

    def _count_once(self, key: ResourceKey, state: PlanState, reading: Reading) -> PlanState:
        """Keep a failed reading that is evaluated twice from counting twice."""
        seen_before = self._last_reading_s.get(key) == reading.at_s
        self._last_reading_s[key] = reading.at_s
        if seen_before and isinstance(reading.telemetry, NoData):
            return replace(state, telemetry_failures=max(0, state.telemetry_failures - 1))
        return state

    def _outcome(self, entry: Entry, case: Case, outcome: Applied, known: PerPool[Standoff]) -> Evaluation:
        prepared, seen = case.prepared, outcome.inputs.targets
        return Evaluation(
            key=prepared.key,
            generation=prepared.fingerprint.generation,
            model=prepared.model,
            recommend_only=prepared.recommend_only,
            spec=prepared.spec,
            paused=prepared.paused,
            targets=prepared.targets,
            seen=seen,
            decision=outcome.decision,
            writes=outcome.writes,
            conflict=case.conflict,
            state=outcome.state,
            retry_s=None,
            troubled_for_s=entry.troubled_for_s(seen, outcome.decision.at_s),
            period_s=self._period_s,
            expectation=case.expectation,
            calibration=entry.calibration if calibrates(prepared) else None,
            standoffs=entry.standoffs,
            foreign_changes=PerPool(
                entry.standoffs.prefill.fresh(known.prefill), entry.standoffs.decode.fresh(known.decode)
            ),
            unwatched="" if prepared.recommend_only else self._targets.unwatched(prepared.targets.prefill),
        )


def _still_good(reading: Reading, now_s: float) -> Telemetry | NoData:
    """Return what was read, unless it has waited for its evaluation for too long: an API server can be that slow."""
    age_s, limit_s = now_s - reading.at_s, reading.subject.max_staleness_s
    if isinstance(reading.telemetry, NoData) or age_s <= limit_s:
        return reading.telemetry
    waited, limit = format_duration(age_s), format_duration(limit_s)
    message = f"the metrics were read {waited} ago (maxStaleness is {limit}), and could not be evaluated since"
    return NoData(NoDataReason.STALE_DATA, message, age_s)
