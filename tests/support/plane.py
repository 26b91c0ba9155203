"""Helpers for tests on the local control plane: namespaces, Deployments of engine pods, waiting."""

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from localplane.administrator import Administrator
from localplane.plane import ControlPlane
from localplane.prom import Prometheus
from localplane.toolset import Tools
from localplane.waiting import PATIENCE_S, wait_for

Namespace = AbstractContextManager[str]
READY_DELAY = "pod-ready.stage.kwok.x-k8s.io/delay"
DELETE_DELAY = "pod-delete.stage.kwok.x-k8s.io/delay"


@contextlib.contextmanager
def _fresh_namespace(plane: ControlPlane) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    api, path = administrator(plane), f"/api/v1/namespaces/{name}"
    api.send("POST", "/api/v1/namespaces", {"metadata": {"name": name}})

    def has_account() -> bool:
        try:
            return bool(api.get(f"{path}/serviceaccounts/default"))
        except HTTPError:
            return False

    wait_for("the default service account", has_account)
    try:
        yield name
    finally:
        # The plane may be gone by now. A terminating pod would hold its GPUs for its grace period.
        with contextlib.suppress(OSError):
            api.send("DELETE", path, {})
            api.send("DELETE", f"{path}/pods", {"gracePeriodSeconds": 0})


def fresh_namespace(plane: ControlPlane) -> Namespace:
    """Return a context manager that makes a namespace and deletes it with its pods."""
    return _fresh_namespace(plane)


def deployment(
    name: str,
    *,
    replicas: int = 1,
    gpus: int = 0,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    grace_s: int = 1,
) -> dict[str, Any]:
    """Return a Deployment of fake engine pods; its annotations (kwok's delays) and labels go to the pod template.

    However long :data:`DELETE_DELAY` is, a pod is gone when its grace period is over.
    """
    container: dict[str, Any] = {"name": "engine", "image": "registry.invalid/engine:1"}
    if gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, **(labels or {})}, "annotations": dict(annotations or {})},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": grace_s},
            },
        },
    }


def apply_in(plane: ControlPlane, namespace: str, *documents: dict[str, Any]) -> None:
    """Apply objects in a namespace."""
    placed = [{**document, "metadata": {**document["metadata"], "namespace": namespace}} for document in documents]
    plane.apply(*placed)


def allow_pods(plane: ControlPlane, namespace: str, most: int) -> None:
    """Set a quota for a namespace's pods; it refuses nothing before the controller has counted what is there."""
    hard = {"spec": {"hard": {"pods": str(most)}}}
    apply_in(plane, namespace, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, **hard})
    counted = f"--for=jsonpath={{.status.hard.pods}}={most}"
    plane.kubectl("wait", counted, "--timeout=60s", "resourcequota/few", "-n", namespace)


@lru_cache(maxsize=8)
def administrator(plane: ControlPlane) -> Administrator:
    """Return what asks the API server without kubectl: a test that waits asks several times a second."""
    return Administrator(plane)


def pddeployment_of(plane: ControlPlane, namespace: str, name: str) -> dict[str, Any]:
    """Return a PDDeployment as the API server has it."""
    return administrator(plane).get(f"/apis/pdscaler.io/v1alpha1/namespaces/{namespace}/pddeployments/{name}")


def replicas_of(plane: ControlPlane, namespace: str, name: str) -> tuple[int, int]:
    """Return (asked, ready) replicas of a Deployment."""
    document = administrator(plane).get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
    return int(document["spec"]["replicas"]), int(document.get("status", {}).get("readyReplicas", 0))


def wait_ready(plane: ControlPlane, namespace: str, name: str, ready: int, timeout_s: float = PATIENCE_S) -> None:
    """Wait until exactly ``ready`` replicas of a Deployment are Ready."""
    wait_for(
        f"{ready} ready replicas of {name}",
        lambda: replicas_of(plane, namespace, name)[1] == ready,
        timeout_s,
        every_s=0.3,
    )


class PrometheusFactory:
    """Starts real Prometheus processes under one folder."""

    def __init__(self, folder: Path, tools: Tools) -> None:
        self._folder = folder
        self._tools = tools
        self._made: list[Prometheus] = []

    def __call__(self, **arguments: Any) -> Prometheus:
        """Start one with :class:`Prometheus`'s arguments."""
        server = Prometheus(self._folder / f"prometheus-{len(self._made)}", self._tools, **arguments)
        self._made.append(server)
        server.start()
        return server

    def close(self) -> None:
        """End all of them."""
        for server in self._made:
            server.close()


def install_scaled_objects(plane: ControlPlane) -> None:
    """Install the kind that KEDA brings; nobody acts on its objects here."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    plane.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "scaledobjects.keda.sh"},
            "spec": {
                "group": "keda.sh",
                "scope": "Namespaced",
                "names": {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject"},
                "versions": [version],
            },
        }
    )
    plane.wait_served("scaledobjects.keda.sh")
