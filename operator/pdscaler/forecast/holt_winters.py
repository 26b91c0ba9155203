"""Exponential smoothing with a damped trend (Holt 1957; Gardner and McKenzie 1985). May import numpy only.

level ← level + φ·trend + α·error, trend ← φ·trend + α·β·error; i samples ahead: level + (φ + … + φ^i)·trend. The season
that gives Holt's and Winters' method its second name is a method of its own here, since it spans days, not samples.
"""

import math
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pdscaler.forecast.method import Carry, Method, Sample, Window
from pdscaler.forecast.quantiles import Ratios, pinball_losses

Array = NDArray[np.float64]

LEVEL_TIMES_S = (10.0, 30.0, 90.0, 300.0, 900.0)
"""How long the level remembers, α = 1 − exp(−step/time): what is tried in a fit."""

TREND_TIMES_S = (math.inf, 300.0, 1200.0)
"""How long the trend remembers; infinite: no trend."""

DAMPING_TIMES_S = (150.0, 900.0)
"""How long a trend lasts, φ = exp(−step/time)."""

_LEAST_PAIRS = 20


@dataclass(frozen=True, slots=True)
class Smoothing:
    """One choice of the three times, seconds."""

    level_s: float
    trend_s: float
    damping_s: float


TRIED = tuple(
    Smoothing(level, trend, damping)
    for level, trend, damping in product(LEVEL_TIMES_S, TREND_TIMES_S, DAMPING_TIMES_S)
    if trend < math.inf or damping == DAMPING_TIMES_S[0]
)
DEFAULT = Smoothing(30.0, 300.0, 150.0)
"""Before there is enough to fit."""


@dataclass(frozen=True, slots=True)
class HoltWinters:
    """Damped-trend smoothing with fitted parameters.

    Parameters
    ----------
    smoothing
        The times.
    step_s, horizon_steps
        Of the grid.

    Notes
    -----
    One sample costs the same however long the history. A damped trend is monotone, so that the highest level within
    the horizon is at its first sample or at its last.
    """

    smoothing: Smoothing
    step_s: float
    horizon_steps: int
    method: Method = field(default=Method.HOLT_WINTERS, init=False)

    @property
    def text(self) -> str:
        """The fitted times."""
        trend = (
            "no trend" if self.smoothing.trend_s == math.inf else f"damped trend over {self.smoothing.damping_s:g} s"
        )
        return f"level over {self.smoothing.level_s:g} s, {trend}"

    def replay(self, window: Window) -> tuple[Array, Carry]:
        """Smooth the window from its first level on."""
        points, level, trend = _smoothed(window, (self.smoothing,))
        return points[:, 0], (float(level[0]), float(trend[0]))

    def step(self, carry: Carry, sample: Sample) -> tuple[Carry, float]:
        """Smooth on by one level."""
        level, trend = carry if carry else (math.nan, 0.0)
        gain, gain_of_trend, damping, far = _gains(self.smoothing, self.step_s, self.horizon_steps)
        if math.isnan(level):
            level = sample.level_rps
        elif math.isnan(sample.rate_rps):
            level, trend = level + damping * trend, damping * trend
        else:
            error = sample.level_rps - level - damping * trend
            level, trend = level + damping * trend + gain * error, damping * trend + gain_of_trend * error
        if math.isnan(level):
            return (), math.nan
        return (level, trend), max(0.0, level + damping * trend, level + far * trend)


def fit_holt_winters(window: Window) -> HoltWinters:
    """Fit by trying :data:`TRIED`: the least pinball loss of the peaks at the horizon, each with its own best ratio.

    The horizon's loss, not that of one sample ahead, which would follow noise that is gone when replicas are ready.
    """
    grid = window.grid
    chosen = DEFAULT
    if int((~np.isnan(window.peak_rps)).sum()) >= _LEAST_PAIRS:
        points, _, _ = _smoothed(window, TRIED)
        losses = [_best_loss(window, points[:, column]) for column in range(len(TRIED))]
        chosen = TRIED[losses.index(min(losses))]
    return HoltWinters(chosen, grid.step_s, grid.horizon_steps)


def _best_loss(window: Window, points: Array) -> float:
    """Return the mean pinball loss of the points with the ratio that makes it least."""
    grid = window.grid
    ratio = Ratios.of(window.peak_rps, points, grid.horizon_steps, grid.horizon_s).seen(grid.quantile)[0]
    losses = pinball_losses(window.peak_rps, points * (1.0 if math.isnan(ratio) else ratio), grid.quantile)
    return float(losses[~np.isnan(losses)].mean())


def _gains(smoothing: Smoothing, step_s: float, horizon_steps: int) -> tuple[float, float, float, float]:
    """Return α, α·β, φ and φ + … + φ^horizon."""
    gain = -math.expm1(-step_s / smoothing.level_s)
    damping = math.exp(-step_s / smoothing.damping_s)
    far = damping * (1.0 - damping**horizon_steps) / (1.0 - damping)
    return gain, gain * -math.expm1(-step_s / smoothing.trend_s), damping, far


def _smoothed(window: Window, tried: tuple[Smoothing, ...]) -> tuple[Array, Array, Array]:
    """Return the expected peaks, samples × choices, and the last level and trend of every choice."""
    gain, gain_of_trend, damping, far = (
        np.array(values)
        for values in zip(
            *(_gains(choice, window.grid.step_s, window.grid.horizon_steps) for choice in tried), strict=True
        )
    )
    level, trend = np.full(len(tried), np.nan), np.zeros(len(tried))
    history = np.empty((len(window), 2, len(tried)))
    gaps = np.isnan(window.rate_rps).tolist()
    started = False
    for index, seen in enumerate(window.level_rps.tolist()):
        if not started:
            started = not math.isnan(seen)
            level = np.full(len(tried), seen)
        else:
            trend = damping * trend
            level = level + trend
            if not gaps[index]:
                error = seen - level
                level = level + gain * error
                trend = trend + gain_of_trend * error
        history[index, 0] = level
        history[index, 1] = trend
    levels, trends = history[:, 0], history[:, 1]
    points = np.maximum(0.0, np.maximum(levels + damping * trends, levels + far * trends))
    return points, level, trend
