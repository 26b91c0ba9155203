"""The evaluation loop: every period all PDDeployments, one at once when it changed. No kopf; the clock is an argument.

Resources that share a Prometheus are evaluated together from one snapshot; those of another do not wait for them. What
goes wrong with one resource is its own condition and never stops the others. While another replica leads, resources
and targets are followed all the same, and nothing is evaluated.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from pdscaler.cluster.fence import NotLeadingError
from pdscaler.cluster.targets import TargetRef
from pdscaler.controller import logs
from pdscaler.controller.claims import conflicts
from pdscaler.controller.evaluation import Rejection, ResourceKey, SupersededError
from pdscaler.controller.forecasts import Seen
from pdscaler.controller.inventory import Inventory
from pdscaler.controller.leadership import Succession
from pdscaler.controller.metrics import RoundPart
from pdscaler.controller.prepare import Document, Prepared, Preparer
from pdscaler.controller.servers import Heartbeat
from pdscaler.controller.turns import Turns
from pdscaler.controller.worker import Job, Reading, Worker
from pdscaler.core.workload import NoData, Telemetry
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.subject import Subject

_logger = logging.getLogger(__name__)

EVALUATION_LIMIT_S = 120.0
"""An evaluation that takes longer is given up, seconds: every request in it has a deadline of its own far below."""
CHANGED_RETRY_S = 1.0
"""How soon to look again at a resource that changed while it was evaluated, seconds: its watch event is on its way."""
_BREATH = 4.0
_LONGEST_BREATH_S = 1.0
"""A change is looked at after this many times what the last look took, seconds at most: see :meth:`_pause`."""
_AT_ONCE = 8
"""Evaluations of one group under way at the same time: their waits for the API server overlap."""
_PARSED_AT_ONCE = 20
_STOPPING_S = 5.0
"""How long evaluations under way may finish when the loop is ended, seconds."""

Snapshot = dict[tuple[str, str], Telemetry | NoData]


class Collects(Protocol):
    """Reads the metrics of many PDDeployments at once."""

    async def collect(self, subjects: Sequence[Subject]) -> Snapshot:
        """Read the metrics."""


class Foresees(Protocol):
    """Keeps the forecasts."""

    async def update(self, seen: Sequence[Seen]) -> None:
        """Bring some of them up to date."""


class Follows(Protocol):
    """Follows targets and their pods."""

    async def watch(self, *refs: TargetRef) -> None:
        """Make sure that targets are followed."""

    async def retain(self, refs: Iterable[TargetRef]) -> None:
        """Stop following all other targets."""


class Watches(Protocol):
    """Is told how rounds go."""

    def passed(self, part: RoundPart, duration_s: float) -> None:
        """Take note of how long a part of a round took."""

    def overtaken(self, count: int) -> None:
        """Take note that a round is due while so many evaluations of the last one have not ended."""


class EvaluationLoop:
    """Evaluates what is due, for as long as it runs.

    Parameters
    ----------
    inventory
        The live resources.
    preparer
        Parses them.
    worker
        Evaluates one resource and publishes the outcome.
    collector
        Reads the metrics.
    forecasts
        Told of every reading.
    targets
        Follows the targets.
    heartbeat
        Told whenever something was finished.
    succession
        Knows whether this replica leads.
    period_s
        The evaluation period, seconds.
    watcher
        Told how long rounds take.
    clock
        Seconds since the epoch.
    timer
        Seconds that never go back, for durations.
    """

    def __init__(
        self,
        *,
        inventory: Inventory,
        preparer: Preparer,
        worker: Worker,
        collector: Collects,
        forecasts: Foresees,
        targets: Follows,
        heartbeat: Heartbeat,
        succession: Succession,
        period_s: float,
        watcher: Watches,
        clock: Callable[[], float],
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._inventory = inventory
        self._preparer = preparer
        self._worker = worker
        self._collector = collector
        self._forecasts = forecasts
        self._targets = targets
        self._heartbeat = heartbeat
        self._succession = succession
        self._period_s = period_s
        self._watcher = watcher
        self._clock = clock
        self._timer = timer
        self._next_round_s = -math.inf
        self._retries_s: dict[ResourceKey, float] = {}
        self._readings: dict[ResourceKey, Reading] = {}
        self._turns = Turns()
        self._owed: set[ResourceKey] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Evaluate until cancelled; what is under way then may finish for a few seconds."""
        try:
            while True:
                began_s = self._clock()
                try:
                    await self.tick()
                except Exception:
                    _logger.exception("the evaluation loop failed; it goes on with the next period")
                    self._next_round_s = self._clock() + self._period_s
                await self._pause(self._clock() - began_s)
        finally:
            await self._finish()

    async def tick(self) -> None:
        """Start everything that is due now; follow only, while another replica leads."""
        leading = await self._take_turn()
        now_s = self._clock()
        documents = self._inventory.documents()
        due = set(self._inventory.take_due())
        # What lies further ahead than was ever meant was set by a clock that has been put back since.
        furthest_s = now_s + max(self._period_s, CHANGED_RETRY_S)
        due |= {key for key, at_s in self._retries_s.items() if not now_s < at_s <= furthest_s}
        for key in due:
            self._retries_s.pop(key, None)
        self._turns.ask_again(due)
        in_round = not now_s < self._next_round_s <= furthest_s
        if in_round:
            due |= set(documents)
            # Rounds keep their rhythm; what a slow machine has missed is not caught up.
            late_s = now_s - self._next_round_s
            self._next_round_s = now_s + self._period_s - (late_s if 0 <= late_s < self._period_s else 0.0)
        self._forget(documents)
        prepared = await self._prepare(documents)
        valid = [resource for resource in prepared.values() if isinstance(resource, Prepared)]
        await self._targets.retain({ref for resource in valid for _, ref in resource.targets.items()})
        if not leading:
            await self._watch_targets(valid)
            self._heartbeat.beat()
            return
        lost = conflicts(valid)
        free = (due & documents.keys()) - self._turns.busy
        jobs = [Job(documents[key], prepared[key], lost.get(key)) for key in sorted(free)]
        if in_round:
            self._say_overtaken(len(self._owed & documents.keys()))
            self._owed = set(documents)
        for group in _by_endpoint(jobs):
            self._start(group, fresh=in_round)
        if not jobs and not self._turns.pending:
            self._heartbeat.beat()

    async def _take_turn(self) -> bool:
        """Whether this replica leads; a term that is new begins here, and one that is over ends here."""
        if self._succession.leading:
            return True
        await self._stand_down()
        if not self._succession.is_due:
            return False
        found = await self._succession.begin()
        if found is None:
            self._next_round_s = self._clock() + CHANGED_RETRY_S
            return False
        self._worker.begin(found)
        self._next_round_s = -math.inf
        return True

    async def _stand_down(self) -> None:
        """End what is under way at once, and forget what it was about: another replica goes on with it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._worker.stand_down()
        self._readings.clear()
        self._retries_s.clear()
        self._turns = Turns()
        self._owed.clear()

    async def _watch_targets(self, resources: Iterable[Prepared]) -> None:
        await self._targets.watch(*(ref for resource in resources for _, ref in resource.targets.items()))

    async def _prepare(self, documents: Mapping[ResourceKey, Document]) -> dict[ResourceKey, Prepared | Rejection]:
        prepared = {}
        for number, (key, document) in enumerate(documents.items()):
            prepared[key] = self._preparer.prepare(document)
            if number % _PARSED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return prepared

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def _say_overtaken(self, late: int) -> None:
        """Say that a period is too short for what a round has to do, where it is."""
        if late:
            self._watcher.overtaken(late)
            logs.event(_logger, logging.WARNING, "overtaken", {"evaluations": late, "period_s": self._period_s})

    def _start(self, jobs: Sequence[Job], fresh: bool) -> None:
        self._turns.read(jobs)
        task = asyncio.create_task(self._evaluate(jobs, fresh), name=f"pdscaler evaluation of {len(jobs)}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _evaluate(self, jobs: Sequence[Job], fresh: bool) -> None:
        """Evaluate resources of one endpoint from one snapshot."""
        resources = [job.prepared for job in jobs if isinstance(job.prepared, Prepared)]
        in_round = fresh and bool(resources)  # what is invalid is of no Prometheus and has no round of its own
        try:
            unread = await self._try_to_read(resources, fresh) if resources else None
            limit = asyncio.Semaphore(_AT_ONCE)
            with self._timed(RoundPart.EVALUATE, in_round):
                await asyncio.gather(*(self._evaluate_one(job, limit, unread) for job in self._turns.wait(jobs)))
        except Exception:
            # Nothing below lets an error through; if it did, these resources are evaluated again at the next round.
            _logger.exception("an evaluation of %d PDDeployments failed", len(jobs))
        finally:
            for key in self._turns.abandon(jobs):
                self._inventory.mark(key)
            self._heartbeat.beat()

    async def _try_to_read(self, resources: Sequence[Prepared], fresh: bool) -> Exception | None:
        """Read the metrics; what breaks is returned, so that each resource can say so."""
        try:
            await self._read_metrics(resources, fresh)
        except Exception as error:
            _logger.exception("reading for %d PDDeployments failed", len(resources))
            return error
        return None

    async def _read_metrics(self, resources: Sequence[Prepared], fresh: bool) -> None:
        await self._watch_targets(resources)
        now_s = self._clock()
        subjects = {resource.key: self._worker.subject(resource, now_s) for resource in resources}
        asked = [subject for key, subject in subjects.items() if fresh or not self._is_fresh(key, subject, now_s)]
        if asked:
            with self._timed(RoundPart.READ, fresh):
                snapshot = await self._collector.collect(asked)
            read_at_s = self._clock()
            for subject in asked:
                key = ResourceKey(*subject.key)
                self._readings[key] = Reading(subject, snapshot[subject.key], read_at_s)
        seen = [Seen(each, subjects[each.key], self._readings[each.key].telemetry) for each in resources]
        with self._timed(RoundPart.FORESEE, fresh):
            await self._forecasts.update(seen)

    @contextmanager
    def _timed(self, part: RoundPart, in_round: bool) -> Iterator[None]:
        """Measure a part of a round; what is done for a change alone would hide how long rounds take."""
        began_s = self._timer()
        yield
        if in_round:
            self._watcher.passed(part, self._timer() - began_s)

    def _is_fresh(self, key: ResourceKey, subject: Subject, now_s: float) -> bool:
        known = self._readings.get(key)
        if known is None or not 0 <= now_s - known.at_s < self._period_s:
            return False
        return bool(replace(known.subject, pods=subject.pods) == subject)

    async def _evaluate_one(self, job: Job, limit: asyncio.Semaphore, unread: Exception | None) -> None:
        async with limit:
            # An evaluation may need no answer from anywhere: a thousand of them must not hold up the health endpoint.
            await asyncio.sleep(0)
            if not self._turns.begin(job, self._clock()):
                return
            try:
                retry_s = await self._outcome(job, unread)
            finally:
                self._owed.discard(job.key)
                if self._turns.finish(job):
                    self._inventory.mark(job.key)
                self._heartbeat.beat()
            if retry_s is not None:
                self._retries_s[job.key] = self._clock() + retry_s
                self._inventory.changed.set()

    async def _outcome(self, job: Job, unread: Exception | None) -> float | None:
        """Evaluate one; return how soon to look at it again, seconds, and None where the next round is soon enough."""
        try:
            if unread is not None and isinstance(job.prepared, Prepared):
                await self._report(job, unread)
                return None
            return await self._work(job)
        except NotLeadingError:
            # The next leader decides anew; whatever was written until now it finds in /scale.
            return None
        except SupersededError as superseded:
            if superseded.gone:
                self._inventory.distrust(job.document)
                return None
            return CHANGED_RETRY_S

    async def _work(self, job: Job) -> float | None:
        try:
            async with asyncio.timeout(EVALUATION_LIMIT_S):
                return await self._worker.work(job, self._readings.get(job.key))
        except (SupersededError, NotLeadingError):
            raise
        except Exception as error:
            _logger.exception("the evaluation of PDDeployment %s failed", job.key)
            await self._report(job, error)
            return None

    async def _report(self, job: Job, error: Exception) -> None:
        try:
            async with asyncio.timeout(EVALUATION_LIMIT_S):
                await self._worker.report(job, error)
        except (SupersededError, NotLeadingError):
            raise
        except Exception:
            _logger.exception("the failure of PDDeployment %s could not be reported", job.key)

    async def _pause(self, took_s: float) -> None:
        """Wait until something is due: the next round, a retry, or a change.

        A tick passes by all resources: were there one for each of the thousands that the API server lists at the
        start, they would take minutes. Changes that come close together are therefore looked at together.
        """
        next_s = min([self._next_round_s, *self._retries_s.values()])
        try:
            async with asyncio.timeout(max(0.0, next_s - self._clock())):
                await self._inventory.changed.wait()
        except TimeoutError:
            return
        await asyncio.sleep(min(_LONGEST_BREATH_S, max(0.0, _BREATH * took_s)))

    def _forget(self, documents: Mapping[ResourceKey, Document]) -> None:
        for key in self._worker.known() - documents.keys() - self._turns.pending:
            self._worker.forget(key)
            self._preparer.forget(key)
            self._readings.pop(key, None)
            self._retries_s.pop(key, None)
            self._turns.forget(key)

    async def _finish(self) -> None:
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=_STOPPING_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _by_endpoint(jobs: Iterable[Job]) -> list[list[Job]]:
    """Group the jobs that one Prometheus serves; what is invalid needs none and waits for none."""
    groups: dict[Endpoint | None, list[Job]] = {}
    for job in jobs:
        endpoint = job.prepared.endpoint if isinstance(job.prepared, Prepared) else None
        groups.setdefault(endpoint, []).append(job)
    return list(groups.values())
