"""ARIMA models (Box and Jenkins), fitted rarely by conditional least squares, gone on with by their recursion.

May import numpy, scipy and the standard library only; scipy only inside the fit.

scipy does the work of a fit (the filter and the solver). statsmodels fits the same models by exact likelihood, to the
same parameters (the tests hold figures of it), but takes 0.1 to 0.9 s for what is 5 to 20 ms here, and 1 to 2.5 s and
pandas to import: with an operator that has a thousand deployments to fit every hour, the fit is the whole cost.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pdscaler.forecast.method import Carry, Method, Sample, Window

Array = NDArray[np.float64]

ORDERS = ((1, 1, 1), (2, 0, 1))
"""(autoregressive, differences, moving average): what is tried; the corrected Akaike criterion chooses."""

LEAST_SAMPLES = 40
"""Fewer known rates identify nothing."""

LEAST_KNOWN = 0.7
"""A window with fewer known samples than this share is not fitted: bridged gaps would be what is fitted."""

_FARTHEST = 4.0
"""Parameters are tanh of free numbers cut off here: stationary and invertible, never on the edge."""


@dataclass(frozen=True, slots=True)
class ArimaFit:
    """Parameters of (1 − ΣφL)(1 − L)^d (x − mean) = (1 + ΣθL) ε.

    Parameters
    ----------
    autoregressive, moving_average
        φ and θ.
    differences
        0 or 1.
    mean
        Of the series, in its unit; 0 with a difference.
    variance
        Of the residuals, in the squared unit of the series.
    """

    autoregressive: tuple[float, ...]
    differences: int
    moving_average: tuple[float, ...]
    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class Arima:
    """A fitted ARIMA of the rates; the highest mean of ``level_steps`` rates on its path is the expected peak.

    Parameters
    ----------
    fit
        The parameters.
    level_steps, horizon_steps
        Of the grid.
    """

    fit: ArimaFit
    level_steps: int
    horizon_steps: int
    method: Method = field(default=Method.ARIMA, init=False)

    @property
    def text(self) -> str:
        """Order and parameters."""
        fit = self.fit
        order = f"({len(fit.autoregressive)},{fit.differences},{len(fit.moving_average)})"
        phi = ", ".join(f"{value:.2f}" for value in fit.autoregressive)
        theta = ", ".join(f"{value:.2f}" for value in fit.moving_average)
        return f"order {order}, φ {phi}, θ {theta}"

    def replay(self, window: Window) -> tuple[Array, Carry]:
        """Run the recursion over the window; every path from what was known then."""
        carry: Carry = ()
        points = np.empty(len(window))
        rates = window.rate_rps.tolist()
        states: list[Carry] = []
        for rate in rates:
            carry = self._advance(carry, rate)
            states.append(carry)
        if not states:
            return points, carry
        known = np.array([bool(state) for state in states])
        points[~known] = np.nan
        if known.any():
            table = np.array([state for state in states if state])
            points[known] = self._peaks(table)
        return points, carry

    def step(self, carry: Carry, sample: Sample) -> tuple[Carry, float]:
        """Go on by one rate; in a gap by what was expected of it."""
        carry = self._advance(carry, sample.rate_rps)
        return carry, self._peak(carry) if carry else math.nan

    def path(self, carry: Carry, steps: int) -> list[float]:
        """Return the expected rates of the next ``steps`` samples, never below 0."""
        path = []
        for _ in range(steps):
            expected = self._next(carry)
            carry = self._advance(carry, math.nan)
            path.append(max(0.0, expected))
        return path

    def _peak(self, carry: Carry) -> float:
        """Return the highest level of one state's path: :meth:`_peaks` without the cost of arrays."""
        width = self.level_steps
        rates = [*reversed(carry[: width - 1]), *self.path(carry, self.horizon_steps)]
        total = sum(rates[:width])
        highest = total
        for index in range(width, len(rates)):
            total += rates[index] - rates[index - width]
            highest = max(highest, total)
        return max(0.0, highest / width)

    @property
    def _lags(self) -> int:
        """How many rates the recursion and the first levels of the path look back."""
        return max(len(self.fit.autoregressive) + self.fit.differences, self.level_steps - 1, 1)

    def _advance(self, carry: Carry, rate: float) -> Carry:
        """Return the last rates, newest first, and the last errors, newest first; empty before the first known rate."""
        lags, errors = self._lags, len(self.fit.moving_average)
        if not carry:
            return () if math.isnan(rate) else (rate,) * lags + (0.0,) * errors
        expected = self._next(carry)
        error = rate - expected
        if math.isnan(rate):
            rate, error = expected, 0.0
        return (rate, *carry[: lags - 1], error, *carry[lags:-1]) if errors else (rate, *carry[: lags - 1])

    def _next(self, carry: Carry) -> float:
        fit, lags = self.fit, self._lags
        if fit.differences:
            value = carry[0]
            for index, weight in enumerate(fit.autoregressive):
                value += weight * (carry[index] - carry[index + 1])
        else:
            value = fit.mean
            for index, weight in enumerate(fit.autoregressive):
                value += weight * (carry[index] - fit.mean)
        for index, weight in enumerate(fit.moving_average):
            value += weight * carry[lags + index]
        return value

    def _paths(self, states: Array, steps: int) -> Array:
        """Return the expected rates, states × steps."""
        fit, lags = self.fit, self._lags
        series = np.empty((lags + steps, states.shape[0]))
        series[:lags] = states[:, :lags].T[::-1]
        errors = states[:, lags:].T
        for number in range(steps):
            now = lags + number
            if fit.differences:
                value = series[now - 1].copy()
                for index, weight in enumerate(fit.autoregressive):
                    value += weight * (series[now - 1 - index] - series[now - 2 - index])
            else:
                value = np.full(states.shape[0], fit.mean)
                for index, weight in enumerate(fit.autoregressive):
                    value += weight * (series[now - 1 - index] - fit.mean)
            for index in range(number, len(fit.moving_average)):
                value += fit.moving_average[index] * errors[index - number]
            series[now] = value
        paths: Array = series[lags:].T
        return paths

    def _peaks(self, states: Array) -> Array:
        """Return the highest level of every state's path, never below 0."""
        width, lags = self.level_steps, self._lags
        paths = np.maximum(0.0, self._paths(states, self.horizon_steps))
        if width > 1:
            known = states[:, :lags][:, : width - 1][:, ::-1]
            whole = np.concatenate([known, paths], axis=1)
            sums = np.cumsum(np.concatenate([np.zeros((whole.shape[0], 1)), whole], axis=1), axis=1)
            paths = (sums[:, width:] - sums[:, :-width]) / width
        peaks: Array = np.maximum(0.0, paths.max(axis=1))
        return peaks


