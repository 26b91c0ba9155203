import math

import numpy as np
import pytest

from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError
from pdscaler.forecast.history import MOST, History, aligned

GAP = math.nan


def test_what_cannot_be_is_a_gap_and_not_zero() -> None:
    history = History.of(
        15.0, 60.0, [1.0, GAP, math.inf, -2.0, 2 * MOST, 0.0], isl_mean=[0.0, 5.0, 5.0, -1.0, 5.0, 5.0]
    )
    assert np.isnan(history.rate_rps).tolist() == [False, True, True, True, True, False]
    assert np.isnan(history.values[1]).tolist() == [True, False, False, True, False, False]
    assert history.coverage(90.0) == pytest.approx(2 / 6)
    assert history.coverage(180.0) == pytest.approx(2 / 12)


def test_the_first_and_the_last_known_sample() -> None:
    history = History.of(15.0, 150.0, [GAP, 7.0, 8.0, GAP])
    assert history.first_known_s == 120.0
    assert history.last_known == (135.0, 8.0)
    assert History.of(15.0, 150.0, [GAP]).last_known is None
    assert History.empty(15.0, 150.0).first_known_s is None


def test_newer_samples_are_appended_and_known_ones_left_out() -> None:
    history = History.of(15.0, 45.0, [1.0, 2.0, 3.0])
    both = history.extended(History.of(15.0, 75.0, [9.0, 4.0, 5.0]))
    assert (both.end_s, both.rate_rps.tolist()) == (75.0, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert both.extended(history) is both or both.extended(history).rate_rps.tolist() == both.rate_rps.tolist()


def test_between_the_old_and_the_new_there_is_a_gap() -> None:
    both = History.of(15.0, 45.0, [1.0, 2.0, 3.0]).extended(History.of(15.0, 90.0, [6.0]))
    assert both.rate_rps[:3].tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(both.rate_rps[3:5]).all()
    assert both.rate_rps[5] == 6.0


@pytest.mark.parametrize(
    ("keep_s", "expected"), [(60.0, [2.0, 3.0, 4.0, 5.0]), (15.0, [5.0]), (1e9, [1.0, 2.0, 3.0, 4.0, 5.0])]
)
def test_only_what_is_asked_for_is_kept(keep_s: float, expected: list[float]) -> None:
    both = History.of(15.0, 45.0, [1.0, 2.0, 3.0]).extended(History.of(15.0, 75.0, [4.0, 5.0]), keep_s)
    assert both.rate_rps.tolist() == expected


def test_a_gap_of_years_takes_no_memory() -> None:
    both = History.of(15.0, 45.0, [1.0, 2.0, 3.0]).extended(History.of(15.0, 1e9, [6.0]), 3600.0)
    assert len(both) == 240
    assert both.last_known == (both.end_s, 6.0)


def test_jitter_is_rounded_to_the_grid() -> None:
    history = History.empty(15.0, 0.0)
    for at_s, rate in ((14.2, 1.0), (31.0, 2.0), (44.9, 3.0)):
        history = history.observed(WorkloadStats(rate, None, None), at_s)
    assert (history.end_s, history.rate_rps.tolist()) == (45.0, [1.0, 2.0, 3.0])


def test_a_reading_is_kept_with_its_lengths_and_none_is_a_gap() -> None:
    workload = WorkloadStats(3.0, LengthStats(900.0, 1.5), LengthStats(200.0, 0.5))
    history = History.empty(15.0, 0.0).observed(workload, 15.0).observed(None, 30.0)
    assert history.values[:, 0].tolist() == [3.0, 900.0, 1.5, 200.0, 0.5]
    assert np.isnan(history.values[:, 1]).all()


def test_what_was_known_before() -> None:
    history = History.of(15.0, 60.0, [1.0, 2.0, 3.0, 4.0])
    assert history.until(40.0).rate_rps.tolist() == [1.0, 2.0]
    assert history.until(40.0).end_s == 30.0
    assert history.until(60.0) is history
    assert len(history.until(0.0)) == 0
    assert history.last(30.0).rate_rps.tolist() == [3.0, 4.0]


def test_longer_steps_hold_means_and_the_spread_between_the_shorter_ones() -> None:
    history = History.of(
        60.0, 360.0, [GAP, 1.0, 3.0, GAP, GAP, 9.0], isl_mean=[GAP, 100.0, 200.0, GAP, GAP, 50.0], isl_scv=[0.0] * 6
    )
    coarse = history.coarsened(180.0)
    assert coarse.end_s == 360.0
    assert coarse.rate_rps[0] == pytest.approx(2.0)
    assert np.isnan(coarse.rate_rps[1])  # a third of it is known
    assert coarse.values[1, 0] == pytest.approx(175.0)
    # 1 request of 100 tokens to 3 of 200: mean 175, second moment 32 500.
    assert coarse.values[2, 0] == pytest.approx(32_500 / 175.0**2 - 1)


def test_the_unfinished_longer_step_is_left_out() -> None:
    coarse = History.of(60.0, 420.0, [1.0] * 7).coarsened(180.0)
    assert (coarse.end_s, len(coarse)) == (360.0, 2)


def test_the_grid_of_multiples() -> None:
    assert aligned(1000.0, 15.0) == 990.0
    assert aligned(990.0, 15.0) == 990.0


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: History.of(0.0, 1.0, [1.0]), "history.step_s"),
        (lambda: History.of(15.0, GAP, [1.0]), "history.end_s"),
        (lambda: History.of(15.0, 0.0, [1.0, 2.0], osl_mean=[1.0]), "history.osl_mean"),
        (lambda: History.of(15.0, 0.0, [1.0]).extended(History.of(30.0, 60.0, [1.0])), "history.step_s"),
    ],
)
def test_bad_input_is_named(make: object, field: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        make()  # type: ignore[operator]
    assert error.value.field == field
