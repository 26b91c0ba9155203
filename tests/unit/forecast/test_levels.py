import math

import numpy as np
import pytest

from pdscaler.forecast.history import History
from pdscaler.forecast.levels import held, levels, next_mean, peaks_after, recent_peaks, running_means
from pdscaler.forecast.mix import newest_means, pooled, rolling_means, trailing_sum

GAP = math.nan


def test_levels_are_means_of_what_is_known() -> None:
    assert levels(np.array([1.0, 3.0, GAP, 5.0]), 2).tolist() == [1.0, 2.0, 3.0, 5.0]
    assert np.isnan(levels(np.array([GAP, GAP]), 2)).all()


def test_a_gap_holds_the_level_before() -> None:
    assert np.array_equal(held(np.array([GAP, 2.0, GAP, GAP, 3.0])), [GAP, 2.0, 2.0, 2.0, 3.0], equal_nan=True)


def test_peaks_are_of_what_comes_after() -> None:
    peaks = peaks_after(np.array([9.0, 1.0, 5.0, 2.0, 3.0]), 2)
    assert np.array_equal(peaks, [5.0, 5.0, 3.0, GAP, GAP], equal_nan=True)


def test_a_gap_may_hide_the_peak() -> None:
    peaks = peaks_after(np.array([1.0, GAP, GAP, 5.0, 2.0, 1.0, 1.0]), 4)
    assert math.isnan(peaks[0])  # half of it unknown
    assert peaks[1] == 5.0  # a quarter


def test_recent_peaks_and_running_means() -> None:
    series = np.array([GAP, 1.0, 4.0, 2.0, GAP, 1.0])
    assert np.array_equal(recent_peaks(series, 2), [GAP, 1.0, 4.0, 4.0, 2.0, 1.0], equal_nan=True)
    means = running_means(series, 2)
    assert np.array_equal(means, [GAP, 1.0, 2.5, 2.25, 2.25, 1.625], equal_nan=True)
    assert next_mean(2.25, 2, 1.0, 2) == (1.625, 2)


def test_sums_of_the_last() -> None:
    assert trailing_sum(np.array([1.0, 2.0, 3.0]), 2).tolist() == [1.0, 3.0, 5.0]
    assert trailing_sum(np.empty(0), 3).size == 0


def _history() -> History:
    return History.of(
        15.0,
        60.0,
        [4.0, 0.0, GAP, 2.0],
        isl_mean=[100.0, GAP, 700.0, 400.0],
        isl_scv=[1.0, GAP, 1.0, GAP],
        osl_mean=[10.0, GAP, GAP, GAP],
    )


def test_lengths_are_pooled_by_requests() -> None:
    isl, osl = pooled(_history().exact)
    assert isl is not None
    assert osl is not None
    assert isl.mean_tokens == pytest.approx(200.0)
    # Within: scv 1 where it is known, taken for all; between: 100 and 400 at 2 to 1.
    assert 1 + isl.scv == pytest.approx((4 * 100**2 + 2 * 400**2) / 6 * 2 / 200**2)
    assert (osl.mean_tokens, osl.scv) == (10.0, 0.0)


def test_no_requests_no_lengths() -> None:
    assert pooled(History.of(15.0, 60.0, [0.0, GAP]).exact) == (None, None)


def test_the_newest_of_the_rolling_means_is_the_mean_of_the_last() -> None:
    values = _history().exact
    rolled = rolling_means(values, 4)
    assert [float(column[-1]) for column in rolled] == pytest.approx(list(newest_means(values)))
    assert math.isnan(rolling_means(values, 2)[1][-1])
    assert math.isnan(newest_means(values[:, 2:])[1])
