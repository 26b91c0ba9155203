"""Verified plans: the analytic answer, settled by a short event simulation. Imports core; numba when it simulates.

The analytic laws say where to look. What counts is the simulation of the reference semantics (DESIGN section 6): the
least count of each pool whose simulated steady state meets the target, decode behind the settled prefill pool.
"""

from dataclasses import replace

from pdscaler.core.choice import space_of
from pdscaler.core.decision import SizingResult, Verification
from pdscaler.core.model import Models, build_models
from pdscaler.core.need import PoolModel
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.sizing import answer, size
from pdscaler.core.spec import SizingModel, SizingSpec
from pdscaler.core.verify_correction import correction
from pdscaler.core.verify_result import simulated_pool, verification_of
from pdscaler.core.verify_settle import Settled, settle
from pdscaler.core.verify_trial import PoolTrials
from pdscaler.core.workload import WorkloadStats

DEFAULT_BUDGET_REQUESTS = 1_500_000
"""Simulated requests of one verification at most, over both pools and all trials."""

PREFILL_SHARE = 0.5
"""Share of the budget that prefill may take; decode gets all the rest."""

NONE: PerPool[float | None] = PerPool(None, None)


def verify(
    spec: SizingSpec,
    workload: WorkloadStats,
    current: PerPool[int] | None = None,
    *,
    budget_requests: int = DEFAULT_BUDGET_REQUESTS,
    seed: int = 0,
) -> SizingResult:
    """Find the replicas of both pools, and settle them by simulation.

    Parameters
    ----------
    spec, workload, current
        As for :func:`pdscaler.core.sizing.size`.
    budget_requests
        Simulated requests that it may cost, each pool's trials counted by themselves, >= 0.
    seed
        Of the random requests: equal arguments give equal answers.

    Returns
    -------
    SizingResult
        At the settled counts, with the latencies that were simulated, and ``verification``. Counts that the budget left
        undecided are on the safe side, and the plan is then not called verified.

    Raises
    ------
    InvalidInputError
        If the spec or the workload holds what cannot be.

    Notes
    -----
    Every trial of a pool sees the same requests (common random numbers), in blocks of which the run-in is left out. A
    count is decided once the interval of its statistic is clear of the target, or narrower than 0.4 % of it. The load
    that the laws see is then multiplied by one factor for each pool, ``verification.corrections``, so that bounds,
    ratio, budget, neighbours and explanations go by the settled counts; the factors hold for nearby loads of the same
    mix too.
    """
    analytic = size(spec, workload, current)
    if workload.arrival_rate_rps == 0:
        return _without_simulation(analytic, "nothing arrives: the minimums need no simulation", verified=True)
    if spec.model is SizingModel.PAPER_MM1:
        return _without_simulation(analytic, "the model PaperMM1 was asked for: its answer is not simulated")
    models = build_models(spec, workload)
    assert models is not None, "a load has lengths"
    # What simulates is imported where something is simulated: an analytic plan does without.
    from pdscaler.core.verify_source import Blocks, DecodeSource, PrefillSource

    space = space_of(spec.limits, spec.constraints)
    ceiling = space.bounds.map(lambda bounds: bounds.high)
    start = analytic.pools.map(lambda pool: pool.recommended)
    blocks = Blocks(workload, seed)
    queue = PrefillSource(spec, workload, blocks, seed)
    prefill = _settle(
        PoolTrials(Pool.PREFILL, spec.slo.ttft, queue),
        models.pools.prefill,
        start.prefill,
        ceiling.prefill,
        int(budget_requests * PREFILL_SHARE),
    )
    serving = prefill.least or max(start.prefill, ceiling.prefill + 1)
    batches = DecodeSource(spec, workload, blocks, lambda block, count: queue.first_tokens(block, count, serving))
    decode = _settle(
        PoolTrials(Pool.DECODE, spec.slo.tpot, batches),
        models.pools.decode,
        start.decode,
        ceiling.decode,
        budget_requests - prefill.trials.requests,
    )
    settled = PerPool(prefill, decode)
    corrections = PerPool(*(correction(models.pools[pool], found, ceiling[pool]) for pool, found in settled.items()))
    corrected = build_models(spec, workload, corrections)
    assert corrected is not None
    chosen = answer(corrected, space).pools.map(lambda pool: pool.replicas)
    simulated = PerPool(
        *(simulated_pool(corrected.pools[pool], found, chosen[pool]) for pool, found in settled.items())
    )
    result = answer(Models(PerPool(simulated.prefill, simulated.decode), corrected.warnings), space)
    return replace(result, verification=verification_of(settled, chosen, corrections, budget_requests))


def _settle(trials: PoolTrials, model: PoolModel, start: int, ceiling: int, budget: int) -> Settled:
    """Settle one pool; where no count meets the target, or there is none, the law's bounded rule stands."""
    if trials.target is None or not model.attainable:
        return Settled(trials, start, decided=True, searched=False)
    return settle(trials, start, ceiling, budget)


def _without_simulation(result: SizingResult, note: str, *, verified: bool = False) -> SizingResult:
    return replace(result, verification=Verification(verified, NONE, NONE, 0, (), note))
