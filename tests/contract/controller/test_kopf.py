"""The real kopf, in process, against a real API server: what it leaves on a PDDeployment, whom an error disturbs."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from localplane.plane import ControlPlane
from localplane.ports import free_port
from localplane.waiting import PATIENCE_S, wait_for
from pdscaler.api.config import OperatorConfig
from pdscaler.api.crd import CRD_NAME, crd_yaml
from pdscaler.controller.application import Application
from support.plane import apply_in, deployment, pddeployment_of
from support.world import resource


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=crd_yaml())
    control_plane.wait_served(CRD_NAME)
    return control_plane


def config(plane: ControlPlane, namespace: str, kubeconfig: Path | None = None) -> OperatorConfig:
    """A configuration whose Prometheus nobody serves: every evaluation holds."""
    return OperatorConfig.model_validate(
        {
            "kubeconfig": str(kubeconfig or plane.kubeconfig),
            "namespaces": [namespace],
            "evaluationPeriod": "500ms",
            "metricsAddress": "127.0.0.1:0",
            "healthAddress": "127.0.0.1:0",
            "prometheus": {"endpoints": {"default": {"url": f"http://127.0.0.1:{free_port()}"}}},
        }
    )


@asynccontextmanager
async def running(settings: OperatorConfig) -> AsyncIterator[Application]:
    application = Application(settings)
    task = asyncio.create_task(application.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({task, asyncio.ensure_future(application.started.wait())}, return_when="FIRST_COMPLETED")
        yield application
    finally:
        application.stop()
        async with asyncio.timeout(PATIENCE_S):
            await task
        # The watches that end here say their TLS farewell in the background, which aiohttp does not wait for.
        await asyncio.sleep(0.25)


async def seen(
    plane: ControlPlane, namespace: str, name: str, holds: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Wait until a PDDeployment holds, and return it."""
    found: dict[str, Any] = {}

    def look() -> bool:
        nonlocal found
        found = pddeployment_of(plane, namespace, name)
        return holds(found)

    await asyncio.to_thread(wait_for, f"PDDeployment {name}", look, every_s=0.2)
    return found


def condition(document: dict[str, Any], type_: str) -> tuple[str, str]:
    conditions = {entry["type"]: entry for entry in document.get("status", {}).get("conditions", [])}
    return (conditions[type_]["status"], conditions[type_]["reason"]) if type_ in conditions else ("", "")


def is_ready(document: dict[str, Any]) -> bool:
    status = document.get("status", {})
    return all(status.get(pool, {}).get("ready") == 1 for pool in ("prefill", "decode"))


def is_held(document: dict[str, Any]) -> bool:
    return condition(document, "MetricsAvailable") == ("False", "PrometheusUnreachable")


async def apply(plane: ControlPlane, namespace: str, *documents: dict[str, Any]) -> None:
    await asyncio.to_thread(apply_in, plane, namespace, *documents)


async def kubectl(plane: ControlPlane, *arguments: str) -> str:
    done = await asyncio.to_thread(plane.kubectl, *arguments)
    return done.stdout


async def test_it_leaves_nothing_but_a_status(plane: ControlPlane, namespace: str) -> None:
    since = plane.audit_log.mark()
    async with running(config(plane, namespace)):
        await apply(plane, namespace, deployment("deepseek-prefill"), deployment("deepseek-decode"), resource())
        created = await seen(plane, namespace, "deepseek", is_held)
        await kubectl(plane, "annotate", "pdd", "deepseek", "-n", namespace, "pdscaler.io/paused=true")
        paused = await seen(
            plane, namespace, "deepseek", lambda found: condition(found, "ScalingActive") == ("False", "Paused")
        )
        await apply(plane, namespace, resource(model="another"))
        changed = await seen(
            plane, namespace, "deepseek", lambda found: found.get("status", {}).get("observedGeneration") == 2
        )
        for document in (created, paused, changed):
            metadata = document["metadata"]
            assert "finalizers" not in metadata
            assert set(metadata["annotations"]) <= {
                "kubectl.kubernetes.io/last-applied-configuration",
                "pdscaler.io/paused",
            }
        await kubectl(plane, "delete", "pdd", "deepseek", "-n", namespace, "--wait", "--timeout=60s")
    written = [
        request
        for request in plane.audit_log.requests(namespace=namespace, verb="write", since=since)
        if "pdscaler" in request.user_agent or "kopf" in request.user_agent.lower()
    ]
    assert {request.resource for request in written} == {"pddeployments/status", "events"}
    assert not [request for request in written if "kopf" in request.user_agent.lower()], "kopf itself writes nothing"


