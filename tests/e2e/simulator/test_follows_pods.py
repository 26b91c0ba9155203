"""``pdscaler emulate`` follows the Ready pods of two real Deployments."""

from pathlib import Path

from localplane.plane import ControlPlane
from localplane.waiting import wait_for
from support.documents import changed, pddeployment
from support.emulator import EmulatorProcess
from support.plane import READY_DELAY, apply_in, deployment, wait_ready

STEADY = {
    "name": "steady",
    "duration": "300s",
    "arrivalRate": 20,
    "inputTokens": {"mean": 400, "scv": 0.5},
    "outputTokens": {"mean": 20, "scv": 0.5},
}


def pods(plane: ControlPlane, namespace: str, name: str) -> set[str]:
    found = plane.get("pods", "-n", namespace, "-l", f"app={name}")["items"]
    return {str(pod["metadata"]["name"]) for pod in found}


def test_engines_come_and_go_with_their_pods(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    plane = control_plane
    # Decode pods load their model for two seconds.
    apply_in(
        plane,
        namespace,
        deployment("llama-prefill", replicas=2),
        deployment("llama-decode", replicas=1, annotations={READY_DELAY: "2s"}),
    )
    document = changed(pddeployment(), {"metadata.namespace": namespace})
    with EmulatorProcess(tmp_path, document, [STEADY], "--kubeconfig", str(plane.kubeconfig)) as emulator:
        wait_for("the load to begin", lambda: emulator.stats()["started"], every_s=0.2)
        wait_ready(plane, namespace, "llama-decode", 1)
        wait_for("two prefill engines", lambda: emulator.stats()["replicas"] == {"prefill": 2, "decode": 1})
        expected = pods(plane, namespace, "llama-prefill") | pods(plane, namespace, "llama-decode")
        assert emulator.pods() == expected

        plane.kubectl("scale", "deployment/llama-decode", "--replicas=3", "-n", namespace)
        wait_for("three decode engines", lambda: emulator.stats()["replicas"]["decode"] == 3, every_s=0.2)

        kept = pods(plane, namespace, "llama-prefill")
        plane.kubectl("scale", "deployment/llama-prefill", "--replicas=1", "-n", namespace)
        wait_for("one prefill engine", lambda: emulator.stats()["replicas"]["prefill"] == 1, every_s=0.2)
        wait_for("the other to drain", lambda: len(emulator.pods() & kept) == 1, every_s=0.2)

        wait_for("requests that finish", lambda: emulator.stats()["recent"]["completed"] > 20, every_s=0.2)
        assert emulator.stats()["recent"]["attainment"]["joint"] > 0.9
        assert emulator.records.read_text().startswith("request_id,phase,arrival_s,arrival_unix_s,")


def test_the_load_waits_for_both_pools(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    plane = control_plane
    apply_in(plane, namespace, deployment("llama-prefill"))
    document = changed(pddeployment(), {"metadata.namespace": namespace})
    with EmulatorProcess(tmp_path, document, [STEADY], "--kubeconfig", str(plane.kubeconfig)) as emulator:
        wait_for("the prefill engine", lambda: emulator.stats()["replicas"]["prefill"] == 1, every_s=0.2)
        assert emulator.stats()["started"] is False
        apply_in(plane, namespace, deployment("llama-decode"))  # a target that appears later is found
        wait_for("the load to begin", lambda: emulator.stats()["started"], every_s=0.2)
