"""Learning anew from the window before a point of time: fits, back-test, choice. May import numpy only."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pdscaler.forecast.arima import LEAST_KNOWN, LEAST_SAMPLES, fit_arima
from pdscaler.forecast.choice import rehearsed_choice
from pdscaler.forecast.dispersion import NOISE_WINDOW_S
from pdscaler.forecast.history import History
from pdscaler.forecast.holt_winters import DEFAULT, HoltWinters, fit_holt_winters
from pdscaler.forecast.levels import held, levels, peaks_after, recent_peaks, running_means
from pdscaler.forecast.method import Grid, LastValue, Method, Model, Window
from pdscaler.forecast.mix import rolling_means
from pdscaler.forecast.online import Context, fresh_track, rehearse
from pdscaler.forecast.quantiles import Ratios
from pdscaler.forecast.seasonal import fit_seasonal
from pdscaler.forecast.settings import FIT_EVERY_S, ForecastSettings
from pdscaler.forecast.state import ForecastState, Pending, Running

Array = NDArray[np.float64]

_NO_ARIMA = f"fewer than {LEAST_SAMPLES} samples or {LEAST_KNOWN:.0%} of the window are known, or nothing varies"
_NO_SEASON = "no period found in the history"


def learned(settings: ForecastSettings, history: History, coarse: History, fitted_s: float) -> ForecastState:
    """Return the state at ``fitted_s``, from what was known then and from nothing else.

    Parameters
    ----------
    settings
        What is asked.
    history
        At the evaluation's step, at least :attr:`ForecastSettings.keep_s` of it where there is so much.
    coarse
        Weeks in longer steps, up to ``fitted_s``.
    fitted_s
        The point of time.
    """
    grid = settings.grid(history.step_s, history.window_s)
    seen = history.until(fitted_s).last(settings.window_s + settings.warm_up_s).without_leading_gap()
    if not len(seen):
        return _blank(settings, grid, history, coarse, fitted_s)
    rate = seen.rate_rps
    level = levels(rate, grid.level_steps)
    bridged, peaks = held(level), peaks_after(level, grid.horizon_steps)
    window = Window(grid, seen.end_s, rate, bridged, peaks, coarse)
    memory, mean_steps = memory_steps(settings, grid), mean_window_steps(settings, grid)
    means = running_means(level, mean_steps)
    highest = np.fmax.accumulate(level)
    context = Context(recent_peaks(level, memory), means, highest)
    models, missing = _fitted(settings, window)
    rehearsals = [rehearse(model, model.replay(window), peaks, context, grid) for model in models]
    losses, present = rehearsed_choice(rehearsals, peaks, grid.quantile, grid.step_s)
    noise = running_means(np.diff(rate, prepend=np.nan) ** 2, noise_steps(grid))
    known_noise = int((~np.isnan(np.diff(rate))).sum())
    mixes = rolling_means(seen.exact, max(1, round(settings.mix_window_s / grid.step_s)))
    drifts = tuple(
        Ratios.of(peaks_after(level * mix, grid.horizon_steps), peaks * mix, grid.horizon_steps, grid.horizon_s)
        for mix in mixes
    )
    tail = range(max(0, len(seen) - grid.horizon_steps), len(seen))
    return ForecastState(
        settings=settings,
        grid=grid,
        history=history,
        coarse=coarse,
        fitted_s=fitted_s,
        tracks=tuple(replace(rehearsal.track, loss=loss) for rehearsal, loss in zip(rehearsals, losses, strict=True)),
        present=_asked(settings.method, models, present, losses),
        missing=missing,
        levels=tuple(level[-max(memory, grid.horizon_steps) :].tolist()),
        level=float(bridged[-1]),
        highest_rps=float(highest[-1]),
        running=Running(float(means[-1]), min(mean_steps, int((~np.isnan(level)).sum()))),
        noise=Running(float(noise[-1]), min(noise_steps(grid), known_noise)),
        pending=tuple(
            Pending(
                tuple(float(each.bases[index]) for each in rehearsals),
                tuple(float(each.forecasts[index]) for each in rehearsals),
                (float(mixes[0][index]), float(mixes[1][index])),
            )
            for index in tail
        ),
        drifts=(drifts[0], drifts[1]),
        largest_rps=max(_largest(level), _largest(coarse.rate_rps)),
    )


def memory_steps(settings: ForecastSettings, grid: Grid) -> int:
    """Return how many samples a recent peak is remembered for."""
    return max(1, round(settings.memory_s / grid.step_s))


def mean_window_steps(settings: ForecastSettings, grid: Grid) -> int:
    """Return how many samples the running mean spans."""
    return max(1, round(settings.mean_window_s / grid.step_s))


def noise_steps(grid: Grid) -> int:
    """Return how many samples the noise is averaged over."""
    return max(1, round(NOISE_WINDOW_S / grid.step_s))


def _fitted(settings: ForecastSettings, window: Window) -> tuple[list[Model], tuple[tuple[Method, str], ...]]:
    """Fit the methods that are asked for; LastValue, to fall back to, is always the first."""
    wanted = settings.method
    models: list[Model] = [LastValue()]
    missing: list[tuple[Method, str]] = []
    fits: list[tuple[Method, Callable[[], Sequence[Model]], str]] = []
    if wanted in {Method.AUTO, Method.HOLT_WINTERS}:
        models.append(fit_holt_winters(window))
    if wanted in {Method.AUTO, Method.SEASONAL}:
        fits.append((Method.SEASONAL, lambda: fit_seasonal(window, FIT_EVERY_S), _NO_SEASON))
    if wanted in {Method.AUTO, Method.ARIMA}:
        fits.append((Method.ARIMA, lambda: [model] if (model := fit_arima(window)) else [], _NO_ARIMA))
    for method, fit, without in fits:
        found: Sequence[Model] = ()
        why = without
        try:
            found = fit()
        except (ArithmeticError, ValueError) as error:  # LinAlgError is a ValueError
            why = f"the fit failed: {error}"
        models.extend(found)
        if not found:
            missing.append((method, why))
    return models, tuple(missing)


def _asked(wanted: Method, models: list[Model], best: int, losses: Sequence[float]) -> int:
    """Return the index to use: the best for Auto, else the better model of the method asked for, else LastValue."""
    if wanted is Method.AUTO:
        return best
    return min(
        (index for index, model in enumerate(models) if model.method is wanted), key=lambda at: losses[at], default=0
    )


def _blank(settings: ForecastSettings, grid: Grid, history: History, coarse: History, fitted_s: float) -> ForecastState:
    """Return the state before the first sample; the methods that need no fit learn from the first sample on."""
    models: list[Model] = [LastValue()]
    missing: list[tuple[Method, str]] = []
    if settings.method in {Method.AUTO, Method.HOLT_WINTERS}:
        models.append(HoltWinters(DEFAULT, grid.step_s, grid.horizon_steps))
    missing.extend((method, "not enough history yet") for method in (Method.SEASONAL, Method.ARIMA))
    nothing = Ratios(np.empty(0, np.float32), np.empty(0, np.float32), grid.horizon_steps, grid.horizon_s)
    return ForecastState(
        settings=settings,
        grid=grid,
        history=history,
        coarse=coarse,
        fitted_s=fitted_s,
        tracks=tuple(fresh_track(model, grid) for model in models),
        present=_asked(settings.method, models, 0, [0.0] * len(models)),
        missing=tuple(missing),
        levels=(),
        level=math.nan,
        highest_rps=math.nan,
        running=Running(math.nan, 0),
        noise=Running(math.nan, 0),
        pending=(),
        drifts=(nothing, nothing),
        largest_rps=_largest(coarse.rate_rps),
    )


def _largest(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.max()) if known.size else 0.0
