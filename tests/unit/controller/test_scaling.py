"""From a decision to the replicas: what is written, in the face of everybody else who writes."""

from collections import deque
from dataclasses import replace

import pytest

from pdscaler.cluster.errors import ClusterError, ConflictError
from pdscaler.controller.apply import MAX_REPLANS, Actuator
from pdscaler.controller.evaluate import Advisor, Autoscaler
from pdscaler.core.decision import TargetUnknown
from support.world import PERIOD_S, World, load, no_data, ready_world, resource


async def test_both_pools_are_scaled_to_what_the_model_plans() -> None:
    world = ready_world(1, 1)
    await world.step()
    assert sorted(world.cluster.writes) == [("deepseek-decode", 1, 4), ("deepseek-prefill", 1, 4)]
    assert world.status()["summary"]["prefill"] == "1→4"
    assert world.status()["summary"]["state"] == "ScalingUp"
    assert world.status()["prefill"]["current"] == 4
    assert world.status()["decisions"] == [
        {
            "time": "2026-11-21T12:00:00Z",
            "prefill": {"from": 1, "to": 4, "reason": world.status()["prefill"]["reason"]},
            "decode": {"from": 1, "to": 4, "reason": world.status()["decode"]["reason"]},
            "arrivalRate": 12.5,
            "inputTokens": 6144.0,
            "outputTokens": 512.0,
        }
    ]


async def test_nothing_is_written_once_it_is_settled() -> None:
    world = ready_world(4, 4)
    await world.step()
    await world.run(40)
    assert world.cluster.writes == []


async def test_only_the_last_ten_decisions_are_kept_newest_first() -> None:
    world = ready_world(1, 1)
    for step in range(12):
        world.source.default = load(3.0 + 6 * (step + 1))
        await world.run(1)
    times = [decision["time"] for decision in world.status()["decisions"]]
    assert len(times) == 10
    assert times == sorted(times, reverse=True)


async def test_a_pool_that_shrinks_is_written_before_one_that_grows() -> None:
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    world = ready_world(8, 1, behavior=behavior, constraints={"maxGPUs": 128})
    await world.run(2)
    assert world.cluster.writes == [("deepseek-prefill", 8, 4), ("deepseek-decode", 1, 4)]


@pytest.mark.parametrize(("theirs", "ours"), [(4, []), (3, [("deepseek-prefill", 3, 4)])])
async def test_a_foreign_write_before_ours_is_planned_with(theirs: int, ours: list[tuple[str, int, int]]) -> None:
    world = ready_world(1, 4)
    world.cluster.before_read["deepseek-prefill"] = deque([lambda: world.cluster.set("deepseek-prefill", theirs)])
    await world.step()
    assert world.cluster.writes == ours
    assert world.status()["prefill"]["current"] == 4
    assert world.condition("AbleToScale") == ("True", "ReadyForNewScale")


async def test_a_foreign_emergency_stop_before_our_write_is_honoured() -> None:
    world = ready_world(1, 4)
    world.cluster.before_read["deepseek-prefill"] = deque([lambda: world.cluster.set("deepseek-prefill", 0)])
    await world.step()
    assert world.cluster.writes == []
    assert world.condition("ScalingActive") == ("False", "TargetAtZero")


async def test_a_refused_precondition_is_planned_again() -> None:
    world = ready_world(1, 4)
    world.cluster.before_write["deepseek-prefill"] = deque([lambda: world.cluster.set("deepseek-prefill", 2)])
    await world.step()
    assert world.cluster.writes == [("deepseek-prefill", 2, 4)]
    assert world.condition("AbleToScale") == ("True", "ReadyForNewScale")
    assert world.event_reasons() == ["ScaledUp"]


async def test_who_writes_against_somebody_else_all_the_time_gives_up_soon_and_says_so() -> None:
    world = ready_world(1, 4)
    world.cluster.write_faults["deepseek-prefill"] = deque([ConflictError("modified")] * 10)
    await world.step()
    assert len(world.cluster.write_faults["deepseek-prefill"]) == 10 - (MAX_REPLANS + 1)
    assert world.condition("AbleToScale") == ("False", "FailedUpdateScale")
    world.cluster.write_faults.clear()
    await world.step(1.0)
    assert world.cluster.replicas("deepseek-prefill") == 4
    assert world.condition("AbleToScale") == ("True", "ReadyForNewScale")


