"""The launcher's small parts: progress, ports, waiting, the audit log, kwok's configuration, Go versions."""

import io
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from localplane import ports
from localplane.audit import AuditLog
from localplane.errors import LocalPlaneError
from localplane.gotoolchain import build_environment, fits
from localplane.nodes import node_documents
from localplane.progress import Console
from localplane.stages import collect_stages, compose_config
from localplane.toolset import TOOLS, cache_folder
from localplane.waiting import wait_for


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_redrawn_on_a_terminal() -> None:
    stream = Terminal()
    console = Console(stream)
    console.tick("compiling", 1.0)
    console.tick("compiling", 65.0)
    console.line("done")
    drawn = [part.strip() for part in stream.getvalue().split("\r") if part.strip()]
    assert drawn == ["compiling … 1s", "compiling … 1m05s", "done"]


def test_progress_is_a_line_now_and_then_elsewhere() -> None:
    stream = io.StringIO()
    console = Console(stream, every_s=3600.0)
    for second in range(5):
        console.tick("compiling etcd", float(second))
    console.tick("compiling kwok", 0.0)
    assert stream.getvalue() == "compiling etcd\ncompiling kwok\n"


def test_ports_differ_from_those_of_other_processes_before_anybody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    few = ports._LOWEST + 200
    monkeypatch.setattr(ports, "_first_ephemeral", lambda: few)
    mine = ports.free_ports(60)
    assert len(set(mine)) == 60
    code = f"from localplane import ports; ports._first_ephemeral = lambda: {few}; print(*ports.free_ports(60))"
    path = {"PYTHONPATH": str(Path(ports.__file__).parents[1])}
    said = subprocess.run([sys.executable, "-c", code], env=path, check=True, capture_output=True, text=True).stdout
    theirs = [int(port) for port in said.split()]
    assert len(set(theirs)) == 60
    assert not set(mine) & set(theirs)
    with socket.create_server(("127.0.0.1", mine[0])):
        pass


def test_only_the_newest_ports_are_kept() -> None:
    for _ in range(6):
        ports.free_ports(50)
    assert len(ports._reserved) == ports._MOST_RESERVED


def test_waiting_ends_with_what_was_waited_for() -> None:
    assert wait_for("it", lambda: 7) == 7
    with pytest.raises(LocalPlaneError, match=r"waited 0 seconds for it, in vain \(log: x\)"):
        wait_for("it", lambda: None, 0.0, detail="log: x")


def test_the_audit_log_counts_a_watch_once_and_waits_for_whole_lines(tmp_path: Path) -> None:
    def event(number: int, verb: str, **more: Any) -> str:
        document = {
            "auditID": str(number),
            "verb": verb,
            "user": {"username": "u"},
            "userAgent": "pdscaler/0.1",
            "requestURI": "/x",
            "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z",
            "stageTimestamp": "2026-01-01T00:00:00.100000Z",
            **more,
        }
        return json.dumps(document) + "\n"

    path = tmp_path / "audit.log"
    log = AuditLog(path)
    assert log.requests() == []
    assert log.mark() == 0
    scale = {"resource": "deployments", "subresource": "scale", "namespace": "n", "name": "d"}
    path.write_text(event(1, "watch") + event(1, "watch"))
    mark = log.mark()
    with path.open("a") as file:
        file.write(event(2, "patch", objectRef=scale, responseStatus={"code": 200}) + '{"auditID": "3"')
    assert [request.verb for request in log.requests()] == ["watch", "patch"]
    (found,) = log.requests(since=mark, verb="write", resource="deployments/scale", user_agent="pdscaler", name="d")
    assert (found.namespace, found.code) == ("n", 200)
    assert log.requests(user="other") == []


def test_stages_are_collected_and_lose_their_default_jitter(tmp_path: Path) -> None:
    root = tmp_path / "kwok" / "kustomize" / "stage"
    stage = {
        "kind": "Stage",
        "metadata": {"name": "pod-ready"},
        "spec": {
            "resourceRef": {"kind": "Pod"},
            "delay": {"durationMilliseconds": 1000, "jitterDurationMilliseconds": 5000, "jitterDurationFrom": {}},
        },
    }
    for part in ("pod/general/a.yaml", "pod/general/kustomization.yaml", "node/heartbeat-with-lease/b.yaml"):
        path = root / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(stage))
    with pytest.raises(LocalPlaneError, match=r"kwok's module has no stages at .*failed\.yaml"):
        collect_stages(tmp_path / "kwok", tmp_path / "stages.yaml")
    for part in ("pod/chaos/pod-container-running-failed.yaml", "node/fast/node-initialize.yaml"):
        path = root / part
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(stage))
    collect_stages(tmp_path / "kwok", tmp_path / "stages.yaml")
    documents = list(yaml.safe_load_all(compose_config(tmp_path / "stages.yaml")))
    assert len(documents) == 7
    assert documents[0]["spec"]["delay"] == {"durationMilliseconds": 1000, "jitterDurationFrom": {}}
    own = {document["metadata"]["name"] for document in documents[4:]}
    assert own == {"pod-crash-loop", "pod-image-pull-failed", "pod-never-ready"}


@pytest.mark.parametrize(
    ("version", "fitting"), [("1.26.8", True), ("1.26", True), ("1.27.0", False), ("1.2.6", False), (None, False)]
)
def test_only_go_1_26_fits(version: str | None, fitting: bool) -> None:
    assert fits(version) is fitting


def test_the_build_is_free_of_the_users_settings() -> None:
    env = build_environment({"GOFLAGS": "-mod=vendor", "GOOS": "plan9", "GOPROXY": "https://proxy", "PATH": "/bin"})
    assert env == {
        "GOPROXY": "https://proxy",
        "PATH": "/bin",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
        "GOWORK": "off",
        "GOFLAGS": "-buildvcs=false",
    }


def test_the_cache_follows_xdg() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/pdscaler/tools")
    assert cache_folder({"HOME": "/home/me"}) == Path("/home/me/.cache/pdscaler/tools")


def test_the_pins_match_what_the_tools_say() -> None:
    folder = Path(__file__).resolve().parents[3] / "deploy/local/tools"
    control_plane = (folder / "controlplane/go.mod").read_text()
    for pin in ("k8s.io/kubernetes v1.36.3", "go.etcd.io/etcd/server/v3 v3.6.8", "sigs.k8s.io/kwok v0.8.0"):
        assert pin in control_plane
    assert control_plane.count("=> k8s.io/") == 33
    assert "godebug default=go1.26" in control_plane
    assert "github.com/prometheus/prometheus v0.315.0" in (folder / "prometheus/go.mod").read_text()
    for tool in TOOLS.values():
        assert f"\t{tool.package}\n" in (folder / tool.module / "go.mod").read_text()


def test_nodes_have_gpus() -> None:
    documents = node_documents(2, 8, "gpu")
    assert [document["metadata"]["name"] for document in documents] == ["gpu-0", "gpu-1"]
    assert documents[0]["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert "nvidia.com/gpu" not in node_documents(1, 0, "cpu")[0]["status"]["capacity"]
