"""Hostile neighbours on one target: other autoscalers, another PDDeployment, somebody who sets the replicas back."""

from typing import Any

import pytest

from localplane.plane import ControlPlane
from localplane.waiting import wait_for
from support.plane import apply_in, install_scaled_objects, pddeployment_of
from support.stage import DECODE, NAME, PREFILL, QUICK, Stage, resource


def autoscaler(api_version: str, kind: str, target: str, **spec: Any) -> dict[str, Any]:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "neighbour"},
        "spec": {"scaleTargetRef": ref, **spec},
    }


@pytest.fixture(scope="module")
def scaled_objects(control_plane: ControlPlane) -> None:
    """The kind that KEDA installs; nobody acts on its objects here."""
    install_scaled_objects(control_plane)


def blocked_by(stage: Stage, owner: str) -> None:
    condition = stage.wait_condition("AbleToScale", "False", "TargetConflict")
    assert owner in condition["message"]


def test_other_autoscalers_stop_both_pools_and_their_deletion_is_enough_to_go_on(
    stage: Stage, scaled_objects: None
) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    hpa = autoscaler("autoscaling/v2", "HorizontalPodAutoscaler", PREFILL, maxReplicas=3)
    apply_in(stage.plane, stage.namespace, hpa)
    stage.start_operator()
    stage.apply(**QUICK)
    blocked_by(stage, f"HorizontalPodAutoscaler {stage.namespace}/neighbour also scales Deployment/{PREFILL} (prefill)")
    wait_for("a recommendation all the same", lambda: stage.status()["decode"].get("recommended") == 4)
    assert stage.writes() == []
    stage.plane.kubectl("delete", "hpa", "neighbour", "-n", stage.namespace)
    stage.wait_replicas(1, 4)
    stage.wait_condition("AbleToScale", "True", "ReadyForNewScale")

    # KEDA's own object counts while there is no HorizontalPodAutoscaler of it yet.
    apply_in(stage.plane, stage.namespace, autoscaler("keda.sh/v1alpha1", "ScaledObject", DECODE))
    blocked_by(stage, f"ScaledObject {stage.namespace}/neighbour also scales Deployment/{DECODE} (decode)")
    written = len(stage.writes())
    stage.engines.set_load(130.0)
    wait_for("a new recommendation", lambda: stage.status()["decode"].get("recommended") == 7)
    assert len(stage.writes()) == written
    stage.plane.kubectl("delete", "scaledobject", "neighbour", "-n", stage.namespace)
    stage.wait_replicas(2, 7)
    events = stage.plane.get("events", "-n", stage.namespace)["items"]
    conflicts = [event for event in events if event["reason"] == "TargetConflict"]
    assert sum(event.get("count") or (event.get("series") or {}).get("count", 1) for event in conflicts) == 2


def test_who_keeps_setting_the_replicas_back_is_left_alone_and_named(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    operator = stage.start_operator()
    stage.apply(**QUICK)
    for _ in range(3):
        stage.wait_replicas(1, 4)
        stage.plane.kubectl("scale", "deployment", DECODE, "-n", stage.namespace, "--replicas=2")
        wait_for("an order, or the end of it", lambda: stage.replicas()[1] == 4 or given_up(stage))
    condition = stage.wait_condition("AbleToScale", "False", "TargetConflict")
    assert 'Field manager "kubectl" set' in condition["message"]
    assert f"Deployment/{DECODE} (decode)" in condition["message"]
    assert stage.replicas() == (1, 2)
    # A restart does not begin the fight anew.
    assert operator.stop() == 0
    written = len(stage.writes())
    stage.engines.set_load(130.0)
    stage.start_operator()
    wait_for("a new recommendation", lambda: stage.status()["decode"].get("recommended") == 7)
    assert stage.condition("AbleToScale")["reason"] == "TargetConflict"
    assert len(stage.writes()) == written


def given_up(stage: Stage) -> bool:
    return stage.condition("AbleToScale").get("reason") == "TargetConflict"


def test_of_two_pddeployments_on_one_target_the_older_scales_also_after_a_restart(stage: Stage) -> None:
    stage.apply_targets()
    stage.apply(**QUICK)
    younger = {**resource(**QUICK), "metadata": {"name": "a-younger-one"}}
    created = stage.get()["metadata"]["creationTimestamp"]

    def apply_younger() -> bool:
        # Creation times are whole seconds.
        apply_in(stage.plane, stage.namespace, younger)
        made = stage.plane.get("pdd", "a-younger-one", "-n", stage.namespace)["metadata"]["creationTimestamp"]
        if made > created:
            return True
        stage.plane.kubectl("delete", "pdd", "a-younger-one", "-n", stage.namespace)
        return False

    wait_for("a younger PDDeployment", apply_younger)
    for load, replicas in ((70.0, (1, 4)), (130.0, (2, 7))):
        stage.engines.set_load(load)
        operator = stage.start_operator()
        wait_for(
            "the younger one has given way",
            lambda: f"PDDeployment {stage.namespace}/{NAME} also scales" in message_of(stage, "a-younger-one"),
        )
        stage.wait_replicas(*replicas)
        assert stage.condition("AbleToScale")["status"] == "True"
        assert operator.stop() == 0


def message_of(stage: Stage, name: str) -> str:
    status = pddeployment_of(stage.plane, stage.namespace, name).get("status", {})
    return next((str(each["message"]) for each in status.get("conditions", ()) if each["type"] == "AbleToScale"), "")
