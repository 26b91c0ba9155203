"""What was built at startup, for the handlers. Imports no kopf."""

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from pdscaler.api.config import OperatorConfig
from pdscaler.cluster.election import Election
from pdscaler.controller.gathering import Gathering
from pdscaler.controller.inventory import Inventory
from pdscaler.controller.loop import EvaluationLoop

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Context:
    """The objects that kopf's handlers hand over to.

    Parameters
    ----------
    config
        The operator's configuration.
    inventory
        Takes what kopf sees.
    loop
        Evaluates.
    stop
        Set to end the operator.
    followers
        Closes what started tasks of its own while kopf ran: kopf would wait for them at its end.
    election
        Stands for election while the loop runs; None where there are no other replicas.
    """

    config: OperatorConfig
    inventory: Inventory
    loop: EvaluationLoop
    stop: asyncio.Event
    followers: AsyncExitStack
    election: Election | None = None
    listing: Gathering = field(default_factory=Gathering, init=False)
    """Where the objects that are listed first wait for each other."""
    failed: bool = field(default=False, init=False)
    """The evaluation loop ended by itself."""
    _task: asyncio.Task[None] | None = field(default=None, init=False)

    def start_loop(self) -> None:
        """Start the evaluation loop, and stand for election."""
        self._task = asyncio.create_task(self.loop.run(), name="pdscaler evaluation loop")
        self._task.add_done_callback(self._ended)
        if self.election is not None:
            self.election.start()

    async def stop_loop(self) -> None:
        """End the evaluation loop; evaluations under way may finish for a few seconds."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.election is not None:
            # Nothing is written any more: another replica can go on at once.
            await self.election.close()
        await self.followers.aclose()
        # After a signal kopf's own task still waits for this, and kopf for that task: five seconds for nothing.
        self.stop.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _logger.critical("the evaluation loop ended; the operator stops", exc_info=task.exception())
            self.failed = True
            self.stop.set()
