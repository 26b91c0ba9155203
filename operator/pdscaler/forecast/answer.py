"""The answer of now: quantile, guards, fallback, lengths, and the words for it. Pure; may import core only."""

import math
from collections.abc import Callable
from dataclasses import replace

from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError
from pdscaler.forecast.dispersion import index_of_dispersion, widening
from pdscaler.forecast.live import with_settings
from pdscaler.forecast.method import Method
from pdscaler.forecast.mix import Pooled, pooled
from pdscaler.forecast.online import Track
from pdscaler.forecast.quantiles import PRIOR_HORIZONS, Ratios
from pdscaler.forecast.result import Forecast, sized_for
from pdscaler.forecast.state import ForecastState
from pdscaler.units import format_number

MOST_GROWTH = 3.0
"""A forecast beyond this multiple of the highest level ever seen has exploded."""

STALE_S = 300.0
"""Without a sample for so long nothing is forecast but the last value."""

BURST = 1.5
"""Load that may be so many times what is seen and foreseen, within the start-up, cannot be followed: it is held for."""

LEAST_DRIFT, MOST_DRIFT = 0.5, 2.0
"""Lengths are not expected to change by more within a horizon."""


def forecast(state: ForecastState, quantile: float | None = None) -> Forecast:
    """Return what to expect within the horizon from the newest sample on.

    Parameters
    ----------
    state
        See ``live``.
    quantile
        In [0.5, 1): this quantile of the peaks, in place of what the settings ask for; the method is the one chosen
        for them.
    """
    settings = state.settings
    overflow = settings.overflow if quantile is None else None
    quantile = settings.quantile if quantile is None else quantile
    if not 0.5 <= quantile < 1:
        raise InvalidInputError("forecast.quantile", f"is {quantile:g}, expected a number in [0.5, 1)")
    at_s = state.history.end_s
    newest = state.history.last_known
    if newest is None or math.isnan(state.level):
        return _nothing(state, quantile, "no history yet")
    age_s = at_s - newest[0]
    if age_s > max(STALE_S, 2 * state.grid.step_s):
        return _nothing(state, quantile, f"the newest sample is {age_s:.0f} s old")

    track, rate, fallback = _answer(state, quantile, overflow)
    median = min(rate, track.rate_rps(0.5, state.highest_rps))
    dispersion = index_of_dispersion(state.noise.mean, state.running.mean, state.grid.step_s, state.grid.overlap_steps)
    held = quantile if overflow is None else _held(track, rate, quantile)
    wider = widening(rate, dispersion, settings.dispersion_weight, settings.rate_window_s)
    spread = _log_ratio(rate, median)
    mixes = pooled(state.history.last(settings.mix_window_s).exact)
    isl, osl = (_lengths(mix, ratios, quantile, spread) for mix, ratios in zip(mixes, state.drifts, strict=True))
    return Forecast(
        at_s=at_s,
        horizon_s=settings.horizon_s,
        quantile=held,
        method=track.model.method,
        level_rps=state.level,
        rate_rps=rate + wider,
        expected_rps=median,
        isl=isl,
        osl=osl,
        dispersion=dispersion,
        fallback=fallback,
        reason=_reason(state, track, (held, rate, wider, dispersion), fallback),
    )


def forecaster_of(
    state: ForecastState, quantile: float | None = None
) -> Callable[[WorkloadStats, float], WorkloadStats]:
    """Return the state as a ``core.plan.Forecaster``: from the observed workload to the one to size for.

    Parameters
    ----------
    state
        With the observation of now already in it.
    quantile
        See :func:`forecast`.

    Notes
    -----
    ``plan`` asks for its own horizon. If that is not the one of the state (a start-up time was changed), the state for
    it is learned anew on the spot; keep it with :func:`with_settings` instead.
    """

    def expect(workload: WorkloadStats, horizon_s: float) -> WorkloadStats:
        own = with_settings(state, replace(state.settings, horizon_s=horizon_s))
        return sized_for(workload, forecast(own, quantile))

    return expect


def _held(track: Track, rate: float, unknown: float) -> float:
    """Return the quantile of the peaks that a rate comes to."""
    return track.ratios.share_below(rate / track.base, unknown) if track.base > 0 else unknown


