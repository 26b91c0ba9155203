"""A kind cluster that already runs, borrowed for the demo. Imports PyYAML and the launcher's parts.

What is borrowed must be disposable: its context is named, begins with ``kind-``, and its API server listens on
loopback. The current context is never taken by default. Fake GPU nodes and their pods are run by kwok, as on the local
control plane, so the samples are the same; everything that was added is taken away again.
"""

import ipaddress
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

from localplane.cluster import Cluster
from localplane.errors import LocalPlaneError
from localplane.ports import free_port
from localplane.stages import compose_config
from localplane.toolset import Tools

DEFAULT_CONTEXT = "kind-pdscaler"
_PREFIX = "kind-"


def context_name(cluster: str) -> str:
    """Return the context for ``CLUSTER=kind`` or ``CLUSTER=kind-NAME``.

    Raises
    ------
    LocalPlaneError
        If the name is not on the allow-list (contexts that kind made).
    """
    if cluster == "kind":
        return DEFAULT_CONTEXT
    if cluster.startswith(_PREFIX) and len(cluster) > len(_PREFIX):
        return cluster
    raise LocalPlaneError(
        f'CLUSTER="{cluster}" is not allowed: write CLUSTER=local, CLUSTER=kind (context {DEFAULT_CONTEXT}) or '
        f"CLUSTER=kind-NAME; no other context is ever touched"
    )


def choose(config: Mapping[str, Any], context: str, environ: Mapping[str, str]) -> str:
    """Check that a context of a kubeconfig may be borrowed, and return its API server's URL.

    Parameters
    ----------
    config
        The user's kubeconfig (``kubectl config view``).
    context
        The wanted context.
    environ
        For PATH: what is missing for making such a cluster is named.
    """
    contexts = {item["name"]: item["context"] for item in config.get("contexts") or ()}
    if context not in contexts:
        known = sorted(name for name in contexts if name.startswith(_PREFIX))
        found = f"; there are {', '.join(known)}" if known else ""
        raise LocalPlaneError(f'no context "{context}" in the kubeconfig{found}. {_how_to_make(context, environ)}')
    servers = {item["name"]: item["cluster"].get("server", "") for item in config.get("clusters") or ()}
    server = str(servers.get(contexts[context].get("cluster", ""), ""))
    if not _on_loopback(server):
        raise LocalPlaneError(
            f'context "{context}" leads to {server or "no server"}, which is not on loopback: kind clusters are'
        )
    return server


class KindCluster(Cluster):
    """A borrowed kind cluster; its ``with`` block adds fake GPU nodes and takes them away.

    Parameters
    ----------
    run_dir
        Folder for logs and kubeconfigs.
    tools
        The binaries.
    context
        A context that :func:`context_name` allows.
    gpu_nodes, gpus_per_node
        Fake nodes to add.
    """

    borrowed = True

    def __init__(
        self, run_dir: Path, tools: Tools, context: str, *, gpu_nodes: int = 4, gpus_per_node: int = 8
    ) -> None:
        super().__init__(run_dir, tools, kubeconfig=run_dir.resolve() / "admin.kubeconfig")
        self._context = context
        self._gpu_nodes = gpu_nodes
        self._gpus_per_node = gpus_per_node

    def __enter__(self) -> Self:
        choose(self._config("view"), self._context, os.environ)
        self.kubeconfig.touch(mode=0o600)
        own = self._config("view", "--minify", "--flatten", f"--context={self._context}")
        self.kubeconfig.write_text(yaml.safe_dump(own), encoding="utf-8")
        answer = self.kubectl("get", "--raw", "/readyz", check=False)
        if answer.returncode != 0:
            raise LocalPlaneError(f'the cluster of context "{self._context}" does not answer: {answer.stderr.strip()}')
        (self.run_dir / "kwok.yaml").write_text(compose_config(self.tools.kwok_stages), encoding="utf-8")
        try:
            self.processes.start(
                "kwok",
                [
                    self.tools["kwok"],
                    f"--kubeconfig={self.kubeconfig}",
                    f"--config={self.run_dir / 'kwok.yaml'}",
                    "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                    "--cidr=10.244.128.0/17",
                    "--node-ip=10.1.0.1",
                    "--node-lease-duration-seconds=40",
                    f"--server-address=127.0.0.1:{free_port()}",
                ],
            )
            self.add_nodes(self._gpu_nodes, gpus=self._gpus_per_node, prefix="pdscaler-gpu")
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        names = [f"pdscaler-gpu-{number}" for number in range(self._gpu_nodes)]
        self.kubectl("delete", "node", *names, "--ignore-not-found", "--wait=false", check=False)
        self.processes.close(grace_s=1.0)

    def _config(self, *args: str) -> dict[str, Any]:
        command = [str(self.tools["kubectl"]), "config", *args, "-o", "yaml"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        if done.returncode != 0:
            raise LocalPlaneError(f"the kubeconfig cannot be read: {done.stderr.strip()}")
        document: dict[str, Any] = yaml.safe_load(done.stdout) or {}
        return document


def _how_to_make(context: str, environ: Mapping[str, str]) -> str:
    missing = [name for name in ("docker", "kind") if shutil.which(name, path=environ.get("PATH", "")) is None]
    command = f"kind create cluster --name {context.removeprefix(_PREFIX)}"
    if missing:
        tools = " and ".join(missing)
        return f"Install {tools}, then: {command}. Or leave CLUSTER out: the local control plane needs neither"
    return f"Make it: {command}"


def _on_loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
