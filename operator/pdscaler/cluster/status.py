"""Writes the status of a PDDeployment. May import cluster and errors only."""

from collections.abc import Mapping
from typing import Any

from pdscaler.cluster.connection import Connection, Json, segments
from pdscaler.cluster.errors import NOT_FOUND, ClusterError, ConflictError
from pdscaler.cluster.events import ObjectIdentity
from pdscaler.cluster.resources import resource_path


class StatusWriter:
    """Writes statuses through the status subresource.

    Parameters
    ----------
    connection
        The API server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def write(self, about: ObjectIdentity, document: Mapping[str, Any]) -> str:
        """Replace the whole status of one PDDeployment, if it is as it was last seen.

        It compares nothing: every call is a write. A JSON patch that adds ``/status`` replaces what was there, so a
        figure that is no longer known disappears; a merge patch would leave the old one standing.

        Users change a PDDeployment at any time, and its status is nobody's but the leader's. So a conflict is settled
        by reading again and writing once more, for which the connection's guard is asked again. A write that was held
        up until another leader had written fails at the first step and is stopped by the guard at the second.

        Parameters
        ----------
        about
            Which PDDeployment, and the resourceVersion that was last seen of it.
        document
            The status.

        Returns
        -------
        str
            Its resourceVersion as it is now.

        Raises
        ------
        ClusterError
            ``NotFound`` if the PDDeployment is gone; otherwise as the server says.
        NotLeadingError
            If it may not be written any more.
        """
        try:
            return await self._replace(about, about.resource_version, document)
        except ConflictError:
            metadata = (await self._connection.get(resource_path(about.namespace, about.name)))["metadata"]
            if metadata.get("uid") != about.uid:
                raise ClusterError(NOT_FOUND, f"{about.namespace}/{about.name} is another one by now", 404) from None
            return await self._replace(about, str(metadata["resourceVersion"]), document)

    async def _replace(self, about: ObjectIdentity, version: str, document: Mapping[str, Any]) -> str:
        patch: list[Json] = [
            {"op": "add", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/status", "value": dict(document)},
        ]
        path = resource_path(about.namespace, about.name) + segments("status")
        return str((await self._connection.patch(path, patch))["metadata"]["resourceVersion"])
