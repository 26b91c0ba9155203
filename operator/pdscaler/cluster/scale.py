"""Reads and writes ``/scale``: the only way replicas are changed. May import cluster, core, errors.

A write states the resourceVersion that the decision was made on, so a write by anyone else in between is noticed (409)
instead of overwritten.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pdscaler.cluster.connection import Connection, Json
from pdscaler.cluster.errors import NOT_FOUND, ClusterError
from pdscaler.cluster.targets import KindRef, RestMapping, TargetRef, find_mapping, unknown
from pdscaler.core.decision import TargetUnknown


@dataclass(frozen=True, slots=True)
class Scale:
    """One reading of ``/scale``.

    Parameters
    ----------
    ref
        The object scaled.
    replicas
        What is asked for (``spec.replicas``).
    status_replicas
        What exists (``status.replicas``), ready or not.
    selector
        Label selector of the pods, as a string; empty where the object reports none.
    resource_version
        Version of the object that was read: the precondition of the write.
    """

    ref: TargetRef
    replicas: int
    status_replicas: int
    selector: str
    resource_version: str


class ScaleReader:
    """Reads ``/scale``.

    Parameters
    ----------
    connection
        The API server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._mappings: dict[KindRef, RestMapping] = {}

    async def read(self, ref: TargetRef) -> Scale | TargetUnknown:
        """Read the scale of a target now, from the API server and not from a cache.

        Never raises for what a cluster can do: a target that is missing, forbidden or not scalable, and a server that
        does not answer, are all a :class:`TargetUnknown` that says so.
        """
        try:
            return await self.fetch(ref)
        except ClusterError as error:
            return unknown(ref, error)

    async def fetch(self, ref: TargetRef) -> Scale:
        """Read the scale of a target now; raises :class:`ClusterError` where :meth:`read` explains."""
        mapping = await self.mapping(ref.of_kind)
        try:
            return _scale(ref, await self._connection.get(mapping.scale(ref.namespace, ref.name)))
        except ClusterError as error:
            if error.reason == NOT_FOUND:
                # The kind may be gone or served elsewhere by now: ask again next time.
                self._mappings.pop(ref.of_kind, None)
            raise

    async def mapping(self, kind: KindRef) -> RestMapping:
        """Where a kind is served; remembered once known; raises as :func:`find_mapping`."""
        if kind not in self._mappings:
            self._mappings[kind] = await find_mapping(self._connection, kind)
        return self._mappings[kind]


class ScaleWriter:
    """Writes ``/scale``. What must not write is never handed one.

    Parameters
    ----------
    connection
        The API server.
    ordered
        Told of each order before it is sent.
    """

    def __init__(self, connection: Connection, ordered: Callable[[TargetRef, int], None] | None = None) -> None:
        self._connection = connection
        self._reader = ScaleReader(connection)
        self._ordered = ordered

    async def write(self, scale: Scale, replicas: int) -> Scale:
        """Order replicas, if the target is still as it was read.

        Parameters
        ----------
        scale
            The reading that the decision was made on.
        replicas
            Replicas to order, >= 0.

        Returns
        -------
        Scale
            The scale as the server has it now; it may be written again.

        Raises
        ------
        ConflictError
            If the target changed since it was read: nothing was written.
        ClusterError
            If the server refused (``Forbidden``, ``NotFound``, ``Invalid``, …) or did not answer; after ``Unreachable``
            read again before concluding that nothing was written.
        """
        mapping = await self._reader.mapping(scale.ref.of_kind)
        body: Json = {"metadata": {"resourceVersion": scale.resource_version}, "spec": {"replicas": replicas}}
        path = mapping.scale(scale.ref.namespace, scale.ref.name)
        if self._ordered is not None:
            self._ordered(scale.ref, replicas)
        return _scale(scale.ref, await self._connection.patch(path, body))


def _scale(ref: TargetRef, document: Json) -> Scale:
    status = document.get("status") or {}
    return Scale(
        ref=ref,
        # Both fields are left out of the JSON where they are 0.
        replicas=int((document.get("spec") or {}).get("replicas", 0)),
        status_replicas=int(status.get("replicas", 0)),
        selector=str(status.get("selector") or ""),
        resource_version=str(document["metadata"]["resourceVersion"]),
    )
