"""The operator's two HTTP endpoints: its metrics and its health. May import aiohttp; no kopf.

Health looks at one thing only: the age of the last finished evaluation. Prometheus or the API server being away is no
reason to restart; a loop that stands still is.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from pdscaler.controller.metrics import Metrics
from pdscaler.errors import InvalidInputError
from pdscaler.units import format_duration

LEAST_LIMIT_S = 180.0
"""Age of the last finished evaluation that is always healthy, seconds: longer than one may take while the API server
does not answer (:data:`pdscaler.controller.loop.EVALUATION_LIMIT_S`), for a restart would not mend that."""


class Heartbeat:
    """When the evaluation loop last finished something.

    Parameters
    ----------
    clock
        Seconds that never go back (monotonic).
    period_s
        The evaluation period, seconds; the limit is three of them, at least :data:`LEAST_LIMIT_S`.
    """

    def __init__(self, clock: Callable[[], float], period_s: float) -> None:
        self._clock = clock
        self._last_s = clock()
        self.limit_s = max(3 * period_s, LEAST_LIMIT_S)

    def beat(self) -> None:
        """Say that the loop has just finished something."""
        self._last_s = self._clock()

    @property
    def age_s(self) -> float:
        """Time since the last beat, seconds."""
        return self._clock() - self._last_s

    @property
    def healthy(self) -> bool:
        """Whether the loop is alive."""
        return self.age_s <= self.limit_s


def split_address(address: str, setting: str) -> tuple[str | None, int]:
    """Split ``HOST:PORT``; the host is None for all interfaces.

    Examples
    --------
    >>> split_address("127.0.0.1:8081", "healthAddress"), split_address(":8080", "metricsAddress")
    (('127.0.0.1', 8081), (None, 8080))
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise InvalidInputError(setting, f'"{address}" is not an address (write HOST:PORT or :PORT)')
    return host.strip("[]") or None, int(port)


class Servers:
    """The HTTP servers; closed together."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self.ports: dict[str, int] = {}
        """Port that each setting's server listens on."""

    async def close(self) -> None:
        """Stop serving."""
        await self._stack.aclose()

    async def serve_metrics(self, address: str, metrics: Metrics) -> None:
        """Serve ``/metrics``; an empty address serves nothing."""

        async def expose(_: web.Request) -> web.Response:
            return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

        await self._serve(address, "metricsAddress", [web.get("/metrics", expose)])

    async def serve_health(self, address: str, heartbeat: Heartbeat) -> None:
        """Serve ``/healthz`` and ``/readyz``; an empty address serves nothing."""

        async def health(_: web.Request) -> web.Response:
            age, limit = format_duration(heartbeat.age_s), format_duration(heartbeat.limit_s)
            text = f"last finished evaluation {age} ago (limit {limit})\n"
            return web.Response(status=200 if heartbeat.healthy else 500, text=text)

        await self._serve(address, "healthAddress", [web.get("/healthz", health), web.get("/readyz", health)])

    async def _serve(self, address: str, setting: str, routes: list[web.RouteDef]) -> None:
        if not address:
            return
        host, port = split_address(address, setting)
        application = web.Application()
        application.add_routes(routes)
        runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise InvalidInputError(setting, f"cannot listen on {address}: {error.strerror or error}") from None
        self.ports[setting] = int(runner.addresses[0][1])
