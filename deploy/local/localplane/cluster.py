"""A cluster as the launcher uses it: kubectl, service accounts, fake GPU nodes. Imports the launcher's parts.

:class:`localplane.plane.ControlPlane` starts one; :class:`localplane.kind.KindCluster` borrows one.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from localplane.errors import LocalPlaneError
from localplane.kubeconfig import write_token_kubeconfig
from localplane.nodes import node_documents
from localplane.processes import Processes
from localplane.toolset import Tools
from localplane.waiting import wait_for


class Cluster:
    """A cluster that runs.

    Parameters
    ----------
    run_dir
        Folder for logs, kubeconfigs and caches; created where it is missing.
    tools
        The binaries.
    kubeconfig
        Kubeconfig of the administrator, of one context.
    """

    borrowed = False
    """It lives on after us: what we add must be taken away."""

    def __init__(self, run_dir: Path, tools: Tools, *, kubeconfig: Path) -> None:
        self.run_dir = run_dir.resolve()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.tools = tools
        self.kubeconfig = kubeconfig
        self.processes = Processes(self.run_dir)

    def kubectl(
        self,
        *args: str | Path,
        input: str | None = None,  # noqa: A002 (subprocess.run's own name for it)
        check: bool = True,
        kubeconfig: Path | None = None,
        timeout_s: float = 120.0,
    ) -> "subprocess.CompletedProcess[str]":
        """Run kubectl as the administrator (or with another kubeconfig) and return what it said.

        Raises
        ------
        LocalPlaneError
            With kubectl's own message, if it fails and ``check`` is left on.
        """
        command = [
            str(self.tools["kubectl"]),
            f"--kubeconfig={kubeconfig or self.kubeconfig}",
            f"--cache-dir={self.run_dir / 'kubectl-cache'}",
            *map(str, args),
        ]
        said = f"kubectl {' '.join(map(str, args))}"
        try:
            done = subprocess.run(command, input=input, capture_output=True, text=True, check=False, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise LocalPlaneError(f"{said}: no answer in {timeout_s:g} seconds") from error
        if check and done.returncode != 0:
            raise LocalPlaneError(f"{said}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def apply(self, *documents: dict[str, Any]) -> None:
        """Apply objects given as values."""
        self.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))

    def get(self, *args: str) -> dict[str, Any]:
        """Return ``kubectl get ARGS -o json``."""
        document: dict[str, Any] = json.loads(self.kubectl("get", *args, "-o", "json").stdout)
        return document

    def wait_served(self, definition: str) -> None:
        """Wait until the kind of a CustomResourceDefinition is served."""

        def served() -> bool:
            # For a moment after its creation the conditions are null, which kubectl takes for an error.
            wait = ("wait", "--for=condition=Established", f"crd/{definition}", "--timeout=30s")
            return self.kubectl(*wait, check=False).returncode == 0

        wait_for(f"{definition} to be served", served)

    def add_nodes(self, count: int, gpus: int = 8, prefix: str = "gpu") -> None:
        """Add fake nodes ``PREFIX-0`` … with GPUs and wait until they are Ready."""
        self.apply(*node_documents(count, gpus, prefix))
        names = [f"node/{prefix}-{number}" for number in range(count)]
        self.kubectl("wait", "--for=condition=Ready", "--timeout=180s", *names, timeout_s=200.0)

    def service_account_kubeconfig(self, namespace: str, name: str, valid: str = "24h", pod: str = "") -> Path:
        """Return a kubeconfig with a fresh token of a service account that exists: its rights and no others.

        Parameters
        ----------
        pod
            Pod of that account which the token is bound to: the audit log then tells the pod too.
        """
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}") if pod else ()
        token = self.kubectl("create", "token", name, "-n", namespace, f"--duration={valid}", *bound).stdout.strip()
        path = self.run_dir / ".".join(part for part in (namespace, name, pod, "kubeconfig") if part)
        return write_token_kubeconfig(path, self.kubeconfig, token, namespace)
