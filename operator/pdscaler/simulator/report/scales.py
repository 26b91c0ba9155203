"""Where values lie on an axis, and which of them are named there. Imports numpy and units only.

Places are shares of the axis, 0 at its low end and 1 at its high end: pixels are the page's matter.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from pdscaler.units import format_duration, format_number

Reals = NDArray[np.float64]

MOST_TICKS = 7
MOST_TIMES = 9
LOG_FROM = 10.0
"""Latencies whose greatest is so many times the least are shown on a logarithmic axis."""

_TIME_STEPS_S = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
    86400, 172800, 604800, 1209600, 2592000, 7776000, 31536000,
)  # fmt: skip
_DAY_S = 86400.0
_ROUND = 1e-9
_NOTHING = 1e-12
_FEWEST_REQUESTS_MISSED = 1e-3


class Kind(Enum):
    """How values become places."""

    LINEAR = "linear"
    LOG = "log"
    NINES = "nines"
    """By the share that is missing, logarithmically: 90 %, 99 % and 99.9 % are equally far from each other."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A value that is named on an axis."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis.

    Parameters
    ----------
    kind
        How values become places.
    low, high
        What lies at its ends; for :attr:`Kind.NINES` the decades of the missing share.
    ticks
        What is named.
    """

    kind: Kind
    low: float
    high: float
    ticks: tuple[Tick, ...] = ()

    def place(self, values: Reals) -> Reals:
        """Return where values lie, in [0, 1]; what is beyond an end lies there, NaN stays NaN."""
        inside = _decades(self.kind, np.asarray(values, np.float64), self.high)
        return np.clip((inside - self.low) / (self.high - self.low), 0.0, 1.0)


def _decades(kind: Kind, values: Reals, most: float) -> Reals:
    if kind is Kind.LINEAR:
        return values
    if kind is Kind.LOG:
        return np.asarray(np.log10(np.maximum(values, 1e-12)))
    return np.asarray(-np.log10(np.maximum(1 - values, 10.0**-most)))


def _ticked(kind: Kind, low: float, high: float, values: list[float], text: Callable[[float], str]) -> Scale:
    scale = Scale(kind, low, high)
    places = scale.place(np.array(values, np.float64))
    return Scale(kind, low, high, tuple(Tick(float(at), text(value)) for at, value in zip(places, values, strict=True)))


def linear_scale(high: float, text: Callable[[float], str] = format_number, *, whole: bool = False) -> Scale:
    """Return an axis from 0 to a round value that is at least ``high``.

    Parameters
    ----------
    high
        The greatest value, at least 0.
    text
        Writes a tick.
    whole
        Only whole numbers are named.

    Examples
    --------
    >>> [tick.text for tick in linear_scale(13.0, whole=True).ticks]
    ['0', '5', '10', '15']
    """
    high = high if high > _NOTHING else 1.0
    step = _round_step(high / 4)
    if whole:
        step = max(1.0, step)
    count = max(1, math.ceil(high / step - _ROUND))
    return _ticked(Kind.LINEAR, 0.0, count * step, [number * step for number in range(count + 1)], text)


def _round_step(least: float) -> float:
    """Return the least of 1, 2, 5, 10, 20, 50 … (and their tenths) that is at least ``least``."""
    scale = 10.0 ** math.floor(math.log10(least))
    return next(scale * step for step in (1, 2, 5, 10) if scale * step >= least * (1 - _ROUND))


def latency_scale(least_s: float, most_s: float) -> Scale:
    """Return an axis for latencies: from 0 where they are alike, else logarithmic.

    Parameters
    ----------
    least_s, most_s
        The least and the greatest one to be seen, seconds, above 0.

    Examples
    --------
    >>> [tick.text for tick in latency_scale(0.02, 3.0).ticks]
    ['20ms', '50ms', '100ms', '200ms', '500ms', '1s', '2s', '5s']
    >>> [tick.text for tick in latency_scale(0.004, 0.015).ticks]
    ['0s', '5ms', '10ms', '15ms']
    """
    if most_s < LOG_FROM * least_s:
        return linear_scale(most_s, format_duration)
    for mantissas in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        values = _decimal(least_s, most_s, mantissas)
        if len(values) <= MOST_TICKS + 1:
            break
    every = math.ceil(len(values) / (MOST_TICKS + 1))
    low, high = (math.log10(values[place]) for place in (0, -1))
    return _ticked(Kind.LOG, low, high, values[::every], format_duration)


def _decimal(least: float, most: float, mantissas: tuple[float, ...]) -> list[float]:
    """Return the round values from the last one at most ``least`` to the first one at least ``most``."""
    decades = range(math.floor(math.log10(least)) - 1, math.ceil(math.log10(most)) + 2)
    values = [mantissa * 10.0**decade for decade in decades for mantissa in mantissas]
    low = max(value for value in values if value <= least * (1 + _ROUND))
    high = min(value for value in values if value >= most * (1 - _ROUND))
    return [value for value in values if low <= value <= high]


def share_scale(shares: Reals, goal: float) -> Scale:
    """Return an axis for attainment: 99 % and 99.9 % are as far apart as 90 % and 99 %, and 100 % lies at its end.

    Parameters
    ----------
    shares
        What is to be seen, in [0, 1]; NaN is left out.
    goal
        To be seen too, in (0, 1).

    Examples
    --------
    >>> [tick.text for tick in share_scale(np.array([0.95, 1.0]), 0.99).ticks]
    ['90 %', '99 %', '99.9 %', '100 %']
    """
    seen = np.append(shares[~np.isnan(shares)], goal)
    missing = 1 - seen[seen < 1]
    decades = math.ceil(-math.log10(min(_FEWEST_REQUESTS_MISSED, float(missing.min()))) - _ROUND)
    low = 1 if seen.min() >= 0.9 - _ROUND else 0
    values = [1 - 10.0**-nines for nines in range(low, decades + 1)]
    high = decades + 0.7  # 100 % lies beyond every share that misses something
    ticks = _ticked(Kind.NINES, float(low), high, values, _share_text).ticks
    return Scale(Kind.NINES, float(low), high, (*ticks, Tick(1.0, "100 %")))


def _share_text(share: float) -> str:
    return f"{format_number(100 * share, 9)} %"


def time_scale(begin_s: float, end_s: float) -> Scale:
    """Return the axis of time: round points of time, named as :func:`clock` does.

    Examples
    --------
    >>> [tick.text for tick in time_scale(0.0, 3500.0).ticks]
    ['0:00', '0:10', '0:20', '0:30', '0:40', '0:50']
    """
    end_s = end_s if end_s > begin_s else begin_s + 1.0
    span_s = end_s - begin_s
    step_s = next((step for step in _TIME_STEPS_S if span_s / step <= MOST_TIMES), math.ceil(span_s / MOST_TIMES))
    first, last = math.ceil(begin_s / step_s - _ROUND), math.floor(end_s / step_s + _ROUND)
    values = [float(number * step_s) for number in range(first, last + 1)]
    return _ticked(Kind.LINEAR, begin_s, end_s, values, lambda at_s: clock(at_s, seconds=step_s < 60))


def clock(at_s: float, *, seconds: bool = True) -> str:
    """Write a point of time of a trace: hours:minutes[:seconds], from the first day on with days.

    Examples
    --------
    >>> clock(75.0), clock(3600.0, seconds=False), clock(90061.5), clock(172800.0, seconds=False)
    ('0:01:15', '1:00', '1d 1:01:01.5', '2d 0:00')
    """
    whole = math.floor(at_s + _ROUND)
    days, rest = divmod(whole, int(_DAY_S))
    text = f"{rest // 3600}:{rest // 60 % 60:02d}"
    if seconds:
        text += f":{rest % 60:02d}"
        fraction = round(at_s - whole, 3)
        text += f"{fraction:g}"[1:] if 0 < fraction < 1 else ""
    return f"{days}d {text}" if days else text
