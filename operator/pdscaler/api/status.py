"""The status of a PDDeployment, as the operator writes it. May import only pydantic, base and printable.

Everything the operator writes is declared here, else the API server would prune it. Texts and lists are clipped to
the schema's bounds instead of refused: a long message must never cost the status. What is not printable is escaped,
whoever wrote it: engines and pods have their words in messages, and whoever may write a status has all of it. Reading
passes over the fields of other releases.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from pdscaler.api.base import Model
from pdscaler.printable import clipped

MAX_DECISIONS = 10
MAX_RECOMMENDATIONS = 256
MAX_EVENTS = 256
MAX_POINTS = 24
MAX_FLIPS = 3


def _clip_text(length: int) -> Callable[[object], object]:
    def clip(value: object) -> object:
        return clipped(value, length) if isinstance(value, str) else value

    return clip


def _clip_list(length: int) -> Callable[[object], object]:
    def clip(value: object) -> object:
        return value[:length] if isinstance(value, (list, tuple)) else value

    return clip


def _clip_map(length: int) -> Callable[[object], object]:
    def clip(value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {clipped(key, 64) if isinstance(key, str) else key: entry for key, entry in [*value.items()][:length]}

    return clip


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Word = Annotated[str, Field(max_length=64), BeforeValidator(_clip_text(64))]
"""A stable word or a short figure with its unit."""
Line = Annotated[str, Field(max_length=512), BeforeValidator(_clip_text(512))]
"""One line for people."""
Message = Annotated[str, Field(max_length=4096), BeforeValidator(_clip_text(4096))]
"""A condition's message."""
Time = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
"""An RFC 3339 time."""
Figure = Annotated[Annotated[float, Field(allow_inf_nan=False)] | None, BeforeValidator(_finite)]
"""A rounded number; what is not finite is not known."""
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Words = Annotated[tuple[Word, ...], Field(max_length=16), BeforeValidator(_clip_list(16))]


class StatusModel(Model):
    """Base of the status blocks."""

    model_config = ConfigDict(extra="ignore")


class Condition(StatusModel):
    """One condition; the reasons are FAULTS' stable words."""

    type: Word
    status: Literal["True", "False", "Unknown"]
    reason: Word
    message: Message = ""
    last_transition_time: Time
    observed_generation: Annotated[int, Field(ge=0)] | None = None


class Summary(StatusModel):
    """The printer columns: plain strings; a dash where nothing is known."""

    prefill: Word = "–"
    decode: Word = "–"
    rate: Word = "–"
    ttft: Word = "–"
    tpot: Word = "–"
    state: Word = "–"
    limited_by: Word = "–"
    forecast: Word = "–"
    gpus: Word = "–"
    last_change: Word = "–"


class PoolStatus(StatusModel):
    """One pool: what is, what the model recommends, what is ordered, and why."""

    current: Count | None = Field(default=None, description="What the target's /scale asks for.")
    ready: Count | None = Field(default=None, description="Ready replicas.")
    required: Figure = Field(default=None, description="Replicas needed, before rounding.")
    recommended: Count | None = Field(default=None, description="The model's optimum, before bounds and behavior.")
    desired: Count | None = Field(
        default=None, description="What is ordered, after bounds, ratio, budget and behavior."
    )
    utilization: Figure = Field(default=None, description="Required over desired.")
    binding: Word | None = Field(default=None, description="What decides the required count.")
    limited_by: Words = Field(default=(), description="What stands between recommended and desired.")
    reason: Line | None = Field(default=None, description="Why this count, with the figures.")


class LengthStatus(StatusModel):
    """Mean and squared coefficient of variation of a token count."""

    mean: Figure = None
    scv: Figure = None


class WorkloadStatus(StatusModel):
    """What arrives, over the window, and where it was read."""

    arrival_rate: Figure = Field(default=None, description="Requests per second.")
    arrival_source: Word | None = None
    input_tokens: LengthStatus | None = None
    output_tokens: LengthStatus | None = None
    prefix_hit_ratio: Figure = None
    window: Word | None = None
    observed_at: Time | None = None
    alternatives: Annotated[dict[str, Line], Field(max_length=32), BeforeValidator(_clip_map(32))] = Field(
        default_factory=dict, description="Which metric answered each query."
    )


