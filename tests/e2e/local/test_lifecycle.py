"""Two planes side by side, a restart of the API server, and nothing left behind, however the launcher ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localplane.errors import LocalPlaneError
from localplane.plane import ControlPlane
from localplane.processes import alive
from localplane.toolset import Tools
from localplane.waiting import wait_for
from support.plane import apply_in, deployment, wait_ready

pytestmark = pytest.mark.long

SOURCES = Path(__file__).resolve().parents[3]
LAUNCHER = """
import sys, time
from pathlib import Path
from localplane.plane import ControlPlane
from localplane.processes import terminate_as_interrupt
from localplane.progress import Silent
from localplane.tools import ensure_tools

terminate_as_interrupt()
with ControlPlane(Path(sys.argv[1]), ensure_tools(Silent()), gpu_nodes=1) as plane:
    Path(sys.argv[1], "up").touch()
    if sys.argv[2] == "raise":
        raise RuntimeError("something broke")
    time.sleep(600)
"""
PARTS = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"]


def test_two_planes_side_by_side(control_plane: ControlPlane, namespace: str, tools: Tools, tmp_path: Path) -> None:
    apply_in(control_plane, namespace, deployment("here"))
    with ControlPlane(tmp_path / "second", tools, gpu_nodes=1) as second:
        pids = [second.part(name).pid for name in PARTS]
        second.kubectl("create", "namespace", namespace)
        apply_in(second, namespace, deployment("there"))
        wait_ready(second, namespace, "there", 1)
        wait_ready(control_plane, namespace, "here", 1)
        assert [item["metadata"]["name"] for item in second.get("nodes")["items"]] == ["gpu-0"]
        assert [item["metadata"]["name"] for item in second.get("deployments", "-n", namespace)["items"]] == ["there"]
        second.restart_apiserver()
        assert [item["metadata"]["name"] for item in second.get("deployments", "-n", namespace)["items"]] == ["there"]
        apply_in(second, namespace, deployment("there", replicas=2))
        wait_ready(second, namespace, "there", 2)
    assert not any(map(alive, pids))
    control_plane.kubectl("get", "--raw", "/readyz")


@pytest.mark.parametrize("way", ["SIGKILL", "SIGTERM", "SIGINT", "raise"])
def test_no_process_is_left(tools: Tools, tmp_path: Path, way: str) -> None:
    folder = tmp_path / "plane"
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(folder), way],
        env={**os.environ, "PYTHONPATH": f"{SOURCES / 'deploy/local'}:{SOURCES / 'operator'}"},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    with launcher:
        try:
            wait_for("the plane", lambda: (folder / "up").exists() or launcher.poll() is not None)
            if way != "raise":
                launcher.send_signal(getattr(signal, way))
            _, said = launcher.communicate(timeout=60)
        finally:
            launcher.kill()
    assert launcher.returncode == {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": -2, "raise": 1}[way]
    assert ("something broke" in said) == (way == "raise")
    started = [line.split() for line in (folder / "pids").read_text().splitlines()]
    assert [name for _, name in started] == PARTS
    wait_for("every process to end", lambda: not any(alive(int(pid)) for pid, _ in started))


def test_a_part_that_dies_is_named(tools: Tools, tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "plane", tools, gpu_nodes=0) as plane:
        os.kill(plane.part("kube-scheduler").pid, signal.SIGKILL)
        plane.part("kube-scheduler").wait(10)
        with pytest.raises(LocalPlaneError, match=r"kube-scheduler ended with status -9; the end of .*log"):
            plane.processes.check()
