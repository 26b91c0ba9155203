"""Progress lines: redrawn on a terminal, one every half minute elsewhere. Imports the standard library only."""

import sys
import time
from typing import Protocol, TextIO


class Progress(Protocol):
    """Where long work says what it does."""

    def line(self, text: str) -> None:
        """Say something once."""

    def tick(self, text: str, elapsed_s: float) -> None:
        """Say what is being done and for how long; called about once a second."""


class Silent:
    """Says nothing."""

    def line(self, text: str) -> None:
        """Drop ``text``."""

    def tick(self, text: str, elapsed_s: float) -> None:
        """Drop ``text``."""


class Console:
    """Writes to a stream.

    Parameters
    ----------
    stream
        Where to write; standard error, because standard output is for results.
    every_s
        Seconds between two lines about the same work, where the stream is no terminal.
    """

    def __init__(self, stream: TextIO | None = None, every_s: float = 30.0) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._every_s = every_s
        self._drawn = ""
        self._said: tuple[str, float] = ("", 0.0)

    def line(self, text: str) -> None:
        """Write a line of its own."""
        self._clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def tick(self, text: str, elapsed_s: float) -> None:
        """Redraw the line of the running work, or repeat it now and then."""
        shown = f"{text} … {format_elapsed(elapsed_s)}"
        if self._stream.isatty():
            self._clear()
            self._stream.write(shown)
            self._stream.flush()
            self._drawn = shown
            return
        said, at_s = self._said
        if said != text or time.monotonic() - at_s >= self._every_s:
            self._said = (text, time.monotonic())
            self.line(shown if elapsed_s >= 1 else text)

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write("\r" + " " * len(self._drawn) + "\r")
            self._drawn = ""


def format_elapsed(seconds: float) -> str:
    """Write a stretch of time as minutes and seconds.

    Examples
    --------
    >>> format_elapsed(5), format_elapsed(65)
    ('5s', '1m05s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