class ForecastStatus(StatusModel):
    """What load is expected from now to the horizon: the longer start-up and one period."""

    method: Word | None = Field(default=None, description="What made it; of Auto the method it chose.")
    horizon: Word | None = None
    quantile: Figure = Field(default=None, description="Share of the peaks that stay below the rate.")
    rate: Figure = Field(default=None, description="That quantile of the peak, requests per second.")
    expected_rate: Figure = Field(default=None, description="Its median, requests per second.")
    dispersion: Figure = Field(default=None, description="Index of dispersion of the arrivals; 1 is Poisson.")
    input_tokens: LengthStatus | None = None
    output_tokens: LengthStatus | None = None
    fallback: Line | None = Field(default=None, description="Why it is not what was asked for.")
    waiting: Line | None = Field(default=None, description="Why fewer replicas wait.")
    reason: Line | None = Field(default=None, description="How it came about.")


class PoolCalibrationStatus(StatusModel):
    """How one pool's engines differ from their profile."""

    derate: Figure = Field(default=None, description="Throughput over the profile's: sizing goes by it.")
    overhead: Word | None = Field(default=None, description="Overhead of a first token: sizing goes by it.")
    drift: Figure = Field(default=None, description="Measured mean latency over what the profile says, less 1.")
    off_profile: bool = Field(default=False, description="Whether that is called off the profile.")
    mean_error: Figure = Field(default=None, description="Mean relative error of the latency as sizing goes by it.")
    prior_error: Figure = Field(default=None, description="The same by the profile as it is.")
    variability: Figure = Field(default=None, description="Waits for prefill over the model's; a diagnosis.")
    points: Count = Field(default=0, description="Operating points of the last day.")
    last_fit: Time | None = Field(default=None, description="When the correction changed last.")
    note: Line | None = Field(default=None, description="What was learnt, or why nothing was.")
    waiting: Line | None = Field(default=None, description="Why the last evaluation was no operating point.")


class CalibrationStatus(StatusModel):
    """What was learnt of the engines from steady windows; the profile is the prior."""

    prefill: PoolCalibrationStatus = PoolCalibrationStatus()
    decode: PoolCalibrationStatus = PoolCalibrationStatus()


class EngineLoad(StatusModel):
    """What the engines of one pool report."""

    waiting: Figure = None
    running: Figure = None
    kv_usage: Figure = None


class ObservedStatus(StatusModel):
    """Observed latencies, as durations, and engine load."""

    ttft: Word | None = None
    tpot: Word | None = None
    prefill: EngineLoad | None = None
    decode: EngineLoad | None = None


class LatencyStatus(StatusModel):
    """Statistics of a latency, as durations."""

    mean: Word | None = None
    p50: Word | None = None
    p90: Word | None = None
    p95: Word | None = None
    p99: Word | None = None


class PredictionStatus(StatusModel):
    """Latencies predicted at the desired replicas."""

    ttft: LatencyStatus | None = None
    tpot: LatencyStatus | None = None


class StepStatus(StatusModel):
    """What one decision did to one pool."""

    from_: Count | None = Field(default=None, alias="from")
    to: Count | None = None
    reason: Line | None = None


class DecisionStatus(StatusModel):
    """One decision that changed something."""

    time: Time
    prefill: StepStatus | None = None
    decode: StepStatus | None = None
    arrival_rate: Figure = None
    expected_rate: Figure = None
    expected_by: Time | None = None
    expected_from: Word | None = None
    input_tokens: Figure = None
    output_tokens: Figure = None


class RecommendationMemory(StatusModel):
    """A count recommended at a time, for the stabilisation windows."""

    time: Time
    replicas: Count


