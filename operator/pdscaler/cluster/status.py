"""Writes the status of a PDDeployment. May import cluster and errors only."""

from collections.abc import Mapping
from typing import Any

from pdscaler.cluster.connection import Connection, segments
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

    async def write(self, namespace: str, name: str, document: Mapping[str, Any]) -> None:
        """Replace the whole status of one PDDeployment.

        It compares nothing: every call is a write. A JSON patch that adds ``/status`` replaces what was there, so a
        figure that is no longer known disappears; a merge patch would leave the old one standing.

        Raises
        ------
        ClusterError
            ``NotFound`` if the PDDeployment is gone; otherwise as the server says.
        """
        await self._connection.patch(
            resource_path(namespace, name) + segments("status"),
            [{"op": "add", "path": "/status", "value": dict(document)}],
        )
