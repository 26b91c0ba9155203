"""One control plane: etcd, API server, controllers, scheduler, and kwok for the nodes. Imports the launcher's parts.

Everything listens on 127.0.0.1 and lies in one run directory, so several can run side by side. The data is thrown
away: nothing here is tuned to survive a crash.
"""

import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from localplane.audit import POLICY, AuditLog
from localplane.cluster import Cluster
from localplane.errors import LocalPlaneError
from localplane.kubeconfig import write_certificate_kubeconfig
from localplane.pki import Pki, create_pki
from localplane.ports import free_ports
from localplane.processes import Process
from localplane.stages import compose_config
from localplane.toolset import Tools
from localplane.waiting import wait_for

_CONTROLLERS = "*,-cloud-node-lifecycle-controller,-node-ipam-controller,-node-route-controller,-service-lb-controller"


class ControlPlane(Cluster):
    """A control plane that runs while its ``with`` block does.

    Parameters
    ----------
    run_dir
        Folder for keys, logs and data; created, and expected to be empty.
    tools
        The binaries.
    gpu_nodes
        How many nodes to add at the start.
    gpus_per_node
        ``nvidia.com/gpu`` of each.
    hpa_period
        How often HorizontalPodAutoscalers are evaluated; 15s in production.
    """

    def __init__(
        self, run_dir: Path, tools: Tools, *, gpu_nodes: int = 4, gpus_per_node: int = 8, hpa_period: str = "2s"
    ) -> None:
        super().__init__(run_dir, tools, kubeconfig=run_dir.resolve() / "admin.kubeconfig")
        self.audit_log = AuditLog(self.run_dir / "audit.log")
        self._gpu_nodes = gpu_nodes
        self._gpus_per_node = gpus_per_node
        self._hpa_period = hpa_period
        self._parts: dict[str, Process] = {}
        self._pki: Pki | None = None
        self._etcd_port, self._etcd_peer_port, self._port, *self._other_ports = free_ports(6)

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until pods can be scheduled."""
        self._pki = create_pki(self.run_dir / "pki")
        for client in ("admin", "controller-manager", "scheduler", "kwok"):
            write_certificate_kubeconfig(self.run_dir / f"{client}.kubeconfig", self.server, self._pki, client)
        (self.run_dir / "audit-policy.yaml").write_text(POLICY, encoding="utf-8")
        (self.run_dir / "kwok.yaml").write_text(compose_config(self.tools.kwok_stages), encoding="utf-8")
        self._start_etcd()
        self.start_apiserver()
        self._start_controllers()
        if self._gpu_nodes:
            self.add_nodes(self._gpu_nodes, gpus=self._gpus_per_node)

    def stop(self) -> None:
        """End every process (also those started through :attr:`processes`)."""
        self.processes.close(grace_s=0.5)
        self._parts.clear()

    def part(self, name: str) -> Process:
        """Return a running part by the name of its binary, such as ``kube-scheduler``."""
        return self._parts[name]

    def start_apiserver(self) -> None:
        """Start the API server and wait until it serves its OpenAPI document, which ``kubectl apply`` needs."""
        pki = self._need_pki()
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=Node,RBAC",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
            f"--proxy-client-key-file={pki / 'front-proxy.key'}",
            f"--audit-policy-file={self.run_dir / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit_log.path}",
            "--audit-log-maxsize=100000",  # MB: at the default of 100 what was logged would silently move away
            "--shutdown-delay-duration=0s",
        )
        self._wait_until_served("/readyz")
        self._wait_until_served("/openapi/v2")

    def stop_apiserver(self) -> None:
        """End the API server at once, as a crash would; everything else keeps running."""
        self._end("kube-apiserver")

    def restart_apiserver(self) -> None:
        """End the API server at once, and start it again on the same port with the same data."""
        self.stop_apiserver()
        self.start_apiserver()

    def _start_etcd(self) -> None:
        client = f"http://127.0.0.1:{self._etcd_port}"
        peer = f"http://127.0.0.1:{self._etcd_peer_port}"
        self._run(
            "etcd",
            "--name=local",
            f"--data-dir={self.run_dir / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=local={peer}",
            "--log-level=warn",
        )

    def _start_controllers(self) -> None:
        pki = self._need_pki()
        manager_port, scheduler_port, kwok_port = self._other_ports
        manager = self.run_dir / "controller-manager.kubeconfig"
        scheduler = self.run_dir / "scheduler.kubeconfig"
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={manager}",
            f"--authentication-kubeconfig={manager}",
            f"--authorization-kubeconfig={manager}",
            "--bind-address=127.0.0.1",
            f"--secure-port={manager_port}",
            f"--controllers={_CONTROLLERS}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--service-account-private-key-file={pki / 'sa.key'}",
            f"--cluster-signing-cert-file={pki / 'ca.crt'}",
            f"--cluster-signing-key-file={pki / 'ca.key'}",
            f"--horizontal-pod-autoscaler-sync-period={self._hpa_period}",
        )
        self._run(
            "kube-scheduler",
            f"--kubeconfig={scheduler}",
            f"--authentication-kubeconfig={scheduler}",
            f"--authorization-kubeconfig={scheduler}",
            "--bind-address=127.0.0.1",
            f"--secure-port={scheduler_port}",
            "--leader-elect=false",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        )
        self._run(
            "kwok",
            f"--kubeconfig={self.run_dir / 'kwok.kubeconfig'}",
            f"--config={self.run_dir / 'kwok.yaml'}",
            "--manage-all-nodes",
            "--cidr=10.244.0.0/16",
            "--node-ip=10.1.0.1",
            "--node-lease-duration-seconds=40",
            f"--server-address=127.0.0.1:{kwok_port}",
        )
        wait_for("the default service account", self._default_account_exists, 60.0, detail=str(manager))

    def _default_account_exists(self) -> bool:
        self.processes.check()
        return self.kubectl("get", "serviceaccount", "default", "-n", "default", check=False).returncode == 0

    def _run(self, name: str, *args: str) -> None:
        command: Sequence[str | Path] = (self.tools[name], *args)
        self._parts[name] = self.processes.start(name, command)

    def _end(self, name: str) -> None:
        process = self._parts.pop(name)
        process.kill()
        self.processes.forget(process)

    def _wait_until_served(self, path: str) -> None:
        def served() -> bool:
            self.processes.check()
            return self._status(path) == 200

        wait_for(f"{path} of the API server", served, 90.0, detail=f"logs in {self.run_dir / 'logs'}")

    def _status(self, path: str) -> int:
        pki = self._need_pki()
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(f"{self.server}{path}", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def _need_pki(self) -> Pki:
        if self._pki is None:
            raise LocalPlaneError("the control plane has not been started")
        return self._pki
