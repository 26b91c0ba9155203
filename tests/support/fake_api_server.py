"""An HTTP server that answers as a test tells it: for what a real API server cannot be made to do on demand."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeApiServer:
    """Answers every request with one function, and remembers what was asked."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.requests: list[web.Request] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Remember a request and pass it on."""
        self.requests.append(request)
        return await self._handler(request)

    def kubeconfig(self, folder: Path, user: dict[str, Any] | None = None) -> Path:
        """Write a kubeconfig for this server."""
        path = folder / "fake.kubeconfig"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": user or {"token": "first"}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        }
        path.write_text(json.dumps(document), encoding="utf-8")
        return path


@asynccontextmanager
async def fake_api_server(handler: Handler) -> AsyncIterator[FakeApiServer]:
    """Serve on loopback while the block runs."""
    server = FakeApiServer(handler)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


async def stream(request: web.Request, *events: dict[str, Any], hang: bool = False) -> web.StreamResponse:
    """Answer a watch with these events; then end it, or say nothing more."""
    response = web.StreamResponse()
    await response.prepare(request)
    for event in events:
        await response.write(json.dumps(event).encode() + b"\n")
    if hang:
        await asyncio.sleep(3600)
    return response


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    """Make a Status object, as an API server refuses."""
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
