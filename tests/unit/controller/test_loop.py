"""The loop: what is due when, who waits for whom, and what one resource's trouble does to the others."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest

from pdscaler.api.parse import parse_pddeployment
from pdscaler.cluster.errors import ClusterError
from pdscaler.cluster.events import ObjectIdentity
from pdscaler.controller import logs
from pdscaler.controller.evaluation import ResourceKey
from pdscaler.controller.inventory import Inventory
from pdscaler.controller.loop import EvaluationLoop
from pdscaler.controller.worker import Job, Reading
from pdscaler.core.workload import NoData, Telemetry
from pdscaler.telemetry.subject import Subject
from support.eventually import eventually
from support.world import PERIOD_S, World, load, no_data, ready_world, resource


def world_of(*names: str, **spec: Any) -> World:
    world = World()
    for name in names:
        world.cluster.set(f"{name}-prefill", 4)
        world.cluster.set(f"{name}-decode", 4)
        world.apply(resource(name, **spec))
    return world


async def test_one_reading_serves_all_resources_of_a_period() -> None:
    world = world_of("a", "b", "c")
    await world.step()
    await world.run(3)
    assert world.source.asked == [["a", "b", "c"]] * 4


async def test_nothing_is_done_before_the_period_has_passed() -> None:
    world = world_of("a")
    await world.step()
    await world.step(PERIOD_S - 1)
    assert len(world.source.asked) == 1
    await world.step(1.0)
    assert len(world.source.asked) == 2


async def test_a_change_is_evaluated_at_once_from_the_last_reading() -> None:
    world = world_of("a", "b")
    await world.step()
    spec = resource("a")["spec"]
    world.apply(resource("a", prefill={**spec["prefill"], "minReplicas": 6}))
    await world.step(3.0)
    assert world.cluster.writes == [("a-prefill", 4, 6)]
    assert world.source.asked == [["a", "b"]]


async def test_a_new_resource_is_read_and_evaluated_at_once() -> None:
    world = world_of("a")
    await world.step()
    world.cluster.set("b-prefill", 1)
    world.cluster.set("b-decode", 4)
    world.apply(resource("b"))
    await world.step(3.0)
    assert world.source.asked == [["a"], ["b"]]
    assert world.cluster.writes == [("b-prefill", 1, 4)]


async def test_a_change_of_what_is_read_is_read_anew() -> None:
    world = world_of("a")
    await world.step()
    world.apply(resource("a", metrics={"window": "1m"}))
    await world.step(3.0)
    assert world.source.asked == [["a"], ["a"]]


async def test_nothing_is_live_before_everything_has_been_listed() -> None:
    inventory = Inventory()
    key = ResourceKey("serving", "a")
    document = {"metadata": {"namespace": "serving", "name": "a", "uid": "1", "generation": 1}}
    inventory.attach({key: [document]})
    assert inventory.documents() == {}, "of two claims the older may not have been read yet"
    inventory.notice(document, deleted=False)
    assert inventory.documents() == {key: document}


async def test_rounds_keep_their_rhythm_and_catch_nothing_up() -> None:
    world = world_of("a")
    await world.step()
    await world.step(PERIOD_S + 1)
    await world.step(PERIOD_S - 1)
    assert len(world.source.asked) == 3
    await world.step(10 * PERIOD_S)
    await world.step(1.0)
    assert len(world.source.asked) == 4


async def test_what_still_waits_when_a_period_is_over_is_read_anew_and_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pdscaler.controller.loop._AT_ONCE", 1)
    names = [f"m{number:02}" for number in range(12)]
    world = world_of(*names)
    work, ages_s = world.loop._worker.work, dict[str, list[float]]()
    evaluations = 60

    async def slow(job: Job, reading: Reading | None) -> float | None:
        assert reading is not None
        ages_s.setdefault(job.key.name, []).append(world.now_s - reading.at_s)
        if sum(map(len, ages_s.values())) < evaluations:
            world.now_s += PERIOD_S / 4  # as when the API server takes its time
            await world.loop.tick()
        return await work(job, reading)

    world.loop._worker.work = slow  # type: ignore[method-assign]
    await world.loop.tick()
    await world.loop.settled()
    assert sorted(ages_s) == names
    counts = [len(each) for each in ages_s.values()]
    assert max(counts) - min(counts) <= 1, "whoever was served longest ago comes first"
    assert max(age_s for each in ages_s.values() for age_s in each) <= 1.25 * PERIOD_S
    assert len(world.source.asked) == pytest.approx(evaluations / 4, abs=2), "no reading beside those of the rounds"


def overtaken(world: World) -> float | None:
    return world.metrics.registry.get_sample_value("pdscaler_overtaken_evaluations_total")


async def test_a_round_that_is_overtaken_by_the_next_one_is_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    world = world_of("a", "b")
    world.cluster.set("slow-prefill", 4)
    world.cluster.set("slow-decode", 4)
    world.apply(resource("slow", metrics={"prometheus": {"endpointRef": "other"}}))
    source = HangingSource()
    world.loop._collector = source
    with caplog.at_level(logging.WARNING):
        for late in (0, 1, 2):
            await world.loop.tick()
            await asyncio.sleep(0.01)
            assert overtaken(world) == late
            world.now_s += PERIOD_S
        source.release.set()
        await world.loop.settled()
        await world.run(2)
    assert overtaken(world) == 2
    assert [record.getMessage() for record in caplog.records] == ["overtaken"] * 2
    assert getattr(caplog.records[0], logs.FIELDS) == {"evaluations": 1, "period_s": PERIOD_S}


async def test_a_change_that_is_evaluated_when_a_round_is_due_is_not_overtaken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = world_of("a")
    await world.step()
    source = HangingSource()
    world.loop._collector = source
    world.apply(resource("a", metrics={"prometheus": {"endpointRef": "other"}}))
    await world.loop.tick()
    await asyncio.sleep(0.01)
    world.now_s += PERIOD_S
    with caplog.at_level(logging.WARNING):
        await world.loop.tick()
    assert overtaken(world) == 0
    assert not caplog.records
    source.release.set()
    await world.loop.settled()


async def test_the_parts_of_a_round_are_timed_and_changes_are_not() -> None:
    world = world_of("a", "b")
    collect = world.source.collect

    async def slow(subjects: Sequence[Subject]) -> dict[tuple[str, str], Telemetry | NoData]:
        world.now_s += 3.0
        return await collect(subjects)

    world.source.collect = slow  # type: ignore[method-assign]
    world.apply(resource("invalid", slo={}))
    await world.run(2)
    world.apply(resource("a", metrics={"window": "1m"}))
    await world.step()
    assert len(world.source.asked) == 3
    for part, passed_s in (("read", 6.0), ("foresee", 0.0), ("evaluate", 0.0)):
        rounds = "pdscaler_round_duration_seconds"
        assert world.metrics.registry.get_sample_value(f"{rounds}_count", {"part": part}) == 2
        assert world.metrics.registry.get_sample_value(f"{rounds}_sum", {"part": part}) == passed_s


async def test_changes_that_come_together_are_looked_at_together() -> None:
    world = world_of("a")
    due: list[frozenset[ResourceKey]] = []

    async def tick() -> None:
        due.append(world.inventory.take_due())
        world.loop._next_round_s = world.now_s + 3600.0
        world.now_s += 0.05  # as when there are thousands to pass by

    world.loop.tick = tick  # type: ignore[method-assign]
    running = asyncio.create_task(world.loop.run())
    await eventually(lambda: len(due), lambda ticks: ticks == 1)
    keys = [ResourceKey("serving", f"new-{number}") for number in range(10)]
    for key in keys:
        world.inventory.mark(key)
        await asyncio.sleep(0.001)
    await eventually(lambda: len(due), lambda ticks: ticks > 1)
    assert due[1:] == [frozenset(keys)]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class HangingSource:
    """Hangs for one Prometheus, and answers for the other."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def collect(self, subjects: Sequence[Subject]) -> dict[tuple[str, str], Telemetry | NoData]:
        if any(subject.endpoint.name == "other" for subject in subjects):
            await self.release.wait()
        return {subject.key: load(12.5) for subject in subjects}


