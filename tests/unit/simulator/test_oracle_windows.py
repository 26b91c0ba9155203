"""Windows of a run, their allowances, and orders that serve in time."""

from itertools import pairwise

import numpy as np
import pytest

from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.simulation.changes import Order, changes_of
from pdscaler.simulator.oracle_windows import Windows, merged, steps_of, windows_of


def test_windows_begin_at_the_measurement_and_take_in_short_ends() -> None:
    arrival_s = np.array([0.0, 100.0, 250.0, 899.0, 900.0, 1200.0, 1900.0, 2000.0])
    windows = windows_of(arrival_s, 900.0, 600.0)
    assert windows.edges_s.tolist() == [0.0, 300.0, 900.0, 1500.0, 2000.0]
    assert windows.requests.tolist() == [3, 1, 2, 2]
    windows = windows_of(arrival_s, 900.0, 700.0)  # 200 s at the begin and 400 s at the end are left
    assert windows.edges_s.tolist() == [0.0, 900.0, 1600.0, 2000.0]
    assert windows.count(arrival_s > 1000).tolist() == [0, 1, 2]


def test_a_run_shorter_than_a_window_is_one() -> None:
    windows = windows_of(np.array([5.0, 9.0]), 6.0, 300.0)
    assert windows.edges_s.tolist() == [5.0, 9.0]
    assert windows.requests.tolist() == [2]


def test_what_cannot_be_served_counts_against_the_allowance_as_far_as_it_fits() -> None:
    windows = Windows(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0, 1000, 2000, 2050]))
    assert windows.allowance(0.99, np.array([0, 10, 0])).tolist() == [10, 10, 0]
    assert windows.allowance(0.99, np.array([9, 110, 1])).tolist() == [10, 118, 1]


@pytest.mark.parametrize("startup_s", [0.0, 120.0, 300.0, 301.0, 900.0])
def test_every_window_has_its_replicas_and_gives_them_up(startup_s: float) -> None:
    rng = np.random.default_rng(3)
    edges_s = 17.0 + np.concatenate(([0.0], 110.0 + 300.0 * np.arange(30)))
    windows = Windows(edges_s, np.arange(31))
    needs = rng.integers(1, 9, 30)
    (begin_s, initial), *steps = steps_of(needs, windows, startup_s)
    assert begin_s == edges_s[0]
    changes = changes_of(Pool.DECODE, initial, [Order(at_s, PerPool(1, n)) for at_s, n in steps], startup_s)
    serving = initial + np.concatenate(([0], np.cumsum(changes.ready)))
    for place, (first_s, last_s) in enumerate(pairwise(edges_s.tolist())):
        for at_s in (first_s + 1e-6, (first_s + last_s) / 2, last_s - 1e-6):
            ready = serving[np.searchsorted(changes.at_s, at_s, side="right")]
            ahead = needs[(edges_s[:-1] <= at_s + startup_s) & (edges_s[1:] > at_s)].max()
            ordered = [initial, *(n for step_s, n in steps if step_s <= at_s)][-1]
            assert needs[place] <= ready <= ordered == ahead
    assert not changes.cancelled_s


def test_orders_of_both_pools_are_merged_in_time() -> None:
    orders = merged(PerPool([(0.0, 2), (30.0, 4)], [(0.0, 1), (10.0, 3), (30.0, 2)]))
    assert [(order.at_s, order.replicas) for order in orders] == [
        (0.0, PerPool(2, 1)),
        (10.0, PerPool(2, 3)),
        (30.0, PerPool(4, 2)),
    ]
