"""Settle both pools, decode behind the settled prefill, and put the answer together. Imports core only."""

from collections.abc import Callable
from dataclasses import replace

from pdscaler.core.choice import space_of
from pdscaler.core.decision import SizingResult
from pdscaler.core.model import Models, build_models
from pdscaler.core.need import PoolModel
from pdscaler.core.pools import PerPool
from pdscaler.core.sizing import answer
from pdscaler.core.spec import SizingSpec
from pdscaler.core.verify_correction import correction
from pdscaler.core.verify_result import SimulatedPool, verification_of
from pdscaler.core.verify_settle import Settled, Trials, settle
from pdscaler.core.workload import WorkloadStats

PREFILL_SHARE = 0.5
"""Share of the budget that prefill may take; decode gets all the rest."""

Behind = Callable[[int], Trials]
"""From the count of prefill replicas to the trials of the decode pool behind them."""


def settle_plan(
    spec: SizingSpec, workload: WorkloadStats, queue: Trials, behind: Behind, budget_requests: int
) -> SizingResult:
    """Settle the least count of each pool by its trials; return the answer at those counts.

    Parameters
    ----------
    spec, workload
        What is sized; something arrives. The laws see this workload, times the factors that make them agree.
    queue, behind
        The trials of prefill and of decode.
    budget_requests
        Simulated requests of both pools at most.
    """
    models = build_models(spec, workload)
    assert models is not None, "what arrives has lengths"
    space = space_of(spec.limits, spec.constraints)
    ceiling = space.bounds.map(lambda bounds: bounds.high)
    start = models.pools.map(lambda model: model.need().recommended)
    prefill = _settle(queue, models.pools.prefill, start.prefill, ceiling.prefill, int(budget_requests * PREFILL_SHARE))
    # Decode is sized for what a prefill pool of the right size hands over, whatever the bounds make of that pool.
    decode_trials = behind(prefill.least or max(start.prefill, ceiling.prefill + 1))
    decode = _settle(decode_trials, models.pools.decode, start.decode, ceiling.decode, budget_requests - queue.requests)
    settled = PerPool(prefill, decode)
    corrections = PerPool(*(correction(models.pools[pool], found, ceiling[pool]) for pool, found in settled.items()))
    corrected = build_models(spec, workload, corrections)
    assert corrected is not None
    known = PerPool(*(SimulatedPool.of(corrected.pools[pool], found) for pool, found in settled.items()))
    chosen = answer(Models(PerPool(known.prefill, known.decode), corrected.notes), space).pools.map(
        lambda pool: pool.replicas
    )
    known = PerPool(*(known[pool].around(found, chosen[pool]) for pool, found in settled.items()))
    result = answer(Models(PerPool(known.prefill, known.decode), corrected.notes), space)
    return replace(result, verification=verification_of(settled, chosen, corrections, budget_requests))


def _settle(trials: Trials, model: PoolModel, start: int, ceiling: int, budget: int) -> Settled:
    """Settle one pool; where no count meets the target, or there is none, the law's bounded rule stands."""
    if trials.target is None or (not model.attainable and trials.unattainable()):
        return Settled(trials, start, decided=True, searched=False)
    return settle(trials, start, ceiling, budget)
