"""No run costs less than the bound: random requests, random orders, every small schedule."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, DecodeProfile, Overhead, PrefillPoint, PrefillProfile
from pdscaler.core.simulation.changes import Order
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.simulation.run import Records, deployment_of, simulate
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import PoolLimits, SizingSpec
from pdscaler.simulator.bound import Bound, bound
from pdscaler.simulator.bound_holding import Holding, Items, least_replica_s
from pdscaler.simulator.bound_work import decode_prices, decode_work_s, prefill_work_s
from pdscaler.simulator.ledger import OrderMade, ordered_gpu_hours
from pdscaler.simulator.result import attained
from support.strategies import decode_profiles

PREFILL = PrefillProfile(
    (PrefillPoint(100, 0.3), PrefillPoint(1000, 0.8), PrefillPoint(2000, 1.8)),
    max_batched_tokens=2000,
    overhead=Overhead(0.1, 0.01),
)
DECODE = DecodeProfile(
    tuple(DecodePoint(context, batch, step) for context, batch, step in (
        (200.0, 1.0, 0.02), (200.0, 8.0, 0.05), (2000.0, 1.0, 0.03), (2000.0, 8.0, 0.09),
    )),
    max_batch=12,
    kv_capacity_tokens=9000.0,
)  # fmt: skip


def spec(ttft_s: float, tpot_s: float, startup_s: float, gpus: PerPool[int], least: int = 1) -> SizingSpec:
    limits = gpus.map(lambda each: PoolLimits(least, 50, each, startup_s))
    slo = Slo(LatencyTarget(ttft_s, Statistic.P99), LatencyTarget(tpot_s, Statistic.P99))
    return SizingSpec("any", slo, PREFILL, DECODE, limits)


@st.composite
def bursts(draw: st.DrawFn) -> RequestTable:
    """Requests that come in bursts, within a few minutes."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    arrival_s = np.sort(
        np.concatenate(
            [
                rng.uniform(begin, begin + draw(st.sampled_from([0.5, 5.0, 40.0])), draw(st.integers(1, 40)))
                for begin in draw(st.lists(st.floats(0.0, 150.0), min_size=1, max_size=4))
            ]
        )
    )
    count = len(arrival_s)
    inputs = rng.integers(1, draw(st.sampled_from([200, 1500, 3000])), count, endpoint=True)
    outputs = rng.integers(1, draw(st.sampled_from([2, 30, 300])), count, endpoint=True)
    hits = (inputs * rng.uniform(0, draw(st.sampled_from([0.0, 0.8])), count)).astype(np.int64)
    return RequestTable(arrival_s, inputs, outputs, hits)


orders = st.lists(st.tuples(st.floats(0.0, 200.0), st.integers(1, 6), st.integers(1, 6)), min_size=0, max_size=12).map(
    lambda found: [Order(at_s, PerPool(prefill, decode)) for at_s, prefill, decode in sorted(found)]
)


def run(
    sizing: SizingSpec, requests: RequestTable, initial: PerPool[int], made: list[Order], measured_from_s: float
) -> tuple[float, Bound, Records]:
    """Return the GPU-hours of a run and the bound for the attainment that it reaches."""
    startup_s = sizing.limits.map(lambda limits: limits.startup_s)
    records = simulate(deployment_of(sizing), requests, initial, orders=made, startup_s=startup_s)
    measured = slice(int(np.searchsorted(requests.arrival_s, measured_from_s)), None)
    reached = attained(records, sizing.slo, measured).joint
    assume(reached > 0)
    steps = [OrderMade(-1.0, initial), *(OrderMade(order.at_s, order.replicas) for order in made)]
    gpus = sizing.limits.map(lambda limits: limits.gpus_per_replica)
    hours = ordered_gpu_hours(steps, gpus, measured_from_s, float(requests.arrival_s[-1]))
    return hours, bound(sizing, requests, measured_from_s=measured_from_s, attainment=reached), records


@settings(max_examples=60)
@given(
    requests=bursts(),
    made=orders,
    initial=st.builds(PerPool, st.integers(1, 6), st.integers(1, 6)),
    targets=st.tuples(st.sampled_from([0.7, 2.0, 8.0]), st.sampled_from([0.035, 0.06, 0.2])),
    startup_s=st.sampled_from([0.0, 1.0, 7.0, 40.0, 120.0]),
    measured_from_s=st.sampled_from([0.0, 30.0]),
)
def test_no_run_costs_less_than_the_bound(
    requests: RequestTable,
    made: list[Order],
    initial: PerPool[int],
    targets: tuple[float, float],
    startup_s: float,
    measured_from_s: float,
) -> None:
    assume(requests.arrival_s[-1] > measured_from_s)
    hours, least, _ = run(spec(*targets, startup_s, PerPool(1, 3)), requests, initial, made, measured_from_s)
    assert least.gpu_hours <= hours * (1 + 1e-9)