@pytest.mark.parametrize("reason", ["Forbidden", "ServerError", "Unreachable"])
async def test_a_second_write_that_fails_is_repaired_without_doubling_the_first(reason: str) -> None:
    world = ready_world(1, 1)
    world.cluster.write_faults["deepseek-decode"] = deque([ClusterError(reason, "no", 403)])
    await world.step()
    assert world.cluster.writes == [("deepseek-prefill", 1, 4)]
    assert world.condition("AbleToScale") == ("False", "PartiallyApplied")
    message = world.conditions()["AbleToScale"]["message"]
    assert "prefill 1→4 was ordered, but decode 1→4 could not be ordered" in message
    assert "trying again in 1s" in message
    await world.step(1.0)
    assert world.cluster.writes == [("deepseek-prefill", 1, 4), ("deepseek-decode", 1, 4)]
    assert world.condition("AbleToScale") == ("True", "ReadyForNewScale")
    assert [entry["time"][-4:] for entry in world.status()["decisions"]] == [":01Z", ":00Z"]


async def test_it_stays_partially_applied_until_both_agree_and_backs_off() -> None:
    world = ready_world(1, 1)
    world.cluster.write_faults["deepseek-decode"] = deque([ClusterError("Forbidden", "no", 403)] * 3)
    await world.step()
    await world.step(1.0)
    assert world.condition("AbleToScale") == ("False", "PartiallyApplied")
    await world.step(1.0)
    assert len(world.cluster.write_faults["deepseek-decode"]) == 1, "the second retry waits two seconds"
    await world.step(1.0)
    assert not world.cluster.write_faults["deepseek-decode"]
    await world.step(4.0)
    assert world.condition("AbleToScale") == ("True", "ReadyForNewScale")
    assert world.cluster.writes == [("deepseek-prefill", 1, 4), ("deepseek-decode", 1, 4)]


async def test_a_first_write_that_fails_does_not_keep_the_other_pool_from_its_own() -> None:
    world = ready_world(1, 1)
    world.cluster.write_faults["deepseek-prefill"] = deque([ClusterError("Forbidden", "no", 403)])
    await world.step()
    assert world.cluster.writes == [("deepseek-decode", 1, 4)]
    assert world.condition("AbleToScale") == ("False", "PartiallyApplied")


async def test_an_order_that_was_not_written_does_not_count_towards_the_rate_limit() -> None:
    policy = {"type": "Pods", "value": 2, "periodSeconds": 60}
    world = ready_world(1, 4, behavior={"scaleUp": {"policies": [policy]}})
    world.cluster.write_faults["deepseek-prefill"] = deque([ClusterError("Forbidden", "no", 403)])
    await world.step()
    assert world.status()["memory"]["prefill"]["events"] == []
    await world.step(1.0)
    assert world.cluster.writes == [("deepseek-prefill", 1, 3)]
    await world.step(PERIOD_S)
    assert world.cluster.writes == [("deepseek-prefill", 1, 3)], "two in a minute and no more"


async def test_a_target_that_vanishes_between_decision_and_write_is_said() -> None:
    world = ready_world(1, 4)
    gone = TargetUnknown("FailedGetScale", 'Deployment "deepseek-prefill" not found')

    def vanish() -> None:
        world.cluster.cached["deepseek-prefill"] = world.cluster.targets["deepseek-prefill"]
        world.cluster.targets["deepseek-prefill"] = gone

    world.cluster.before_read["deepseek-prefill"] = deque([vanish])
    await world.step()
    assert world.cluster.writes == []
    assert world.condition("AbleToScale") == ("False", "FailedUpdateScale")


