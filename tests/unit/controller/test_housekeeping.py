"""Freed memory goes back to the system, also from the middle of the heap."""

import asyncio
import ctypes
from pathlib import Path

import pytest

from pdscaler.controller import housekeeping
from pdscaler.controller.housekeeping import trimmer


def resident_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def test_holes_in_the_heap_go_back() -> None:
    blocks = [bytes(1000) for _ in range(100_000)]
    full = resident_mib()
    kept = blocks[-1000:]  # at the heap's end, which so cannot shrink
    del blocks
    trimmer()()
    assert resident_mib() < full - 60
    assert len(kept) == 1000


async def test_it_goes_on_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    times = 0
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()

    def give_back() -> None:
        nonlocal times
        times += 1
        if times == 3:
            loop.call_soon_threadsafe(enough.set)

    monkeypatch.setattr(housekeeping, "EVERY_S", 0.0)
    monkeypatch.setattr(housekeeping, "trimmer", lambda: give_back)
    async with housekeeping.housekeeping():
        await asyncio.wait_for(enough.wait(), 60.0)
    await asyncio.sleep(0.1)  # one may be under way
    at_the_end = times
    await asyncio.sleep(0.1)
    assert times == at_the_end


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    trimmer()()
