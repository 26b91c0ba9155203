"""Parts of generated documents: tables, shares, what stands between two markers. Standard library only."""

import math
from collections.abc import Sequence
from pathlib import Path


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def percent(share: float) -> str:
    """Return a share in percent; only all of it is 100 %.

    Examples
    --------
    >>> percent(299 / 300), percent(0.5), percent(1.0)
    ('99.67 %', '50.0 %', '100 %')
    """
    if math.isnan(share):
        return "–"
    digits = 2 if 0 < share < 0.01 or 0.99 < share < 1 else 1
    return f"{100 * share:.{digits}f} %" if share not in (0, 1) else f"{100 * share:.0f} %"


def between(document: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two markers.

    Raises
    ------
    ValueError
        If the document lacks the markers.
    """
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{document} lacks the markers {begin} and {end}")
    document.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