async def test_a_prometheus_that_hangs_holds_up_only_its_own() -> None:
    world = world_of("a")
    world.cluster.set("slow-prefill", 4)
    world.cluster.set("slow-decode", 4)
    world.apply(resource("slow", metrics={"prometheus": {"endpointRef": "other"}}))
    source = HangingSource()
    world.loop._collector = source
    for _ in range(3):
        world.now_s += PERIOD_S
        await world.loop.tick()
        await asyncio.sleep(0.01)
    assert world.metrics.registry.get_sample_value("pdscaler_evaluations_total", {"outcome": "Planned"}) == 3
    assert world.status("slow") == {}
    assert world.heartbeat.healthy
    source.release.set()
    await world.loop.settled()
    assert world.condition("Ready", "slow") == ("True", "Evaluated")


async def test_a_change_during_an_evaluation_is_evaluated_after_it() -> None:
    world = World()
    world.cluster.set("slow-prefill", 4)
    world.cluster.set("slow-decode", 4)
    other = {"metrics": {"prometheus": {"endpointRef": "other"}}}
    world.apply(resource("slow", **other))
    source = HangingSource()
    world.loop._collector = source
    await world.loop.tick()
    await asyncio.sleep(0.01)
    spec = resource("slow")["spec"]
    world.apply(resource("slow", prefill={**spec["prefill"], "minReplicas": 6}, **other))
    await world.loop.tick()
    assert not world.inventory.changed.is_set()
    source.release.set()
    await world.loop.settled()
    assert world.inventory.changed.is_set()
    await world.step()
    assert world.cluster.writes == [("slow-prefill", 4, 6)]


