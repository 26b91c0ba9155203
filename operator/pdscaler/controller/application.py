"""The application: builds every object once, waits for the CRD, and runs kopf until it is told to stop.

The only place that wires objects. Imports kopf.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import kopf

from pdscaler.api.config import OperatorConfig
from pdscaler.cluster.cache import ClusterCache
from pdscaler.cluster.connection import Connection, connect
from pdscaler.cluster.errors import NOT_FOUND, ClusterError, one_line
from pdscaler.cluster.events import EventWriter
from pdscaler.cluster.resources import PDDeployments
from pdscaler.cluster.scale import ScaleReader, ScaleWriter
from pdscaler.cluster.status import StatusWriter
from pdscaler.controller import logs
from pdscaler.controller.apply import Actuator
from pdscaler.controller.candidate import Candidate, stand
from pdscaler.controller.context import Context
from pdscaler.controller.evaluate import Advisor, Autoscaler
from pdscaler.controller.forecasts import Forecasts
from pdscaler.controller.handlers import build_registry
from pdscaler.controller.housekeeping import housekeeping
from pdscaler.controller.inventory import Inventory
from pdscaler.controller.leadership import Alone, Succession
from pdscaler.controller.loop import EvaluationLoop
from pdscaler.controller.metrics import Metrics
from pdscaler.controller.prepare import Preparer
from pdscaler.controller.publish import Publisher
from pdscaler.controller.servers import Heartbeat, Servers
from pdscaler.controller.verifier import Verifier
from pdscaler.controller.worker import Worker
from pdscaler.errors import PdscalerError
from pdscaler.telemetry.collector import DEADLINE_S, Collector
from pdscaler.telemetry.past import PastReader
from pdscaler.telemetry.presets import Preset, load_presets

_logger = logging.getLogger(__name__)

COMPONENT = "pdscaler"
_CRD_RETRY_S = 5.0
_CRD_REMINDER_S = 60.0


class OperatorEndedError(PdscalerError):
    """The operator cannot go on in this process: whoever runs it starts it again, and a restart is harmless."""

    exit_status = 1


class Application:
    """The operator in one process.

    Parameters
    ----------
    config
        Its configuration.
    clock
        Seconds since the epoch.
    """

    def __init__(self, config: OperatorConfig, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._stop = asyncio.Event()
        self._metrics = Metrics()
        self._heartbeat = Heartbeat(time.monotonic, config.evaluation_period_s)
        self._servers = Servers()
        self.started = asyncio.Event()
        """Set once PDDeployments are watched."""

    @property
    def ports(self) -> dict[str, int]:
        """Port of each HTTP server, by the name of its setting."""
        return self._servers.ports

    def stop(self) -> None:
        """Ask the operator to end; :meth:`run` returns within seconds."""
        self._stop.set()

    async def run(self) -> None:
        """Run until :meth:`stop` or a signal.

        Raises
        ------
        InvalidInputError
            If the configuration cannot be used: no cluster, no such presets, an address in use.
        OperatorEndedError
            If it ended without being told to.
        """
        self._catch_signals()
        config = self._config
        async with AsyncExitStack() as stack:
            presets = load_presets(None if config.presets is None else Path(config.presets))
            candidate = await self._candidate(stack)
            fence = None if candidate is None else candidate.fence
            connection = await connect(config.kubeconfig, config.context, guard=fence)
            stack.push_async_callback(connection.close)
            stack.push_async_callback(self._servers.close)
            await stack.enter_async_context(housekeeping())
            await self._servers.serve_health(config.health_address, self._heartbeat)
            await self._servers.serve_metrics(config.metrics_address, self._metrics)
            if not await self._wait_for_crd(PDDeployments(connection)):
                return
            followers = await stack.enter_async_context(AsyncExitStack())
            cache = ClusterCache(connection, config.namespaces, self._clock)
            followers.push_async_callback(cache.stop)
            collector = Collector(presets, self._clock, deadline_s=_patience_s(config.evaluation_period_s))
            followers.push_async_callback(collector.close)
            await cache.start()
            context = self._build(connection, cache, collector, presets, followers, candidate=candidate)
            await self._run_kopf(context)

    async def _candidate(self, stack: AsyncExitStack) -> Candidate | None:
        """Return what stands for election; None where this replica runs alone."""
        if not self._config.leader_election:
            return None
        candidate = await stand(self._config)
        stack.push_async_callback(candidate.close)
        self._metrics.follow(lambda: candidate.fence.open)
        return candidate

    def _build(
        self,
        connection: Connection,
        cache: ClusterCache,
        collector: Collector,
        presets: Mapping[str, Preset],
        followers: AsyncExitStack,
        *,
        candidate: Candidate | None,
    ) -> Context:
        config, clock = self._config, self._clock
        inventory = Inventory()
        preparer = Preparer(config, presets, clock)
        reader = ScaleReader(connection)
        verifier = Verifier(clock) if config.verify_plans else None
        if verifier is not None:
            followers.callback(verifier.close)
        past = PastReader(presets)
        followers.callback(past.close)
        patience_s = _patience_s(config.evaluation_period_s)
        forecasts = Forecasts(past, config.evaluation_period_s, clock, patience_s)
        followers.push_async_callback(forecasts.close)
        advisor = Advisor(verifier)
        resources = PDDeployments(connection)
        autoscaler = Autoscaler(advisor, Actuator(reader, ScaleWriter(connection, cache.ordered), resources))
        publisher = Publisher(StatusWriter(connection), EventWriter(connection, COMPONENT, clock), self._metrics, clock)
        worker = Worker(
            advisor=advisor,
            autoscaler=autoscaler,
            targets=cache,
            forecasts=forecasts,
            publisher=publisher,
            period_s=config.evaluation_period_s,
            clock=clock,
        )
        loop = EvaluationLoop(
            inventory=inventory,
            preparer=preparer,
            worker=worker,
            collector=collector,
            forecasts=forecasts,
            targets=cache,
            heartbeat=self._heartbeat,
            succession=Succession(Alone() if candidate is None else candidate.fence, resources, config.namespaces),
            period_s=config.evaluation_period_s,
            watcher=self._metrics,
            clock=clock,
        )
        election = None if candidate is None else candidate.election(inventory.changed.set)
        return Context(config, inventory, loop, self._stop, followers, election)

    async def _run_kopf(self, context: Context) -> None:
        namespaces = self._config.namespaces
        fields = {"period_s": self._config.evaluation_period_s, "namespaces": list(namespaces) or "all"}
        logs.event(_logger, logging.INFO, "started", fields)
        try:
            await kopf.operator(
                registry=build_registry(),
                memo=context,
                standalone=True,
                clusterwide=not namespaces,
                namespaces=namespaces,
                stop_flag=self._stop,
                ready_flag=self.started,
            )
        except Exception as error:
            # kopf gives up where a watch ends with an error (but 410) or no credentials are left.
            if not isinstance(error, (aiohttp.ClientError, OSError)) and not type(error).__module__.startswith("kopf"):
                _logger.critical("kopf failed", exc_info=error)
            said = one_line(str(error) or type(error).__name__)
            raise OperatorEndedError(f"the operator cannot follow PDDeployments any more and ends: {said}") from error
        if context.failed:
            raise OperatorEndedError("the evaluation loop ended, and so does the operator; its log has the details")
        logs.event(_logger, logging.INFO, "stopped", {})

    async def _wait_for_crd(self, resources: PDDeployments) -> bool:
        """Wait until the cluster serves PDDeployments; False where the operator was stopped first.

        kopf would wait in silence, and confined to namespaces it would never notice the CRD at all.
        """
        said, said_at_s = "", -_CRD_REMINDER_S
        namespace = self._config.namespaces[0] if self._config.namespaces else None
        while not self._stop.is_set():
            try:
                await resources.list(namespace)
            except ClusterError as error:
                why = (
                    "the cluster does not serve PDDeployments yet; install the CRD: pdscaler crd | kubectl apply -f -"
                    if error.reason == NOT_FOUND
                    else f"PDDeployments cannot be listed: {error}"
                )
                now_s = time.monotonic()
                if why != said or now_s - said_at_s >= _CRD_REMINDER_S:
                    logs.event(_logger, logging.WARNING, "waiting", {"reason": why})
                    said, said_at_s = why, now_s
            else:
                return True
            self._heartbeat.beat()
            try:
                async with asyncio.timeout(_CRD_RETRY_S):
                    await self._stop.wait()
            except TimeoutError:
                continue
        return False

    def _catch_signals(self) -> None:
        # kopf puts its own handlers in place later; until then these end the waiting.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self._stop.set)
            except (NotImplementedError, RuntimeError, ValueError):
                return  # not the main thread: whoever runs us ends us


def _patience_s(period_s: float) -> float:
    """Return how long a round may read: 10 s of the default period, and as much of a longer one.

    A longer period is asked for where there is more to read.

    Examples
    --------
    >>> _patience_s(1.0), _patience_s(15.0), _patience_s(60.0)
    (1.0, 10.0, 40.0)
    """
    return min(period_s, max(DEADLINE_S, period_s * 2 / 3))
