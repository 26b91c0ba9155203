"""What the process remembers of each PDDeployment between two evaluations; a restart loses none of it. No kopf."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from pdscaler.api.status import Condition, PDDeploymentStatus
from pdscaler.controller import calibrations, memory
from pdscaler.controller.conditions import ConditionType, Truth
from pdscaler.controller.evaluation import ResourceKey
from pdscaler.controller.prepare import Document, key_of
from pdscaler.controller.standoff import UNCONTESTED, Standoff
from pdscaler.core.decision import PlanState, PoolState, TargetUnknown
from pdscaler.core.live_calibration import CalibrationState
from pdscaler.core.plan import resume
from pdscaler.core.pools import PerPool, Pool

_NOTHING_FOUND = PDDeploymentStatus()

FIRST_RETRY_S = 1.0
"""How soon an order that could not be written is tried again the first time, seconds; doubled each time."""


@dataclass(slots=True)
class Entry:
    """Memory of one PDDeployment.

    Parameters
    ----------
    key, uid
        Which one; a new one of the same name has another uid.
    status
        The status as last rendered, written or not.
    state
        What the next evaluation starts from.
    calibration
        What was learnt of the engines.
    written
        The status document as last written, or as found.
    version
        resourceVersion that was last seen of the resource: the precondition of the next write of its status.
    written_at_s
        When it was last written by this process, seconds since the epoch.
    resumed
        Pools whose windows were seeded with their replicas since this process began.
    failures
        Evaluations in a row with an order that could not be written.
    standoffs
        What somebody else's changes of each target came to.
    """

    key: ResourceKey
    uid: str
    status: PDDeploymentStatus
    state: PlanState
    calibration: CalibrationState
    written: Mapping[str, Any]
    version: str = ""
    written_at_s: float = -math.inf
    resumed: frozenset[Pool] = frozenset()
    failures: int = 0
    standoffs: PerPool[Standoff] = UNCONTESTED
    _found: PDDeploymentStatus = field(default_factory=PDDeploymentStatus)
    _troubled_since_s: dict[Pool, float] = field(default_factory=dict)
    _looked_at: frozenset[Pool] = frozenset()
    _watched: str = ""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions as last rendered."""
        return self.status.conditions

    def see(self, version: str) -> None:
        """Take note of the resourceVersion that the watch has; it may lag behind a write of ours."""
        if version != self._watched:
            self._watched = self.version = version

    def starting_state(self, seen: PerPool[PoolState | TargetUnknown], now_s: float) -> PlanState:
        """Return the state to plan from; a pool seen for the first time since the start is seeded with its replicas.

        Parameters
        ----------
        seen
            What is known of the targets.
        now_s
            The time, seconds since the epoch.
        """
        new = {pool for pool, state in seen.items() if isinstance(state, PoolState) and pool not in self.resumed}
        if new:
            counts = {
                pool: state.spec_replicas
                for pool, state in seen.items()
                if isinstance(state, PoolState) and pool in new
            }
            current = PerPool(counts.get(Pool.PREFILL), counts.get(Pool.DECODE))
            self.state = resume(memory.count_unreported(self.state, self._found, current, now_s), current, now_s)
            self.resumed |= new
        return self.state

    def troubled_for_s(self, seen: PerPool[PoolState | TargetUnknown], now_s: float) -> PerPool[float]:
        """Return how long each pool has been kept from becoming ready, seconds.

        Trouble that an earlier process has reported as overdue still is. Of a target that cannot be read nothing new is
        known.
        """
        for pool, state in seen.items():
            if not isinstance(state, PoolState):
                continue
            overdue = pool not in self._looked_at and was_pending(self._found)
            self._looked_at |= {pool}
            if state.trouble is None:
                self._troubled_since_s.pop(pool, None)
            else:
                self._troubled_since_s.setdefault(pool, -math.inf if overdue else now_s)
        if self._looked_at == self.resumed == frozenset(Pool):
            self._found = _NOTHING_FOUND  # nobody asks again, and a thousand of them take memory
        since = self._troubled_since_s
        return PerPool(now_s - since.get(Pool.PREFILL, now_s), now_s - since.get(Pool.DECODE, now_s))

    def retry_s(self, failed: bool, period_s: float) -> float | None:
        """Return how soon to evaluate again after an order that could not be written; None: at the next period."""
        if not failed:
            self.failures = 0
            return None
        self.failures += 1
        return min(period_s, FIRST_RETRY_S * 2.0 ** min(self.failures - 1, 16))


class Book:
    """The entries of all live PDDeployments."""

    def __init__(self) -> None:
        self._entries: dict[ResourceKey, Entry] = {}

    def begin(self, found: Iterable[Document]) -> None:
        """Forget everything, and start from what the API server holds.

        Parameters
        ----------
        found
            Every PDDeployment as it was just read: the watch may lag behind what another leader has written.
        """
        self._entries.clear()
        for document in found:
            self.entry(document).version = str(document["metadata"]["resourceVersion"])

    def entry(self, document: Document) -> Entry:
        """Return the entry of a resource; a new one starts from the resource's status, which is only read for that."""
        key, uid = key_of(document), str(document["metadata"].get("uid", ""))
        known = self._entries.get(key)
        if known is None or known.uid != uid:
            status = document.get("status") or {}
            found = _read(status)
            written = {} if found is None else dict(status)
            found = found or PDDeploymentStatus()
            known = Entry(
                key,
                uid,
                found,
                memory.from_status(found.memory),
                calibrations.from_memory(None if found.memory is None else found.memory.calibration),
                written,
                standoffs=memory.standoffs(found.memory),
                _found=found,
            )
            self._entries[key] = known
        return known

    def forget(self, key: ResourceKey) -> None:
        """Drop the entry of a resource that is gone."""
        self._entries.pop(key, None)

    def keys(self) -> frozenset[ResourceKey]:
        """Return whose entries there are."""
        return frozenset(self._entries)


def was_pending(status: PDDeploymentStatus) -> bool:
    """Whether a status reports replicas that cannot become ready."""
    type_ = ConditionType.CAPACITY_PENDING.value
    return any(entry.type == type_ and entry.status == Truth.TRUE.value for entry in status.conditions)


def _read(status: Mapping[str, Any]) -> PDDeploymentStatus | None:
    try:
        return PDDeploymentStatus.model_validate(dict(status))
    except ValidationError:
        # Written by another release, or by hand: it is replaced, and the windows are seeded as on a first start.
        return None
