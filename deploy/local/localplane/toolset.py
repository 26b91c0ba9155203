"""Which tools there are, from which modules, with which flags, and how to recognise a fitting binary.

Imports the standard library only. The modules' own pins are ``deploy/local/tools/*/go.mod``.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).resolve().parent.parent / "tools"
"""Folder of the two Go modules."""

_KUBERNETES = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3"
_PROMETHEUS = "-s -w -X github.com/prometheus/common/version.Version=3.15.0"


@dataclass(frozen=True, slots=True)
class Tool:
    """One program.

    Parameters
    ----------
    name
        File name of the binary.
    module
        Folder of its Go module under ``deploy/local/tools``.
    package
        Go import path.
    version_command
        Arguments that make it print its version.
    version_pattern
        What a fitting version's output contains.
    cold_s
        Measured time of a first build on 2 cores, seconds.
    flags
        Flags for ``go build`` besides ``-trimpath``.
    """

    name: str
    module: str
    package: str
    version_command: tuple[str, ...]
    version_pattern: str
    cold_s: float
    flags: tuple[str, ...]

    def fits(self, binary: Path) -> bool:
        """Whether a binary runs and says a fitting version."""
        return self.version_of(binary) is not None

    def version_of(self, binary: Path) -> str | None:
        """Return the version that a binary says of itself; None where it does not fit."""
        try:
            done = subprocess.run(
                [binary, *self.version_command], capture_output=True, text=True, timeout=30, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        found = re.search(self.version_pattern, done.stdout + done.stderr)
        return found.group(1) if found else None


def _kubernetes(name: str, cold_s: float, command: tuple[str, ...] = ("--version",)) -> Tool:
    flags = ("-ldflags", _KUBERNETES)
    return Tool(name, "controlplane", f"k8s.io/kubernetes/cmd/{name}", command, r"v(1\.36\.\d+)", cold_s, flags)


def _prometheus(name: str, cold_s: float) -> Tool:
    flags = ("-tags", "remove_all_sd", "-ldflags", _PROMETHEUS)
    package = f"github.com/prometheus/prometheus/cmd/{name}"
    return Tool(name, "prometheus", package, ("--version",), r"version (3\.\d+\.\d+)", cold_s, flags)


TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            "kubeconform",
            "controlplane",
            "github.com/yannh/kubeconform/cmd/kubeconform",
            ("-v",),
            # Built without its release flags it says "development".
            r"v?(0\.[6-9]\.\d+|development)",
            1,
            ("-ldflags", "-s -w -X main.version=v0.8.0"),
        ),
        _kubernetes("kube-apiserver", 285),
        _kubernetes("kube-controller-manager", 68),
        _kubernetes("kube-scheduler", 6),
        _kubernetes("kubectl", 79, ("version", "--client")),
        Tool(
            "etcd",
            "controlplane",
            "go.etcd.io/etcd/server/v3",
            ("--version",),
            r"etcd Version: (3\.6\.\d+)",
            10,
            ("-ldflags", "-s -w"),
        ),
        Tool(
            "kwok",
            "controlplane",
            "sigs.k8s.io/kwok/cmd/kwok",
            ("--version",),
            r"kwok version v(0\.8\.\d+)",
            16,
            ("-ldflags", "-s -w"),
        ),
        Tool(
            "helm",
            "controlplane",
            "helm.sh/helm/v3/cmd/helm",
            ("version", "--short"),
            r"v(3\.\d+(?:\.\d+)?)",
            17,
            ("-ldflags", "-s -w -X helm.sh/helm/v3/internal/version.version=v3.21.4"),
        ),
        _prometheus("prometheus", 115),
        _prometheus("promtool", 55),
    )
}
"""Every tool, in the order of the build: a small one first, so that a broken set-up shows at once."""

DISK_GB = 6.0
"""What a first build writes: 3.5 GB build cache, 1.5 GB modules, 0.6 GB binaries."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the binaries lie.

    Parameters
    ----------
    paths
        Path of each binary, by tool name.
    kwok_stages
        The kwok stages (a YAML file of several documents), taken from kwok's own module.
    """

    paths: Mapping[str, Path]
    kwok_stages: Path

    def __getitem__(self, name: str) -> Path:
        return self.paths[name]


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for everything that is built once: ``XDG_CACHE_HOME/pdscaler/tools``."""
    root = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".cache")
    return Path(root) / "pdscaler" / "tools"
