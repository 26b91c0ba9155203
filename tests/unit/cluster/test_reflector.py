import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pdscaler.cluster.connection import Json, connect
from pdscaler.cluster.errors import NOT_FOUND, ClusterError
from pdscaler.cluster.reflector import Backoff, Reflector
from support.fake_api_server import FakeApiServer, fake_api_server, status, stream


def item(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "serving", "resourceVersion": str(version)}}


def event(kind: str, name: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": item(name, version)}


def page(version: int, *names: str, token: str = "") -> web.Response:
    metadata = {"resourceVersion": str(version), "continue": token}
    return web.json_response({"metadata": metadata, "items": [item(name, version) for name in names]})


class Names:
    """A store that keeps names."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.changed = asyncio.Event()

    def key(self, document: Json) -> str:
        return str(document["metadata"]["name"])

    def keys(self, namespace: str | None) -> set[str]:
        return set(self.names)

    def put(self, document: Json) -> str:
        self.names.add(self.key(document))
        self.changed.set()
        return self.key(document)

    def drop(self, key: str) -> None:
        self.names.discard(key)
        self.changed.set()


async def path(namespace: str | None) -> str:
    return "/things"


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def follow(
    server: FakeApiServer,
    folder: Path,
    until: Callable[[Names, Reflector[str]], bool],
    locate: Callable[[str | None], Awaitable[str]] = path,
) -> Reflector[str]:
    """Run a reflector against the server until the condition holds."""
    names = Names()
    async with await connect(str(server.kubeconfig(folder))) as api:
        reflector = Reflector(
            api, locate, names, None, clock=lambda: 5.0, rng=random.Random(1), backoff=Backoff(0.01, 0.02)
        )
        task = asyncio.create_task(reflector.run())
        try:
            async with asyncio.timeout(20):
                while not until(names, reflector):  # noqa: ASYNC110 - whatever the condition looks at
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    return reflector


def script(*answers: Answer) -> Answer:
    """Answer requests in this order; the last one again and again."""
    remaining = list(answers)

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return await answer(request)

    return handler


def lists(version: int, *names: str, token: str = "") -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert "watch" not in request.query
        return page(version, *names, token=token)

    return answer


def watches(*events: dict[str, Any], hang: bool = False, since: int | None = None) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.query["watch"] == "true"
        assert request.query["allowWatchBookmarks"] == "true"
        assert since is None or request.query["resourceVersion"] == str(since)
        return await stream(request, *events, hang=hang)

    return answer


def refuses(code: int, reason: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(status(code, reason, "said so"), status=code)

    return answer


async def test_it_lists_page_by_page_then_follows(tmp_path: Path) -> None:
    handler = script(
        lists(10, "a", "b", token="next"),
        lists(10, "c"),
        watches(event("DELETED", "a", 11), event("ADDED", "d", 12), event("MODIFIED", "b", 13), since=10, hang=True),
    )
    async with fake_api_server(handler) as server:
        reflector = await follow(server, tmp_path, lambda names, _: names.names == {"b", "c", "d"})
    assert server.requests[1].query["continue"] == "next"
    assert reflector.listed
    assert reflector.problem is None
    assert reflector.contact_s == 5.0


async def test_when_the_server_ends_a_watch_it_carries_on_after_the_last_bookmark(tmp_path: Path) -> None:
    handler = script(
        lists(10, "a"),
        watches({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "20"}}}, since=10),
        watches(event("ADDED", "b", 21), since=20, hang=True),
    )
    async with fake_api_server(handler) as server:
        await follow(server, tmp_path, lambda names, _: names.names == {"a", "b"})
    assert len(server.requests) == 3


async def test_a_resource_version_that_is_too_old_leads_to_a_new_list(tmp_path: Path) -> None:
    handler = script(
        lists(10, "a", "b"),
        watches({"type": "ERROR", "object": status(410, "Expired", "too old")}),
        lists(90, "b", "c"),
        refuses(410, "Expired"),
        lists(95, "b", "d"),
        watches(since=95, hang=True),
    )
    async with fake_api_server(handler) as server:
        await follow(server, tmp_path, lambda names, _: names.names == {"b", "d"})


async def test_a_broken_connection_carries_on_without_a_list(tmp_path: Path) -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        response = web.StreamResponse()
        await response.prepare(request)
        request.transport.abort()
        return response

    handler = script(lists(10, "a"), breaks, watches(event("ADDED", "b", 11), since=10, hang=True))
    async with fake_api_server(handler) as server:
        await follow(server, tmp_path, lambda names, _: names.names == {"a", "b"})


async def test_a_refusal_is_kept_as_the_problem_until_it_is_over(tmp_path: Path) -> None:
    allowed = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        if not allowed.is_set():
            return await refuses(403, "Forbidden")(request)
        return await (watches(hang=True) if "watch" in request.query else lists(1, "a"))(request)

    def seen(names: Names, reflector: Reflector[str]) -> bool:
        if reflector.problem is not None:
            assert str(reflector.problem) == "Forbidden: said so"
            assert reflector.attempted.is_set()
            assert not reflector.listed
            allowed.set()
        return names.names == {"a"} and reflector.problem is None

    async with fake_api_server(handler) as server:
        await follow(server, tmp_path, seen)


async def test_a_collection_that_is_not_served_yet_is_looked_for_again(tmp_path: Path) -> None:
    tries: Iterator[ClusterError | str] = iter(
        [ClusterError(NOT_FOUND, "not yet"), ClusterError(NOT_FOUND, "not yet"), "/things"]
    )

    async def locate(namespace: str | None) -> str:
        found = next(tries)
        if isinstance(found, ClusterError):
            raise found
        return found

    async with fake_api_server(script(lists(1, "a"), watches(hang=True))) as server:
        await follow(server, tmp_path, lambda names, _: names.names == {"a"}, locate)


async def test_a_watch_that_is_refused_does_not_hammer_the_list(tmp_path: Path) -> None:
    """List allowed, watch not: the waits still grow."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return await (refuses(403, "Forbidden") if "watch" in request.query else lists(1, "a"))(request)

    async with fake_api_server(handler) as server:
        reflector = await follow(server, tmp_path, lambda _, reflector: reflector._failures >= 4)
    assert reflector.problem is not None


async def test_an_object_that_cannot_be_read_is_left_out_and_the_others_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def lists_one_without_name(request: web.Request) -> web.StreamResponse:
        items = [item("a", 1), {"metadata": {"resourceVersion": "1"}}, item("b", 1)]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})

    async with fake_api_server(script(lists_one_without_name, watches(hang=True))) as server:
        await follow(server, tmp_path, lambda names, reflector: names.names == {"a", "b"} and reflector.listed)
    assert "cannot be read and is left out" in caplog.text


def test_the_waits_grow_and_stay_below_one_period() -> None:
    rng = random.Random(3)
    waits = [Backoff().delay_s(failures, rng) for failures in range(1, 200)]
    assert 0.25 <= waits[0] <= 0.5
    assert max(waits) <= 10.0
    assert min(waits[10:]) >= 5.0


@pytest.mark.parametrize(
    "nonsense",
    [{"type": "DELETED", "object": {}}, {"type": "BOOKMARK", "object": {}}, {"type": "ERROR", "object": {"code": "x"}}],
)
async def test_an_event_that_cannot_be_read_does_not_end_the_watch_for_good(
    tmp_path: Path, nonsense: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    handler = script(lists(10, "a"), watches(nonsense), lists(11, "a", "b"), watches(since=11, hang=True))
    async with fake_api_server(handler) as server:
        reflector = await follow(server, tmp_path, lambda names, seen: names.names == {"a", "b"})
    assert reflector.problem is None
    assert "cannot be read; listing anew" in caplog.text
