"""What an emulator is to serve: requests in order of arrival, and the segments of time they belong to.

May import core, errors, numpy and the modules of this package that make requests.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from pdscaler.core.emulation import Request
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.traces import Trace
from pdscaler.simulator.workload import Phase, phase_requests, trace_requests


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time and what was asked for in it.

    Parameters
    ----------
    name
        Name of the phase; ``trace`` for a trace.
    begin_s, end_s
        Seconds since the start.
    arrival_rate_rps, input_tokens, output_tokens
        Nominal means.
    """

    name: str
    begin_s: float
    end_s: float
    arrival_rate_rps: float
    input_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True)
class Load:
    """Requests and their segments.

    Parameters
    ----------
    requests
        In order of arrival, seconds since the start; none at or after the end.
    segments
        One after the other, without gaps.
    """

    requests: Iterator[Request]
    segments: tuple[Segment, ...]

    @property
    def duration_s(self) -> float:
        """End of the last segment, seconds."""
        return self.segments[-1].end_s

    def segment_index(self, at_s: float) -> int:
        """Return which segment an instant belongs to; the last one for what comes later."""
        begins = [segment.begin_s for segment in self.segments]
        return max(0, bisect_right(begins, at_s) - 1)


def load_of_phases(phases: Sequence[Phase], rng: np.random.Generator, duration_s: float | None = None) -> Load:
    """Return the load of phases, cut at ``duration_s`` (seconds) where it is given.

    Raises
    ------
    InvalidInputError
        If nothing is left of the first phase.
    """
    segments: list[Segment] = []
    begin_s = 0.0
    for phase in phases:
        end_s = begin_s + phase.duration_s
        cut_s = end_s if duration_s is None else min(end_s, duration_s)
        if cut_s > begin_s:
            rate_rps = phase.expected(cut_s - begin_s) / (cut_s - begin_s)
            segments.append(Segment(phase.name, begin_s, cut_s, rate_rps, phase.isl.mean_tokens, phase.osl.mean_tokens))
        begin_s = end_s
    if not segments:
        raise InvalidInputError("--duration", "must be above 0")
    limit_s = segments[-1].end_s
    requests = takewhile(lambda request: request.arrival_s < limit_s, phase_requests(phases, rng))
    return Load(requests, tuple(segments))


def load_of_trace(trace: Trace, duration_s: float | None = None) -> Load:
    """Return the load of a trace, cut at ``duration_s`` (seconds) where it is given.

    The nominal values of its one segment are the trace's means.

    Raises
    ------
    InvalidInputError
        If no request arrives that early, or all arrive at once and nothing says how long that lasts.
    """
    if duration_s is not None:
        source = trace.source
        trace = trace.until(duration_s)
        if not len(trace):
            raise InvalidInputError("--duration", f"no request arrives in the first {duration_s:g}s", source)
    if duration_s is None and trace.arrival_s[-1] <= 0:
        raise InvalidInputError("--duration", "is needed where every request arrives at once", trace.source)
    # Without a duration the load ends with the last arrival.
    end_s = duration_s if duration_s is not None else float(np.nextafter(trace.arrival_s[-1], np.inf))
    segment = Segment(
        name="trace",
        begin_s=0.0,
        end_s=end_s,
        arrival_rate_rps=len(trace) / end_s,
        input_tokens=float(trace.input_tokens.mean()),
        output_tokens=float(trace.output_tokens.mean()),
    )
    return Load(trace_requests(trace), (segment,))
