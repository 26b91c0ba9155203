"""Size both pools: the least xPyD that meets both objectives under all constraints. Imports core and errors only."""

import math
from dataclasses import dataclass

from pdscaler.core.choice import Choice, Space, choose, space_of
from pdscaler.core.decision import Binding, Limit, PoolSizing, Prediction, SizingResult, WhatIf
from pdscaler.core.explain import explain, infeasible_reason
from pdscaler.core.model import Models, PoolModel, build_models
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.slo import LatencyStatistics
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import WorkloadStats
from pdscaler.errors import InvalidInputError

ROUNDING = 1e-9
"""A need this little above a whole number is that number: it is rounding of the arithmetic."""

MOST_REPLICAS = 10**9
"""A need beyond this is no longer counted (a target at the very edge of what is attainable)."""

CHANGES_LOOKED_AT = 200
"""Thresholds of either pool that :func:`next_changes` looks at before it gives up."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one pool asks for under one load.

    Parameters
    ----------
    required
        Real-valued replicas; infinite where no count meets the target.
    wanted
        Real-valued replicas that the count is rounded from: ``required``, or the bounded rule's where infeasible.
    recommended
        The least whole count, at least 1.
    """

    required: float
    wanted: float
    recommended: int


def size(spec: SizingSpec, workload: WorkloadStats, current: PerPool[int] | None = None) -> SizingResult:
    """Find the replicas of both pools.

    Meets both objectives within bounds, ratio and budget, with the fewest GPUs, then the fewest changes. Under a budget
    or ratio that binds, the pair that serves the largest load within both objectives.

    Parameters
    ----------
    spec
        Objectives, profiles, bounds and constraints.
    workload
        The load to size for; lengths may be unknown only where nothing arrives.
    current
        The present replicas, for the fewest changes among equals; None where unknown.

    Returns
    -------
    SizingResult
        The pair, why, what it predicts, and its four neighbours.

    Raises
    ------
    InvalidInputError
        If the spec or the workload holds what cannot be.

    Notes
    -----
    Laws: more load never recommends fewer; a looser target never more, among attainable ones; a stricter percentile
    never fewer; no load gives the minimums; what limits one pool never changes what is recommended for the other. Of an
    unattainable target see :attr:`PrefillModel.best_effort_rps` and :attr:`DecodeModel.best_effort_rps`.
    """
    models = build_models(spec, workload)
    space = space_of(spec.limits, spec.constraints)
    if models is None:
        return _idle(space, current)
    needs = models.pools.map(lambda model: _need(model, 1.0))
    choice = _choice(models, needs, space, current)
    pools = PerPool(*(_pool_sizing(pool, models, needs[pool], space, choice) for pool in Pool))
    idle = workload.arrival_rate_rps == 0
    feasible = idle or _feasible(needs, choice.replicas)
    return SizingResult(
        feasible=feasible,
        gpus=space.cost(choice.replicas),
        limited_by=_all_limits(pools),
        pools=pools,
        predicted=_prediction(models, choice.replicas),
        what_if=tuple(
            WhatIf(
                pair.prefill, pair.decode, space.cost(pair), idle or _feasible(needs, pair), _prediction(models, pair)
            )
            for pair in _neighbours(choice.replicas)
        ),
        warnings=models.warnings,
        infeasible_reason=""
        if feasible
        else infeasible_reason(
            models, space, needs.map(lambda need: need.recommended), needs.map(lambda need: need.wanted), choice
        ),
    )


def predict(spec: SizingSpec, workload: WorkloadStats, replicas: PerPool[int]) -> Prediction:
    """Predict the latencies of a pair of counts.

    Returns
    -------
    Prediction
        Infinite where a queue is unstable; None throughout where no length is known.

    Raises
    ------
    InvalidInputError
        If the spec, the workload or a count holds what cannot be.
    """
    for pool, count in replicas.items():
        if count < 1:
            raise InvalidInputError(pool, f"must be at least 1 replica, found {count}")
    models = build_models(spec, workload)
    return Prediction(LatencyStatistics(), LatencyStatistics()) if models is None else _prediction(models, replicas)


@dataclass(frozen=True, slots=True)
class NextChange:
    """The loads, requests/s at the same mix, at which one pool's count in the answer changes next; None: none found.

    Parameters
    ----------
    up_rps, up_replicas
        Above this load the pool gets this many.
    down_rps, down_replicas
        Below this load the pool gets this many.
    """

    up_rps: float | None = None
    up_replicas: int | None = None
    down_rps: float | None = None
    down_replicas: int | None = None


def next_changes(spec: SizingSpec, workload: WorkloadStats, result: SizingResult) -> PerPool[NextChange]:
    """Find the loads at which the answer changes next, for each pool, the mix of lengths staying as it is.

    Parameters
    ----------
    spec, workload
        As they were sized.
    result
        The answer of :func:`size` for them.
    """
    models = build_models(spec, workload)
    rate = workload.arrival_rate_rps
    if models is None or rate <= 0:
        return PerPool(NextChange(), NextChange())
    space = space_of(spec.limits, spec.constraints)
    start = result.pools.map(lambda pool: pool.replicas)
    up = _first_changes(models, space, start, upwards=True)
    down = _first_changes(models, space, start, upwards=False)
    return PerPool(*(NextChange(*up.get(pool, (None, None)), *down.get(pool, (None, None))) for pool in Pool))


