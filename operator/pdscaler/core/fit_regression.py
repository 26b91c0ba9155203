"""Robust regression with non-negative coefficients, for :mod:`pdscaler.core.fit`. May import only numpy and scipy.

A sum of non-decreasing functions with non-negative coefficients is non-decreasing: so the fit is monotone whatever the
noise. Errors of timings are relative, and their outliers large (a pause of the engine, a cold cache), so residuals are
differences of logarithms and points far off end with weight 0 (Tukey's bisquare).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NOISE_FLOOR = 0.005
"""Timings that agree better than to half a per cent still get this scale, so that no good point is cast out."""

OUTLIER_SCALES = 4.685
"""Bisquare's constant: 95 % efficient where errors are normal; beyond so many scales a point counts nothing."""

HUBER_SCALES = 1.345

OUTLIER_FACTOR = 1.25
"""What lies within 25 % of the fit is never cast out, however well the others agree."""

AGREEING = 3
"""So many measurements of the same thing have a median that one wrong among them does not move."""

IMPLAUSIBLE = 2.0
"""Up to three measurements that agree are still not believed against all others beyond this factor."""

MOST = 0.6
"""Fewer rows than this cannot cast out the others."""

ROUGH_ROUNDS, STIFF_ROUNDS, ROUNDS = 40, 4, 14
FIRST_STIFFNESS = 30.0
STIFFNESS = tuple(10.0**exponent for exponent in np.arange(-1.0, 3.1, 0.5))
"""Candidates for the weight of smoothness; generalised cross-validation picks one."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Measurements, those of the same thing brought together.

    Parameters
    ----------
    members
        Indices of the measurements that a row stands for.
    values
        Their geometric mean.
    counts
        How many they are.
    noise
        Robust standard deviation of the logarithm of one measurement; NaN where nothing was measured often enough.
    """

    members: tuple[tuple[int, ...], ...]
    values: Array
    counts: Array
    noise: float


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """A fit.

    Parameters
    ----------
    coefficients
        One for each column of the basis, >= 0.
    residuals
        ln(measured / fitted), one for each row.
    weights
        In [0, 1], one for each row; 0 is an outlier.
    """

    coefficients: Array
    residuals: Array
    weights: Array


def ramps(x: Array, knots: Array) -> Array:
    """Return one column for each interval between knots: how much of the interval lies below ``x``, from 0 to 1.

    Any non-decreasing function that is linear between the knots is a sum of these with non-negative coefficients (and a
    constant); it is level outside the knots.
    """
    low, width = knots[:-1], np.diff(knots)
    return np.clip((x[:, None] - low) / width, 0.0, 1.0)


def kinks(knots: Array, values: Array) -> Array:
    """Return rows that measure, relative to the values at the knots, how sharply a sum of :func:`ramps` bends there."""
    width = np.diff(knots)
    rows = np.zeros((max(0, len(width) - 1), len(width)))
    for index in range(len(rows)):
        reach = min(width[index], width[index + 1])
        rows[index, index] = -reach / (width[index] * values[index + 1])
        rows[index, index + 1] = reach / (width[index + 1] * values[index + 1])
    return rows


def rough_fit(basis: Array, measured: Array, typical: Array) -> Array:
    """Return the fitted values of a least-absolute-error fit with non-negative coefficients.

    Parameters
    ----------
    basis
        Few columns (a physical law), one row for each measurement.
    measured
        Positive.
    typical
        Of what size the measurement should be, roughly: errors are taken relative to it.

    Notes
    -----
    Iteratively reweighted least squares; convex, so the start does not matter, and up to almost half of the points may
    be wrong.
    """
    rows, values = basis / typical[:, None], measured / typical
    weights = np.ones(len(values))
    fitted = typical
    for _ in range(ROUGH_ROUNDS):
        coefficients = _non_negative(rows * weights[:, None], values * weights)
        fitted = basis @ coefficients
        weights = 1 / np.sqrt(np.maximum(np.abs(values - fitted / typical), 0.01))
    return np.maximum(fitted, 0.01 * typical)


def robust_fit(basis: Array, penalty: Array, rows: Rows, start: Array) -> Regression:
    """Fit non-negative coefficients, robustly and smoothly.

    Parameters
    ----------
    basis
        One row for each row of ``rows``, columns >= 0.
    penalty
        Rows that ought to be near 0 (see :func:`kinks`).
    start
        Fitted values to start from.

    Notes
    -----
    A single measurement that lies far off is cast out (bisquare). Several that agree show what the basis cannot follow:
    they pull linearly (Huber) and stay, unless they are few and off by a factor of more than :data:`IMPLAUSIBLE`.
    """
    fitted, stiffness = start, FIRST_STIFFNESS
    coefficients = np.zeros(basis.shape[1])
    measured = rows.values
    residuals = np.log(measured / fitted)
    scale = _scale(residuals)
    for round_number in range(ROUNDS):
        weights = _weights(residuals, scale, rows)
        roots = np.sqrt(weights * rows.counts) / fitted
        scaled, values = basis * roots[:, None], measured * roots
        count = float((weights * rows.counts).sum())
        if round_number == STIFF_ROUNDS:
            within = 0.0 if math.isnan(rows.noise) else rows.noise**2 * float(rows.counts.sum() - len(rows.counts))
            stiffness = _stiffness(scaled, values, penalty, count, within)
        # Roughness counts like one residual of one scale for each measurement that a bend has to itself.
        share = np.sqrt(stiffness * count / max(1, len(penalty)))
        coefficients = _non_negative(np.vstack([scaled, penalty * share]), np.append(values, np.zeros(len(penalty))))
        fitted = np.maximum(basis @ coefficients, 1e-3 * start)
        residuals = np.log(measured / fitted)
        # A scale that may grow lets a flexible fit walk over to the outliers, one after the other; but one that shrank
        # until most points are outliers says that it is the fit that is off.
        smaller = min(scale, _scale(residuals))
        most_kept = np.mean(_weights(residuals, smaller, rows) > 0) > MOST
        scale = smaller if most_kept else _scale(residuals)
    return Regression(coefficients, residuals, _weights(residuals, scale, rows))


