"""When a status is worth a write: at once for what changed, at most once a minute for figures that moved. No I/O.

It compares documents as they are written, so a status of an earlier process or release counts the same.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pdscaler.errors import InvalidInputError
from pdscaler.units import parse_duration

FIGURES_INTERVAL_S = 60.0
"""Least time between two writes for the sake of figures alone, seconds (DESIGN 3.6)."""
FIGURES_CHANGE = 0.1
"""Relative change of a figure that is worth a write (DESIGN 3.6)."""
LEAST_FIGURE = 0.01
"""A number below this counts as this: a spread of 1e-13 that becomes 2e-13 is no news. Durations count as they are."""

_FIGURE_BLOCKS = ("workload", "forecast", "observed", "prediction", "prefill", "decode")
_POOL_DECISION = ("current", "ready", "desired", "limitedBy")
_LEARNT = ("derate", "overhead", "offProfile")
_ENOUGH_POINTS = 3
"""Operating points are written with whatever is written next; the first ones that tell something at once."""

_NOT_FIGURES = frozenset({"current", "ready", "desired", "observedAt", "reason", "dispersion"})
"""Compared elsewhere; text that would be read in vain as a duration each time; and the noise of the arrivals, an
estimate that never rests and is written with whatever is written next."""

_FIGURE = re.compile(r"\d[\d.,]*\s?(?:us|ms|s|m|h)?\b")
"""A figure with its unit in a message: other words are another condition, other figures are not."""

Document = Mapping[str, Any]


def worth_writing(before: Document, after: Document, since_s: float) -> bool:
    """Whether a status should be written.

    Parameters
    ----------
    before
        The status as it was last written or read.
    after
        The status as it would be written.
    since_s
        Time since the last write, seconds.
    """
    if before == after:
        return False
    if decided(before) != decided(after):
        return True
    # A negative time is a clock that was put back: nobody knows how long ago it was.
    if 0 <= since_s < FIGURES_INTERVAL_S:
        return False
    return _messages(before) != _messages(after) or moved(before, after)


def decided(document: Document) -> dict[str, Any]:
    """Return what is written at once when it changes: decisions and the words of conditions, not figures."""
    return {
        "observedGeneration": document.get("observedGeneration"),
        "conditions": {
            entry["type"]: (entry["status"], entry["reason"], _words(entry.get("message", "")))
            for entry in document.get("conditions", ())
        },
        "state": (document.get("summary") or {}).get("state"),
        "limitedBy": document.get("limitedBy"),
        "forecast": [name in (document.get("forecast") or {}) for name in ("fallback", "waiting")],
        "calibration": {
            pool: [*(found.get(name) for name in _LEARNT), found.get("points", 0) >= _ENOUGH_POINTS]
            for pool, found in (document.get("calibration") or {}).items()
        },
        "decisions": [entry.get("time") for entry in document.get("decisions", ())],
        "pools": {
            pool: {name: (document.get(pool) or {}).get(name) for name in _POOL_DECISION}
            for pool in ("prefill", "decode")
        },
    }


def moved(before: Document, after: Document) -> bool:
    """Whether any figure appeared, vanished, or moved by more than :data:`FIGURES_CHANGE`."""
    return any(_moved(before.get(block), after.get(block)) for block in _FIGURE_BLOCKS)


@lru_cache(maxsize=4096)
def _words(message: str) -> str:
    """Return a message without its figures; nearly all are those of the period before."""
    return _FIGURE.sub("#", message)


def _messages(document: Document) -> dict[str, Any]:
    return {entry["type"]: entry.get("message") for entry in document.get("conditions", ())}


def _moved(before: object, after: object) -> bool:
    if before == after:
        return False
    if isinstance(before, Mapping) or isinstance(after, Mapping):
        old: Document = before if isinstance(before, Mapping) else {}
        new: Document = after if isinstance(after, Mapping) else {}
        return any(_moved(old.get(name), new.get(name)) for name in (old.keys() | new.keys()) - _NOT_FIGURES)
    was, now = _figure(before), _figure(after)
    if was is None or now is None:
        return was is not now
    least = 0.0 if isinstance(before, str) else LEAST_FIGURE
    return abs(now - was) > FIGURES_CHANGE * max(abs(was), least)


def _figure(value: object) -> float | None:
    """Return a number, or a duration in seconds; None of anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except InvalidInputError:
            return None
    return None
