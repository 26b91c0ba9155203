"""How a spec and a workload become the models of both pools, and what must be said about them. Imports core only."""

import math
from dataclasses import dataclass

from pdscaler.core.curve_notes import length_notes
from pdscaler.core.curves import DecodeSurface, PrefillCurve, decode_surface, prefill_curve
from pdscaler.core.decision import UNCORRECTED
from pdscaler.core.need import PoolModel
from pdscaler.core.paper import DecodeModel, PrefillModel, batch_limit
from pdscaler.core.paperpool import PaperPool
from pdscaler.core.pools import PerPool
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError

OUTSIDE = 1.01
"""A value within 1 % of the measured range counts as measured."""


@dataclass(frozen=True, slots=True)
class Models:
    """Both pools' models, and what must be said about them."""

    pools: PerPool[PoolModel]
    warnings: tuple[str, ...]


def build_models(spec: SizingSpec, workload: WorkloadStats, corrections: PerPool[float] = UNCORRECTED) -> Models | None:
    """Build the models of both pools, by the spec's choice of model.

    Parameters
    ----------
    spec, workload
        What to size, and for what load.
    corrections
        Factors, > 0, on the load that each pool's model sees.

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
    for pool, factor in corrections.items():
        if not (math.isfinite(factor) and factor > 0):
            raise InvalidInputError(f"corrections.{pool}", f"must be above 0, found {factor}")
    curve, surface = prefill_curve(spec.prefill_profile), decode_surface(spec.decode_profile)
    if workload.isl is None or workload.osl is None:
        return None
    # The prefix cache spares compute, not memory: decode keeps the whole prompt resident.
    mix = _Mix(
        workload.isl.mean_tokens,
        workload.isl.mean_tokens * (1 - workload.prefix_hit_ratio),
        workload.osl.mean_tokens,
    )
    pools = _paper_pools(spec, workload.arrival_rate_rps, mix, corrections)
    warnings = (
        *curve.warnings,
        *curve.notes,
        *surface.warnings,
        *surface.notes,
        *_prefill_notes(curve, mix.uncached_tokens),
        *length_notes(curve.measured_tokens, workload.isl, workload.prefix_hit_ratio),
        *_decode_notes(surface, mix.context_tokens, pools.decode),
    )
    return Models(PerPool(pools.prefill, pools.decode), warnings)


@dataclass(frozen=True, slots=True)
class _Mix:
    """Mean lengths of a request, tokens."""

    input_tokens: float
    uncached_tokens: float
    output_tokens: float

    @property
    def context_tokens(self) -> float:
        """Mean context of a request in decode."""
        return self.input_tokens + self.output_tokens / 2


def _paper_pools(spec: SizingSpec, rate_rps: float, mix: _Mix, corrections: PerPool[float]) -> PerPool[PaperPool]:
    curve, surface = prefill_curve(spec.prefill_profile), decode_surface(spec.decode_profile)
    prefill = PrefillModel(
        rate_rps * corrections.prefill,
        curve.time_s(mix.uncached_tokens),
        curve.overhead_s(mix.input_tokens),
        spec.slo.ttft,
    )
    decode = DecodeModel(
        rate_rps * corrections.decode,
        mix.output_tokens,
        surface.line_at(mix.context_tokens),
        batch_limit(surface, mix.context_tokens),
        spec.decode_derate,
        spec.slo.tpot,
    )
    return PerPool(PaperPool(prefill, rate_rps, corrections.prefill), PaperPool(decode, rate_rps, corrections.decode))


def check_workload(workload: WorkloadStats) -> None:
    """Raise InvalidInputError unless the workload can be sized for."""
    rate = workload.arrival_rate_rps
    if not (math.isfinite(rate) and rate >= 0):
        raise InvalidInputError("arrivalRate", f"must be a finite number of at least 0, found {rate}")
    if not (math.isfinite(workload.arrival_scv) and workload.arrival_scv >= 0):
        raise InvalidInputError("arrivalScv", f"must be a finite number of at least 0, found {workload.arrival_scv}")
    if not 0 <= workload.prefix_hit_ratio < 1:
        raise InvalidInputError("prefixHitRatio", f"must be at least 0 and below 1, found {workload.prefix_hit_ratio}")
    _check_length(workload.isl, rate, "inputTokens")
    _check_length(workload.osl, rate, "outputTokens")


def _check_length(length: LengthStats | None, rate: float, name: str) -> None:
    if length is None:
        if rate > 0:
            raise InvalidInputError(name, "the mean length is needed where requests arrive")
        return
    if not (math.isfinite(length.mean_tokens) and length.mean_tokens > 0):
        raise InvalidInputError(name, f"the mean must be above 0, found {length.mean_tokens}")
    if not (math.isfinite(length.scv) and length.scv >= 0):
        raise InvalidInputError(f"{name}Scv", f"must be a finite number of at least 0, found {length.scv}")
    if length.atoms:
        _check_atoms(length.atoms, f"{name}.atoms")


def _check_atoms(atoms: tuple[tuple[float, float], ...], field: str) -> None:
    before = 0.0
    for index, (tokens, share) in enumerate(atoms):
        if not (math.isfinite(tokens) and tokens > before):
            raise InvalidInputError(f"{field}[{index}]", f"tokens must be above 0 and ascend, found {tokens}")
        if not 0 <= share <= 1:
            raise InvalidInputError(f"{field}[{index}]", f"the share must be between 0 and 1, found {share}")
        before = tokens
    total = math.fsum(share for _, share in atoms)
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        raise InvalidInputError(field, f"the shares must add up to 1, found {total:.6g}")


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


def _decode_notes(surface: DecodeSurface, context: float, pool: PaperPool) -> list[str]:
    assert isinstance(pool.model, DecodeModel)
    limit = pool.model.limit
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
    batch = pool.model.largest_batch or 1.0
    if batch > last * OUTSIDE:
        notes.append(f"decode profile: batch {batch:.1f} lies beyond the measured {first:.0f}–{last:.0f}: extrapolated")
    if surface.kv_capacity_tokens is not None and limit.batch * context > surface.kv_capacity_tokens * OUTSIDE:
        notes.append(
            f"decode profile: one request of {context:.0f} tokens exceeds kvCapacityTokens "
            f"{surface.kv_capacity_tokens:.0f}"
        )
    return notes
