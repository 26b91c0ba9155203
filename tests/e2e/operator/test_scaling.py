"""What an operator must do for its user: scale both pools to what the model plans, or say why it does not."""

from support.plane import replicas_of, wait_ready
from support.stage import DECODE, NAME, PREFILL, Stage


def test_both_pools_follow_the_load_and_the_status_says_why(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    stage.start_operator(cluster_wide=True)
    stage.apply()
    # 70/80 prefill and 70/20 decode replicas.
    stage.wait_replicas(1, 4)
    stage.engines.set_load(130.0)
    stage.wait_replicas(2, 7)
    stage.wait_condition("Ready", "True", "Evaluated")
    status = stage.wait_status("the status of the order", lambda seen: seen["decode"]["recommended"] == 7)
    assert status["observedGeneration"] == 1
    assert status["workload"]["arrivalSource"] == "FrontDoor"
    last = status["decisions"][0]
    assert last["prefill"]["to"] == 2 or last["decode"]["to"] == 7
    stage.engines.set_load(30.0)
    stage.wait_replicas(1, 2)
    table = stage.plane.kubectl("get", "pdd", NAME, "-n", stage.namespace).stdout
    assert table.splitlines()[0].split() == [
        "NAME", "MODE", "PREFILL", "DECODE", "RATE", "TTFT", "TPOT", "STATE", "AGE",
    ]  # fmt: skip
    described = stage.plane.kubectl("describe", "pdd", NAME, "-n", stage.namespace).stdout
    assert "ScaledUp" in described
    assert "ScaledDown" in described
    writes = stage.writes()
    assert {request.name for request in writes} == {PREFILL, DECODE}
    # A target that its controller touched between the reading and the write is a conflict, and asked again.
    assert {request.code for request in writes} <= {200, 409}


def test_the_least_privilege_account_is_never_refused(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(50.0)
    stage.start_operator(cluster_wide=True)
    stage.apply()
    stage.wait_replicas(1, 3)
    refused = [request for request in stage.requests() if request.code in {401, 403}]
    assert refused == []


def test_recommend_only_never_writes(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(130.0)
    stage.start_operator()
    stage.apply(mode="RecommendOnly")
    stage.wait_condition("MetricsAvailable", "True", "MetricsFound")
    stage.never("scaled", lambda: stage.replicas() != (1, 1), seconds=8)
    status = stage.wait_status("the full load", lambda seen: seen["decode"]["recommended"] == 7)
    assert status["prefill"]["recommended"] == 2
    assert status["summary"]["state"] == "Recommending"
    changed = [request for request in stage.requests() if request.verb in {"create", "update", "patch", "delete"}]
    # The audit log holds every request: of a target or its scale there is none.
    assert {request.resource for request in changed} <= {"pddeployments/status", "events"}


def test_unschedulable_pods_count_as_committed(stage: Stage) -> None:
    # 32 GPUs: the nodes hold 4 replicas of 8; one prefill replica leaves 3 for decode.
    stage.apply_targets(gpus=8)
    wait_ready(stage.plane, stage.namespace, DECODE, 1)
    stage.engines.set_load(130.0)
    stage.start_operator()
    stage.apply(prefill={"maxReplicas": 1}, decode={"gpusPerReplica": 8})
    stage.wait_replicas(1, 7)
    pending = stage.wait_condition("CapacityPending", "True", "Unschedulable")
    assert "decode" in pending["message"]
    stage.engines.set_load(250.0)
    # More is needed, but what was ordered has not come yet: no further order.
    stage.never("ordered more", lambda: stage.replicas()[1] > 7, seconds=10)
    stage.wait_status("the higher load", lambda seen: seen["decode"]["recommended"] > 7)
    assert replicas_of(stage.plane, stage.namespace, DECODE)[1] == 3
    stage.engines.set_load(30.0)
    stage.wait_replicas(1, 2)


def test_pause_annotation_holds_and_resume_goes_on(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    stage.start_operator()
    stage.apply()
    stage.wait_replicas(1, 4)
    stage.plane.kubectl("annotate", "pdd", NAME, "-n", stage.namespace, "pdscaler.io/paused=true")
    stage.wait_condition("ScalingActive", "False", "Paused")
    stage.engines.set_load(130.0)
    stage.never("scaled while paused", lambda: stage.replicas() != (1, 4), seconds=12)
    stage.wait_status("the higher load", lambda seen: seen["decode"]["recommended"] == 7)
    assert stage.replicas() == (1, 4)
    stage.plane.kubectl("annotate", "pdd", NAME, "-n", stage.namespace, "pdscaler.io/paused-")
    stage.wait_replicas(2, 7)
