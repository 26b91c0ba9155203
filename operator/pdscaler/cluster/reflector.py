"""List, then watch, for ever: keeps a store equal to what the API server holds. May import cluster and errors only.

Level-based: whatever was missed while a watch was down is caught up by the next list. The client library's informer is
made of threads; this one is a single coroutine and hands over each object at once, so that a store keeps the few fields
it needs and the objects themselves are never held.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pdscaler.cluster.connection import Connection, Json, refusal
from pdscaler.cluster.errors import EXPIRED, UNREACHABLE, ClusterError
from pdscaler.errors import PdscalerError

_logger = logging.getLogger(__name__)

Key = TypeVar("Key")

PAGE_SIZE = 500
SERVER_TIMEOUT_S = 300
"""After which the server ends a watch, so that load moves between API servers, seconds."""
INACTIVITY_TIMEOUT_S = 75.0
"""Silence after which a watch counts as broken, seconds: bookmarks arrive every 60."""


async def list_pages(
    connection: Connection, path: str, query: Mapping[str, str] | None = None
) -> AsyncGenerator[tuple[list[Json], str], None]:
    """Yield the objects of a collection, page by page, each with the resourceVersion of the list.

    Raises
    ------
    ClusterError
        As :meth:`Connection.get`; ``Expired`` if reading the pages took so long that it must begin anew.
    """
    token = ""
    while True:
        page = await connection.get(
            path, {"limit": str(PAGE_SIZE), **({"continue": token} if token else {}), **(query or {})}
        )
        metadata = page.get("metadata") or {}
        yield page.get("items") or [], str(metadata.get("resourceVersion") or "")
        token = str(metadata.get("continue") or "")
        if not token:
            return


async def watch_events(
    connection: Connection,
    path: str,
    resource_version: str,
    *,
    query: Mapping[str, str] | None = None,
    opened: Callable[[], None] | None = None,
) -> AsyncGenerator[tuple[str, Json], None]:
    """Yield (type, object) of what happens to a collection after a resourceVersion, until the server ends the watch.

    Bookmarks are among them; ``opened`` is called once the server has accepted the watch.

    Raises
    ------
    ClusterError
        ``Expired`` if the resourceVersion is too old; otherwise as the server says.
    """
    watching = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": resource_version,
        "timeoutSeconds": str(SERVER_TIMEOUT_S),
        **(query or {}),
    }
    async for event in connection.stream(path, watching, INACTIVITY_TIMEOUT_S, opened):
        kind, document = str(event.get("type")), event.get("object") or {}
        if kind == "ERROR":
            raise refusal(
                int(document.get("code") or 500), str(document.get("reason") or ""), str(document.get("message"))
            )
        yield kind, document


class Store(Protocol[Key]):
    """Keeps what matters of each object."""

    def put(self, document: Json) -> Key:
        """Keep an object, new or changed; return its key."""

    def drop(self, key: Key) -> None:
        """Forget an object that is gone."""

    def key(self, document: Json) -> Key:
        """Key of an object."""

    def keys(self, namespace: str | None) -> set[Key]:
        """Keys of all objects of one namespace, or (None) of all."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after failures in a row: doubling, with jitter, never longer than a period."""

    first_s: float = 0.5
    most_s: float = 10.0

    def delay_s(self, failures: int, rng: random.Random) -> float:
        """Wait after this many failures in a row (>= 1), seconds."""
        return min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 20)) * rng.uniform(0.5, 1.0)


class Reflector(Generic[Key]):
    """Keeps one store equal to one collection.

    Parameters
    ----------
    connection
        The API server.
    locate
        Finds the path of the collection in a namespace (None: all), asked before every list; raises ClusterError where
        it is not served (yet).
    store
        Where the objects go.
    namespace
        Namespace of the collection; None: all.
    clock
        Seconds since the epoch.
    rng
        For the jitter of the backoff.
    backoff
        Waits after failures.

    Attributes
    ----------
    problem
        Why the store may be behind; None while it follows.
    listed
        A full list has been read at least once.
    contact_s
        When the server was last heard of, seconds since the epoch; None: never.
    attempted
        Set once the first list is through, or has failed.
    """

    def __init__(
        self,
        connection: Connection,
        locate: Callable[[str | None], Awaitable[str]],
        store: Store[Key],
        namespace: str | None,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        backoff: Backoff = Backoff(),
    ) -> None:
        self._connection = connection
        self._locate = locate
        self._store = store
        self._namespace = namespace
        self._clock = clock
        self._rng = rng
        self._backoff = backoff
        self._path = ""
        self._version = ""
        self._failures = 0
        self.problem: ClusterError | None = None
        self.listed = False
        self.contact_s: float | None = None
        self.attempted = asyncio.Event()

    async def run(self) -> None:
        """Follow the collection until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._follow()
            except ClusterError as error:
                await self._recover(error)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                # Nothing that an API server sends may end the watch for good: what was known would be believed for
                # ever after, or never again.
                _logger.exception("an answer for %s cannot be read; listing anew", self._path or "a collection")
                await self._recover(ClusterError("InvalidAnswer", f"an answer cannot be read: {type(error).__name__}"))

    async def _list(self) -> None:
        self._path = await self._locate(self._namespace)
        seen: set[Key] = set()
        version = ""
        async for page, listed_at in list_pages(self._connection, self._path):
            version = listed_at
            seen.update(key for key in map(self._put, page) if key is not None)
        for key in self._store.keys(self._namespace) - seen:
            self._store.drop(key)
        self._version = version
        self.listed = True
        self._heard()
        self.attempted.set()

    async def _follow(self) -> None:
        """Apply changes until the server ends the watch; then the same resourceVersion carries on."""
        events = watch_events(self._connection, self._path, self._version, opened=self._heard)
        async with aclosing(events):
            async for kind, document in events:
                if kind == "DELETED":
                    self._store.drop(self._store.key(document))
                elif kind != "BOOKMARK":
                    self._put(document)
                self._version = str(document["metadata"]["resourceVersion"])
                self._failures = 0
                self._heard()

    def _put(self, document: Json) -> Key | None:
        """Hand an object to the store; one that cannot be read is left out, and the others are followed on."""
        try:
            return self._store.put(document)
        except (PdscalerError, LookupError, TypeError, ValueError, AttributeError):
            _logger.exception("an object under %s cannot be read and is left out", self._path)
            return None

    async def _recover(self, error: ClusterError) -> None:
        """After a failure: wait longer each time; list anew unless only the connection broke."""
        too_old = error.reason == EXPIRED and self.listed and self._failures == 0
        if error.reason != UNREACHABLE:
            self._version = ""
        self._failures += 1
        if too_old:
            # Quite normal after a long silence: nothing to wait for.
            return
        self.problem = error
        self.attempted.set()
        await asyncio.sleep(self._backoff.delay_s(self._failures, self._rng))

    def _heard(self) -> None:
        self.contact_s = self._clock()
        self.problem = None
