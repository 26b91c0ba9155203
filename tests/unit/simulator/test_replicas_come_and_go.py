"""Replicas that become ready, drain and disappear: who moves, who finishes where."""

import pytest

from pdscaler.core.emulation import Admitted, Emulation, Prefilled, Routing
from pdscaler.core.pools import PerPool, Pool
from support.emulation import INSTANT, completions, deployment, level, prefill, shared, submit

approx = pytest.approx


def names(emulation: Emulation, pool: Pool) -> list[tuple[str, bool]]:
    return [(state.name, state.ready) for state in emulation.replicas(pool)]


def test_requests_wait_at_the_front_door_until_a_replica_is_ready() -> None:
    emulation = Emulation(prefill(), level())
    submit(emulation, (0.0, 500, 1), (0.5, 400, 1))
    emulation.advance(1.0)
    assert (emulation.held, emulation.in_flight) == (PerPool(2, 0), 2)
    emulation.set_replicas(Pool.PREFILL, ["p0"], 2.0)
    done = completions(emulation.advance(10))
    # The first is alone in its pass: it is routed, and starts, before the second.
    assert [done[i].at_s for i in (0, 1)] == approx([2.5, 2.9])


def test_requests_wait_for_decode_until_a_replica_is_ready() -> None:
    emulation = Emulation(prefill(), level(0.01))
    emulation.set_replicas(Pool.PREFILL, ["p0"], 0.0)
    submit(emulation, (0.0, 500, 101), (0.0, 100, 1))
    assert list(completions(emulation.advance(1.0))) == [1]
    assert emulation.held == PerPool(0, 1)
    emulation.set_replicas(Pool.DECODE, ["d0"], 1.5)
    done = completions(emulation.advance(10))[0]
    assert (done.ttft_s, done.tpot_s, done.at_s) == approx((0.5, 0.02, 2.5))


def test_prefill_drains_its_pass_and_gives_its_queue_away() -> None:
    emulation = deployment(prefill(), level(), (2, 1))
    submit(emulation, (0.0, 500, 1), (0.0, 600, 1), (0.1, 300, 1), (0.2, 900, 1))
    emulation.advance(0.25)  # p0: 500 runs, 300 waits; p1: 600 runs, 900 waits
    emulation.set_replicas(Pool.PREFILL, ["p1"], 0.3)
    assert names(emulation, Pool.PREFILL) == [("p0", False), ("p1", True)]
    assert [state.waiting for state in emulation.replicas(Pool.PREFILL)] == [0, 2]
    done = completions(emulation.advance(10))
    assert [done[i].prefill.replica for i in range(4)] == ["p0", "p1", "p1", "p1"]
    # p1 goes on with 900 (which was there first), then 300.
    assert [done[i].at_s for i in range(4)] == approx([0.5, 0.6, 1.8, 1.5])
    assert names(emulation, Pool.PREFILL) == [("p1", True)]


def test_the_moved_queue_says_when_it_joined() -> None:
    emulation = deployment(prefill(), level(), (1, 1))
    submit(emulation, (0.0, 500, 1), (0.1, 300, 1))
    emulation.set_replicas(Pool.PREFILL, ["p1"], 0.2)
    moved = [event for event in emulation.advance(10) if isinstance(event, Prefilled)]
    assert [(event.replica, event.joined_s, event.at_s) for event in moved] == [("p0", 0.0, 0.5), ("p1", 0.2, 0.5)]


def test_decode_drains_its_batch_and_gives_its_queue_away() -> None:
    emulation = deployment(INSTANT, level(0.01, max_batch=1), (1, 2))
    submit(emulation, (0.0, 100, 101), (0.0, 60, 201), (0.1, 90, 11), (0.2, 20, 11))
    emulation.advance(0.3)
    assert [state.waiting for state in emulation.replicas(Pool.DECODE)] == [1, 1]
    emulation.set_replicas(Pool.DECODE, ["d0"], 0.5)
    assert names(emulation, Pool.DECODE) == [("d0", True), ("d1", False)]
    done = completions(emulation.advance(1.9))
    assert [done[i].decode_replica for i in (0, 2, 3)] == ["d0", "d0", "d0"]
    assert names(emulation, Pool.DECODE) == [("d0", True), ("d1", False)]
    last = completions(emulation.advance(10))[1]
    assert last.decode_replica == "d1"
    assert last.at_s == approx(2.0)
    assert names(emulation, Pool.DECODE) == [("d0", True)]


def test_an_idle_replica_disappears_at_once() -> None:
    emulation = deployment(prefill(), level(), (2, 2))
    emulation.set_replicas(Pool.PREFILL, ["p0"], 1.0)
    emulation.set_replicas(Pool.DECODE, [], 1.0)
    assert names(emulation, Pool.PREFILL) == [("p0", True)]
    assert names(emulation, Pool.DECODE) == []


def test_a_draining_replica_that_comes_back_serves_again() -> None:
    emulation = deployment(INSTANT, shared(0.01), (1, 1))
    submit(emulation, (0.0, 100, 101), (0.3, 100, 11))
    emulation.set_replicas(Pool.DECODE, [], 0.1)
    emulation.set_replicas(Pool.DECODE, ["d0"], 0.2)
    done = completions(emulation.advance(10))
    assert done[1].decode_replica == "d0"
    assert done[0].at_s == approx(1.1)  # 10 tokens beside another cost 0.1 s more


def test_the_last_replica_gone_sends_the_queue_to_the_front_door() -> None:
    emulation = deployment(prefill(), level(), (1, 1))
    submit(emulation, (0.0, 500, 1), (0.1, 300, 1))
    emulation.set_replicas(Pool.PREFILL, [], 0.2)
    assert emulation.held.prefill == 1
    assert list(completions(emulation.advance(5.0))) == [0]
    emulation.set_replicas(Pool.PREFILL, ["p9"], 6.0)
    assert completions(emulation.advance(10.0))[1].at_s == approx(6.3)


def test_a_central_queue_stays_and_new_replicas_take_from_it() -> None:
    emulation = deployment(prefill(), level(), (1, 1), Routing.CENTRAL)
    submit(emulation, (0.0, 900, 1), (0.1, 800, 1), (0.2, 700, 1))
    emulation.set_replicas(Pool.PREFILL, ["p0", "p1"], 0.5)
    done = completions(emulation.advance(10))
    assert [done[i].at_s for i in range(3)] == approx([0.9, 1.3, 1.6])


def test_a_new_replica_takes_new_requests_only() -> None:
    emulation = deployment(prefill(), level(), (1, 1))
    submit(emulation, (0.0, 900, 1), (0.1, 800, 1), (0.6, 100, 1))
    emulation.set_replicas(Pool.PREFILL, ["p0", "p1"], 0.5)
    done = completions(emulation.advance(10))
    assert [done[i].prefill.replica for i in range(3)] == ["p0", "p0", "p1"]


def test_milestones_come_in_order_of_time() -> None:
    emulation = deployment(prefill(), shared(0.01), (2, 2))
    submit(emulation, *((0.05 * i, 50 + 37 * i % 400, 1 + 7 * i % 90) for i in range(100)))
    events = emulation.advance(1e4)
    times = [event.at_s for event in events]
    assert times == sorted(times)
    assert sum(isinstance(event, Admitted) for event in events) == sum(1 + 7 * i % 90 > 1 for i in range(100))
