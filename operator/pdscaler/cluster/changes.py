"""Who changed the replicas of a target, other than this operator. May import cluster modules only.

``managedFields`` say who last set ``spec.replicas``, also of what was ordered before a restart or by another replica of
the operator. Where they say nothing, the last order of this process decides.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pdscaler.cluster.connection import FIELD_MANAGER
from pdscaler.cluster.targets import TargetObject, TargetRef

_REMEMBERED = 16
"""Changes that are remembered of one target: an evaluation takes them up within a period."""


@dataclass(frozen=True, slots=True)
class ForeignChange:
    """Somebody else changed the replicas of a target.

    Parameters
    ----------
    target
        ``Deployment/chat-decode``.
    at_s
        When it was seen, seconds since the epoch.
    version
        resourceVersion of the object with the change: the same for whoever sees it.
    before, after
        Replicas.
    by
        The field manager, as ``managedFields`` name it; empty where they do not.
    overrode
        What it replaced was an order of this operator.
    """

    target: str
    at_s: float
    version: str
    before: int
    after: int
    by: str
    overrode: bool


class ChangeLog:
    """The last foreign changes of each target.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ordered: dict[TargetRef, int] = {}
        self._changes: dict[TargetRef, deque[ForeignChange]] = {}

    def of(self, ref: TargetRef) -> tuple[ForeignChange, ...]:
        """Return the last foreign changes of a target, the oldest first."""
        return tuple(self._changes.get(ref, ()))

    def ordered(self, ref: TargetRef, replicas: int) -> None:
        """Take note of an order of ours, before it is sent."""
        self._ordered[ref] = replicas

    def saw(self, ref: TargetRef, before: TargetObject, after: TargetObject) -> None:
        """Take note of a new version of a target."""
        if before.asked is None or after.asked is None or before.asked == after.asked or self._ours(ref, after):
            return
        change = ForeignChange(
            target=ref.short,
            at_s=self._clock(),
            version=after.resource_version,
            before=before.asked,
            after=after.asked,
            by=next(iter(after.scaled_by), ""),
            overrode=self._ours(ref, before),
        )
        self._changes.setdefault(ref, deque(maxlen=_REMEMBERED)).append(change)

    def retain(self, refs: Iterable[TargetRef]) -> None:
        """Forget everything of targets that are not among these."""
        kept = set(refs)
        self._ordered = {ref: replicas for ref, replicas in self._ordered.items() if ref in kept}
        self._changes = {ref: changes for ref, changes in self._changes.items() if ref in kept}

    def _ours(self, ref: TargetRef, seen: TargetObject) -> bool:
        """Whether what a target asks for was ordered by this operator."""
        if seen.scaled_by:
            return FIELD_MANAGER in seen.scaled_by
        return self._ordered.get(ref) == seen.asked
