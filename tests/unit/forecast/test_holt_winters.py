import math

import numpy as np
import pytest

from pdscaler.forecast.holt_winters import DEFAULT, TRIED, HoltWinters, Smoothing, fit_holt_winters
from pdscaler.forecast.method import Sample, Window
from support.forecasts import GAP, window_of


def test_a_line_is_followed_and_its_trend_damped() -> None:
    model = HoltWinters(Smoothing(30.0, 300.0, 900.0), 15.0, 9)
    points, (level, trend) = model.replay(window_of(10.0 + 0.5 * np.arange(400.0)))
    assert level == pytest.approx(209.5, rel=0.02)
    assert 0.3 < trend < 0.5  # damped: the errors make up for what the damping takes
    damping = math.exp(-15.0 / 900.0)
    expected = level + trend * sum(damping**power for power in range(1, 10))
    assert points[-1] == pytest.approx(expected)


def test_a_falling_line_peaks_at_once() -> None:
    model = HoltWinters(Smoothing(30.0, 300.0, 900.0), 15.0, 9)
    points, (level, trend) = model.replay(window_of(300.0 - 0.5 * np.arange(400.0)))
    assert trend < 0
    assert points[-1] == pytest.approx(level + math.exp(-15.0 / 900.0) * trend)


def test_a_trend_never_leads_below_zero() -> None:
    model = HoltWinters(Smoothing(10.0, 300.0, 900.0), 15.0, 9)
    points, _ = model.replay(window_of(np.maximum(0.0, 100.0 - 2.0 * np.arange(80.0))))
    assert points.min() == 0.0


@pytest.mark.parametrize("smoothing", [DEFAULT, TRIED[0], TRIED[-1]])
def test_step_by_step_is_the_replay(smoothing: Smoothing) -> None:
    rates = np.random.default_rng(2).poisson(30.0, 200).astype(float)
    rates[[0, 50, 51, 52]] = GAP
    window = window_of(rates)
    model = HoltWinters(smoothing, 15.0, 9)
    points, carry = model.replay(window)
    own: tuple[float, ...] = ()
    stepped = []
    for rate, level in zip(window.rate_rps.tolist(), window.level_rps.tolist(), strict=True):
        own, point = model.step(own, Sample(0.0, rate, level))
        stepped.append(point)
    np.testing.assert_allclose(stepped, points, rtol=1e-12)
    assert own == pytest.approx(carry)
    assert math.isnan(stepped[0])


def test_noise_around_a_level_is_smoothed_and_a_random_walk_is_not() -> None:
    rng = np.random.default_rng(1)
    steady = fit_holt_winters(window_of(rng.poisson(450.0, 1000) / 15.0))
    walk = fit_holt_winters(window_of(100.0 + np.cumsum(rng.normal(0.0, 1.0, 1000))))
    assert steady.smoothing.level_s >= 300.0
    assert walk.smoothing.level_s <= 30.0


def test_too_little_to_fit_takes_the_default() -> None:
    assert fit_holt_winters(window_of([1.0, 2.0, 3.0])).smoothing == DEFAULT


def test_all_zero_is_fitted_without_complaint() -> None:
    window: Window = window_of(np.zeros(100))
    points, _ = fit_holt_winters(window).replay(window)
    assert points.max() == 0.0
