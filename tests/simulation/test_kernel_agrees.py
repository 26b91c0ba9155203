"""The compiled simulation and the plain-Python one agree request by request, whatever the deployment and the orders."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscaler.core.emulation import Completion, Emulation, Request
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.profile import DecodePoint, DecodeProfile, MaxThroughput, Overhead, PrefillPoint, PrefillProfile
from pdscaler.core.simulation import (
    Deployment,
    Order,
    Records,
    RequestTable,
    simulate,
    simulate_decode,
    simulate_prefill,
)
from pdscaler.core.simulation.prefill_kernel import choice
from pdscaler.core.spec import Routing

CASES = settings(max_examples=120, deadline=None)


class SameChoices:
    """Stands in for the reference's random generator: the choices that the kernel makes, one after the other."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.drawn = 0

    def integers(self, count: int) -> int:
        self.drawn += 1
        return int(choice(self.seed, self.drawn - 1, count))


@dataclass
class Replicas:
    """The reference's replicas of one pool under orders: DESIGN section 6, last bullet, written down once more."""

    emulation: Emulation
    pool: Pool
    serving: list[str]
    load: Callable[[str], float]
    starting: list[tuple[float, str]] = field(default_factory=list)
    named: int = 0

    def begin(self) -> None:
        at_s, name = self.starting.pop(0)
        self.serving.append(name)
        self.emulation.set_replicas(self.pool, self.serving, at_s)

    def order(self, wanted: int, at_s: float, startup_s: float) -> None:
        for _ in range(wanted - len(self.serving) - len(self.starting)):
            self.named += 1
            self.starting.append((at_s + startup_s, f"later-{self.named}"))
        while self.starting and self.starting[0][0] <= at_s:
            self.begin()
        surplus = len(self.serving) + len(self.starting) - wanted
        while surplus > 0 and self.starting:
            self.starting.pop()
            surplus -= 1
        if surplus > 0:
            youngest_first = sorted(range(len(self.serving)), reverse=True)
            leaving = sorted(youngest_first, key=lambda place: self.load(self.serving[place]))[:surplus]
            self.serving = [name for place, name in enumerate(self.serving) if place not in leaving]
            self.emulation.set_replicas(self.pool, self.serving, at_s)


def reference(
    deployment: Deployment,
    requests: RequestTable,
    replicas: PerPool[int],
    seed: int = 0,
    orders: tuple[Order, ...] = (),
    startup_s: float = 0.0,
) -> dict[int, Completion]:
    rng = cast("np.random.Generator", SameChoices(seed))
    emulation = Emulation(deployment.prefill, deployment.decode, deployment.routing, rng)
    pools: list[Replicas] = []
    loads: dict[Pool, Callable[[str], float]] = {
        Pool.PREFILL: lambda name: emulation._prefill[name].unfinished_tokens,
        Pool.DECODE: lambda name: emulation._decoders[name].load_tokens(emulation.now_s),
    }
    for pool, count in replicas.items():
        pools.append(Replicas(emulation, pool, [f"first-{number}" for number in range(count)], loads[pool]))
        emulation.set_replicas(pool, pools[-1].serving, 0.0)
    columns = (requests.arrival_s, requests.input_tokens, requests.output_tokens, requests.prefix_hit_tokens)
    for number, values in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        emulation.submit(Request(number, *values))
    found: list[Any] = []

    def begin_until(now_s: float) -> None:
        while due := [each for each in pools if each.starting and each.starting[0][0] <= now_s]:
            min(due, key=lambda each: each.starting[0][0]).begin()

    for order in orders:
        begin_until(order.at_s)
        found += emulation.advance(order.at_s)
        for each in pools:
            each.order(order.replicas[each.pool], order.at_s, startup_s)
    begin_until(1e6)
    found += emulation.advance(1e9)
    return {event.request.request_id: event for event in found if isinstance(event, Completion)}


def assert_same(records: Records, expected: dict[int, Completion]) -> None:
    assert sorted(expected) == list(range(len(records)))
    done = [expected[number] for number in range(len(records))]

    def same(ours: np.ndarray, theirs: list[float | None]) -> None:
        np.testing.assert_allclose(ours, np.array(theirs, float), rtol=1e-9, atol=1e-9)

    same(records.first_token_s, [completion.prefill.first_token_s for completion in done])
    same(records.ttft_s, [completion.ttft_s for completion in done])
    same(records.decode_started_s, [completion.decode_started_s for completion in done])
    same(records.finished_s, [completion.at_s for completion in done])
    same(records.tpot_s, [completion.tpot_s for completion in done])


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    """Small engines in which everything binds now and then: the budget, the slots, the memory."""
    overhead = Overhead(draw(st.sampled_from([0.0, 0.03])), draw(st.sampled_from([0.0, 0.02])))
    budget = draw(st.sampled_from([1, 400, 1000, 8192]))
    if draw(st.booleans()):
        prefill = PrefillProfile(max_throughput=MaxThroughput(1000, 1000), max_batched_tokens=budget, overhead=overhead)
    else:
        tokens = draw(st.lists(st.integers(10, 3000), min_size=2, max_size=6, unique=True))
        points = tuple(PrefillPoint(count, draw(st.floats(0.01, 1.0))) for count in tokens)
        prefill = PrefillProfile(points, max_batched_tokens=budget, overhead=overhead)
    contexts = draw(st.lists(st.integers(50, 3000), min_size=1, max_size=4, unique=True))
    decode = DecodeProfile(
        tuple(
            DecodePoint(context, batch, draw(st.floats(0.001, 0.05)))
            for context in contexts
            for batch in draw(st.lists(st.integers(1, 12), min_size=2, max_size=4, unique=True))
        ),
        max_batch=draw(st.sampled_from([1, 3, 8, 300])),
        kv_capacity_tokens=draw(st.sampled_from([None, 300.0, 2500.0, 10_000.0])),
    )
    return Deployment(prefill, decode, draw(st.sampled_from(Routing)))


