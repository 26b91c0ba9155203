"""Whatever the scaling, every request finishes exactly once, and stepping the clock changes nothing."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from pdscaler.core.emulation import Admitted, Emulation, Milestone, Prefilled, Request, Routing
from pdscaler.core.pools import Pool
from pdscaler.core.profile import DecodePoint, DecodeProfile, Overhead
from support.emulation import completions, deployment, prefill, shared

ROUTINGS = st.sampled_from([Routing.JOIN_SHORTEST_QUEUE, Routing.ROUND_ROBIN, Routing.CENTRAL])
REQUESTS = st.lists(
    st.tuples(st.floats(0, 20), st.integers(1, 1500), st.integers(1, 200), st.floats(0, 1)), min_size=1, max_size=40
)
SCALINGS = st.lists(st.tuples(st.floats(0, 25), st.sampled_from(list(Pool)), st.sets(st.integers(0, 4))), max_size=12)
PROFILE = DecodeProfile(
    tuple(DecodePoint(c, b, 0.002 + 0.001 * b + 1e-7 * b * c) for c in (100, 800) for b in (1, 8)),
    max_batch=3,
    kv_capacity_tokens=2500,
)


def build(requests: list[tuple[float, int, int, float]], routing: Routing) -> Emulation:
    emulation = Emulation(prefill(overhead=Overhead(0.01, 0.02)), PROFILE, routing)
    for number, (at_s, input_tokens, output_tokens, hit) in enumerate(requests):
        emulation.submit(Request(number, at_s, input_tokens, output_tokens, math.floor(hit * input_tokens)))
    return emulation


def play(
    emulation: Emulation, scalings: list[tuple[float, Pool, set[int]]], step_s: float | None = None
) -> list[Milestone]:
    events: list[Milestone] = []

    def until(to_s: float) -> None:
        while step_s is not None and emulation.now_s + step_s < to_s:
            events.extend(emulation.advance(emulation.now_s + step_s))
            emulation.replicas(Pool.DECODE)  # looking changes nothing either
        events.extend(emulation.advance(to_s))

    for at_s, pool, replicas in sorted(scalings, key=lambda scaling: scaling[0]):
        until(at_s)
        emulation.set_replicas(pool, [f"{pool.value[0]}{number}" for number in sorted(replicas)], at_s)
    until(30.0)
    for pool in Pool:
        emulation.set_replicas(pool, [f"{pool.value[0]}0"], 30.0)
    return events + emulation.advance(1e5)


@settings(max_examples=150, deadline=None)
@given(REQUESTS, SCALINGS, ROUTINGS)
def test_every_request_finishes_exactly_once(
    requests: list[tuple[float, int, int, float]], scalings: list[tuple[float, Pool, set[int]]], routing: Routing
) -> None:
    emulation = build(requests, routing)
    events = play(emulation, scalings)
    done = completions(events)
    assert sorted(done) == list(range(len(requests)))
    assert sorted(event.request.request_id for event in events if isinstance(event, Prefilled)) == sorted(done)
    admitted = [event.request.request_id for event in events if isinstance(event, Admitted)]
    assert sorted(admitted) == [number for number, values in enumerate(requests) if values[2] > 1]
    assert emulation.in_flight == 0
    for pool in Pool:
        assert [(state.name, state.waiting, state.running) for state in emulation.replicas(pool)] == [
            (f"{pool.value[0]}0", 0, 0)
        ]


@settings(max_examples=100, deadline=None)
@given(REQUESTS, SCALINGS, ROUTINGS)
def test_nothing_is_faster_than_it_can_be(
    requests: list[tuple[float, int, int, float]], scalings: list[tuple[float, Pool, set[int]]], routing: Routing
) -> None:
    for completion in completions(play(build(requests, routing), scalings)).values():
        request = completion.request
        overhead_s = 0.01 + 0.02 * request.input_tokens / 1000
        assert completion.ttft_s >= request.uncached_tokens / 1000 + overhead_s - 1e-9
        if completion.tpot_s is not None:
            assert completion.tpot_s >= 0.003 - 1e-9  # the step of one request alone at the shortest context


@settings(max_examples=60, deadline=None)
@given(REQUESTS, SCALINGS, ROUTINGS, st.floats(0.05, 3.0))
def test_stepping_changes_nothing(
    requests: list[tuple[float, int, int, float]],
    scalings: list[tuple[float, Pool, set[int]]],
    routing: Routing,
    step_s: float,
) -> None:
    coarse = play(build(requests, routing), scalings)
    fine = play(build(requests, routing), scalings, step_s=step_s)
    assert fine == coarse


def test_many_small_steps_are_the_same_to_the_last_bit() -> None:
    def events(step_s: float) -> list[Milestone]:
        emulation = deployment(prefill(), shared(0.003), (2, 2))
        for number in range(300):
            emulation.submit(Request(number, 0.05 * number, 20 + number * 37 % 300, 1 + number * 13 % 80))
        found: list[Milestone] = []
        while emulation.now_s < 60:
            found += emulation.advance(emulation.now_s + step_s)
        return found

    assert events(0.0137) == events(60.0)
