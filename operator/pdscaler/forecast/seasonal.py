"""What repeats: periods found in the data, and their robust profiles. May import numpy only.

Days and weeks are looked for in the weeks before, in bins of five minutes; what repeats within minutes, such as jobs
that are started by the clock, in the last hours, sample by sample.

A period is found by autocorrelation: the first peak after the first zero crossing, or rather the highest of its kind,
that chance does not explain (Bartlett's limit). The profile at a point of time is the median of the same phase of the
periods before it, each divided by its period's mean; it scales the level of now:
expected peak = level now × (highest profile within the horizon / profile now). So a forecast of the past never uses
what came after it, and a back-test of it is honest.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdscaler.forecast.method import Carry, Method, Sample, Window

Array = NDArray[np.float64]

DAY_S, WEEK_S = 86_400.0, 604_800.0
MOST_PERIODS = 5
"""The profile is the median over so many periods at most: habits change."""

LEAST_CORRELATION = 0.3
"""A period that explains less than this of the variation is not worth following."""

CLEAR_CORRELATION = 0.5
"""What a day or a week needs."""

LEAST_GROWTH, MOST_GROWTH = 0.5, 5.0
"""The ratio of two profile values is kept within this."""

LEAST_SHORT_BINS = 12
"""A period of fewer samples has no shape to follow."""

_SNAP = 0.04
_SIGNIFICANT = 3.0
_LEAST_BINS = 24
_LONGER_BY = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Seasonal:
    """Growth that the profile promises, laid out for the time until the next fit.

    Parameters
    ----------
    period_s
        The period found.
    correlation
        Autocorrelation at the period.
    bin_s, first_s
        Length of the profile's bins and the end of its first one.
    profile
        Profile per bin, around 1; NaN where unknown.
    horizon_s
        How far is looked ahead.
    """

    period_s: float
    correlation: float
    bin_s: float
    first_s: float
    profile: Array
    horizon_s: float
    method: Method = field(default=Method.SEASONAL, init=False)

    @property
    def text(self) -> str:
        """The period and how clear it is."""
        period = f"{self.period_s / 3600:.3g} h" if self.period_s >= 5400 else f"{self.period_s / 60:.3g} min"
        return f"period {period}, autocorrelation {self.correlation:.2f}"

    def replay(self, window: Window) -> tuple[Array, Carry]:
        """Scale every level of the window by the growth promised then."""
        step_s = window.grid.step_s
        times = window.end_s - step_s * np.arange(len(window) - 1, -1, -1)
        growth = np.array([self.growth(at_s) for at_s in times.tolist()])
        return window.level_rps * growth, ()

    def step(self, carry: Carry, sample: Sample) -> tuple[Carry, float]:
        """Scale the level by the growth promised now."""
        return carry, sample.level_rps * self.growth(sample.at_s)

    def growth(self, at_s: float) -> float:
        """Return the highest profile within the horizon over the profile now, within bounds; NaN where unknown."""
        now = math.ceil((at_s - self.first_s) / self.bin_s - 1e-9)
        end = math.ceil((at_s + self.horizon_s - self.first_s) / self.bin_s - 1e-9)
        if now < 0 or end >= self.profile.size:
            return math.nan
        here = float(self.profile[now])
        highest = float(self.profile[now : end + 1].max())
        if not here > 0 or math.isnan(highest):
            return math.nan
        return min(MOST_GROWTH, max(LEAST_GROWTH, highest / here))


def fit_seasonal(window: Window, ahead_s: float) -> tuple[Seasonal, ...]:
    """Find what repeats, and lay out the profiles over the window and ``ahead_s`` seconds more.

    Parameters
    ----------
    window
        Its ``coarse`` history holds days and weeks, its rates what is shorter.
    ahead_s
        Time until the next fit.

    Returns
    -------
    tuple[Seasonal, ...]
        The long season and the short one, as far as they are found.
    """
    coarse, grid = window.coarse, window.grid
    # A period of the weeks is longer than the time ahead, so that its profile is known today.
    parting_s = ahead_s + grid.horizon_s + 2 * coarse.step_s
    long = find_period(coarse.rate_rps, coarse.step_s, parting_s)
    # Within a period that is no longer than the horizon the highest is always ahead, whatever its shape.
    shortest_s = max(LEAST_SHORT_BINS * grid.step_s, grid.horizon_s + grid.step_s)
    short = find_period(window.rate_rps, grid.step_s, shortest_s, parting_s)
    found = []
    if long is not None:
        found.append(_seasonal(window, ahead_s, long, (coarse.rate_rps, coarse.step_s, coarse.end_s)))
    if short is not None:
        found.append(_seasonal(window, ahead_s, short, (window.rate_rps, grid.step_s, window.end_s)))
    return tuple(each for each in found if each is not None)


def _seasonal(
    window: Window, ahead_s: float, period: tuple[float, float], seen: tuple[Array, float, float]
) -> Seasonal | None:
    """Lay out the profile of a period (seconds, and its autocorrelation) found in rates, their step and end."""
    (period_s, correlation), (rate_rps, step_s, end_s) = period, seen
    ahead = math.ceil((ahead_s + window.grid.horizon_s) / step_s) + 1
    behind = math.ceil(len(window) * window.grid.step_s / step_s) + 1
    profile = seasonal_profile(rate_rps, period_s / step_s, behind, ahead)
    first_s = end_s + (ahead - profile.size + 1) * step_s
    if np.isnan(profile).all():
        return None
    return Seasonal(period_s, correlation, step_s, first_s, profile, window.grid.horizon_s)


def find_period(
    rate_rps: Array, step_s: float, shortest_s: float, longest_s: float = math.inf
) -> tuple[float, float] | None:
    """Return the period of a series, seconds, and the autocorrelation there; None where chance explains it.

    Parameters
    ----------
    rate_rps
        Evenly spaced values; NaN in gaps, which are bridged for the search only.
    step_s
        Their distance.
    shortest_s, longest_s
        Others are not looked for. Of a day or a week, two must have been seen; of other periods three.

    Notes
    -----
    The straight trend is taken out first. A lag counts if its autocorrelation is a local maximum after the first zero
    crossing, at least :data:`LEAST_CORRELATION` and three standard errors by Bartlett's formula, of correlations
    before the first zero crossing. A day or a week is expected of what people do, and needs :data:`CLEAR_CORRELATION`
    instead, as two cycles of a smooth one are never significant. The first lag that is within 0.05 of the highest one
    is the period (its multiples correlate as well); a day or a week within 4 % is taken as exactly that. Any other is
    refined by the lags of its multiples, so that the phase is still right many periods ahead.
    """
    known = ~np.isnan(rate_rps)
    first, last = (int(known.argmax()), rate_rps.size - int(known[::-1].argmax())) if known.any() else (0, 0)
    size = last - first
    if size < _LEAST_BINS or known[first:last].mean() < 0.5:
        return None
    index = np.arange(size, dtype=np.float64)
    values = np.interp(index, index[known[first:last]], rate_rps[first:last][known[first:last]])
    values = values - np.polyval(np.polyfit(index, values, 1), index)
    power = float(values @ values)
    if not power > 1e-12 * max(1e-300, float(np.nansum(rate_rps * rate_rps))):
        return None
    spectrum = np.fft.rfft(values, 2 * size)
    overlap = np.maximum(1.0, size - index)
    # Over the overlap, so that long lags are not biased towards 0.
    correlation = np.fft.irfft(spectrum * np.conj(spectrum))[:size] / power * size / overlap
    crossing = int(np.argmax(correlation <= 0)) if (correlation <= 0).any() else size
    error = math.sqrt((1.0 + 2.0 * float((correlation[1:crossing] ** 2).sum())) / size)
    least = max(LEAST_CORRELATION, _SIGNIFICANT * error)
    lags = np.arange(max(crossing, math.ceil(shortest_s / step_s), 1), size // 2 + 1)
    lags = lags[(lags + 1 < size) & (lags * step_s <= longest_s) & ((lags <= size // 3) | _near_known(lags * step_s))]
    if not lags.size:
        return None
    at, before, after = correlation[lags], correlation[lags - 1], correlation[lags + 1]
    enough = (at >= least) | (_near_known(lags * step_s) & (at >= CLEAR_CORRELATION))
    peaks = lags[(at >= before) & (at >= after) & enough]
    if not peaks.size:
        return None
    highest = float(correlation[peaks].max())
    lag = int(peaks[correlation[peaks] >= highest - _LONGER_BY][0])
    for known_s in (DAY_S, WEEK_S):
        exact = round(known_s / step_s)
        if abs(lag - exact) <= _SNAP * exact and exact <= size // 2:
            return known_s, float(correlation[exact])
    return _refined(lag, correlation) * step_s, float(correlation[lag])


def _refined(lag: int, correlation: Array) -> float:
    """Return the period in bins, in parts of a bin: the highest correlation near each multiple, as far as they last."""
    period = float(lag)
    for number in range(2, correlation.size // (2 * lag) + 1):
        near = round(number * period)
        around = correlation[near - 1 : near + 2]
        highest = int(around.argmax())
        if around[highest] < 0.5 * correlation[lag]:
            break
        period = (near - 1 + highest) / number
    return period


def _near_known(periods_s: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which periods may be a day or a week."""
    near: NDArray[np.bool_] = np.logical_or(*(np.abs(periods_s - known) <= _SNAP * known for known in (DAY_S, WEEK_S)))
    return near


