"""The operator as the chart starts it, with the chart's rights and configuration; and the commands that ask it."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localplane.plane import ControlPlane
from localplane.ports import free_ports
from localplane.toolset import Tools
from localplane.waiting import wait_for
from support.manifests import ROOT, config_of, documents, helm_template, pod_spec
from support.plane import apply_in, deployment, pddeployment_of, wait_ready
from support.views import pddeployment_document

pytestmark = pytest.mark.e2e

RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


class Installed:
    """What the chart installs, without its pod: the operator runs here instead, by the pod's own arguments."""

    def __init__(self, plane: ControlPlane, namespace: str, objects: list[dict[str, Any]], folder: Path) -> None:
        self.plane = plane
        self.namespace = namespace
        self.rights = [found for found in objects if found["kind"] in RIGHTS]
        plane.apply(*self.rights)
        spec = pod_spec(objects)
        self.account = str(spec["serviceAccountName"])
        config = folder / "config.yaml"
        config.write_text(config_of(objects))
        arguments = [
            str(config) if part == "/etc/pdscaler/config.yaml" else part for part in spec["containers"][0]["args"]
        ]
        self.metrics, self.health = free_ports(2)
        kubeconfig = plane.service_account_kubeconfig(namespace, self.account)
        here = [
            *("--kubeconfig", str(kubeconfig), "--lease-namespace", namespace, "--evaluation-period", "1s"),
            *("--metrics-address", f"127.0.0.1:{self.metrics}", "--health-address", f"127.0.0.1:{self.health}"),
        ]
        command = [sys.executable, "-m", "pdscaler", *arguments, *here]
        self.process = plane.processes.start(f"{namespace}-operator", command)

    @property
    def user(self) -> str:
        """The operator, as the API server knows it."""
        return f"system:serviceaccount:{self.namespace}:{self.account}"

    def fetch(self, port: int, path: str) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def close(self) -> None:
        self.process.stop()
        self.plane.processes.forget(self.process)
        kinds = {"ClusterRole", "ClusterRoleBinding"}
        for found in (right for right in self.rights if right["kind"] in kinds):
            self.plane.kubectl("delete", found["kind"], found["metadata"]["name"], "--ignore-not-found", check=False)


@pytest.fixture(params=["cluster-wide", "namespaced"])
def installed(
    request: pytest.FixtureRequest, control_plane: ControlPlane, tools: Tools, namespace: str, tmp_path: Path
) -> Iterator[Installed]:
    """The chart's operator, looking after everything or after one namespace; its Prometheus does not answer."""
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-k", ROOT / "crds")
    (nobody,) = free_ports(1)
    values: dict[str, Any] = {"prometheus": {"endpoints": {"default": {"url": f"http://127.0.0.1:{nobody}"}}}}
    if request.param == "namespaced":
        values["namespaces"] = [namespace]
    text = helm_template(tools, values, release=f"pdscaler-{namespace}", namespace=namespace)
    running = Installed(control_plane, namespace, documents(text), tmp_path)
    yield running
    running.close()


