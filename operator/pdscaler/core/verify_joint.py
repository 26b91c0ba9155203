"""Settle both pools, decode behind the settled prefill, and put the answer together. Imports core only."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pdscaler.core.choice import space_of
from pdscaler.core.decision import SizingResult
from pdscaler.core.model import Models, build_models
from pdscaler.core.need import PoolModel
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.sizing import answer
from pdscaler.core.spec import SizingSpec
from pdscaler.core.verify_correction import correction
from pdscaler.core.verify_result import SimulatedPool, verification_of
from pdscaler.core.verify_served import largest_load
from pdscaler.core.verify_settle import Settled, Trials, settle
from pdscaler.core.workload import WorkloadStats
from pdscaler.units import format_number

PREFILL_SHARE = 0.5
"""Share of the budget that prefill may take; decode gets all the rest."""

SERVED_SHARE = 0.2
"""Share of the budget, beyond it, that each pool may take to settle the load it serves where that is not all."""

Behind = Callable[[int], Trials]
"""From the count of prefill replicas to the trials of the decode pool behind them."""

AtLoad = Callable[[Pool, float, int], Trials]
"""From a pool, a load in requests/s and the count of prefill replicas to the trials of the pool."""


def settle_plan(
    spec: SizingSpec,
    workload: WorkloadStats,
    queue: Trials,
    behind: Behind,
    budget_requests: int,
    *,
    at_load: AtLoad | None = None,
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
    at_load
        The trials of a pool under another load of the same mix, where there is such a thing: to settle which load a
        pair serves that cannot serve all.
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
    verification = verification_of(settled, chosen, corrections, budget_requests)
    if at_load is not None and not result.feasible:
        serving = prefill.least or max(start.prefill, ceiling.prefill + 1)
        loads, requests = _served(known, result, lambda pool, load: at_load(pool, load, serving), budget_requests)
        served = PerPool(*(known[pool].serving(chosen[pool], loads.get(pool)) for pool in Pool))
        again = answer(Models(PerPool(served.prefill, served.decode), corrected.notes), space)
        # A load that is a percent off would not move the pair; where it does, the pair that was simulated stands.
        if loads and again.pools.map(lambda pool: pool.replicas) == chosen:
            result = again
            named = " and ".join(f"{pool} {format_number(load)}" for pool, load in loads.items())
            note = f"{verification.note}; served within the targets by simulation, requests/s: {named}"
            verification = replace(verification, note=note)
        verification = replace(verification, requests=verification.requests + requests)
    return replace(result, verification=verification)


def _served(
    known: PerPool[SimulatedPool], result: SizingResult, at_load: Callable[[Pool, float], Trials], budget: int
) -> tuple[dict[Pool, float], int]:
    """Settle the loads that pools with fewer replicas than they need serve; return them, and the requests it took."""
    loads: dict[Pool, float] = {}
    spent = 0
    for pool, sizing in result.pools.items():
        model = known[pool]
        if sizing.replicas >= sizing.recommended or model.target is None or not model.attainable:
            continue
        found = largest_load(model, partial(at_load, pool), sizing.replicas, int(budget * SERVED_SHARE))
        if found is not None:
            loads[pool], requests = found
            spent += requests
    return loads, spent


def _settle(trials: Trials, model: PoolModel, start: int, ceiling: int, budget: int) -> Settled:
    """Settle one pool; where no count meets the target, or there is none, the law's bounded rule stands."""
    if trials.target is None or (not model.attainable and trials.unattainable()):
        return Settled(trials, start, decided=True, searched=False)
    return settle(trials, start, ceiling, budget)
