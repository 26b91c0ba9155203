"""What kwok does to pods and nodes: its own stages, taken from its module, and three of ours. Imports PyYAML.

A stage of kwok's ``pod/general`` is timed by annotations of the pod: ``pod-ready.stage.kwok.x-k8s.io/delay: 20s`` is
the time to load a model. Its default jitter of up to 5 seconds is taken away here, so that a delay means just that;
``…/jitter-delay`` still asks for one.
"""

from pathlib import Path
from typing import Any

import yaml

from localplane.errors import LocalPlaneError

STAGES_FILE = "kwok-stages.yaml"
"""Name of the collected file beside the kwok binary."""

_FROM_MODULE = ("pod/general", "pod/chaos/pod-container-running-failed.yaml")
_NODES_FROM_MODULE = ("node/fast/node-initialize.yaml", "node/heartbeat-with-lease")
OWN = Path(__file__).resolve().parent / "stages"
"""Folder of our own stages: pods that hang in ImagePullBackOff or CrashLoopBackOff, or never become Ready."""


def collect_stages(module: Path, target: Path) -> None:
    """Write the stages that are used from kwok's module folder into one file, unchanged."""
    root = module / "kustomize" / "stage"
    texts: list[str] = []
    for part in (*_FROM_MODULE, *_NODES_FROM_MODULE):
        path = root / part
        files = sorted(file for file in path.glob("*.yaml") if file.name != "kustomization.yaml")
        if path.is_file():
            files = [path]
        if not files:
            raise LocalPlaneError(f"kwok's module has no stages at {path}")
        texts += [file.read_text(encoding="utf-8") for file in files]
    part_file = target.with_suffix(".part")
    part_file.write_text("---\n".join(texts), encoding="utf-8")
    part_file.replace(target)


def compose_config(stages: Path) -> str:
    """Return the configuration file for kwok: the collected stages without default jitter, and our own."""
    documents = [document for document in yaml.safe_load_all(stages.read_text(encoding="utf-8")) if document]
    for document in documents:
        _drop_default_jitter(document)
    for file in sorted(OWN.glob("*.yaml")):
        documents += [document for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]
    return str(yaml.safe_dump_all(documents, sort_keys=False))


def _drop_default_jitter(stage: dict[str, Any]) -> None:
    delay = stage["spec"].get("delay", {})
    if stage["spec"]["resourceRef"]["kind"] == "Pod" and "jitterDurationFrom" in delay:
        delay.pop("jitterDurationMilliseconds", None)
