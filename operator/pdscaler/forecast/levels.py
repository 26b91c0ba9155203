"""Levels and the peaks that followed them. May import numpy only.

A *level* is the mean rate over the last minute or so; the *peak* after a point of time is the highest level within the
horizon: what the replicas ordered at that time have to bear. Replicas follow levels, not single samples, as the means
of a few seconds are noise that queues even out.
"""

import numpy as np
from numpy.typing import NDArray

from pdscaler.forecast.mix import trailing_sum

Array = NDArray[np.float64]

KNOWN_SHARE = 0.75
"""A peak counts as seen only where this share of its horizon is known: a gap may hide the highest level."""


def level_samples(rate_window_s: float, sample_window_s: float, step_s: float) -> int:
    """Return how many samples make one level; samples that overlap already span a part of it.

    Examples
    --------
    >>> level_samples(60.0, 15.0, 15.0), level_samples(60.0, 60.0, 15.0), level_samples(60.0, 60.0, 60.0)
    (4, 1, 1)
    """
    return max(1, round((rate_window_s - sample_window_s) / step_s) + 1)


def levels(rate_rps: Array, count: int) -> Array:
    """Return the mean of the known ones of the last ``count`` rates at every sample, requests/s; NaN without any."""
    known = ~np.isnan(rate_rps)
    total = trailing_sum(np.where(known, rate_rps, 0.0), count)
    seen = trailing_sum(known.astype(np.float64), count)
    with np.errstate(invalid="ignore"):
        return np.where(seen > 0, total / np.maximum(seen, 1.0), np.nan)


def held(level_rps: Array) -> Array:
    """Return the levels with gaps bridged by the last level before; NaN only before the first known one.

    Examples
    --------
    >>> held(np.array([np.nan, 2.0, np.nan, 3.0])).tolist()
    [nan, 2.0, 2.0, 3.0]
    """
    known = ~np.isnan(level_rps)
    last = np.maximum.accumulate(np.where(known, np.arange(level_rps.size), 0))
    bridged: Array = level_rps[last]
    return bridged


def peaks_after(level_rps: Array, steps: int) -> Array:
    """Return at every sample the highest of the next ``steps`` levels; NaN where too few of them are known (yet)."""
    size = level_rps.size
    peaks = np.full(size, np.nan)
    if size <= steps:
        return peaks
    ahead = np.lib.stride_tricks.sliding_window_view(level_rps[1:], steps)
    known = ~np.isnan(ahead)
    enough = known.sum(axis=1) >= KNOWN_SHARE * steps
    highest = np.where(known, ahead, -np.inf).max(axis=1)
    peaks[: size - steps] = np.where(enough, highest, np.nan)
    return peaks


def recent_peaks(level_rps: Array, steps: int) -> Array:
    """Return at every sample the highest of its own and the ``steps − 1`` levels before; NaN where none is known."""
    if not level_rps.size:
        return level_rps
    padded = np.concatenate([np.full(steps - 1, -np.inf), np.where(np.isnan(level_rps), -np.inf, level_rps)])
    highest = np.lib.stride_tricks.sliding_window_view(padded, steps).max(axis=1)
    return np.where(np.isfinite(highest), highest, np.nan)


def running_means(level_rps: Array, steps: int) -> Array:
    """Return at every sample the mean level so far; of an exponential window of ``steps`` samples once there are more.

    Gaps leave it as it is; NaN before the first known level.
    """
    means = np.empty(level_rps.size)
    mean, count = np.nan, 0
    for index, level in enumerate(level_rps.tolist()):
        mean, count = next_mean(mean, count, level, steps)
        means[index] = mean
    return means


def next_mean(mean: float, count: int, value: float, steps: int) -> tuple[float, int]:
    """Return the running mean and its count after one value more (see :func:`running_means`)."""
    if value != value:  # noqa: PLR0124  NaN
        return mean, count
    count = min(count + 1, steps)
    return (value if count == 1 else mean + (value - mean) / count), count
