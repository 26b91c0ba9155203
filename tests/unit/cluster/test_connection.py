import asyncio
import json
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pdscaler.cluster import connection
from pdscaler.cluster.connection import Connection, collection_path, connect, segments
from pdscaler.cluster.credentials import load_credentials
from pdscaler.cluster.errors import ClusterError, ConflictError
from pdscaler.cluster.fence import NotLeadingError
from pdscaler.errors import InvalidInputError
from support.fake_api_server import FakeApiServer, fake_api_server, status, stream


async def connected(server: FakeApiServer, folder: Path, timeout_s: float = 10.0) -> Connection:
    return await connect(str(server.kubeconfig(folder)), request_timeout_s=timeout_s)


def test_paths_cannot_leave_their_place() -> None:
    assert segments("a", "../b?x=1#y") == "/a/..%2Fb%3Fx%3D1%23y"
    assert collection_path("v1", "pods", None) == "/api/v1/pods"
    assert collection_path("apps/v1", "deployments", "serving") == "/apis/apps/v1/namespaces/serving/deployments"


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (403, status(403, "Forbidden", "pods is forbidden"), "Forbidden: pods is forbidden"),
        (404, status(404, "NotFound", "x not found"), "NotFound: x not found"),
        (500, status(500, "", "boom"), "ServerError: boom"),
        (503, "no backend\n<html>", "ServerError: no backend <html>"),
        (410, status(410, "Expired", "too old"), "Expired: too old"),
        (
            422,
            status(422, "Invalid", "spec.replicas: Invalid\n\x1b[31m value"),
            "Invalid: spec.replicas: Invalid [31m value",
        ),
        (418, "", "RequestFailed: the API server answered 418"),
    ],
)
async def test_a_refusal_keeps_the_servers_reason_and_words(
    tmp_path: Path, code: int, body: object, expected: str
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=code, text=body if isinstance(body, str) else json.dumps(body))

    async with fake_api_server(handler) as server, await connected(server, tmp_path) as api:
        with pytest.raises(ClusterError) as caught:
            await api.get("/api/v1/pods")
    assert str(caught.value) == expected
    assert caught.value.status == code


async def test_a_conflict_is_an_error_of_its_own_and_a_taken_name_is_not(tmp_path: Path) -> None:
    answers = iter([status(409, "Conflict", "modified"), status(409, "AlreadyExists", "taken")])

    async def handler(request: web.Request) -> web.Response:
        return web.json_response(next(answers), status=409)

    async with fake_api_server(handler) as server, await connected(server, tmp_path) as api:
        with pytest.raises(ConflictError, match="modified"):
            await api.patch("/x", {"spec": {}})
        with pytest.raises(ClusterError) as caught:
            await api.create("/x", {})
    assert caught.value.reason == "AlreadyExists"


async def test_patches_say_their_kind_and_their_owner(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"body": await request.json()})

    async with fake_api_server(handler) as server, await connected(server, tmp_path) as api:
        assert await api.patch("/x", {"a": 1}) == {"body": {"a": 1}}
        assert await api.patch("/x", [{"op": "add", "path": "/status", "value": {}}]) == {
            "body": [{"op": "add", "path": "/status", "value": {}}]
        }
    merge, json_patch = server.requests
    assert merge.headers["Content-Type"] == "application/merge-patch+json"
    assert json_patch.headers["Content-Type"] == "application/json-patch+json"
    assert merge.query["fieldManager"] == json_patch.query["fieldManager"] == "pdscaler"
    assert merge.headers["User-Agent"] == "pdscaler"


async def test_no_answer_is_unreachable(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    async with fake_api_server(handler) as server, await connected(server, tmp_path, timeout_s=0.2) as api:
        with pytest.raises(ClusterError, match="did not answer: timed out") as caught:
            await api.get("/x")
        assert caught.value.reason == "Unreachable"
        url = server.url
    async with await connect(str(tmp_path / "fake.kubeconfig")) as api:
        with pytest.raises(ClusterError) as caught:
            await api.get("/x")
    assert caught.value.reason == "Unreachable"
    assert url in caught.value.message


@pytest.mark.parametrize("text", ["not json", "[]", '"text"', ""])
async def test_an_answer_that_is_no_object_is_an_error(tmp_path: Path, text: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=text)

    async with fake_api_server(handler) as server, await connected(server, tmp_path) as api:
        with pytest.raises(ClusterError) as caught:
            await api.get("/x")
    assert caught.value.reason == "Unreachable"


async def test_credentials_that_rotated_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RENEW_PAUSE_S", 0.0)

    async def handler(request: web.Request) -> web.Response:
        fresh = request.headers["Authorization"] == "Bearer second"
        return web.json_response({"ok": True}) if fresh else web.json_response(status(401, "", "no"), status=401)

    async with fake_api_server(handler) as server, await connected(server, tmp_path) as api:
        with pytest.raises(ClusterError) as caught:
            await api.get("/x")
        assert caught.value.reason == "Unauthorized"
        server.kubeconfig(tmp_path, {"token": "second"})
        answers = await asyncio.gather(*(api.get("/x") for _ in range(5)))
    assert answers == [{"ok": True}] * 5


async def test_an_exec_plugin_is_asked_for_the_token(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"said": request.headers["Authorization"]})

    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!{sys.executable}\nprint({json.dumps(json.dumps(credential))})\n", encoding="utf-8")
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}}
    async with fake_api_server(handler) as server, await connect(str(server.kubeconfig(tmp_path, user))) as api:
        assert await api.get("/x") == {"said": "Bearer from-plugin"}


