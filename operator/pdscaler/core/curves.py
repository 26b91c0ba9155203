"""Curves read off measured profiles: prefill time, decode step time. May import only numpy, scipy, units and errors.

The rules are the reference semantics (DESIGN section 6), so that the planner, the simulator and the emulated engines
read a profile alike. Points are sorted; points that are not monotone are repaired and the repair is reported. The
calls are plain floats and one bisection: the event simulation asks for a step time at every event.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from pdscaler.core.curve_notes import decode_corner_notes, decode_point_notes, prefill_point_notes
from pdscaler.core.profile import DecodePoint, DecodeProfile, PrefillProfile
from pdscaler.errors import InvalidInputError
from pdscaler.units import format_duration, format_number

TAIL_INTERVALS = 3
"""Intervals whose mean slope extends a prefill curve beyond its last point (DESIGN section 6)."""

_PREFILL = "spec.prefill.profile"
_DECODE = "spec.decode.profile"


@dataclass(frozen=True, slots=True)
class Line:
    """A non-decreasing piecewise linear function: level below the first knot, ``tail_slope`` beyond the last.

    Examples
    --------
    >>> line = Line((10.0, 20.0), (1.0, 3.0), 0.2)
    >>> line(5.0), line(15.0), line(30.0)
    (1.0, 2.0, 5.0)
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]
    tail_slope: float

    def __call__(self, x: float) -> float:
        """Return the value at ``x``."""
        knots, values = self.knots, self.values
        right = bisect_right(knots, x)
        if right == 0:
            return values[0]
        left = right - 1
        if right == len(knots):
            return values[left] + self.tail_slope * (x - knots[left])
        low = values[left]
        return low + (values[right] - low) * ((x - knots[left]) / (knots[right] - knots[left]))


@dataclass(frozen=True, slots=True)
class PrefillCurve:
    """Time of one prefill pass against its uncached tokens, and the overhead of a request.

    Parameters
    ----------
    line
        Seconds against tokens.
    fixed_overhead_s, overhead_per_token_s
        Time to first token beyond queue and pass: constant, and per input token.
    measured_tokens
        Least and greatest token count that was measured.
    warnings
        What was repaired, one line each.
    notes
        What looks wrong with the points and was left as it is, one line each.
    """

    line: Line
    fixed_overhead_s: float
    overhead_per_token_s: float
    measured_tokens: tuple[float, float]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def time_s(self, tokens: float) -> float:
        """Return the seconds of a pass over ``tokens`` uncached tokens."""
        return self.line(tokens)

    def overhead_s(self, input_tokens: float) -> float:
        """Return the overhead, seconds, of a request with ``input_tokens`` tokens, cached ones included."""
        return self.fixed_overhead_s + self.overhead_per_token_s * input_tokens


@dataclass(frozen=True, slots=True)
class DecodeSurface:
    """Decode step time against batch and context length.

    Parameters
    ----------
    contexts
        Measured context lengths, tokens, ascending.
    lines
        Seconds against batch, one line for each context.
    max_batch, kv_capacity_tokens
        Limits of one replica.
    warnings
        What was repaired, one line each.
    notes
        What looks wrong with the points, or is missing, and was left as it is, one line each.
    """

    contexts: tuple[float, ...]
    lines: tuple[Line, ...]
    max_batch: int
    kv_capacity_tokens: float | None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def step_time_s(self, batch: float, resident_kv_tokens: float) -> float:
        """Return the seconds of one decode step.

        Parameters
        ----------
        batch
            Running requests, > 0.
        resident_kv_tokens
            KV tokens of all running requests together; divided by ``batch`` they are the context length.
        """
        return self.at_context(batch, resident_kv_tokens / batch if batch > 0 else 0.0)

    def at_context(self, batch: float, context_tokens: float) -> float:
        """Return the seconds of one decode step of ``batch`` requests of ``context_tokens`` each."""
        contexts = self.contexts
        right = bisect_right(contexts, context_tokens)
        if right == 0:
            return self.lines[0](batch)
        if right == len(contexts):
            return self.lines[-1](batch)
        low = self.lines[right - 1](batch)
        share = (context_tokens - contexts[right - 1]) / (contexts[right] - contexts[right - 1])
        return low + (self.lines[right](batch) - low) * share

    def line_at(self, context_tokens: float) -> Line:
        """Return step time against batch at one context length, as one piecewise linear function."""
        right = bisect_right(self.contexts, context_tokens)
        if right in (0, len(self.contexts)):
            return self.lines[0 if right == 0 else -1]
        low, high = self.lines[right - 1], self.lines[right]
        share = (context_tokens - self.contexts[right - 1]) / (self.contexts[right] - self.contexts[right - 1])
        knots = tuple(sorted({*low.knots, *high.knots}))
        values = tuple(low(knot) + (high(knot) - low(knot)) * share for knot in knots)
        return Line(knots, values, low.tail_slope + (high.tail_slope - low.tail_slope) * share)

    def measured_batches(self, context_tokens: float) -> tuple[float, float]:
        """Return the range of batches measured at every context that is used for ``context_tokens``."""
        right = bisect_right(self.contexts, context_tokens)
        used = self.lines[max(0, right - 1) : right + 1]
        return max(line.knots[0] for line in used), min(line.knots[-1] for line in used)


