"""The parts of the demo beside the cluster: rights, Prometheus, emulated engines, operator. Imports PyYAML.

The operator runs as ``pdscaler run`` outside the cluster, with the kubeconfig of its own service account: exactly the
rights that ``deploy/base`` ships, and no others.
"""

import json
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import yaml

from localplane.cluster import Cluster
from localplane.demo_history import days_before, write_past
from localplane.demo_types import Scenario
from localplane.errors import LocalPlaneError
from localplane.ports import free_ports
from localplane.processes import Process
from localplane.prom import Prometheus
from localplane.waiting import wait_for
from pdscaler.simulator.http import FRONT_DOOR_JOB

REPOSITORY = Path(__file__).resolve().parents[3]
BASE = REPOSITORY / "deploy" / "base"
OPERATOR_NAMESPACE = "pdscaler-system"
OPERATOR_ACCOUNT = "pdscaler"
OPERATOR_USER = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_ACCOUNT}"
PERIOD_S = 2.0
"""The operator's evaluation period in the demo, seconds."""

_START_S = 5.0
"""How long Prometheus takes to start with the days before, at most, seconds: only then the pods are created."""
_READY_S = 5.0
"""How long the first pods take to be ready, seconds: then the load begins."""
_FORECAST = re.compile(r'^pdscaler_forecast_requests_per_second\{[^}]*kind="quantile"[^}]*\} (\S+)$', re.MULTILINE)