def _first_changes(
    models: Models, space: Space, start: PerPool[int], *, upwards: bool
) -> dict[Pool, tuple[float, int]]:
    """Walk over the loads at which either pool's need passes a whole number; note where each pool's count changes."""
    rate = models.prefill.rate_rps
    needs = models.pools.map(lambda model: _need(model, 1.0))
    found: dict[Pool, tuple[float, int]] = {}
    counts = [need.recommended for _, need in needs.items()]
    wants = [need.wanted for _, need in needs.items()]
    if min(wants) <= 0:  # a load too small for arithmetic asks nothing, and no multiple of it does
        return found
    for _ in range(CHANGES_LOOKED_AT):
        # A pool of need w at this load needs a whole count n exactly at n / w times the load.
        steps = [(count if upwards else count - 1) / want for count, want in zip(counts, wants, strict=True)]
        factor = min(steps) if upwards else max(steps)
        if factor <= 0 or len(found) == len(Pool):
            break
        for index, step in enumerate(steps):
            if step == factor:
                counts[index] += 1 if upwards else -1
        beyond = PerPool(*(Need(want * factor, want * factor, n) for want, n in zip(wants, counts, strict=True)))
        replicas = _choice(models, beyond, space, None).replicas
        for pool in Pool:
            if replicas[pool] != start[pool] and pool not in found:
                found[pool] = (rate * factor, replicas[pool])
    return found


def _need(model: PoolModel, factor: float) -> Need:
    """Return what a pool asks for at ``factor`` times its load."""
    rate = model.rate_rps * factor
    wanted = rate / model.best_effort_rps
    attainable = model.attainable and model.capacity_rps > 0
    if not math.isfinite(wanted) or wanted > MOST_REPLICAS:
        wanted = float(MOST_REPLICAS)
    recommended = max(1, math.ceil(wanted * (1 - ROUNDING)))
    return Need(wanted if attainable or rate == 0 else math.inf, wanted, recommended)


def _choice(models: Models, needs: PerPool[Need], space: Space, current: PerPool[int] | None) -> Choice:
    return choose(
        space,
        needs.map(lambda need: need.recommended),
        models.pools.map(lambda model: model.best_effort_rps),
        current,
    )


def _pool_sizing(pool: Pool, models: Models, need: Need, space: Space, choice: Choice) -> PoolSizing:
    model, replicas, limited = models.pools[pool], choice.replicas[pool], choice.limited_by[pool]
    idle = model.rate_rps == 0
    by_minimum = idle or need.recommended < space.bounds[pool].low
    return PoolSizing(
        required=need.required,
        recommended=need.recommended,
        replicas=replicas,
        utilization=need.required / replicas,
        capacity_rps=model.capacity_rps,
        binding=Binding.MIN_REPLICAS if by_minimum else model.binding,
        explanation=explain(
            pool,
            models,
            required=need.wanted,
            recommended=need.recommended,
            replicas=replicas,
            limited=limited,
        ),
        limited_by=limited if model.attainable or idle else (*limited, Limit.SERVICE_TIME_EXCEEDS_SLO),
    )


def _feasible(needs: PerPool[Need], pair: PerPool[int]) -> bool:
    return all(math.isfinite(need.required) and pair[pool] >= need.recommended for pool, need in needs.items())


def _prediction(models: Models, pair: PerPool[int]) -> Prediction:
    return Prediction(models.prefill.statistics(pair.prefill), models.decode.statistics(pair.decode))


def _neighbours(pair: PerPool[int]) -> list[PerPool[int]]:
    return [pair.replace(pool, pair[pool] + step) for pool in Pool for step in (-1, 1) if pair[pool] + step >= 1]


def _all_limits(pools: PerPool[PoolSizing]) -> tuple[Limit, ...]:
    return tuple(dict.fromkeys(limit for _, pool in pools.items() for limit in pool.limited_by))


def _idle(space: Space, current: PerPool[int] | None) -> SizingResult:
    """Return the minimums: nothing arrives, and no length is known to predict with."""
    choice = choose(space, PerPool(1, 1), PerPool(1.0, 1.0), current)
    unknown = Prediction(LatencyStatistics(), LatencyStatistics())
    pools = PerPool(
        *(
            PoolSizing(
                required=0.0,
                recommended=1,
                replicas=choice.replicas[pool],
                utilization=0.0,
                capacity_rps=math.inf,
                binding=Binding.MIN_REPLICAS,
                explanation="nothing arrives: the minimum",
                limited_by=choice.limited_by[pool],
            )
            for pool in Pool
        )
    )
    return SizingResult(
        feasible=True,
        gpus=space.cost(choice.replicas),
        limited_by=_all_limits(pools),
        pools=pools,
        predicted=unknown,
        what_if=tuple(
            WhatIf(pair.prefill, pair.decode, space.cost(pair), feasible=True, predicted=unknown)
            for pair in _neighbours(choice.replicas)
        ),
    )