async def test_nothing_is_written_for_a_resource_that_was_deleted_meanwhile() -> None:
    world = ready_world(1, 1)
    world.delete("deepseek", noticed=False)
    await world.step()
    assert world.cluster.writes == []
    assert world.server.statuses == []
    await world.run(3)
    assert world.cluster.writes == []
    assert b'name="deepseek"' not in world.metrics.exposition()


async def test_a_new_resource_of_the_name_of_one_whose_deletion_was_missed_is_served() -> None:
    world = ready_world(1, 1)
    ghost = world.index[next(iter(world.index))]
    world.delete("deepseek", noticed=False)
    await world.step()
    key = world.apply(resource(), created_s=30)
    world.index[key] = [*ghost, *world.index[key]]
    await world.step(PERIOD_S)
    assert len(world.cluster.writes) == 2


async def test_nothing_is_written_for_a_spec_that_has_changed_meanwhile() -> None:
    world = ready_world(1, 1)
    (key,) = world.server.documents
    changed = resource(mode="RecommendOnly")
    metadata = {**world.server.documents[key]["metadata"], "generation": 2}
    world.server.documents[key] = {**changed, "metadata": metadata}
    await world.step()
    assert world.cluster.writes == []
    world.apply(changed)
    await world.step()
    assert world.cluster.writes == []
    assert world.status()["summary"]["state"] == "Recommending"


