"""Recorded requests: the formats of DESIGN section 5, scaling, statistics. May import core, units and errors."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.rows import MOONCAKE, Row
from pdscaler.simulator.tracefile import lines_of, opened, source_name
from pdscaler.units import format_number

SCALE_WINDOW_S = 10.0
"""Copies of a request are spread over this many seconds (DESIGN section 5)."""

MAX_REQUESTS = 20_000_000
"""Requests of a scaled trace: four columns of this many are about a gigabyte while they are sorted."""

LEAST_SPAN_S = 1e-6
"""Requests closer together than any clock of a trace tells apart have no rate."""

GAP_S = 600.0
GAP_MEANS = 30.0
"""A gap is named that is at least so long, and so many times the mean of all others; chance makes none."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Requests in order of arrival.

    Parameters
    ----------
    arrival_s
        Arrivals, seconds, ascending.
    input_tokens, output_tokens, prefix_hit_tokens
        Lengths, tokens.
    source
        Name of the file.
    notes
        What was done to the file's content, one line each.
    """

    arrival_s: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    prefix_hit_tokens: NDArray[np.int64]
    source: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.arrival_s)

    def until(self, duration_s: float) -> "Trace":
        """Return the requests that arrive in the first ``duration_s`` seconds."""
        return self.take(self.arrival_s < duration_s)

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Trace":
        """Return the requests that a mask or indices choose."""
        return replace(
            self,
            arrival_s=self.arrival_s[which],
            input_tokens=self.input_tokens[which],
            output_tokens=self.output_tokens[which],
            prefix_hit_tokens=self.prefix_hit_tokens[which],
        )


def read_trace(path: Path) -> Trace:
    """Read a trace file.

    Parameters
    ----------
    path
        CSV with ``arrival_s,input_tokens,output_tokens[,prefix_hit_tokens]``, the Azure LLM inference CSV, the
        BurstGPT CSV or Mooncake's JSON lines; each may be compressed with gzip.

    Returns
    -------
    Trace
        At least one request. What is not in order of arrival is sorted, and a note says so. Points of time count from
        the first request; relative times are kept.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, naming file, line and column.

    Notes
    -----
    Mooncake's ``hash_ids`` are not turned into prefix hits: what hits depends on the cache of the replica that a
    request joins. Requests that BurstGPT records with 0 response tokens failed, and are left out.
    """
    with opened(path) as text:
        return _read(text, source_name(path))


def _read(text: TextIO, source: str) -> Trace:
    lines = lines_of(text, source)
    kept: list[Row] = []
    failed = 0
    for row in lines.rows:
        if row is None:
            failed += 1
        else:
            kept.append(row)
    if not kept:
        raise InvalidInputError("", "has no requests", source)
    arrival_s = np.array([row.arrival_s for row in kept])
    notes = []
    if failed:
        notes.append(f"{source}: {failed} failed request{'' if failed == 1 else 's'} (0 response tokens) left out")
    if lines.layout is MOONCAKE:
        notes.append(f"{source}: hash_ids are not turned into prefix hits")
    if len(lines.zones) > 1:
        notes.append(f"{source}: some points of time name a zone and some do not; these were read as UTC")
    trace = Trace(
        arrival_s=arrival_s - arrival_s.min() if lines.layout.absolute else arrival_s,
        input_tokens=np.array([row.input_tokens for row in kept], dtype=np.int64),
        output_tokens=np.array([row.output_tokens for row in kept], dtype=np.int64),
        prefix_hit_tokens=np.array([row.prefix_hit_tokens for row in kept], dtype=np.int64),
        source=source,
    )
    if np.any(np.diff(trace.arrival_s) < 0):
        notes.append(f"{source}: not in order of arrival; sorted")
        trace = _sorted(trace)
    notes += _gap_note(trace)
    return replace(trace, notes=tuple(notes))


def _gap_note(trace: Trace) -> list[str]:
    """Name the longest gap where it looks like a hole in the recording: long, and unlike all others."""
    gaps_s = np.diff(trace.arrival_s)
    if len(gaps_s) < 2:
        return []
    place = int(np.argmax(gaps_s))
    longest_s = float(gaps_s[place])
    others_s = (float(gaps_s.sum()) - longest_s) / (len(gaps_s) - 1)
    if longest_s < GAP_S or longest_s < GAP_MEANS * others_s:
        return []
    words = f"nothing arrives for {format_number(longest_s / 60)} min after {trace.arrival_s[place]:.6g} s"
    return [f"{trace.source}: {words}; replayed as silence (is it a hole in the recording?)"]


def _sorted(trace: Trace) -> Trace:
    return trace.take(np.argsort(trace.arrival_s, kind="stable"))


def scale_trace(trace: Trace, factor: float, rng: np.random.Generator) -> Trace:
    """Multiply the rate of a trace without shrinking its time.

    Every request is copied ⌊factor⌋ times, plus once more with the probability of the fraction; each copy is shifted
    by its own uniform offset in [0, 10 s). Minute-scale bursts stay. A factor of exactly 1 changes nothing.

    Parameters
    ----------
    trace
        The trace.
    factor
        > 0; below 1 it thins.
    rng
        Random generator.

    Returns
    -------
    Trace
        In order of arrival.

    Raises
    ------
    InvalidInputError
        If the factor is not above 0, nothing is left, or too much would be made.
    """
    if not 0 < factor <= 1_000_000:
        raise InvalidInputError("--rate-scale", f"is {factor:g}, expected a number above 0 and at most 1000000")
    if factor == 1:
        return trace
    if factor * len(trace) > MAX_REQUESTS:
        raise InvalidInputError(
            "--rate-scale", f"{factor:g} times {len(trace)} requests is more than the {MAX_REQUESTS} that fit in memory"
        )
    whole = int(factor)
    copies = whole + (rng.random(len(trace)) < factor - whole)
    if not copies.any():
        raise InvalidInputError("--rate-scale", f"{factor:g} leaves no request of {trace.source or 'the trace'}")
    scaled = trace.take(np.repeat(np.arange(len(trace)), copies))
    shifted = scaled.arrival_s + rng.uniform(0.0, SCALE_WINDOW_S, len(scaled))
    return _sorted(replace(scaled, arrival_s=shifted))


def trace_workload(trace: Trace) -> WorkloadStats:
    """Return the mean rate and the length statistics of a whole trace.

    Raises
    ------
    InvalidInputError
        If fewer than two requests arrive at different times: then there is no rate. If every input token is a prefix
        hit: then there is no prefill to size.

    Notes
    -----
    The rate is (n − 1) / (last − first arrival). ``arrival_scv`` is that of all inter-arrival times; where the rate
    varies over minutes it measures that too, and says nothing about queues at one moment (MODEL section 3).
    """
    gaps = np.diff(trace.arrival_s)
    if not len(gaps) or gaps.sum() < LEAST_SPAN_S:
        raise InvalidInputError("", "needs at least two requests at different times", trace.source)
    hit_ratio = float(trace.prefix_hit_tokens.sum() / trace.input_tokens.sum())
    if hit_ratio >= 1:
        raise InvalidInputError(
            "prefix_hit_tokens", "every input token is a hit; at least one must be computed", trace.source
        )
    return WorkloadStats(
        arrival_rate_rps=float(1 / gaps.mean()),
        isl=_length_stats(trace.input_tokens),
        osl=_length_stats(trace.output_tokens),
        arrival_scv=float(gaps.var() / gaps.mean() ** 2),
        prefix_hit_ratio=hit_ratio,
    )


def _length_stats(tokens: NDArray[np.int64]) -> LengthStats:
    mean = float(tokens.mean())
    return LengthStats(mean_tokens=mean, scv=float(tokens.var()) / mean**2)
