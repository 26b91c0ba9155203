"""The stage of the end-to-end tests: the chart's rights, a Prometheus, scripted engines."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localplane.plane import ControlPlane
from localplane.prom import Prometheus
from support.engines import ScriptedEngines
from support.stage import DECODE, PREFILL, Stage, apply_rights


@pytest.fixture(scope="session")
def chart_account(control_plane: ControlPlane) -> Path:
    """A kubeconfig of the chart's service account, with the rights that the chart's templates grant."""
    return apply_rights(control_plane)


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
