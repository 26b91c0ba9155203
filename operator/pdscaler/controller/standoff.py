"""When somebody sets replicas away from what was ordered, again and again: we stop instead of fighting. No I/O.

Three such changes of one target within ten minutes begin a standoff. It lasts until ten minutes have passed without any
change of the target's replicas by somebody else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pdscaler.cluster.changes import ForeignChange
from pdscaler.core.pools import PerPool

FLIPS = 3
"""Changes of what was ordered that begin a standoff."""
WINDOW_S = 600.0
"""Within how long they must come, and for how long nobody else may change the replicas before it ends, seconds."""


@dataclass(frozen=True, slots=True)
class Standoff:
    """What somebody else's changes of one target came to.

    Parameters
    ----------
    flips
        The last changes of what was ordered, the oldest first; at most :data:`FLIPS`, none older than
        :data:`WINDOW_S` unless it lasts.
    until_s
        Nothing is written until then, seconds since the epoch; None where there is no standoff.
    """

    flips: tuple[ForeignChange, ...] = ()
    until_s: float | None = None

    def of(self, target: str) -> "Standoff":
        """Return this, unless it is of another target than ``Deployment/chat-decode``."""
        return self if self.flips and all(flip.target == target for flip in self.flips) else Standoff()

    def after(self, seen: Iterable[ForeignChange], now_s: float) -> "Standoff":
        """Return what it came to by now.

        Parameters
        ----------
        seen
            The last foreign changes of the target, the oldest first; they may be known already.
        now_s
            The time, seconds since the epoch.
        """
        # Nothing happens later than now: a clock that was put back must not make a standoff last for ever.
        changes = [change for change in _by(now_s, seen) if change.at_s > now_s - WINDOW_S]
        flips = _by(now_s, self.flips)
        known, last_s = {flip.version for flip in flips}, max((flip.at_s for flip in flips), default=0.0)
        fresh = [each for each in changes if each.overrode and each.version not in known and each.at_s >= last_s]
        flips = [*flips, *fresh][-FLIPS:]
        recent = tuple(flip for flip in flips if flip.at_s > now_s - WINDOW_S)
        until_s = 0.0 if self.until_s is None else min(self.until_s, now_s + WINDOW_S)
        if len(recent) == FLIPS:
            until_s = max(until_s, recent[-1].at_s + WINDOW_S)
        for change in changes:
            if change.at_s < until_s:
                until_s = max(until_s, change.at_s + WINDOW_S)
        return Standoff(tuple(flips), until_s) if now_s < until_s else Standoff(recent)

    def fresh(self, before: "Standoff") -> int:
        """Count the changes of what was ordered that an earlier standoff did not know of."""
        return len({flip.version for flip in self.flips} - {flip.version for flip in before.flips})


def _by(now_s: float, changes: Iterable[ForeignChange]) -> list[ForeignChange]:
    return [replace(change, at_s=min(change.at_s, now_s)) for change in changes]


UNCONTESTED: PerPool[Standoff] = PerPool(Standoff(), Standoff())
