import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from pdscaler.cluster import scalecache
from pdscaler.cluster.connection import connect
from pdscaler.cluster.scale import Scale, ScaleReader
from pdscaler.cluster.scalecache import ScaleCache
from pdscaler.cluster.targets import TargetRef
from pdscaler.core.decision import TargetUnknown
from support.eventually import eventually
from support.fake_api_server import fake_api_server, status

REF = TargetRef("serving", "example.test/v1", "Engine", "decode")
KINDS = {"resources": [{"name": "engines", "kind": "Engine", "namespaced": True}, {"name": "engines/scale"}]}


class Served:
    """A scale as the server has it, or the refusal it answers with."""

    def __init__(self) -> None:
        self.replicas = 1
        self.refusal: dict[str, object] | None = None
        self.nonsense: dict[str, object] | None = None
        self.reads = 0

    async def answer(self, request: web.Request) -> web.Response:
        if not request.path.endswith("/scale"):
            return web.json_response(KINDS)
        self.reads += 1
        if self.refusal is not None:
            return web.json_response(self.refusal, status=int(str(self.refusal["code"])))
        if self.nonsense is not None:
            return web.json_response(self.nonsense)
        version = {"resourceVersion": str(self.replicas)}
        return web.json_response(
            {"metadata": version, "spec": {"replicas": self.replicas}, "status": {"selector": "a=b"}}
        )


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
async def cache(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScaleCache]:
    monkeypatch.setattr(scalecache, "_RETRY_S", 0.05)
    monkeypatch.setattr(scalecache, "_PAUSE_S", 0.01)
    async with fake_api_server(served.answer) as server, await connect(str(server.kubeconfig(tmp_path))) as api:
        following = ScaleCache(ScaleReader(api))
        task = asyncio.create_task(following.run())
        yield following
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def replicas(cache: ScaleCache) -> int | str | None:
    seen = cache.get(REF)
    return seen.replicas if isinstance(seen, Scale) else seen.message if seen is not None else None


async def test_a_scale_is_read_at_first_and_when_its_object_changes(cache: ScaleCache, served: Served) -> None:
    cache.mark(REF)
    assert replicas(cache) is None
    await cache.follow(REF)
    assert replicas(cache) == 1
    await cache.follow(REF)
    assert served.reads == 1
    served.replicas = 4
    cache.mark(REF)
    await eventually(lambda: replicas(cache), lambda seen: seen == 4)


async def test_what_is_refused_is_unknown_and_tried_again(cache: ScaleCache, served: Served) -> None:
    served.refusal = status(403, "Forbidden", "no")
    await cache.follow(REF)
    assert isinstance(cache.get(REF), TargetUnknown)
    assert "Forbidden: no" in str(replicas(cache))
    served.refusal = None
    await eventually(lambda: replicas(cache), lambda seen: seen == 1)


async def test_an_ailing_server_does_not_make_a_known_scale_unknown(cache: ScaleCache, served: Served) -> None:
    await cache.follow(REF)
    served.refusal = status(503, "ServiceUnavailable", "overloaded")
    cache.mark(REF)
    await eventually(lambda: served.reads, lambda reads: reads >= 3)
    assert replicas(cache) == 1
    served.refusal, served.replicas = None, 2
    await eventually(lambda: replicas(cache), lambda seen: seen == 2)


async def test_what_is_not_retained_is_forgotten_and_not_tried_again(cache: ScaleCache, served: Served) -> None:
    served.refusal = status(403, "Forbidden", "no")
    await cache.follow(REF)
    cache.retain([])
    assert cache.get(REF) is None
    await asyncio.sleep(0.1)
    reads = served.reads
    await asyncio.sleep(0.2)
    assert served.reads == reads


async def test_a_scale_that_cannot_be_read_is_unknown_and_the_others_are_read_on(
    cache: ScaleCache, served: Served
) -> None:
    served.nonsense = {"metadata": {}, "spec": {"replicas": "many"}}
    await cache.follow(REF)
    assert "its scale cannot be read" in str(replicas(cache))
    served.nonsense = None
    await eventually(lambda: replicas(cache), lambda seen: seen == 1)