RIGHTS = frozenset(
    {
        "Namespace",
        "CustomResourceDefinition",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
    }
)
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoStack:
    """Everything that runs on a cluster for the demo; a context manager that ends it and takes its objects away.

    Parameters
    ----------
    cluster
        Where it runs.
    scenario
        What is played.
    records
        CSV file for the emulator's records.
    seed
        Seed of the load.
    """

    def __init__(self, cluster: Cluster, scenario: Scenario, records: Path, seed: int) -> None:
        self.cluster = cluster
        self.scenario = scenario
        self.records = records
        self._seed = seed
        self._emulator_port, self._proxy_port = free_ports(2)
        self.prometheus = Prometheus(
            cluster.run_dir / "prometheus",
            cluster.tools,
            [f"{self.emulator_url}/sd"],
            processes=cluster.processes,
        )
        self.emulator: Process | None = None
        self.operator: Process | None = None
        self.dawn_s: float | None = None
        """When the day begins, as the days before did, seconds since the epoch; None where there are none."""

    @property
    def emulator_url(self) -> str:
        """Base URL of the emulator."""
        return f"http://127.0.0.1:{self._emulator_port}"

    def __enter__(self) -> Self:
        self._refuse_what_is_there()  # outside of what is undone: it is not ours
        try:
            self.start()
        except BaseException:
            self._take_away()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._take_away()

    def start(self) -> None:
        """Start everything up to the operator; the load begins with :meth:`create_targets`."""
        self._apply_rights()
        proxy: list[str | Path] = [
            self.cluster.tools["kubectl"],
            f"--kubeconfig={self.cluster.kubeconfig}",
            "proxy",
            f"--port={self._proxy_port}",
        ]
        self.cluster.processes.start("kubectl-proxy", proxy)
        self._start_operator()
        self._start_emulator()
        if self.scenario.day:
            self._write_days_before()
        self.prometheus.start()

    def create_targets(self) -> None:
        """Create the two Deployments: the load begins when both pools have a ready replica, at the time of day."""
        if self.dawn_s is not None:
            time.sleep(max(0.0, self.dawn_s - _READY_S - time.time()))
        self.cluster.kubectl("apply", "-f", self.scenario.targets)

    def look_ahead(self, method: str) -> str:
        """Ask for a forecast with kubectl, and return the command as a user would type it."""
        name, namespace = self.scenario.name, self.scenario.namespace
        patch = json.dumps({"spec": {"forecast": {"method": method}}})
        self.cluster.kubectl("patch", "pdd", name, "-n", namespace, "--type", "merge", "-p", patch)
        return f"kubectl patch pdd {name} -n {namespace} --type merge -p '{patch}'"

    def serving(self) -> bool:
        """Whether Prometheus knows how fast both engines answer: not before may the operator have them."""
        where = f'{{namespace="{self.scenario.namespace}"}}'
        found = self.prometheus.query(f"count(rate(vllm:request_success_total{where}[15s]) > 0)")
        return bool(found) and float(found[0]["value"][1]) >= 2

    def apply_resource(self) -> None:
        """Apply the PDDeployment with kubectl: from here on the operator scales."""
        self.cluster.kubectl("apply", "-f", self.scenario.resource)

    def check(self) -> None:
        """Raise if any process has ended."""
        self.cluster.processes.check()

    def stats(self) -> dict[str, Any]:
        """Return the emulator's ``/stats``."""
        return _read(f"{self.emulator_url}/stats")

    def resource(self) -> dict[str, Any]:
        """Return the PDDeployment as it stands."""
        where = f"/apis/pdscaler.io/v1alpha1/namespaces/{self.scenario.namespace}/pddeployments/{self.scenario.name}"
        return self._ask(where)

    def deployment(self, name: str) -> dict[str, Any]:
        """Return a Deployment as it stands."""
        return self._ask(f"/apis/apps/v1/namespaces/{self.scenario.namespace}/deployments/{name}")

    def operator_metrics(self) -> str:
        """Return the operator's own exposition."""
        with _DIRECT.open(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def forecast_rps(self) -> float | None:
        """Return the load that the operator expects, by its own metrics; None where it does not forecast."""
        found = _FORECAST.search(self.operator_metrics())
        return None if found is None else float(found.group(1))

    def server_version(self) -> str:
        """Return the API server's version, such as ``1.36``."""
        document = self._ask("/version")
        return f"{document['major']}.{document['minor']}"

    def _ask(self, path: str) -> dict[str, Any]:
        return _read(f"http://127.0.0.1:{self._proxy_port}{path}")

    def _write_days_before(self) -> None:
        """Give Prometheus a past, in which each day began as long before this one as a day lasts."""
        self.dawn_s = time.time() + _START_S + _READY_S
        past = days_before(self.scenario.day, np.random.default_rng([self._seed, 1]))
        model = self.scenario.model
        labels = {"namespace": self.scenario.namespace, "job": FRONT_DOOR_JOB, "instance": "the days before"}
        labels |= {"model_name": model, "target_model_name": model}
        write_past(past, self.dawn_s, labels, self.cluster.tools["promtool"], self.prometheus.data)

    def _refuse_what_is_there(self) -> None:
        brought = [f"namespace/{OPERATOR_NAMESPACE}", f"namespace/{self.scenario.namespace}"]
        brought += ["crd/pddeployments.pdscaler.io", "clusterrole/pdscaler", "clusterrolebinding/pdscaler"]
        there = self.cluster.kubectl("get", *brought, "--ignore-not-found", "-o", "name").stdout.split()
        if there:
            raise LocalPlaneError(
                f"{', '.join(there)} exists in this cluster already: the demo brings its own and deletes it "
                f"afterwards, so it does not start here"
            )

    def _apply_rights(self) -> None:
        rendered = self.cluster.kubectl("kustomize", BASE).stdout
        documents = [document for document in yaml.safe_load_all(rendered) if document["kind"] in RIGHTS]
        text = yaml.safe_dump_all(documents)
        self.cluster.kubectl("apply", "--server-side", "-f", "-", input=text)
        self.cluster.wait_served("pddeployments.pdscaler.io")

    def _start_operator(self) -> None:
        account = self.cluster.service_account_kubeconfig(OPERATOR_NAMESPACE, OPERATOR_ACCOUNT)
        self._metrics_port, health_port = free_ports(2)
        config = {
            "evaluationPeriod": f"{PERIOD_S:g}s",
            "kubeconfig": str(account),
            "metricsAddress": f"127.0.0.1:{self._metrics_port}",
            "healthAddress": f"127.0.0.1:{health_port}",
            "logFormat": "json",
            "prometheus": {"endpoints": {"default": {"url": self.prometheus.url, "timeout": "2s"}}},
        }
        path = self.cluster.run_dir / "operator.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        self.operator = self._python("operator", "run", "--config", str(path))
        self._wait_for("the operator to be healthy", f"http://127.0.0.1:{health_port}/healthz", self.operator)

    def _start_emulator(self) -> None:
        self.emulator = self._python(
            "emulator",
            "emulate",
            "-f",
            str(self.scenario.resource),
            "--kubeconfig",
            str(self.cluster.kubeconfig),
            *self.scenario.load,
            "--listen",
            f"127.0.0.1:{self._emulator_port}",
            "--records",
            str(self.records),
            "--seed",
            str(self._seed),
            "--linger",
        )
        self._wait_for("the emulated engines", f"{self.emulator_url}/healthz", self.emulator)

    def _python(self, name: str, *args: str) -> Process:
        return self.cluster.processes.start(name, [sys.executable, "-m", "pdscaler", *args])

    def _wait_for(self, what: str, url: str, process: Process) -> None:
        def answers() -> bool:
            process.check()
            try:
                with _DIRECT.open(url, timeout=5) as answer:
                    return int(answer.status) == 200
            except OSError:
                return False

        wait_for(what, answers, 60.0, detail=f"log: {process.log}")

    def _take_away(self) -> None:
        """Delete what was created, where the cluster lives on; a local control plane is thrown away whole."""
        if not self.cluster.borrowed:
            return
        for namespace in (self.scenario.namespace, OPERATOR_NAMESPACE):
            self.cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false", check=False)
        rendered = self.cluster.kubectl("kustomize", BASE, check=False).stdout
        documents = [item for item in yaml.safe_load_all(rendered) if item["kind"] in RIGHTS - {"Namespace"}]
        text = yaml.safe_dump_all(documents)
        self.cluster.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", input=text, check=False)


def _read(url: str) -> dict[str, Any]:
    try:
        with _DIRECT.open(url, timeout=10) as answer:
            document: dict[str, Any] = json.load(answer)
            return document
    except urllib.error.HTTPError as error:
        raise LocalPlaneError(f"{url} answered {error.code}: {error.read().decode(errors='replace')[:300]}") from error
    except OSError as error:
        raise LocalPlaneError(f"{url} does not answer: {error}") from error
