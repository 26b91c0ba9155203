"""Lines that the tables of several commands have in common. May import core and units."""

import textwrap

from pdscaler.core.workload import WorkloadStats
from pdscaler.units import format_number

LABEL = 14
"""Columns of the labels below a table."""


def left_and_right(left: str, right: str, width: int) -> str:
    """Return two texts on one line, or below each other where the width does not hold both."""
    if len(left) + len(right) + 3 > width:
        return f"{left}\n  {right}"
    return left + " " * max(3, min(51, width - len(right)) - len(left)) + right


def load_words(workload: WorkloadStats) -> str:
    """Return the load in words: its rate, lengths, and tokens per minute."""
    rate, isl, osl = workload.arrival_rate_rps, workload.isl, workload.osl
    if isl is None or osl is None:
        return f"{format_number(rate)} requests/s"
    million = rate * 60 * (isl.mean_tokens + osl.mean_tokens) / 1e6
    lengths = f"{format_number(isl.mean_tokens, 4)} in + {format_number(osl.mean_tokens, 4)} out"
    return f"{format_number(rate)} requests/s × ({lengths}) = {format_number(million)} M tokens/min"


def labelled(label: str, text: str, width: int) -> list[str]:
    """Return a text behind its label, wrapped; nothing where there is no text."""
    if not text:
        return []
    room = width - LABEL - 2
    parts = [text] if len(text) <= room else textwrap.wrap(text, room)
    return [f"  {label if index == 0 else '':{LABEL}}{part}" for index, part in enumerate(parts)]
