"""Intervals from batch means: they hold the truth as often as they say, for correlated series too."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pdscaler.core.slo import Statistic
from pdscaler.core.verify_interval import LEAST_BATCHES, interval

EXPONENTIAL = {Statistic.MEAN: 1.0} | {
    statistic: -np.log(1 - statistic.quantile) for statistic in Statistic if statistic.quantile is not None
}


def independent(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.standard_exponential(4000)


def correlated(rng: np.random.Generator) -> NDArray[np.float64]:
    """Exponential values whose neighbours are alike: each is kept for a geometric time of mean 10."""
    fresh = rng.random(8000) < 0.1
    fresh[0] = True
    values: NDArray[np.float64] = rng.standard_exponential(int(fresh.sum()))[np.cumsum(fresh) - 1]
    return values


@pytest.mark.parametrize("statistic", Statistic)
@pytest.mark.parametrize(("series", "memory"), [(independent, 1.0), (correlated, 20.0)])
def test_the_truth_lies_within_as_often_as_is_said(statistic: Statistic, series: object, memory: float) -> None:
    assert callable(series)
    truth = EXPONENTIAL[statistic]
    rng = np.random.default_rng(7)
    found = [interval(series(rng), statistic, memory) for _ in range(200)]
    known = [each for each in found if each is not None]
    assert len(known) == 200
    reported = sum(abs(each.value_s - truth) <= each.half_width_s for each in known)
    decided = sum(each.low_s <= truth <= each.high_s for each in known)
    assert reported >= 180, "95 %, less what sampling, and percentiles' skew, may take"
    assert decided >= 194, "99.7 %, less the same: the 99th percentile of 800 independent values is a few of them"


def test_a_longer_run_knows_better() -> None:
    values = np.random.default_rng(1).standard_exponential(64_000)
    for statistic in Statistic:
        short, long = interval(values[:4000], statistic, 10.0), interval(values, statistic, 10.0)
        assert short is not None
        assert long is not None
        assert long.half_width_s < short.half_width_s / 2
        assert long.low_s < long.value_s < long.high_s


def test_too_few_batches_say_nothing() -> None:
    values = np.ones(1000)
    assert interval(values, Statistic.MEAN, 1000 / LEAST_BATCHES + 1) is None
    assert interval(np.empty(0), Statistic.P99, 1.0) is None


def test_an_extreme_percentile_of_few_values_has_no_upper_end() -> None:
    found = interval(np.random.default_rng(2).standard_exponential(200), Statistic.P99, 1.0)
    assert found is not None
    assert found.high_s == np.inf


def test_what_never_varies_is_known_exactly() -> None:
    found = interval(np.full(4000, 3.0), Statistic.MEAN, 10.0)
    assert found is not None
    assert (found.value_s, found.half_width_s, found.low_s, found.high_s) == (3.0, 0.0, 3.0, 3.0)
