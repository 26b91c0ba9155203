"""The scale of kinds that only ``/scale`` describes, read again when their object changes.

May import cluster and core.
"""

import asyncio
from collections.abc import Iterable

from pdscaler.cluster.errors import ClusterError
from pdscaler.cluster.scale import Scale, ScaleReader
from pdscaler.cluster.targets import TargetRef, unknown
from pdscaler.core.decision import TargetUnknown

_CONCURRENT_READS = 8
_PAUSE_S = 0.2
"""Between two rounds of reading, seconds: an object that changes often is not read each time."""
_RETRY_S = 10.0
"""After a reading failed, seconds."""


class ScaleCache:
    """Remembers the scale of the targets it follows.

    Parameters
    ----------
    reader
        Reads one scale.
    """

    def __init__(self, reader: ScaleReader) -> None:
        self._reader = reader
        self._known: dict[TargetRef, Scale | TargetUnknown | None] = {}
        self._due: set[TargetRef] = set()
        self._failed: set[TargetRef] = set()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(_CONCURRENT_READS)

    def get(self, ref: TargetRef) -> Scale | TargetUnknown | None:
        """Return the last reading, why there is none, or None where it has not been read yet."""
        return self._known.get(ref)

    async def follow(self, ref: TargetRef) -> None:
        """Read a scale now if it is new here, and again whenever its object changes."""
        if ref not in self._known:
            self._known[ref] = None
            await self._read(ref)

    def retain(self, refs: Iterable[TargetRef]) -> None:
        """Forget every scale but these."""
        kept = set(refs)
        for ref in [ref for ref in self._known if ref not in kept]:
            del self._known[ref]
        self._failed &= kept

    def mark(self, ref: TargetRef) -> None:
        """Have a scale read again: its object changed."""
        if ref in self._known:
            self._due.add(ref)
            self._wake.set()

    async def run(self) -> None:
        """Read what is due, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_RETRY_S if self._failed else None):
                    await self._wake.wait()
            except TimeoutError:
                self._due |= self._failed
            self._wake.clear()
            due, self._due = self._due & self._known.keys(), set()
            await asyncio.gather(*(self._read(ref) for ref in due))
            await asyncio.sleep(_PAUSE_S)

    async def _read(self, ref: TargetRef) -> None:
        self._failed.discard(ref)
        try:
            async with self._slots:
                read: Scale | TargetUnknown = await self._fetch(ref)
        except ClusterError as error:
            self._failed.add(ref)
            self._wake.set()  # so that the loop notices that there is something to try again
            if error.transient and isinstance(self._known.get(ref), Scale):
                return
            read = unknown(ref, error)
        if ref in self._known:
            self._known[ref] = read

    async def _fetch(self, ref: TargetRef) -> Scale:
        try:
            return await self._reader.fetch(ref)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # The other targets are read on, whatever one kind's API says.
            raise ClusterError("InvalidAnswer", f"its scale cannot be read: {type(error).__name__}") from error
