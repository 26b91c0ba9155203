"""When a status is worth a write: at once for what changed, at most once a minute for figures that moved. No I/O.

It compares documents as they are written, so a status of an earlier process or release counts the same.
"""

import re
from collections.abc import Iterator, Mapping
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

_NOT_FIGURES = frozenset({"current", "ready", "desired"})

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
            entry["type"]: (entry["status"], entry["reason"], _FIGURE.sub("#", entry.get("message", "")))
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
    old, new = dict(_figures(before)), dict(_figures(after))
    if old.keys() != new.keys():
        return True
    return any(
        abs(new[name][0] - value) > FIGURES_CHANGE * max(abs(value), least) for name, (value, least) in old.items()
    )


def _messages(document: Document) -> dict[str, Any]:
    return {entry["type"]: entry.get("message") for entry in document.get("conditions", ())}


def _figures(document: Document) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the path of each figure, its value, and what it counts as at least."""
    for block in _FIGURE_BLOCKS:
        yield from _walk(block, document.get(block))


def _walk(path: str, value: object) -> Iterator[tuple[str, tuple[float, float]]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in _NOT_FIGURES:
                yield from _walk(f"{path}.{name}", inner)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, (float(value), LEAST_FIGURE)
    elif isinstance(value, str):
        try:
            yield path, (parse_duration(value), 0.0)
        except InvalidInputError:
            return
