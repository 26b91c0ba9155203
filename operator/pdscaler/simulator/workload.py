"""Synthetic requests in phases, and requests of a trace. May import api, core, units, errors and numpy."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pdscaler.api.yamlfile import read_yaml_documents
from pdscaler.core.emulation import Request
from pdscaler.core.simulation.requests import draw_gaps, draw_lengths
from pdscaler.core.workload import LengthStats
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.traces import Trace
from pdscaler.units import parse_duration

_DRAWS = 1024
"""Random numbers drawn at once."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time with one kind of load.

    Parameters
    ----------
    name
        Name for people and for the records.
    duration_s
        Length, seconds, > 0.
    arrival_rate_rps
        Mean arrivals per second, at its begin; 0 is silence.
    isl, osl
        Lengths of prompts and answers, tokens: log-normal with this mean and squared coefficient of variation.
    arrival_scv
        Squared coefficient of variation of the gamma inter-arrival times; 1 is Poisson, 0 a clock.
    arrival_rate_end_rps
        Mean arrivals per second at its end, to which the rate goes in a straight line; None: it stays.
    """

    name: str
    duration_s: float
    arrival_rate_rps: float
    isl: LengthStats
    osl: LengthStats
    arrival_scv: float = 1.0
    arrival_rate_end_rps: float | None = None

    def rate_at(self, at_s: float) -> float:
        """Return the mean arrivals per second at an instant, seconds since the phase began."""
        return self.arrival_rate_rps + self._slope * min(max(at_s, 0.0), self.duration_s)

    def expected(self, until_s: float) -> float:
        """Return how many requests are expected to arrive until an instant, seconds since the phase began."""
        at_s = min(max(until_s, 0.0), self.duration_s)
        return (self.arrival_rate_rps + 0.5 * self._slope * at_s) * at_s

    def reaches(self, requests: float) -> float:
        """Return when so many requests (below those of the whole phase) are expected to have arrived, seconds."""
        rate = self.arrival_rate_rps
        # The root of rate·t + slope·t²/2 in the form that is exact for a slope of 0.
        return 2.0 * requests / (rate + math.sqrt(max(0.0, rate * rate + 2.0 * self._slope * requests)))

    @property
    def _slope(self) -> float:
        """Change of the rate per second."""
        end = self.arrival_rate_end_rps
        return 0.0 if end is None else (end - self.arrival_rate_rps) / self.duration_s


def phase_requests(phases: Sequence[Phase], rng: np.random.Generator) -> Iterator[Request]:
    """Yield the requests of all phases, one after the other, in order of arrival.

    Each phase has its own stream of the generator: what one phase asks for does not change the next one's requests.
    """
    begin_s = 0.0
    request_id = 0
    for phase, stream in zip(phases, rng.spawn(len(phases)), strict=True):
        for at_s, input_tokens, output_tokens in _draw(phase, stream):
            yield Request(request_id, begin_s + at_s, input_tokens, output_tokens)
            request_id += 1
        begin_s += phase.duration_s


def _draw(phase: Phase, rng: np.random.Generator) -> Iterator[tuple[float, int, int]]:
    """Draw arrivals at unit rate, and stretch time so that the expected number at every instant is the phase's."""
    expected = phase.expected(phase.duration_s)
    if expected == 0:
        return
    arrived = 0.0
    while True:
        gaps = draw_gaps(phase.arrival_scv, rng, _DRAWS)
        inputs = draw_lengths(phase.isl, rng, _DRAWS)
        outputs = draw_lengths(phase.osl, rng, _DRAWS)
        for gap, input_tokens, output_tokens in zip(gaps, inputs, outputs, strict=True):
            arrived += float(gap)
            at_s = phase.reaches(arrived) if arrived < expected else phase.duration_s
            if at_s >= phase.duration_s:
                return
            yield at_s, int(input_tokens), int(output_tokens)


def phase_trace(phases: Sequence[Phase], rng: np.random.Generator, source: str = "") -> Trace:
    """Return the requests of all phases as a trace; see :func:`phase_requests`.

    Raises
    ------
    InvalidInputError
        If nothing arrives in any of them.
    """
    rows = [(request.arrival_s, request.input_tokens, request.output_tokens) for request in phase_requests(phases, rng)]
    if not rows:
        raise InvalidInputError("phases", "nothing arrives in any of them", source)
    arrival_s, input_tokens, output_tokens = zip(*rows, strict=True)
    inputs = np.array(input_tokens, np.int64)
    outputs = np.array(output_tokens, np.int64)
    return Trace(np.array(arrival_s, np.float64), inputs, outputs, np.zeros_like(inputs), source)


