import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscaler.core.workload import WorkloadStats
from pdscaler.forecast import (
    Forecast,
    ForecastSettings,
    History,
    Method,
    forecast,
    observe,
    sized_for,
    start,
)

anything = st.one_of(
    st.floats(0.0, 1000.0),
    st.sampled_from([0.0, math.nan, math.inf, -math.inf, -1.0, 5e-324, 1e-300, 1e9, 1e300]),
)
methods = st.sampled_from(Method)


@st.composite
def forecast_settings(draw: st.DrawFn) -> ForecastSettings:
    return ForecastSettings(
        horizon_s=draw(st.sampled_from([15.0, 50.0, 135.0, 615.0])),
        quantile=draw(st.sampled_from([0.5, 0.9, 0.98, 0.999])),
        overflow=draw(st.sampled_from([None, 1e-6, 0.015, 0.3])),
        method=draw(methods),
        window_s=draw(st.sampled_from([900.0, 21_600.0])),
    )


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A seeded walk with stretches of anything: gaps, zeros, the impossible."""
    size = draw(st.integers(0, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rate = draw(st.floats(0.01, 500.0)) * np.exp(np.cumsum(rng.normal(0.0, draw(st.floats(0.0, 0.3)), size)))
    rate = np.minimum(rate, 1e6)
    for value in draw(st.lists(anything, max_size=4)):
        if size:
            begin = draw(st.integers(0, size - 1))
            rate[begin : begin + draw(st.integers(1, 80))] = value
    lengths = rng.uniform(1.0, 5000.0, size)
    lengths[rng.random(size) < 0.1] = draw(anything)
    scv = np.where(rng.random(size) < 0.1, draw(anything), 1.0)
    window_s = draw(st.sampled_from([15.0, 60.0, 180.0]))
    return History.of(
        15.0, 1.8e9, rate, isl_mean=lengths, isl_scv=scv, osl_mean=lengths[::-1], osl_scv=scv, window_s=window_s
    )


@settings(max_examples=60)
@given(forecast_settings(), histories(), st.floats(0.0, 1000.0))
def test_whatever_was_observed_the_answer_is_a_finite_number_and_sizing_never_below_now(
    asked: ForecastSettings, history: History, now_rps: float
) -> None:
    answer = forecast(start(asked, history))
    _check(answer)
    now = WorkloadStats(now_rps, None, None)
    assert sized_for(now, answer).arrival_rate_rps >= now_rps


def _check(answer: Forecast) -> None:
    assert answer.reason
    if answer.rate_rps is None:
        assert answer.fallback
        assert answer.level_rps is None
        return
    assert answer.level_rps is not None
    assert answer.expected_rps is not None
    assert 0 <= answer.expected_rps <= answer.rate_rps < math.inf
    for lengths in (answer.isl, answer.osl):
        if lengths is not None:
            assert 0 < lengths.mean_tokens < math.inf
            assert 0 <= lengths.scv < math.inf


@settings(max_examples=40)
@given(forecast_settings(), histories())
def test_less_overflow_is_never_less_load(asked: ForecastSettings, history: History) -> None:
    answers = [forecast(start(replace(asked, overflow=share), history)) for share in (0.3, 0.05, 0.015, 1e-6)]
    rates = [answer.rate_rps or 0.0 for answer in answers if not answer.fallback]
    assert all(more >= less * (1 - 1e-9) for less, more in pairwise(rates))
    assert all(0 < answer.quantile < 1 for answer in answers)


@settings(max_examples=40)
@given(forecast_settings(), histories())
def test_a_higher_quantile_is_never_less_load(asked: ForecastSettings, history: History) -> None:
    state = start(asked, history)
    answers = [forecast(state, quantile) for quantile in (0.5, 0.7, 0.9, 0.95, 0.98, 0.99, 0.999)]
    if answers[0].rate_rps is None:
        return
    rates = [answer.rate_rps or 0.0 for answer in answers]
    assert rates == sorted(rates)
    if answers[0].osl is not None:
        tokens = [rate * answer.osl.mean_tokens for rate, answer in zip(rates, answers, strict=True) if answer.osl]
        assert all(more >= less * (1 - 1e-9) for less, more in pairwise(tokens))


@settings(max_examples=40)
@given(forecast_settings(), histories(), st.sampled_from([0.5, 2.0, 8.0]))
def test_twice_the_rates_are_twice_the_forecast(asked: ForecastSettings, history: History, factor: float) -> None:
    """Powers of two, so that rounding does not choose another method. Poisson's noise is not of this scale: apart."""
    asked = replace(asked, dispersion_weight=0.0)
    once, more = (
        forecast(start(asked, replace(history, values=history.values * np.array([[scale]] + [[1.0]] * 4))))
        for scale in (1.0, factor)
    )
    if once.rate_rps is None:
        return
    assert more.rate_rps is not None
    assert math.isclose(more.rate_rps, factor * once.rate_rps, rel_tol=1e-6, abs_tol=1e-290)
    assert more.method is once.method
    if once.osl is not None and more.osl is not None:
        assert math.isclose(more.osl.mean_tokens, once.osl.mean_tokens, rel_tol=1e-6)


@settings(max_examples=40)
@given(histories())
def test_twice_the_rates_with_their_noise_are_at_least_twice_the_forecast(history: History) -> None:
    """Doubled samples are copied arrivals, twice as dispersed: noise beyond Poisson's share grows more than twofold."""
    asked = ForecastSettings(horizon_s=120.0, method=Method.LAST_VALUE)
    answer = forecast(start(asked, history))
    if answer.dispersion is None or answer.rate_rps is None or answer.dispersion <= 1:
        return
    doubled = replace(history, values=history.values * np.array([[2.0]] + [[1.0]] * 4))
    more = forecast(start(asked, doubled))
    assert more.rate_rps is not None
    assert more.dispersion is not None
    assert math.isclose(more.dispersion, 2.0 * answer.dispersion, rel_tol=1e-9)
    assert more.rate_rps >= 2.0 * answer.rate_rps * (1 - 1e-9)


@settings(max_examples=25)
@given(forecast_settings(), histories(), st.data())
def test_a_restart_anywhere_changes_nothing(asked: ForecastSettings, history: History, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(history)))
    known = history.until(history.end_s - cut * history.step_s)
    live = observe(start(asked, known, known.coarsened(300.0)), history)
    again = start(asked, history, history.coarsened(300.0))
    assert forecast(live) == forecast(again)


@settings(max_examples=25)
@given(forecast_settings(), histories())
def test_the_same_history_is_the_same_forecast(asked: ForecastSettings, history: History) -> None:
    before = history.values.copy()
    assert forecast(start(asked, history)) == forecast(start(asked, history))
    np.testing.assert_array_equal(history.values, before)