async def test_one_resource_that_breaks_does_not_disturb_the_others(caplog: pytest.LogCaptureFixture) -> None:
    world = world_of("a", "broken", "c")
    target = world.cluster.target

    def explode(ref: Any) -> Any:
        if ref.name.startswith("broken"):
            raise RuntimeError("unforeseen")
        return target(ref)

    world.cluster.target = explode  # type: ignore[method-assign]
    with caplog.at_level(logging.ERROR):
        await world.run(2)
    assert world.condition("Ready", "broken") == ("False", "InternalError")
    assert world.condition("Ready", "a") == world.condition("Ready", "c") == ("True", "Evaluated")
    assert "RuntimeError: unforeseen" in caplog.text, "the traceback is in the log"
    assert world.metrics.registry.get_sample_value("pdscaler_evaluations_total", {"outcome": "InternalError"}) == 2
    assert world.event_reasons("broken") == ["InternalError"]


async def test_an_invalid_resource_waits_for_no_prometheus() -> None:
    world = world_of("a")
    world.apply(resource("invalid", slo={}))
    await world.run(2)
    assert world.condition("Stalled", "invalid") == ("True", "InvalidSpec")
    assert world.condition("Ready", "a") == ("True", "Evaluated")
    assert world.source.asked == [["a"], ["a"]]


async def test_a_failure_that_cannot_even_be_reported_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    world = world_of("a", "broken")
    publish = world.worker._publisher.publish

    async def explode(entry: Any, *rest: Any) -> None:
        if entry.key.name == "broken":
            raise RuntimeError("unforeseen")
        await publish(entry, *rest)

    world.worker._publisher.publish = explode  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.ERROR):
        await world.run(2)
    assert world.condition("Ready", "a") == ("True", "Evaluated")
    assert world.status("broken") == {}


async def test_a_reader_that_breaks_its_contract_is_said_and_stops_nobody_for_good() -> None:
    world = world_of("a")
    world.source.readings["a"] = RuntimeError("collect must not raise")
    await world.step()
    assert world.condition("Ready", "a") == ("False", "InternalError")
    assert "collect must not raise" in world.conditions("a")["Ready"]["message"]
    world.source.readings.clear()
    await world.step(PERIOD_S)
    assert world.condition("Ready", "a") == ("True", "Evaluated")


async def test_a_resource_that_is_gone_is_forgotten() -> None:
    world = world_of("a", "b")
    await world.step()
    assert b'name="a"' in world.metrics.exposition()
    world.delete("a")
    await world.step()
    assert b'name="a"' not in world.metrics.exposition()
    assert b'name="b"' in world.metrics.exposition()
    assert {ref.name for ref in world.cluster.retained} == {"b-prefill", "b-decode"}
    assert world.loop._readings.keys() == {("serving", "b")}