async def test_a_resource_outlives_the_operator_and_can_be_deleted_without_it(
    plane: ControlPlane, namespace: str
) -> None:
    async with running(config(plane, namespace)):
        await apply(plane, namespace, deployment("deepseek-prefill"), deployment("deepseek-decode"), resource())
        await seen(plane, namespace, "deepseek", is_held)
    await kubectl(plane, "delete", "pdd", "deepseek", "-n", namespace, "--wait", "--timeout=60s")
    assert await kubectl(plane, "get", "pdd", "-n", namespace, "-o", "name") == ""


async def test_an_invalid_resource_does_not_disturb_another(plane: ControlPlane, namespace: str) -> None:
    invalid = resource("invalid", metrics={"prometheus": {"endpointRef": "nonesuch"}})
    async with running(config(plane, namespace)) as application:
        await apply(plane, namespace, invalid)
        found = await seen(
            plane, namespace, "invalid", lambda found: condition(found, "Stalled") == ("True", "InvalidSpec")
        )
        message = {entry["type"]: entry["message"] for entry in found["status"]["conditions"]}["Stalled"]
        assert "spec.metrics.prometheus.endpointRef" in message
        await apply(plane, namespace, deployment("deepseek-prefill"), deployment("deepseek-decode"), resource())
        await seen(plane, namespace, "deepseek", is_held)
        assert set(application.ports) == {"metricsAddress", "healthAddress"}
        events = await asyncio.to_thread(plane.get, "events", "-n", namespace)
        reasons = [event["reason"] for event in events["items"] if event["involvedObject"]["name"] == "invalid"]
        assert reasons == ["InvalidSpec"]


async def test_the_printer_columns_of_kubectl(plane: ControlPlane, namespace: str) -> None:
    async with running(config(plane, namespace)):
        await apply(plane, namespace, deployment("deepseek-prefill"), deployment("deepseek-decode"), resource())
        await seen(plane, namespace, "deepseek", is_ready)
        printed = await kubectl(plane, "get", "pdd", "-n", namespace)
    header, row = printed.splitlines()
    assert header.split() == ["NAME", "MODE", "PREFILL", "DECODE", "RATE", "TTFT", "TPOT", "STATE", "AGE"]
    assert row.split()[:6] == ["deepseek", "Auto", "1", "1", "–", "–"]
    assert "Holding: PrometheusUnreachable" in row


async def test_recommend_only_never_asks_for_a_scale(plane: ControlPlane, namespace: str) -> None:
    since = plane.audit_log.mark()
    spec = resource()["spec"]
    document = resource(mode="RecommendOnly", prefill={**spec["prefill"], "minReplicas": 3})
    async with running(config(plane, namespace)):
        await apply(plane, namespace, deployment("deepseek-prefill"), deployment("deepseek-decode"), document)
        await seen(
            plane, namespace, "deepseek", lambda found: found.get("status", {}).get("prefill", {}).get("desired") == 3
        )
        auto = resource("auto", prefill={**spec["prefill"], "minReplicas": 2}, decode=spec["decode"])
        await apply(plane, namespace, auto)
        # The same operator does write for a resource in mode Auto: it is the mode that keeps it from the other.
        await seen(
            plane, namespace, "auto", lambda found: found.get("status", {}).get("prefill", {}).get("current") == 2
        )
    scales = plane.audit_log.requests(namespace=namespace, verb="write", resource="deployments/scale", since=since)
    done = [request for request in scales if request.code != 409]  # read and tried again, as it must be
    assert [(request.name, request.user_agent) for request in done] == [("deepseek-prefill", "pdscaler")]


def test_a_signal_ends_the_process_cleanly(plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "operator.log"
    command = [
        sys.executable,
        "-m",
        "pdscaler",
        "run",
        "--kubeconfig",
        str(plane.kubeconfig),
        "--namespaces",
        namespace,
    ]
    command += ["--metrics-address", "", "--health-address", f"127.0.0.1:{port}", "--evaluation-period", "1s"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "operator")}
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stderr=stream, stdout=subprocess.PIPE, env=environ)
        try:
            wait_for("the operator's start", lambda: '"event":"started"' in log.read_text(encoding="utf-8"))
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    assert output == b""
    assert '"event":"stopped"' in log.read_text(encoding="utf-8")
    assert "Traceback" not in log.read_text(encoding="utf-8")