def _answer(state: ForecastState, quantile: float, overflow: float | None) -> tuple[Track, float, str]:
    """Return the track that answers, its rate, and why it is not the one that was asked for."""

    def sized(track: Track) -> float:
        if overflow is None:
            return track.rate_rps(quantile, state.highest_rps)
        return track.containing_rps(overflow, quantile, state.highest_rps)

    wanted, fallback = state.settings.method, ""
    limit = MOST_GROWTH * state.largest_rps
    track = state.tracks[state.present]
    if wanted not in {Method.AUTO, track.model.method}:
        fallback = next(
            (f"{method}: {why}" for method, why in state.missing if method is wanted), f"{wanted}: not fitted"
        )
    rate = sized(track)
    if not 0 <= rate <= limit:
        fallback = _bad(track, rate, limit)
        track = state.tracks[0]
        rate = sized(track)
    if not 0 <= rate <= limit:
        fallback = fallback or _bad(track, rate, limit)
        rate = state.level
    return track, rate, fallback


def _bad(track: Track, rate: float, limit: float) -> str:
    if not math.isfinite(rate):
        return f"{track.model.method}: has no answer now"
    return (
        f"{track.model.method}: {format_number(rate)} requests/s is beyond {MOST_GROWTH:g} times the highest ever seen "
        f"({format_number(limit / MOST_GROWTH)})"
    )


def _log_ratio(upper: float, median: float) -> float:
    return math.log(upper / median) if upper > median > 0 else 0.0


def _lengths(mix: Pooled | None, drifts: Ratios, quantile: float, spread: float) -> LengthStats | None:
    """Return the lengths with which rate × mean is the quantile of the tokens/s.

    tokens/s at the peak = rate at the peak × mean length now × drift. The spreads of the logarithms of rate and drift
    add in squares; what the rate's quantile holds already is taken off. The fewer independent drifts are known, the
    less they count.
    """
    if mix is None:
        return None
    observations = drifts.observations
    if not observations > 0:
        return LengthStats(mix.mean_tokens, mix.scv)
    median, upper = drifts.seen(0.5, quantile)
    if not (median > 0 and upper < math.inf):
        return LengthStats(mix.mean_tokens, mix.scv)
    share = observations / (observations + PRIOR_HORIZONS)
    drift = math.log(median) + math.hypot(spread, _log_ratio(upper, median)) - spread
    factor = min(MOST_DRIFT, max(LEAST_DRIFT, math.exp(share * drift)))
    return LengthStats(mix.mean_tokens * factor, mix.scv)


def _nothing(state: ForecastState, quantile: float, why: str) -> Forecast:
    """Return that nothing but the last value is known."""
    level = None if math.isnan(state.level) else state.level
    return Forecast(
        at_s=state.history.end_s,
        horizon_s=state.settings.horizon_s,
        quantile=quantile,
        method=Method.LAST_VALUE,
        level_rps=level,
        rate_rps=level,
        expected_rps=level,
        isl=None,
        osl=None,
        dispersion=None,
        fallback=why,
        reason=f"{why}: sized for what is seen now",
    )


def _reason(
    state: ForecastState, track: Track, figures: tuple[float, float, float, float | None], fallback: str
) -> str:
    quantile, rate, wider, dispersion = figures
    settings = state.settings
    text = (
        f"{format_number(rate + wider)} requests/s hold {quantile * 100:g} % of the peaks of the next "
        f"{settings.horizon_s:g} s by {track.model.method} ({track.model.text}), now {format_number(state.level)}"
    )
    parts = [text]
    if track.blend.text:
        parts.append(f"counts {track.blend.text}")
    if wider > 0 and dispersion is not None:
        parts.append(
            f"{format_number(wider)} of it for arrivals with an index of dispersion of {format_number(dispersion)}"
        )
    foreseen = max(state.level, track.point)
    if track.ratios.observations < 2 * PRIOR_HORIZONS:
        parts.append("from little history, so mostly a prior")
    elif rate >= BURST * foreseen:
        times = f"{format_number(rate / foreseen, 2)} times the load" if foreseen > 0 else "from nothing"
        parts.append(f"bursts ({times}) come faster than replicas start, so what they need is held between them")
    if fallback:
        parts.append(f"falls back to {track.model.method} as {fallback}")
    return "; ".join(parts)
