"""Whose turn it is to write, as the evaluation loop asks it; and what a new term begins from. No kopf."""

import logging
from collections.abc import Sequence
from typing import Protocol

from pdscaler.cluster.errors import ClusterError
from pdscaler.controller import logs
from pdscaler.controller.prepare import Document

_logger = logging.getLogger(__name__)

ALONE_TERM = 0
"""The one term of an operator that runs alone."""


class Leads(Protocol):
    """Knows whether this replica leads."""

    def term(self) -> int | None:
        """Return the number of its present term; None while another replica leads, or nobody."""


class Alone:
    """An operator without other replicas: it always leads."""

    def term(self) -> int | None:
        """Return the number of its one term."""
        return ALONE_TERM


class ListsResources(Protocol):
    """Reads the PDDeployments from the API server."""

    async def list(self, namespace: str | None = None) -> Sequence[Document]:
        """Read those of one namespace, or of all."""


class Succession:
    """Follows the terms of this replica.

    Parameters
    ----------
    leads
        Knows whether this replica leads.
    resources
        Reads the PDDeployments.
    namespaces
        Where; empty: everywhere.
    """

    def __init__(self, leads: Leads, resources: ListsResources, namespaces: Sequence[str]) -> None:
        self._leads = leads
        self._resources = resources
        self._namespaces: Sequence[str | None] = tuple(namespaces) or (None,)
        self._begun: int | None = ALONE_TERM if leads.term() == ALONE_TERM else None

    @property
    def leading(self) -> bool:
        """Whether the term that was last begun is still on."""
        return self._begun is not None and self._leads.term() == self._begun

    @property
    def is_due(self) -> bool:
        """Whether a term of ours is on that has not been begun yet."""
        term = self._leads.term()
        return term is not None and term != self._begun

    async def begin(self) -> list[Document] | None:
        """Begin the present term: return every PDDeployment as the API server has it now.

        The watch may lag behind the last status of another leader, and that status is all it has left of its windows
        and rate limits.

        Returns
        -------
        list of Document or None
            None where they could not be read, or the term is over meanwhile: it has not begun.
        """
        term = self._leads.term()
        try:
            found = [document for namespace in self._namespaces for document in await self._resources.list(namespace)]
        except ClusterError as error:
            logs.event(_logger, logging.WARNING, "waiting", {"reason": f"PDDeployments cannot be listed: {error}"})
            return None
        if self._leads.term() != term:
            return None
        self._begun = term
        return found