@lru_cache(maxsize=1024)
def prefill_curve(profile: PrefillProfile) -> PrefillCurve:
    """Read the prefill curve off a profile.

    Parameters
    ----------
    profile
        ``points`` (at least two) or ``max_throughput``, not both.

    Returns
    -------
    PrefillCurve
        Linear between the points, level below the first, beyond the last with the mean of the slopes of the last
        three intervals. ``max_throughput`` is the straight line tokens / tokens_per_second.

    Raises
    ------
    InvalidInputError
        If the profile is empty, has one point only, or holds values that cannot be measured.

    Examples
    --------
    >>> from pdscaler.core.profile import MaxThroughput
    >>> prefill_curve(PrefillProfile(max_throughput=MaxThroughput(6144, 24576.0))).time_s(12288)
    0.5
    """
    fixed_s = _non_negative(profile.overhead.fixed_s, f"{_PREFILL}.overhead.fixed")
    _positive(profile.max_batched_tokens, f"{_PREFILL}.maxBatchedTokens")
    per_token_s = _non_negative(profile.overhead.per_thousand_tokens_s, f"{_PREFILL}.overhead.perThousandTokens") / 1000
    if profile.max_throughput is not None:
        if profile.points:
            raise InvalidInputError(_PREFILL, "give either points or maxThroughput, not both")
        tokens = _positive(profile.max_throughput.input_tokens, f"{_PREFILL}.maxThroughput.inputTokens")
        rate = _positive(profile.max_throughput.tokens_per_second, f"{_PREFILL}.maxThroughput.tokensPerSecond")
        line = Line((0.0, tokens), (0.0, tokens / rate), 1.0 / rate)
        return PrefillCurve(line, fixed_s, per_token_s, (tokens, tokens))
    field = f"{_PREFILL}.points"
    if len(profile.points) < 2:
        found = "none" if not profile.points else "one"
        raise InvalidInputError(field, f"at least two points are needed, found {found} (or give maxThroughput)")
    measured = [
        (
            _positive(point.input_tokens, f"{field}[{index}].inputTokens"),
            _positive(point.latency_s, f"{field}[{index}].latency"),
        )
        for index, point in enumerate(profile.points)
    ]
    measured.sort()
    for (tokens, _), (other, _) in pairwise(measured):
        if tokens == other:
            raise InvalidInputError(field, f"two points have inputTokens {format_number(tokens, 9)}: keep one of them")
    knots = tuple(tokens for tokens, _ in measured)
    values, repaired = _monotone([latency_s for _, latency_s in measured])
    warnings = tuple(
        f"prefill profile: latency falls as input tokens grow; made monotone by averaging at {_names(knots, run)} "
        f"tokens ({_durations(measured, run)} became {format_duration(values[run[0]])})"
        for run in repaired
    )
    slopes = [(values[i + 1] - values[i]) / (knots[i + 1] - knots[i]) for i in range(len(knots) - 1)][-TAIL_INTERVALS:]
    line = Line(knots, values, math.fsum(slopes) / len(slopes))
    return PrefillCurve(line, fixed_s, per_token_s, (knots[0], knots[-1]), warnings, prefill_point_notes(profile))


