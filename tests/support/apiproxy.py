"""A proxy in front of the API server, or of a Prometheus, that lets a test act between two requests of a client.

It speaks plain HTTP on loopback to the client and TLS to an API server, passes watches through as they come, and calls
the test's hook before it forwards a request. It can also be cut, as a network is: nothing passes any more, neither way,
and nobody is told.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
import yaml
from aiohttp import web

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "upgrade", "te", "trailer"}


@dataclass(frozen=True, slots=True)
class Request:
    """What a client is about to ask."""

    method: str
    path: str

    @property
    def writes_scale(self) -> bool:
        """Whether it changes the replicas of a target."""
        return self.method in {"PATCH", "PUT"} and self.path.endswith("/scale")


Hook = Callable[[Request], int | None]
"""Called in a thread before a request is forwarded; an HTTP status is answered instead of forwarding."""


def passes(_: Request) -> int | None:
    """Let a request pass: the hook that does nothing."""
    return None


class Proxy:
    """Forwards to a server while its ``with`` block runs.

    Parameters
    ----------
    upstream
        URL of the server.
    hook
        Called before each request is forwarded.
    answered
        Called in a thread with each request whose answer has come, before the client gets it.
    """

    cut = False
    """Nothing passes while it is set; what was under way is lost when it ends."""

    def __init__(self, upstream: str, hook: Hook = passes, answered: Callable[[Request], object] = passes) -> None:
        self._upstream = upstream
        self._hook = hook
        self._answered = answered
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._port = 0
        self._watches: dict[int, web.Request] = {}
        self._muted: set[int] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut_watches(self) -> int:
        """Break the connection of every watch in progress; return how many there were."""
        return asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(30)

    def mute_watches(self) -> int:
        """Let every watch in progress fall silent for good, its connection open; return how many there are."""
        return asyncio.run_coroutine_threadsafe(self._mute(), self._loop).result(30)

    async def _start(self) -> None:
        # Loopback to the test's own API server: what is tested is what passes, not its certificate.
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _cut(self) -> int:
        transports = [request.transport for request in self._watches.values()]
        open_ = [transport for transport in transports if transport is not None]
        for transport in open_:
            transport.abort()
        return len(open_)

    async def _mute(self) -> int:
        self._muted |= self._watches.keys()
        return len(self._watches)

    async def _stop(self) -> None:
        assert self._runner is not None
        assert self._session is not None
        # A watch that is being passed through ends here, not when a later test's garbage is collected.
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self._runner.cleanup()
        await self._session.close()
        # What was cut short says its TLS farewell in the background, which aiohttp does not wait for.
        await asyncio.sleep(0.25)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._pass(request)
        except ConnectionResetError:
            return web.Response(status=502)  # to nobody: the connection is gone

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        await self._lose(request)
        # A client that dies meanwhile does not take back what it has sent.
        body = await request.read()
        asked = Request(request.method, request.path)
        status = await asyncio.to_thread(self._hook, asked)
        if status is not None:
            return web.json_response(
                {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": "injected"},
                status=status,
            )
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        async with self._session.request(
            request.method,
            self._upstream + request.path_qs,
            headers=headers,
            data=body or None,
            auto_decompress=False,
        ) as upstream:
            if self._answered is not passes:
                await asyncio.to_thread(self._answered, asked)
            await self._lose(request)
            response = web.StreamResponse(
                status=upstream.status,
                headers={key: value for key, value in upstream.headers.items() if key.lower() not in HOP_BY_HOP},
            )
            if request.query.get("watch") in {"true", "1"}:
                self._watches[id(request)] = request
            try:
                await response.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await self._lose(request)
                    if id(request) not in self._muted:
                        await response.write(chunk)
                await response.write_eof()
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                pass  # the client ended its watch, or the test ended the proxy
            finally:
                self._watches.pop(id(request), None)
                self._muted.discard(id(request))
            return response

    async def _lose(self, request: web.Request) -> None:
        """While the network is cut: keep silent until it is mended; the connection is gone by then."""
        if not self.cut:
            return
        while self.cut:  # noqa: ASYNC110 - set by a test in another thread
            await asyncio.sleep(0.02)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError


class ApiProxy(Proxy):
    """Forwards to the server of a kubeconfig.

    Parameters
    ----------
    kubeconfig
        Whose server and token are used.
    hook, answered
        As for :class:`Proxy`.
    """

    def __init__(self, kubeconfig: Path, hook: Hook = passes, answered: Callable[[Request], object] = passes) -> None:
        self._document = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        super().__init__(self._document["clusters"][0]["cluster"]["server"], hook, answered)

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that goes through the proxy, with the same user, and return its path."""
        document = dict(self._document)
        name = document["clusters"][0]["name"]
        document["clusters"] = [{"name": name, "cluster": {"server": self.url}}]
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path
