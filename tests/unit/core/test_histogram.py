import math

import pytest

from pdscaler.core.histogram import Bucket, differences, quantile_interval, scv_of, surely_above


def test_differences() -> None:
    assert differences({5.0: 3.0, 1.0: 1.0, math.inf: 4.0}) == [
        Bucket(0.0, 1.0, 1.0),
        Bucket(1.0, 5.0, 2.0),
        Bucket(5.0, math.inf, 1.0),
    ]
    # Counts that shrink with the bound are noise, not negative observations.
    assert differences({1.0: 2.0, 5.0: 1.9, 10.0: 3.0}) == [Bucket(0.0, 1.0, 2.0), Bucket(5.0, 10.0, 1.0)]
    assert differences({}) == []


def test_all_on_a_bound_has_no_spread() -> None:
    assert scv_of([Bucket(0.0, 1.0, 7.0)], 1.0) == pytest.approx(0.0, abs=1e-12)
    assert scv_of([Bucket(2000.0, 5000.0, 7.0)], 2000.0) == pytest.approx(0.0, abs=1e-12)


def test_two_far_buckets_have_the_spread_of_two_points() -> None:
    # Half at 1 and half at 999, of mean 500: (499/500)^2.
    buckets = [Bucket(0.99, 1.01, 1.0), Bucket(998.0, 1000.0, 1.0)]
    assert scv_of(buckets, 500.0) == pytest.approx(0.996, rel=1e-2)


def test_the_open_bucket_ends_where_the_mean_asks_for_it() -> None:
    few = [Bucket(10000.0, 20000.0, 1.0), Bucket(20000.0, math.inf, 1.0)]
    assert 0 <= scv_of(few, 25000.0) < 0.5
    assert math.isfinite(scv_of(few, 1e6))
    assert scv_of([Bucket(0.0, math.inf, 1.0)], 300.0) >= 0


def test_nothing_known() -> None:
    assert scv_of([], 3.0) == 0.0
    assert scv_of([Bucket(1.0, 2.0, 0.0)], 3.0) == 0.0
    assert quantile_interval([], 0.5) is None


def test_quantiles_are_the_buckets_that_hold_them() -> None:
    buckets = [Bucket(0.0, 0.01, 90.0), Bucket(0.01, 0.025, 6.0), Bucket(0.025, math.inf, 4.0)]
    assert quantile_interval(buckets, 0.5) == (0.0, 0.01)
    assert quantile_interval(buckets, 0.9) == (0.0, 0.01)
    assert quantile_interval(buckets, 0.95) == (0.01, 0.025)
    assert quantile_interval(buckets, 0.99) == (0.025, math.inf)


def test_quantiles_of_pods_with_different_bounds() -> None:
    buckets = [Bucket(0.0, 2.0, 1.0), Bucket(1.0, 3.0, 1.0)]
    assert quantile_interval(buckets, 0.5) == (0.0, 2.0)
    assert quantile_interval(buckets, 0.9) == (1.0, 3.0)


def test_few_observations_say_little_of_a_tail() -> None:
    """1.5 % lie beyond 25 ms: P99 is there, which 200 observations do not tell from chance and 20 000 do."""
    buckets = [Bucket(0.0, 0.01, 90.0), Bucket(0.01, 0.025, 8.5), Bucket(0.025, math.inf, 1.5)]
    assert quantile_interval(buckets, 0.99) == (0.025, math.inf)
    assert surely_above(buckets, 0.99, 200.0) == 0.01
    assert surely_above(buckets, 0.99, 20_000.0) == 0.025
    assert surely_above(buckets, 0.5, 3.0) is None
    assert surely_above([], 0.5, 100.0) is None
    assert surely_above(buckets, 0.99, 0.0) is None
