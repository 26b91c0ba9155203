"""The status: when it is written, what it says, and that a restart loses nothing of it."""

from collections import deque
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from pdscaler.api.status import PDDeploymentStatus
from pdscaler.cluster.changes import ForeignChange
from pdscaler.cluster.errors import ClusterError
from pdscaler.controller import memory
from pdscaler.controller.render import rounded
from pdscaler.controller.standoff import UNCONTESTED, Standoff
from pdscaler.controller.writerule import FIGURES_INTERVAL_S, worth_writing
from pdscaler.core.decision import PlanState, PoolMemory, Recommendation, ScaleEvent
from pdscaler.core.pools import PerPool
from pdscaler.core.slo import LatencyTarget, Statistic
from pdscaler.core.workload import LengthStats, WorkloadStats
from support.world import PERIOD_S, START_S, World, load, no_data, ready_world, resource


async def test_it_is_written_once_while_nothing_changes() -> None:
    world = ready_world()
    await world.run(40)
    assert len(world.server.statuses) == 1


async def test_small_movements_are_not_written() -> None:
    world = ready_world()
    await world.step()
    for n in range(40):
        world.source.default = load(12.5 + 0.4 * (n % 2), world.now_s)
        await world.step(PERIOD_S)
    assert len(world.server.statuses) == 1


async def test_figures_that_move_are_written_once_a_minute_at_most() -> None:
    world = ready_world()
    await world.step()
    written_at = []
    for n in range(40):
        reading = load(12.5)
        world.source.default = replace(reading, ttft_mean_s=1.0 + n % 2)
        before = len(world.server.statuses)
        await world.step(PERIOD_S)
        if len(world.server.statuses) > before:
            written_at.append(world.now_s)
    assert len(written_at) >= 5
    assert min(later - earlier for earlier, later in pairwise(written_at)) >= FIGURES_INTERVAL_S


async def test_a_decision_is_written_at_once() -> None:
    world = ready_world()
    await world.step()
    world.source.default = load(20.0)
    await world.step(1.0)
    await world.step(PERIOD_S)
    assert world.status()["prefill"]["desired"] == 5
    assert len(world.server.statuses) == 2


async def test_a_condition_is_written_at_once() -> None:
    world = ready_world()
    await world.step()
    world.source.default = no_data()
    await world.step(PERIOD_S)
    assert len(world.server.statuses) == 2
    assert "workload" not in world.status(), "what is no longer known is gone, not left standing"


async def test_a_status_that_could_not_be_written_is_written_later() -> None:
    world = ready_world()
    world.server.faults = deque([ClusterError("ServerError", "etcd is away", 500)])
    await world.step()
    assert world.server.statuses == []
    await world.step(PERIOD_S)
    assert len(world.server.statuses) == 1


async def test_our_own_status_writes_make_nothing_due() -> None:
    world = ready_world()
    await world.step()
    (key,) = world.server.documents
    world.inventory.notice(world.server.documents[key], deleted=False)
    asked = len(world.source.asked)
    await world.step(1.0)
    assert len(world.source.asked) == asked
    assert not world.inventory.changed.is_set()


def document(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "observedGeneration": 1,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Evaluated", "message": "ok for 12s"}],
        "summary": {"state": "Steady", "rate": "12/s"},
        "prefill": {"current": 3, "ready": 3, "desired": 3, "utilization": 0.8, "reason": "12 requests/s"},
        "workload": {"arrivalRate": 12.0, "inputTokens": {"mean": 6144.0, "scv": 0.0}},
        "prediction": {"ttft": {"mean": "1s", "p99": "2s"}},
        "memory": {"telemetryFailures": 0},
    }
    return base | changes


@pytest.mark.parametrize(
    ("changes", "at_once", "after_a_minute"),
    [
        ({}, False, False),
        ({"memory": {"telemetryFailures": 1}}, False, False),
        ({"summary": {"state": "Steady", "rate": "12.1/s"}}, False, False),
        ({"workload": {"arrivalRate": 13.0, "inputTokens": {"mean": 6144.0, "scv": 0.0}}}, False, False),
        ({"workload": {"arrivalRate": 13.5, "inputTokens": {"mean": 6144.0, "scv": 0.0}}}, False, True),
        ({"workload": {"arrivalRate": 12.0, "inputTokens": {"mean": 6144.0, "scv": 0.1}}}, False, True),
        ({"workload": {"arrivalRate": 12.0}}, False, True),
        ({"prediction": {"ttft": {"mean": "1s", "p99": "2.5s"}}}, False, True),
        ({"prediction": {"ttft": {"mean": "1.05s", "p99": "2s"}}}, False, False),
        (
            {"conditions": [{"type": "Ready", "status": "True", "reason": "Evaluated", "message": "ok for 900ms"}]},
            False,
            True,
        ),
        (
            {"conditions": [{"type": "Ready", "status": "True", "reason": "Evaluated", "message": "late for 12s"}]},
            True,
            True,
        ),
        ({"conditions": [{"type": "Ready", "status": "True", "reason": "Other", "message": "ok"}]}, True, True),
        ({"conditions": [{"type": "Ready", "status": "False", "reason": "Evaluated", "message": "ok"}]}, True, True),
        ({"observedGeneration": 2}, True, True),
        ({"summary": {"state": "ScalingUp", "rate": "12/s"}}, True, True),
        ({"prefill": {"current": 3, "ready": 3, "desired": 4}}, True, True),
        ({"prefill": {"current": 3, "ready": 2, "desired": 3}}, True, True),
    ],
)
def test_the_rule(changes: dict[str, Any], at_once: bool, after_a_minute: bool) -> None:
    assert worth_writing(document(), document(**changes), 0.0) is at_once
    assert worth_writing(document(), document(**changes), FIGURES_INTERVAL_S) is after_a_minute