def fit_arima(window: Window) -> Arima | None:
    """Fit the orders of :data:`ORDERS` to the window and keep the best; None where there is too little or all is equal.

    Gaps are bridged in a straight line; their residuals do not count.
    """
    rates = window.rate_rps
    known = ~np.isnan(rates)
    if known.sum() < LEAST_SAMPLES or known.mean() < LEAST_KNOWN:
        return None
    first, last = int(known.argmax()), rates.size - int(known[::-1].argmax())
    index = np.arange(first, last)
    bridged = np.interp(index, np.flatnonzero(known), rates[known])
    fits = [fit for order in ORDERS if (fit := fit_series(bridged, order, known[first:last])) is not None]
    if not fits:
        return None
    best = min(fits, key=lambda pair: pair[1])[0]
    return Arima(best, window.grid.level_steps, window.grid.horizon_steps)


def fit_series(series: Array, order: tuple[int, int, int], counts: NDArray[np.bool_]) -> tuple[ArimaFit, float] | None:
    """Fit one order by conditional least squares.

    Parameters
    ----------
    series
        Without gaps.
    order
        (p, d, q), d 0 or 1.
    counts
        Which values are real, not bridged.

    Returns
    -------
    tuple
        The fit, and the corrected Akaike criterion of it per the residuals' normal likelihood; None where the series
        does not vary, or the search fails.
    """
    from scipy.optimize import least_squares

    p, d, q = order
    mean = 0.0 if d else float(series.mean())
    scale = float(series.std())
    if not scale > 1e-9 * max(abs(float(series.mean())), 1e-300):
        return None
    values = (np.diff(series) if d else series - mean) / scale
    used = (counts[1:] & counts[:-1]) if d else counts
    used = used.copy()
    used[: p + q] = False
    if used.sum() < LEAST_SAMPLES // 2:
        return None

    def residuals(free: Array) -> Array:
        phi, theta = _coefficients(free[:p]), -_coefficients(free[p:])
        return _filtered(values, -phi, theta)[used]

    start = np.r_[np.full(p, 0.5 / p if d == 0 else 0.1), np.full(q, 0.1)]
    solved = least_squares(residuals, start, method="lm", xtol=1e-5, ftol=1e-7, gtol=1e-7, max_nfev=200)
    count, free = int(used.sum()), p + q + 1 + (1 - d)
    variance = 2.0 * float(solved.cost) / count
    if not (np.isfinite(solved.x).all() and 0 < variance < math.inf):
        return None
    phi, theta = _coefficients(solved.x[:p]), -_coefficients(solved.x[p:])
    criterion = count * math.log(variance) + 2 * free * count / max(1, count - free - 1)
    fit = ArimaFit(tuple(phi.tolist()), d, tuple(theta.tolist()), mean, variance * scale * scale)
    return fit, criterion


def _filtered(values: Array, forward: Array, backward: Array) -> Array:
    """Return y with y[t] + Σ backward[j] y[t−1−j] = x[t] + Σ forward[i] x[t−1−i], all 0 before the first x.

    What ``scipy.signal.lfilter`` does, by the triangular solver of BLAS: importing scipy.signal takes 26 MiB.
    """
    from scipy.linalg.blas import dtbsv

    passed = np.convolve(values, np.r_[1.0, forward])[: values.size]
    if not backward.size:
        return passed
    band = np.empty((backward.size + 1, values.size), order="F")
    band[:] = np.r_[1.0, backward][:, np.newaxis]
    solved: Array = dtbsv(backward.size, band, passed, lower=1, diag=1, overwrite_x=1)
    return solved


def _coefficients(free: Array) -> Array:
    """Return coefficients of a stable recursion: tanh of free numbers as partial autocorrelations (Durbin–Levinson)."""
    coefficients = np.zeros(0)
    for partial in np.tanh(np.clip(free, -_FARTHEST, _FARTHEST)).tolist():
        coefficients = np.r_[coefficients - partial * coefficients[::-1], partial]
    return coefficients
