"""Lengths over the last minutes: pooled means and spread, weighted with the requests. May import numpy only."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.forecast.history import Row

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pooled:
    """Mean, tokens, and scv of the lengths of all requests of a window; None where nothing is known."""

    mean_tokens: float
    scv: float


_LENGTHS = ((Row.ISL_MEAN, Row.ISL_SCV), (Row.OSL_MEAN, Row.OSL_SCV))


def pooled(values: Array) -> tuple[Pooled | None, Pooled | None]:
    """Pool ISL and OSL over the samples of ``values`` (the rows of :class:`Row`).

    The mean of m means, weighted with their requests; the second moment likewise, so that a mix that changes within
    the window counts as spread. Samples without a scv count with the spread of those that have one.

    Examples
    --------
    >>> isl, osl = pooled(np.array([[1.0, 3.0], [100.0, 200.0], [0.0, 0.0], [50.0, 50.0], [1.0, 1.0]]))
    >>> isl.mean_tokens, round(isl.scv, 4), osl
    (175.0, 0.0612, Pooled(mean_tokens=50.0, scv=1.0))
    """
    isl, osl = (_pooled(values[Row.RATE], values[mean], values[scv]) for mean, scv in _LENGTHS)
    return isl, osl


def _pooled(rate: Array, mean: Array, scv: Array) -> Pooled | None:
    known = ~np.isnan(rate) & ~np.isnan(mean)
    weight = np.where(known, rate, 0.0)
    requests = float(weight.sum())
    if not requests > 0:
        return None
    mean = np.where(known, mean, 0.0)
    first = float(weight @ mean) / requests
    squares = weight * mean * mean
    spread = ~np.isnan(scv)
    inside = float(squares[spread].sum())
    within = 1.0 + (float(squares[spread] @ scv[spread]) / inside if inside > 0 else 0.0)
    second = float(squares.sum()) / requests * within
    if not (math.isfinite(first) and first > 0 and math.isfinite(second)):
        return None
    return Pooled(first, max(0.0, second / first / first - 1.0))


def rolling_means(values: Array, count: int) -> tuple[Array, Array]:
    """Return the pooled means of ISL and OSL over the last ``count`` samples, at every sample; NaN where unknown."""
    isl, osl = (_rolling(values[Row.RATE], values[mean], count) for mean, _ in _LENGTHS)
    return isl, osl


def _rolling(rate: Array, mean: Array, count: int) -> Array:
    known = ~np.isnan(rate) & ~np.isnan(mean)
    weight = np.where(known, rate, 0.0)
    tokens = np.where(known, rate * np.where(known, mean, 0.0), 0.0)
    requests = trailing_sum(weight, count)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        result = np.where(requests > 0, trailing_sum(tokens, count) / requests, np.nan)
    return np.where(np.isfinite(result) & (result > 0), result, np.nan)


def trailing_sum(values: Array, count: int) -> Array:
    """Return at every sample the sum of it and the ``count − 1`` before it, as far as there are so many."""
    if not values.size:
        return values
    padded = np.concatenate([np.zeros(count - 1), values])
    sums: Array = np.lib.stride_tricks.sliding_window_view(padded, count).sum(axis=1)
    return sums


def newest_means(values: Array) -> tuple[float, float]:
    """Return the pooled means of ISL and OSL over all of ``values``: the last of :func:`rolling_means`."""
    rate = values[Row.RATE]
    isl, osl = (_newest(rate, values[mean]) for mean, _ in _LENGTHS)
    return isl, osl


def _newest(rate: Array, mean: Array) -> float:
    tokens = rate * mean
    known = tokens == tokens  # noqa: PLR0124  not NaN
    requests = float(rate[known].sum())
    result = float(tokens[known].sum()) / requests if requests > 0 else math.nan
    return result if 0 < result < math.inf else math.nan
