"""The stage of the end-to-end tests: the chart's rights, a Prometheus, scripted engines."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localplane.plane import ControlPlane
from localplane.prom import Prometheus
from localplane.toolset import Tools
from support.engines import ScriptedEngines
from support.manifests import documents, helm_template
from support.stage import DECODE, PREFILL, SYSTEM, Stage

RIGHTS = {"CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"}


@pytest.fixture(scope="session")
def chart_account(control_plane: ControlPlane, tools: Tools) -> Path:
    """A kubeconfig of the chart's service account, with the rights that the chart's templates grant."""
    rendered = documents(helm_template(tools, namespace=SYSTEM))
    rights = [document for document in rendered if document["kind"] in RIGHTS]
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}, *rights)
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
    """Engines and a Prometheus that scrapes them; Deployments and the operator are the test's to start."""
    with ScriptedEngines(control_plane, namespace, PREFILL, DECODE) as engines:
        server = prometheus(sd_urls=[engines.sd_url])
        mark = control_plane.audit_log.mark()
        made = Stage(control_plane, namespace, server, engines, chart_account, tmp_path, audit_mark=mark)
        yield made
        made.stop_operators()
