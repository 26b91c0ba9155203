"""The loop of a replica that leads, follows, gains and loses its turn."""

from collections import deque

import pytest

from pdscaler.cluster.errors import ClusterError
from pdscaler.cluster.fence import NotLeadingError
from pdscaler.controller.leadership import Succession
from support.world import PERIOD_S, World, load, resource


class Turn:
    """Whose turn it is, as a test says."""

    def __init__(self, number: int | None = None) -> None:
        self.number = number

    def term(self) -> int | None:
        return self.number


@pytest.fixture
def turn() -> Turn:
    return Turn()


@pytest.fixture
def world(turn: Turn) -> World:
    """A world in which more replicas are needed, and a replica that stands by."""
    made = World()
    made.leads = turn
    made.restart()
    made.cluster.set("deepseek-prefill", 1)
    made.cluster.set("deepseek-decode", 4)
    made.apply(resource())
    return made


async def test_a_follower_evaluates_and_writes_nothing_and_is_healthy(world: World) -> None:
    await world.run(20)
    assert world.cluster.writes == []
    assert (world.server.statuses, world.server.events) == ([], [])
    assert world.source.asked == [], "not even Prometheus is asked"
    assert world.heartbeat.healthy
    assert b"pdscaler_replicas{" not in world.metrics.exposition()


async def test_a_follower_keeps_its_watches_warm(world: World) -> None:
    watched: list[str] = []

    async def watch(*refs: object) -> None:
        watched.extend(ref.name for ref in refs)  # type: ignore[attr-defined]

    world.cluster.watch = watch  # type: ignore[method-assign]
    await world.step()
    assert sorted(watched) == ["deepseek-decode", "deepseek-prefill"]
    assert {ref.name for ref in world.cluster.retained} == {"deepseek-decode", "deepseek-prefill"}


async def test_a_new_leader_goes_on_at_once(world: World, turn: Turn) -> None:
    await world.run(3)
    turn.number = 1
    await world.step(1.0)
    assert world.cluster.writes == [("deepseek-prefill", 1, 4)]
    assert world.server.lists == 1
    await world.step(1.0)
    assert len(world.source.asked) == 1, "and keeps the rhythm from there"
    await world.step(PERIOD_S)
    assert len(world.source.asked) == 2


async def test_a_new_leader_starts_from_what_the_api_server_holds_and_not_from_a_watch_that_lags(
    world: World, turn: Turn
) -> None:
    turn.number = 1
    world.cluster.set("deepseek-prefill", 4)
    await world.step()
    turn.number = None
    await world.step()
    # Another leader has seen a higher load, and says so in its status; our watch has not heard of it.
    key, document = next(iter(world.server.documents.items()))
    status = dict(world.status())
    status["memory"]["prefill"]["recommendations"] = [{"time": status["memory"]["healthySince"], "replicas": 9}]
    status["prefill"]["current"] = 9
    world.server.documents[key] = {**document, "status": status}
    world.cluster.set("deepseek-prefill", 9)
    world.source.default = load(2.0)
    turn.number = 2
    await world.step(1.0)
    assert world.cluster.writes == [], "its window still holds: no burst of scale-down"
    assert world.status()["prefill"]["desired"] == 9
    assert world.status()["prefill"]["recommended"] < 9


async def test_a_term_does_not_begin_before_the_statuses_are_read(world: World, turn: Turn) -> None:
    turn.number = 1
    world.server.list_faults.append(ClusterError("Unreachable", "no answer"))
    await world.step()
    assert world.cluster.writes == []
    await world.step(1.0)
    assert world.cluster.writes == [("deepseek-prefill", 1, 4)]


async def test_a_term_that_ends_while_the_statuses_are_read_does_not_begin(world: World, turn: Turn) -> None:
    turn.number = 1
    listing = world.server.list

    async def slow(namespace: str | None = None) -> object:
        turn.number = None
        return await listing(namespace)

    world.server.list = slow  # type: ignore[assignment, method-assign]
    await world.step()
    assert world.cluster.writes == []
    assert world.server.statuses == []


async def test_a_leader_that_loses_its_turn_forgets_what_is_anothers_now(world: World, turn: Turn) -> None:
    turn.number = 1
    await world.step()
    assert b"pdscaler_replicas{" in world.metrics.exposition()
    turn.number = None
    world.cluster.set("deepseek-prefill", 1)
    written = len(world.server.statuses)
    await world.run(3)
    assert b"pdscaler_replicas{" not in world.metrics.exposition()
    assert len(world.cluster.writes) == 1
    assert len(world.server.statuses) == written
    assert world.worker.known() == frozenset()


async def test_a_term_that_follows_on_a_lapse_begins_anew(world: World, turn: Turn) -> None:
    turn.number = 1
    await world.step()
    turn.number = 2
    await world.step(1.0)
    assert world.server.lists == 2
    assert len(world.source.asked) == 2


@pytest.mark.parametrize("at", ["scale", "status"])
async def test_a_write_that_the_fence_stops_ends_the_evaluation_quietly(
    world: World, turn: Turn, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    turn.number = 1
    if at == "scale":
        world.cluster.write_faults["deepseek-prefill"] = deque([NotLeadingError()])
    else:
        world.server.faults.append(NotLeadingError())
    await world.step()
    assert world.server.statuses == []
    assert world.server.events == []
    assert len(world.cluster.writes) == (at == "status")
    assert "Traceback" not in caplog.text
    # It was stopped on its way and still leads after all: nothing is lost.
    await world.step(PERIOD_S)
    assert world.status()["prefill"]["current"] == 4
    assert world.cluster.writes == [("deepseek-prefill", 1, 4)]


async def test_an_operator_alone_always_leads_and_lists_nothing() -> None:
    world = World()
    world.cluster.set("deepseek-prefill", 1)
    world.cluster.set("deepseek-decode", 4)
    world.apply(resource())
    await world.step()
    assert world.server.lists == 0
    assert world.cluster.writes == [("deepseek-prefill", 1, 4)]


async def test_every_namespace_is_listed() -> None:
    world = World()
    world.apply(resource())
    listed: list[str | None] = []

    async def listing(namespace: str | None = None) -> list[object]:
        listed.append(namespace)
        return []

    world.server.list = listing  # type: ignore[assignment, method-assign]
    await Succession(Turn(1), world.server, ("a", "b")).begin()
    await Succession(Turn(1), world.server, ()).begin()
    assert listed == ["a", "b", None]
