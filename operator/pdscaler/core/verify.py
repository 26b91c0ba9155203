"""Verified plans: the analytic answer, settled by a short event simulation. Imports core; numba when it simulates.

The analytic laws say where to look. What counts is the simulation of the reference semantics (DESIGN section 6): the
least count of each pool whose simulated steady state meets the target, decode behind the settled prefill pool.
"""

from collections.abc import Callable
from dataclasses import replace

from pdscaler.core.decision import SizingResult
from pdscaler.core.lawpool import LawPool
from pdscaler.core.model import build_models
from pdscaler.core.need import PoolModel
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.sizing import size
from pdscaler.core.spec import SizingModel, SizingSpec
from pdscaler.core.verification import Verification
from pdscaler.core.verify_joint import settle_plan
from pdscaler.core.verify_scale import Saturation
from pdscaler.core.verify_trial import PoolTrials
from pdscaler.core.workload import WorkloadStats

DEFAULT_BUDGET_REQUESTS = 5_000_000
"""Simulated requests of one verification at most, over both pools and all trials."""

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
    if workload.arrival_rate_rps == 0:
        note = "nothing arrives: the minimums need no simulation"
        return without_simulation(size(spec, workload, current), note, verified=True)
    if spec.model is SizingModel.PAPER_MM1:
        note = "the model PaperMM1 was asked for: its answer is not simulated"
        return without_simulation(size(spec, workload, current), note)
    if budget_requests <= 0:
        return without_simulation(size(spec, workload, current), "no request may be simulated")
    # What simulates is imported where something is simulated: an analytic plan does without.
    from pdscaler.core.verify_source import Blocks, DecodeSource, PrefillSource

    models = build_models(spec, workload)
    assert models is not None, "what arrives has lengths"
    saturation = models.pools.map(_saturation)

    def simulated(load: WorkloadStats) -> tuple[PrefillSource, Callable[[int], PoolTrials]]:
        """Return the prefill pool under a load, and what makes the trials of decode behind so many replicas of it."""
        blocks = Blocks(load, seed)
        queue = PrefillSource(spec, load, blocks, saturation.prefill, seed=seed)

        def behind(prefill: int) -> PoolTrials:
            source = DecodeSource(
                spec,
                load,
                blocks,
                saturation.decode,
                first_tokens=lambda block, count: queue.first_tokens(block, count, prefill),
            )
            return PoolTrials(Pool.DECODE, spec.slo.tpot, source)

        return queue, behind

    def at_load(pool: Pool, rate_rps: float, prefill: int) -> PoolTrials:
        queue, behind = simulated(replace(workload, arrival_rate_rps=rate_rps))
        return PoolTrials(pool, spec.slo.ttft, queue) if pool is Pool.PREFILL else behind(prefill)

    queue, behind = simulated(workload)
    trials = PoolTrials(Pool.PREFILL, spec.slo.ttft, queue)
    return settle_plan(spec, workload, trials, behind, budget_requests, at_load=at_load)


def _saturation(model: PoolModel) -> Saturation:
    """Return the load beyond which a pool's queue grows without bound, by its law."""
    assert isinstance(model, LawPool), "only laws are verified"
    return model.law.saturation_rps


def without_simulation(result: SizingResult, note: str, *, verified: bool = False) -> SizingResult:
    """Return an answer that nothing was simulated for."""
    return replace(result, verification=Verification(verified, NONE, NONE, 0, (), note))
