"""Whose turn it is: which PDDeployments are being read, wait for their evaluation, or are being evaluated. No I/O.

Where the API server is too slow for all that a round has to write, the next round reads anew what still waits: it is
then evaluated once, by the newer reading, and before those who were served since.
"""

import math
from collections.abc import Collection, Iterable

from pdscaler.controller.evaluation import ResourceKey
from pdscaler.controller.worker import Job


class Turns:
    """Keeps one PDDeployment from being read, or evaluated, twice at the same time."""

    def __init__(self) -> None:
        self._reading: set[ResourceKey] = set()
        self._waiting: dict[ResourceKey, Job] = {}
        self._working: set[ResourceKey] = set()
        self._again: set[ResourceKey] = set()
        self._served_s: dict[ResourceKey, float] = {}

    @property
    def busy(self) -> frozenset[ResourceKey]:
        """Those that are being read or evaluated."""
        return frozenset(self._reading | self._working)

    @property
    def pending(self) -> frozenset[ResourceKey]:
        """Those that are being read or evaluated, or wait for that."""
        return self.busy | self._waiting.keys()

    def ask_again(self, keys: Iterable[ResourceKey]) -> None:
        """Take note of changes: those that are busy are due once more afterwards."""
        self._again |= self.busy & frozenset(keys)

    def read(self, jobs: Iterable[Job]) -> None:
        """Begin to read some."""
        self._reading.update(job.key for job in jobs)

    def wait(self, jobs: Iterable[Job]) -> list[Job]:
        """End the reading of some: from now on they wait for this evaluation, in the order that is returned."""
        turns = sorted(jobs, key=lambda job: (self._served_s.get(job.key, -math.inf), job.key))
        for job in turns:
            self._reading.discard(job.key)
            self._waiting[job.key] = job
        return turns

    def begin(self, job: Job, now_s: float) -> bool:
        """Whether to evaluate a job now: not where a newer one waits, nor while an older one is being evaluated."""
        if self._waiting.get(job.key) is not job:
            return False
        del self._waiting[job.key]
        if job.key in self._working:
            self._again.add(job.key)
            return False
        self._working.add(job.key)
        self._served_s[job.key] = now_s
        return True

    def finish(self, job: Job) -> bool:
        """End an evaluation; return whether the PDDeployment is due once more."""
        self._working.discard(job.key)
        return self._is_due_again(job.key)

    def abandon(self, jobs: Collection[Job]) -> list[ResourceKey]:
        """End what was begun for some jobs and did not get as far as an evaluation; return what is due once more."""
        for job in jobs:
            self._reading.discard(job.key)
            if self._waiting.get(job.key) is job:
                del self._waiting[job.key]
        return [job.key for job in jobs if self._is_due_again(job.key)]

    def forget(self, key: ResourceKey) -> None:
        """Forget a PDDeployment that is gone."""
        self._served_s.pop(key, None)

    def _is_due_again(self, key: ResourceKey) -> bool:
        if key not in self._again or key in self._reading or key in self._working:
            return False
        self._again.discard(key)
        return True