def seasonal_profile(rate_rps: Array, period: float, behind: int, ahead: int) -> Array:
    """Return the profile of the last ``behind`` bins and of ``ahead`` bins to come; around 1, NaN where unknown.

    At every bin: the median, over the last known periods before it, of its phase's value divided by that period's mean.
    """
    size = rate_rps.size
    behind = min(behind, size)
    bins = np.arange(size - behind, size + ahead)
    cumulated = np.concatenate([[0.0], np.cumsum(np.nan_to_num(rate_rps))])
    counted = np.concatenate([[0], np.cumsum(~np.isnan(rate_rps))])
    rows = np.full((MOST_PERIODS, bins.size), np.nan)
    width = round(period)
    # Of bins more than a period ahead, the periods before the last known one.
    unknown = np.maximum(0, np.ceil((bins - size + 1) / period - 1.0)).astype(np.int64)
    for number in range(1, MOST_PERIODS + 1):
        source = np.rint(bins - (unknown + number) * period).astype(np.int64)
        inside = (source >= 0) & (source < size)
        if not inside.any():
            break
        # The mean of the period around the source, as far as it lies before the bin whose profile this is.
        start = np.clip(source - width // 2, 0, size)
        end = np.clip(np.minimum(source + width - width // 2, bins), 0, size)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = (cumulated[end] - cumulated[start]) / (counted[end] - counted[start])
            value = rate_rps[np.clip(source, 0, size - 1)] / mean
        rows[number - 1] = np.where(inside & np.isfinite(value), value, np.nan)
    seen = ~np.isnan(rows)
    profile = np.full(bins.size, np.nan)
    some = seen.any(axis=0)
    if some.any():
        profile[some] = np.nanmedian(rows[:, some], axis=0)
    return profile
