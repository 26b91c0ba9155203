"""Rendering the chart and the kustomizations with the real tools, for the packaging tests."""

import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from localplane.toolset import Tools

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "pdscaler"
VERSION = str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
_KUBERNETES = "1.36.3"

Document = dict[str, Any]


class RenderError(Exception):
    """The tool refused; ``str()`` is what it said."""


def run(*command: str | Path, **options: Any) -> str:
    """Run a tool and return what it printed; its complaint is the error."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise RenderError(done.stderr + done.stdout)
    return str(done.stdout)


def helm_template(
    tools: Tools,
    values: Mapping[str, Any] | None = None,
    *,
    release: str = "pdscaler",
    namespace: str = "pdscaler-system",
) -> str:
    """Render the chart as YAML text."""
    options: Sequence[str] = ("--kube-version", _KUBERNETES, "--namespace", namespace, "--values", "-")
    return run(tools["helm"], "template", release, CHART, *options, input=yaml.safe_dump(dict(values or {})))


def kustomize(tools: Tools, folder: str) -> str:
    """Render a kustomization of the repository as YAML text."""
    return run(tools["kubectl"], "kustomize", ROOT / folder)


def documents(text: str) -> list[Document]:
    """Return the objects of a YAML text."""
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(objects: Sequence[Document], kind: str) -> list[Document]:
    """Return the objects of one kind."""
    return [document for document in objects if document["kind"] == kind]


def one(objects: Sequence[Document], kind: str) -> Document:
    """Return the only object of one kind."""
    found = of_kind(objects, kind)
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def pod_spec(objects: Sequence[Document]) -> Document:
    """Return the operator's pod spec."""
    spec: Document = one(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


def config_of(objects: Sequence[Document]) -> str:
    """Return the text of the operator's configuration file."""
    found = [document for document in of_kind(objects, "ConfigMap") if "config.yaml" in document["data"]]
    assert len(found) == 1
    return str(found[0]["data"]["config.yaml"])
