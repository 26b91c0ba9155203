"""The stage of the end-to-end tests: the chart's rights, a Prometheus, scripted engines."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from localplane.plane import ControlPlane
from localplane.prom import Prometheus
from localplane.toolset import Tools
from support.engines import ScriptedEngines
from support.stage import DECODE, PREFILL, SYSTEM, Stage

CHART = Path(__file__).parents[3] / "charts" / "pdscaler"
RIGHTS = {"CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}


@pytest.fixture(scope="session")
def chart_account(control_plane: ControlPlane, tools: Tools) -> Path:
    """A kubeconfig of the chart's service account, with the rights that the chart's templates grant."""
    command = [str(tools["helm"]), "template", "pdscaler", str(CHART), "--namespace", SYSTEM]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    documents = [document for document in yaml.safe_load_all(rendered) if document and document["kind"] in RIGHTS]
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}, *documents)
    control_plane.kubectl("wait", "--for=condition=Established", "crd/pddeployments.pdscaler.io", "--timeout=30s")
    return control_plane.service_account_kubeconfig(SYSTEM, "pdscaler")


@pytest.fixture
def stage(
    control_plane: ControlPlane,
    chart_account: Path,
    namespace: str,
    prometheus: Callable[..., Prometheus],
    tmp_path: Path,
) -> Iterator[Stage]:
    """Two namespaced Deployments' surroundings: engines and Prometheus run, the operator is started by the test."""
    with ScriptedEngines(control_plane, namespace, PREFILL, DECODE) as engines:
        server = prometheus(sd_urls=[engines.sd_url])
        mark = control_plane.audit_log.mark()
        made = Stage(control_plane, namespace, server, engines, chart_account, tmp_path, audit_mark=mark)
        yield made
        made.stop_operators()