@pytest.mark.parametrize("startup_s", [0.0, 3.0, 10.0])
def test_no_schedule_of_a_burst_costs_less_than_the_bound(startup_s: float) -> None:
    """Every schedule of 1 to 4 replicas in six steps, leaving in the middle of work included."""
    rng = np.random.default_rng(5)
    arrival_s = np.sort(np.concatenate((rng.uniform(0, 60, 30), rng.uniform(25, 28, 30))))
    requests = RequestTable(arrival_s, rng.integers(50, 900, 60), rng.integers(2, 120, 60), np.zeros(60, np.int64))
    sizing = spec(2.0, 0.08, startup_s, PerPool(1, 1))
    bounds: dict[float, float] = {}
    tightest = np.inf
    for counts in itertools.product((1, 4), repeat=6):
        made = [Order(10.0 * place, PerPool(count, count)) for place, count in enumerate(counts)]
        startups = PerPool(startup_s, startup_s)
        records = simulate(
            deployment_of(sizing), requests, PerPool(counts[0], counts[0]), orders=made, startup_s=startups
        )
        reached = attained(records, sizing.slo, slice(None)).joint
        steps = [OrderMade(order.at_s, order.replicas) for order in made]
        hours = ordered_gpu_hours(steps, PerPool(1, 1), 0.0, float(arrival_s[-1]))
        if reached > 0:
            if reached not in bounds:
                bounds[reached] = bound(sizing, requests, measured_from_s=0.0, attainment=reached).gpu_hours
            assert bounds[reached] <= hours * (1 + 1e-9)
            tightest = min(tightest, hours / bounds[reached])
    assert tightest < 2.5


# Rises that were ordered before the measurement; drains longer than the start-up; a drain and a rise together.
@example(
    seed=1,
    startup_s=100.0,
    drain_s=0.0,
    least=0,
    window_s=9.0,
    slack_s=0.0,
    misses=0,
    serving_s=200.0,
    ordered=(0.0, 50.0),
)
@example(
    seed=2,
    startup_s=30.0,
    drain_s=0.0,
    least=0,
    window_s=2.0,
    slack_s=0.0,
    misses=0,
    serving_s=200.0,
    ordered=(30.0, 49.0),
)
@example(
    seed=3,
    startup_s=5.0,
    drain_s=20.0,
    least=0,
    window_s=2.0,
    slack_s=0.0,
    misses=0,
    serving_s=0.0,
    ordered=(150.0, 152.0),
)
@example(
    seed=4,
    startup_s=1.0,
    drain_s=20.0,
    least=0,
    window_s=0.7,
    slack_s=0.0,
    misses=0,
    serving_s=1.0,
    ordered=(60.0, 200.0),
)
@example(
    seed=5,
    startup_s=30.0,
    drain_s=20.0,
    least=0,
    window_s=2.0,
    slack_s=0.0,
    misses=0,
    serving_s=1.0,
    ordered=(60.0, 200.0),
)
@settings(max_examples=200)
@given(
    seed=st.integers(0, 100_000),
    startup_s=st.sampled_from([1.0, 5.0, 30.0, 100.0]),
    drain_s=st.sampled_from([0.0, 0.5, 4.0, 20.0]),
    least=st.sampled_from([0, 0, 0, 1, 3]),
    window_s=st.sampled_from([0.7, 2.0, 9.0, 33.0]),
    slack_s=st.sampled_from([0.0, 0.3, 5.0]),
    misses=st.sampled_from([0, 0, 4, 30]),
    serving_s=st.sampled_from([0.0, 1.0, 20.0, 200.0]),
    ordered=st.sampled_from([(-100.0, 280.0), (0.0, 50.0), (60.0, 200.0), (150.0, 152.0)]),
)
def test_replicas_that_did_the_work_cost_no_less_than_the_bound(
    seed: int,
    startup_s: float,
    drain_s: float,
    least: int,
    window_s: float,
    slack_s: float,
    misses: int,
    serving_s: float,
    ordered: tuple[float, float],
) -> None:
    """Lives are drawn first, and then work that fills them to the last second of the drain: nothing to spare."""
    rng = np.random.default_rng(seed)
    begin_s, end_s = 50.0, 300.0
    count = rng.integers(1, 12)
    ordered_s = rng.uniform(*ordered, count)
    left_s = ordered_s + startup_s + serving_s * rng.random(count)
    release: list[float] = []
    work: list[float] = []
    for since_s, until_s in zip(ordered_s + startup_s, left_s + drain_s, strict=True):
        cuts = np.sort(rng.uniform(since_s, until_s, rng.integers(0, 40)))
        pieces = np.concatenate(([since_s], cuts, [until_s]))
        release += pieces[:-1].tolist()
        work += np.diff(pieces).tolist()
    missed_s = rng.uniform(0, 300, misses)  # nobody did this work
    release_s = np.concatenate((release, missed_s))
    work_s = np.concatenate((work, rng.uniform(0, 30, misses)))
    due_s = np.concatenate((release, missed_s)) + np.concatenate((work, rng.uniform(0, 5, misses)))
    items = Items(release_s - slack_s * rng.random(len(work_s)), due_s + slack_s * rng.random(len(work_s)), work_s)
    # What was ordered, and never less than the least.
    times_s = np.unique(np.clip(np.concatenate((ordered_s, left_s, [begin_s, end_s])), begin_s, end_s))
    middles_s = (times_s[1:] + times_s[:-1]) / 2
    alive = (ordered_s[:, None] <= middles_s) & (middles_s < left_s[:, None])
    cost_s = float((np.maximum(alive.sum(axis=0), least) * np.diff(times_s)).sum())
    holding = Holding(begin_s, end_s, least, startup_s, drain_s)
    assert least_replica_s(items, holding, misses, window_s) <= cost_s * (1 + 1e-9) + 1e-9


