"""Quantiles of (peak over the horizon / what was expected), learned from the last hours. Imports numpy, scipy.special.

The quantile is weighted with what was expected, since that is what minimises the pinball loss of expectation × ratio
(the loss of a product b·R is b times the loss of R at y/b), and since attainment counts requests, not minutes: a wrong
ratio in a quiet minute concerns few.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Stored = NDArray[np.float32]
"""As a history keeps its values (:data:`pdscaler.forecast.history.Stored`)."""

_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
"""What lies beyond is no measurement."""

PRIOR_SPREAD_PER_MINUTE = 0.1
"""Before anything is known: the peak within h minutes is log-normal with this spread times √h."""

PRIOR_SPREAD_MOST = 0.35
PRIOR_HORIZONS = 2.0
"""The prior counts as much as so many horizons of history."""

WIDEST = 1.5
"""Student's factor is not taken above this: of a handful of peaks the prior says more."""


def pinball(value: float, forecast: float, quantile: float) -> float:
    """Return the pinball (quantile) loss: q per unit that is missing, 1 − q per unit too much.

    Examples
    --------
    >>> pinball(12.0, 10.0, 0.9), round(pinball(8.0, 10.0, 0.9), 9)
    (1.8, 0.2)
    """
    missing = value - forecast
    return quantile * missing if missing > 0 else (quantile - 1.0) * missing


def pinball_losses(values: Array, forecasts: Array, quantile: float) -> Array:
    """Return :func:`pinball` of arrays; NaN where either is unknown."""
    missing = values - forecasts
    return np.where(missing > 0, quantile * missing, (quantile - 1.0) * missing)


