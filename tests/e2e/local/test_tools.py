"""Where the tools come from: the cache, a folder of prebuilt ones, or a Go toolchain that arrives by itself."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from localplane import tools as tools_module
from localplane.errors import LocalPlaneError
from localplane.tools import ensure_tools, fingerprint
from localplane.toolset import TOOLS, Tools


class Lines:
    def __init__(self) -> None:
        self.said: list[str] = []

    def line(self, text: str) -> None:
        self.said.append(text)

    def tick(self, text: str, elapsed_s: float) -> None:
        if text not in self.said:
            self.said.append(text)


def path_without_go() -> str:
    """PATH without every folder that holds a Go; what else a build needs is Python's own."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not (Path(folder) / "go").exists())


def test_every_tool_fits(tools: Tools) -> None:
    assert set(tools.paths) == set(TOOLS)
    assert {name: TOOLS[name].version_of(path) is not None for name, path in tools.paths.items()} == dict.fromkeys(
        TOOLS, True
    )
    assert "node-heartbeat-with-lease" in tools.kwok_stages.read_text()


@pytest.mark.long
def test_without_go_the_toolchain_arrives_and_compiles(tmp_path: Path) -> None:
    """Needs the Python package index and the Go module proxy; about a minute."""
    assert shutil.which("go", path=path_without_go()) is None
    progress = Lines()
    environ = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PDSCALER_TOOLS_DIR", "GOROOT", "GOBIN", "VIRTUAL_ENV")
    }
    environ |= {"PATH": path_without_go(), "XDG_CACHE_HOME": str(tmp_path), "GOCACHE": str(tmp_path / "build")}
    found = ensure_tools(progress, ["kubeconform"], environ)
    binary = found["kubeconform"]
    assert binary == tmp_path / "pdscaler/tools" / fingerprint() / "kubeconform"
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "v0.8.0"
    assert "Go 1.26 toolchain" in progress.said[0]
    assert progress.said[1] == "compiling kubeconform 1/1, about 10 seconds the first time"
    again = Lines()
    assert ensure_tools(again, ["kubeconform"], environ)["kubeconform"] == binary
    assert again.said == []


def test_prebuilt_tools_are_honoured(tools: Tools, tmp_path: Path) -> None:
    (tmp_path / "kubeconform").symlink_to(tools["kubeconform"])
    environ = {"PDSCALER_TOOLS_DIR": str(tmp_path), "PATH": ""}
    assert ensure_tools(Lines(), ["kubeconform"], environ)["kubeconform"] == tmp_path / "kubeconform"


def test_what_prebuilt_folders_lack_is_named(tools: Tools, tmp_path: Path) -> None:
    (tmp_path / "etcd").symlink_to(tools["helm"])
    environ = {"PDSCALER_TOOLS_DIR": str(tmp_path), "PATH": ""}
    with pytest.raises(LocalPlaneError, match="etcd is of another version; kwok is missing"):
        ensure_tools(Lines(), ["etcd", "kwok"], environ)


def test_fitting_tools_on_path_are_used(tools: Tools, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "helm").symlink_to(tools["helm"])
    environ = {"PATH": str(folder), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert ensure_tools(Lines(), ["helm"], environ)["helm"] == folder / "helm"


def test_a_compile_error_shows_its_last_words(tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "modules" / "controlplane"
    broken.mkdir(parents=True)
    (broken / "go.mod").write_text("module broken\n\ngo 1.26.0\n")
    (broken / "go.sum").write_text("")
    monkeypatch.setattr("localplane.gobuild.MODULES", tmp_path / "modules")
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environ.pop("PDSCALER_TOOLS_DIR", None)
    with pytest.raises(LocalPlaneError, match=r"compiling kubeconform failed: the compiler's last words follow\n"):
        ensure_tools(Lines(), ["kubeconform"], environ)
    assert not list((tmp_path / "cache").rglob("kubeconform"))
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_second_builder_waits(tmp_path: Path) -> None:
    import threading

    progress = Lines()
    lock = tmp_path / "lock"
    waited = threading.Event()
    with tools_module._lock(lock, Lines()):

        def wait_for_it() -> None:
            with tools_module._lock(lock, progress):
                waited.set()

        thread = threading.Thread(target=wait_for_it)
        thread.start()
        assert not waited.wait(0.3)
    thread.join()
    assert waited.is_set()
    assert progress.said == [f"another process (pid {os.getpid()}) builds the tools; waiting for it"]
