"""What to tell a user about a profile's points: outliers, scatter, corners, lengths nobody measured. Imports core only.

Reading a profile is fixed (:mod:`pdscaler.core.curves`, which calls this): nothing here changes a value. A plan on bad
points is a bad plan, so what looks wrong is named, with what to do about it. The checks are local and cheap (no scipy):
each point against the line through its neighbours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pdscaler.core.profile import DecodeProfile, PrefillProfile
from pdscaler.core.workload import LengthStats
from pdscaler.units import format_duration, format_number

SUSPICIOUS = 1.4
"""A point off its neighbours' line by this factor is named. Good measurements of real engines stay within 1.25."""

SUSPICIOUS_END = 2.0
"""The same of the first and the last point, which have neighbours on one side only."""

GROSS = 2.0
"""A misfit by more than this factor is an error, not scatter."""

NOISY = 0.08
"""Relative standard deviation of the points about a smooth curve from which on they are called noisy."""

FEWEST_STEPS = 3
"""Steps between inner points that scatter is estimated from."""

MOST_MISFITS = 16
"""A line with more of them is noise, not a line with outliers."""

NAMED = 3
"""Points named in one warning."""

CORNER = 0.5
"""A context measured up to less than this share of the batches in reach is a missing corner."""

FEW_BEYOND = 0.01
"""Share of prompts beyond the measured lengths that is not worth a word."""

_ADVICE = "measure again, or leave it out"


@dataclass(frozen=True, slots=True)
class Misfit:
    """A point off the line through its neighbours: measured at ``x``, and what the neighbours say there."""

    x: float
    measured_s: float
    expected_s: float

    @property
    def factor(self) -> float:
        """Measured over expected."""
        return self.measured_s / self.expected_s


@dataclass(frozen=True, slots=True)
class Smoothness:
    """How far the points of one line lie from their neighbours' lines.

    Parameters
    ----------
    scatter
        Relative standard deviation of the points about a smooth curve; NaN where they are too few to tell.
    misfits
        The points that are off by more than :data:`SUSPICIOUS`, the worst first.
    """

    scatter: float
    misfits: tuple[Misfit, ...]


