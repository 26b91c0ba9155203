"""One method, learned on line: what it expects, how far peaks lie above, what that would have cost. numpy only.

The expectation of a method is blended with two things that bursty load needs, in shares that a fit chooses:
base = (1 − w)·max(expected peak, recent peak where remembered) + w·running mean. Load that comes back to its mean gets
w > 0: while it is quiet its next burst is not a multiple of nothing. Load that bursts to one height again and again
gets the memory of its recent peak. Steady load gets neither.

No quantile is further above the expected peak, or above the highest level of the last hours, than load of which nothing
is known would go (:func:`ceiling`): a ratio of ten that was learned in quiet minutes says nothing of busy ones.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pdscaler.forecast.method import Carry, Grid, Model
from pdscaler.forecast.quantiles import Ratios, pinball, pinball_losses, prior_ratio

Array = NDArray[np.float64]

MEAN_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
MUST_GAIN = 0.02
"""A blend is taken only where it makes the loss smaller by this share than the plain expectation."""

LEAST_OBSERVATIONS = 2.0
"""Independent peaks before a blend is fitted."""

BLOCKS = 24
"""A back-test learns the ratios anew so many times over the window; each block is judged by the ratios before it."""


@dataclass(frozen=True, slots=True)
class Blend:
    """Shares of a base.

    Parameters
    ----------
    mean_share
        w, of the running mean.
    remembers
        Whether the recent peak counts as expected.
    """

    mean_share: float = 0.0
    remembers: bool = False

    def base(self, point: float, recent_peak: float, running_mean: float) -> float:
        """Return the blended expectation; NaN where the point is."""
        if self.remembers and recent_peak > point:
            point = recent_peak
        return point + self.mean_share * (running_mean - point) if self.mean_share else point

    def bases(self, points: Array, recent_peaks: Array, running_means: Array) -> Array:
        """Return :meth:`base` of arrays."""
        if self.remembers:
            points = np.where(np.isnan(points), points, np.fmax(points, recent_peaks))
        return points + self.mean_share * (running_means - points) if self.mean_share else points

    @property
    def text(self) -> str:
        """The shares in a few words; empty where the blend is the plain expectation."""
        parts = (["the recent peak"] if self.remembers else []) + (
            [f"{self.mean_share:.0%} of the running mean"] if self.mean_share else []
        )
        return " and ".join(parts)


UNFITTED = Blend(remembers=True)
"""Before anything is known of a load it may come in bursts."""


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What was seen of the levels at every sample of a window, requests/s.

    Parameters
    ----------
    recent_peaks
        Highest of the last minutes.
    running_means
        Mean of the last hours.
    highest
        Highest so far.
    """

    recent_peaks: Array
    running_means: Array
    highest: Array


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One method at one sample.

    Parameters
    ----------
    model
        The fitted method.
    carry
        What it goes on with.
    blend
        How its expectation is blended.
    ratios
        Peaks over bases, so far.
    loss
        Discounted pinball loss of what it forecast.
    point
        The peak expected now; NaN where the method has no answer.
    base
        Blended; NaN likewise.
    forecast
        The quantile of the peak now, requests/s; NaN likewise.
    """

    model: Model
    carry: Carry
    blend: Blend
    ratios: Ratios
    loss: float
    point: float
    base: float
    forecast: float

    def scored(self, peak: float, base: float, loss: float, decay: float) -> "Track":
        """Return the track after the peak that followed a base of one horizon ago is known."""
        return replace(self, ratios=self.ratios.added(peak, base), loss=self.loss * decay + loss)

    def rate_rps(self, quantile: float, highest_rps: float) -> float:
        """Return the quantile of the peak, requests/s; NaN where the method has no answer."""
        if math.isnan(self.base):
            return math.nan
        limit = ceiling(self.point, highest_rps, quantile, self.ratios)
        return min(self.base * self.ratios.quantile(quantile), limit)

    def containing_rps(self, overflow: float, quantile: float, highest_rps: float) -> float:
        """Return the rate above which no more than a share of the peaks' load lies; NaN without an answer.

        ``quantile`` is that of load of which nothing is known, and of the ceiling.
        """
        if math.isnan(self.base):
            return math.nan
        limit = ceiling(self.point, highest_rps, quantile, self.ratios)
        return min(self.base * self.ratios.containing(overflow, quantile), limit)


def ceiling(point_rps: float, highest_rps: float, quantile: float, ratios: Ratios) -> float:
    """Return what no quantile exceeds, requests/s.

    The expected peak times the prior's ratio, as if nothing were known; or the highest level seen times the power
    1/(1 + n·(1 − q)) of that ratio: of n independent peaks that are alike, the next is above them all with probability
    1/(n + 1), so that the longer the history, the nearer the highest of it is to the quantile.
    """
    prior = prior_ratio(quantile, ratios.horizon_s)
    power = 1.0 / (1.0 + ratios.observations * (1.0 - quantile))
    return max(point_rps * prior, highest_rps * math.pow(prior, power))


def fresh_track(model: Model, grid: Grid) -> Track:
    """Return a method that has seen nothing."""
    nothing = np.empty(0, dtype=np.float32)
    ratios = Ratios(nothing, nothing, grid.horizon_steps, grid.horizon_s)
    return Track(model, (), UNFITTED, ratios, 0.0, math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsal:
    """A method over the whole window: its track at the end, and what it would have forecast at every sample."""

    track: Track
    bases: Array
    forecasts: Array


def rehearse(model: Model, replayed: tuple[Array, Carry], peaks: Array, context: Context, grid: Grid) -> Rehearsal:
    """Learn blend and ratios of a method over a window, and forecast every sample of it from what was known then.

    Parameters
    ----------
    model, replayed
        The method; its expectations over the window, and what it goes on with.
    peaks
        What followed every sample; NaN where unknown.
    context
        What was seen of the levels at every sample.
    grid
        Horizon and quantile.

    Notes
    -----
    The shares of the blend (two numbers) and the parameters of the method (up to three) are those of the whole window;
    the ratios, which decide how far up a quantile lies, are learned forwards, block by block.
    """
    points, carry = replayed
    blend = _fitted_blend(points, peaks, context, grid)
    bases = blend.bases(points, context.recent_peaks, context.running_means)
    size, horizon = bases.size, grid.horizon_steps
    forecasts = np.full(size, np.nan)
    edges = np.linspace(0, size, min(BLOCKS, max(1, size)) + 1).astype(int).tolist()
    for start, end in pairwise(edges):
        known = max(0, start - horizon + 1)
        ratios = Ratios.of(peaks[:known], bases[:known], horizon, grid.horizon_s)
        forecasts[start:end] = bases[start:end] * ratios.quantile(grid.quantile)
    prior = prior_ratio(grid.quantile, grid.horizon_s)
    observations = np.maximum(0.0, np.arange(size) + 1.0 - horizon) / horizon
    limits = np.maximum(points * prior, context.highest * prior ** (1.0 / (1.0 + observations * (1.0 - grid.quantile))))
    forecasts = np.minimum(forecasts, limits)
    ratios = Ratios.of(peaks, bases, horizon, grid.horizon_s)
    track = Track(model, carry, blend, ratios, 0.0, float(points[-1]), float(bases[-1]), math.nan)
    track = replace(track, forecast=track.rate_rps(grid.quantile, float(context.highest[-1])))
    return Rehearsal(track, bases, forecasts)


def _fitted_blend(points: Array, peaks: Array, context: Context, grid: Grid) -> Blend:
    pairs = int((~np.isnan(peaks) & ~np.isnan(points)).sum())
    if pairs < LEAST_OBSERVATIONS * grid.horizon_steps:
        return UNFITTED
    best, least = Blend(), math.inf
    for remembers in (False, True):
        for share in MEAN_SHARES:
            if remembers and share == 1.0:
                continue
            blend = Blend(share, remembers)
            bases = blend.bases(points, context.recent_peaks, context.running_means)
            ratio = Ratios.of(peaks, bases, grid.horizon_steps, grid.horizon_s).seen(grid.quantile)[0]
            losses = pinball_losses(peaks, bases * ratio, grid.quantile)
            usable = ~np.isnan(losses)
            if not usable.any():
                continue
            loss = float(losses[usable].mean())
            if loss < least * (1.0 - MUST_GAIN) or (least == math.inf and math.isfinite(loss)):
                best, least = blend, loss
    return best


def loss_of(peak: float, forecast: float, fallback: float, quantile: float) -> float:
    """Return what a forecast cost; where a method had none, what the fallback cost in its place; 0 where unknown."""
    used = fallback if math.isnan(forecast) else forecast
    if math.isnan(peak) or math.isnan(used):
        return 0.0
    return pinball(peak, used, quantile)
