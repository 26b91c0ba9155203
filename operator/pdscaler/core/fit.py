"""Profiles from raw measurements: a clean, monotone surface through noise and outliers. Imports numpy, core and errors.

A load test measures the same thing several times, is disturbed now and then, and does not reach every corner (long
contexts at large batches do not fit into the KV memory). What comes out are profile points that
:mod:`pdscaler.core.curves` reads like measured ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.fit_regression import (
    NOISE_FLOOR,
    OUTLIER_FACTOR,
    OUTLIER_SCALES,
    Array,
    Regression,
    Rows,
    gather,
    kinks,
    non_decreasing,
    ramps,
    robust_fit,
    rough_fit,
    running_median,
)
from pdscaler.core.profile import DecodePoint, PrefillPoint
from pdscaler.errors import InvalidInputError
from pdscaler.units import format_duration, format_number

MOST_PREFILL_POINTS = 32
MOST_CONTEXTS = 12
MOST_BATCHES = 16
MOST_KNOTS = 9
"""Of each of the two parts of the decode law."""

ENOUGH_OF_REACH = 0.75
"""A context measured up to this share of what is in reach of the others has no missing corner."""

LEAST_SHARE = 0.01
"""Of the smallest measurement: no fitted value is less."""

SAME_CONTEXT = 1.1
"""Contexts within 10 % of each other are one: a load test hits its context only about."""


@dataclass(frozen=True, slots=True)
class Outlier:
    """A measurement that was left out.

    Parameters
    ----------
    index
        Its place in the measurements given.
    name
        Where it is: ``context 2997, batch 49``.
    measured_s, fitted_s
        What was measured, and what the others say.
    """

    index: int
    name: str
    measured_s: float
    fitted_s: float

    def __str__(self) -> str:
        ratio = self.measured_s / self.fitted_s
        factor = f"{format_number(ratio, 2)} times" if ratio >= 2 or ratio <= 0.5 else f"{ratio:.0%} of"
        return f"{self.name}: {format_duration(self.measured_s)}, {factor} the others' {format_duration(self.fitted_s)}"


@dataclass(frozen=True, slots=True)
class Residuals:
    """How far measurements lie from the fit, relative to it.

    Parameters
    ----------
    count
        Measurements, outliers included.
    median, p95
        Of the absolute relative residuals of those that are no outliers.
    outliers
        What was left out, the worst first.
    """

    count: int
    median: float
    p95: float
    outliers: tuple[Outlier, ...]


@dataclass(frozen=True, slots=True)
class PrefillFit:
    """A fitted prefill curve."""

    points: tuple[PrefillPoint, ...]
    residuals: Residuals


@dataclass(frozen=True, slots=True)
class DecodeFit:
    """A fitted decode surface.

    Parameters
    ----------
    points
        On each context the batches that were measured there, and the corners that were filled.
    filled
        The points of ``points`` that nobody measured: by the law that the others follow, slowed by as much as it is off
        where it can be checked.
    residuals
        Of the measurements.
    """

    points: tuple[DecodePoint, ...]
    filled: tuple[DecodePoint, ...]
    residuals: Residuals


def fit_prefill(measurements: Sequence[PrefillPoint]) -> PrefillFit:
    """Fit pass time against tokens.

    Parameters
    ----------
    measurements
        In any order, repeated ones included.

    Raises
    ------
    InvalidInputError
        If a measurement is not a positive number, or all are of one length.

    Notes
    -----
    Non-decreasing, linear between at most :data:`MOST_PREFILL_POINTS` token counts, as smooth as cross-validation asks.
    The start is a least-absolute-error fit of a + b n + c n² (weights, and attention).

    Examples
    --------
    >>> times = [(1000, 0.1), (1000, 0.101), (1000, 2.0), (2000, 0.2), (2000, 0.199), (4000, 0.4), (4000, 0.401)]
    >>> fit = fit_prefill([PrefillPoint(*time) for time in times])
    >>> [round(point.latency_s, 2) for point in fit.points], len(fit.residuals.outliers)
    ([0.1, 0.2, 0.4], 1)
    """
    tokens = _checked([m.input_tokens for m in measurements], "prefill", "inputTokens")
    latency = _checked([m.latency_s for m in measurements], "prefill", "latency")
    places = np.lexsort((latency, tokens))
    tokens, latency = tokens[places], latency[places]
    knots = _thinned(np.unique(tokens), MOST_PREFILL_POINTS)
    if len(knots) < 2:
        raise InvalidInputError("prefill", f"measurements of at least two token counts are needed, found {len(knots)}")
    rows = gather(list(tokens), latency)
    at = np.array([tokens[members[0]] for members in rows.members])
    order = np.argsort(at, kind="stable")
    typical = np.empty_like(at)
    typical[order] = running_median(rows.values[order])
    share = at / knots[-1]
    start = rough_fit(np.stack([np.ones_like(share), share, share**2], axis=1), rows.values, typical)
    penalty = kinks(knots, np.interp(knots, *_means(at, start)))
    penalty = np.column_stack([np.zeros(len(penalty)), penalty])
    regression = robust_fit(np.column_stack([np.ones_like(at), ramps(at, knots)]), penalty, rows, start)
    # No timing is zero, whatever the fit makes of the smallest ones.
    values = np.maximum(np.cumsum(regression.coefficients), LEAST_SHARE * latency.min())
    names = [f"{format_number(count, 9)} tokens" for count in tokens]
    return PrefillFit(
        tuple(PrefillPoint(float(n), float(t)) for n, t in zip(knots, values, strict=True)),
        _residuals(latency, np.interp(tokens, knots, values), names, places),
    )


def fit_decode(measurements: Sequence[DecodePoint]) -> DecodeFit:
    """Fit step time against batch and context.

    Parameters
    ----------
    measurements
        In any order, repeated ones included; contexts within 10 % of each other count as one.

    Raises
    ------
    InvalidInputError
        If a measurement is not a positive number, or all are of one batch.

    Notes
    -----
    A step reads the weights, works on each request, and reads each resident KV token: the law is a constant, plus a
    non-decreasing function of the batch, plus one of batch x context, each linear between knots. What a cell (context,
    batch) shows beside it is added as far as it is more than noise; then each context is made non-decreasing along the
    batch. Where a context stops short of a batch and of resident tokens that were both measured elsewhere, the corner
    is filled by the law.

    Examples
    --------
    >>> rows = [DecodePoint(c, b, 0.005 + 1e-4 * b + 3e-8 * b * c) for c in (1000, 4000) for b in (1, 20, 40, 80)]
    >>> fit = fit_decode([*rows, DecodePoint(4000, 40, 0.3)])
    >>> [str(outlier).partition(",")[0] for outlier in fit.residuals.outliers]
    ['context 4000']
    >>> round(fit.points[-1].tpot_s, 4)
    0.0226
    """
    context = _checked([m.context_tokens for m in measurements], "decode", "contextTokens")
    batch = _checked([m.batch for m in measurements], "decode", "batch")
    tpot = _checked([m.tpot_s for m in measurements], "decode", "tpot")
    if len(np.unique(batch)) < 2:
        raise InvalidInputError("decode", "measurements of at least two batches are needed, found one")
    places = np.lexsort((tpot, batch, context))
    context, batch, tpot = context[places], batch[places], tpot[places]
    cluster, contexts = _clusters(context)
    rows = gather(list(zip(cluster, batch, strict=True)), tpot)
    first = [members[0] for members in rows.members]
    row_cluster, row_batch = cluster[first], batch[first]
    resident = row_batch * np.array([float(context[list(members)].mean()) for members in rows.members])
    law = _DecodeLaw.over(row_batch, resident)
    regression = law.fit(row_batch, resident, rows, _typical(row_cluster, row_batch, rows.values))
    trust = _trust(rows, regression)
    fitted = np.maximum(law.at(batch, batch * context, regression), LEAST_SHARE * tpot.min())
    points: list[DecodePoint] = []
    filled: list[DecodePoint] = []
    for index, length in enumerate(contexts):
        mine = row_cluster == index
        batches = _thinned(np.unique(row_batch[mine]), MOST_BATCHES)
        shift, seen = _local(batches, row_batch[mine], regression.residuals[mine], trust[mine])
        by_law = np.maximum(law.at(batches, batches * length, regression), LEAST_SHARE * tpot.min())
        values = non_decreasing(by_law * np.exp(shift), seen)
        row = [DecodePoint(float(length), float(b), float(t)) for b, t in zip(batches, values, strict=True)]
        missing = _missing(batches, np.unique(batch), min(float(batch.max()), float(resident.max()) / length))
        corner = law.at(missing, missing * length, regression) * _caution(regression, rows, float(shift[-1]))
        corner = np.maximum.accumulate(np.maximum(corner, values[-1]))
        new = [DecodePoint(float(length), float(b), float(t)) for b, t in zip(missing, corner, strict=True)]
        points.extend(row + new)
        filled.extend(new)
        here = cluster == index
        fitted[here] *= np.interp(batch[here], batches, values / by_law)
    names = [f"context {format_number(c, 9)}, batch {format_number(b, 9)}" for c, b in zip(context, batch, strict=True)]
    return DecodeFit(tuple(points), tuple(filled), _residuals(tpot, fitted, names, places))


@dataclass(frozen=True, slots=True, eq=False)
class _DecodeLaw:
    """Constant, plus a function of the batch, plus one of the resident tokens."""

    batch_knots: Array
    resident_knots: Array

    @classmethod
    def over(cls, batch: Array, resident: Array) -> "_DecodeLaw":
        return cls(*(_thinned(np.unique(values), MOST_KNOTS) for values in (batch, resident)))

    def basis(self, batch: Array, resident: Array) -> Array:
        parts = [np.ones((len(batch), 1)), _open_ramps(batch, self.batch_knots)]
        return np.column_stack([*parts, _open_ramps(resident, self.resident_knots)])

    def fit(self, batch: Array, resident: Array, rows: Rows, typical: Array) -> Regression:
        share, memory = batch / self.batch_knots[-1], resident / self.resident_knots[-1]
        # Saturating in the batch, too: small batches gain more than large ones on most engines.
        rough = np.stack([np.ones_like(share), share, memory, np.sqrt(share)], axis=1)
        start = rough_fit(rough, rows.values, typical)
        floor = float(start.min())
        penalty = np.zeros((0, 1))
        for knots, x in ((self.batch_knots, batch), (self.resident_knots, resident)):
            order = np.argsort(x, kind="stable")
            at_knots = np.maximum(np.interp(knots, *_means(x[order], start[order])), floor)
            penalty = _block_diagonal(penalty, kinks(knots, at_knots))
        return robust_fit(self.basis(batch, resident), penalty, rows, start)

    def at(self, batch: Array, resident: Array, regression: Regression) -> Array:
        return np.asarray(self.basis(batch, resident) @ regression.coefficients, dtype=np.float64)


def _open_ramps(x: Array, knots: Array) -> Array:
    """Return :func:`ramps` of which the last goes on beyond its knot; no column where there is one knot only."""
    if len(knots) < 2:
        return np.zeros((len(x), 0))
    columns = ramps(x, knots)
    columns[:, -1:] = np.maximum(0.0, (x[:, None] - knots[-2]) / (knots[-1] - knots[-2]))
    return columns


def _missing(batches: Array, every: Array, reach: float) -> Array:
    """Return the batches to fill in at a context: up to ``reach``, for that was measured elsewhere."""
    ahead = np.append(every, math.floor(reach))
    missing: Array = np.unique(ahead[(ahead > batches[-1]) & (ahead <= reach)])
    if len(batches) > 1 and batches[-1] > ENOUGH_OF_REACH * reach:
        return missing[:0]
    if len(batches) < 2 and not len(missing):
        # One batch is no line: the law has to say where it goes.
        return np.array([batches[-1] + 1.0]) if batches[-1] < 2 else np.array([2 * batches[-1]])
    return _thinned(missing, max(2, MOST_BATCHES - len(batches)))


def _caution(regression: Regression, rows: Rows, shift: float) -> float:
    """Return the factor on the law in a corner: as far as the law was off elsewhere, and as the last batch was."""
    kept = regression.weights > 0
    off = np.abs(regression.residuals[kept])
    return math.exp(max(0.0, shift) + float(np.average(off, weights=rows.counts[kept])))


def _local(batches: Array, batch: Array, residuals: Array, trust: Array) -> tuple[Array, Array]:
    """Return what each batch of one context shows beside the law (logarithm), and the weight behind it."""
    shift, seen = np.zeros(len(batches)), np.full(len(batches), 1e-3)
    nearest = np.abs(np.log(batch)[:, None] - np.log(batches)).argmin(axis=1)
    for index in range(len(batches)):
        here = nearest == index
        shift[index] = float(np.mean(trust[here] * residuals[here]))
        seen[index] += float(trust[here].sum())
    return shift, seen


def _trust(rows: Rows, regression: Regression) -> Array:
    """Return which share of each row's residual is the engine's and not noise, in [0, 1].

    Notes
    -----
    The variance of the rows' residuals beyond what noise explains is the law's own error; a row of n measurements is
    trusted by (law's variance) / (law's variance + noise² / n). Where nothing was measured often enough the two cannot
    be told apart, and the law is trusted alone.
    """
    kept = (regression.weights > 0) & (rows.counts >= 2)
    if math.isnan(rows.noise) or not kept.any():
        return np.zeros(len(rows.counts))
    noise = rows.noise**2 / rows.counts
    own = max(0.0, float((regression.residuals[kept] ** 2 - noise[kept]).mean()))
    return np.where(kept, own / (own + noise), 0.0)


def _typical(cluster: Array, batch: Array, tpot: Array) -> Array:
    typical = np.empty_like(tpot)
    for index in np.unique(cluster):
        mine = np.flatnonzero(cluster == index)
        mine = mine[np.argsort(batch[mine], kind="stable")]
        typical[mine] = running_median(tpot[mine])
    return typical


def _clusters(context: Array) -> tuple[Array, list[int]]:
    """Return the cluster of each context, and the contexts they stand for, whole and ascending."""
    width = SAME_CONTEXT
    while True:
        index, start = np.zeros(len(context)), 0.0
        count = -1
        for place in np.argsort(context, kind="stable"):
            if context[place] > start * width:
                count, start = count + 1, context[place]
            index[place] = count
        if count < MOST_CONTEXTS:
            return index, [max(1, round(float(np.median(context[index == n])))) for n in range(count + 1)]
        width *= SAME_CONTEXT


def _residuals(measured: Array, fitted: Array, names: Sequence[str], places: NDArray[np.int64]) -> Residuals:
    """Compare; ``places`` says where each measurement stood among those given."""
    logs = np.log(measured / fitted)
    scale = max(NOISE_FLOOR, 1.4826 * float(np.median(np.abs(logs))))
    cast_out = np.abs(logs) > max(OUTLIER_SCALES * scale, math.log(OUTLIER_FACTOR))
    relative = np.abs(np.expm1(logs[~cast_out]))
    worst = sorted(np.flatnonzero(cast_out).tolist(), key=lambda index: -abs(float(logs[index])))
    return Residuals(
        len(measured),
        float(np.median(relative)),
        float(np.percentile(relative, 95)),
        tuple(
            Outlier(int(places[index]), names[index], float(measured[index]), float(fitted[index])) for index in worst
        ),
    )


def _thinned(values: Array, most: int) -> Array:
    """Return at most ``most`` of the ascending values, the ends included, evenly by rank."""
    if len(values) <= most:
        return values
    return np.asarray(values[np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))], dtype=np.float64)


def _means(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the different x, ascending, and the mean of y at each."""
    different, where = np.unique(x, return_inverse=True)
    return different, np.bincount(where, weights=y) / np.bincount(where)


def _block_diagonal(one: Array, other: Array) -> Array:
    result = np.zeros((one.shape[0] + other.shape[0], one.shape[1] + other.shape[1]))
    result[: one.shape[0], : one.shape[1]] = one
    result[one.shape[0] :, one.shape[1] :] = other
    return result


def _checked(values: Sequence[float], kind: str, name: str) -> Array:
    for index, value in enumerate(values):
        if not (math.isfinite(value) and value > 0):
            raise InvalidInputError(f"{kind}[{index}].{name}", f"must be a finite number above 0, found {value}")
    return np.array(values, dtype=np.float64)
