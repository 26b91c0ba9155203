"""The sessions of one endpoint: blocking readers in threads, behind awaitable questions. Imports asyncio, the reader.

A thread that waits for an endpoint cannot be stopped, so a cancelled question keeps its session until the reader's own
timeout ends it; only then the session is used again. Each endpoint has its own few threads: one that hangs delays
nobody else.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from pdscaler.core.workload import NoDataReason
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.reader import Reader, ReadError, Sample, Series

SESSIONS = 4
"""Questions in flight per endpoint."""

T = TypeVar("T")


class Asks(Protocol):
    """What a lane needs of a reader."""

    def time_s(self, timeout_s: float) -> float:
        """Ask for the time."""

    def query(self, text: str, at_s: float, timeout_s: float) -> Iterable[Sample]:
        """Ask an instant query."""

    def query_range(self, text: str, start_s: float, end_s: float, step_s: float, timeout_s: float) -> Iterable[Series]:
        """Ask a range query."""

    def close(self) -> None:
        """Release the connection."""


class Lane:
    """Asks one endpoint, a few questions at a time.

    Parameters
    ----------
    endpoint
        Where to ask.
    make_reader
        Makes a session.
    sessions
        Questions in flight at the same time.
    """

    def __init__(
        self, endpoint: Endpoint, make_reader: Callable[[Endpoint], Asks] = Reader, sessions: int = SESSIONS
    ) -> None:
        self.endpoint = endpoint
        self._readers = [make_reader(endpoint) for _ in range(sessions)]
        self._idle: asyncio.Queue[Asks] = asyncio.Queue()
        for reader in self._readers:
            self._idle.put_nowait(reader)
        self._threads = ThreadPoolExecutor(sessions, thread_name_prefix="pdscaler-prometheus")
        self._closed = False
        self.asked = 0

    async def ask(self, question: Callable[[Asks, float], T], ends_s: float) -> T:
        """Run a question in a thread.

        Parameters
        ----------
        question
            Called with a reader and the seconds it may take.
        ends_s
            Time of the event loop by which the answer must be there.

        Raises
        ------
        ReadError
            Without a trustworthy answer.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(ends_s):
                reader = await self._idle.get()
        except TimeoutError:
            problem = "is still busy with earlier questions"
            raise ReadError(NoDataReason.PROMETHEUS_UNREACHABLE, problem) from None
        self.asked += 1
        future = self._threads.submit(question, reader, max(0.0, ends_s - loop.time()))

        def give_back(_: Future[T]) -> None:
            if self._closed:
                reader.close()
            elif not loop.is_closed():
                loop.call_soon_threadsafe(self._idle.put_nowait, reader)

        future.add_done_callback(give_back)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Close the sessions; one that is in use is closed when its question ends."""
        self._closed = True
        while not self._idle.empty():
            self._idle.get_nowait().close()
        self._threads.shutdown(wait=False, cancel_futures=True)
