"""The same fleet scaled by HorizontalPodAutoscalers, with a metrics adapter of their own. Imports the launcher.

Each Deployment gets an autoscaling/v2 HPA on an external metric, as KEDA or the Prometheus adapter would feed it: the
adapter here answers at once, from memory, so that what is measured is HPA itself.
"""

import json
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from bench.scale import fleet
from bench.scale.fleet import Fault, Member

from localplane.administrator import Administrator
from localplane.plane import ControlPlane
from localplane.serving import Answer, Serving
from localplane.waiting import wait_for

USER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
_GROUP, _VERSION = "external.metrics.k8s.io", "v1beta1"
_ROOT = f"/apis/{_GROUP}/{_VERSION}"
_TARGET = 100
_METRIC = "load"


class Adapter:
    """An external-metrics API server in which every load is 60 % of its target; a ``with`` block ends it.

    Parameters
    ----------
    pki
        Folder with a server certificate.
    """

    def __init__(self, pki: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
        self._serving = Serving(lambda path: Answer(json.dumps(_answer(path)), "application/json"), context)

    def register(self, plane: ControlPlane) -> None:
        """Have the API server pass the group's requests on to here."""
        port = self._serving.port
        plane.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "metrics-adapter", "namespace": "kube-system"},
                "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
            },
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": f"{_VERSION}.{_GROUP}"},
                "spec": {
                    "group": _GROUP,
                    "version": _VERSION,
                    "groupPriorityMinimum": 100,
                    "versionPriority": 100,
                    "insecureSkipTLSVerify": True,
                    "service": {"name": "metrics-adapter", "namespace": "kube-system", "port": port},
                },
            },
        )
        wait_for("the external metrics", lambda: plane.kubectl("get", "--raw", _ROOT, check=False).returncode == 0)

    def __enter__(self) -> Self:
        self._serving.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.__exit__()


def _answer(path: str) -> dict[str, Any]:
    if path.partition("?")[0].rstrip("/") == _ROOT:
        resource = {"name": _METRIC, "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{_GROUP}/{_VERSION}",
            "resources": [{**resource, "singularName": ""}],
        }
    value = {"metricName": _METRIC, "metricLabels": {}, "timestamp": "2026-01-01T00:00:00Z", "value": str(_TARGET)}
    return {"kind": "ExternalMetricValueList", "apiVersion": f"{_GROUP}/{_VERSION}", "metadata": {}, "items": [value]}


def autoscalers(members: Sequence[Member]) -> Iterator[dict[str, Any]]:
    """Yield an HPA for each Deployment of the healthy members, at rest: its load is exactly what it aims at."""
    for member in members:
        if member.fault not in {None, Fault.NO_METRICS}:
            continue
        for role in fleet.replicas_of(member):
            name = f"{member.name}-{role}"
            target = {"type": "Value", "value": str(_TARGET)}
            yield {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": name, "namespace": member.namespace},
                "spec": {
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                    "minReplicas": 1,
                    "maxReplicas": 20,
                    "metrics": [{"type": "External", "external": {"metric": {"name": _METRIC}, "target": target}}],
                },
            }


def settled(api: Administrator, count: int) -> bool:
    """Whether all HPAs read their metric and are at rest."""
    items = api.get("/apis/autoscaling/v2/horizontalpodautoscalers")["items"]
    active = [
        item
        for item in items
        for condition in item.get("status", {}).get("conditions", ())
        if (condition["type"], condition["status"]) == ("ScalingActive", "True")
    ]
    return len(active) >= count
