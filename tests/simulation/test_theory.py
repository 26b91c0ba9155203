"""The compiled simulation against queueing theory: exact results within the simulation's own confidence intervals.

Intervals are at 95 % (about two standard errors); with fixed seeds a result may lie as far off as twice that.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import brentq

from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, DecodeProfile, MaxThroughput, PrefillProfile
from pdscaler.core.simulation import (
    Deployment,
    RequestTable,
    draw_requests,
    estimate,
    simulate,
    simulate_prefill,
    steady,
)
from pdscaler.core.simulation.requests import draw_lengths
from pdscaler.core.slo import Statistic
from pdscaler.core.spec import Routing
from pdscaler.core.workload import LengthStats, WorkloadStats
from support.emulation import INSTANT, level

Array = np.ndarray

ALONE = PrefillProfile(max_throughput=MaxThroughput(1e6, 1e6), max_batched_tokens=1)
"""Each prompt goes alone; a million tokens take a second."""


def exponential(count: int, mean: float, seed: int) -> Array:
    return np.maximum(1, np.rint(np.random.default_rng(seed).exponential(mean, count))).astype(np.int64)


def poisson(rate_rps: float, inputs: Array, outputs: Array, seed: int) -> RequestTable:
    arrival_s = np.cumsum(np.random.default_rng(seed).exponential(1 / rate_rps, len(inputs)))
    return RequestTable(arrival_s, inputs, outputs, np.zeros(len(inputs), np.int64))


def assert_near(values: Array, expected: float, within: float, statistic: Statistic = Statistic.MEAN) -> None:
    found = estimate(values, statistic)
    assert found.half_width < within * expected  # an interval too wide proves nothing
    assert abs(found.value - expected) <= 2 * found.half_width


def prefill_stays(requests: RequestTable, replicas: int, routing: Routing) -> Array:
    """Time in the prefill pool of the requests of the steady state."""
    stay_s = simulate_prefill(Deployment(ALONE, level(), routing), requests, replicas, seed=4) - requests.arrival_s
    return stay_s[steady(requests.arrival_s, stay_s)]


def erlang_c(servers: int, offered: float) -> float:
    """Probability that an arrival waits."""
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    return servers * blocked / (servers - offered * (1 - blocked))


@pytest.mark.parametrize("load", [0.5, 0.85])
def test_m_m_1(load: float) -> None:
    count = 400_000
    requests = poisson(load, exponential(count, 1e6, 1), np.ones(count, np.int64), 2)
    stay_s = prefill_stays(requests, 1, Routing.JOIN_SHORTEST_QUEUE)
    # The time in the system is exponential: all its percentiles are known.
    for statistic in Statistic:
        factor = 1.0 if statistic.quantile is None else -math.log(1 - statistic.quantile)
        assert_near(stay_s, factor / (1 - load), 0.08, statistic)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_m_d_1(load: float) -> None:
    count = 300_000
    requests = poisson(load, np.full(count, 1_000_000), np.ones(count, np.int64), 3)
    assert_near(prefill_stays(requests, 1, Routing.CENTRAL) - 1, load / (2 * (1 - load)), 0.05)


@pytest.mark.parametrize("scv", [0.5, 2.0])
def test_pollaczek_khinchine(scv: float) -> None:
    count, load = 600_000, 0.7
    lengths = draw_lengths(LengthStats(1e6, scv), np.random.default_rng(5), count)
    requests = poisson(load, lengths, np.ones(count, np.int64), 6)
    service_s = lengths / 1e6
    stay_s = simulate_prefill(Deployment(ALONE, level()), requests, 1) - requests.arrival_s
    wait_s = (stay_s - service_s)[steady(requests.arrival_s, stay_s)]
    # The moments of the lengths that were drawn: a heavy tail's sample has not quite those of its law.
    second = float(np.mean(service_s**2))
    rho = load * float(np.mean(service_s))
    assert_near(wait_s, load * second / (2 * (1 - rho)), 0.12)


@pytest.mark.parametrize("servers", [2, 8, 40])
def test_m_m_c_and_erlang_c(servers: int) -> None:
    count, load = 400_000, 0.9
    lengths = exponential(count, 1e6, 7)
    requests = poisson(load * servers, lengths, np.ones(count, np.int64), 8)
    stay_s = simulate_prefill(Deployment(ALONE, level(), Routing.CENTRAL), requests, servers) - requests.arrival_s
    wait_s = np.maximum(0.0, stay_s - lengths / 1e6)[steady(requests.arrival_s, stay_s)]
    waits = erlang_c(servers, load * servers)
    relax = servers * (1 - load)
    assert_near((wait_s > 1e-6).astype(float), waits, 0.05)
    assert_near(wait_s, waits / relax, 0.12)
    assert_near(wait_s, math.log(waits / 0.05) / relax, 0.12, Statistic.P95)


def test_random_routing_makes_each_replica_an_m_m_1() -> None:
    count, load, servers = 400_000, 0.7, 4
    requests = poisson(load * servers, exponential(count, 1e6, 9), np.ones(count, np.int64), 10)
    assert_near(prefill_stays(requests, servers, Routing.RANDOM), 1 / (1 - load), 0.05)


def test_round_robin_gives_each_replica_erlang_arrivals() -> None:
    count, load, servers = 400_000, 0.8, 3
    requests = poisson(load * servers, exponential(count, 1e6, 11), np.ones(count, np.int64), 12)
    # GI/M/1: s solves s = A*(1 − s), A* the transform of the sum of three exponential gaps.
    rate = load * servers
    root = float(brentq(lambda s: s - (rate / (rate + 1 - s)) ** servers, 1e-9, 1 - 1e-6))
    assert_near(prefill_stays(requests, servers, Routing.ROUND_ROBIN), 1 / (1 - root), 0.05)


def decode(profile: DecodeProfile, requests: RequestTable) -> tuple[Array, Array]:
    """Return (time from first token to end, wait for a slot) of the steady state, of one replica."""
    records = simulate(Deployment(INSTANT, profile), requests, PerPool(1, 1))
    stay_s = records.finished_s - records.first_token_s
    part = steady(records.arrival_s, stay_s)
    return stay_s[part], (records.decode_started_s - records.first_token_s)[part]


def occupancy(arrival_s: Array, stay_s: Array) -> Array:
    """Requests that each arrival finds: they see time averages."""
    return np.arange(len(arrival_s)) - np.searchsorted(np.sort(arrival_s + stay_s), arrival_s, side="right")


@pytest.mark.parametrize("scv", [0.0, 1.0, 4.0])
def test_m_g_infinity(scv: float) -> None:
    count, mean_tokens, step_s, running = 300_000, 200, 0.01, 30.0
    outputs = draw_lengths(LengthStats(mean_tokens, scv), np.random.default_rng(13), count) + 1
    mean_s = float(np.mean(outputs - 1)) * step_s
    requests = poisson(running / mean_s, np.full(count, 50), outputs, 14)
    records = simulate(Deployment(INSTANT, level(step_s, max_batch=10_000)), requests, PerPool(1, 1))
    np.testing.assert_allclose(records.tpot_s, step_s, rtol=1e-6)
    stay_s = records.finished_s - records.first_token_s
    seen = occupancy(requests.arrival_s, stay_s)[steady(requests.arrival_s, stay_s)].astype(float)
    # Poisson whatever the lengths: the variance is the mean.
    assert_near(seen, running, 0.02)
    assert_near((seen - running) ** 2, running, 0.08)


LENGTHS: dict[str, Callable[[int], Array]] = {
    "constant": lambda count: np.full(count, 200),
    "exponential": lambda count: exponential(count, 200, 15),
    "log-normal": lambda count: draw_lengths(LengthStats(200, 2.0), np.random.default_rng(16), count),
}


@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_batch_that_slows_down_is_a_symmetric_queue(lengths: str) -> None:
    # Step a + b·B: occupancy has the product form π(n) ∝ Π λ·L·(a + b·k)/k, whatever the lengths (Kelly, 1979, 3.3).
    count, base_s, slope_s = 800_000, 0.01, 0.0005
    tokens = LENGTHS[lengths](count)
    mean_tokens = float(np.mean(tokens))
    rate_rps = 0.6 / (mean_tokens * slope_s)
    requests = poisson(rate_rps, np.full(count, 50), tokens + 1, 17)
    profile = DecodeProfile(
        (DecodePoint(1000, 1, base_s + slope_s), DecodePoint(1000, 101, base_s + 101 * slope_s)), max_batch=5000
    )
    stay_s, _ = decode(profile, requests)
    numbers = np.arange(1, 600)
    weights = np.append(0.0, np.cumsum(np.log(rate_rps * mean_tokens * (base_s + slope_s * numbers) / numbers)))
    share = np.exp(weights - weights.max())
    share /= share.sum()
    running = float(share @ np.arange(600))
    assert_near(stay_s, running / rate_rps, 0.05)
    records = simulate(Deployment(INSTANT, profile), requests, PerPool(1, 1))
    all_stay_s = records.finished_s - records.first_token_s
    seen = occupancy(requests.arrival_s, all_stay_s)[steady(requests.arrival_s, all_stay_s)]
    for least in (int(running), int(running * 1.3)):
        assert_near((seen >= least).astype(float), float(share[least:].sum()), 0.15)


def test_decode_slots_are_an_m_m_c() -> None:
    count, slots, load, step_s = 400_000, 12, 0.85, 0.01
    outputs = exponential(count, 20_000, 18)
    requests = poisson(load * slots / (20_000 * step_s), np.full(count, 50), outputs + 1, 19)
    _, wait_s = decode(level(step_s, max_batch=slots), requests)
    waits = erlang_c(slots, load * slots)
    assert_near((wait_s > 1e-6).astype(float), waits, 0.05)
    assert_near(wait_s, waits * 20_000 * step_s / (slots * (1 - load)), 0.12)


def test_littles_law_holds_for_a_whole_deployment() -> None:
    workload = WorkloadStats(100.0, LengthStats(2000, 0.5), LengthStats(150, 1.0), arrival_scv=2.0)
    requests = draw_requests(workload, 100_000, seed=20)
    prefill = PrefillProfile(max_throughput=MaxThroughput(1000, 50_000))
    profile = DecodeProfile(tuple(DecodePoint(c, b, 0.004 + 1e-8 * b * c) for c in (500, 4000) for b in (1, 256)))
    records = simulate(Deployment(prefill, profile), requests, PerPool(6, 3))
    stay_s = records.finished_s - records.arrival_s
    at_s = np.sort(np.random.default_rng(21).uniform(0, records.finished_s.max(), 200_000))
    inside = np.searchsorted(records.arrival_s, at_s) - np.searchsorted(np.sort(records.finished_s), at_s)
    assert np.mean(inside) == pytest.approx(stay_s.sum() / records.finished_s.max(), rel=0.01)
