"""What is run: traces with their targets, and their settings (rate, start-up). Imports api, core and the simulator."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from bench.policy.generators import HOUR_S, SHAPES, generate

from pdscaler.api.convert import to_scaling_spec
from pdscaler.api.parse import load_pddeployment
from pdscaler.api.yamlfile import read_yaml_documents
from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import PoolLimits, ScalingSpec
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.traces import read_trace, scale_trace
from pdscaler.units import format_duration, parse_duration

HERE = Path(__file__).resolve().parent
ENGINE = HERE / "engine.yaml"
KNOWN = HERE / "traces.yaml"

STATISTIC = Statistic.P99
MEASURE_FROM_S = 900.0
LONG_S, LONG_MEASURE_FROM_S = 1.25 * HOUR_S, 1800.0
"""Traces longer than this are measured from half an hour on."""

MOST_REPLICAS = 200
SEED = 0
"""Of the synthetic traces and of the rate scale."""

_FIELDS = {"file", "name", "title", "rateScale", "ttft", "tpot", "measureFrom"}


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace and what is asked of it.

    Parameters
    ----------
    name, title
        Short name, and what people call it.
    ttft_s, tpot_s
        P99 targets, seconds.
    measure_from_s
        What is counted counts from then on, seconds.
    rate_scale
        Multiplies the rate of the trace as it is.
    engine
        The file with the profile: a PDDeployment (YAML), or measurements (JSON).
    file
        The recorded trace; None where it is synthetic, by its name.
    hours
        Cuts the trace; None: all of it.
    """

    name: str
    title: str
    ttft_s: float
    tpot_s: float
    measure_from_s: float
    rate_scale: float
    engine: Path
    file: Path | None = None
    hours: float | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A trace at one rate and one start-up time.

    Parameters
    ----------
    trace
        The trace.
    rate_factor
        Multiplies the trace's rate.
    startup_s
        From an order to Ready, both pools, seconds.
    """

    trace: Trace
    rate_factor: float = 1.0
    startup_s: float = 120.0

    @property
    def key(self) -> str:
        """Names the case, for people and files."""
        return f"{self.trace.name} ×{self.rate_factor:g}, start-up {format_duration(self.startup_s)}"

    @property
    def is_base(self) -> bool:
        """Whether it is the trace as it is asked for, at the start-up of two minutes."""
        return self.rate_factor == 1.0 and self.startup_s == 120.0


def cases_of(
    traces: Sequence[Trace], rate_factors: Sequence[float], startups_s: Sequence[float], *, every: bool
) -> list[Case]:
    """Return the cases: the base of every trace, then one thing varied at a time (``every``: all combinations)."""
    found: list[Case] = []
    for trace in traces:
        base = Case(trace)
        if every:
            more = [Case(trace, factor, startup_s) for factor in rate_factors for startup_s in startups_s]
        else:
            more = [replace(base, startup_s=startup_s) for startup_s in startups_s]
            more += [replace(base, rate_factor=factor) for factor in rate_factors]
        found += dict.fromkeys([base, *more])
    return sorted(found, key=lambda case: not case.is_base)


def synthetic(engine: Path = ENGINE, names: Sequence[str] = tuple(SHAPES), hours: float | None = None) -> list[Trace]:
    """Return the synthetic traces."""
    found = []
    for name in names:
        shape = SHAPES[name]
        long = min(shape.hours, hours or shape.hours) * HOUR_S > LONG_S
        found.append(
            Trace(
                name,
                shape.title,
                shape.ttft_s,
                shape.tpot_s,
                LONG_MEASURE_FROM_S if long else MEASURE_FROM_S,
                1.0,
                engine,
                hours=hours,
            )
        )
    return found


def recorded(files: Sequence[Path], engine: Path, asked: Mapping[str, object]) -> list[Trace]:
    """Return the traces of some files.

    Parameters
    ----------
    files
        Traces, or YAML files that list traces.
    engine
        The file with the profile.
    asked
        Targets and rate scale of traces that neither a YAML file nor traces.yaml knows, by the names of these files.

    Raises
    ------
    InvalidInputError
        If a file cannot be read, or nothing says a trace's targets; it names the file and the field.
    """
    known = {entry["file"]: entry for entry in _entries(KNOWN)}
    found: list[Trace] = []
    for path in files:
        if path.suffix in (".yaml", ".yml"):
            found += [_trace(entry, path.parent / str(entry["file"]), engine, str(path)) for entry in _entries(path)]
        else:
            found.append(_trace({**asked, **known.get(path.name, {})}, path, engine, str(path)))
    names = [trace.name for trace in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError("--traces", f"two traces are named {name}")
    return found


def _entries(path: Path) -> Iterator[Mapping[str, object]]:
    documents = read_yaml_documents(path)
    document = documents[0] if len(documents) == 1 else None
    entries = document.get("traces") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InvalidInputError("traces", "expected a list of at least one trace", str(path))
    for index, entry in enumerate(entries):
        field = f"traces[{index}]"
        if not isinstance(entry, dict) or "file" not in entry:
            raise InvalidInputError(field, "expected a mapping with file, ttft and tpot", str(path))
        for key in entry:
            if key not in _FIELDS:
                known = f"unknown field (known: {', '.join(sorted(_FIELDS))})"
                raise InvalidInputError(f"{field}.{key}", known, str(path))
        yield entry


def _trace(entry: Mapping[str, object], path: Path, engine: Path, source: str) -> Trace:
    for field in ("ttft", "tpot"):
        if entry.get(field) is None:
            raise InvalidInputError(field, f"is missing: what is the target of {path.name}? (--{field} 400ms)", source)
    name = str(entry.get("name") or path.name.split(".")[0])
    scale = entry.get("rateScale", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < 1e6:
        raise InvalidInputError("rateScale", f"is {scale!r}, expected a number above 0", source)
    measured = entry.get("measureFrom")
    if measured is None:
        span_s = float(read_trace(path).arrival_s[-1])
        measure_from_s = LONG_MEASURE_FROM_S if span_s > LONG_S else MEASURE_FROM_S
    else:
        measure_from_s = parse_duration(measured, "measureFrom")
    return Trace(
        name,
        str(entry.get("title") or name),
        parse_duration(entry["ttft"], "ttft"),
        parse_duration(entry["tpot"], "tpot"),
        measure_from_s,
        float(scale),
        engine,
        path,
    )


@lru_cache(maxsize=4)
def _requests(trace: Trace, rate_factor: float) -> RequestTable:
    scale = trace.rate_scale * rate_factor
    if trace.file is None:
        return generate(SHAPES[trace.name], SEED, rate_scale=scale, hours=trace.hours)
    scaled = scale_trace(read_trace(trace.file), scale, np.random.default_rng(SEED))
    if trace.hours is not None:
        scaled = scaled.until(trace.hours * HOUR_S)
    return RequestTable(scaled.arrival_s, scaled.input_tokens, scaled.output_tokens, scaled.prefix_hit_tokens)


def requests_of(case: Case) -> RequestTable:
    """Return what arrives; the last few traces are kept."""
    return _requests(case.trace, case.rate_factor)


@lru_cache(maxsize=16)
def spec_of(case: Case) -> ScalingSpec:
    """Return the PDDeployment of a case: the engine's, with the case's targets and start-up."""
    spec = _engine(case.trace.engine)
    sizing = spec.sizing
    slo = Slo(LatencyTarget(case.trace.ttft_s, STATISTIC), LatencyTarget(case.trace.tpot_s, STATISTIC))
    limits = sizing.limits.map(lambda each: replace(each, startup_s=case.startup_s))
    return replace(spec, sizing=replace(sizing, name=case.trace.name, slo=slo, limits=limits))


def _engine(path: Path) -> ScalingSpec:
    if path.suffix != ".json":
        return to_scaling_spec(load_pddeployment(path))
    from pdscaler.api.convert import to_decode_profile, to_prefill_profile
    from pdscaler.api.profile import DecodeProfileSpec, PrefillProfileSpec
    from pdscaler.profiler.measured import load_measured_profile

    measured = load_measured_profile(path)
    spec = to_scaling_spec(load_pddeployment(ENGINE))
    limits = measured.gpus_per_replica.map(lambda gpus: PoolLimits(max_replicas=MOST_REPLICAS, gpus_per_replica=gpus))
    sizing = replace(
        spec.sizing,
        prefill_profile=to_prefill_profile(PrefillProfileSpec.model_validate(measured.prefill)),
        decode_profile=to_decode_profile(DecodeProfileSpec.model_validate(measured.decode)),
        limits=PerPool(limits.prefill, limits.decode),
    )
    return replace(spec, sizing=sizing)


def fingerprint(case: Case) -> str:
    """Return a short hash of all that is asked: requests, targets, profile, limits, what is measured."""
    spec = spec_of(case)
    sizing = spec.sizing
    # Named one by one: a field that a later version adds to the PDDeployment is not asked here.
    asked = (
        sizing.slo, sizing.prefill_profile, sizing.decode_profile, sizing.limits, sizing.constraints, sizing.routing,
        sizing.decode_derate, spec.window_s, spec.evaluation_period_s, case.trace.measure_from_s,
    )  # fmt: skip
    digest = hashlib.sha256(repr(asked).encode())
    requests = requests_of(case)
    for column in (requests.arrival_s, requests.input_tokens, requests.output_tokens, requests.prefix_hit_tokens):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]
