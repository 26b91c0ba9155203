"""Another autoscaler, or somebody who sets the replicas back: we stop, say who, and come back."""

from typing import Any

import pytest

from pdscaler.cluster.changes import ForeignChange
from pdscaler.controller.standoff import FLIPS, WINDOW_S, Standoff
from support.world import PERIOD_S, START_S, World, load, ready_world, resource

HPA = "HorizontalPodAutoscaler serving/chat"


async def test_another_autoscaler_on_one_target_stops_both_pools_until_it_is_gone() -> None:
    world = ready_world(1, 1)
    world.cluster.rivals["deepseek-decode"] = HPA
    await world.run(3)
    assert world.cluster.writes == []
    assert world.condition("AbleToScale") == ("False", "TargetConflict")
    assert world.conditions()["AbleToScale"]["message"] == (
        f"{HPA} also scales Deployment/deepseek-decode (decode); not writing until it is gone or names another target."
    )
    assert world.status()["summary"]["state"] == "Blocked: TargetConflict"
    assert world.status()["decode"]["recommended"] == 4
    assert world.event_reasons().count("TargetConflict") == 1
    assert b'pdscaler_target_conflict{name="deepseek",namespace="serving"} 1.0' in world.metrics.exposition()
    world.cluster.rivals.clear()
    await world.step(PERIOD_S)
    assert sorted(world.cluster.writes) == [("deepseek-decode", 1, 4), ("deepseek-prefill", 1, 4)]
    assert world.condition("AbleToScale") == ("True", "ReadyForNewScale")
    assert world.event_reasons().count("ReadyForNewScale") == 1
    assert b'pdscaler_target_conflict{name="deepseek",namespace="serving"} 0.0' in world.metrics.exposition()


async def test_it_stops_that_pddeployment_only() -> None:
    world = World()
    for name in ("deepseek", "other"):
        for pool in ("prefill", "decode"):
            world.cluster.set(f"{name}-{pool}", 1)
        world.apply(resource(name))
    world.cluster.rivals["deepseek-prefill"] = HPA
    await world.step()
    assert {name for name, _, _ in world.cluster.writes} == {"other-prefill", "other-decode"}


async def test_what_only_recommends_has_no_rivals() -> None:
    world = ready_world(1, 1, mode="RecommendOnly")
    world.cluster.rivals["deepseek-decode"] = HPA
    await world.step()
    assert world.condition("AbleToScale") == ("True", "ReadyForNewScale")


async def test_the_oldest_claim_is_kept_while_another_autoscaler_stands_in_its_way() -> None:
    world = World()
    spec = resource("old")["spec"]
    for target in ("old-prefill", "old-decode", "young-decode"):
        world.cluster.set(target, 1)
    world.apply(resource("old"), created_s=10)
    world.apply(resource("young", prefill=spec["prefill"]), created_s=20)
    world.cluster.rivals["old-decode"] = HPA
    await world.run(2)
    assert world.cluster.writes == []
    assert "HorizontalPodAutoscaler" in world.conditions("old")["AbleToScale"]["message"]
    assert "PDDeployment serving/old" in world.conditions("young")["AbleToScale"]["message"]


async def test_autoscalers_that_cannot_be_read_are_told_and_do_not_stop_anything() -> None:
    world = ready_world(1, 1)
    world.cluster.blind = "HorizontalPodAutoscalers cannot be read (Forbidden: no): one on a target would go unnoticed"
    await world.step()
    assert len(world.cluster.writes) == 2
    assert world.conditions()["AbleToScale"]["message"] == f"Both targets can be scaled. {world.cluster.blind}."


async def test_a_target_that_is_missing_beside_a_conflict_does_not_promise_the_other_pool() -> None:
    world = ready_world(1, 1)
    world.cluster.targets.pop("deepseek-prefill")
    world.cluster.rivals["deepseek-decode"] = HPA
    await world.step()
    message = world.conditions()["AbleToScale"]["message"]
    assert "not found" in message
    assert HPA in message
    assert "not affected" not in message


async def fought_over(world: World, flips: int = FLIPS, by: str = "kubectl") -> None:
    """Let somebody set decode back after each of our orders; the load needs 4."""
    await world.step()
    for _ in range(flips):
        assert world.cluster.replicas("deepseek-decode") == 4
        world.cluster.flip("deepseek-decode", 1, world.now_s + 5.0, by=by)
        await world.step(PERIOD_S)


async def test_two_flips_are_no_fight() -> None:
    world = ready_world(4, 1)
    await fought_over(world, flips=2)
    assert world.cluster.replicas("deepseek-decode") == 4
    assert world.condition("AbleToScale") == ("True", "ReadyForNewScale")


