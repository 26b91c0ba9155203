"""A proxy before a real Prometheus that can be told to misbehave."""

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

SECRET = "s3cret-body-of-another-service"
"""Stands in every bad answer: it must never come back in a message."""

Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FaultyProxy:
    """Forwards to a Prometheus, or answers by :attr:`fault`.

    Parameters
    ----------
    upstream
        Base URL of the real Prometheus.
    tls
        Serve HTTPS by this context.
    """

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.fault: Fault | None = None
        self.only = ""
        """Only queries that hold this text meet the fault."""
        self.edit: Callable[[dict[str, object]], None] | None = None
        self.headers: list[dict[str, str]] = []
        self._upstream = upstream
        self._client: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._client = aiohttp.ClientSession()
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._client is not None
        assert self._runner is not None
        await self._client.close()
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        if self.fault is not None and self.only in request.query.get("query", ""):
            return await self.fault(request)
        assert self._client is not None
        async with self._client.get(self._upstream + request.path, params=request.query) as answer:
            document = await answer.json()
            if self.edit is not None:
                self.edit(document)
            return web.json_response(document, status=answer.status)


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[FaultyProxy]:
    """Run a proxy in a thread of its own while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = FaultyProxy(upstream)
    asyncio.run_coroutine_threadsafe(proxy.__aenter__(), loop).result(30)
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.__aexit__(None, None, None), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def status(code: int, document: object = None, **headers: str) -> Fault:
    """Answer with a status."""

    async def answer(request: web.Request) -> web.StreamResponse:
        text = SECRET if document is None else json.dumps(document)
        return web.Response(status=code, text=text, headers=headers)

    return answer


async def hang(request: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def cut(request: web.Request) -> web.StreamResponse:
    """Close the connection within the body."""
    response = web.StreamResponse(headers={"Content-Length": "100000"})
    await response.prepare(request)
    await response.write(b'{"status":"success",')
    assert request.transport is not None
    request.transport.abort()
    return response


async def drip(request: web.Request) -> web.StreamResponse:
    """Send a byte now and then: each read is in time, their sum is not."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


async def huge(request: web.Request) -> web.StreamResponse:
    """Send a gigabyte, compressed to almost nothing."""
    response = web.StreamResponse()
    response.enable_compression()
    await response.prepare(request)
    for _ in range(1024):
        await response.write(b" " * 2**20)
    return response


def elsewhere(location: str) -> Fault:
    """Redirect."""
    return status(302, Location=location)