def gather(keys: Sequence[Hashable], measured: Array) -> Rows:
    """Bring measurements of the same thing together: three or more become one row, fewer stay one row each.

    Parameters
    ----------
    keys
        What was measured.
    measured
        Positive.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    logs = np.log(measured)
    many = [np.array(group) for group in groups.values() if len(group) >= AGREEING]
    noise = max(NOISE_FLOOR, float(np.median([_spread(logs[group]) for group in many]))) if many else math.nan
    members: list[list[int]] = []
    values: list[float] = []
    counts: list[float] = []
    for group in groups.values():
        if len(group) < AGREEING:
            members.extend([index] for index in group)
            values.extend(measured[group])
            counts.extend([1.0] * len(group))
            continue
        mine = logs[group]
        # The lower of two medians: the middle between them may be near neither.
        centre = np.sort(mine)[(len(mine) - 1) // 2]
        near = np.abs(mine - centre) <= max(OUTLIER_SCALES * noise, math.log(OUTLIER_FACTOR))
        members.append([index for index, kept in zip(group, near, strict=True) if kept])
        values.append(math.exp(float(mine[near].mean())))
        counts.append(float(near.sum()))
    return Rows(tuple(map(tuple, members)), np.array(values), np.array(counts), noise)


def running_median(values: Array, reach: int = 2) -> Array:
    """Return the median of each value and up to ``reach`` neighbours on either side."""
    return np.array(
        [np.median(values[max(0, index - reach) : index + reach + 1]) for index in range(len(values))], dtype=np.float64
    )


def non_decreasing(values: Array, weights: Array) -> Array:
    """Return the nearest non-decreasing values."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(values, weights=weights).x, dtype=np.float64)


def _scale(residuals: Array) -> float:
    # Around 0, not around their median: a fit that lies to one side has large residuals, not small ones.
    return max(NOISE_FLOOR, 1.4826 * float(np.median(np.abs(residuals))))


def _spread(logs: Array) -> float:
    """Return the robust standard deviation of a few values: the MAD, with its factor for small samples.

    The factors are those of Croux and Rousseeuw, "Time-Efficient Algorithms for Two Highly Robust Estimators of Scale"
    (COMPSTAT 1992).
    """
    count = len(logs)
    factor = {3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}.get(count, count / (count - 0.8))
    return 1.4826 * factor * float(np.median(np.abs(logs - np.median(logs))))


def _weights(residuals: Array, scale: float, rows: Rows) -> Array:
    huber = np.minimum(1.0, HUBER_SCALES * scale / np.maximum(np.abs(residuals), 1e-12))
    bisquare = np.maximum(0.0, 1 - (residuals / (OUTLIER_SCALES * scale)) ** 2) ** 2
    agreeing = (rows.counts >= 2) & ((rows.counts > AGREEING) | (np.abs(residuals) < math.log(IMPLAUSIBLE)))
    return np.where(agreeing, huber, bisquare)


def _non_negative(rows: Array, values: Array) -> Array:
    """Solve the least squares with coefficients >= 0; many rows are first reduced to as many as there are columns."""
    from scipy.optimize import nnls

    if len(rows) > rows.shape[1] + 1:
        triangle: Any = np.linalg.qr(np.column_stack([rows, values]), mode="r")
        rows, values = triangle[:, :-1], triangle[:, -1]
    size = np.maximum(np.linalg.norm(rows, axis=0), 1e-300)
    coefficients, _ = nnls(rows / size, values, maxiter=100 * rows.shape[1])
    return np.asarray(coefficients / size, dtype=np.float64)


def _stiffness(rows: Array, values: Array, penalty: Array, count: float, within: float) -> float:
    """Pick the weight of smoothness by generalised cross-validation, the signs of the coefficients left aside.

    ``within`` is the square sum, relative, that rows of several measurements no longer show.
    """
    if not len(penalty):
        return 1.0
    square, right = rows.T @ rows, rows.T @ values
    ridge = 1e-12 * np.trace(square) / len(square) * np.eye(len(square))
    best, best_score = STIFFNESS[0], np.inf
    for candidate in STIFFNESS:
        inverse: Any = np.linalg.pinv(square + ridge + penalty.T @ penalty * (candidate * count / len(penalty)))
        free = float(np.trace(inverse @ square))
        error = within + float(np.sum((values - rows @ (inverse @ right)) ** 2))
        score = error / max(count - free, 0.05 * count) ** 2
        if score < best_score * (1 - 1e-9):
            best, best_score = candidate, score
    return float(best)