def smoothness(points: Sequence[tuple[float, float]]) -> Smoothness:
    """Compare each inner point of a line with its neighbours; take the worst out, and look again.

    Parameters
    ----------
    points
        (x, seconds), x ascending, all positive.

    Notes
    -----
    Between neighbours a smooth curve runs between their straight line and their power law, give or take: a point within
    these two is not off at all. Where a curve bends, all points are off to the same side; noise is what alternates. For
    independent errors of deviation s the distances of adjacent points differ by a median of 0.6745 sqrt(5) s.

    Examples
    --------
    >>> smoothness([(1, 1.0), (2, 2.0), (3, 30.0), (4, 4.0), (5, 5.0)]).misfits
    (Misfit(x=3, measured_s=30.0, expected_s=3.0),)
    """
    left = list(points)
    misfits: list[Misfit] = []
    while len(left) >= 4 and len(misfits) < MOST_MISFITS:
        distances = [abs(value) for value in _distances(left)]
        suspects = sorted(range(len(left)), key=lambda index: -distances[index])[:NAMED]
        limit = [SUSPICIOUS_END, *[SUSPICIOUS] * (len(left) - 2), SUSPICIOUS_END]
        suspects = [index for index in suspects if distances[index] > math.log(limit[index])]
        if not suspects:
            break
        # A wrong point makes its neighbours look wrong too: the culprit is the one without whom the rest is smooth.
        worst = min(suspects, key=lambda index: sum(map(abs, _distances([*left[:index], *left[index + 1 :]]))))
        x, measured = left.pop(worst)
        misfits.append(Misfit(x, measured, _expected(left, x, worst)))
    # Only gross errors stand aside here: taking every point out that is a little off would leave a smooth rest.
    gross = {misfit.x for misfit in misfits if abs(math.log(misfit.factor)) > math.log(GROSS)}
    rest = _distances([point for point in points if point[0] not in gross])[1:-1]
    steps = sorted(abs(after - before) for before, after in pairwise(rest))
    scatter = steps[len(steps) // 2] / (0.6745 * math.sqrt(5)) if len(steps) >= FEWEST_STEPS else math.nan
    return Smoothness(scatter, tuple(sorted(misfits, key=lambda misfit: -abs(math.log(misfit.factor)))))


def prefill_point_notes(profile: PrefillProfile) -> tuple[str, ...]:
    """Return what looks wrong with a prefill profile's points: outliers, scatter. One line each."""
    points = sorted((point.input_tokens, point.latency_s) for point in profile.points)
    if len(points) < 2:
        return ()
    result = smoothness(points)
    named = [f"{format_number(misfit.x, 9)} tokens ({_off(misfit)})" for misfit in result.misfits]
    return (*_outlier_note("prefill", named), *_noise_note("prefill", result.scatter))


def decode_point_notes(profile: DecodeProfile) -> tuple[str, ...]:
    """Return what looks wrong with a decode profile's points: outliers, scatter. One line each."""
    results = {context: smoothness(line) for context, line in _lines(profile).items()}
    misfits = [(context, misfit) for context, result in results.items() for misfit in result.misfits]
    misfits.sort(key=lambda entry: -abs(math.log(entry[1].factor)))
    named = [
        f"context {format_number(context, 9)}, batch {format_number(misfit.x, 9)} ({_off(misfit)})"
        for context, misfit in misfits
    ]
    scatters = sorted(result.scatter for result in results.values() if not math.isnan(result.scatter))
    scatter = scatters[len(scatters) // 2] if scatters else math.nan
    return (*_outlier_note("decode", named), *_noise_note("decode", scatter))


def decode_corner_notes(profile: DecodeProfile) -> tuple[str, ...]:
    """Name the contexts that stop short of batches and resident tokens that were measured at other contexts."""
    lines = _lines(profile)
    largest = max((line[-1][0] for line in lines.values()), default=0.0)
    resident = max((context * line[-1][0] for context, line in lines.items()), default=0.0)
    short = []
    for context, line in lines.items():
        reach, last = min(largest, resident / context), line[-1][0]
        if last < CORNER * reach:
            short.append(
                f"context {format_number(context, 9)} only up to batch {format_number(last, 9)} "
                f"(of {math.floor(reach)} in reach)"
            )
    if not short:
        return ()
    return (f"decode profile: measured at {_listed(short)}; beyond, its last slope is used: measure there too",)


def length_notes(
    measured_tokens: tuple[float, float], isl: LengthStats, prefix_hit_ratio: float = 0.0
) -> tuple[str, ...]:
    """Say which share of the prompts is longer than what was measured, where the mean is not.

    Parameters
    ----------
    measured_tokens
        Least and greatest token count that was measured (equal: one throughput for all).
    isl
        Input lengths; their uncached part is what a pass takes.
    prefix_hit_ratio
        Share of the input tokens that the prefix cache serves.
    """
    longest = measured_tokens[1] / (1 - prefix_hit_ratio)
    if measured_tokens[0] == measured_tokens[1] or isl.mean_tokens > longest:
        return ()
    share = share_above(isl, longest)
    if share < FEW_BEYOND:
        return ()
    note = (
        f"prefill profile: {share:.0%} of the prompts are longer than the last point, "
        f"{format_number(measured_tokens[1], 9)} uncached tokens: extrapolated for these"
    )
    return (note,)


def share_above(length: LengthStats, tokens: float) -> float:
    """Return the share of requests longer than ``tokens``: of the measured distribution, or of the log-normal.

    Examples
    --------
    >>> round(share_above(LengthStats(1000.0, 1.0), 1000.0), 3), share_above(LengthStats(1000.0), 1000.0)
    (0.339, 0.0)
    """
    if length.atoms:
        return math.fsum(share for size, share in length.atoms if size > tokens)
    if length.scv == 0:
        return float(length.mean_tokens > tokens)
    variance = math.log1p(length.scv)
    above = (math.log(tokens / length.mean_tokens) + variance / 2) / math.sqrt(variance)
    return 0.5 * math.erfc(above / math.sqrt(2))


def _lines(profile: DecodeProfile) -> dict[float, list[tuple[float, float]]]:
    lines: dict[float, list[tuple[float, float]]] = {}
    for point in profile.points:
        lines.setdefault(point.context_tokens, []).append((point.batch, point.tpot_s))
    return {context: sorted(lines[context]) for context in sorted(lines)}


def _distances(points: Sequence[tuple[float, float]]) -> list[float]:
    """Return ln(measured / expected) of each point: 0 wherever it lies between line and power law.

    At the ends there is but one side: the first is off only above the second, the last below the one before it or far
    above where those before it lead.
    """
    result = [0.0] * len(points)
    if len(points) >= 2:
        result[0] = max(0.0, math.log(points[0][1] / points[1][1]))
    for index in range(1, len(points) - 1):
        (x, y), before, after = points[index], points[index - 1], points[index + 1]
        share = (x - before[0]) / (after[0] - before[0])
        line = before[1] + share * (after[1] - before[1])
        power = before[1] * (after[1] / before[1]) ** (math.log(x / before[0]) / math.log(after[0] / before[0]))
        low, high = sorted((line, power))
        result[index] = math.log(y / high) if y > high else min(0.0, math.log(y / low))
    if len(points) >= 3:
        (x, y), before, last = points[-1], points[-3], points[-2]
        expected = max(_beyond(before, last, x), last[1] * (x / last[0]) ** 2)
        result[-1] = math.log(y / expected) if y > expected else min(0.0, math.log(y / last[1]))
    return result


def _expected(points: Sequence[tuple[float, float]], x: float, index: int) -> float:
    """Return what the neighbours of a point that was taken out at ``index`` say there."""
    if index == 0:
        return points[0][1]
    if index == len(points):
        return _beyond(points[-2], points[-1], x)
    before, after = points[index - 1], points[index]
    return before[1] + (after[1] - before[1]) * (x - before[0]) / (after[0] - before[0])


def _beyond(one: tuple[float, float], other: tuple[float, float], x: float) -> float:
    return max(other[1], other[1] + (other[1] - one[1]) / (other[0] - one[0]) * (x - other[0]))


def _off(misfit: Misfit) -> str:
    factor = misfit.factor
    text = f"{format_number(factor, 2)} times" if factor >= 2 else f"{factor:.0%} of"
    return f"{format_duration(misfit.measured_s)}, {text} its neighbours' {format_duration(misfit.expected_s)}"


def _outlier_note(pool: str, named: Sequence[str]) -> list[str]:
    if not named:
        return []
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    noun = "an outlier" if len(named) == 1 else "outliers"
    return [f"{pool} profile: {noun} at {_listed(named[:NAMED])}{more}: {_ADVICE}"]


def _noise_note(pool: str, scatter: float) -> list[str]:
    if not scatter > NOISY:
        return []
    return [f"{pool} profile: the points scatter by about {scatter:.0%} around a smooth curve: repeat the measurements"]


def _listed(parts: Sequence[str]) -> str:
    return "; ".join(parts)
