"""What a sizing model tells of one pool under one load, and how a spec and a workload become one. Imports core only."""

import math
from dataclasses import dataclass
from typing import Protocol

from pdscaler.core.curves import DecodeSurface, PrefillCurve, decode_surface, prefill_curve
from pdscaler.core.decision import Binding
from pdscaler.core.paper import BatchLimit, DecodeModel, PrefillModel, batch_limit
from pdscaler.core.pools import PerPool
from pdscaler.core.slo import LatencyStatistics, LatencyTarget
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError

OUTSIDE = 1.01
"""A value within 1 % of the measured range counts as measured."""


class PoolModel(Protocol):
    """A pool of replicas under a given load."""

    @property
    def rate_rps(self) -> float:
        """Requests per second over the whole pool."""

    @property
    def target(self) -> LatencyTarget | None:
        """The objective; None where there is none."""

    @property
    def attainable(self) -> bool:
        """Whether any number of replicas meets the target."""

    @property
    def binding(self) -> Binding:
        """What decides the required count."""

    @property
    def capacity_rps(self) -> float:
        """Requests per second that one replica serves within the target; 0 where it cannot."""

    @property
    def best_effort_rps(self) -> float:
        """The capacity, or where there is none the bounded rule's requests per second of one replica."""

    def statistics(self, replicas: int) -> LatencyStatistics:
        """Return the latencies predicted at a count of replicas."""


@dataclass(frozen=True, slots=True)
class Models:
    """Both pools' models, and what must be said about them."""

    prefill: PrefillModel
    decode: DecodeModel
    warnings: tuple[str, ...]

    @property
    def pools(self) -> PerPool[PoolModel]:
        """Return the models by pool."""
        return PerPool(self.prefill, self.decode)


def build_models(spec: SizingSpec, workload: WorkloadStats) -> Models | None:
    """Build PaperMM1 (and Auto, which means the same for now) from a spec and a workload.

    Returns
    -------
    Models or None
        None where nothing arrives and no length is known: there is nothing to model.

    Raises
    ------
    InvalidInputError
        If the spec or the workload holds what cannot be.
    """
    check_workload(workload)
    for name, target in (("ttft", spec.slo.ttft), ("tpot", spec.slo.tpot)):
        if target is not None and not (math.isfinite(target.target_s) and target.target_s > 0):
            raise InvalidInputError(f"spec.slo.{name}.target", f"must be above 0, found {target.target_s}")
    if spec.slo.ttft is None and spec.slo.tpot is None:
        raise InvalidInputError("spec.slo", "give ttft, tpot or both")
    if not (math.isfinite(spec.decode_derate) and spec.decode_derate > 0):
        raise InvalidInputError("spec.sizing.decodeDerate", f"must be above 0, found {spec.decode_derate}")
    curve, surface = prefill_curve(spec.prefill_profile), decode_surface(spec.decode_profile)
    if workload.isl is None or workload.osl is None:
        return None
    input_tokens, output_tokens = workload.isl.mean_tokens, workload.osl.mean_tokens
    # The prefix cache spares compute, not memory: decode keeps the whole prompt resident.
    uncached_tokens = input_tokens * (1 - workload.prefix_hit_ratio)
    context_tokens = input_tokens + output_tokens / 2
    prefill = PrefillModel(
        workload.arrival_rate_rps, curve.time_s(uncached_tokens), curve.overhead_s(input_tokens), spec.slo.ttft
    )
    limit = batch_limit(surface, context_tokens)
    line = surface.line_at(context_tokens)
    decode = DecodeModel(workload.arrival_rate_rps, output_tokens, line, limit, spec.decode_derate, spec.slo.tpot)
    warnings = (
        *curve.warnings,
        *surface.warnings,
        *_prefill_notes(curve, uncached_tokens),
        *_decode_notes(surface, context_tokens, decode, limit),
    )
    return Models(prefill, decode, warnings)


def check_workload(workload: WorkloadStats) -> None:
    """Raise InvalidInputError unless the workload can be sized for."""
    rate = workload.arrival_rate_rps
    if not (math.isfinite(rate) and rate >= 0):
        raise InvalidInputError("arrivalRate", f"must be a finite number of at least 0, found {rate}")
    if not 0 <= workload.prefix_hit_ratio < 1:
        raise InvalidInputError("prefixHitRatio", f"must be at least 0 and below 1, found {workload.prefix_hit_ratio}")
    _check_length(workload.isl, rate, "inputTokens")
    _check_length(workload.osl, rate, "outputTokens")


def _check_length(length: LengthStats | None, rate: float, name: str) -> None:
    if length is None:
        if rate > 0:
            raise InvalidInputError(name, "the mean length is needed where requests arrive")
    elif not (math.isfinite(length.mean_tokens) and length.mean_tokens > 0):
        raise InvalidInputError(name, f"the mean must be above 0, found {length.mean_tokens}")


def _prefill_notes(curve: PrefillCurve, tokens: float) -> list[str]:
    low, high = curve.measured_tokens
    if low == high and not high / OUTSIDE <= tokens <= high * OUTSIDE:
        return [f"prefill throughput was measured at {low:.0f} input tokens and is taken to hold at {tokens:.0f}"]
    if tokens > high * OUTSIDE:
        return [f"prefill profile: {tokens:.0f} uncached tokens lie beyond the last point, {high:.0f}: extrapolated"]
    if tokens < low / OUTSIDE:
        return [
            f"prefill profile: {tokens:.0f} uncached tokens lie below the first point, {low:.0f}: its latency is used"
        ]
    return []


def _decode_notes(surface: DecodeSurface, context: float, model: DecodeModel, limit: BatchLimit) -> list[str]:
    notes = []
    low, high = surface.contexts[0], surface.contexts[-1]
    if context > high * OUTSIDE or context < low / OUTSIDE:
        nearest = high if context > high else low
        measured = f"{low:.0f}" if low == high else f"{low:.0f}–{high:.0f}"
        notes.append(
            f"decode profile: a mean context of {context:.0f} tokens lies outside the measured {measured}: "
            f"TPOT of {nearest:.0f} is used"
        )
    first, last = surface.measured_batches(context)
    batch = model.largest_batch or 1.0
    if batch > last * OUTSIDE:
        notes.append(f"decode profile: batch {batch:.1f} lies beyond the measured {first:.0f}–{last:.0f}: extrapolated")
    if surface.kv_capacity_tokens is not None and limit.batch * context > surface.kv_capacity_tokens * OUTSIDE:
        notes.append(
            f"decode profile: one request of {context:.0f} tokens exceeds kvCapacityTokens "
            f"{surface.kv_capacity_tokens:.0f}"
        )
    return notes