async def test_a_resource_that_is_being_deleted_is_left_alone() -> None:
    world = ready_world(1, 1)
    (key,) = world.server.documents
    world.server.documents[key]["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    await world.run(2)
    assert world.cluster.writes == []


async def test_recommend_only_writes_nothing_and_says_what_it_would_do() -> None:
    world = ready_world(2, 4, mode="RecommendOnly")
    await world.run(5)
    assert world.cluster.writes == []
    assert world.status()["summary"]["prefill"] == "2 (4)"
    assert world.status()["summary"]["decode"] == "4 (4)"
    assert world.status()["summary"]["state"] == "Recommending"
    assert world.condition("ScalingActive") == ("False", "RecommendOnly")
    assert len(world.status()["decisions"]) == 1, "a recommendation that stays the same is one decision"
    assert world.status()["memory"]["prefill"]["events"] == []


def test_what_is_recommend_only_holds_no_writer() -> None:
    world = World()
    held = [getattr(world.worker._advisor, name) for name in vars(world.worker._advisor)]
    assert not any(hasattr(part, "write") or isinstance(part, Actuator) for part in held)
    assert not isinstance(world.worker._advisor, Autoscaler)
    assert Advisor.__init__.__annotations__.keys() == {"verifier", "return"}


async def test_a_pause_by_annotation_holds_and_is_lifted_at_once() -> None:
    world = ready_world(1, 1)
    world.apply(resource(), annotations={"pdscaler.io/paused": "true"})
    await world.step()
    assert world.cluster.writes == []
    assert world.status()["summary"]["state"] == "Paused"
    assert world.condition("ScalingActive") == ("False", "Paused")
    world.apply(resource())
    await world.step(0.1)
    assert len(world.cluster.writes) == 2


async def test_blind_the_bounds_are_still_enforced() -> None:
    spec = resource()["spec"]
    world = World()
    world.cluster.set("deepseek-prefill", 1)
    world.cluster.set("deepseek-decode", 4)
    world.apply(resource(prefill={**spec["prefill"], "minReplicas": 3}))
    world.source.default = no_data()
    await world.step()
    assert world.cluster.writes == [("deepseek-prefill", 1, 3)]


async def test_the_fallback_is_applied_to_both_pools_after_its_threshold() -> None:
    fallback = {"behavior": "Static", "failureThreshold": 3, "replicas": {"prefill": 6, "decode": 7}}
    world = ready_world(4, 4, fallback=fallback)
    world.source.default = no_data()
    await world.run(2)
    assert world.cluster.writes == []
    await world.run(1)
    assert sorted(world.cluster.writes) == [("deepseek-decode", 4, 7), ("deepseek-prefill", 4, 6)]
    assert world.condition("FallbackActive") == ("True", "FallbackStatic")
    assert world.status()["summary"]["state"] == "Fallback: NoData"


async def test_one_failed_reading_is_one_failure_however_often_it_is_evaluated() -> None:
    world = ready_world(4, 4)
    world.source.default = no_data()
    await world.step()
    for n in range(5):
        world.apply(resource(), annotations={"pdscaler.io/note": str(n)})
        await world.step(0.1)
    assert world.worker._book._entries[next(iter(world.server.documents))].state.telemetry_failures == 1


async def test_a_lagging_cache_never_repeats_an_order() -> None:
    world = ready_world(1, 4)
    before = world.cluster.targets["deepseek-prefill"]
    await world.step()
    world.cluster.cached["deepseek-prefill"] = replace(before)
    await world.step(PERIOD_S)
    assert world.cluster.writes == [("deepseek-prefill", 1, 4)]
    assert world.status()["prefill"]["current"] == 4


async def test_an_order_whose_answer_was_lost_counts_towards_the_rate_limit() -> None:
    policy = {"type": "Pods", "value": 2, "periodSeconds": 60}
    world = ready_world(1, 4, behavior={"scaleUp": {"policies": [policy]}})
    world.cluster.lost_answers["deepseek-prefill"] = deque([ClusterError("Unreachable", "timed out")])
    await world.step()
    assert world.cluster.writes == [("deepseek-prefill", 1, 3)]
    assert world.condition("AbleToScale") == ("True", "ReadyForNewScale")
    assert world.event_reasons() == ["ScaledUp"]
    await world.step(PERIOD_S)
    assert world.cluster.writes == [("deepseek-prefill", 1, 3)], "two in a minute and no more"


async def test_nothing_is_written_while_it_cannot_be_told_what_is_asked() -> None:
    world = ready_world(1, 4)
    world.server.get_faults.append(ClusterError("ServerError", "etcd is slow", 500))
    await world.step()
    assert world.cluster.writes == []
    assert world.condition("AbleToScale") == ("False", "FailedUpdateScale")
    assert "the PDDeployment itself cannot be read" in world.conditions()["AbleToScale"]["message"]
    await world.step(1.0)
    assert world.cluster.writes == [("deepseek-prefill", 1, 4)]


@pytest.mark.parametrize("both_grow", [False, True])
async def test_a_pool_grows_within_the_budget_however_far_the_cache_of_the_other_lags(both_grow: bool) -> None:
    world = ready_world(1 if both_grow else 4, 1, constraints={"maxGPUs": 64})
    pool = "deepseek-decode" if both_grow else "deepseek-prefill"
    stale = world.cluster.targets[pool]
    world.cluster.set(pool, 7)
    world.cluster.cached[pool] = stale
    await world.step()
    assert world.cluster.writes
    replicas = {"deepseek-prefill": 1 if both_grow else 7, "deepseek-decode": 7 if both_grow else 1}
    for name, before, after in world.cluster.writes:
        assert replicas[name] == before
        replicas[name] = after
        assert 8 * sum(replicas.values()) <= 64


@pytest.mark.parametrize("present", [2, 8])
async def test_no_pool_grows_while_somebody_moves_the_other_all_the_time(present: int) -> None:
    world = ready_world(present, 1, constraints={"maxGPUs": 128})
    flips = [lambda n=n: world.cluster.set("deepseek-prefill", n) for n in range(9, 16)]
    world.cluster.before_read["deepseek-prefill"] = deque(flips)
    await world.step()
    assert world.cluster.writes == []
    assert world.condition("AbleToScale") == ("False", "FailedUpdateScale")
    assert "somebody else scaled" in world.conditions()["AbleToScale"]["message"]


@pytest.mark.parametrize(("rate_rps", "figure", "count"), [(16.3315, "4.003", 5), (12.5, "3.06", 4)])
async def test_the_need_that_is_said_explains_the_count(rate_rps: float, figure: str, count: int) -> None:
    world = ready_world(4, 32)
    world.source.default = load(rate_rps)
    await world.step()
    prefill = world.status()["prefill"]
    assert prefill["recommended"] == prefill["desired"] == count
    assert f"need {figure} replicas" in prefill["reason"]
    assert prefill["required"] == float(figure)
