"""Gives freed memory back to the system. Imports asyncio and the standard library only.

Reading for a thousand PDDeployments leaves holes all over the heap, of which the C library by itself gives back only
what lies at the end.
"""

import asyncio
import contextlib
import ctypes
from collections.abc import AsyncIterator, Callable

EVERY_S = 15.0
"""Each time takes some milliseconds for a thousand PDDeployments, in a thread."""


@contextlib.asynccontextmanager
async def housekeeping() -> AsyncIterator[None]:
    """Give memory back every few seconds within a ``with`` block."""
    task = asyncio.create_task(_repeat(trimmer()), name="pdscaler housekeeping")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def trimmer() -> Callable[[], object]:
    """Return what gives memory back: glibc's ``malloc_trim``, or nothing where the C library has no such function."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return lambda: None
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return lambda: trim(0)


async def _repeat(give_back: Callable[[], object]) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(give_back)
