"""A borrowed cluster (kind's case) on a real API server: what the demo adds there works, and is taken away again.

No Docker here, so a local control plane without its own kwok stands in for kind; everything else is as with kind.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from localplane.demo_scenario import scenario_of_phases
from localplane.demo_stack import OPERATOR_NAMESPACE, DemoStack
from localplane.errors import LocalPlaneError
from localplane.kind import KindCluster
from localplane.plane import ControlPlane
from localplane.toolset import Tools
from localplane.waiting import wait_for
from support.plane import apply_in, deployment, wait_ready


@pytest.fixture(scope="module")
def stand_in(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("borrowed")
    with ControlPlane(folder / "plane", tools, gpu_nodes=0) as plane, pytest.MonkeyPatch.context() as patch:
        kwok = plane.part("kwok")
        kwok.kill()
        plane.processes.forget(kwok)
        document = yaml.safe_load(plane.kubeconfig.read_text())
        document["contexts"].append({**document["contexts"][0], "name": "kind-test"})
        document["current-context"] = "elsewhere"
        config = folder / "kubeconfig"
        config.write_text(yaml.safe_dump(document))
        patch.setenv("KUBECONFIG", str(config))
        yield plane


def names(plane: ControlPlane, kind: str) -> set[str]:
    return {item["metadata"]["name"] for item in plane.get(kind)["items"]}


def test_gpu_nodes_are_lent_and_taken_away(stand_in: ControlPlane, tools: Tools, tmp_path: Path) -> None:
    with KindCluster(tmp_path / "kind", tools, "kind-test", gpu_nodes=2) as borrowed:
        assert yaml.safe_load(borrowed.kubeconfig.read_text())["current-context"] == "kind-test"
        assert names(stand_in, "nodes") == {"pdscaler-gpu-0", "pdscaler-gpu-1"}
        borrowed.kubectl("create", "namespace", "here")
        wait_for(
            "the default service account",
            lambda: borrowed.kubectl("get", "serviceaccount", "default", "-n", "here", check=False).returncode == 0,
        )
        apply_in(stand_in, "here", deployment("engines", replicas=2, gpus=8))
        wait_ready(stand_in, "here", "engines", 2)
    wait_for("the nodes to go", lambda: names(stand_in, "nodes") == set())


def test_a_context_that_is_not_there_is_refused(stand_in: ControlPlane, tools: Tools, tmp_path: Path) -> None:
    with (
        pytest.raises(LocalPlaneError, match=r'no context "kind-absent" in the kubeconfig; there are kind-test\.'),
        KindCluster(tmp_path / "kind", tools, "kind-absent"),
    ):
        pytest.fail("it must not start")


@pytest.mark.long
def test_the_demo_takes_away_what_it_brought(stand_in: ControlPlane, tools: Tools, tmp_path: Path) -> None:
    before = {kind: names(stand_in, kind) for kind in ("namespaces", "crd", "clusterroles", "clusterrolebindings")}
    scenario = scenario_of_phases()
    with KindCluster(tmp_path / "kind", tools, "kind-test") as borrowed:
        with DemoStack(borrowed, scenario, tmp_path / "requests.csv", 0) as parts:
            parts.create_targets()
            wait_for("the load", lambda: parts.stats()["started"], every_s=0.5)
            parts.apply_resource()
            wait_for("the operator's status", lambda: parts.resource().get("status"), every_s=0.5)
            assert "pddeployments.pdscaler.io" in names(stand_in, "crd")
            assert parts.forecast_rps() is None
            said = parts.look_ahead("Auto")
            assert said.startswith("kubectl patch pdd chat -n demo --type merge -p '{")
            # From the days before that were written into Prometheus: of today there are only seconds.
            wait_for("a forecast", lambda: parts.resource()["status"].get("forecast", {}).get("method"), every_s=0.5)
            assert "period 3.5 min" in parts.resource()["status"]["forecast"]["reason"]
            wait_for("the forecast's figure", parts.forecast_rps, every_s=0.5)
        wait_for(
            "everything to be gone",
            lambda: all(names(stand_in, kind) == known for kind, known in before.items()),
            90.0,
            every_s=0.5,
        )


def test_the_demo_does_not_touch_an_installed_operator(stand_in: ControlPlane, tools: Tools, tmp_path: Path) -> None:
    stand_in.kubectl("create", "namespace", OPERATOR_NAMESPACE)
    with (
        KindCluster(tmp_path / "kind", tools, "kind-test") as borrowed,
        pytest.raises(LocalPlaneError, match="namespace/pdscaler-system exists in this cluster already"),
        DemoStack(borrowed, scenario_of_phases(), tmp_path / "requests.csv", 0),
    ):
        pytest.fail("it must not start")
    assert stand_in.get("namespace", OPERATOR_NAMESPACE)["status"]["phase"] == "Active"
