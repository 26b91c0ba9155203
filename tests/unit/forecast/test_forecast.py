"""The whole forecast: start, observe, answer."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pdscaler.core.plan import Forecaster
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError
from pdscaler.forecast import (
    Forecast,
    ForecastSettings,
    ForecastState,
    History,
    Method,
    forecast,
    forecaster_of,
    observe,
    observe_reading,
    sized_for,
    start,
    with_settings,
)
from pdscaler.forecast.answer import MOST_GROWTH, STALE_S
from pdscaler.forecast.levels import levels, peaks_after
from pdscaler.forecast.settings import FIT_EARLY_S, FIT_EVERY_S
from support.forecasts import GAP, history_of, poisson, replayed

SETTINGS = ForecastSettings(horizon_s=135.0, quantile=0.95)
NOW = WorkloadStats(30.0, LengthStats(1500.0, 0.5), LengthStats(100.0, 2.0), 1.2, 0.3)


def _answers(settings: ForecastSettings, history: History) -> list[Forecast]:
    return [forecast(state) for state in replayed(settings, history)]


def _last(settings: ForecastSettings, history: History) -> ForecastState:
    return start(settings, history)


@pytest.fixture(scope="module")
def bursty() -> History:
    """Three hours with a slow wave and noise beyond Poisson, a gap in the middle."""
    rng = np.random.default_rng(4)
    rate = 30.0 * np.exp(0.3 * np.sin(np.arange(720) / 50.0) + rng.normal(0.0, 0.1, 720))
    rate[300:320] = GAP
    return history_of(rate, end_s=1.8e9)


def test_without_history_it_is_the_last_value_and_says_so() -> None:
    state = start(SETTINGS, History.empty(15.0, 0.0))
    answer = forecast(state)
    assert (answer.rate_rps, answer.method, answer.fallback) == (None, Method.LAST_VALUE, "no history yet")
    assert sized_for(NOW, answer) == NOW


def test_the_first_reading_is_widened_by_a_prior() -> None:
    state = observe_reading(start(SETTINGS, History.empty(15.0, 0.0)), NOW, 15.0)
    answer = forecast(state)
    assert answer.level_rps == 30.0
    assert answer.rate_rps is not None
    assert 33.0 < answer.rate_rps < 45.0
    assert "little history" in answer.reason
    assert answer.isl == LengthStats(1500.0, 0.5)


def test_a_reading_that_is_missing_is_a_gap() -> None:
    state = observe_reading(start(SETTINGS, History.empty(15.0, 0.0)), NOW, 15.0)
    later = observe_reading(state, None, 30.0)
    assert np.isnan(later.history.rate_rps[-1])
    assert forecast(later).level_rps == 30.0
    assert observe_reading(later, NOW, 30.0) is later


def test_what_is_too_old_is_not_extrapolated() -> None:
    state = observe_reading(start(SETTINGS, History.empty(15.0, 0.0)), NOW, 15.0)
    answer = forecast(observe_reading(state, None, 30.0 + STALE_S))
    assert "old" in answer.fallback
    assert answer.rate_rps == 30.0


@pytest.mark.parametrize("method", list(Method))
def test_the_quantile_holds_its_share_of_the_peaks(method: Method) -> None:
    rate = poisson(30.0 + 10.0 * np.sin(np.arange(1440) / 60.0), 1)
    history = history_of(rate)
    answers = _answers(replace(SETTINGS, method=method, overflow=None), history)
    peaks = peaks_after(levels(history.rate_rps, 4), 9)
    forecasts = np.array([answer.rate_rps for answer in answers])
    known = ~np.isnan(peaks)
    known[:240] = False
    assert 0.9 <= (peaks[known] <= forecasts[known]).mean() <= 0.99
    assert forecasts[known].mean() < 1.12 * peaks[known].mean()


def test_constant_load_is_hardly_widened() -> None:
    answer = forecast(_last(SETTINGS, history_of(poisson(np.full(1440, 100.0), 2))))
    assert answer.rate_rps is not None
    assert 100.0 < answer.rate_rps < 108.0
    assert answer.dispersion == pytest.approx(1.0, abs=0.3)


def test_copied_arrivals_are_seen_and_widen() -> None:
    rng = np.random.default_rng(3)
    history = history_of(20 * rng.poisson(75.0, 1440) / 15.0)
    plain = forecast(_last(replace(SETTINGS, dispersion_weight=0.0), history))
    wider = forecast(_last(SETTINGS, history))
    assert wider.dispersion == pytest.approx(20.0, rel=0.2)
    assert plain.rate_rps is not None
    assert wider.rate_rps is not None
    assert wider.rate_rps - plain.rate_rps == pytest.approx(
        SETTINGS.dispersion_weight * math.sqrt(19.0 * plain.rate_rps / 60.0), rel=0.2
    )
    assert "index of dispersion" in wider.reason


def test_bursts_that_cannot_be_followed_are_said() -> None:
    """On and off at random: within a start-up the load may be many times what is seen, and nothing foretells when."""
    rng = np.random.default_rng(8)
    phases = np.repeat(np.arange(200) % 2, rng.integers(8, 40, 200))[:1440]
    asleep = history_of(poisson(np.append(np.where(phases, 40.0, 4.0), np.full(30, 4.0)), 1))
    answer = forecast(_last(SETTINGS, asleep))
    assert answer.rate_rps is not None
    assert answer.rate_rps > 30.0
    assert "times the load) come faster than replicas start" in answer.reason
    awake = history_of(poisson(np.append(np.where(phases, 40.0, 4.0), np.full(30, 40.0)), 1))
    assert "faster than replicas start" not in forecast(_last(SETTINGS, awake)).reason
    assert (
        "faster than replicas start" not in forecast(_last(SETTINGS, history_of(poisson(np.full(1440, 40.0))))).reason
    )


def test_a_restart_forecasts_the_same_to_the_last_bit(bursty: History) -> None:
    checked = 0
    for index, state in enumerate(replayed(SETTINGS, bursty)):
        if index % 60 == 13 or index == 719:
            known = bursty.until(state.history.end_s)
            again = start(SETTINGS, known, known.coarsened(300.0))
            assert forecast(again) == forecast(state)
            assert again.present == state.present
            checked += 1
    assert checked == 13


def test_a_restart_that_reads_more_than_is_kept_forecasts_the_same() -> None:
    rate = poisson(30.0 + 10.0 * np.sin(np.arange(3000) / 60.0), 5)
    settings = replace(SETTINGS, window_s=1800.0)
    history = history_of(rate, end_s=1.8e9)
    live = list(replayed(settings, history))[-1]
    assert len(live.history) < 2000
    assert forecast(start(settings, history, history.coarsened(300.0))) == forecast(live)


def test_samples_may_come_in_bundles(bursty: History) -> None:
    state = start(SETTINGS, bursty.until(bursty.end_s - 1000.0), bursty.coarsened(300.0))
    assert forecast(observe(state, bursty)) == forecast(start(SETTINGS, bursty, bursty.coarsened(300.0)))


def test_models_are_fitted_often_while_young_then_hourly_at_the_same_times() -> None:
    first = 1.8e9 + 100.0
    times = [SETTINGS.fitted_at(first + 60.0 * minute, first) for minute in range(600)]
    assert times == sorted(times)
    young = {at_s for at_s in times if at_s < first + 3 * 3600.0}
    old = {at_s for at_s in times if at_s > first + 4 * 3600.0}
    assert all(at_s % FIT_EARLY_S == 0 for at_s in young)
    assert len(young) >= 12
    assert all(at_s % FIT_EVERY_S == 0 for at_s in old)
    shifted = replace(SETTINGS, offset_s=123.0)
    assert shifted.fitted_at(first + 1e5, first) % FIT_EVERY_S == 123.0


def test_auto_takes_the_method_that_sees_it_coming() -> None:
    """Load that alternates every hour: only the season sees the step."""
    index = np.arange(4 * 5760 + 230)
    rate = poisson(np.where(index // 240 % 2 == 0, 20.0, 60.0).astype(float), 7)
    history = history_of(rate, end_s=15.0 * index.size)
    settings = ForecastSettings(horizon_s=315.0, quantile=0.95)
    state = start(settings, history, history.coarsened(300.0))
    answer = forecast(state)
    assert answer.method is Method.SEASONAL
    assert "period 2 h" in answer.reason
    assert answer.level_rps == pytest.approx(20.0, rel=0.2)
    assert answer.rate_rps == pytest.approx(62.0, rel=0.15)


def test_a_method_that_cannot_be_fitted_falls_back_and_says_so() -> None:
    history = history_of(poisson(np.full(400, 30.0)))
    seasonal = forecast(_last(replace(SETTINGS, method=Method.SEASONAL), history))
    assert seasonal.method is Method.LAST_VALUE
    assert "no period" in seasonal.fallback
    assert "falls back" in seasonal.reason
    flat = forecast(_last(replace(SETTINGS, method=Method.ARIMA), history_of(np.full(400, 30.0))))
    assert flat.method is Method.LAST_VALUE
    assert flat.fallback.startswith("ARIMA")
    assert forecast(_last(replace(SETTINGS, method=Method.ARIMA), history)).fallback == ""


def test_an_exploding_forecast_falls_back_and_says_so() -> None:
    state = _last(SETTINGS, history_of(poisson(np.full(400, 30.0))))
    present = state.tracks[state.present]
    broken = replace(present, point=1e6, base=1e6)
    tracks = (*state.tracks[: state.present], broken, *state.tracks[state.present + 1 :])
    answer = forecast(replace(state, tracks=tracks))
    assert state.present > 0
    assert answer.method is Method.LAST_VALUE
    assert "beyond 3 times the highest" in answer.fallback
    assert answer.rate_rps is not None
    assert 28.0 < answer.rate_rps < MOST_GROWTH * state.largest_rps
    all_broken = replace(state, tracks=tuple(replace(each, point=1e6, base=1e6) for each in state.tracks))
    assert forecast(replace(all_broken, noise=replace(state.noise, mean=math.nan))).rate_rps == state.level


def test_a_forecast_that_is_no_number_falls_back() -> None:
    state = _last(SETTINGS, history_of(poisson(np.full(400, 30.0))))
    tracks = (state.tracks[0], *(replace(each, base=math.nan) for each in state.tracks[1:]))
    answer = forecast(replace(state, tracks=tracks))
    assert answer.method is Method.LAST_VALUE
    assert "has no answer now" in answer.fallback


def test_tokens_follow_a_drift_of_the_mix() -> None:
    """Answers get longer by a third an hour: the length to size with is ahead of the mean of now."""
    rate = poisson(np.full(960, 30.0), 3)
    osl = 200.0 * np.exp(np.arange(960) / 240.0 * math.log(4 / 3))
    state = _last(replace(SETTINGS, horizon_s=615.0), history_of(rate, osl=osl))
    answer = forecast(state)
    assert answer.osl is not None
    assert answer.isl is not None
    now = float(osl[-60:].mean())
    ahead = math.exp(615.0 / 3600.0 * math.log(4 / 3))
    assert answer.osl.mean_tokens == pytest.approx(now * ahead, rel=0.025)
    assert answer.isl.mean_tokens == pytest.approx(1000.0, rel=0.01)
    assert answer.isl.scv == pytest.approx(1.0)


def test_sizing_never_goes_below_what_is_seen_now() -> None:
    low = replace(forecast(_last(SETTINGS, history_of(poisson(np.full(400, 10.0))))), rate_rps=11.0)
    sized = sized_for(NOW, low)
    assert sized.arrival_rate_rps == 30.0
    assert sized.isl is not None
    assert sized.osl is not None
    assert sized.isl.mean_tokens == 1500.0  # 1000 expected, 1500 seen at the same rate
    assert sized.osl.mean_tokens == pytest.approx(200.0, rel=0.02)
    assert (sized.arrival_scv, sized.prefix_hit_ratio) == (1.2, 0.3)


def test_a_measured_distribution_keeps_its_shape() -> None:
    answer = replace(forecast(_last(SETTINGS, history_of(poisson(np.full(400, 60.0))))), isl=LengthStats(2000.0, 3.0))
    now = replace(NOW, isl=LengthStats(1500.0, 1 / 9, ((1000.0, 0.5), (2000.0, 0.5))))
    sized = sized_for(now, answer)
    assert sized.isl == LengthStats(2000.0, 1 / 9, ((1000.0 * 4 / 3, 0.5), (2000.0 * 4 / 3, 0.5)))


def test_lengths_of_before_serve_where_nothing_arrives_now() -> None:
    answer = forecast(_last(SETTINGS, history_of(poisson(np.full(400, 60.0)))))
    sized = sized_for(WorkloadStats(0.0, None, None), answer)
    assert sized.isl == answer.isl
    assert sized.arrival_rate_rps == answer.rate_rps


def test_the_plan_takes_it_and_another_horizon_is_learned_on_the_spot(bursty: History) -> None:
    state = start(SETTINGS, bursty)
    expect: Forecaster = forecaster_of(state)
    near, far = expect(NOW, 135.0), expect(NOW, 615.0)
    assert near == sized_for(NOW, forecast(state))
    longer = with_settings(state, replace(SETTINGS, horizon_s=615.0))
    assert far == sized_for(NOW, forecast(longer))
    assert far.arrival_rate_rps > near.arrival_rate_rps
    assert with_settings(state, SETTINGS) is state


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quantile", 1.0),
        ("quantile", 0.4),
        ("quantile", GAP),
        ("horizon_s", 0.0),
        ("window_s", math.inf),
        ("overflow", 0.0),
        ("overflow", 1.0),
        ("overflow", GAP),
        ("dispersion_weight", -1.0),
        ("offset_s", FIT_EVERY_S),
    ],
)
def test_bad_settings_are_named(field: str, value: float) -> None:
    with pytest.raises(InvalidInputError) as error:
        ForecastSettings(**{"horizon_s": 135.0, field: value})  # type: ignore[arg-type]
    assert error.value.field == f"forecast.{field}"


def test_what_lies_above_what_is_sized_for_is_little_however_bursty_the_load_is() -> None:
    """Of steady load a low quantile is enough, of load in bursts it takes a high one: the same share lies above."""
    rng = np.random.default_rng(8)
    steady = poisson(np.full(1440, 60.0), 3)
    burst = np.where(rng.random(1440 // 12) < 0.2, 4.0, 1.0).repeat(12)
    shares, quantiles = [], []
    for rate in (steady, poisson(20.0 * burst, 4)):
        history = history_of(rate)
        answers = [forecast(state) for state in replayed(replace(SETTINGS, dispersion_weight=0.0), history)]
        peaks = peaks_after(levels(history.rate_rps, 4), 9)
        sized = np.array([answer.rate_rps or GAP for answer in answers])
        known = ~np.isnan(peaks) & ~np.isnan(sized) & (np.arange(sized.size) > 400)
        shares.append(float(np.maximum(0.0, peaks - sized)[known].sum() / peaks[known].sum()))
        quantiles.append(float(np.mean([answer.quantile for answer in answers[400:]])))
    assert shares[0] <= 0.03
    assert shares[1] <= 0.03
    assert quantiles[1] > quantiles[0] + 0.15


def test_an_explicit_quantile_takes_the_place_of_the_overflow(bursty: History) -> None:
    fixed = start(replace(SETTINGS, overflow=None), bursty)
    assert forecast(start(SETTINGS, bursty), 0.95).rate_rps == forecast(fixed).rate_rps
    assert forecast(fixed).quantile == 0.95


def test_a_bad_quantile_is_named(bursty: History) -> None:
    with pytest.raises(InvalidInputError):
        forecast(start(SETTINGS, bursty), 1.5)


def test_lengths_too_small_to_be_squared_break_nothing() -> None:
    history = history_of(np.full(40, 3.0))
    values = history.values.copy()
    values[1] = 5e-324
    answer = forecast(start(SETTINGS, replace(history, values=values)))
    assert answer.rate_rps is not None
    assert answer.isl is None or math.isfinite(answer.isl.scv)