async def test_a_resource_deleted_while_its_status_is_written_is_forgotten_though_the_watch_missed_it() -> None:
    world = ready_world()
    await world.step()
    world.delete("deepseek", noticed=False)
    world.source.default = no_data()
    await world.run(2)
    assert b'name="deepseek"' not in world.metrics.exposition()


async def test_liveness_looks_at_the_loop_and_at_nothing_else() -> None:
    world = ready_world()
    world.source.default = no_data()
    await world.run(20)
    assert world.heartbeat.healthy
    world.now_s += world.heartbeat.limit_s + 1
    assert not world.heartbeat.healthy
    await world.step()
    assert world.heartbeat.healthy


async def test_a_loop_with_nothing_to_do_is_alive() -> None:
    world = World()
    for _ in range(3):
        await world.step(world.heartbeat.limit_s)
        assert world.heartbeat.healthy


async def test_it_runs_by_itself_wakes_for_a_change_and_ends_when_cancelled() -> None:
    world = ready_world(1, 1)
    task = asyncio.create_task(world.loop.run())
    await eventually(lambda: len(world.cluster.writes), lambda count: count == 2)
    spec = resource()["spec"]
    world.apply(resource(prefill={**spec["prefill"], "minReplicas": 7}))
    await eventually(lambda: len(world.cluster.writes), lambda count: count == 3)
    assert world.cluster.writes[2] == ("deepseek-prefill", 4, 7)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not world.loop._tasks


async def test_what_goes_wrong_in_the_loop_itself_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    world = ready_world()

    async def explode(refs: Any) -> None:
        raise RuntimeError("unforeseen")

    world.cluster.retain = explode  # type: ignore[method-assign]
    loop: EvaluationLoop = world.loop
    with caplog.at_level(logging.ERROR):
        task = asyncio.create_task(loop.run())
        await eventually(lambda: caplog.text, lambda text: "the evaluation loop failed" in text)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_of_two_claims_on_a_target_the_oldest_wins_whatever_the_order() -> None:
    spec = resource("old")["spec"]
    for first, second in (("old", "young"), ("young", "old")):
        world = World()
        world.cluster.set("old-prefill", 1)
        for name in ("old", "young"):
            world.cluster.set(f"{name}-decode", 1)
        for name in (first, second):
            own = resource(name)["spec"]["decode"]
            world.apply(resource(name, prefill=spec["prefill"], decode=own), created_s=10 if name == "old" else 20)
        await world.run(2)
        assert sorted(world.cluster.writes) == [("old-decode", 1, 4), ("old-prefill", 1, 4)]
        assert world.condition("AbleToScale", "young") == ("False", "TargetConflict")
        message = world.conditions("young")["AbleToScale"]["message"]
        assert "PDDeployment serving/old also scales Deployment/old-prefill (prefill)" in message
        assert world.event_reasons("young").count("TargetConflict") == 1
        world.delete("old")
        await world.step(PERIOD_S)
        assert ("young-decode", 1, 4) in world.cluster.writes
        assert world.condition("AbleToScale", "young") == ("True", "ReadyForNewScale")


async def test_a_loser_does_not_block_a_third_on_its_other_target() -> None:
    world = World()
    for name, prefill, decode, created_s in (("a", "x", "y", 1), ("b", "y", "z", 2), ("c", "z", "w", 3)):
        spec = resource(name)["spec"]
        for target in (prefill, decode):
            world.cluster.set(target, 4)
        world.apply(
            resource(
                name,
                prefill={**spec["prefill"], "scaleTargetRef": {"name": prefill}},
                decode={**spec["decode"], "scaleTargetRef": {"name": decode}},
            ),
            created_s=created_s,
        )
    await world.step()
    assert [world.condition("AbleToScale", name)[0] for name in ("a", "b", "c")] == ["True", "False", "True"]


