"""A replica as a candidate: its identity, its own connection for the Lease, and what it says of changes. No kopf."""

import logging
import os
import random
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from pdscaler.api.config import OperatorConfig
from pdscaler.cluster.connection import Connection, connect
from pdscaler.cluster.credentials import pod_namespace
from pdscaler.cluster.election import Change, Election
from pdscaler.cluster.fence import Fence, LeaseTiming, suspended_too
from pdscaler.cluster.lease import LeaseStore
from pdscaler.controller import logs
from pdscaler.errors import InvalidInputError

_logger = logging.getLogger(__name__)

MAX_HOST = 200
"""Longest part of a host's name in an identity, characters."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What this replica stands for election with.

    Parameters
    ----------
    connection
        For the Lease alone: nothing else waits in its way, and it is not guarded by what it keeps.
    namespace, name
        Which Lease.
    identity
        Who this process is.
    timing
        How the lease is held.
    fence
        Open while it is held.
    """

    connection: Connection
    namespace: str
    name: str
    identity: str
    timing: LeaseTiming
    fence: Fence

    async def close(self) -> None:
        """Close the connection."""
        await self.connection.close()

    def election(self, changed: Callable[[], None]) -> Election:
        """Return the election.

        Parameters
        ----------
        changed
            Called whenever leadership has changed hands.
        """

        def announce(change: Change) -> None:
            said = {"lease": f"{self.namespace}/{self.name}", "identity": self.identity}
            if not change.leading:
                said["holder"] = change.holder
            name = "leading" if change.leading else "following"
            logs.event(_logger, logging.INFO, name, {**said, "reason": change.reason})
            changed()

        return Election(
            lease=LeaseStore(self.connection, self.namespace, self.name),
            identity=self.identity,
            timing=self.timing,
            fence=self.fence,
            clock=suspended_too,
            wall_clock=time.time,
            rng=random.Random(),  # noqa: S311 - jitter
            announce=announce,
        )


async def stand(config: OperatorConfig) -> Candidate:
    """Return the candidate that a configuration asks for; nothing has been sent yet.

    Raises
    ------
    InvalidInputError
        If the Lease has no namespace, or the cluster cannot be used.
    """
    namespace = config.lease_namespace or pod_namespace()
    if namespace is None:
        raise InvalidInputError("leaseNamespace", "is required with leaderElection where the operator runs in no pod")
    timing = LeaseTiming(config.lease_duration_s, config.renew_deadline_s, config.retry_period_s)
    fence = Fence(timing)
    connection = await connect(config.kubeconfig, config.context, request_timeout_s=timing.request_timeout_s)
    return Candidate(connection, namespace, config.lease_name, identity_of_process(), timing, fence)


def identity_of_process() -> str:
    """Return a name that no other process has: a restart in the same pod is another candidate."""
    host = os.environ.get("HOSTNAME") or socket.gethostname()
    return f"{host[:MAX_HOST]}_{uuid.uuid4().hex[:8]}"
