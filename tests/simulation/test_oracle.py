"""The clairvoyant schedule is served as asked, cannot fall anywhere, and lies above the bound."""

from dataclasses import replace

import numpy as np
import pytest

from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.simulation.run import deployment_of, simulate
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import PoolLimits, SizingSpec
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.bound import bound
from pdscaler.simulator.ledger import OrderMade, ordered_gpu_hours
from pdscaler.simulator.oracle import clairvoyant, schedules
from pdscaler.simulator.oracle_windows import Windows, merged, steps_of, windows_of
from pdscaler.simulator.result import attained, met
from support.core_cases import points_spec

MEASURED_FROM_S = 300.0


def spec(startup_s: float = 120.0, most: int = 60) -> SizingSpec:
    limits = PerPool(PoolLimits(1, most, 2, startup_s), PoolLimits(1, most, 1, startup_s))
    slo = Slo(LatencyTarget(0.3, Statistic.P99), LatencyTarget(0.015, Statistic.P99))
    return replace(points_spec(), slo=slo, limits=limits)


def waves(seed: int = 1, span_s: float = 2400.0, peak_rps: float = 60.0) -> RequestTable:
    """Load that swings between a tenth of its peak and the peak, twice."""
    rng = np.random.default_rng(seed)
    arrival_s = np.sort(rng.uniform(0, span_s, int(span_s * peak_rps)))
    share = 0.55 - 0.45 * np.cos(4 * np.pi * arrival_s / span_s)
    arrival_s = arrival_s[rng.random(len(arrival_s)) < share]
    count = len(arrival_s)
    inputs = np.clip(rng.lognormal(8.0, 0.6, count), 1, 10_000).astype(np.int64)
    outputs = np.clip(rng.lognormal(5.6, 0.6, count), 1, 1500).astype(np.int64)
    return RequestTable(arrival_s, inputs, outputs, np.zeros(count, np.int64))


def misses(sizing: SizingSpec, requests: RequestTable, windows: Windows, needs: PerPool[np.ndarray]) -> np.ndarray:
    startup_s = sizing.limits.map(lambda limits: limits.startup_s)
    orders = merged(PerPool(*(steps_of(needs[pool], windows, startup_s[pool]) for pool, _ in needs.items())))
    records = simulate(deployment_of(sizing), requests, orders[0].replicas, orders=orders[1:], startup_s=startup_s)
    within = met(records, sizing.slo)
    return windows.count(~(within.prefill & within.decode))


def test_every_window_is_served_and_none_with_fewer() -> None:
    sizing, requests = spec(), waves()
    found = clairvoyant(sizing, requests, measured_from_s=MEASURED_FROM_S, windows_s=(300.0,))
    assert found.reached
    assert found.attainment.joint >= 0.99
    windows = windows_of(requests.arrival_s, MEASURED_FROM_S, 300.0)
    allowed = windows.allowance(0.99, np.zeros(len(windows), np.int64))
    # What each window needs, read off the orders: the least that is ordered in it.
    times_s = np.array([order.at_s for order in found.orders])
    counts = PerPool(*(np.array([order.replicas[pool] for order in found.orders]) for pool in Pool))
    places = np.searchsorted(times_s, windows.edges_s[:-1] + 1.0, side="right") - 1
    needs = counts.map(lambda each: each[places])
    assert (misses(sizing, requests, windows, needs) <= allowed).all()
    assert needs.prefill.max() >= 1.5 * needs.prefill.min()
    for pool, each in needs.items():
        for place in range(len(windows)):
            fewer = each.copy()
            fewer[place] -= 1
            if fewer[place] >= 1:
                late = misses(sizing, requests, windows, needs.replace(pool, fewer))
                near = slice(max(0, place - 1), place + 2)
                assert (late[near] > allowed[near]).any(), (pool, place)


def test_the_figures_are_those_of_a_run_of_the_orders() -> None:
    sizing, requests = spec(), waves(2)
    found = clairvoyant(sizing, requests, measured_from_s=MEASURED_FROM_S)
    records = simulate(
        deployment_of(sizing), requests, found.initial, orders=found.orders[1:], startup_s=PerPool(120.0, 120.0)
    )
    first = int(np.searchsorted(requests.arrival_s, MEASURED_FROM_S))
    assert found.attainment == attained(records, sizing.slo, slice(first, None))
    steps = [OrderMade(order.at_s, order.replicas) for order in found.orders]
    end_s = float(requests.arrival_s[-1])
    assert found.gpu_hours == ordered_gpu_hours(steps, PerPool(2, 1), MEASURED_FROM_S, end_s)


@pytest.mark.parametrize("startup_s", [15.0, 600.0])
def test_the_schedule_lies_between_the_bound_and_the_static_peak(startup_s: float) -> None:
    sizing, requests = spec(startup_s), waves(3)
    every = schedules(sizing, requests, measured_from_s=MEASURED_FROM_S)
    found = clairvoyant(sizing, requests, measured_from_s=MEASURED_FROM_S)
    assert found.gpu_hours == min(each.gpu_hours for each in every if each.reached)
    least = bound(sizing, requests, measured_from_s=MEASURED_FROM_S, attainment=found.attainment.joint)
    most = PerPool(*(max(order.replicas[pool] for order in found.orders) for pool in Pool))
    peak = (most.prefill * 2 + most.decode) * (requests.arrival_s[-1] - MEASURED_FROM_S) / 3600
    assert 0.45 * found.gpu_hours < least.gpu_hours < found.gpu_hours < peak
    assert least.gpu_hours == pytest.approx(least.pools.prefill + least.pools.decode)


def test_a_pool_at_its_most_says_that_the_attainment_is_not_reached() -> None:
    found = clairvoyant(spec(most=3), waves(), measured_from_s=MEASURED_FROM_S, windows_s=(600.0,))
    assert not found.reached
    assert found.attainment.joint < 0.99
    assert max(order.replicas.prefill for order in found.orders) == 3


def test_requests_that_nobody_serves_in_time_are_left_out_of_the_attainment() -> None:
    requests = waves()
    inputs = requests.input_tokens.copy()
    inputs[::20] = 16_000  # its pass alone takes longer than the target
    requests = replace(requests, input_tokens=inputs)
    found = clairvoyant(spec(), requests, measured_from_s=MEASURED_FROM_S, windows_s=(600.0,))
    assert found.reached
    assert 0.94 <= found.attainment.joint <= 0.95
    least = bound(spec(), requests, measured_from_s=MEASURED_FROM_S)
    assert least.hopeless == (inputs[requests.arrival_s >= MEASURED_FROM_S] == 16_000).sum()
    assert least.gpu_hours < found.gpu_hours


def test_what_cannot_be_searched_is_refused() -> None:
    requests = waves(span_s=600.0)
    with pytest.raises(InvalidInputError, match="leaves nothing to measure"):
        clairvoyant(spec(), requests, measured_from_s=601.0)
    with pytest.raises(InvalidInputError, match="attainment"):
        clairvoyant(spec(), requests, measured_from_s=0.0, attainment=0.0)
    with pytest.raises(InvalidInputError, match="windows"):
        clairvoyant(spec(), requests, measured_from_s=0.0, windows_s=())
    with pytest.raises(InvalidInputError, match="attainment"):
        bound(spec(), requests, measured_from_s=0.0, attainment=1.5)