def test_what_is_next_to_nothing_does_not_move() -> None:
    before = {"workload": {"inputTokens": {"mean": 1000.0, "scv": 1e-13}}, "observed": {"tpot": "800us"}}
    noise = {"workload": {"inputTokens": {"mean": 1000.0, "scv": 4e-13}}, "observed": {"tpot": "800us"}}
    slower = {**before, "observed": {"tpot": "900us"}}
    assert not worth_writing(before, noise, since_s=1e9)
    assert worth_writing(before, slower, since_s=1e9)


def test_an_estimate_of_noise_is_written_with_what_is_written_next() -> None:
    before = {"forecast": {"rate": 12.0, "dispersion": 0.3}}
    assert not worth_writing(before, {"forecast": {"rate": 12.0, "dispersion": 0.6}}, since_s=1e9)
    assert worth_writing(before, {"forecast": {"rate": 14.0, "dispersion": 0.6}}, since_s=1e9)


def test_the_first_status_is_always_worth_it() -> None:
    assert worth_writing({}, document(), 0.0)


async def test_what_it_says_is_rounded() -> None:
    world = ready_world()
    world.source.default = load(12.345678)
    await world.step()
    assert world.status()["workload"]["arrivalRate"] == 12.3
    assert world.status()["observed"] == {
        "ttft": "1.62s",
        "tpot": "18.9ms",
        "prefill": {"waiting": 3.0},
        "decode": {"running": 120.0, "kvUsage": 0.5},
    }
    assert world.status()["workload"]["alternatives"] == {"arrivals": "llm_d_epp_request_total"}
    assert world.status()["workload"]["observedAt"] == "2026-11-21T12:00:00Z"
    assert PDDeploymentStatus.model_validate(world.status()).to_document() == world.status()


async def test_an_unstable_prediction_is_not_known_instead_of_infinite() -> None:
    world = ready_world()
    world.source.default = load(500.0)
    await world.step()
    assert "mean" not in world.status()["prediction"]["ttft"]


def test_rounding_keeps_what_is_unknown_unknown() -> None:
    assert [rounded(value) for value in (None, float("inf"), float("nan"), 0.0, 123456.0)] == [
        None,
        None,
        None,
        0.0,
        123456.0,
    ]


STATE = PlanState(
    pools=PerPool(
        PoolMemory((Recommendation(START_S - 60.25, 3), Recommendation(START_S, 4)), (ScaleEvent(START_S - 60.25, 1),)),
        PoolMemory((), (ScaleEvent(START_S, -2, found=True),)),
    ),
    telemetry_failures=2,
    fallback_active=True,
    healthy_since_s=START_S - 5.5,
    last_workload=WorkloadStats(12.5, LengthStats(6144.0, 0.5), LengthStats(512.0), 1.5, 0.25),
)


FLIP = ForeignChange("Deployment/deepseek-decode", START_S, "17", 4, 2, "kubectl", overrode=True)
CONTESTED = PerPool(Standoff(), Standoff((FLIP, FLIP, FLIP), START_S + 600.0))


@pytest.mark.parametrize("state", [STATE, PlanState(), replace(STATE, last_workload=WorkloadStats(0.0, None, None))])
@pytest.mark.parametrize("standoffs", [UNCONTESTED, CONTESTED])
def test_the_memory_survives_the_status(state: PlanState, standoffs: PerPool[Standoff]) -> None:
    written = PDDeploymentStatus(memory=memory.to_status(state, standoffs)).to_document()
    found = PDDeploymentStatus.model_validate(written).memory
    assert memory.from_status(found) == state
    assert memory.standoffs(found) == standoffs


def test_a_memory_written_by_hand_is_read_as_far_as_it_goes() -> None:
    found = PDDeploymentStatus.model_validate(
        {"memory": {"prefill": {"recommendations": [{"time": "noon", "replicas": 3}]}, "healthySince": "x"}}
    )
    assert memory.from_status(found.memory) == PlanState()


async def test_a_restart_causes_no_burst_of_scale_down() -> None:
    world = ready_world(8, 8)
    world.source.default = load(25.0)
    await world.run(2)
    world.source.default = load(1.0)
    await world.run(3)
    world.restart()
    await world.run(19)
    assert [write for write in world.cluster.writes if write[2] < write[1]] == []
    await world.run(3)
    assert [write for write in world.cluster.writes if write[2] < write[1]] != []