async def test_recommend_only_claims_nothing() -> None:
    world = World()
    world.cluster.set("old-prefill", 4)
    world.cluster.set("old-decode", 4)
    spec = resource("old")["spec"]
    world.apply(resource("old", mode="RecommendOnly"), created_s=1)
    world.apply(resource("young", prefill=spec["prefill"], decode=spec["decode"]), created_s=2)
    await world.step()
    assert world.condition("AbleToScale", "young") == ("True", "ReadyForNewScale")
    assert world.condition("AbleToScale", "old") == ("True", "ReadyForNewScale")


async def test_a_clock_that_is_put_back_holds_up_nothing() -> None:
    world = world_of("a")
    await world.step()
    await world.step(-3600.0)
    assert len(world.source.asked) == 2
    await world.step(PERIOD_S - 1)
    assert len(world.source.asked) == 2
    await world.step(1.0)
    assert len(world.source.asked) == 3


async def test_a_retry_is_not_put_off_by_a_clock_that_is_put_back() -> None:
    world = ready_world(1, 4)
    world.cluster.write_faults["deepseek-prefill"] = deque([ClusterError("Forbidden", "no", 403)])
    await world.step()
    world.loop._next_round_s -= 3600.0
    await world.step(-3600.0)
    assert world.cluster.writes == [("deepseek-prefill", 1, 4)]


async def test_an_evaluation_that_never_ends_is_no_sign_of_life() -> None:
    world = World()
    world.cluster.set("slow-prefill", 4)
    world.cluster.set("slow-decode", 4)
    world.apply(resource("slow", metrics={"prometheus": {"endpointRef": "other"}}))
    source = HangingSource()
    world.loop._collector = source
    for _ in range(3):
        world.now_s += world.heartbeat.limit_s
        await world.loop.tick()
        await asyncio.sleep(0)
    assert not world.heartbeat.healthy
    source.release.set()
    await world.loop.settled()
    assert world.heartbeat.healthy


async def test_each_evaluation_is_a_sign_of_life_however_many_wait() -> None:
    world = world_of("a", "b")
    release = asyncio.Event()
    write = world.server.write

    async def slow(about: ObjectIdentity, document: Any) -> str:
        if about.name == "b":
            await release.wait()
        return await write(about, document)

    world.worker._publisher._statuses.write = slow  # type: ignore[method-assign]
    world.now_s += world.heartbeat.limit_s + 1
    await world.loop.tick()
    await eventually(lambda: world.status("a"), bool)
    assert world.heartbeat.healthy
    release.set()
    await world.loop.settled()


async def test_a_resource_that_cannot_even_be_read_does_not_disturb_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = world_of("a", "hostile")
    parse = parse_pddeployment

    def explode(document: Any) -> Any:
        if document["metadata"]["name"] == "hostile":
            raise RecursionError("too deep")
        return parse(document)

    monkeypatch.setattr("pdscaler.controller.prepare.parse_pddeployment", explode)
    with caplog.at_level(logging.ERROR):
        await world.run(3)
    assert world.condition("Ready", "a") == ("True", "Evaluated")
    assert world.condition("Ready", "hostile") == ("False", "InternalError")
    assert caplog.text.count("cannot be read") == 1, "once for each version of it"


async def test_a_reading_that_has_waited_too_long_moves_nothing() -> None:
    world = ready_world(1, 4)
    world.worker._clock = lambda: world.now_s + 130.0
    await world.step()
    assert world.cluster.writes == []
    assert world.condition("MetricsAvailable") == ("False", "StaleData")
    assert "were read 130s ago (maxStaleness is 120s)" in world.conditions()["MetricsAvailable"]["message"]


async def test_a_resource_that_was_not_found_is_believed_again_once_the_watch_speaks_of_it() -> None:
    world = ready_world(1, 4)
    world.server.get_faults.append(ClusterError("NotFound", "not found", 404))
    await world.step()
    assert world.cluster.writes == []
    world.apply(resource())
    await world.step(PERIOD_S)
    assert world.cluster.writes == [("deepseek-prefill", 1, 4)]


async def test_of_a_resource_that_became_invalid_no_figure_is_left() -> None:
    world = ready_world()
    await world.step()
    assert b'pdscaler_replicas{kind="current"' in world.metrics.exposition()
    world.apply(resource(slo={}))
    await world.step()
    assert b'name="deepseek"' not in world.metrics.exposition()
