"""Estimates from correlated observations, with confidence intervals. May import only numpy and core.

Waits of consecutive requests are alike, so an interval comes from batches of them: the run is cut into batches long
enough to be nearly independent, and the spread of the batches' statistics around the whole run's gives the standard
error (batch means; for percentiles called sectioning: Asmussen and Glynn, Stochastic Simulation, 2007, section III.5).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.slo import Statistic

BATCHES = 20
"""Batches of a run."""

T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093,
)  # fmt: skip
"""Student's t, two-sided 95 %, for 1 to 19 degrees of freedom."""

STAYS = 10.0
"""Mean stays in the system that are left out as the run-in."""

STAYS_AT_END = 3.0
"""Mean stays left out before the last arrival: those requests see a system that empties."""

LEAST_SHARE = 0.05
"""At least this share of the requests is run-in."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and half the width of its 95 % confidence interval; the latter NaN where there is too little for one."""

    value: float
    half_width: float

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.value - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.value + self.half_width


def estimate(values: NDArray[np.float64], statistic: Statistic) -> Estimate:
    """Estimate a statistic of a stationary series.

    Parameters
    ----------
    values
        Observations in order of arrival; NaN (a request without that latency) is left out.
    statistic
        Mean or percentile.

    Returns
    -------
    Estimate
        NaN where nothing was observed; the half width NaN below two observations a batch.

    Examples
    --------
    >>> found = estimate(np.arange(1000.0) % 10, Statistic.MEAN)
    >>> found.value, found.half_width
    (4.5, 0.0)
    """
    return estimate_all(values[~np.isnan(values)], statistic)[0]


def estimate_all(values: NDArray[np.float64], *statistics: Statistic) -> tuple[Estimate, ...]:
    """Estimate statistics of a series without gaps; see :func:`estimate`."""
    if len(values) == 0:
        return tuple(Estimate(math.nan, math.nan) for _ in statistics)
    whole = _statistics(values[np.newaxis], statistics)[:, 0]
    if len(values) < 2 * BATCHES:
        return tuple(Estimate(float(value), math.nan) for value in whole)
    size = len(values) // BATCHES
    batches = _statistics(values[len(values) - size * BATCHES :].reshape(BATCHES, size), statistics)
    return tuple(
        Estimate(float(value), half_width(float(value), each)) for value, each in zip(whole, batches, strict=True)
    )


def half_width(whole: float, batches: NDArray[np.float64]) -> float:
    """Return half the 95 % interval of a figure from the same figure of each batch.

    Where neighbouring batches are still alike, the interval is widened by their first autocorrelation r, as of an
    autoregressive series: the variance by (1 + r) / (1 − r).
    """
    count = len(batches)
    off = batches - whole
    square = float(off @ off)
    if square == 0.0:
        return 0.0
    alike = min(max(float(off[1:] @ off[:-1]) / square, 0.0), 0.8)
    variance = square / (count * (count - 1)) * (1 + alike) / (1 - alike)
    return T_975[min(count - 1, len(T_975)) - 1] * math.sqrt(variance)


def _statistics(rows: NDArray[np.float64], statistics: tuple[Statistic, ...]) -> NDArray[np.float64]:
    """Return each statistic (first axis) of each row; all percentiles in one go, which is much faster."""
    found = np.empty((len(statistics), len(rows)))
    quantiles = [(place, each.quantile) for place, each in enumerate(statistics) if each.quantile is not None]
    if quantiles:
        found[[place for place, _ in quantiles]] = np.quantile(rows, [value for _, value in quantiles], axis=1)
    found[[place for place, each in enumerate(statistics) if each.quantile is None]] = rows.mean(axis=1)
    return found


def run_in(
    arrival_s: NDArray[np.float64],
    stay_s: NDArray[np.float64],
    stays: float = STAYS,
    least_share: float = LEAST_SHARE,
) -> int:
    """Return how many first requests to leave out, so that the empty start is forgotten.

    Parameters
    ----------
    arrival_s
        Arrivals, seconds, ascending.
    stay_s
        Time in the system (or in the pool looked at) of each, seconds.
    stays
        Mean stays to leave out.
    least_share
        At least this share of the requests is left out, at most half of them.
    """
    count = len(arrival_s)
    until_s = arrival_s[0] + stays * float(stay_s.mean())
    first = max(int(np.searchsorted(arrival_s, until_s)), math.ceil(least_share * count))
    return min(first, count // 2)


def steady(arrival_s: NDArray[np.float64], stay_s: NDArray[np.float64], least_share: float = LEAST_SHARE) -> slice:
    """Return which requests are of the steady state: without the run-in, and without the last ones.

    The last few mean stays before the last arrival are left out, too: those requests see a system that empties. At
    most a quarter of the requests is left out for that. ``least_share`` is the least share that is run-in.
    """
    count = len(arrival_s)
    before_s = arrival_s[-1] - STAYS_AT_END * float(stay_s.mean())
    last = max(int(np.searchsorted(arrival_s, before_s, side="right")), count - count // 4)
    return slice(run_in(arrival_s, stay_s, least_share=least_share), last)
