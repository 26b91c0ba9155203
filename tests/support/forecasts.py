"""Series, windows and replays for tests of the forecast."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pdscaler.forecast import ForecastSettings, ForecastState, History, observe, start
from pdscaler.forecast.levels import held, levels, peaks_after
from pdscaler.forecast.method import Grid, Window

GAP = math.nan
STEP_S = 15.0


def window_of(
    rate_rps: ArrayLike, *, coarse: History | None = None, horizon_steps: int = 9, level_steps: int = 1
) -> Window:
    """A window of 15 s samples at the quantile 0.95."""
    rate = np.asarray(rate_rps, dtype=np.float64)
    level = levels(rate, level_steps)
    grid = Grid(STEP_S, horizon_steps, level_steps, 1, 0.95)
    end_s = coarse.end_s if coarse is not None else STEP_S * rate.size
    return Window(
        grid,
        end_s,
        rate,
        held(level) if rate.size else level,
        peaks_after(level, horizon_steps),
        coarse if coarse is not None else History.empty(300.0, 0.0),
    )


def poisson(rate_rps: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Rates of Poisson arrivals in steps of 15 s."""
    return np.random.default_rng(seed).poisson(rate_rps * STEP_S) / STEP_S


def history_of(rate_rps: ArrayLike, *, end_s: float | None = None, osl: ArrayLike | None = None) -> History:
    """Rates in steps of 15 s with lengths of a chat service."""
    rate = np.asarray(rate_rps, dtype=np.float64)
    return History.of(
        STEP_S,
        STEP_S * rate.size if end_s is None else end_s,
        rate,
        isl_mean=np.full(rate.size, 1000.0),
        isl_scv=np.full(rate.size, 1.0),
        osl_mean=np.full(rate.size, 200.0) if osl is None else osl,
        osl_scv=np.full(rate.size, 0.5),
    )


def replayed(settings: ForecastSettings, history: History) -> Iterator[ForecastState]:
    """Every state of a process that started before the first sample."""
    begin_s = history.end_s - len(history) * history.step_s
    state = start(settings, History.empty(history.step_s, begin_s, history.window_s))
    for index in range(len(history)):
        at_s = begin_s + (index + 1) * history.step_s
        state = observe(state, History(history.step_s, at_s, history.values[:, index : index + 1], history.window_s))
        yield state
