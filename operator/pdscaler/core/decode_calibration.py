"""Calibration of the decode law: one derate, from the mean TPOT under known loads. Imports core only.

An engine that is slower by a derate d sees the load r as one of the profile sees r / d, and takes 1 / d times as long:
TPOT(r; d) = TPOT(r / d) / d falls strictly with d, so that each point has exactly one derate of its own. One parameter
is identified by points of the same load, as long as they agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pdscaler.core.calibration import DERATE_BOUNDS, DERATE_PRIOR_WIDTH
from pdscaler.core.operating_point import Engine

LEAST_POINTS = 3
MEASUREMENT_ERROR = 0.05
"""Relative error that the derate of one point is taken to have."""

GREATEST_SPREAD = 0.1
"""Points whose derates lie further apart than this (median distance from their median, as a logarithm) disagree."""

_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class DecodeFit:
    """What the points say of the decode throughput.

    Parameters
    ----------
    derate
        Over the profile's, in DERATE_BOUNDS; None where nothing could be learnt.
    note
        Why not, one line; empty where it could.
    """

    derate: float | None
    note: str = ""


def derate_of(engine: Engine) -> float:
    """Return the derate at which the law gives what was measured, within DERATE_BOUNDS."""
    low, high = (math.log(bound) for bound in DERATE_BOUNDS)
    measured_s = engine.point.latency_s
    if engine.latency_s(DERATE_BOUNDS[0]) <= measured_s:
        return DERATE_BOUNDS[0]
    if engine.latency_s(DERATE_BOUNDS[1]) >= measured_s:
        return DERATE_BOUNDS[1]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if engine.latency_s(math.exp(middle)) > measured_s else (low, middle)
    return math.exp((low + high) / 2)


def calibrate_decode(engines: Sequence[Engine], now_s: float) -> DecodeFit:
    """Fit the decode derate to measured points.

    Parameters
    ----------
    engines
        The points, with the profile they are compared with.
    now_s
        The time, seconds since the epoch: old points count less.

    Notes
    -----
    The mean of ln derate by weight, each point no further from the median than the greatest spread (an outlier pulls
    no further than that), drawn to the profile by a prior of width 0.2.
    """
    if len(engines) < LEAST_POINTS:
        noun = "operating point" if len(engines) == 1 else "operating points"
        return DecodeFit(None, f"{len(engines)} {noun} of decode, at least {LEAST_POINTS} are needed")
    found = sorted((math.log(derate_of(engine)), engine.point.weight(now_s)) for engine in engines)
    middle = _median(found)
    apart = _median(sorted((abs(value - middle), weight) for value, weight in found))
    if apart > GREATEST_SPREAD:
        return DecodeFit(None, f"the operating points of decode disagree (by {apart:.0%} of the throughput)")
    near = [(min(max(value, middle - GREATEST_SPREAD), middle + GREATEST_SPREAD), weight) for value, weight in found]
    strength = math.fsum(weight for _, weight in near) / MEASUREMENT_ERROR**2
    drawn = math.fsum(value * weight for value, weight in near) / MEASUREMENT_ERROR**2
    return DecodeFit(math.exp(drawn / (strength + DERATE_PRIOR_WIDTH**-2)))


def _median(found: Sequence[tuple[float, float]]) -> float:
    """Return the median by weight of (value, weight), ascending."""
    half, passed = math.fsum(weight for _, weight in found) / 2, 0.0
    for value, weight in found:
        passed += weight
        if passed >= half:
            return value
    return found[-1][0]
