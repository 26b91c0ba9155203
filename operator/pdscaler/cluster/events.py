"""Posts Events that ``kubectl describe`` shows. May import cluster and errors only."""

import logging
import os
import socket
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

from pdscaler.cluster.connection import Connection, Json, collection_path, segments
from pdscaler.cluster.errors import NOT_FOUND, ClusterError, ConflictError

_logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 1024
"""Longest message of an Event that the API server takes."""
_REMEMBERED = 2000
_AGGREGATE_S = 3000.0
"""How long an Event may be counted up instead of posted anew, seconds: the API server forgets Events after an hour."""


class EventType(StrEnum):
    """Type of an Event."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class ObjectIdentity:
    """The object that an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str = ""


_Key: TypeAlias = tuple[str, str, str, str]


@dataclass(slots=True)
class _Posted:
    """An Event that stands in the API server and can be counted up."""

    name: str
    count: int
    last_s: float
    version: str


class EventWriter:
    """Posts Events; the same one again raises its count.

    Parameters
    ----------
    connection
        The API server.
    component
        Who reports, such as ``pdscaler``.
    clock
        Seconds since the epoch.
    """

    def __init__(self, connection: Connection, component: str, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._component = component
        self._instance = f"{component}-{os.environ.get('HOSTNAME') or socket.gethostname()}"[:128]
        self._clock = clock
        self._posted: OrderedDict[_Key, _Posted] = OrderedDict()

    async def emit(self, about: ObjectIdentity, kind: EventType | str, reason: str, message: str) -> None:
        """Post an Event.

        Events are for people, and losing one must not hold up an evaluation: a failure is logged, not raised.

        Parameters
        ----------
        about
            The object it is about.
        kind
            ``Normal`` or ``Warning``.
        reason
            Stable word in CamelCase.
        message
            One line for people; control characters are replaced and what exceeds 1024 bytes is cut.
        """
        note = sanitize(message)
        key = (about.uid or f"{about.namespace}/{about.name}", str(kind), reason, note)
        try:
            posted = self._posted.get(key)
            if posted is None or self._clock() - posted.last_s > _AGGREGATE_S or not await self._count(about, posted):
                self._posted[key] = await self._post(about, str(kind), reason, note)
            self._posted.move_to_end(key)
            while len(self._posted) > _REMEMBERED:
                self._posted.popitem(last=False)
        except ClusterError as error:
            _logger.warning("event %s about %s/%s was not posted: %s", reason, about.namespace, about.name, error)

    async def _count(self, about: ObjectIdentity, posted: _Posted) -> bool:
        """Raise the count of an Event; False where it is gone, or not as we left it."""
        now_s = self._clock()
        body: Json = {
            "metadata": {"resourceVersion": posted.version},
            "count": posted.count + 1,
            "lastTimestamp": _timestamp(now_s),
        }
        path = collection_path("v1", "events", about.namespace) + segments(posted.name)
        try:
            answer = await self._connection.patch(path, body)
        except ConflictError:
            return False
        except ClusterError as error:
            if error.reason == NOT_FOUND:
                return False
            raise
        posted.version = str(answer["metadata"]["resourceVersion"])
        posted.count += 1
        posted.last_s = now_s
        return True

    async def _post(self, about: ObjectIdentity, kind: str, reason: str, note: str) -> _Posted:
        now_s = self._clock()
        name = f"{about.name[:200].rstrip('.-')}.{uuid.uuid4().hex[:16]}"
        involved = {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
            "resourceVersion": about.resource_version,
        }
        event: Json = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": about.namespace, "name": name},
            "involvedObject": {field: value for field, value in involved.items() if value},
            "type": kind,
            "reason": reason,
            "message": note,
            "count": 1,
            "firstTimestamp": _timestamp(now_s),
            "lastTimestamp": _timestamp(now_s),
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
        }
        answer = await self._connection.create(collection_path("v1", "events", about.namespace), event)
        return _Posted(name, 1, now_s, str(answer["metadata"]["resourceVersion"]))


def sanitize(message: str) -> str:
    r"""Make a text fit for an Event: one line, printable, at most 1024 bytes.

    Examples
    --------
    >>> sanitize("two\nlines\x1b[31m")
    'two lines [31m'
    """
    line = " ".join("".join(character if character.isprintable() else " " for character in message).split())
    encoded = line.encode("utf-8", "replace")
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return line
    return encoded[: MAX_MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "…"


def _timestamp(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
