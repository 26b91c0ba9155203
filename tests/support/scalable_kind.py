"""A kind of our own with a scale subresource: what LeaderWorkerSet and its like are to an autoscaler."""

from typing import Any

GROUP_VERSION = "engines.example.test/v1"
KIND = "EngineSet"


def custom_kind(plural: str = "enginesets", kind: str = KIND, *, selector: bool = True) -> dict[str, Any]:
    """Return its CustomResourceDefinition, whose ``/scale`` reports a selector or not."""
    scale = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    if selector:
        scale["labelSelectorPath"] = ".status.selector"
    whole = {"type": "integer"}
    properties = {
        "spec": {"type": "object", "properties": {"size": whole}},
        "status": {"type": "object", "properties": {"size": whole, "selector": {"type": "string"}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.engines.example.test"},
        "spec": {
            "group": "engines.example.test",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
                    "subresources": {"status": {}, "scale": scale},
                }
            ],
        },
    }


def custom_object(name: str, size: int, kind: str = KIND) -> dict[str, Any]:
    """Return an object of it."""
    return {"apiVersion": GROUP_VERSION, "kind": kind, "metadata": {"name": name}, "spec": {"size": size}}


def engine_pod(name: str, **labels: str) -> dict[str, Any]:
    """Return a bare pod with labels."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "engine", "image": "registry.invalid/engine:1"}]},
    }
