import math

import numpy as np
import pytest

from pdscaler.forecast.history import History
from pdscaler.forecast.method import Method, Sample
from pdscaler.forecast.seasonal import (
    DAY_S,
    MOST_GROWTH,
    WEEK_S,
    find_period,
    fit_seasonal,
    seasonal_profile,
)
from support.forecasts import GAP, STEP_S, poisson, window_of

BIN_S = 300.0
DAY = int(DAY_S / BIN_S)


def _days(count: float, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    time_s = BIN_S * np.arange(int(count * DAY))
    rate = 40.0 * (1.0 + 0.7 * np.sin(2 * np.pi * time_s / DAY_S))
    return np.asarray(np.random.default_rng(seed).poisson(rate * BIN_S) / BIN_S)


def test_a_day_is_found_in_two() -> None:
    found = find_period(_days(2.2), BIN_S, 3600.0)
    assert found is not None
    assert found[0] == DAY_S
    assert found[1] > 0.9


def test_a_day_is_found_through_gaps_and_growth() -> None:
    series = _days(4.0) * np.linspace(1.0, 3.0, 4 * DAY)
    series[100:150] = GAP
    series[::7] = GAP
    found = find_period(series, BIN_S, 3600.0)
    assert found is not None
    assert found[0] == DAY_S


def test_a_week_is_found_where_days_differ() -> None:
    series = _days(15.0)
    weekday = np.arange(series.size) // DAY % 7
    series = np.where(weekday >= 5, 10.0, series)
    found = find_period(series, BIN_S, 3600.0)
    assert found is not None
    assert found[0] == WEEK_S


def test_another_period_is_found_in_three_of_it_and_not_in_two() -> None:
    series = np.where(np.arange(DAY) % 24 < 12, 20.0, 40.0) + np.random.default_rng(0).normal(0.0, 1.0, DAY)
    found = find_period(series, BIN_S, 3600.0)
    assert found is not None
    assert found[0] == 7200.0
    assert find_period(series[:50], BIN_S, 3600.0) is None


@pytest.mark.parametrize("seed", range(8))
def test_noise_and_walks_have_no_period(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert find_period(rng.poisson(3000.0, 4 * DAY) / BIN_S, BIN_S, 3600.0) is None
    assert find_period(1000.0 + np.cumsum(rng.normal(0.0, 1.0, 2 * DAY)), BIN_S, 3600.0) is None


@pytest.mark.parametrize("series", [[], [1.0] * 10, [5.0] * 600, [0.0] * 600, [GAP] * 600, list(range(600))])
def test_nothing_repeats_in_what_does_not_vary_or_is_not_known(series: list[float]) -> None:
    assert find_period(np.asarray(series, dtype=np.float64), BIN_S, 3600.0) is None


def test_the_profile_is_the_median_of_the_same_phase() -> None:
    phase = np.array([1.0, 1.0, 4.0, 2.0])
    series = np.tile(phase, 6)
    series[10] = 400.0  # one wild value
    profile = seasonal_profile(series, 4, 4, 3)
    assert profile == pytest.approx(np.tile(phase / 2.0, 2)[:7], rel=0.3)
    assert profile[2] == pytest.approx(profile[6], rel=0.3)


def test_the_profile_of_the_past_does_not_use_what_came_after() -> None:
    series = _days(4.0)
    whole = seasonal_profile(series, DAY, DAY, 10)
    before = seasonal_profile(series[: -DAY // 2], DAY, DAY // 2, 10)
    np.testing.assert_allclose(whole[: DAY // 2], before[: DAY // 2], rtol=1e-9)


def test_the_surge_of_every_morning_is_expected_before_it_comes() -> None:
    rate = np.where(np.arange(5 * DAY) % DAY < DAY // 2, 10.0, 30.0)
    coarse = History.of(BIN_S, BIN_S * 4.5 * DAY, rate[: int(4.5 * DAY)])
    window = window_of(np.full(400, 10.0), coarse=coarse, horizon_steps=20)
    (model,) = fit_seasonal(window, 3600.0)
    assert model.method is Method.SEASONAL
    _, now = model.step((), Sample(coarse.end_s, 10.0, 10.0))
    assert now == pytest.approx(30.0, rel=0.05)
    points, _ = model.replay(window)
    assert points[-1] == now
    assert points[-40] == pytest.approx(10.0, rel=0.05)  # ten minutes before, five minutes ahead


def test_growth_is_bounded_and_unknown_outside_the_profile() -> None:
    rate = np.where(np.arange(5 * DAY) % DAY < DAY // 2, 0.1, 30.0)
    coarse = History.of(BIN_S, BIN_S * 4.5 * DAY, rate[: int(4.5 * DAY)])
    (model,) = fit_seasonal(window_of(np.full(400, 0.1), coarse=coarse, horizon_steps=20), 3600.0)
    assert model.growth(coarse.end_s) == MOST_GROWTH
    assert math.isnan(model.growth(coarse.end_s + DAY_S))
    assert math.isnan(model.growth(0.0))


def jobs(period_s: float, hours: float = 6.0, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Rates in steps of 15 s of a load that is four times as high for the last third of every period."""
    time_s = STEP_S * np.arange(int(hours * 3600 / STEP_S))
    return poisson(np.where(time_s % period_s < period_s * 2 / 3, 10.0, 40.0), seed)


@pytest.mark.parametrize("period_s", [200.0, 300.0, 600.0, 1000.0, 1800.0, 3600.0])
def test_what_repeats_within_minutes_is_foreseen_until_the_next_fit(period_s: float) -> None:
    (model,) = fit_seasonal(window_of(jobs(period_s), horizon_steps=9), 3600.0)
    multiple = round(model.period_s / period_s)
    assert model.period_s == pytest.approx(multiple * period_s, rel=0.002)
    now_s = 6 * 3600.0
    for ahead_s in np.arange(0.0, 3600.0, STEP_S):
        phase = (now_s + ahead_s) % period_s / period_s
        _, peak = model.step((), Sample(now_s + ahead_s, 10.0, 10.0))
        if phase < 2 / 3 - (135.0 + 30.0) / period_s:
            assert peak == pytest.approx(10.0, abs=4.0), ahead_s
        elif 2 / 3 - 90.0 / period_s < phase < 2 / 3 - 30.0 / period_s:
            assert peak == pytest.approx(40.0, rel=0.25), ahead_s


def test_long_and_short_seasons_stand_beside_each_other() -> None:
    coarse = History.of(BIN_S, 6 * 3600.0, _days(4.25))
    found = fit_seasonal(window_of(jobs(600.0), coarse=coarse), 3600.0)
    assert [model.text.split(",")[0] for model in found] == ["period 24 h", "period 10 min"]


@pytest.mark.parametrize("seed", range(8))
def test_noise_and_walks_of_hours_have_no_short_season(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert fit_seasonal(window_of(poisson(np.full(1440, 20.0), seed)), 3600.0) == ()
    assert fit_seasonal(window_of(1000.0 + np.cumsum(rng.normal(0.0, 1.0, 1440))), 3600.0) == ()


def test_a_period_within_the_horizon_is_not_followed() -> None:
    assert fit_seasonal(window_of(jobs(300.0), horizon_steps=40), 3600.0)[0].period_s > 600.0
    assert fit_seasonal(window_of(np.tile([1.0, 1.0, 9.0], 480)), 3600.0)[0].period_s >= 12 * STEP_S
