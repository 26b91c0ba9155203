"""Leader election by a Lease: gets it, renews it, gives it back. May import cluster and errors; clocks are arguments.

``kubernetes.aio.leaderelection`` is not used: it counts by the wall clock and from after the answer, knows no deadline
of a request, cannot say right before a write whether the lease still holds, and never releases it
(docs/high-availability.md).
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from pdscaler.cluster.errors import ClusterError, ConflictError
from pdscaler.cluster.fence import Fence, LeaseTiming
from pdscaler.cluster.lease import LeaseRecord, timestamp

_logger = logging.getLogger(__name__)

JITTER = 0.2
"""Share of the retry period that is added at random, so that replicas do not ask in step."""
_LEAST_WAIT_S = 0.01


class KeepsLease(Protocol):
    """Where the Lease is."""

    async def read(self) -> LeaseRecord | None:
        """Read it."""

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """Create it."""

    async def write(self, record: LeaseRecord) -> LeaseRecord:
        """Write it, if it is as it was read."""


@dataclass(frozen=True, slots=True)
class Change:
    """Leadership has changed hands, as this replica sees it.

    Parameters
    ----------
    leading
        It is this replica that leads now.
    holder
        Who holds the lease; empty where nobody does, or where that is not known.
    reason
        Why, in a few words.
    """

    leading: bool
    holder: str
    reason: str


class Election:
    """Stands for election until it is closed.

    Parameters
    ----------
    lease
        The Lease.
    identity
        Who this replica is: no two processes, one after the other included, may have the same.
    timing
        How the lease is held.
    fence
        Opened while the lease is held.
    clock
        Seconds that never go back; the clock of the fence.
    wall_clock
        Seconds since the epoch, for what people read in the Lease.
    rng
        For the jitter.
    announce
        Told of each change.
    """

    def __init__(
        self,
        *,
        lease: KeepsLease,
        identity: str,
        timing: LeaseTiming,
        fence: Fence,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        rng: random.Random,
        announce: Callable[[Change], None],
    ) -> None:
        self._lease = lease
        self._identity = identity
        self._timing = timing
        self._fence = fence
        self._clock = clock
        self._wall_clock = wall_clock
        self._rng = rng
        self._announce = announce
        self._seen: LeaseRecord | None = None
        self._seen_s = 0.0
        self._leading = False
        self._may_hold = False
        self._said_holder: str | None = None
        self._said_problem = ""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Stand for election from now on."""
        self._task = asyncio.create_task(self._run(), name="pdscaler leader election")

    async def close(self) -> None:
        """Stand no longer, and give the lease back, so that another replica need not wait for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._fence.close()
        if self._may_hold:
            self._may_hold = False
            await self._release()

    async def _run(self) -> None:
        while True:
            try:
                wait_s = await self.step()
            except Exception:
                _logger.exception("leader election failed; it goes on")
                wait_s = self._timing.retry_period_s
            await asyncio.sleep(wait_s)

    async def step(self) -> float:
        """Try once to renew or to get the lease; return when to try again, seconds from now."""
        try:
            # No answer may hold us up beyond the moment at which we have to say that we lead no more.
            limit_s = self._timing.request_timeout_s
            async with asyncio.timeout(min(limit_s, self._fence.left_s) if self._fence.open else limit_s):
                await (self._renew() if self._fence.open else self._stand())
        except TimeoutError:
            self._trouble("the API server does not answer in time")
        except ClusterError as error:
            self._trouble(str(error))
        else:
            self._said_problem = ""
        self._tell()
        return self._wait_s()

    def _wait_s(self) -> float:
        retry_s = self._timing.retry_period_s * (1.0 + JITTER * self._rng.random())
        if self._fence.open:
            # Renewals keep their rhythm; the end of the term must not pass unnoticed.
            return max(_LEAST_WAIT_S, min(self._timing.retry_period_s, self._fence.left_s))
        if self._seen is None or not self._seen.holder:
            return retry_s
        return max(_LEAST_WAIT_S, min(retry_s, self._free_in_s(self._seen)))

    async def _renew(self) -> None:
        """Renew the lease that we hold."""
        assert self._seen is not None
        try:
            await self._write(self._ours(self._seen))
        except ConflictError:
            # An earlier renewal may have been carried out without an answer; or somebody else has written.
            found = await self._look()
            if found is None or found.holder != self._identity:
                self._fence.close()
            else:
                await self._write(self._ours(found))

    async def _stand(self) -> None:
        """Take the lease, if it is free."""
        found = await self._look()
        if found is None:
            await self._write(self._ours(LeaseRecord("")))
        elif found.holder in {"", self._identity} or self._free_in_s(found) <= 0:
            await self._write(self._ours(found))

    async def _look(self) -> LeaseRecord | None:
        found = await self._lease.read()
        if found is None or self._seen is None or found.version != self._seen.version:
            self._seen, self._seen_s = found, self._clock()
        self._may_hold = found is not None and found.holder == self._identity
        return found

    async def _write(self, record: LeaseRecord) -> None:
        sent_s = self._clock()
        # From here on it may be ours, whether we hear of it or not.
        self._may_hold = True
        self._seen = await (self._lease.write(record) if record.version else self._lease.create(record))
        self._seen_s = self._clock()
        self._fence.extend(sent_s)

    def _ours(self, record: LeaseRecord) -> LeaseRecord:
        now = timestamp(self._wall_clock())
        kept = record.holder == self._identity
        return replace(
            record,
            holder=self._identity,
            duration_s=self._timing.duration_s,
            acquired=record.acquired if kept else now,
            renewed=now,
            transitions=record.transitions + (not kept and bool(record.version)),
        )

    def _free_in_s(self, record: LeaseRecord) -> float:
        """How long the holder of the lease as last seen is still waited for, by its own duration, seconds."""
        duration_s = self._timing.duration_s if record.duration_s is None else record.duration_s
        return self._seen_s + duration_s - self._clock()

    async def _release(self) -> None:
        """Leave the lease to whoever comes first; where that fails, it runs out."""
        try:
            async with asyncio.timeout(self._timing.request_timeout_s):
                # Read again: a write that was cut short may have been carried out.
                found = await self._lease.read()
                if found is not None and found.holder == self._identity:
                    now = timestamp(self._wall_clock())
                    await self._lease.write(replace(found, holder="", duration_s=1.0, renewed=now))
        except (ClusterError, TimeoutError) as error:
            _logger.warning("the lease was not given back and runs out in %gs: %s", self._timing.duration_s, error)

    def _trouble(self, problem: str) -> None:
        if problem != self._said_problem:
            _logger.warning("the lease could not be read or written: %s", problem)
            self._said_problem = problem

    def _tell(self) -> None:
        """Announce what has changed since the last time."""
        leading = self._fence.open
        holder = self._seen.holder if self._seen is not None else ""
        if leading == self._leading and (leading or holder == self._said_holder):
            return
        if leading:
            reason = "this replica got the lease"
        elif not self._leading:
            reason = "another replica holds the lease" if holder else "nobody holds the lease yet"
        elif holder and holder != self._identity:
            reason = "another replica took the lease"
        else:
            reason = "the lease could not be renewed in time"
        self._leading, self._said_holder = leading, holder
        self._announce(Change(leading, holder, reason))
