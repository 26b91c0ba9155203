"""Every condition with every reason, as the status shows it after an evaluation of a world in that state."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pdscaler.api.status import Condition
from pdscaler.controller.conditions import ConditionType, Truth, Verdict, carry
from pdscaler.core.decision import TargetUnknown, Trouble
from pdscaler.core.workload import NoData, NoDataReason
from support.world import PERIOD_S, World, load, no_data, ready_world, resource


@dataclass(frozen=True)
class Case:
    """A state of the world, and a condition that follows."""

    name: str
    type: str
    status: str
    reason: str
    words: str
    arrange: Callable[[World], object] = lambda _: None
    spec: dict[str, Any] | None = None
    rounds: int = 1


def _reading(reading: Any) -> Callable[[World], None]:
    return lambda world: setattr(world.source, "default", reading)


def _pool(pool: str, replicas: int, **state: Any) -> Callable[[World], None]:
    return lambda world: world.cluster.set(f"deepseek-{pool}", replicas, **state)


def _missing(world: World) -> None:
    del world.cluster.targets["deepseek-prefill"]


def _forbidden(world: World) -> None:
    message = 'Deployment "deepseek-decode" in "serving" cannot be read: Forbidden'
    world.cluster.targets["deepseek-decode"] = TargetUnknown("FailedGetScale", message)


def _pause(annotation: str) -> Callable[[World], object]:
    return lambda world: world.apply(resource(), annotations={f"pdscaler.io/{annotation}": "true"})


IMPOSSIBLE = {"slo": {"ttft": {"target": "2s"}, "tpot": {"target": "5ms"}}}
STATIC = {"behavior": "Static", "failureThreshold": 1, "replicas": {"prefill": 4, "decode": 4}}
UNSCHEDULABLE: dict[str, Any] = {"ready_replicas": 3, "pending_replicas": 1, "trouble": Trouble.UNSCHEDULABLE}

CASES = (
    Case("valid", "Ready", "True", "Evaluated", "evaluated every 15s"),
    Case("valid", "Stalled", "False", "SpecValid", "valid"),
    Case("metrics", "MetricsAvailable", "True", "MetricsFound", "FrontDoor"),
    *(
        Case(
            f"metrics {reason}",
            "MetricsAvailable",
            "False",
            reason.value,
            'query "arrivals" is to blame. Both pools hold.',
            _reading(NoData(reason, 'query "arrivals" is to blame')),
        )
        for reason in NoDataReason
    ),
    Case("blind", "ScalingActive", "False", "NoData", "Both pools hold", _reading(no_data())),
    Case("blind", "ScalingLimited", "Unknown", "NoRecommendation", "no metrics", _reading(no_data())),
    Case("blind", "SLOAttainable", "Unknown", "NoRecommendation", "without metrics", _reading(no_data())),
    Case("scaling", "ScalingActive", "True", "ScalingEnabled", "Both pools are scaled"),
    Case("paused", "ScalingActive", "False", "Paused", "remove pdscaler.io/paused", _pause("paused")),
    Case("paused up", "ScalingActive", "True", "ScalingEnabled", "Scaling up is paused", _pause("paused-scale-up")),
    Case("paused down", "ScalingActive", "True", "ScalingEnabled", "down is paused", _pause("paused-scale-down")),
    Case("recommend only", "ScalingActive", "False", "RecommendOnly", "never written", spec={"mode": "RecommendOnly"}),
    Case("at zero", "ScalingActive", "False", "TargetAtZero", '"deepseek-decode" (decode) is at 0', _pool("decode", 0)),
    Case("missing", "ScalingActive", "False", "FailedGetScale", "prefill target", _missing),
    Case("readable", "AbleToScale", "True", "ReadyForNewScale", "can be scaled"),
    Case(
        "missing",
        "AbleToScale",
        "False",
        "FailedGetScale",
        'not found in "serving"; looking again every 15s. Decode is not affected',
        _missing,
    ),
    Case(
        "forbidden",
        "AbleToScale",
        "False",
        "FailedGetScale",
        "Forbidden; looking again every 15s. Prefill is not affected",
        _forbidden,
    ),
    Case("enough", "ScalingLimited", "False", "DesiredWithinRange", "recommended is desired"),
    Case("maximum", "ScalingLimited", "True", "MaxReplicas", "prefill 16 instead of 25", _reading(load(100.0))),
    Case(
        "budget",
        "ScalingLimited",
        "True",
        "MaxGPUs",
        "decode 2 instead of 4: MaxGPUs",
        _pool("decode", 2),
        spec={"constraints": {"maxGPUs": 48}},
    ),
    Case(
        "stabilised", "ScalingLimited", "True", "ScaleDownStabilization", "prefill 4 instead of 1", _reading(load(1.0))
    ),
    Case("attainable", "SLOAttainable", "True", "SLOAttainable", "4P4D meets"),
    Case("maximum", "SLOAttainable", "False", "MaxReplicas", "maxReplicas is 16", _reading(load(100.0))),
    Case("impossible", "SLOAttainable", "False", "ServiceTimeExceedsSLO", "TPOT 5ms cannot be met", spec=IMPOSSIBLE),
    Case("metrics", "FallbackActive", "False", "MetricsDecide", "metrics decide"),
    Case("blind twice", "FallbackActive", "False", "MetricsDecide", "metrics decide", _reading(no_data()), rounds=2),
    Case("blind for long", "FallbackActive", "True", "FallbackHold", "both pools hold", _reading(no_data()), rounds=3),
    Case(
        "static",
        "FallbackActive",
        "True",
        "FallbackStatic",
        "fallback's replicas",
        _reading(no_data()),
        spec={"fallback": STATIC},
    ),
    Case("all ready", "CapacityPending", "False", "AllReady", "is ready"),
    Case("starting", "CapacityPending", "False", "Starting", "decode 3 of 4", _pool("decode", 4, ready_replicas=3)),
    Case("no GPU yet", "CapacityPending", "False", "Starting", "3 of 4", _pool("decode", 4, **UNSCHEDULABLE)),
    Case(
        "no GPU for long",
        "CapacityPending",
        "True",
        "Unschedulable",
        "decode: 1 of 4 replicas are not ready",
        _pool("decode", 4, **UNSCHEDULABLE),
        rounds=13,
    ),
    Case(
        "quota",
        "CapacityPending",
        "True",
        "QuotaExceeded",
        "raise the namespace's quota",
        _pool("prefill", 4, ready_replicas=2, pending_replicas=2, trouble=Trouble.QUOTA_EXCEEDED),
        rounds=13,
    ),
    Case(
        "image",
        "CapacityPending",
        "True",
        "ImagePullFailed",
        "check the target's image",
        _pool("prefill", 4, ready_replicas=2, pending_replicas=2, trouble=Trouble.IMAGE_PULL),
    ),
    Case(
        "crashes",
        "CapacityPending",
        "True",
        "CrashLoop",
        "check the logs",
        _pool("prefill", 4, ready_replicas=2, pending_replicas=2, trouble=Trouble.CRASH_LOOP),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.type}-{case.name}")
async def test_condition(case: Case) -> None:
    world = ready_world(**(case.spec or {}))
    case.arrange(world)
    await world.run(case.rounds)
    condition = world.conditions()[case.type]
    assert (condition["status"], condition["reason"]) == (case.status, case.reason), condition["message"]
    assert case.words in condition["message"]
    assert condition["observedGeneration"] == 1


async def test_metrics_that_are_back_let_pools_grow_but_not_shrink_yet() -> None:
    world = ready_world(1, 1)
    known = world.source.default
    world.source.default = no_data()
    await world.run(3)
    world.source.default = known
    await world.run(1)
    condition = world.conditions()["FallbackActive"]
    assert condition["status"] == "True"
    assert "pools may grow" in condition["message"]
    assert "both pools hold" not in condition["message"]
    assert world.cluster.writes != []


async def test_every_condition_is_there_in_order() -> None:
    world = ready_world()
    await world.step()
    assert [entry["type"] for entry in world.status()["conditions"]] == [type_.value for type_ in ConditionType]


async def test_an_invalid_spec_stalls_and_writes_nothing() -> None:
    world = ready_world(1, 1, slo={"ttft": {"target": "fast"}})
    await world.run(3)
    assert world.cluster.writes == []
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert world.condition("Ready") == ("False", "InvalidSpec")
    assert "spec.slo.ttft.target" in world.conditions()["Stalled"]["message"]
    assert '"fast" is not a duration' in world.conditions()["Stalled"]["message"]
    assert world.condition("MetricsAvailable") == ("Unknown", "InvalidSpec")
    assert world.status()["summary"]["state"] == "Invalid"
    assert world.event_reasons() == ["InvalidSpec"]
    world.apply(resource())
    await world.step()
    assert world.condition("Stalled") == ("False", "SpecValid")
    assert world.condition("Ready") == ("True", "Evaluated")
    assert world.status()["observedGeneration"] == 2
    assert len(world.cluster.writes) == 2


@pytest.mark.parametrize(
    ("metrics", "field"),
    [
        ({"engine": "Nonesuch"}, "spec.metrics.engine"),
        ({"frontDoor": {"preset": "Nonesuch"}}, "spec.metrics.frontDoor.preset"),
        ({"prometheus": {"endpointRef": "nonesuch"}}, "spec.metrics.prometheus.endpointRef"),
        ({"prometheus": {"url": "http://169.254.169.254/"}}, "spec.metrics.prometheus.url"),
    ],
)
async def test_what_the_administrator_does_not_offer_stalls(metrics: dict[str, Any], field: str) -> None:
    world = ready_world(metrics=metrics)
    await world.step()
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert field in world.conditions()["Stalled"]["message"]


async def test_what_breaks_inside_is_said_and_tried_again() -> None:
    world = ready_world(1, 1)
    original = world.cluster.target
    world.cluster.target = lambda ref: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    await world.step()
    assert world.condition("Ready") == ("False", "InternalError")
    assert world.condition("Stalled") == ("True", "InternalError")
    assert "ZeroDivisionError" in world.conditions()["Ready"]["message"]
    world.cluster.target = original  # type: ignore[method-assign]
    await world.step(PERIOD_S)
    assert world.condition("Ready") == ("True", "Evaluated")
    assert len(world.cluster.writes) == 2


async def test_a_target_that_appears_is_scaled_within_one_period() -> None:
    world = ready_world(1, 1)
    del world.cluster.targets["deepseek-prefill"]
    await world.run(3)
    assert world.cluster.writes == [("deepseek-decode", 1, 4)], "the other pool is not affected"
    world.cluster.set("deepseek-prefill", 1)
    await world.run(1)
    assert world.cluster.writes[1:] == [("deepseek-prefill", 1, 4)]
    assert world.event_reasons().count("FailedGetScale") == 1


def test_the_transition_time_changes_only_when_the_status_does() -> None:
    def verdict(status: Truth, reason: str) -> Verdict:
        return Verdict(ConditionType.METRICS_AVAILABLE, status, reason, "because")

    first = carry([verdict(Truth.FALSE, "NoData")], (), 0.0, 1)
    second = carry([verdict(Truth.FALSE, "StaleData")], first, 60.0, 2)
    third = carry([verdict(Truth.TRUE, "MetricsFound")], second, 120.0, 2)
    assert [conditions[0].last_transition_time for conditions in (first, second, third)] == [
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:02:00Z",
    ]
    assert second[0] == Condition(
        type="MetricsAvailable",
        status="False",
        reason="StaleData",
        message="because",
        last_transition_time="1970-01-01T00:00:00Z",
        observed_generation=2,
    )


async def test_overdue_capacity_outlives_a_restart_and_an_outage_without_an_event_of_recovery() -> None:
    world = ready_world(4, 4)
    world.cluster.set("deepseek-prefill", 4, ready_replicas=3, pending_replicas=1, trouble=Trouble.UNSCHEDULABLE)
    await world.run(14)
    assert world.condition("CapacityPending") == ("True", "Unschedulable")
    world.restart()
    await world.run(2)
    assert world.condition("CapacityPending") == ("True", "Unschedulable")
    unknown = TargetUnknown("FailedGetScale", "the API server does not answer")
    world.cluster.cached = {"deepseek-prefill": unknown, "deepseek-decode": unknown}
    await world.run(2)
    assert world.condition("CapacityPending") == ("Unknown", "FailedGetScale")
    world.cluster.cached = {}
    await world.run(1)
    assert world.condition("CapacityPending") == ("True", "Unschedulable")
    assert "AllReady" not in world.event_reasons()
    assert "Starting" not in world.event_reasons()
    world.cluster.set("deepseek-prefill", 4)
    await world.run(1)
    assert world.condition("CapacityPending") == ("False", "AllReady")
