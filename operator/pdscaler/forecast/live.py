"""Start, and go on sample by sample. Pure; may import numpy and core only.

Everything is a function of the history: at fixed points of time (:meth:`ForecastSettings.fitted_at`) all that was
learned is thrown away and learned anew from the window before; in between, samples are added one by one. So a process
that restarts, and reads the history back, forecasts what it would have forecast otherwise, to the last bit.
"""

import math
from dataclasses import replace

import numpy as np

from pdscaler.core.workload import WorkloadStats
from pdscaler.forecast.choice import chosen, decay
from pdscaler.forecast.history import History, Row
from pdscaler.forecast.learn import learned, mean_window_steps, memory_steps, noise_steps
from pdscaler.forecast.levels import KNOWN_SHARE, next_mean
from pdscaler.forecast.method import Method, Sample
from pdscaler.forecast.mix import newest_means
from pdscaler.forecast.online import Track, loss_of
from pdscaler.forecast.quantiles import Ratios
from pdscaler.forecast.settings import COARSE_KEEP_S, COARSE_STEP_S, ForecastSettings
from pdscaler.forecast.state import ForecastState, Pending, Running


def start(settings: ForecastSettings, recent: History, weeks: History | None = None) -> ForecastState:
    """Return the forecast's state from the history alone: at the first evaluation and after every restart.

    Parameters
    ----------
    settings
        What is asked.
    recent
        The last hours at the step of the evaluations, best aligned to it: :attr:`ForecastSettings.keep_s` of it where
        Prometheus has so much. It may be empty.
    weeks
        Up to 15 days at steps of 5 minutes (:data:`COARSE_STEP_S`), for the seasons; without it they are looked for in
        ``recent``, and from then on in what is observed.
    """
    return _advanced(settings, recent.last(settings.keep_s), weeks, None, 0)


def observe(state: ForecastState, newer: History) -> ForecastState:
    """Return the state with the newer samples of a history added; those that are known already are left out."""
    history = state.history.extended(newer, state.settings.keep_s)
    added = round((history.end_s - state.history.end_s) / history.step_s)
    if added <= 0:
        return state
    return _advanced(state.settings, history, state.coarse, state, added)


def observe_reading(state: ForecastState, workload: WorkloadStats | None, at_s: float) -> ForecastState:
    """Return the state with one reading added; None is a gap."""
    history = state.history
    column = History.empty(history.step_s, at_s - history.step_s, history.window_s).observed(workload, at_s)
    return observe(state, column)


def with_settings(state: ForecastState, settings: ForecastSettings) -> ForecastState:
    """Return the state for other settings (a longer start-up, another method): learned anew from the same history."""
    return state if settings == state.settings else start(settings, state.history, state.coarse)


def _advanced(
    settings: ForecastSettings, history: History, weeks: History | None, state: ForecastState | None, added: int
) -> ForecastState:
    """Return the state at the end of the history: from the last state if that is of the same fit, else learned anew."""
    history = history.without_leading_gap()  # a young one is not laid out over hours
    added = min(added, len(history))
    fitted_s = settings.fitted_at(history.end_s, history.first_known_s)
    if state is None or fitted_s != state.fitted_s:
        state = learned(settings, history, _weeks(weeks, history, fitted_s), fitted_s)
        added = min(len(history), max(0, math.ceil((history.end_s - fitted_s) / history.step_s - 1e-6)))
    for index in range(len(history) - added, len(history)):
        state = _stepped(state, history, index)
    return replace(state, history=history)


def _weeks(weeks: History | None, history: History, fitted_s: float) -> History:
    """Return the weeks up to the fit, with what the finer history adds at their end."""
    step_s = max(COARSE_STEP_S, history.step_s)
    newest = history.until(fitted_s).coarsened(step_s).rates_only()
    if weeks is None or not len(weeks):
        return newest
    if not math.isclose(weeks.step_s, step_s, rel_tol=1e-9):
        weeks = weeks.coarsened(step_s)
    return weeks.until(fitted_s).rates_only().extended(newest, COARSE_KEEP_S).without_leading_gap()


