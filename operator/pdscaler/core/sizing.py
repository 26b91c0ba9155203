"""Size both pools: the least xPyD that meets both objectives under all constraints. Imports core and errors only."""

import math
from dataclasses import dataclass

from pdscaler.core.choice import Choice, Space, choose, space_of
from pdscaler.core.decision import Binding, Limit, PoolSizing, Prediction, SizingDetails, SizingResult, WhatIf
from pdscaler.core.explain import explain, infeasible_reason, served_rps
from pdscaler.core.later import Later
from pdscaler.core.model import Models, build_models
from pdscaler.core.need import Need, PoolModel
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.slo import LatencyStatistics
from pdscaler.core.spec import SizingSpec
from pdscaler.core.verification import UNCORRECTED
from pdscaler.core.workload import WorkloadStats
from pdscaler.errors import InvalidInputError

CHANGES_LOOKED_AT = 200
"""Thresholds of either pool that :func:`next_changes` looks at before it gives up."""


def size(
    spec: SizingSpec,
    workload: WorkloadStats,
    current: PerPool[int] | None = None,  # noqa: ARG001 - no answer ties with another: choose says why
    corrections: PerPool[float] = UNCORRECTED,
) -> SizingResult:
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
    corrections
        Factors, > 0, on the load that each pool's model sees: what simulation found the model to be off by.

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
    unattainable target see :meth:`pdscaler.core.lawpool.LawPool.least_replicas`.
    """
    models = build_models(spec, workload, corrections)
    space = space_of(spec.limits, spec.constraints)
    return _idle(space) if models is None else answer(models, space)


def answer(models: Models, space: Space) -> SizingResult:
    """Choose among the pairs of a space by what the models of both pools say.

    Parameters
    ----------
    models
        Latency against count and load, whoever found it: a law, or a law and a simulation.
    space
        What the constraints allow.
    """
    pools = models.pools
    needs = pools.map(lambda model: model.need())
    choice = _choice(pools, needs.map(lambda need: need.recommended), space)
    answers = PerPool(*(_pool_sizing(pool, pools[pool], needs[pool], space, choice) for pool in Pool))
    feasible = _feasible(pools, needs, choice.replicas)
    return SizingResult(
        feasible=feasible,
        gpus=space.cost(choice.replicas),
        limited_by=_all_limits(answers),
        pools=answers,
        predicted=_prediction(pools, choice.replicas),
        served_rps=served_rps(pools, choice.replicas),
        warned=Later(lambda: models.notes(choice.replicas)),
        details=Later(lambda: _details(models, space, needs, choice, feasible=feasible)),
    )


def _details(models: Models, space: Space, needs: PerPool[Need], choice: Choice, *, feasible: bool) -> SizingDetails:
    pools = models.pools
    neighbours = (
        WhatIf(pair.prefill, pair.decode, space.cost(pair), _feasible(pools, needs, pair), _prediction(pools, pair))
        for pair in _neighbours(choice.replicas)
    )
    return SizingDetails(tuple(neighbours), "" if feasible else infeasible_reason(pools, space, needs, choice))


def predict(
    spec: SizingSpec,
    workload: WorkloadStats,
    replicas: PerPool[int],
    corrections: PerPool[float] = UNCORRECTED,
) -> Prediction:
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
    models = build_models(spec, workload, corrections)
    if models is None:
        return Prediction(LatencyStatistics(), LatencyStatistics())
    return _prediction(models.pools, replicas)


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


def next_changes(
    spec: SizingSpec, workload: WorkloadStats, result: SizingResult, corrections: PerPool[float] = UNCORRECTED
) -> PerPool[NextChange]:
    """Find the loads at which the answer changes next, for each pool, the mix of lengths staying as it is.

    Parameters
    ----------
    spec, workload
        As they were sized.
    result
        The answer of :func:`size` for them.
    corrections
        As they were given to :func:`size`.
    """
    models = build_models(spec, workload, corrections)
    rate = workload.arrival_rate_rps
    if models is None or rate <= 0:
        return PerPool(NextChange(), NextChange())
    space = space_of(spec.limits, spec.constraints)
    start = result.pools.map(lambda pool: pool.replicas)
    up = _first_changes(models.pools, space, start, upwards=True)
    down = _first_changes(models.pools, space, start, upwards=False)
    return PerPool(*(NextChange(*up.get(pool, (None, None)), *down.get(pool, (None, None))) for pool in Pool))


def _first_changes(
    models: PerPool[PoolModel], space: Space, start: PerPool[int], *, upwards: bool
) -> dict[Pool, tuple[float, int]]:
    """Walk over the loads at which either pool's need passes a whole number; note where each pool's count changes."""
    found: dict[Pool, tuple[float, int]] = {}
    counts = models.map(lambda model: model.need().recommended)
    for _ in range(CHANGES_LOOKED_AT):
        # A pool needs more than n replicas above the largest load that n serve, and n suffice from there down.
        loads = PerPool(*(models[pool].largest_load(counts[pool] - (not upwards)) for pool in Pool))
        rate = min(loads.prefill, loads.decode) if upwards else max(loads.prefill, loads.decode)
        beyond_bounds = upwards and all(counts[pool] > space.bounds[pool].high for pool in Pool)
        if rate <= 0 or beyond_bounds or len(found) == len(Pool):
            break
        for pool in Pool:
            if loads[pool] == rate:
                counts = counts.replace(pool, counts[pool] + (1 if upwards else -1))
        replicas = _choice(models, counts, space).replicas
        for pool in Pool:
            if replicas[pool] != start[pool] and pool not in found:
                found[pool] = (rate, replicas[pool])
    return found


def _choice(models: PerPool[PoolModel], wanted: PerPool[int], space: Space) -> Choice:
    return choose(space, wanted, models.map(lambda model: model.largest_load))


def _pool_sizing(pool: Pool, model: PoolModel, need: Need, space: Space, choice: Choice) -> PoolSizing:
    replicas, limited = choice.replicas[pool], choice.limited_by[pool]
    idle = model.rate_rps == 0
    by_minimum = idle or need.recommended < space.bounds[pool].low
    return PoolSizing(
        required=need.required,
        recommended=need.recommended,
        replicas=replicas,
        utilization=need.required / replicas,
        capacity_rps=model.largest_load(replicas) / replicas if model.attainable else 0.0,
        binding=Binding.MIN_REPLICAS if by_minimum else model.binding(need.recommended),
        limited_by=limited if model.attainable or idle else (*limited, Limit.SERVICE_TIME_EXCEEDS_SLO),
        explained=Later(lambda: explain(pool, model, need, replicas, limited)),
        latency_s=model.value_s,
    )


def _feasible(models: PerPool[PoolModel], needs: PerPool[Need], pair: PerPool[int]) -> bool:
    """Whether a pair serves the load within both objectives; nothing that arrives is served by any."""
    return models.prefill.rate_rps == 0 or all(
        math.isfinite(need.required) and pair[pool] >= need.recommended for pool, need in needs.items()
    )


def _prediction(models: PerPool[PoolModel], pair: PerPool[int]) -> Prediction:
    return Prediction(models.prefill.statistics(pair.prefill), models.decode.statistics(pair.decode))


def _neighbours(pair: PerPool[int]) -> list[PerPool[int]]:
    return [pair.replace(pool, pair[pool] + step) for pool in Pool for step in (-1, 1) if pair[pool] + step >= 1]


def _all_limits(pools: PerPool[PoolSizing]) -> tuple[Limit, ...]:
    return tuple(dict.fromkeys(limit for _, pool in pools.items() for limit in pool.limited_by))


def _idle(space: Space) -> SizingResult:
    """Return the minimums: nothing arrives, and no length is known to predict with."""
    choice = choose(space, PerPool(1, 1), PerPool(float, float))
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
                limited_by=choice.limited_by[pool],
                explained=lambda: "nothing arrives: the minimum",
                latency_s=lambda _: None,
            )
            for pool in Pool
        )
    )
    neighbours = tuple(
        WhatIf(pair.prefill, pair.decode, space.cost(pair), feasible=True, predicted=unknown)
        for pair in _neighbours(choice.replicas)
    )
    return SizingResult(
        feasible=True,
        gpus=space.cost(choice.replicas),
        limited_by=_all_limits(pools),
        pools=pools,
        predicted=unknown,
        served_rps=None,
        warned=tuple,
        details=lambda: SizingDetails(neighbours, ""),
    )