class EventMemory(StatusModel):
    """A change ordered at a time, for the rate limits."""

    time: Time
    change: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
    found: bool | None = Field(
        default=None, description="It was found after a restart; the time is the latest at which it can have happened."
    )


class FlipMemory(StatusModel):
    """A change by somebody else of what was ordered."""

    target: Line
    time: Time
    version: Word
    from_: Count = Field(alias="from")
    to: Count
    by: Line = ""


class PoolMemoryStatus(StatusModel):
    """What one pool's behavior must remember over a restart."""

    recommendations: Annotated[
        tuple[RecommendationMemory, ...],
        Field(max_length=MAX_RECOMMENDATIONS),
        BeforeValidator(_clip_list(MAX_RECOMMENDATIONS)),
    ] = ()
    events: Annotated[
        tuple[EventMemory, ...], Field(max_length=MAX_EVENTS), BeforeValidator(_clip_list(MAX_EVENTS))
    ] = ()
    flips: Annotated[tuple[FlipMemory, ...], Field(max_length=MAX_FLIPS), BeforeValidator(_clip_list(MAX_FLIPS))] = (
        Field(default=(), description="Changes by somebody else of what was ordered.")
    )
    contested_until: Time | None = Field(default=None, description="Nothing is written until then: see AbleToScale.")


class WorkloadMemory(StatusModel):
    """The last workload whose lengths were known."""

    arrival_rate: Figure = None
    input_tokens: LengthStatus | None = None
    output_tokens: LengthStatus | None = None
    arrival_scv: Figure = None
    prefix_hit_ratio: Figure = None


class PointMemory(StatusModel):
    """One operating point: a steady load, and the mean latency under it."""

    time: Time
    replicas: Count
    rate: Figure = None
    input_tokens: LengthStatus = LengthStatus()
    output_tokens: LengthStatus = LengthStatus()
    prefix_hit_ratio: Figure = None
    latency: Figure = Field(default=None, description="Seconds.")


class PoolCalibrationMemory(StatusModel):
    """What calibration must remember of one pool over a restart."""

    derate: Figure = None
    extra_overhead: Figure = Field(default=None, description="Seconds beyond the profile's.")
    off_profile: bool = False
    changed: Time | None = None
    points: Annotated[
        tuple[PointMemory, ...], Field(max_length=MAX_POINTS), BeforeValidator(_clip_list(MAX_POINTS))
    ] = ()


class CalibrationMemory(StatusModel):
    """What calibration must remember over a restart."""

    about: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(
        default=0, description="Of which engines and profile it is; of others it says nothing."
    )
    prefill: PoolCalibrationMemory = PoolCalibrationMemory()
    decode: PoolCalibrationMemory = PoolCalibrationMemory()


class MemoryStatus(StatusModel):
    """What an evaluation hands to the next one, so that a restart loses nothing."""

    prefill: PoolMemoryStatus = PoolMemoryStatus()
    decode: PoolMemoryStatus = PoolMemoryStatus()
    telemetry_failures: Count = 0
    fallback_active: bool = False
    healthy_since: Time | None = None
    last_workload: WorkloadMemory | None = None
    calibration: CalibrationMemory | None = None


class PDDeploymentStatus(StatusModel):
    """Status of a PDDeployment."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16)] = ()
    summary: Summary | None = None
    prefill: PoolStatus | None = None
    decode: PoolStatus | None = None
    workload: WorkloadStatus | None = None
    forecast: ForecastStatus | None = None
    calibration: CalibrationStatus | None = None
    observed: ObservedStatus | None = None
    prediction: PredictionStatus | None = None
    limited_by: Words = ()
    decisions: Annotated[
        tuple[DecisionStatus, ...], Field(max_length=MAX_DECISIONS), BeforeValidator(_clip_list(MAX_DECISIONS))
    ] = Field(default=(), description="The last decisions, newest first.")
    memory: MemoryStatus | None = None

    def to_document(self) -> dict[str, Any]:
        """Return the status as a JSON document: camelCase, what is unknown left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
