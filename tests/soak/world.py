"""What is tormented: control plane, Prometheus, engines and operator, with a proxy between each two. Imports support.

The operator has the chart's rights. It reaches the API server and Prometheus through proxies that can be told to
misbehave; what is watched goes past them.
"""

import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from localplane.administrator import MERGE_PATCH, Administrator
from localplane.plane import ControlPlane
from localplane.ports import free_ports
from localplane.processes import Process
from localplane.prom import Prometheus
from localplane.toolset import Tools
from localplane.waiting import wait_for
from support.apiproxy import ApiProxy, Hook, Request
from support.engines import ScriptedEngines
from support.faulty_proxy import faulty_proxy
from support.plane import apply_in, deployment
from support.stage import DECODE, NAME, PREFILL, apply_rights, resource

NAMESPACE = "soak"
GPUS = {PREFILL: 2, DECODE: 1}
MAX_GPUS = 16
BOUNDS = {PREFILL: (1, 5), DECODE: (1, 14)}
PERIOD_S = 1.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class World:
    """Everything that runs; a context manager that ends it.

    Parameters
    ----------
    run_dir
        Folder for keys, data and logs.
    tools
        The binaries.
    """

    def __init__(self, run_dir: Path, tools: Tools) -> None:
        self.run_dir = run_dir
        self._stack = ExitStack()
        self.plane = ControlPlane(run_dir / "plane", tools)
        self.engines = ScriptedEngines(self.plane, NAMESPACE, PREFILL, DECODE)
        self.prometheus = Prometheus(run_dir / "prometheus", tools, [self.engines.sd_url])
        self.api_hook: Hook | None = None
        """What happens to the operator's requests; None: they pass."""
        self.operators: list[Process] = []
        self._healths: dict[int, int] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def operator(self) -> Process:
        """The operator that was started last."""
        return self.operators[-1]

    def start_operator(self) -> None:
        """Start an operator as a process, behind both proxies."""
        metrics, health = free_ports(2)
        number = len(self.operators)
        config = {
            "evaluationPeriod": f"{PERIOD_S:g}s",
            "namespaces": [NAMESPACE],
            "kubeconfig": str(self._kubeconfig),
            "metricsAddress": f"127.0.0.1:{metrics}",
            "healthAddress": f"127.0.0.1:{health}",
            "prometheus": {"endpoints": {"default": {"url": self.proxy.url, "timeout": "2s"}}},
        }
        path = self.run_dir / f"operator-{number}.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        process = self.plane.processes.start(
            f"operator-{number}", [sys.executable, "-m", "pdscaler", "run", "--config", str(path)]
        )
        self._healths[process.pid] = health
        self.operators.append(process)

    def healthy(self) -> bool:
        """Whether the operator says that it lives."""
        try:
            with _DIRECT.open(f"http://127.0.0.1:{self._healths[self.operator.pid]}/healthz", timeout=5) as answer:
                return int(answer.status) == 200
        except OSError:
            return False

    def status(self) -> dict[str, Any]:
        """Return the status of the PDDeployment."""
        path = f"/apis/pdscaler.io/v1alpha1/namespaces/{NAMESPACE}/pddeployments/{NAME}"
        found: dict[str, Any] = self.administrator.get(path).get("status", {})
        return found

    def condition(self, kind: str) -> tuple[str, str]:
        """Return status and reason of one condition; empty where there is none."""
        for condition in self.status().get("conditions", ()):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    def patch_resource(self, change: dict[str, Any]) -> None:
        """Change the PDDeployment as its owner would."""
        path = f"/apis/pdscaler.io/v1alpha1/namespaces/{NAMESPACE}/pddeployments/{NAME}"
        self.administrator.send("PATCH", path, change, MERGE_PATCH)

    def patch_target(self, name: str, change: dict[str, Any]) -> None:
        """Change a Deployment as somebody else would."""
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}?fieldManager=somebody"
        self.administrator.send("PATCH", path, change, MERGE_PATCH)

    def _start(self) -> None:
        self._stack.enter_context(self.plane)
        self.administrator = Administrator(self.plane)
        self.plane.kubectl("create", "namespace", NAMESPACE)
        account = apply_rights(self.plane)
        self._stack.enter_context(self.engines)
        self._stack.enter_context(self.prometheus)
        self.proxy = self._stack.enter_context(faulty_proxy(self.prometheus.url))
        api = self._stack.enter_context(ApiProxy(account, self._hook))
        self._kubeconfig = api.kubeconfig(self.run_dir / "proxied.kubeconfig")
        ready = {"pod-ready.stage.kwok.x-k8s.io/delay": "1s", "pod-ready.stage.kwok.x-k8s.io/jitter-delay": "1s"}
        for name, gpus in GPUS.items():
            apply_in(self.plane, NAMESPACE, deployment(name, gpus=gpus, annotations=ready))
        self.engines.set_load(30.0)
        bounds = {
            pool: {"minReplicas": BOUNDS[name][0], "maxReplicas": BOUNDS[name][1], "gpusPerReplica": GPUS[name]}
            for pool, name in (("prefill", PREFILL), ("decode", DECODE))
        }
        apply_in(self.plane, NAMESPACE, resource(**bounds, constraints={"maxGPUs": MAX_GPUS}))
        self.start_operator()
        wait_for("a healthy operator", self.healthy, 60.0)

    def _hook(self, request: Request) -> int | None:
        hook = self.api_hook
        return None if hook is None else hook(request)


def sleep_until(at_s: float) -> None:
    """Sleep until a time of the monotonic clock."""
    time.sleep(max(0.0, at_s - time.monotonic()))
