"""One Lease (``coordination.k8s.io/v1``) as the API server holds it. May import cluster and errors only."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pdscaler.cluster.connection import Connection, Json, collection_path, segments
from pdscaler.cluster.errors import NOT_FOUND, ClusterError

API_VERSION = "coordination.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What a Lease says.

    Parameters
    ----------
    holder
        Identity of the holder; empty where nobody holds it.
    duration_s
        How long others wait after a renewal, seconds; None where it does not say.
    acquired, renewed
        When the holder got it and renewed it, as it wrote them (RFC 3339); for people: no decision is made on them.
    transitions
        How often it has changed hands.
    version
        resourceVersion: the precondition of the next write; empty for a record that is yet to be written.
    """

    holder: str
    duration_s: float | None = None
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0
    version: str = ""


class LeaseStore:
    """Reads and writes one Lease.

    Parameters
    ----------
    connection
        The API server.
    namespace, name
        Which Lease.
    """

    def __init__(self, connection: Connection, namespace: str, name: str) -> None:
        self._connection = connection
        self._name = name
        self._collection = collection_path(API_VERSION, "leases", namespace)
        self._path = self._collection + segments(name)

    async def read(self) -> LeaseRecord | None:
        """Read the Lease; None where there is none.

        Raises
        ------
        ClusterError
            As the server says.
        """
        try:
            return _record(await self._connection.get(self._path))
        except ClusterError as error:
            if error.reason == NOT_FOUND:
                return None
            raise

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """Create the Lease; raises :class:`ClusterError` (``AlreadyExists``) where somebody was faster."""
        body: Json = {
            "apiVersion": API_VERSION,
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": _spec(record),
        }
        return _record(await self._connection.create(self._collection, body))

    async def write(self, record: LeaseRecord) -> LeaseRecord:
        """Write the Lease, if it is still as it was read.

        Raises
        ------
        ConflictError
            If somebody else has written it since.
        ClusterError
            As the server says; after ``Unreachable`` it may have been written all the same.
        """
        body: Json = {"metadata": {"resourceVersion": record.version}, "spec": _spec(record)}
        return _record(await self._connection.patch(self._path, body))


def timestamp(at_s: float) -> str:
    """Write a time (seconds since the epoch) as a Lease holds it.

    Examples
    --------
    >>> timestamp(1795262400.25)
    '2026-11-21T12:00:00.250000Z'
    """
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _spec(record: LeaseRecord) -> Json:
    spec: Json = {"holderIdentity": record.holder, "leaseTransitions": record.transitions}
    if record.duration_s is not None:
        # The API knows whole seconds: others may wait longer than necessary, never shorter.
        spec["leaseDurationSeconds"] = max(1, math.ceil(record.duration_s))
    if record.acquired:
        spec["acquireTime"] = record.acquired
    if record.renewed:
        spec["renewTime"] = record.renewed
    return spec


def _record(document: Json) -> LeaseRecord:
    spec: dict[str, Any] = document.get("spec") or {}
    duration = spec.get("leaseDurationSeconds")
    return LeaseRecord(
        holder=str(spec.get("holderIdentity") or ""),
        duration_s=None if duration is None else float(duration),
        acquired=str(spec.get("acquireTime") or ""),
        renewed=str(spec.get("renewTime") or ""),
        transitions=int(spec.get("leaseTransitions") or 0),
        version=str(document["metadata"]["resourceVersion"]),
    )
