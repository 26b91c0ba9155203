"""Lets many who come one after the other go on together. Imports asyncio only."""

import asyncio

_LOOK_S = 0.05
_QUIET_LOOKS = 5
"""So many looks in a row at which nobody had come: all are there. One would not do, after something that held up the
event loop. Who comes later does not wait at all."""


class Gathering:
    """Holds up those who come until nobody comes any more, then lets them go on in one turn of the event loop.

    kopf lets no handler begin before every listed object is indexed, and wakes all that wait whenever one more is: five
    thousand objects that are indexed one after the other keep it busy for more than a minute. Those that go on in the
    same turn find nobody to wake.
    """

    def __init__(self) -> None:
        self._came = 0
        self._task: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Wait for the others, the first time that there are any."""
        self._came += 1
        if self._task is None:
            self._task = asyncio.create_task(self._settle(), name="pdscaler gathering")
        # One who is cancelled leaves the others waiting.
        await asyncio.shield(self._task)

    async def _settle(self) -> None:
        seen, quiet = 0, 0
        while quiet < _QUIET_LOOKS:
            await asyncio.sleep(_LOOK_S)
            quiet = quiet + 1 if seen == self._came else 0
            seen = self._came