@st.composite
def tables(draw: st.DrawFn, *, ties: bool = True) -> RequestTable:
    """Requests at a load from idle to hopeless; some at the same instant, some with one token, some wholly cached."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 120))
    gaps = rng.exponential(draw(st.sampled_from([0.005, 0.05, 0.3, 1.0])), count)
    if ties and draw(st.booleans()):
        gaps = np.round(gaps, 1)
    inputs = rng.integers(1, draw(st.sampled_from([2, 300, 2000])), count)
    outputs = rng.integers(1, draw(st.sampled_from([3, 40, 400])), count)
    hits = np.where(rng.random(count) < 0.3, np.floor(inputs * rng.random(count) * 1.2), 0)
    return RequestTable(np.cumsum(gaps), inputs, outputs, np.minimum(hits.astype(np.int64), inputs))


counts = st.builds(PerPool, st.integers(1, 6), st.integers(1, 6))


@CASES
@given(deployments(), tables(), counts, st.integers(0, 2**40))
def test_fixed_replicas(deployment: Deployment, requests: RequestTable, replicas: PerPool[int], seed: int) -> None:
    records = simulate(deployment, requests, replicas, seed=seed)
    assert_same(records, reference(deployment, requests, replicas, seed))


@CASES
@given(
    deployments(),
    tables(ties=False),
    counts,
    st.lists(st.tuples(st.floats(0, 40), counts), max_size=8),
    st.sampled_from([0.0, 0.7, 5.0]),
)
def test_replicas_that_come_and_go(
    deployment: Deployment,
    requests: RequestTable,
    replicas: PerPool[int],
    ordered: list[tuple[float, PerPool[int]]],
    startup_s: float,
) -> None:
    orders = tuple(Order(at_s, wanted) for at_s, wanted in sorted(ordered, key=lambda pair: pair[0]))
    records = simulate(deployment, requests, replicas, seed=5, orders=orders, startup_s=startup_s)
    assert_same(records, reference(deployment, requests, replicas, 5, orders, startup_s))


def test_those_of_one_instant_move_in_order_of_arrival() -> None:
    """Passes of one length end together: first tokens come at one instant, and then a decode replica leaves."""
    level = PrefillProfile((PrefillPoint(10, 1.0), PrefillPoint(11, 1.0)), max_batched_tokens=400)
    slow = DecodeProfile((DecodePoint(50, 1, 0.03125), DecodePoint(50, 2, 0.03125)), max_batch=1)
    requests = RequestTable(
        np.array([0.0034, 0.0085, 0.00859, 0.00861, 0.01136, 0.01951, 0.02288]),
        np.ones(7, np.int64),
        np.array([388, 292, 253, 217, 224, 374, 111]),
        np.zeros(7, np.int64),
    )
    orders = (Order(1.0, PerPool(1, 2)), Order(3.0, PerPool(1, 1)))
    deployment = Deployment(level, slow)
    records = simulate(deployment, requests, PerPool(2, 1), orders=orders, startup_s=0.0)
    assert_same(records, reference(deployment, requests, PerPool(2, 1), orders=orders))


@pytest.mark.parametrize("routing", list(Routing))
def test_a_long_run(routing: Routing) -> None:
    """Thousands of requests on many replicas: the heaps get more room, the tournaments several levels."""
    rng = np.random.default_rng(3)
    count = 4000
    requests = RequestTable(
        np.cumsum(rng.exponential(0.004, count)),
        rng.integers(10, 2000, count),
        rng.integers(1, 900, count),
        np.zeros(count, np.int64),
    )
    deployment = Deployment(
        PrefillProfile((PrefillPoint(10, 0.004), PrefillPoint(500, 0.02), PrefillPoint(2000, 0.1))),
        DecodeProfile(
            tuple(DecodePoint(c, b, 0.004 + 4e-4 * b + 1e-8 * b * c) for c in (300, 1500) for b in (1, 64)),
            max_batch=500,
        ),
        routing,
    )
    records = simulate(deployment, requests, PerPool(19, 3), seed=9)
    assert_same(records, reference(deployment, requests, PerPool(19, 3), 9))


@CASES
@given(deployments(), tables(ties=False), counts)
def test_the_pools_alone(deployment: Deployment, requests: RequestTable, replicas: PerPool[int]) -> None:
    together = simulate(deployment, requests, replicas)
    first_token_s = simulate_prefill(deployment, requests, replicas.prefill)
    np.testing.assert_array_equal(first_token_s, together.first_token_s)
    if len(np.unique(first_token_s)) == len(first_token_s):
        np.testing.assert_array_equal(
            simulate_decode(deployment, requests, first_token_s, replicas.decode), together.finished_s
        )


@CASES
@given(deployments(), tables(ties=False), counts)
def test_a_derate_divides_the_step_times(
    deployment: Deployment, requests: RequestTable, replicas: PerPool[int]
) -> None:
    points = tuple(
        DecodePoint(point.context_tokens, point.batch, point.tpot_s * 2) for point in deployment.decode.points
    )
    limits = (deployment.decode.max_batch, deployment.decode.kv_capacity_tokens)
    slow = Deployment(deployment.prefill, DecodeProfile(points, *limits), deployment.routing)
    halved = Deployment(deployment.prefill, deployment.decode, deployment.routing, decode_derate=0.5)
    np.testing.assert_array_equal(
        simulate(halved, requests, replicas).finished_s, simulate(slow, requests, replicas).finished_s
    )