async def test_a_restart_repeats_no_event_and_keeps_transition_times() -> None:
    world = ready_world()
    world.source.default = no_data()
    await world.step()
    since = world.conditions()["MetricsAvailable"]["lastTransitionTime"]
    world.restart()
    await world.run(2)
    assert world.event_reasons().count("NoData") == 1
    assert world.conditions()["MetricsAvailable"]["lastTransitionTime"] == since


async def test_a_kill_between_write_and_status_doubles_no_step() -> None:
    policy = {"type": "Pods", "value": 2, "periodSeconds": 120}
    world = ready_world(1, 4, behavior={"scaleUp": {"policies": [policy]}})
    world.source.default = load(3.0)
    await world.step()
    world.source.default = load(12.5)
    world.server.faults = deque([ClusterError("Unreachable", "killed here")])
    await world.step(PERIOD_S)
    assert world.cluster.writes == [("deepseek-prefill", 1, 3)]
    world.restart()
    await world.step(PERIOD_S)
    assert world.cluster.writes == [("deepseek-prefill", 1, 3)], "what nobody reported counts towards the rate limit"
    await world.run(8)
    assert world.cluster.writes[1:] == [("deepseek-prefill", 3, 4)]


async def test_a_kill_between_the_two_writes_is_made_good() -> None:
    world = ready_world(1, 1)
    world.cluster.write_faults["deepseek-decode"] = deque([ClusterError("Unreachable", "killed here")])
    world.server.faults = deque([ClusterError("Unreachable", "killed here")])
    await world.step()
    world.restart()
    await world.step()
    assert world.cluster.writes == [("deepseek-prefill", 1, 4), ("deepseek-decode", 1, 4)]


async def test_a_status_of_another_making_is_replaced() -> None:
    world = World()
    world.cluster.set("deepseek-prefill", 4)
    world.cluster.set("deepseek-decode", 4)
    key = world.apply(resource())
    world.server.documents[key]["status"] = {"conditions": "none", "memory": 7}
    world.restart()
    await world.step()
    assert world.condition("Ready") == ("True", "Evaluated")


@pytest.mark.parametrize(
    ("arrange", "columns"),
    [
        (
            {},
            {
                "prefill": "4",
                "decode": "4",
                "rate": "12.5/s",
                "ttft": "1.62s/2s",
                "tpot": "18.9ms/20ms",
                "state": "Steady",
            },
        ),
        (
            {"reading": no_data()},
            {"prefill": "4", "rate": "–", "ttft": "–", "state": "Holding: NoData", "forecast": "–"},
        ),
        ({"spec": {"mode": "RecommendOnly"}}, {"prefill": "4 (4)", "state": "Recommending"}),
        ({"prefill": 8}, {"prefill": "8", "limitedBy": "ScaleDownStabilization", "gpus": "96"}),
        ({"spec": {"constraints": {"maxGPUs": 128}}}, {"gpus": "64/128", "limitedBy": "–", "lastChange": "–"}),
        ({"prefill": 1, "decode": 1}, {"prefill": "1→4", "state": "ScalingUp", "lastChange": "2026-11-21T12:00:00Z"}),
        ({"prefill": 0}, {"prefill": "0", "state": "Holding: TargetAtZero"}),
        ({"missing": True}, {"prefill": "–", "decode": "4", "state": "Blocked: FailedGetScale", "gpus": "–"}),
        (
            {"prefill": 8, "decode": 1, "spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}},
            {"prefill": "8→4", "decode": "1→4", "state": "Rebalancing"},
        ),
    ],
)
async def test_the_printer_columns(arrange: dict[str, Any], columns: dict[str, str]) -> None:
    world = ready_world(arrange.get("prefill", 4), arrange.get("decode", 4), **arrange.get("spec", {}))
    world.source.default = arrange.get("reading", load(12.5))
    if arrange.get("missing"):
        del world.cluster.targets["deepseek-prefill"]
    await world.step()
    assert {name: world.status()["summary"][name] for name in columns} == columns


async def test_a_percentile_is_shown_as_the_interval_it_is() -> None:
    slo = {"ttft": {"target": "2s", "statistic": "P95"}, "tpot": {"target": "20ms"}}
    world = ready_world(slo=slo)
    world.source.default = replace(load(3.0), ttft_bucket_s=(1.0, 2.5))
    await world.step()
    assert world.status()["summary"]["ttft"] == "1s–2.5s/2s"
    assert LatencyTarget(2.0, Statistic.P95).statistic.quantile == 0.95


async def test_a_decision_says_of_both_pools_what_becomes_of_them() -> None:
    world = ready_world(3, 4)
    await world.step()
    (decision,) = world.status()["decisions"]
    steps = {pool: (decision[pool]["from"], decision[pool]["to"]) for pool in ("prefill", "decode")}
    assert steps == {"prefill": (3, 4), "decode": (4, 4)}
    assert decision["decode"]["reason"] == world.status()["decode"]["reason"]
