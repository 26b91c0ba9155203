"""Waiting for a condition without stopping the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from localplane.waiting import PATIENCE_S

T = TypeVar("T")


async def eventually(look: Callable[[], T], holds: Callable[[T], bool], timeout_s: float = PATIENCE_S) -> T:
    """Look again and again until what is seen holds, and return it; fail with what was seen last."""
    try:
        async with asyncio.timeout(timeout_s):
            while not holds(seen := look()):  # noqa: ASYNC110 - what is looked at has no event to wait for
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"after {timeout_s:g}s still {look()!r}") from None
    return seen
