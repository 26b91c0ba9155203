"""ARIMA against statsmodels 0.15, whose figures stand here (exact likelihood, ``ARIMA(x, order, trend).fit()``)."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from pdscaler.forecast.arima import LEAST_SAMPLES, Arima, ArimaFit, _filtered, fit_arima, fit_series
from pdscaler.forecast.method import Carry, Sample
from support.forecasts import GAP, poisson, window_of

Series = np.ndarray[tuple[int], np.dtype[np.float64]]


def _simulated(phi: tuple[float, ...], theta: float, mean: float, *, integrated: bool) -> Series:
    noise = np.random.default_rng(7).standard_normal(602)
    series = [0.0, 0.0]
    for index in range(2, 602):
        regression = sum(weight * series[-1 - lag] for lag, weight in enumerate(phi))
        series.append(regression + float(noise[index]) + theta * float(noise[index - 1]))
    values = np.array(series[2:])
    return mean + (np.cumsum(values) if integrated else values)


WALK = _simulated((0.6,), -0.3, 500.0, integrated=True)
STATIONARY = _simulated((0.9, -0.2), 0.4, 50.0, integrated=False)


def _after(model: Arima, series: Series) -> Carry:
    carry: Carry = ()
    for value in series.tolist():
        carry, _ = model.step(carry, Sample(0.0, value, value))
    return carry


@pytest.mark.parametrize(
    ("series", "fit", "forecast"),
    [
        (
            WALK,
            ArimaFit((0.65687846,), 1, (-0.35211551,), 0.0, 0.87209019),
            [357.2239561, 356.8796434, 356.81050606],
        ),
        (
            STATIONARY,
            ArimaFit((0.88312738, -0.20397937), 0, (0.40733165,), 49.37173306, 0.85231069),
            [48.64421579, 49.34907281, 49.37185779],
        ),
    ],
)
def test_statsmodels_finds_the_same(series: Series, fit: ArimaFit, forecast: list[float]) -> None:
    model = Arima(fit, 1, 10)
    path = model.path(_after(model, series), 10)
    assert [path[0], path[4], path[9]] == pytest.approx(forecast, rel=1e-7)
    order = (len(fit.autoregressive), fit.differences, len(fit.moving_average))
    found = fit_series(series, order, np.ones(series.size, dtype=bool))
    assert found is not None
    ours = found[0]
    assert ours.autoregressive == pytest.approx(fit.autoregressive, abs=0.005)
    assert ours.moving_average == pytest.approx(fit.moving_average, abs=0.005)
    assert ours.mean == pytest.approx(fit.mean, rel=0.001)
    assert ours.variance == pytest.approx(fit.variance, rel=0.01)


def test_step_by_step_is_the_replay_through_gaps_too() -> None:
    rates = STATIONARY.copy()
    rates[[0, 100, 101, 102]] = GAP
    window = window_of(rates, level_steps=4)
    model = fit_arima(window)
    assert model is not None
    points, carry = model.replay(window)
    own: Carry = ()
    stepped = []
    for rate in rates.tolist():
        own, point = model.step(own, Sample(0.0, rate, rate))
        stepped.append(point)
    assert own == carry
    assert math.isnan(stepped[0])
    np.testing.assert_allclose(stepped, points, rtol=1e-9)


def test_a_peak_is_of_levels_of_which_part_is_known() -> None:
    model = Arima(ArimaFit((), 1, (), 0.0, 1.0), level_steps=4, horizon_steps=2)  # tomorrow is today
    carry = _after(model, np.array([8.0, 4.0, 2.0, 6.0]))
    # Next levels: (4 + 2 + 6 + 6)/4 and (2 + 6 + 6 + 6)/4.
    assert model.step(carry, Sample(0.0, 6.0, 5.0))[1] == pytest.approx((6.0 + 6.0 + 6.0 + 6.0) / 4)
    points, _ = model.replay(window_of([8.0, 4.0, 2.0, 6.0], level_steps=4, horizon_steps=2))
    assert points[-1] == pytest.approx(5.0)


def test_load_that_comes_back_to_its_mean_is_expected_back() -> None:
    model = fit_arima(window_of(STATIONARY))
    assert model is not None
    assert model.fit.differences == 0
    high = model.path(_after(model, np.append(STATIONARY, [60.0] * 3)), 200)
    assert high[0] > 55.0
    assert high[-1] == pytest.approx(49.4, abs=0.5)


def test_a_path_never_falls_below_zero() -> None:
    model = Arima(ArimaFit((0.99,), 1, (), 0.0, 1.0), 1, 20)
    assert min(model.path(_after(model, np.array([10.0, 5.0])), 20)) == 0.0


@pytest.mark.parametrize(
    "rates",
    [[], [GAP] * 100, [5.0] * 100, [0.0] * 100, [1.0, 2.0] * (LEAST_SAMPLES // 2 - 1), [1.0, GAP, 2.0, GAP] * 100],
)
def test_too_little_to_fit(rates: list[float]) -> None:
    assert fit_arima(window_of(rates)) is None


def test_bridged_gaps_do_not_count() -> None:
    series = poisson(np.full(400, 30.0))
    known = np.ones(400, dtype=bool)
    known[100:250] = False
    bridged = series.copy()
    bridged[100:250] = np.linspace(series[99], series[250], 150)
    with_gap, all_equal = fit_series(bridged, (2, 0, 1), known), fit_series(bridged, (2, 0, 1), known | True)
    assert with_gap is not None
    assert all_equal is not None
    assert with_gap[0].variance == pytest.approx(2.0, rel=0.2)
    assert all_equal[0].variance < 0.8 * with_gap[0].variance


@pytest.mark.parametrize("size", [1, 5, 240])
@pytest.mark.parametrize(("forward", "backward"), [([], []), ([0.4], [-0.3]), ([0.5, -0.2], [0.7]), ([], [0.2, 0.1])])
def test_the_filter_is_the_one_of_the_text_books(size: int, forward: list[float], backward: list[float]) -> None:
    values = np.random.default_rng(3).normal(size=size)
    expected = lfilter([1.0, *forward], [1.0, *backward], values)
    assert _filtered(values, np.array(forward), np.array(backward)) == pytest.approx(expected, abs=1e-12)
