"""The control plane behaves as a real one: CRDs with CEL, scale, slow pods, GPU exhaustion, rights, audit."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from localplane.errors import LocalPlaneError
from localplane.plane import ControlPlane
from localplane.waiting import wait_for
from support.plane import READY_DELAY, apply_in, deployment, replicas_of, wait_ready

WIDGET: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.test.pdscaler.io"},
    "spec": {
        "group": "test.pdscaler.io",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"replicas": {"type": "integer"}, "limit": {"type": "integer"}},
                                "x-kubernetes-validations": [
                                    {"rule": "self.replicas <= self.limit", "message": "replicas above the limit"}
                                ],
                            },
                            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
                        },
                    }
                },
            }
        ],
    },
}


def widget(replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "test.pdscaler.io/v1",
        "kind": "Widget",
        "metadata": {"name": "w"},
        "spec": {"replicas": replicas, "limit": 3},
    }


def phases(plane: ControlPlane, namespace: str) -> list[str]:
    return [pod["status"]["phase"] for pod in plane.get("pods", "-n", namespace)["items"]]


def test_it_says_its_version(control_plane: ControlPlane) -> None:
    version = json.loads(control_plane.kubectl("version", "-o", "json").stdout)
    assert version["serverVersion"]["gitVersion"] == "v1.36.3"
    assert version["clientVersion"]["gitVersion"] == "v1.36.3"


def test_a_crd_is_validated_by_cel_and_scaled(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(WIDGET)
    control_plane.wait_served("widgets.test.pdscaler.io")
    wait_for(
        "the new kind to be served",
        lambda: control_plane.kubectl("get", "widgets", "-n", namespace, check=False).returncode == 0,
    )
    with pytest.raises(LocalPlaneError, match="replicas above the limit"):
        apply_in(control_plane, namespace, widget(4))
    apply_in(control_plane, namespace, widget(2))
    control_plane.kubectl("scale", "widget/w", "--replicas=3", "-n", namespace)
    assert control_plane.get("widget", "w", "-n", namespace)["spec"]["replicas"] == 3
    assert control_plane.audit_log.requests(resource="widgets/scale", verb="write", namespace=namespace)


def test_pods_become_ready_after_their_delay(control_plane: ControlPlane, namespace: str) -> None:
    apply_in(
        control_plane,
        namespace,
        deployment("slow", replicas=2, annotations={READY_DELAY: "6s"}),
        deployment("quick", replicas=2, annotations={READY_DELAY: "0s"}),
    )
    wait_ready(control_plane, namespace, "quick", 2, 30)
    wait_ready(control_plane, namespace, "slow", 2, 30)
    for pod in control_plane.get("pods", "-n", namespace, "-l", "app=slow")["items"]:
        times = {item["type"]: item["lastTransitionTime"] for item in pod["status"]["conditions"]}
        delay_s = _seconds(times["Ready"]) - _seconds(times["PodScheduled"])
        assert 6 <= delay_s <= 12  # 1 s to create, 6 s to load; time stamps are whole seconds


def test_pods_that_find_no_gpu_stay_pending(control_plane: ControlPlane, namespace: str) -> None:
    apply_in(control_plane, namespace, deployment("big", replicas=2, gpus=16))
    wait_for(
        "two unschedulable pods",
        lambda: (
            [
                condition.get("reason")
                for pod in control_plane.get("pods", "-n", namespace)["items"]
                for condition in pod["status"].get("conditions", [])
            ]
            == ["Unschedulable"] * 2
        ),
    )
    assert phases(control_plane, namespace) == ["Pending", "Pending"]


def test_gpus_run_out(control_plane: ControlPlane, namespace: str) -> None:
    apply_in(control_plane, namespace, deployment("engines", replicas=5, gpus=8))
    wait_ready(control_plane, namespace, "engines", 4, 30)
    assert sorted(phases(control_plane, namespace)) == ["Pending", "Running", "Running", "Running", "Running"]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("pod-image-pull-failed.stage.kwok.x-k8s.io", "ImagePullBackOff"),
        ("pod-crash-loop.stage.kwok.x-k8s.io", "CrashLoopBackOff"),
        ("pod-container-running-failed.stage.kwok.x-k8s.io", "containerFailed"),
        ("pod-never-ready.stage.kwok.x-k8s.io", None),
    ],
)
def test_pods_fail_as_asked(control_plane: ControlPlane, namespace: str, label: str, expected: str | None) -> None:
    apply_in(control_plane, namespace, deployment("ill", labels={label: "true"}))

    def reached() -> bool:
        for pod in control_plane.get("pods", "-n", namespace)["items"]:
            for status in pod["status"].get("containerStatuses", []):
                state = status["state"]
                reason = (state.get("waiting") or state.get("terminated") or {}).get("reason")
                if expected is None and "running" in state and not status["ready"]:
                    return True
                if expected is not None and reason == expected:
                    return True
        return False

    wait_for(f"pods in {expected}", reached)
    if expected != "containerFailed":  # such a container has run before
        end = time.monotonic() + 2.0
        while time.monotonic() < end:  # kwok's own stages make a pod Ready after a second
            assert replicas_of(control_plane, namespace, "ill") == (1, 0)
            time.sleep(0.2)


def test_a_service_account_has_its_rights_and_no_others(
    control_plane: ControlPlane, namespace: str, make_namespace: Callable[[], str]
) -> None:
    elsewhere = make_namespace()
    control_plane.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    control_plane.kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods", "-n", namespace)
    control_plane.kubectl(
        "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:reader", "-n", namespace
    )
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "reader")
    mark = control_plane.audit_log.mark()
    control_plane.kubectl("get", "pods", kubeconfig=kubeconfig)
    with pytest.raises(LocalPlaneError, match="Forbidden"):
        control_plane.kubectl("get", "pods", "-n", elsewhere, kubeconfig=kubeconfig)
    with pytest.raises(LocalPlaneError, match="configmaps is forbidden"):
        control_plane.kubectl("create", "configmap", "x", kubeconfig=kubeconfig)
    user = f"system:serviceaccount:{namespace}:reader"
    seen = control_plane.audit_log.requests(user=user, since=mark)
    assert [(request.verb, request.resource, request.code) for request in seen if request.resource] == [
        ("list", "pods", 200),
        ("list", "pods", 403),
        ("create", "configmaps", 403),
    ]
    assert control_plane.audit_log.requests(user=user, user_agent="curl") == []
    assert len(control_plane.audit_log.requests(user=user, verb="write", since=mark)) == 1


def test_kubectl_errors_are_said(control_plane: ControlPlane) -> None:
    with pytest.raises(LocalPlaneError, match=r"kubectl get pods absent -n default: .*NotFound"):
        control_plane.kubectl("get", "pods", "absent", "-n", "default")
    assert control_plane.kubectl("get", "pods", "absent", check=False).returncode == 1


def test_the_kubeconfig_is_whole(control_plane: ControlPlane) -> None:
    document = yaml.safe_load(control_plane.kubeconfig.read_text())
    assert document["current-context"] == "pdscaler-local"
    assert control_plane.kubeconfig.stat().st_mode & 0o077 == 0


def _seconds(text: str) -> float:
    import datetime as dt

    return dt.datetime.fromisoformat(text).timestamp()
