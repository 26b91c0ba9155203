"""A stage for end-to-end tests: two Deployments, scripted engines, a real Prometheus and the operator as a process.

The operator runs with the service account and the rights that the chart ships, and with no others.
"""

import os
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from localplane.audit import AuditRequest
from localplane.plane import ControlPlane
from localplane.ports import free_port
from localplane.processes import Process
from localplane.prom import Prometheus
from localplane.waiting import PATIENCE_S, wait_for
from support.engines import ScriptedEngines
from support.manifests import documents, helm_template
from support.plane import apply_in, deployment, pddeployment_of, replicas_of

SYSTEM = "pdscaler-system"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:pdscaler"
NAME = "tiny"
PREFILL = "tiny-prefill"
DECODE = "tiny-decode"
ARRIVALS = "llm_d_epp_request_total"
QUICK: dict[str, Any] = {"metrics": {"window": "5s"}, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 2}}}
"""Changes to the spec that let a load be followed sooner, where the rate need not be exact."""
_RIGHTS = {"CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}


def resource(**spec: Any) -> dict[str, Any]:
    """Return a PDDeployment whose arithmetic is easy: one prefill replica serves 80 requests/s, one decode replica 20.

    With 1000 tokens in and 100 out: TP_p = 100 000 - 1000/0.05 = 80 000 tokens/s, TP_d = 20/0.010 = 2000 tokens/s.
    """
    base: dict[str, Any] = {
        "model": "tiny",
        "slo": {"ttft": {"target": "50ms"}, "tpot": {"target": "10ms"}},
        "prefill": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": PREFILL},
            "maxReplicas": 8,
            "startup": "1s",
            "profile": {"maxThroughput": {"inputTokens": 1000, "tokensPerSecond": 100000}},
        },
        "decode": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": DECODE},
            "maxReplicas": 20,
            "startup": "1s",
            "profile": {
                "points": [
                    {"contextTokens": 1050, "batch": 1, "tpot": "5ms"},
                    {"contextTokens": 1050, "batch": 20, "tpot": "10ms"},
                ],
            },
        },
        "sizing": {"model": "PaperMM1"},
        # What an exact load needs exactly: a forecast from seconds of history would add the headroom of ignorance.
        "forecast": {"method": "LastValue"},
        "metrics": {"frontDoor": {"preset": "LLMD"}, "window": "10s", "maxStaleness": "10s"},
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
    }
    return {
        "apiVersion": "pdscaler.io/v1alpha1",
        "kind": "PDDeployment",
        "metadata": {"name": NAME},
        "spec": _merged(base, spec),
    }


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def apply_rights(plane: ControlPlane) -> Path:
    """Install the CRD and the chart's service account; return a kubeconfig with the rights that the chart grants."""
    rendered = documents(helm_template(plane.tools, namespace=SYSTEM))
    rights = [document for document in rendered if document["kind"] in _RIGHTS]
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}, *rights)
    plane.wait_served("pddeployments.pdscaler.io")
    return plane.service_account_kubeconfig(SYSTEM, "pdscaler")


