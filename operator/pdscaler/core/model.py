"""How a spec and a workload become the models of both pools, and what must be said about them. Imports core only."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.decode_law import decode_law
from pdscaler.core.lawpool import LawPool
from pdscaler.core.model_notes import law_notes, mean_context, paper_notes
from pdscaler.core.need import PoolModel
from pdscaler.core.paper import DecodeModel, PrefillModel, batch_limit
from pdscaler.core.paperpool import PaperPool
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.prefill_law import PrefillLaw, prefill_law
from pdscaler.core.profile import PrefillProfile
from pdscaler.core.spec import Routing, SizingModel, SizingSpec
from pdscaler.core.verification import UNCORRECTED
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Models:
    """Both pools' models, and what makes the lines that must be said about them at a pair of counts."""

    pools: PerPool[PoolModel]
    notes: Callable[[PerPool[int]], tuple[str, ...]]


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
    # Reading them refuses profiles that cannot be, even where no length is known.
    curve, surface = prefill_curve(spec.prefill_profile), decode_surface(spec.decode_profile)
    isl, osl = workload.isl, workload.osl
    if isl is None or osl is None:
        return None
    if spec.model is SizingModel.PAPER_MM1:
        paper = _paper_pools(spec, workload.arrival_rate_rps, workload.prefix_hit_ratio, (isl, osl), corrections)
        return Models(
            PerPool(paper.prefill, paper.decode), lambda _: paper_notes(curve, surface, workload, paper.decode)
        )
    pools: PerPool[PoolModel] = _law_pools(spec, workload, corrections)
    return Models(pools, lambda pair: law_notes(curve, surface, workload, pools.decode, pair.decode))


def _law_pools(spec: SizingSpec, workload: WorkloadStats, corrections: PerPool[float]) -> PerPool[PoolModel]:
    assert workload.isl is not None
    prefill = _prefill_law(
        spec.prefill_profile, workload.isl, workload.arrival_scv, workload.prefix_hit_ratio, spec.routing
    )
    decode = decode_law(spec.decode_profile, workload, spec.decode_derate)
    rate_rps = workload.arrival_rate_rps
    return PerPool(
        LawPool(Pool.PREFILL, prefill, rate_rps, spec.slo.ttft, corrections.prefill),
        LawPool(Pool.DECODE, decode, rate_rps, spec.slo.tpot, corrections.decode),
    )


@lru_cache(maxsize=256)
def _prefill_law(
    profile: PrefillProfile, isl: LengthStats, arrival_scv: float, prefix_hit_ratio: float, routing: Routing
) -> PrefillLaw:
    """Keep the laws of a mix, whatever the load: one evaluation asks for them more than once."""
    return prefill_law(profile, WorkloadStats(0.0, isl, None, arrival_scv, prefix_hit_ratio), routing)


def _paper_pools(
    spec: SizingSpec,
    rate_rps: float,
    hit_ratio: float,
    lengths: tuple[LengthStats, LengthStats],
    corrections: PerPool[float],
) -> PerPool[PaperPool]:
    curve, surface = prefill_curve(spec.prefill_profile), decode_surface(spec.decode_profile)
    input_tokens, output_tokens = (length.mean_tokens for length in lengths)
    # The prefix cache spares compute, not memory: decode keeps the whole prompt resident.
    prefill = PrefillModel(
        rate_rps * corrections.prefill,
        curve.time_s(input_tokens * (1 - hit_ratio)),
        curve.overhead_s(input_tokens),
        spec.slo.ttft,
    )
    context_tokens = mean_context(*lengths)
    decode = DecodeModel(
        rate_rps * corrections.decode,
        output_tokens,
        surface.line_at(context_tokens),
        batch_limit(surface, context_tokens),
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
