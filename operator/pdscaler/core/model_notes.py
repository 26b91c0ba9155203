"""What must be said of a profile where a plan leaves what was measured. Imports core only."""

import math

from pdscaler.core.curve_notes import length_notes
from pdscaler.core.curves import DecodeSurface, PrefillCurve
from pdscaler.core.need import PoolModel
from pdscaler.core.paper import DecodeModel
from pdscaler.core.paperpool import PaperPool
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.units import format_number

OUTSIDE = 1.01
"""A value within 1 % of the measured range counts as measured."""


def mean_context(isl: LengthStats, osl: LengthStats) -> float:
    """Return the mean context, tokens, of a request in decode."""
    return isl.mean_tokens + osl.mean_tokens / 2


def paper_notes(
    curve: PrefillCurve, surface: DecodeSurface, workload: WorkloadStats, decode: PaperPool
) -> tuple[str, ...]:
    """Return the lines for PaperMM1, which runs every replica at its largest batch."""
    assert isinstance(decode.model, DecodeModel)
    return _notes(curve, surface, workload, decode.model.largest_batch or 1.0)


def law_notes(
    curve: PrefillCurve, surface: DecodeSurface, workload: WorkloadStats, decode: PoolModel, replicas: int
) -> tuple[str, ...]:
    """Return the lines for a model of the load: by the mean batch that a count of replicas runs."""
    assert workload.osl is not None
    tpot_s = decode.statistics(replicas).mean
    batch = 1.0
    if tpot_s is not None and math.isfinite(tpot_s):  # Little's law; else the batch is whatever fits
        batch = decode.rate_rps / replicas * max(0.0, workload.osl.mean_tokens - 1) * tpot_s
    return _notes(curve, surface, workload, max(1.0, batch))


def _notes(curve: PrefillCurve, surface: DecodeSurface, workload: WorkloadStats, batch: float) -> tuple[str, ...]:
    isl, osl = workload.isl, workload.osl
    assert isl is not None
    assert osl is not None
    return (
        *curve.warnings,
        *curve.notes,
        *surface.warnings,
        *surface.notes,
        *_prefill_notes(curve, isl.mean_tokens * (1 - workload.prefix_hit_ratio)),
        *length_notes(curve.measured_tokens, isl, workload.prefix_hit_ratio),
        *_decode_notes(surface, mean_context(isl, osl), batch),
    )


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


def _decode_notes(surface: DecodeSurface, context: float, batch: float) -> list[str]:
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
    if batch > last * OUTSIDE:
        notes.append(
            f"decode profile: batch {format_number(batch)} lies beyond the measured {first:.0f}–{last:.0f}: "
            "extrapolated"
        )
    capacity = surface.kv_capacity_tokens
    if capacity is not None and context > capacity * OUTSIDE:
        notes.append(f"decode profile: one request of {context:.0f} tokens exceeds kvCapacityTokens {capacity:.0f}")
    return notes
