"""Compiling one tool with the Go toolchain, with progress and failures that say what to do. Standard library only."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from localplane.errors import LocalPlaneError, tail
from localplane.gotoolchain import build_environment
from localplane.progress import Progress
from localplane.toolset import MODULES, Tool

_NETWORK = (
    "no such host",
    "dial tcp",
    "i/o timeout",
    "connection refused",
    "connection reset",
    "TLS handshake",
    "Proxy",
    "server response: 5",
    "certificate",
)


def compile_tool(
    go: Path, tool: Tool, target: Path, *, label: str, progress: Progress, environ: Mapping[str, str] = os.environ
) -> None:
    """Build ``tool`` beside ``target`` and rename it into place, so that no half-built binary is ever found.

    Parameters
    ----------
    label
        What progress says, such as ``compiling kube-apiserver 2/10, about 6 minutes the first time``.
    """
    part = target.with_name(f".{target.name}.part")
    log = target.with_name(f".{target.name}.log")
    command = [str(go), "build", "-trimpath", *tool.flags, "-o", str(part), tool.package]
    started_s = time.monotonic()
    with log.open("wb") as output:
        building = subprocess.Popen(
            command,
            cwd=MODULES / tool.module,
            env=build_environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                progress.tick(label, time.monotonic() - started_s)
                try:
                    status = building.wait(timeout=1.0)
                    break
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if building.poll() is None:
                building.kill()
                building.wait()
            if building.returncode != 0:
                part.unlink(missing_ok=True)
    if status != 0:
        raise LocalPlaneError(_explain(tool, tail(log, 15)))
    part.replace(target)
    log.unlink()


def module_folder(go: Path, module: str, path: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of a dependency of one of the two Go modules, downloading it where needed."""
    folder = MODULES / module
    env = build_environment(environ)
    for command in (["mod", "download", path], ["list", "-m", "-f", "{{.Dir}}", path]):
        done = subprocess.run([go, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LocalPlaneError(f"go {' '.join(command)} failed: {done.stderr.strip()[-1500:]}")
    return Path(done.stdout.strip())


def check_disk(folder: Path, needed_gb: float, progress: Progress) -> None:
    """Refuse a build that cannot fit, and warn of one that may not (a warm build cache needs less)."""
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < 1.0:
        raise LocalPlaneError(
            f"no disk space: {free_gb:.1f} GB free at {folder}, a first build writes {needed_gb:g} GB"
        )
    if free_gb < needed_gb:
        progress.line(f"only {free_gb:.1f} GB free at {folder}; a first build writes about {needed_gb:g} GB")


def _explain(tool: Tool, output: str) -> str:
    if "no space left on device" in output:
        hint = (
            f"the disk is full (free space for Go's build cache, or move it with GOCACHE; "
            f"the temporary files go to {tempfile.gettempdir()})"
        )
    elif any(word in output for word in _NETWORK):
        hint = "the Go module proxy cannot be reached (set GOPROXY, or name prebuilt tools in PDSCALER_TOOLS_DIR)"
    else:
        hint = "the compiler's last words follow"
    return f"compiling {tool.name} failed: {hint}\n{output}"