async def test_the_third_flip_within_ten_minutes_stops_us_and_names_who_did_it() -> None:
    world = ready_world(4, 1)
    await fought_over(world)
    await world.run(4)
    assert world.cluster.replicas("deepseek-decode") == 1
    assert len(world.cluster.writes) == FLIPS
    assert world.condition("AbleToScale") == ("False", "TargetConflict")
    assert world.conditions()["AbleToScale"]["message"] == (
        'Field manager "kubectl" set Deployment/deepseek-decode (decode) away from what was ordered 3 times within '
        "10 minutes, last 4→1; not writing until 10 minutes have passed in which nobody else changed it. Let one of "
        "the two decide the replicas."
    )
    assert world.event_reasons().count("TargetConflict") == 1
    assert b'pdscaler_foreign_changes_total{pool="decode"} 3.0' in world.metrics.exposition()


async def test_the_other_pool_is_not_written_either_while_a_fight_lasts() -> None:
    world = ready_world(4, 1)
    await fought_over(world)
    world.source.default = load(25.0)
    await world.run(4)
    assert {name for name, _, _ in world.cluster.writes} == {"deepseek-decode"}


async def test_it_is_taken_up_again_after_ten_quiet_minutes() -> None:
    world = ready_world(4, 1)
    await fought_over(world)
    last_s = world.cluster.changes["deepseek-decode"][-1].at_s
    while world.cluster.replicas("deepseek-decode") == 1:
        await world.step(PERIOD_S)
    assert 0 <= world.now_s - (last_s + WINDOW_S) < PERIOD_S
    assert world.condition("AbleToScale") == ("True", "ReadyForNewScale")


async def test_every_further_change_by_somebody_else_puts_it_off() -> None:
    world = ready_world(4, 1)
    await fought_over(world)
    await world.run(20)
    world.cluster.flip("deepseek-decode", 2, world.now_s, overrode=False)
    changed_s = world.now_s
    while world.condition("AbleToScale")[1] == "TargetConflict":
        await world.step(PERIOD_S)
    assert world.now_s - changed_s >= WINDOW_S


async def test_a_fight_outlives_the_process() -> None:
    world = ready_world(4, 1)
    await fought_over(world)
    world.cluster.changes.clear()
    world.restart()
    await world.run(4)
    assert world.condition("AbleToScale") == ("False", "TargetConflict")
    assert len(world.cluster.writes) == FLIPS
    assert world.event_reasons().count("TargetConflict") == 1


async def test_another_target_is_another_fight() -> None:
    world = ready_world(4, 1)
    await fought_over(world)
    world.cluster.set("fresh", 1)
    decode = {**resource()["spec"]["decode"], "scaleTargetRef": {"name": "fresh"}}
    world.apply(resource(decode=decode))
    await world.step(PERIOD_S)
    assert world.cluster.replicas("fresh") == 4


def change(at_s: float, version: int, overrode: bool = True) -> ForeignChange:
    return ForeignChange("Deployment/x", at_s, str(version), 4, 2, "kubectl", overrode)


@pytest.mark.parametrize(
    ("times_s", "overrode", "lasts"),
    [
        ((0, 100, 599), True, True),
        ((0, 100, 601), True, False),
        ((0, 100, 200), False, False),
        ((0, 100), True, False),
    ],
)
def test_three_changes_of_an_order_within_ten_minutes(times_s: tuple[int, ...], overrode: bool, lasts: bool) -> None:
    seen = [change(START_S + at_s, number, overrode) for number, at_s in enumerate(times_s)]
    standoff = Standoff()
    for known in range(1, len(seen) + 1):
        standoff = standoff.after(seen[:known], seen[known - 1].at_s)
    assert (standoff.until_s is not None) is lasts
    # What is known already does not count again.
    again = standoff.after(seen, seen[-1].at_s + 1)
    assert again == standoff
    assert again.fresh(standoff) == 0


def test_a_clock_that_was_put_back_does_not_make_it_last() -> None:
    seen = [change(START_S + 10 * number, number) for number in range(FLIPS)]
    now_s = START_S - 86_400.0
    standoff = Standoff().after(seen, START_S + 30).after(seen, now_s)
    assert standoff.until_s == now_s + WINDOW_S


@pytest.mark.parametrize("memory", [{"contestedUntil": "2099-01-01T00:00:00Z"}, {"contestedUntil": "soon"}])
async def test_a_memory_written_by_hand_stops_nothing(memory: dict[str, Any]) -> None:
    world = ready_world(1, 1)
    (key, document), *_ = world.server.documents.items()
    world.server.documents[key] = {**document, "status": {"memory": {"decode": memory}}}
    world.restart()
    await world.step()
    assert len(world.cluster.writes) == 2