@dataclass
class Stage:
    """Everything one end-to-end test works with."""

    plane: ControlPlane
    namespace: str
    prometheus: Prometheus
    engines: ScriptedEngines
    kubeconfig: Path
    run_dir: Path
    operators: list[Process] = field(default_factory=list)
    audit_mark: int = 0
    health_url: str = ""
    """Of the operator started last, like ``metrics_url``."""
    metrics_url: str = ""

    def start_operator(
        self,
        kubeconfig: Path | None = None,
        *,
        cluster_wide: bool = False,
        prometheus_url: str | None = None,
        settings: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Process:
        """Start the operator as a process with the chart's rights; it looks after this namespace (or all).

        ``settings`` replaces keys of its configuration; ``environ`` adds variables.
        """
        health, metrics = free_port(), free_port()
        self.health_url, self.metrics_url = f"http://127.0.0.1:{health}/healthz", f"http://127.0.0.1:{metrics}/metrics"
        config = {
            "evaluationPeriod": "1s",
            "namespaces": [] if cluster_wide else [self.namespace],
            "kubeconfig": str(kubeconfig or self.kubeconfig),
            "metricsAddress": f"127.0.0.1:{metrics}",
            "healthAddress": f"127.0.0.1:{health}",
            "prometheus": {"endpoints": {"default": {"url": prometheus_url or self.prometheus.url, "timeout": "2s"}}},
            **(settings or {}),
        }
        number = len(self.operators)
        path = self.run_dir / f"operator-{number}.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, "-m", "pdscaler", "run", "--config", str(path)]
        process = self.plane.processes.start(
            f"{self.namespace}-operator-{number}", command, {**os.environ, **(environ or {})}
        )
        self.operators.append(process)
        return process

    def wait_full_window(self) -> None:
        """Wait until Prometheus has the load for longer than the rate window: then the rate is what the engines say."""

        def full() -> bool:
            seen = self.prometheus.query(f"count_over_time({ARRIVALS}[12s])")
            return any(float(series["value"][1]) >= 11 for series in seen)

        wait_for("a full window of arrivals", full, every_s=0.5)

    def stop_operators(self) -> None:
        """End every operator that still runs."""
        for process in self.operators:
            if process.running:
                process.stop()
            self.plane.processes.forget(process)

    def apply_targets(self, *, prefill: int = 1, decode: int = 1, gpus: int = 0, ready_after: str = "1s") -> None:
        """Apply both Deployments with pods that become Ready after a delay."""
        delays = {
            "pod-ready.stage.kwok.x-k8s.io/delay": ready_after,
            "pod-ready.stage.kwok.x-k8s.io/jitter-delay": ready_after,
        }
        for name, replicas in ((PREFILL, prefill), (DECODE, decode)):
            apply_in(
                self.plane,
                self.namespace,
                deployment(name, replicas=replicas, gpus=gpus, annotations=delays),
            )

    def apply(self, **spec: Any) -> None:
        """Apply the PDDeployment, with changes to its spec."""
        apply_in(self.plane, self.namespace, resource(**spec))

    def get(self) -> dict[str, Any]:
        """Return the PDDeployment as the API server has it."""
        return pddeployment_of(self.plane, self.namespace, NAME)

    def status(self) -> dict[str, Any]:
        """Return its status; empty while there is none."""
        status: dict[str, Any] = self.get().get("status", {})
        return status

    def condition(self, kind: str) -> dict[str, Any]:
        """Return one condition; empty while there is none."""
        for condition in self.status().get("conditions", ()):
            if condition["type"] == kind:
                found: dict[str, Any] = condition
                return found
        return {}

    def wait_condition(self, kind: str, status: str, reason: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until a condition has this status and reason, and return it."""

        def probe() -> dict[str, Any] | None:
            condition = self.condition(kind)
            return condition if (condition.get("status"), condition.get("reason")) == (status, reason) else None

        try:
            return wait_for(f"{kind}={status} {reason}", probe, timeout_s, 0.3)
        except Exception as error:
            raise AssertionError(f"{error}; now {self.condition(kind)}") from error

    def wait_status(self, what: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait for a status that holds, and return it: an order can be seen before the status that tells of it."""

        def probe() -> dict[str, Any] | None:
            status = self.status()
            return status if status and holds(status) else None

        return wait_for(what, probe, every_s=0.3)

    def replicas(self) -> tuple[int, int]:
        """Return what both Deployments ask for."""
        return (
            replicas_of(self.plane, self.namespace, PREFILL)[0],
            replicas_of(self.plane, self.namespace, DECODE)[0],
        )

    def wait_replicas(self, prefill: int, decode: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until both Deployments ask for exactly these."""
        try:
            wait_for(f"{prefill}P{decode}D", lambda: self.replicas() == (prefill, decode), timeout_s, 0.3)
        except Exception as error:
            raise AssertionError(f"{error}; asked {self.replicas()}; status {self.status()}") from error

    def writes(self) -> list[AuditRequest]:
        """Return the requests of the operator that changed a target, from the API server's audit log."""
        return [
            request
            for request in self.requests()
            if request.verb in {"patch", "update"} and request.resource == "deployments/scale"
        ]

    def requests(self) -> list[AuditRequest]:
        """Return every request of the operator in this namespace since the stage was set."""
        return list(self.plane.audit_log.requests(user=ACCOUNT, namespace=self.namespace, since=self.audit_mark))

    def metric(self, name: str, **labels: str) -> float:
        """Return a sample of the operator's own metrics; 0 where there is none."""
        inside = ",".join(f'{label}="{labels[label]}"' for label in sorted(labels))
        series = f"{name}{{{inside}}} " if labels else f"{name} "
        with urllib.request.urlopen(self.metrics_url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.removeprefix(series)) for line in lines if line.startswith(series)), 0.0)

    def alive(self) -> bool:
        """Whether the operator says that it is."""
        with urllib.request.urlopen(self.health_url, timeout=10) as answer:
            return bool(answer.status == 200)

    def never(self, what: str, probe: Callable[[], bool], seconds: float) -> None:
        """Watch for some seconds that something does not happen."""
        import time

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert not probe(), f"{what}: {self.status()}"
            time.sleep(0.5)