async def test_a_silent_watch_counts_as_broken(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await stream(request, {"type": "ADDED", "object": {}}, hang=True)

    async with fake_api_server(handler) as server, await connected(server, tmp_path) as api:
        events = api.stream("/x", {"watch": "true"}, inactivity_timeout_s=0.2)
        assert await anext(events) == {"type": "ADDED", "object": {}}
        with pytest.raises(ClusterError) as caught:
            await anext(events)
    assert caught.value.reason == "Unreachable"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file"),
        ("{not yaml", "cannot be used"),
        ("just text", "cannot be used"),
        ("apiVersion: v1\nkind: Config\n", "current-context"),
        ("", "it is not a kubeconfig"),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_one_clear_line(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError) as caught:
        await connect(str(path))
    assert str(caught.value).startswith(f"{path}: kubeconfig: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_another_library_gets_the_same_credentials(tmp_path: Path) -> None:
    fake = FakeApiServer(stream)
    fake.url = "http://127.0.0.1:1"
    found = await load_credentials(str(fake.kubeconfig(tmp_path)))
    assert (found.server, found.scheme, found.token) == ("http://127.0.0.1:1", "Bearer", "first")
    assert "first" not in repr(found)


async def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    path = FakeApiServer(stream).kubeconfig(tmp_path)
    with pytest.raises(InvalidInputError, match="nowhere"):
        await connect(str(path), "nowhere")


async def test_without_arguments_the_kubeconfig_of_the_environment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    async with fake_api_server(handler) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        async with await connect() as api:
            assert await api.get("/x") == {"ok": True}


class Guard:
    """Lets writes begin while it is told to."""

    least_allowance_s = 4.25

    def __init__(self, *allowances_s: float) -> None:
        self.left = list(allowances_s)
        self.asked = 0

    def allowance_s(self) -> float:
        self.asked += 1
        if not self.left:
            raise NotLeadingError
        return self.left.pop(0)


async def test_the_guard_is_asked_before_every_write_and_before_no_read(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({})

    guard = Guard(5.0, 5.0)
    async with (
        fake_api_server(handler) as server,
        await connect(str(server.kubeconfig(tmp_path)), guard=guard) as api,
    ):
        await api.get("/x")
        assert guard.asked == 0
        await api.patch("/x", {})
        await api.create("/x", {})
        for write in (api.patch("/x", {}), api.create("/x", {})):
            with pytest.raises(NotLeadingError):
                await write
        await api.get("/x")
    assert [request.method for request in server.requests] == ["GET", "PATCH", "POST", "GET"], "nothing was sent"


async def test_the_guard_is_asked_again_where_credentials_had_to_be_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RENEW_PAUSE_S", 0.0)

    async def handler(request: web.Request) -> web.Response:
        return web.json_response(status(401, "", "no"), status=401)

    async with (
        fake_api_server(handler) as server,
        await connect(str(server.kubeconfig(tmp_path)), guard=Guard(5.0)) as api,
    ):
        with pytest.raises(NotLeadingError):
            await api.patch("/x", {})
    assert len(server.requests) == 1


async def test_a_write_takes_no_longer_than_the_guard_allows(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    async with (
        fake_api_server(handler) as server,
        await connect(str(server.kubeconfig(tmp_path)), guard=Guard(0.1)) as api,
    ):
        with pytest.raises(ClusterError, match="timed out"):
            await api.patch("/x", {})


async def test_what_was_given_up_is_not_delivered_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({})

    options: list[tuple[int, int]] = []

    class Watched(socket.socket):
        def setsockopt(self, *arguments: Any) -> None:
            options.append(arguments[1:])
            super().setsockopt(*arguments)

    monkeypatch.setattr(socket, "socket", Watched)
    async with (
        fake_api_server(handler) as server,
        await connect(str(server.kubeconfig(tmp_path)), guard=Guard(5.0)) as api,
    ):
        await api.patch("/x", {})
    assert (socket.TCP_USER_TIMEOUT, 4250) in options
