"""The fleet on a real control plane, with a real Prometheus and the operator as a process. Imports the launcher.

The operator has the rights that ``deploy/base`` ships and no others, and listens as it does in production.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from bench.scale import fleet
from bench.scale.fleet import Member

from localplane.administrator import Administrator
from localplane.demo_stack import BASE, OPERATOR_ACCOUNT, OPERATOR_NAMESPACE, RIGHTS
from localplane.plane import ControlPlane
from localplane.ports import free_ports
from localplane.processes import Process
from localplane.prom import Prometheus
from localplane.waiting import wait_for

ROOT = Path(__file__).resolve().parent.parent.parent


def image_environment() -> dict[str, str]:
    """Return how the image has the operator's memory allocated: what is measured is what is shipped."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return dict(re.findall(r"\b((?:MALLOC|OPENBLAS)_\w+)=(\d+)", text))


def pods_of(api: Administrator) -> dict[tuple[str, str], list[str]]:
    """Return the names of the Ready pods by namespace and Deployment."""
    found: dict[tuple[str, str], list[str]] = {}
    for pod in api.get("/api/v1/pods")["items"]:
        conditions = pod.get("status", {}).get("conditions", ())
        if any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions):
            owner = pod["metadata"].get("labels", {}).get("app", "")
            found.setdefault((pod["metadata"]["namespace"], owner), []).append(pod["metadata"]["name"])
    return found


class Stack:
    """The parts beside the control plane.

    Parameters
    ----------
    plane
        A control plane that runs.
    members
        The fleet.
    """

    def __init__(self, plane: ControlPlane, members: Sequence[Member]) -> None:
        self.plane = plane
        self.members = members
        self.api = Administrator(plane)
        self.refused: list[tuple[str, str]] = []

    def create_targets(self) -> int:
        """Create namespaces and Deployments, and wait until all pods are Ready; return how many there are."""
        self.api.create_all(fleet.namespaces(list(self.members)))
        targets = [each for member in self.members for each in fleet.deployments(member)]
        self.api.create_all(targets)
        wanted = sum(int(each["spec"]["replicas"]) for each in targets)
        wait_for(f"{wanted} Ready pods", lambda: sum(map(len, pods_of(self.api).values())) >= wanted, 900.0, 5.0)
        return wanted

    def create_resources(self) -> None:
        """Create the PDDeployments; some of the broken ones are refused by the API server."""
        rendered = self.plane.kubectl("kustomize", BASE).stdout
        rights = [document for document in yaml.safe_load_all(rendered) if document["kind"] in RIGHTS]
        self.plane.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(rights))
        self.plane.wait_served("pddeployments.pdscaler.io")
        self.refused = self.api.create_all(map(fleet.pddeployment, self.members))

    def start_operator(self, prometheus: Prometheus, period_s: float) -> tuple[Process, str]:
        """Start the operator; return it and the URL of its metrics."""
        account = self.plane.service_account_kubeconfig(OPERATOR_NAMESPACE, OPERATOR_ACCOUNT)
        metrics, health = free_ports(2)
        endpoint = {"url": prometheus.url, "timeout": f"{max(10.0, period_s / 2):g}s"}
        config = {
            "evaluationPeriod": f"{period_s:g}s",
            "kubeconfig": str(account),
            "metricsAddress": f"127.0.0.1:{metrics}",
            "healthAddress": f"127.0.0.1:{health}",
            "prometheus": {"endpoints": {"default": endpoint}},
        }
        path = self.plane.run_dir / "operator.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        process = self.plane.processes.start(
            "operator",
            [sys.executable, "-m", "pdscaler", "run", "--config", str(path)],
            {**os.environ, **image_environment()},
        )
        return process, f"http://127.0.0.1:{metrics}/metrics"

    def states(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return the status of every PDDeployment by namespace and name."""
        items = self.api.get("/apis/pdscaler.io/v1alpha1/pddeployments")["items"]
        return {(each["metadata"]["namespace"], each["metadata"]["name"]): each.get("status", {}) for each in items}

    @property
    def log(self) -> Path:
        """Where the operator's log lies."""
        return self.plane.run_dir / "logs" / "operator.log"