@settings(max_examples=25)
@given(requests=bursts(), initial=st.integers(1, 4))
def test_work_is_no_more_than_the_replicas_time(requests: RequestTable, initial: int) -> None:
    """What requests in time are charged is within the time that the replicas worked."""
    sizing = spec(3.0, 0.06, 0.0, PerPool(1, 1))
    deployment = deployment_of(sizing)
    records = simulate(deployment, requests, PerPool(initial, initial))
    first = records.ttft_s <= 3.0
    assert prefill_work_s(deployment, requests, 3.0)[first].sum() <= records.prefill_busy_s * (1 + 1e-9)
    begins = records.decode_started_s
    later = records.tpot_s <= 0.06
    work_s = decode_work_s(deployment, requests, 0.06)[later].sum()
    inside = ~np.isnan(begins)
    changes = np.concatenate((begins[inside], records.finished_s[inside]))
    order = np.argsort(changes)
    running = np.cumsum(np.repeat((1, -1), inside.sum())[order])
    busy_s = float((np.diff(changes[order]) * np.minimum(running[:-1], initial)).sum()) if inside.any() else 0.0
    assert work_s <= busy_s * (1 + 1e-9)


@settings(max_examples=40)
@given(profile=decode_profiles(), target_s=st.floats(0.002, 0.1), seed=st.integers(0, 1000))
def test_decode_charges_of_a_batch_are_within_its_step(profile: DecodeProfile, target_s: float, seed: int) -> None:
    """The proof's constraints hold for batches of any size, at any moment of their requests."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(1, rng.choice([50, 5000, 40_000]), 40)
    outputs = rng.integers(2, rng.choice([3, 400]), 40)
    requests = RequestTable(np.zeros(40), inputs, outputs, np.zeros(40, np.int64))
    deployment = deployment_of(replace(spec(1.0, 1.0, 0.0, PerPool(1, 1)), decode_profile=profile))
    per_token, per_resident, multiplier = decode_prices(deployment, requests, target_s)
    surface = decode_surface(profile)
    alone_s = [line(1.0) for line in surface.lines]
    if target_s > max(alone_s):
        assert per_token + per_resident > 0
    elif target_s < 0.999 * min(alone_s):
        assert per_token == per_resident == 0
    for _ in range(60):
        who = rng.permutation(40)[: min(rng.integers(1, 41), profile.max_batch)]
        residents = inputs[who] + rng.random(len(who)) * (outputs[who] - 1)
        together = float(residents.sum())
        if len(who) > 1 and together > (profile.kv_capacity_tokens or np.inf):
            continue
        step_s = surface.step_time_s(len(who), together)
        charge_s = per_token - multiplier * (step_s - target_s * (1 + 1e-9))
        assert len(who) * charge_s + per_resident * together <= step_s * (1 + 1e-9)
        assert per_resident * together <= step_s * (1 + 1e-9)


@given(budget=st.integers(500, 5000), target_s=st.floats(0.3, 5.0), seed=st.integers(0, 1000))
def test_prefill_charges_of_a_pass_are_within_it(budget: int, target_s: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    deployment = deployment_of(spec(target_s, 1.0, 0.0, PerPool(1, 1)))
    deployment = replace(deployment, prefill=replace(PREFILL, max_batched_tokens=budget))
    tokens = rng.integers(1, 1500, 12)
    whole = tokens[np.cumsum(tokens) <= budget]
    together = whole if len(whole) else tokens[:1]
    count = len(together)
    requests = RequestTable(np.zeros(count), together, np.ones(count, np.int64), np.zeros(count, np.int64))
    pass_s = prefill_curve(deployment.prefill).time_s(float(together.sum()))
    in_time = pass_s + 0.1 + 0.00001 * together <= target_s
    assert prefill_work_s(deployment, requests, target_s)[in_time].sum() <= pass_s
