"""Long sentences below a label: continued under the text, not under the label. May import rich only."""

import textwrap
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

_LEAST_WIDTH = 24
"""Columns that a text gets at least, however narrow the terminal: the rest is the terminal's to wrap."""


@dataclass(frozen=True, slots=True)
class Hanging:
    """A label with a text that may need several lines.

    Parameters
    ----------
    label
        What stands before the first line, spaces included; the next lines begin where it ends.
    text
        The text, one sentence or more.
    style
        Style of label and text, as rich names it.
    """

    label: str
    text: str
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines, no wider than the console."""
        room = max(_LEAST_WIDTH, options.max_width - len(self.label))
        lines = textwrap.wrap(self.text, room, break_long_words=False, break_on_hyphens=False) or [""]
        for index, line in enumerate(lines):
            before = self.label if index == 0 else " " * len(self.label)
            yield Text((before + line).rstrip(), style=self.style)
