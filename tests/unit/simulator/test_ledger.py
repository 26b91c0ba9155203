"""GPU-hours and operations, by hand."""

import numpy as np
import pytest

from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.run import Lives
from pdscaler.simulator.ledger import OrderMade, largest_order, operations, ordered_gpu_hours, used_gpu_hours

GPUS = PerPool(4, 1)
ORDERS = (
    OrderMade(0.0, PerPool(1, 2)),  # 6 GPUs
    OrderMade(600.0, PerPool(3, 2)),  # 14
    OrderMade(1200.0, PerPool(1, 1)),  # 5
)


@pytest.mark.parametrize(
    ("begin_s", "end_s", "gpu_seconds"),
    [
        (0.0, 1800.0, 600 * (6 + 14 + 5)),
        (300.0, 1800.0, 300 * 6 + 600 * 14 + 600 * 5),
        (900.0, 1000.0, 100 * 14),
        (2000.0, 3000.0, 1000 * 5),
        (600.0, 600.0, 0),
    ],
)
def test_orders_count_while_they_hold(begin_s: float, end_s: float, gpu_seconds: float) -> None:
    assert ordered_gpu_hours(ORDERS, GPUS, begin_s, end_s) == pytest.approx(gpu_seconds / 3600)


def test_use_counts_from_the_order_to_the_end_of_the_drain() -> None:
    never = np.inf
    prefill = Lives(
        np.array([-np.inf, 600.0]),  # there from the start; ordered at 600
        np.array([never, 1200.0]),
        np.array([never, 1230.0]),  # drained for 30 s
        ((600.0, 700.0),),  # cancelled before it was ready
    )
    decode = Lives(np.array([-np.inf]), np.array([never]), np.array([never]))
    hours = used_gpu_hours(PerPool(prefill, decode), GPUS, 0.0, 1800.0)
    assert hours == pytest.approx((4 * (1800 + 630 + 100) + 1800) / 3600)
    hours = used_gpu_hours(PerPool(prefill, decode), GPUS, 650.0, 1000.0)
    assert hours == pytest.approx((4 * (350 + 350 + 50) + 350) / 3600)


def test_the_most_ordered_at_any_instant() -> None:
    assert largest_order(ORDERS, GPUS, 0.0, 1800.0) == 14
    assert largest_order(ORDERS, GPUS, 0.0, 500.0) == 6
    assert largest_order(ORDERS, GPUS, 1300.0, 1800.0) == 5
    assert largest_order(ORDERS[:1], GPUS, 0.0, 0.0) == 6


def test_each_change_of_a_pool_is_an_operation() -> None:
    assert operations(ORDERS, 0.0) == 3  # one pool at 600, both at 1200
    assert operations(ORDERS, 601.0) == 2
    assert operations(ORDERS, 1201.0) == 0
