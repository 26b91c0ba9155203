"""Says what must never be, from every change of the targets' replicas. Imports the soak's parts only.

"Unknown never lowers", bounds and budget are judged change by change, as the API server tells them.
"""

import threading
import time
from dataclasses import dataclass

from soak.faults import Fault, Holds
from soak.world import BOUNDS, MAX_GPUS
from support.replica_changes import Change

OPERATOR = "pdscaler"
"""Field manager of what the operator writes."""


@dataclass(slots=True)
class Torment:
    """A fault while it lasts, and afterwards."""

    fault: Fault
    begun_s: float
    ended_s: float = float("inf")

    def forbids(self, change: Change) -> str:
        """Say why a change by the operator must not be; empty where it may."""
        if not self.begun_s + self.fault.grace_s < change.at_s < self.ended_s:
            return ""
        if self.fault.holds is Holds.NO_WRITE:
            return f"written while {self.fault.name}"
        if self.fault.holds is Holds.NO_DATA and change.after < change.before:
            return f"lowered while {self.fault.name}"
        return ""


class Judge:
    """Collects what the operator did, and what of it was wrong."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.violations: list[str] = []
        self._read = 0
        self._torments: list[Torment] = []
        self._lock = threading.Lock()

    def begins(self, fault: Fault) -> Torment:
        """Take note of a fault; its ``ended_s`` is set by whoever ends it, before it does."""
        torment = Torment(fault, time.monotonic())
        with self._lock:
            self._torments.append(torment)
        return torment

    def sees(self, change: Change) -> None:
        """Judge a change."""
        if change.by != OPERATOR:
            return
        with self._lock:
            self.changes.append(change)
            for problem in self._problems(change):
                self.says(f"{change.name} {change.before} → {change.after}: {problem}")

    def says(self, problem: str) -> None:
        """Count a violation."""
        self.violations.append(f"{time.strftime('%H:%M:%S')} {problem}")

    def unread(self) -> list[str]:
        """Return the violations since this was asked last."""
        found = self.violations[self._read :]
        self._read += len(found)
        return found

    def _problems(self, change: Change) -> list[str]:
        least, most = BOUNDS[change.name]
        found = [each for torment in self._torments if (each := torment.forbids(change))]
        if not least <= change.after <= most:
            found.append(f"out of bounds {least}..{most}")
        if change.after > change.before and change.total_gpus > MAX_GPUS:
            found.append(f"{change.total_gpus} GPUs are ordered, the budget is {MAX_GPUS}")
        return found
