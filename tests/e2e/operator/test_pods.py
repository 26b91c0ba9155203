"""Pods that do not come, targets that are stopped or rolled out, objectives that cannot be met: no runaway, no harm."""

from typing import Any

from localplane.waiting import wait_for
from support.plane import READY_DELAY, allow_pods, apply_in, deployment, pddeployment_of, wait_ready
from support.stage import DECODE, QUICK, Stage

FAILING = {
    "ImagePullFailed": "pod-image-pull-failed.stage.kwok.x-k8s.io",
    "CrashLoop": "pod-crash-loop.stage.kwok.x-k8s.io",
}
SURGE = {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}


def decode_with(stage: Stage, replicas: int, *, image: str = "1", ready_after: str = "0s", **labels: str) -> None:
    """Apply decode with another template, which is rolled out beside the old one."""
    document = deployment(DECODE, replicas=replicas, annotations={READY_DELAY: ready_after}, labels=labels)
    document["spec"]["template"]["spec"]["containers"][0]["image"] = f"registry.invalid/engine:{image}"
    document["spec"]["strategy"] = SURGE
    apply_in(stage.plane, stage.namespace, document)


def decode(stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = stage.status().get("decode", {})
    return found


def test_a_quota_stops_growth_of_its_pool_only_and_not_its_shrinking(stage: Stage) -> None:
    stage.apply_targets()
    allow_pods(stage.plane, stage.namespace, 4)
    stage.engines.set_load(70.0)
    stage.start_operator()
    stage.apply(**QUICK)
    stage.wait_replicas(1, 4)
    stage.wait_condition("CapacityPending", "True", "QuotaExceeded")
    wait_for(
        "all that the quota allows",
        lambda: "decode: 1 of 4 replicas are not ready" in stage.condition("CapacityPending")["message"],
    )
    stage.engines.set_load(130.0)
    wait_for("a higher need", lambda: decode(stage).get("recommended") == 7)
    # Prefill grows for its own load and not for what decode lacks; decode gets no further order.
    stage.wait_replicas(2, 4)
    assert "CapacityPending" in decode(stage)["limitedBy"]
    stage.engines.set_load(30.0)
    stage.wait_replicas(1, 2)
    stage.wait_condition("CapacityPending", "False", "AllReady")


def test_stops_rollouts_and_failing_images_are_left_to_their_owners(stage: Stage) -> None:
    stage.apply_targets()
    decode_with(stage, 1)
    stage.engines.set_load(70.0)
    stage.start_operator()
    stage.apply(**QUICK)
    stage.wait_replicas(1, 4)
    wait_ready(stage.plane, stage.namespace, DECODE, 4)

    # A rollout that takes its time: its surge pods are nobody's replicas. More is ordered, fewer not.
    decode_with(stage, 4, image="2", ready_after="1h")
    stage.engines.set_load(130.0)
    stage.wait_replicas(2, 7)
    stage.engines.set_load(30.0)
    wait_for("a wish for fewer", lambda: "RolloutInProgress" in decode(stage)["limitedBy"])
    assert stage.replicas()[1] == 7

    # The next template's image cannot be pulled, and that of the one after it crashes: nothing grows, and the healthy
    # pods stay.
    for reason, label in FAILING.items():
        decode_with(stage, 7, image=reason, **{label: "true"})
        stage.wait_condition("CapacityPending", "True", reason)
        stage.engines.set_load(210.0)
        wait_for("a need for more", lambda: decode(stage).get("recommended") == 11)
        assert "PodsFailing" in decode(stage)["limitedBy"]
        assert stage.replicas()[1] == 7
        stage.engines.set_load(30.0)
        wait_for("a wish for fewer", lambda: decode(stage).get("recommended") == 2)
        wait_for("a word on why not", lambda: "PodsFailing" in decode(stage)["limitedBy"])
        assert stage.replicas()[1] == 7

    # A good template ends it.
    decode_with(stage, 7, image="3")
    stage.wait_replicas(1, 2)

    # Somebody's emergency stop is honoured until it is lifted by hand.
    stage.plane.kubectl("scale", "deployment", DECODE, "-n", stage.namespace, "--replicas=0")
    stage.wait_condition("ScalingActive", "False", "TargetAtZero")
    stage.engines.set_load(130.0)
    stage.wait_replicas(2, 0)
    stage.plane.kubectl("scale", "deployment", DECODE, "-n", stage.namespace, "--replicas=1")
    stage.wait_replicas(2, 7)


def test_impossible_objectives_and_specs_are_said_and_run_nothing_away(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    # The prefill of one request alone takes 10 ms.
    stage.apply(**QUICK, slo={"ttft": {"target": "5ms"}})
    stage.start_operator()
    condition = stage.wait_condition("SLOAttainable", "False", "ServiceTimeExceedsSLO")
    assert "TTFT 5ms cannot be met" in condition["message"]
    stage.wait_replicas(2, 4)
    settled = len(stage.writes())
    evaluations = stage.metric("pdscaler_evaluations_total", outcome="Planned")
    wait_for(
        "some more evaluations",
        lambda: stage.metric("pdscaler_evaluations_total", outcome="Planned") > evaluations + 4,
    )
    assert len(stage.writes()) == settled

    # What passes the schema is checked again; the other PDDeployment goes on.
    broken = {
        **stage.get(),
        "metadata": {"name": "broken"},
        "spec": {**stage.get()["spec"], "metrics": {"engine": "NoSuchEngine"}},
    }
    broken.pop("status")
    other = {**stage.get(), "metadata": {"name": "elsewhere"}}
    other.pop("status")
    other["spec"] = {**other["spec"], "metrics": {"prometheus": {"url": "http://169.254.169.254/"}}}
    apply_in(stage.plane, stage.namespace, broken, other)

    def stalled(name: str) -> str:
        status = pddeployment_of(stage.plane, stage.namespace, name).get("status", {})
        found = {each["type"]: each for each in status.get("conditions", ())}.get("Stalled", {})
        return str(found.get("message", "")) if found.get("reason") == "InvalidSpec" else ""

    assert "NoSuchEngine" in wait_for("a condition", lambda: stalled("broken"))
    assert "spec.metrics.prometheus.url" in wait_for("a condition", lambda: stalled("elsewhere"))
    stage.apply(**QUICK)
    stage.wait_replicas(1, 4)
