"""Who may write: the term of a lease as its holder may count on it. Imports errors only; the clock is an argument.

A holder does not know what the API server's clock or another replica's clock says, and need not. It counts by its own
clock from the moment *before* it sent the renewal that was granted. Another replica counts the same duration from the
moment *after* it has read that renewal, so its count begins later and ends later, however the two clocks are set.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pdscaler.errors import PdscalerError

CLOCK_DRIFT = 0.05
"""Share of a lease's duration by which two clocks may run apart: a holder gives a lease up that much earlier."""


class NotLeadingError(PdscalerError):
    """A write that was not sent, because another replica may hold the lease by now."""

    def __init__(self) -> None:
        super().__init__("nothing is written: this replica does not hold the lease")


class WriteGuard(Protocol):
    """Asked right before each write is sent."""

    @property
    def least_allowance_s(self) -> float:
        """How long every write that may begin may take at least, seconds."""

    def allowance_s(self) -> float:
        """Return how long a write that begins now may take, seconds.

        Raises
        ------
        NotLeadingError
            If none may begin.
        """


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """How a lease is held; the words are those of Kubernetes' own leader election.

    Parameters
    ----------
    duration_s
        How long after a renewal another replica waits before it takes the lease, seconds.
    renew_deadline_s
        How long after a renewal its holder goes on without another one, seconds; well below ``duration_s``.
    retry_period_s
        Time between two tries to renew or to get the lease, seconds.
    """

    duration_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_period_s: float = 2.0

    @property
    def safe_s(self) -> float:
        """How long after a renewal a write of its holder may still be under way, seconds."""
        return self.duration_s * (1.0 - CLOCK_DRIFT)

    @property
    def least_allowance_s(self) -> float:
        """How long every write may take at least, seconds: the last one begins at the renew deadline."""
        return self.safe_s - self.renew_deadline_s

    @property
    def request_timeout_s(self) -> float:
        """Deadline of one request for the lease itself, seconds: at least two of them fit before the renew deadline."""
        return self.renew_deadline_s / 2.0


def suspended_too() -> float:
    """Return seconds that never go back; the time that a machine was suspended counts where the system can tell."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Fence:
    """Lets writes pass while a lease is held, and no longer: it closes by itself as time goes by.

    Parameters
    ----------
    timing
        How the lease is held.
    clock
        Seconds that never go back.
    """

    def __init__(self, timing: LeaseTiming, clock: Callable[[], float] = suspended_too) -> None:
        self._timing = timing
        self._clock = clock
        self._renewed_s = -math.inf
        self._term = 0

    @property
    def least_allowance_s(self) -> float:
        """How long every write that may begin may take at least, seconds."""
        return self._timing.least_allowance_s

    @property
    def open(self) -> bool:
        """Whether a write may begin."""
        return 0.0 <= self._age_s() < self._timing.renew_deadline_s

    @property
    def left_s(self) -> float:
        """How long writes may still begin without another renewal, seconds; 0 or less: none may."""
        return self._timing.renew_deadline_s - self._age_s()

    def term(self) -> int | None:
        """Return the number of the present term, from 1 on; None while there is none."""
        return self._term if self.open else None

    def extend(self, sent_s: float) -> None:
        """Take note of a renewal that was granted; a new term begins where the last one had run out.

        Parameters
        ----------
        sent_s
            The time right before the request was sent, by the clock of this fence.
        """
        if not self.open:
            self._term += 1
        self._renewed_s = max(self._renewed_s, sent_s)

    def close(self) -> None:
        """Let no write begin any more."""
        self._renewed_s = -math.inf

    def allowance_s(self) -> float:
        """Return how long a write that begins now may take, seconds; raises as :class:`WriteGuard` says."""
        age_s = self._age_s()
        if not 0.0 <= age_s < self._timing.renew_deadline_s:
            raise NotLeadingError
        return self._timing.safe_s - age_s

    def _age_s(self) -> float:
        return self._clock() - self._renewed_s
