"""PDDeployments as the API server holds them, for the command line. May import api, cluster and errors."""

from collections.abc import AsyncGenerator, Mapping

from pdscaler.api.pddeployment import API_VERSION, PLURAL
from pdscaler.cluster.connection import Connection, Json, collection_path, segments
from pdscaler.cluster.reflector import list_pages, watch_events


def resource_path(namespace: str, name: str) -> str:
    """Path of one PDDeployment."""
    return collection_path(API_VERSION, PLURAL, namespace) + segments(name)


class PDDeployments:
    """Reads PDDeployments, and annotates them.

    Parameters
    ----------
    connection
        The API server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, namespace: str, name: str) -> Json:
        """Read one PDDeployment.

        Raises
        ------
        ClusterError
            ``NotFound`` if there is none; otherwise as the server says.
        """
        return await self._connection.get(resource_path(namespace, name))

    async def list(self, namespace: str | None = None) -> list[Json]:
        """Read the PDDeployments of one namespace, or (None) of all; raises as :meth:`get`."""
        documents: list[Json] = []
        async for page, _ in list_pages(self._connection, collection_path(API_VERSION, PLURAL, namespace)):
            documents.extend(page)
        return documents

    async def watch(
        self, namespace: str | None = None, name: str | None = None
    ) -> AsyncGenerator[tuple[str, Json], None]:
        """Yield (``ADDED`` | ``MODIFIED`` | ``DELETED``, document): all that are there, then each change.

        Ends when the server ends the watch (some minutes): whoever wants more calls it again.

        Parameters
        ----------
        namespace
            One namespace, or None for all.
        name
            One PDDeployment, or None for all.

        Raises
        ------
        ClusterError
            If the server refuses, or the connection breaks.
        """
        path = collection_path(API_VERSION, PLURAL, namespace)
        query = {"fieldSelector": f"metadata.name={name}"} if name is not None else {}
        version = ""
        async for page, listed_at in list_pages(self._connection, path, query):
            version = listed_at
            for document in page:
                yield "ADDED", document
        async for kind, document in watch_events(self._connection, path, version, query=query):
            if kind != "BOOKMARK":
                yield kind, document

    async def patch_annotations(self, namespace: str, name: str, annotations: Mapping[str, str | None]) -> Json:
        """Set annotations of one PDDeployment (None removes one); the others stay; raises as :meth:`get`."""
        body: Json = {"metadata": {"annotations": dict(annotations)}}
        return await self._connection.patch(resource_path(namespace, name), body)
