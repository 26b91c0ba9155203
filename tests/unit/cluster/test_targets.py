from typing import Any

import pytest

from pdscaler.cluster.errors import ClusterError, ConflictError
from pdscaler.cluster.targets import KindRef, RestMapping, TargetObject, TargetRef, mapping_of, parse_target, unknown

RESOURCES: list[dict[str, Any]] = [
    {"name": "deployments", "kind": "Deployment", "namespaced": True},
    {"name": "deployments/scale", "kind": "Scale", "namespaced": True, "group": "autoscaling", "version": "v1"},
    {"name": "deployments/status", "kind": "Deployment", "namespaced": True},
    {"name": "daemonsets", "kind": "DaemonSet", "namespaced": True},
    {"name": "nodes", "kind": "Node", "namespaced": False},
]
DEPLOYMENT = KindRef("apps/v1", "Deployment")
STATEFUL_SET = KindRef("apps/v1", "StatefulSet")


def test_a_kind_is_found_by_its_name_and_its_paths_are_quoted() -> None:
    mapping = mapping_of(RESOURCES, DEPLOYMENT)
    assert mapping == RestMapping("apps/v1", "deployments")
    assert mapping.collection(None) == "/apis/apps/v1/deployments"
    assert mapping.scale("serving", "x") == "/apis/apps/v1/namespaces/serving/deployments/x/scale"
    assert mapping.scale("a/b", "../x") == "/apis/apps/v1/namespaces/a%2Fb/deployments/..%2Fx/scale"
    assert RestMapping("v1", "replicationcontrollers").collection("s") == "/api/v1/namespaces/s/replicationcontrollers"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("DaemonSet", "DaemonSet of apps/v1 has no scale subresource: it cannot be scaled"),
        ("Node", "Node of apps/v1 has no namespace: it cannot be a target"),
        ("Deploymnet", 'the cluster serves no kind "Deploymnet" in apps/v1'),
        ("Scale", 'the cluster serves no kind "Scale" in apps/v1'),
    ],
)
def test_a_kind_that_cannot_be_a_target_says_why(kind: str, message: str) -> None:
    with pytest.raises(ClusterError) as caught:
        mapping_of(RESOURCES, KindRef("apps/v1", kind))
    assert (caught.value.reason, caught.value.message) == ("NotScalable", message)


def test_the_messages_name_the_target_and_the_next_try() -> None:
    ref = TargetRef("serving", "apps/v1", "Deployment", "deepseek-prefil")
    assert unknown(ref, ClusterError("NotFound", "ignored")).message == (
        'Deployment "deepseek-prefil" not found in "serving"'
    )
    forbidden = unknown(ref, ClusterError("Forbidden", 'User "x" cannot get resource "deployments/scale"'))
    assert forbidden.reason == "FailedGetScale"
    assert forbidden.message == (
        'Deployment "deepseek-prefil" in "serving" cannot be read: Forbidden: User "x" cannot get resource '
        '"deployments/scale"'
    )
    assert str(ConflictError("changed")) == "Conflict: changed"


def deployment(generation: int = 1, observed: int = 1, image: str = "a", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"resourceVersion": "7", "generation": generation},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"spec": {"containers": [{"image": image}]}},
        },
        "status": {"observedGeneration": observed, **status},
    }


def test_a_deployment_says_its_replicas_and_selector_itself() -> None:
    kept = parse_target(deployment(replicas=3, updatedReplicas=3), DEPLOYMENT, None)
    assert (kept.resource_version, kept.replicas, str(kept.selector)) == ("7", 3, "app=x")
    assert not kept.rollout
    assert kept.quota_message == ""


def test_of_other_kinds_only_what_changed_is_kept() -> None:
    kind = KindRef("example.test/v1", "Deployment")
    assert parse_target(deployment(), kind, None) == TargetObject("7", asked=3)
    assert parse_target({"metadata": {"resourceVersion": "7"}, "spec": {"replicas": "many"}}, kind, None) == (
        TargetObject("7")
    )


def test_two_versions_of_a_kind_are_one_object_and_two_groups_are_not() -> None:
    assert (
        TargetRef("s", "apps/v1", "Deployment", "x").identity == TargetRef("s", "apps/v2", "Deployment", "x").identity
    )
    assert TargetRef("s", "v1", "Deployment", "x").identity == ("s", "", "Deployment", "x")


def test_a_rollout_lasts_while_pods_of_an_older_template_exist() -> None:
    assert parse_target(deployment(replicas=4, updatedReplicas=1), DEPLOYMENT, None).rollout
    assert not parse_target(deployment(replicas=3, updatedReplicas=3, readyReplicas=1), DEPLOYMENT, None).rollout


def test_a_change_of_replicas_alone_is_no_rollout_even_before_it_is_observed() -> None:
    settled = parse_target(deployment(replicas=3, updatedReplicas=3), DEPLOYMENT, None)
    assert not parse_target(deployment(2, 1, replicas=3, updatedReplicas=3), DEPLOYMENT, settled).rollout
    assert parse_target(deployment(2, 1, image="b", replicas=3, updatedReplicas=3), DEPLOYMENT, settled).rollout
    assert parse_target(deployment(2, 1), DEPLOYMENT, None).rollout, "nothing is known of it yet"
    rolling = parse_target(deployment(replicas=4, updatedReplicas=1), DEPLOYMENT, None)
    assert parse_target(deployment(2, 1, replicas=4, updatedReplicas=1), DEPLOYMENT, rolling).rollout


def test_a_rollout_of_a_stateful_set_ends_at_its_partition_and_never_begins_with_on_delete() -> None:
    document = deployment(replicas=4, updatedReplicas=1, updateRevision="b", currentRevision="a")
    assert parse_target(document, STATEFUL_SET, None).rollout
    document["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}
    assert not parse_target(document, STATEFUL_SET, None).rollout
    document["spec"]["updateStrategy"] = {"type": "OnDelete"}
    assert not parse_target(document, STATEFUL_SET, None).rollout
    same = deployment(replicas=4, updatedReplicas=0, updateRevision="a", currentRevision="a")
    assert not parse_target(same, STATEFUL_SET, None).rollout


def test_a_quota_is_told_from_other_failures_to_create_pods() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
    quota = {**condition, "message": 'pods "x" is forbidden: exceeded quota: gpus, requested: 8, used: 32, limited: 32'}
    assert "exceeded quota" in parse_target(deployment(conditions=[quota]), DEPLOYMENT, None).quota_message
    other = {**condition, "message": "admission webhook denied the request"}
    assert parse_target(deployment(conditions=[other]), DEPLOYMENT, None).quota_message == ""
    past = {**quota, "status": "False"}
    assert parse_target(deployment(conditions=[past]), DEPLOYMENT, None).quota_message == ""