@lru_cache(maxsize=1024)
def decode_surface(profile: DecodeProfile) -> DecodeSurface:
    """Read the decode surface off a profile.

    Parameters
    ----------
    profile
        Points of at least one context length, at least two batches at each.

    Returns
    -------
    DecodeSurface
        Along each context linear in batch, level below the first batch, the last slope beyond the last; between
        contexts linear in context = resident KV tokens / batch, held at the ends.

    Raises
    ------
    InvalidInputError
        If points are missing, or hold values that cannot be measured.

    Examples
    --------
    >>> points = (DecodePoint(6400, 30, 0.0188), DecodePoint(6400, 40, 0.0216))
    >>> round(decode_surface(DecodeProfile(points)).step_time_s(35, 35 * 6400), 6)
    0.0202
    """
    field = f"{_DECODE}.points"
    max_batch = profile.max_batch
    if not math.isfinite(max_batch) or max_batch < 1:
        raise InvalidInputError(f"{_DECODE}.maxBatch", f"must be at least 1, found {max_batch}")
    capacity = profile.kv_capacity_tokens
    if capacity is not None:
        capacity = _positive(capacity, f"{_DECODE}.kvCapacityTokens")
    if len(profile.points) < 2:
        found = "none" if not profile.points else "one"
        raise InvalidInputError(field, f"at least two points are needed, found {found}")
    contexts: list[float] = []
    lines: list[Line] = []
    warnings: list[str] = []
    for context, points in _by_context(profile.points):
        for (batch, _), (other, _) in pairwise(points):
            if batch == other:
                raise InvalidInputError(
                    field,
                    f"two points have contextTokens {format_number(context, 9)} and batch {format_number(batch, 9)}: "
                    "keep one of them",
                )
        if len(points) < 2:
            raise InvalidInputError(
                field, f"contextTokens {format_number(context, 9)} has one batch only; at least two are needed"
            )
        knots = tuple(batch for batch, _ in points)
        values, repaired = _monotone([tpot_s for _, tpot_s in points])
        warnings.extend(
            f"decode profile: TPOT falls as the batch grows; made monotone by averaging at context "
            f"{format_number(context, 9)}, batches {_names(knots, run)} "
            f"({_durations(points, run)} became {format_duration(values[run[0]])})"
            for run in repaired
        )
        contexts.append(context)
        lines.append(Line(knots, values, (values[-1] - values[-2]) / (knots[-1] - knots[-2])))
    notes = (*decode_point_notes(profile), *decode_corner_notes(profile))
    return DecodeSurface(tuple(contexts), tuple(lines), max_batch, capacity, tuple(warnings), notes)


def _by_context(points: Sequence[DecodePoint]) -> Iterator[tuple[float, list[tuple[float, float]]]]:
    """Yield (context, its (batch, TPOT) pairs ascending), contexts ascending."""
    field = f"{_DECODE}.points"
    grouped: dict[float, list[tuple[float, float]]] = {}
    for index, point in enumerate(points):
        context = _positive(point.context_tokens, f"{field}[{index}].contextTokens")
        batch = _positive(point.batch, f"{field}[{index}].batch")
        tpot_s = _positive(point.tpot_s, f"{field}[{index}].tpot")
        grouped.setdefault(context, []).append((batch, tpot_s))
    for context in sorted(grouped):
        yield context, sorted(grouped[context])


def _monotone(values: list[float]) -> tuple[tuple[float, ...], list[tuple[int, int]]]:
    """Return the nearest non-decreasing values, and the runs (first, last index) that were averaged for it."""
    if all(left <= right for left, right in pairwise(values)):
        return tuple(values), []
    from scipy.optimize import isotonic_regression  # slow to import, and most profiles are monotone

    fit = isotonic_regression(values)
    blocks = [int(start) for start in fit.blocks]
    runs = [
        (start, end - 1)
        for start, end in pairwise(blocks)
        if any(values[i] != values[start] for i in range(start, end))
    ]
    return tuple(float(value) for value in fit.x), runs


def _names(knots: Sequence[float], run: tuple[int, int]) -> str:
    return ", ".join(format_number(knot, 9) for knot in knots[run[0] : run[1] + 1])


def _durations(points: Sequence[tuple[float, float]], run: tuple[int, int]) -> str:
    return ", ".join(format_duration(value) for _, value in points[run[0] : run[1] + 1])


def _positive(value: float, field: str) -> float:
    if not math.isfinite(value) or value <= 0:
        raise InvalidInputError(field, f"must be a finite number above 0, found {value}")
    return float(value)


def _non_negative(value: float, field: str) -> float:
    if not math.isfinite(value) or value < 0:
        raise InvalidInputError(field, f"must be a finite number of at least 0, found {value}")
    return float(value)