def trace_requests(trace: Trace) -> Iterator[Request]:
    """Yield the requests of a trace."""
    columns = (trace.arrival_s, trace.input_tokens, trace.output_tokens, trace.prefix_hit_tokens)
    for request_id, values in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        yield Request(request_id, *values)


def read_phases(path: Path) -> tuple[Phase, ...]:
    """Read a phases file (YAML).

    The file holds ``phases``, a list of ``{name, duration: 50s, arrivalRate: 40, inputTokens: {mean, scv},
    outputTokens: {mean, scv}}`` and optionally ``arrivalScv`` and ``arrivalRateEnd``, to which the rate then goes in a
    straight line; a scv that is left out is 0, that of the arrivals 1.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, or names the field that is wrong.
    """
    documents = read_yaml_documents(path)
    if len(documents) > 1:
        raise InvalidInputError("", f"{len(documents)} YAML documents found, expected one", str(path))
    try:
        return parse_phases(documents[0] if documents else None)
    except InvalidInputError as error:
        raise error.with_source(str(path)) from None


def parse_phases(document: object) -> tuple[Phase, ...]:
    """Check the content of a phases file; see :func:`read_phases`.

    Raises
    ------
    InvalidInputError
        If a field is missing, unknown or out of bounds; it names the field.
    """
    entries = _mapping(document, "", {"phases"}, {"phases"})["phases"]
    if not isinstance(entries, list) or not entries:
        raise InvalidInputError("phases", "expected a list of at least one phase")
    return tuple(_phase(entry, f"phases[{index}]") for index, entry in enumerate(entries))


def _phase(entry: object, field: str) -> Phase:
    required = {"name", "duration", "arrivalRate", "inputTokens", "outputTokens"}
    values = _mapping(entry, field, required, required | {"arrivalScv", "arrivalRateEnd"})
    name = values["name"]
    if not isinstance(name, str) or not name or len(name) > 63:
        raise InvalidInputError(f"{field}.name", "expected a name of 1 to 63 characters")
    duration = values["duration"]
    duration_s = parse_duration(duration if isinstance(duration, str) else str(duration), f"{field}.duration")
    if duration_s <= 0:
        raise InvalidInputError(f"{field}.duration", "expected a duration above 0, such as 50s")
    return Phase(
        name=name,
        duration_s=duration_s,
        arrival_rate_rps=_number(values["arrivalRate"], f"{field}.arrivalRate", 0, 100_000),
        isl=_lengths(values["inputTokens"], f"{field}.inputTokens"),
        osl=_lengths(values["outputTokens"], f"{field}.outputTokens"),
        arrival_scv=_number(values.get("arrivalScv", 1.0), f"{field}.arrivalScv", 0, 1000),
        arrival_rate_end_rps=None
        if "arrivalRateEnd" not in values
        else _number(values["arrivalRateEnd"], f"{field}.arrivalRateEnd", 0, 100_000),
    )


def _lengths(entry: object, field: str) -> LengthStats:
    values = _mapping(entry, field, {"mean"}, {"mean", "scv"})
    return LengthStats(
        mean_tokens=_number(values["mean"], f"{field}.mean", 1, 10_000_000),
        scv=_number(values.get("scv", 0.0), f"{field}.scv", 0, 1000),
    )


def _mapping(value: object, field: str, required: set[str], known: set[str]) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise InvalidInputError(field, f"expected a mapping with {', '.join(sorted(required))}")
    for key in value:
        if key not in known:
            raise InvalidInputError(f"{field}.{key}".lstrip("."), f"unknown field (known: {', '.join(sorted(known))})")
    for key in sorted(required):
        if key not in value:
            raise InvalidInputError(f"{field}.{key}".lstrip("."), "is missing")
    return value


def _number(value: object, field: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidInputError(field, f"is {value!r}, expected a number from {least:g} to {most:g}")
    return float(value)