@dataclass(frozen=True, slots=True, eq=False)
class Ratios:
    """Ratios of seen peaks to expectations, ascending, with their weights.

    Parameters
    ----------
    ratios, weights
        Of one length; the ratios ascend.
    horizon_steps
        Samples per horizon: neighbouring peaks share most of their horizon, so that so many samples are about one
        independent observation.
    horizon_s
        Seconds, for the prior.
    """

    ratios: Stored
    weights: Stored
    horizon_steps: int
    horizon_s: float

    @classmethod
    def of(cls, peaks: Array, expected: Array, horizon_steps: int, horizon_s: float) -> "Ratios":
        """Pair peaks with what was expected of them; pairs with an unknown or nothing expected are left out."""
        usable = ~np.isnan(peaks) & (expected >= _LEAST) & (expected <= _MOST)
        weights = expected[usable]
        with np.errstate(over="ignore"):
            ratios = peaks[usable] / weights
        held = ratios <= _MOST
        order = np.argsort(ratios[held], kind="stable")
        ratios, weights = ratios[held][order], weights[held][order]
        return cls(ratios.astype(np.float32), weights.astype(np.float32), horizon_steps, horizon_s)

    def __len__(self) -> int:
        return self.ratios.size

    @property
    def observations(self) -> float:
        """About how many independent peaks have been seen."""
        return self.ratios.size / self.horizon_steps

    def added(self, peak: float, expected: float) -> "Ratios":
        """Return the ratios with one pair more."""
        if not (peak >= 0 and _LEAST <= expected <= _MOST) or not peak / expected <= _MOST:
            return self
        ratio = np.float32(peak / expected)
        index = int(self.ratios.searchsorted(ratio, side="right"))
        return Ratios(
            _inserted(self.ratios, index, ratio),
            _inserted(self.weights, index, np.float32(expected)),
            self.horizon_steps,
            self.horizon_s,
        )

    def seen(self, *quantiles: float) -> list[float]:
        """Return weighted empirical quantiles; NaN of nothing."""
        if not self.ratios.size:
            return [math.nan] * len(quantiles)
        weights = self.weights.cumsum(dtype=np.float64)
        total, last = float(weights[-1]), self.ratios.size - 1
        return [float(self.ratios[min(int(weights.searchsorted(each * total)), last)]) for each in quantiles]

    def containing(self, overflow: float, unknown: float) -> float:
        """Return the ratio above which no more than a share of the peaks' load lies.

        Parameters
        ----------
        overflow
            The share: Σ weight·max(0, ratio − r) / Σ weight·ratio at the ratio r, in (0, 1).
        unknown
            The quantile for load of which nothing is known. It also says how much further out few peaks are taken to
            reach (see :meth:`quantile`).

        Notes
        -----
        A fixed quantile asks the same of all load. Where peaks stay near what is expected, what lies beyond P75 is
        little and short; where they come in multiples, a tenth of them may hold half of the load. It is never below
        the median of the ratios.
        """
        prior, observations = prior_ratio(unknown, self.horizon_s), self.observations
        ratios, weights = self.ratios.astype(np.float64), self.weights.astype(np.float64)
        total = float(weights @ ratios)
        if not observations > 0 or not 0 < total < math.inf:
            return prior
        above = weights[::-1].cumsum()[::-1]
        load = (weights * ratios)[::-1].cumsum()[::-1]
        place = int((load - ratios * above <= overflow * total).argmax())
        # Between two ratios, what lies above falls in a straight line.
        upper = min(float(ratios[place]), float(load[place] - overflow * total) / float(above[place]))
        median = self.seen(0.5)[0]
        upper = max(median, upper)
        if unknown > 0.5:
            upper = median + (upper - median) * student_factor(unknown, observations)
        share = observations / (observations + PRIOR_HORIZONS)
        return share * upper + (1.0 - share) * prior

    def share_below(self, ratio: float, unknown: float) -> float:
        """Return the share of the load whose peak stayed below a ratio, in whole percent, from 1 % to 99 %.

        What is not known yet counts as the quantile ``unknown``.
        """
        observations, total = self.observations, float(self.weights.sum(dtype=np.float64))
        if not observations > 0 or not total > 0:
            return unknown
        place = int(self.ratios.searchsorted(ratio, side="right"))
        seen = float(self.weights[:place].sum(dtype=np.float64)) / total
        share = observations / (observations + PRIOR_HORIZONS)
        return min(0.99, max(0.01, math.floor(100.0 * (share * seen + (1.0 - share) * unknown) + 1e-9) / 100.0))

    def quantile(self, quantile: float) -> float:
        """Return the ratio that a peak stays below with probability ``quantile``.

        The empirical quantile; what it is above the median is widened by Student's t over the normal quantile, for the
        few independent peaks that a short history has; and it is mixed with a prior that is gone after an hour or so.

        Notes
        -----
        It never falls as the quantile rises, whatever the history.
        """
        prior = prior_ratio(quantile, self.horizon_s)
        observations = self.observations
        if observations <= 0:
            return prior
        median, upper = self.seen(0.5, quantile)
        if quantile > 0.5:
            upper = median + (upper - median) * student_factor(quantile, observations)
        share = observations / (observations + PRIOR_HORIZONS)
        return share * upper + (1.0 - share) * prior


@lru_cache(maxsize=256)
def prior_ratio(quantile: float, horizon_s: float) -> float:
    """Return the ratio to expect of load of which nothing is known: log-normal around 1, wider further ahead.

    Examples
    --------
    >>> round(prior_ratio(0.95, 135.0), 3), prior_ratio(0.5, 135.0)
    (1.28, 1.0)
    """
    from scipy.special import ndtri

    spread = min(PRIOR_SPREAD_MOST, PRIOR_SPREAD_PER_MINUTE * math.sqrt(horizon_s / 60.0))
    return math.exp(spread * max(0.0, float(ndtri(quantile))))


def student_factor(quantile: float, observations: float) -> float:
    """Return how much further out the quantile lies when the spread is known from so few observations.

    Student's t quantile with observations − 1 degrees of freedom over the normal one, at most :data:`WIDEST`. It does
    not fall as the quantile rises.

    Examples
    --------
    >>> round(student_factor(0.95, 6.0), 3), round(student_factor(0.95, 200.0), 3)
    (1.225, 1.005)
    """
    from scipy.special import ndtri, stdtrit

    return min(WIDEST, float(stdtrit(max(1.0, observations - 1.0), quantile)) / float(ndtri(quantile)))


def _inserted(values: Stored, index: int, value: np.float32) -> Stored:
    result = np.empty(values.size + 1, dtype=np.float32)
    result[:index] = values[:index]
    result[index] = value
    result[index + 1 :] = values[index:]
    return result