def _stepped(state: ForecastState, history: History, index: int) -> ForecastState:
    """Return the state after one sample more: score the forecasts of one horizon ago, then forecast again."""
    settings, grid, values = state.settings, state.grid, history.values
    at_s = history.end_s - (len(history) - 1 - index) * history.step_s
    rate = float(values[Row.RATE, index])
    level = _level(values[Row.RATE, max(0, index + 1 - grid.level_steps) : index + 1].tolist())
    mix_steps = max(1, round(settings.mix_window_s / grid.step_s))
    mix = newest_means(values[:, max(0, index + 1 - mix_steps) : index + 1].astype(np.float64))

    memory = memory_steps(settings, grid)
    levels = (*state.levels, level)[-max(memory, grid.horizon_steps) :]
    last_level = state.level if math.isnan(level) else level
    running = Running(*next_mean(state.running.mean, state.running.count, level, mean_window_steps(settings, grid)))
    before = float(values[Row.RATE, index - 1]) if index else math.nan
    noise = Running(*next_mean(state.noise.mean, state.noise.count, (rate - before) ** 2, noise_steps(grid)))

    tracks, drifts, pending = state.tracks, state.drifts, state.pending
    if len(pending) >= grid.horizon_steps:
        oldest, pending = pending[0], pending[1:]
        mixes = (*(each.mix_tokens for each in pending), mix)
        tracks, drifts = _scored(state, oldest, levels[-grid.horizon_steps :], mixes)

    sample = Sample(at_s, rate, last_level)
    recent_peak = max((each for each in levels[-memory:] if not math.isnan(each)), default=math.nan)
    highest = max((each for each in (state.highest_rps, level) if not math.isnan(each)), default=math.nan)
    seen = (recent_peak, running.mean, highest)
    tracks = tuple(_forecast(track, sample, seen, grid.quantile) for track in tracks)
    present = state.present
    if settings.method is Method.AUTO:
        present = chosen([track.loss for track in tracks], present)
    now = Pending(tuple(track.base for track in tracks), tuple(track.forecast for track in tracks), mix)
    return replace(
        state,
        tracks=tracks,
        present=present,
        levels=levels,
        level=last_level,
        highest_rps=highest,
        running=running,
        noise=noise,
        pending=(*pending, now),
        drifts=drifts,
        largest_rps=state.largest_rps if math.isnan(level) else max(state.largest_rps, level),
    )


def _level(rates: list[float]) -> float:
    known = [rate for rate in rates if not math.isnan(rate)]
    return sum(known) / len(known) if known else math.nan


def _scored(
    state: ForecastState, oldest: Pending, levels: tuple[float, ...], mixes: tuple[tuple[float, float], ...]
) -> tuple[tuple[Track, ...], tuple[Ratios, Ratios]]:
    """Score the forecasts of one horizon ago with the peak that followed, and learn its ratios."""
    tracks, drifts, grid = state.tracks, state.drifts, state.grid
    known = [level for level in levels if not math.isnan(level)]
    kept = decay(grid.step_s)
    if len(known) < KNOWN_SHARE * grid.horizon_steps:
        return tuple(replace(track, loss=track.loss * kept) for track in tracks), drifts
    peak = max(known)
    fallback = oldest.forecasts[0]
    scored = tuple(
        track.scored(peak, base, loss_of(peak, forecast, fallback, grid.quantile), kept)
        for track, base, forecast in zip(tracks, oldest.bases, oldest.forecasts, strict=True)
    )
    learned_drifts = []
    for place, ratios in enumerate(drifts):
        tokens = [level * mix[place] for level, mix in zip(levels, mixes, strict=True)]
        seen = [each for each in tokens if not math.isnan(each)]
        enough = len(seen) >= KNOWN_SHARE * grid.horizon_steps
        learned_drifts.append(ratios.added(max(seen), peak * oldest.mix_tokens[place]) if enough else ratios)
    return scored, (learned_drifts[0], learned_drifts[1])


def _forecast(track: Track, sample: Sample, seen: tuple[float, float, float], quantile: float) -> Track:
    """Return the track with its forecast of now; ``seen``: the recent peak, the running mean, the highest level."""
    recent_peak, running_mean, highest = seen
    carry, point = track.model.step(track.carry, sample)
    base = track.blend.base(point, recent_peak, running_mean)
    track = replace(track, carry=carry, point=point, base=base)
    return replace(track, forecast=track.rate_rps(quantile, highest))
