"""Before kopf runs: waiting for the CRD, and being told to stop meanwhile. And kopf's own end."""

import asyncio
import itertools
import logging
import os
import sys
from collections import deque
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import kopf
import pytest
from aiohttp import web

from pdscaler.api.config import OperatorConfig
from pdscaler.cluster.errors import ClusterError
from pdscaler.cluster.resources import PDDeployments
from pdscaler.controller import application, kopfsettings
from pdscaler.controller.application import Application
from pdscaler.controller.context import Context
from pdscaler.controller.inventory import Inventory
from pdscaler.controller.logs import FIELDS
from pdscaler.controller.loop import EvaluationLoop
from support.fake_api_server import fake_api_server, status, stream


class Listing:
    """Refuses to list so many times."""

    def __init__(self, *errors: ClusterError) -> None:
        self.errors = deque(errors)
        self.asked: list[str | None] = []

    async def list(self, namespace: str | None = None) -> list[dict[str, Any]]:
        self.asked.append(namespace)
        if self.errors:
            raise self.errors.popleft()
        return []


MISSING = ClusterError("NotFound", "the server could not find the requested resource", 404)


async def test_it_waits_for_the_crd_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(application, "_CRD_RETRY_S", 0.001)
    listing = Listing(MISSING, MISSING, ClusterError("Forbidden", "no"), ClusterError("Forbidden", "no"))
    with caplog.at_level(logging.WARNING):
        assert await Application(OperatorConfig())._wait_for_crd(cast("PDDeployments", listing))
    reasons = [getattr(record, FIELDS)["reason"] for record in caplog.records]
    assert len(reasons) == 2
    assert "pdscaler crd | kubectl apply" in reasons[0]
    assert "Forbidden" in reasons[1]
    assert listing.asked == [None] * 5


async def test_it_ends_at_once_while_it_waits() -> None:
    operator = Application(OperatorConfig(namespaces=("serving",)))
    listing = Listing(*[MISSING] * 100)
    waiting = asyncio.create_task(operator._wait_for_crd(cast("PDDeployments", listing)))
    await asyncio.sleep(0)
    operator.stop()
    assert await waiting is False
    assert listing.asked == ["serving"]


async def test_a_stop_is_heard_before_anything_has_begun() -> None:
    operator = Application(OperatorConfig())
    operator.stop()
    assert await operator._wait_for_crd(cast("PDDeployments", Listing())) is False


def served(name: str, kind: str, namespaced: bool) -> dict[str, Any]:
    verbs = ["get", "list", "watch", "patch", "create"]
    return {"name": name, "singularName": kind.lower(), "kind": kind, "namespaced": namespaced, "verbs": verbs}


DISCOVERY: dict[str, dict[str, Any]] = {
    "/api": {"versions": ["v1"]},
    "/apis": {
        "groups": [
            {
                "name": "pdscaler.io",
                "preferredVersion": {"version": "v1alpha1"},
                "versions": [{"version": "v1alpha1", "groupVersion": "pdscaler.io/v1alpha1"}],
            }
        ]
    },
    "/api/v1": {"resources": [served("namespaces", "Namespace", False), served("events", "Event", True)]},
    "/apis/pdscaler.io/v1alpha1": {"resources": [served("pddeployments", "PDDeployment", True)]},
}


@pytest.mark.parametrize("log_format", ["json", "text"])
async def test_a_watch_that_ends_with_an_error_ends_the_process_with_one_line(tmp_path: Path, log_format: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path in DISCOVERY:
            return web.json_response(DISCOVERY[request.path])
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})
        if request.path.endswith("/pddeployments"):
            return await stream(request, {"type": "ERROR", "object": status(500, "InternalError", "etcd\nis gone")})
        return await stream(request, hang=True)

    async with fake_api_server(answer) as server:
        flags = {
            "kubeconfig": str(server.kubeconfig(tmp_path)),
            "namespaces": "serving",
            "log-format": log_format,
            "metrics-address": "",
            "health-address": "",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pdscaler", "run", *(f"--{name}={value}" for name, value in flags.items())),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60):
                _, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    started, *rest = errors.decode().splitlines()
    assert "started" in started
    assert len(rest) == 1, rest
    assert rest[0].startswith("error: the operator cannot follow PDDeployments any more and ends: ")
    assert "etcd" in rest[0]
    assert process.returncode == 1


def test_a_failing_api_server_is_asked_for_ever_and_each_request_begins_anew() -> None:
    settings = kopf.OperatorSettings()
    kopfsettings.apply(settings)
    delays = settings.networking.error_backoffs
    assert isinstance(delays, kopfsettings.Patience)
    first = list(itertools.islice(delays, 10_000))
    assert first == sorted(first)
    assert first[-1] <= 15
    assert list(itertools.islice(delays, 5)) == first[:5]


async def test_a_loop_that_ends_by_itself_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = Application(OperatorConfig())

    async def run(memo: Any, **_: Any) -> None:
        memo.start_loop()
        await operator._stop.wait()
        await memo.stop_loop()

    async def end() -> None:
        raise SystemError("unforeseen")

    monkeypatch.setattr("kopf.operator", run)
    context = Context(
        OperatorConfig(),
        Inventory(),
        cast("EvaluationLoop", SimpleNamespace(run=end)),
        operator._stop,
        AsyncExitStack(),
    )
    with pytest.raises(application.OperatorEndedError, match="the evaluation loop ended") as failure:
        await operator._run_kopf(context)
    assert failure.value.exit_status == 1
