"""Waiting for a condition with a limit and a clear failure. Imports the standard library only."""

import time
from collections.abc import Callable
from typing import TypeVar

from localplane.errors import LocalPlaneError

T = TypeVar("T")

PATIENCE_S = 180.0
"""How long to wait for what should come soon: a limit shows a fault, never how fast a busy machine is."""


def wait_for(
    what: str, probe: Callable[[], T | None], timeout_s: float = PATIENCE_S, every_s: float = 0.1, detail: str = ""
) -> T:
    """Call ``probe`` until it returns a true value, and return it.

    Parameters
    ----------
    what
        What is waited for, in words that complete "waited … for".
    probe
        Returns the value, or something false while it is not there yet. What it raises is raised.
    timeout_s, every_s
        Limit, and pause between two calls, seconds.
    detail
        Where to look when it does not come.

    Raises
    ------
    LocalPlaneError
        When the limit is over.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise LocalPlaneError(
                f"waited {timeout_s:g} seconds for {what}, in vain" + (f" ({detail})" if detail else "")
            )
        time.sleep(every_s)
