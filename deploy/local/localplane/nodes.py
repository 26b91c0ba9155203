"""Fake GPU nodes for kwok to keep alive. Imports the standard library only."""

from typing import Any


def node_documents(count: int, gpus: int, prefix: str) -> list[dict[str, Any]]:
    """Return Node objects ``PREFIX-0`` … with ``nvidia.com/gpu: GPUS`` each."""
    resources = {"cpu": "128", "memory": "1Ti", "pods": "250"}
    if gpus:
        resources["nvidia.com/gpu"] = str(gpus)
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"{prefix}-{number}",
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {"kubernetes.io/hostname": f"{prefix}-{number}", "kubernetes.io/os": "linux"},
            },
            "spec": {},
            "status": {"capacity": dict(resources), "allocatable": dict(resources)},
        }
        for number in range(count)
    ]
