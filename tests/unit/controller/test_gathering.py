"""Many who come one after the other go on together."""

import asyncio

import pytest

from pdscaler.controller.gathering import Gathering


async def test_all_go_on_in_one_turn() -> None:
    gathering, gone = Gathering(), 0

    async def come() -> int:
        nonlocal gone
        await gathering.join()
        gone += 1
        await asyncio.sleep(0)
        return gone

    tasks = []
    for _ in range(50):
        tasks.append(asyncio.create_task(come()))
        await asyncio.sleep(0.001)
    assert await asyncio.gather(*tasks) == [50] * 50


async def test_who_comes_later_does_not_wait() -> None:
    gathering = Gathering()
    await gathering.join()
    late = asyncio.create_task(gathering.join())
    for _ in range(3):
        await asyncio.sleep(0)
    assert late.done()


async def test_one_who_is_cancelled_leaves_the_others() -> None:
    gathering = Gathering()
    first, second = (asyncio.create_task(gathering.join()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
