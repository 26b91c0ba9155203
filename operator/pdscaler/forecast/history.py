"""What arrived, on a regular grid of time, gaps included. May import numpy, core, units and errors only.

A gap is unknown, never zero. Whoever fills a history from range queries aligns them (:func:`aligned`), so that the
history read again after a restart is the history that was collected live.
"""

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pdscaler.core.workload import WorkloadStats
from pdscaler.errors import InvalidInputError

Array = NDArray[np.float64]

Stored = NDArray[np.float32]
"""Seven digits are more than any measurement has, and a thousand forecasts of hours and weeks take half the memory."""

_SLACK = 1e-6
"""Points of time closer than this share of a step are the same point of the grid."""


MOST_SAMPLES = 100_000
"""A history keeps at most so many: more than 15 days of 15 s."""

MOST = 1e9
"""Rates and lengths beyond this are no measurement but an error, and unknown."""


class Row(IntEnum):
    """The rows of :attr:`History.values`."""

    RATE = 0
    ISL_MEAN = 1
    ISL_SCV = 2
    OSL_MEAN = 3
    OSL_SCV = 4


def aligned(at_s: float, step_s: float) -> float:
    """Return the newest point of the grid of multiples of ``step_s`` that is not after ``at_s``, seconds.

    Examples
    --------
    >>> aligned(127.0, 15.0)
    120.0
    """
    return math.floor(at_s / step_s + _SLACK) * step_s


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Rates and lengths at ``end_s − k·step_s``, the newest last.

    Parameters
    ----------
    step_s
        Distance of the samples, seconds, > 0.
    end_s
        Time of the newest sample, seconds since the epoch.
    values
        Five rows (:class:`Row`): arrival rate, requests/s; mean, tokens, and scv of ISL; mean and scv of OSL. NaN where
        unknown. Or the first one alone (:meth:`rates_only`). Reckon with :attr:`exact`.
    window_s
        What a rate is averaged over: the ``window_s`` seconds up to its sample. ``rate(x[1m])`` asked every 15 s is
        60 beside a step of 15. A window longer than :attr:`ForecastSettings.rate_window_s` hides the peaks that are to
        be forecast: with 3 minutes a quantile of 98 % holds 87 to 90 % of them.

    Notes
    -----
    Make one with :meth:`of` or :meth:`empty`. A value is never changed; appending returns a new history.
    """

    step_s: float
    end_s: float
    values: Stored
    window_s: float

    @classmethod
    def of(
        cls,
        step_s: float,
        end_s: float,
        rate_rps: ArrayLike,
        *,
        isl_mean: ArrayLike | None = None,
        isl_scv: ArrayLike | None = None,
        osl_mean: ArrayLike | None = None,
        osl_scv: ArrayLike | None = None,
        window_s: float | None = None,
    ) -> "History":
        """Make a history of arrays of one length, oldest first.

        Parameters
        ----------
        step_s, end_s, window_s
            See the class; the window is the step where it is left out.
        rate_rps
            Requests/s. What is NaN, below 0 or beyond :data:`MOST` is a gap.
        isl_mean, isl_scv, osl_mean, osl_scv
            Lengths; a mean must be above 0 and a scv at least 0 to count as known. Left out: unknown throughout.

        Raises
        ------
        InvalidInputError
            If the step, window or end is not a usable number, or the arrays differ in length.

        Examples
        --------
        >>> History.of(60.0, 300.0, [1.0, float("nan"), 3.0]).coverage(180.0)
        0.6666666666666666
        """
        window_s = step_s if window_s is None else window_s
        if not (0 < step_s < math.inf and 0 < window_s < math.inf):
            raise InvalidInputError("history.step_s", f"is {step_s} (window {window_s}), expected seconds above 0")
        if not math.isfinite(end_s):
            raise InvalidInputError("history.end_s", f"is {end_s}, expected seconds since the epoch")
        rate = np.asarray(rate_rps, dtype=np.float64)
        values = np.full((len(Row), rate.size), np.nan)
        given = (rate, isl_mean, isl_scv, osl_mean, osl_scv)
        for row, column in zip(Row, given, strict=True):
            if column is None:
                continue
            array = np.asarray(column, dtype=np.float64)
            if array.shape != (rate.size,):
                raise InvalidInputError(
                    f"history.{row.name.lower()}", f"has shape {array.shape}, expected {(rate.size,)} as the rates"
                )
            values[row] = array
        return cls(step_s, end_s, _known(values), window_s)

    @classmethod
    def empty(cls, step_s: float, end_s: float, window_s: float | None = None) -> "History":
        """Return a history without samples, to which samples after ``end_s`` can be appended."""
        return cls.of(step_s, end_s, (), window_s=window_s)

    def __len__(self) -> int:
        return int(self.values.shape[1])

    @property
    def exact(self) -> Array:
        """The values, to reckon with."""
        return self.values.astype(np.float64)

    @property
    def rate_rps(self) -> Array:
        """Arrival rates, requests/s; NaN where unknown."""
        rates: Array = self.values[Row.RATE].astype(np.float64)
        return rates

    @property
    def first_known_s(self) -> float | None:
        """Time of the oldest known rate, seconds since the epoch; None where there is none."""
        known = ~np.isnan(self.values[Row.RATE])
        first = int(known.argmax()) if known.size else 0
        if not known.size or not known[first]:
            return None
        return self.end_s - (len(self) - 1 - first) * self.step_s

    @property
    def last_known(self) -> tuple[float, float] | None:
        """Time and value of the newest known rate (seconds since the epoch, requests/s); None where there is none."""
        known = np.flatnonzero(~np.isnan(self.values[Row.RATE]))
        if not known.size:
            return None
        newest = int(known[-1])
        return self.end_s - (len(self) - 1 - newest) * self.step_s, float(self.values[Row.RATE, newest])

    def rates_only(self) -> "History":
        """Return the history without lengths: weeks of them would be most of what a thousand forecasts hold."""
        return History(self.step_s, self.end_s, self.values[:1].copy(), self.window_s)

    def without_leading_gap(self) -> "History":
        """Return the history from its first known rate on; empty where none is known."""
        first_s = self.first_known_s
        return self.last(0.0 if first_s is None else self.end_s - first_s + self.step_s)

    def coverage(self, duration_s: float) -> float:
        """Return the share of the samples of the last ``duration_s`` seconds that are known, in [0, 1]."""
        count = max(1, round(duration_s / self.step_s))
        return int((~np.isnan(self.values[Row.RATE, -count:])).sum()) / count

    def until(self, at_s: float) -> "History":
        """Return what was known at ``at_s``: the samples up to then."""
        beyond = math.ceil((self.end_s - at_s) / self.step_s - _SLACK)
        if beyond <= 0:
            return self
        kept = self.values[:, : max(0, len(self) - beyond)]
        return History(self.step_s, self.end_s - beyond * self.step_s, kept, self.window_s)

    def last(self, duration_s: float) -> "History":
        """Return the samples of the last ``duration_s`` seconds."""
        count = max(0, math.floor(duration_s / self.step_s + _SLACK))
        if count >= len(self):
            return self
        kept = self.values[:, len(self) - count :].copy()  # a view would hold on to the rest
        return History(self.step_s, self.end_s, kept, self.window_s)

    def extended(self, newer: "History", keep_s: float = math.inf) -> "History":
        """Return the history with the newer samples of another at its end.

        Parameters
        ----------
        newer
            Samples at the same step, with lengths where this one has them. Those up to :attr:`end_s` are known already
            and left out; what lies between the two is a gap. Points of time are rounded to the grid of this history.
        keep_s
            Only the last so many seconds are kept.

        Raises
        ------
        InvalidInputError
            If the steps differ.
        """
        if not math.isclose(newer.step_s, self.step_s, rel_tol=1e-9):
            raise InvalidInputError(
                "history.step_s", f"is {newer.step_s:g} s where {self.step_s:g} s are collected; resample it"
            )
        steps = round((newer.end_s - self.end_s) / self.step_s)
        keep = MOST_SAMPLES if keep_s >= MOST_SAMPLES * self.step_s else math.floor(keep_s / self.step_s + _SLACK)
        if steps <= 0:
            return self.last(keep * self.step_s)
        # What is older than what is kept is not laid out, however long the gap.
        laid = min(steps, keep)
        own = self.values[:, max(0, len(self) - max(0, keep - steps)) :]
        taken = newer.values[: len(own), max(0, len(newer) - laid) :]
        hole = np.full((len(own), laid - taken.shape[1]), np.nan, dtype=np.float32)
        values = np.concatenate([own, hole, taken], axis=1)
        return History(self.step_s, self.end_s + steps * self.step_s, values, self.window_s)

    def observed(self, workload: WorkloadStats | None, at_s: float, keep_s: float = math.inf) -> "History":
        """Return the history with one reading more; None is a gap.

        Parameters
        ----------
        workload
            What was read.
        at_s
            When, seconds since the epoch; rounded to the grid. A reading not after :attr:`end_s` changes nothing.
        keep_s
            Only the last so many seconds are kept.
        """
        column = np.full((len(Row), 1), np.nan)
        if workload is not None:
            column[Row.RATE] = workload.arrival_rate_rps
            if workload.isl is not None:
                column[Row.ISL_MEAN], column[Row.ISL_SCV] = workload.isl.mean_tokens, workload.isl.scv
            if workload.osl is not None:
                column[Row.OSL_MEAN], column[Row.OSL_SCV] = workload.osl.mean_tokens, workload.osl.scv
        return self.extended(History(self.step_s, at_s, _known(column), self.window_s), keep_s)

    def coarsened(self, step_s: float) -> "History":
        """Return means over longer steps that end at multiples of ``step_s``; the unfinished last one is left out.

        Lengths are weighted with the rates; a step is known where at least half of its samples are. The scv becomes
        that of all requests of the longer step.
        """
        ends = self.end_s - self.step_s * np.arange(len(self) - 1, -1, -1)
        index = np.ceil(ends / step_s - _SLACK).astype(np.int64)
        last = math.floor(self.end_s / step_s + _SLACK)
        inside = index <= last
        if not inside.any():
            return History.empty(step_s, last * step_s)
        index, values = index[inside] - index[0], self.exact[:, inside]
        count = last - math.ceil(ends[0] / step_s - _SLACK) + 1

        def total(column: Array) -> Array:
            return np.bincount(index, np.nan_to_num(column), count).astype(np.float64)

        known = total(np.where(np.isnan(values[Row.RATE]), 0.0, 1.0))
        result = np.full((len(values), count), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            enough = known * self.step_s >= 0.5 * step_s
            result[Row.RATE] = np.where(enough, total(values[Row.RATE]) / known, np.nan)
            lengths = ((Row.ISL_MEAN, Row.ISL_SCV), (Row.OSL_MEAN, Row.OSL_SCV)) if len(values) == len(Row) else ()
            for mean_row, scv_row in lengths:
                mean, scv = values[mean_row], np.nan_to_num(values[scv_row])
                weight = np.where(np.isnan(mean), 0.0, np.nan_to_num(values[Row.RATE]))
                first = total(weight * mean) / total(weight)
                second = total(weight * mean * mean * (1.0 + scv)) / total(weight)
                result[mean_row] = first
                result[scv_row] = np.maximum(0.0, second / (first * first) - 1.0)
        return History(step_s, last * step_s, _known(result), step_s)


def _known(values: Array) -> Stored:
    """Return the values with NaN for whatever cannot be."""
    with np.errstate(invalid="ignore"):
        values = np.where((values >= 0) & (values <= MOST), values, np.nan)
    for row in (Row.ISL_MEAN, Row.OSL_MEAN) if len(values) == len(Row) else ():
        values[row, values[row] == 0] = np.nan
    return values.astype(np.float32)
