"""Several operators that share a Lease, as pods do: each with a token bound to a pod of its own.

So the API server itself says who wrote what. Leadership is read back from the audit log: the Lease as it was written,
and the times at which everything arrived and was answered.
"""

import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from localplane.audit import WRITES, AuditRequest
from localplane.ports import free_ports
from localplane.processes import Process
from localplane.waiting import PATIENCE_S, wait_for
from support.apiproxy import ApiProxy, Hook, passes
from support.stage import SYSTEM, Stage

LEASE = "pdscaler-leader"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Replica:
    """One operator that stands for election."""

    name: str
    process: Process
    proxy: ApiProxy
    health_port: int
    metrics_port: int

    def health(self, path: str) -> int:
        """HTTP status of ``/healthz`` or ``/readyz``."""
        with _DIRECT.open(f"http://127.0.0.1:{self.health_port}{path}", timeout=5) as answer:
            return int(answer.status)

    def samples(self, metric: str) -> list[float]:
        """Values of one of its own metrics."""
        with _DIRECT.open(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return [sample.value for family in families for sample in family.samples if sample.name == metric]


class Replicas:
    """Starts operators that share one Lease; a ``with`` block ends their proxies and deletes the Lease.

    Parameters
    ----------
    stage
        Where they work.
    timing
        ``leaseDuration``, ``renewDeadline`` and ``retryPeriod`` of the configuration.
    """

    def __init__(self, stage: Stage, timing: Mapping[str, str]) -> None:
        self._stage = stage
        self._timing = timing
        self._stack = ExitStack()
        self._kubeconfigs: dict[str, Path] = {}
        self.mark = stage.plane.audit_log.mark()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stage.stop_operators()
        self._stack.close()
        plane = self._stage.plane
        plane.kubectl("delete", "lease", LEASE, "-n", SYSTEM, "--ignore-not-found")
        for name in self._kubeconfigs:
            plane.kubectl("delete", "pod", name, "-n", SYSTEM, "--force", "--grace-period=0", "--ignore-not-found")

    def start(self, name: str, hook: Hook = passes) -> Replica:
        """Start an operator in the pod of this name; started again it is another process of the same pod."""
        proxy = self._stack.enter_context(ApiProxy(self._kubeconfig(name), hook))
        health_port, metrics_port = free_ports(2)
        settings = {
            "leaderElection": True,
            "leaseNamespace": SYSTEM,
            "leaseName": LEASE,
            **self._timing,
            "healthAddress": f"127.0.0.1:{health_port}",
            "metricsAddress": f"127.0.0.1:{metrics_port}",
        }
        process = self._stage.start_operator(
            proxy.kubeconfig(self._stage.run_dir / f"{name}-{health_port}.kubeconfig"),
            settings=settings,
            environ={"HOSTNAME": name},
        )
        return Replica(name, process, proxy, health_port, metrics_port)

    def holder(self) -> str:
        """Name of the pod that holds the Lease; empty where none does."""
        found = self._stage.plane.kubectl(
            *("get", "lease", LEASE, "-n", SYSTEM, "--ignore-not-found", "-o", "jsonpath={.spec.holderIdentity}")
        )
        return found.stdout.rpartition("_")[0]

    def wait_leader(self, name: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until a replica holds the Lease."""
        wait_for(f"{name} leads", lambda: self.holder() == name, timeout_s, 0.1)

    def requests(self) -> list[AuditRequest]:
        """Return every request of these replicas, and all that touched their Lease, oldest first."""
        return [
            request
            for request in self._stage.plane.audit_log.requests(since=self.mark)
            if request.pod in self._kubeconfigs
        ]

    def _kubeconfig(self, name: str) -> Path:
        if name not in self._kubeconfigs:
            plane = self._stage.plane
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": SYSTEM},
                "spec": {
                    "serviceAccountName": "pdscaler",
                    "containers": [{"name": "operator", "image": "registry.invalid/pdscaler"}],
                },
            }
            plane.apply(pod)
            self._kubeconfigs[name] = plane.service_account_kubeconfig(SYSTEM, "pdscaler", pod=name)
        return self._kubeconfigs[name]


@dataclass(frozen=True)
class Grant:
    """One accepted write of the Lease: from its answer on, ``pod`` held it (or nobody), until the next one.

    Parameters
    ----------
    until_s
        The end of the lease as others see it: the duration after the write arrived, seconds since the epoch.
    """

    pod: str
    arrived_s: float
    answered_s: float
    until_s: float


def grants(requests: Sequence[AuditRequest], duration_s: float) -> list[Grant]:
    """Return the accepted writes of the Lease, in the order in which they were carried out."""
    found = []
    for request in requests:
        if request.resource == "leases" and request.verb in WRITES and 200 <= request.code < 300:
            assert request.body is not None
            holder = str(request.body["spec"]["holderIdentity"])
            pod = holder.rpartition("_")[0]
            assert pod in {"", request.pod}, "nobody gives the lease to another"
            until_s = request.arrived_s + (duration_s if pod else 0.0)
            found.append(Grant(pod, request.arrived_s, request.answered_s, until_s))
    return sorted(found, key=lambda grant: grant.answered_s)


def terms(granted: Sequence[Grant]) -> list[tuple[str, float, float]]:
    """Return (pod, first, last moment) of each term: grants of one pod in a row, seconds since the epoch."""
    found: list[tuple[str, float, float]] = []
    for grant in granted:
        if grant.pod and found and found[-1][0] == grant.pod and grant.arrived_s < found[-1][2]:
            found[-1] = (grant.pod, found[-1][1], grant.until_s)
            continue
        if found and grant.arrived_s < found[-1][2]:
            # Given back, or taken: the term before ends here.
            found[-1] = (found[-1][0], found[-1][1], grant.arrived_s)
        if grant.pod:
            found.append((grant.pod, grant.answered_s, grant.until_s))
    return found


def writes(requests: Sequence[AuditRequest]) -> list[AuditRequest]:
    """Return the writes of anything but the Lease, oldest first."""
    return [request for request in requests if request.verb in WRITES and request.resource != "leases"]


def outside_their_term(requests: Sequence[AuditRequest], duration_s: float) -> list[dict[str, Any]]:
    """Return each write that began while its pod did not hold the Lease; none, if there is a single writer."""
    granted = grants(requests, duration_s)
    wrong = []
    for write in writes(requests):
        before = [grant for grant in granted if grant.answered_s <= write.arrived_s]
        if not before or before[-1].pod != write.pod or write.arrived_s >= before[-1].until_s:
            wrong.append({"pod": write.pod, "at": write.at, "what": f"{write.verb} {write.resource} {write.name}"})
    return wrong
