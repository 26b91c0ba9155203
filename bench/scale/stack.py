"""The fleet on a real control plane, with a real Prometheus and the operator as a process. Imports the launcher.

The operator has the rights that ``deploy/base`` ships and no others, and listens as it does in production.
"""

import json
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from bench.scale import fleet
from bench.scale.fleet import Member

from localplane.demo_stack import BASE, OPERATOR_ACCOUNT, OPERATOR_NAMESPACE, RIGHTS
from localplane.plane import ControlPlane
from localplane.ports import free_ports
from localplane.processes import Process
from localplane.prom import Prometheus
from localplane.waiting import wait_for

_AT_ONCE = 8


class Api:
    """The API server as its administrator, for what kubectl is too slow for.

    Parameters
    ----------
    plane
        The control plane.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self._server = plane.server
        pki = plane.run_dir / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def create(self, documents: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
        """Create objects, several at once; return name and reason of those that the server refuses as invalid."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            said = pool.map(lambda each: (each["metadata"]["name"], self._create(each)), documents)
            return [(name, problem) for name, problem in said if problem]

    def get(self, path: str) -> dict[str, Any]:
        """Return an object or a list."""
        with self._opener.open(f"{self._server}{path}", timeout=120) as answer:
            document: dict[str, Any] = json.load(answer)
            return document

    def _create(self, document: dict[str, Any]) -> str:
        body = json.dumps(document).encode()
        headers = {"Content-Type": "application/json"}
        url = self._server + _collection(document)
        request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - our own server
        try:
            with self._opener.open(request, timeout=60):
                return ""
        except urllib.error.HTTPError as error:
            if error.code != 422:
                raise
            return str(json.load(error).get("message", ""))


def _collection(document: dict[str, Any]) -> str:
    version, kind = document["apiVersion"], document["kind"]
    root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    namespace = document["metadata"].get("namespace")
    return f"{root}/namespaces/{namespace}/{kind.lower()}s" if namespace else f"{root}/{kind.lower()}s"


def pods_of(api: Api) -> dict[tuple[str, str], list[str]]:
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
        self.api = Api(plane)
        self.refused: list[tuple[str, str]] = []

    def create_targets(self) -> int:
        """Create namespaces and Deployments, and wait until all pods are Ready; return how many there are."""
        self.api.create(fleet.namespaces(list(self.members)))
        targets = [each for member in self.members for each in fleet.deployments(member)]
        self.api.create(targets)
        wanted = sum(int(each["spec"]["replicas"]) for each in targets)
        wait_for(f"{wanted} Ready pods", lambda: sum(map(len, pods_of(self.api).values())) >= wanted, 900.0, 5.0)
        return wanted

    def create_resources(self) -> None:
        """Create the PDDeployments; some of the broken ones are refused by the API server."""
        rendered = self.plane.kubectl("kustomize", BASE).stdout
        rights = [document for document in yaml.safe_load_all(rendered) if document["kind"] in RIGHTS]
        self.plane.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(rights))
        self.plane.kubectl("wait", "--for=condition=Established", "crd/pddeployments.pdscaler.io", "--timeout=30s")
        self.refused = self.api.create(map(fleet.pddeployment, self.members))

    def start_operator(self, prometheus: Prometheus, period_s: float) -> tuple[Process, str]:
        """Start the operator; return it and the URL of its metrics."""
        account = self.plane.service_account_kubeconfig(OPERATOR_NAMESPACE, OPERATOR_ACCOUNT)
        metrics, health = free_ports(2)
        config = {
            "evaluationPeriod": f"{period_s:g}s",
            "kubeconfig": str(account),
            "metricsAddress": f"127.0.0.1:{metrics}",
            "healthAddress": f"127.0.0.1:{health}",
            "prometheus": {"endpoints": {"default": {"url": prometheus.url, "timeout": "10s"}}},
        }
        path = self.plane.run_dir / "operator.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        process = self.plane.processes.start(
            "operator", [sys.executable, "-m", "pdscaler", "run", "--config", str(path)]
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