def pdscaler(plane: ControlPlane, namespace: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    where = ("-n", namespace, "--kubeconfig", str(plane.kubeconfig))
    return subprocess.run(
        [sys.executable, "-m", "pdscaler", *arguments, *where], capture_output=True, text=True, check=False, timeout=60
    )


def condition(document: dict[str, Any], kind: str) -> str:
    found = document.get("status", {}).get("conditions", [])
    return next((f"{entry['status']} {entry['reason']}" for entry in found if entry["type"] == kind), "")


def test_the_operator_lives_on_the_charts_rights_and_the_commands_tell_what_it_thinks(
    control_plane: ControlPlane, installed: Installed, namespace: str
) -> None:
    for name in ("p", "d"):
        apply_in(control_plane, namespace, deployment(name, replicas=2))
    for name in ("p", "d"):
        wait_ready(control_plane, namespace, name, 2)
    document = pddeployment_document("llama")
    del document["status"]
    apply_in(control_plane, namespace, {**document, "metadata": {"name": "llama"}})

    def resource() -> dict[str, Any]:
        return pddeployment_of(control_plane, namespace, "llama")

    wait_for(
        "the verdict on Prometheus",
        lambda: condition(resource(), "MetricsAvailable") == "False PrometheusUnreachable",
        detail=str(installed.process),
    )
    wait_for("the replicas", lambda: resource()["status"].get("prefill", {}).get("ready") == 2)
    assert condition(resource(), "AbleToScale").startswith("True")

    # Nothing was refused, and nothing was asked that the rights do not need. (In a namespace of another test that is
    # being deleted nothing can be created: that is refused with the same code.)
    asked = control_plane.audit_log.requests(user=installed.user)
    refused = [request for request in asked if request.code == 403 and request.namespace in {"", namespace}]
    assert {(request.verb, request.resource) for request in refused} == set()
    changed = {request.resource for request in asked if request.verb in {"create", "update", "patch", "delete"}}
    assert changed == {"pddeployments/status", "events", "leases"}
    metadata = resource()["metadata"]
    assert "finalizers" not in metadata
    assert {name for name in metadata["annotations"] if "kubectl" not in name} == set()

    assert "last finished evaluation" in installed.fetch(installed.health, "/healthz")
    exposition = installed.fetch(installed.metrics, "/metrics")
    labels = f'kind="current",name="llama",namespace="{namespace}",pool="decode"'
    assert f"pdscaler_replicas{{{labels}}} 2.0" in exposition

    _status(control_plane, namespace)
    _pause(control_plane, namespace, resource)
    control_plane.kubectl("delete", "pdd", "llama", "-n", namespace, "--timeout=60s")


def _status(plane: ControlPlane, namespace: str) -> None:
    overview = pdscaler(plane, namespace, "status").stdout
    assert overview.splitlines()[1].split()[0] == "llama"
    assert "MetricsAvailable=False, PrometheusUnreachable" in overview
    details = pdscaler(plane, namespace, "status", "llama").stdout
    assert f"{namespace}/llama  Auto, Holding: PrometheusUnreachable" in details
    document = json.loads(pdscaler(plane, namespace, "status", "llama", "-o", "json").stdout)
    assert document["status"]["decode"]["current"] == 2
    assert document["healthy"] is False
    explained = pdscaler(plane, namespace, "explain", "llama").stdout
    assert "prefill stays 2, decode stays 2" in explained
    assert "no metrics to go by, so it holds; see MetricsAvailable (NoData)" in explained
    missing = pdscaler(plane, namespace, "explain", "lama")
    assert missing.returncode == 2
    assert missing.stderr == f'error: there is no PDDeployment "lama" in namespace "{namespace}"; there: llama\n'


def _pause(plane: ControlPlane, namespace: str, resource: Any) -> None:
    def annotations() -> set[str]:
        return {name for name in resource()["metadata"].get("annotations", {}) if name.startswith("pdscaler.io/")}

    paused = pdscaler(plane, namespace, "pause", "llama").stdout
    assert "nothing is scaled" in paused
    assert f"pdscaler resume llama -n {namespace}\n" in paused
    assert annotations() == {"pdscaler.io/paused"}
    wait_for("the pause to be seen", lambda: condition(resource(), "ScalingActive") == "False Paused")
    resumed = pdscaler(plane, namespace, "resume", "llama", "--scale-up")
    assert resumed.stdout == f"{namespace}/llama: scale-down is paused, scale-up goes on\n"
    assert annotations() == {"pdscaler.io/paused-scale-down"}
    assert pdscaler(plane, namespace, "resume", "llama").stdout == f"{namespace}/llama: scaling is active\n"
    assert annotations() == set()


def test_watching_without_a_terminal_writes_a_line_per_change(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-k", ROOT / "crds")
    document = pddeployment_document("llama")
    status = document.pop("status")
    apply_in(control_plane, namespace, {**document, "metadata": {"name": "llama"}})
    output = tmp_path / "lines"
    where = ("-n", namespace, "--kubeconfig", str(control_plane.kubeconfig))
    with output.open("w") as file:
        watching = subprocess.Popen([sys.executable, "-m", "pdscaler", "status", "--watch", *where], stdout=file)
    try:
        wait_for("the first line", lambda: "NotSeenYet" in output.read_text())
        patch = json.dumps({"status": status})
        control_plane.kubectl(
            *("patch", "pdd", "llama", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
        )
        wait_for("the change", lambda: "ScalingUp: prefill 4 (3 ready), decode 4" in output.read_text())
        control_plane.kubectl("delete", "pdd", "llama", "-n", namespace)
        wait_for("the end", lambda: f"{namespace}/llama  deleted" in output.read_text())
        assert len(output.read_text().splitlines()) == 3
    finally:
        watching.terminate()
        watching.wait(timeout=10)
