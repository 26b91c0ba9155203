"""Invert a latency law: the least count for a load, the largest load for a count. Imports the standard library only.

Both searches see the latency's excess over that without load against the room left, q = saturation / load - 1, in
logarithms: one straight line of slope -1 for M/M/1, since its excess is idle / q, and close to straight for pooled
servers and for decode. So a secant from the right end needs a few evaluations; a bracket keeps every law safe.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

PRECISION = 1e-6
"""Relative precision of a largest load; it errs on the side that meets the limit."""

LEAST_EXCESS = 1e-12
"""Excess over the latency without load, as a share of it, that is told apart from none."""

STEEPEST = -50.0
"""Steepest slope that is believed."""

STRIDE = 2.0
"""Step where the slope says nothing: the room left grows or shrinks by e to this."""

WIDEST = 50.0
"""Greatest logarithm of the room left, either way, that is looked at."""

FARTHEST = 3.0
"""Longest step that the slope is believed for."""


SLOW = 2
"""Points in a row that may fail to halve the distance from 0 before the bracket is halved instead."""


class _Secant:
    """Proposes where a decreasing function passes 0, from the points seen and a bracket of them."""

    __slots__ = ("above", "below", "last", "slope", "slow")

    def __init__(self, slope: float = -1.0) -> None:
        self.above = (-math.inf, math.inf)
        """The greatest point where the function is above 0."""
        self.below = (math.inf, -math.inf)
        """The least point where it is not."""
        self.last = (math.nan, math.nan)
        self.slope = slope
        self.slow = 0

    def see(self, x: float, y: float) -> None:
        """Take in the value at a point."""
        x0, y0 = self.last
        self.slow = self.slow + 1 if not abs(y) < abs(y0) / 2 else 0
        if math.isfinite(y):
            if x != x0 and math.isfinite(y0):
                slope = (y - y0) / (x - x0)
                self.slope = min(max(slope, STEEPEST), 1 / STEEPEST) if slope < 0 else -1.0
            self.last = (x, y)
        if y > 0:
            if x > self.above[0]:
                self.above = (x, y)
        elif x < self.below[0]:
            self.below = (x, y)

    def next(self) -> float:
        """Return the point to look at next, strictly within the bracket."""
        (low, low_y), (high, high_y) = self.above, self.below
        x, y = self.last
        bracketed = math.isfinite(high - low)
        if bracketed and (self.slow > SLOW or math.isnan(y)):
            self.slow = 0
            return (low + high) / 2
        if math.isfinite(y):
            guess = x - min(max(y / self.slope, -FARTHEST), FARTHEST)
            if low < guess < high:
                return guess
        if bracketed:
            if math.isfinite(low_y) and math.isfinite(high_y):
                return low + (high - low) * low_y / (low_y - high_y)
            return (low + high) / 2
        return low + STRIDE if math.isfinite(low) else high - STRIDE


@dataclass(frozen=True, slots=True)
class Limit:
    """What a latency must not exceed.

    Parameters
    ----------
    value_s
        The greatest latency, seconds, at least ``idle_s``.
    idle_s
        The latency without load.
    """

    value_s: float
    idle_s: float

    def excess(self, value_s: float) -> float:
        """Return the logarithm of a latency's excess over the limit's: above 0 exactly where the limit is exceeded."""
        if value_s == math.inf:
            return math.inf
        least_s = LEAST_EXCESS * self.idle_s
        found = math.log(max(value_s - self.idle_s, least_s) / max(self.value_s - self.idle_s, least_s))
        if value_s > self.value_s:
            return max(found, LEAST_EXCESS)
        return min(found, 0.0)

    def room(self, count: float) -> float:
        """Guess the room that a count needs: as M/M/1 does, or as many servers pooled, if that is less."""
        return min(
            self.idle_s / max(self.value_s - self.idle_s, LEAST_EXCESS * self.idle_s),
            1 / math.sqrt(count),
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A least count, and what the search saw on the way.

    Parameters
    ----------
    count
        The least count.
    real
        About the real-valued count that is just enough.
    slope
        Of the logarithm of the excess against that of the room left, near there.
    """

    count: int
    real: float
    slope: float


def least_count(value: Callable[[int], float], limit: Limit, saturated: float, most: int) -> Found:
    """Find the least count whose latency is within the limit, at least 1 and at most ``most``.

    Parameters
    ----------
    value
        Latency, seconds, of a count; it never rises with the count.
    saturated
        The real-valued count, > 0, up to which the latency is infinite.
    """
    fails, serves = 0, most + 1
    secant = _Secant()
    guess = saturated * (1 + limit.room(saturated))
    while True:
        count = min(max(math.ceil(guess), fails + 1), serves - 1)
        y = limit.excess(value(count))
        if count > saturated:
            secant.see(math.log(count / saturated - 1), y)
        if y > 0:
            fails = count
        else:
            serves = count
        guess = saturated + 1 if count <= saturated else saturated * (1 + math.exp(min(secant.next(), WIDEST)))
        if serves - fails <= 1:
            return Found(min(serves, most), min(max(guess, fails), serves), secant.slope)


def largest_load(
    value: Callable[[float], float], limit: Limit, saturation: float, near: float, slope: float = -1.0
) -> float:
    """Return the largest load whose latency is within the limit, to PRECISION and never beyond it.

    Parameters
    ----------
    value
        Latency, seconds, at a load; it never falls as the load grows, and is infinite from ``saturation`` on.
    saturation
        Finite, > 0.
    near
        A load, > 0, that the search begins at.
    slope
        As :class:`Found` has it.
    """
    secant = _Secant(slope)
    low, high, load = 0.0, saturation, near
    while high - low > PRECISION * high:
        # Closer to an end than the precision: look beyond the root, so that the bracket closes from both sides.
        nearest = PRECISION / 4 * high
        load = min(max(load, low + nearest), high - nearest)
        y = limit.excess(value(load))
        room = saturation / load - 1
        secant.see(math.log(room), y)
        if y > 0:
            high = load
        else:
            low = load
            # The root is a distance of y / slope away, in the logarithm of the room.
            if y < 0 and y / secant.slope * room < PRECISION * (1 + room):
                break
        # Aimed a little below the root, where the search may end.
        load = saturation / (1 + math.exp(min(max(secant.next(), -WIDEST), WIDEST))) * (1 - PRECISION / 4)
    return low
