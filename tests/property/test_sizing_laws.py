"""The laws of MODEL section 7, for both models, over random profiles, mixes, routings and constraints."""

import math
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from pdscaler.core.choice import space_of
from pdscaler.core.decision import Limit, SizingResult
from pdscaler.core.model import build_models
from pdscaler.core.paper import sojourn_factor
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.sizing import predict, size
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import SizingModel, SizingSpec
from pdscaler.core.verification import UNCORRECTED
from pdscaler.core.workload import WorkloadStats
from pdscaler.errors import InvalidInputError
from support.strategies import specs, statistics, workloads

factors = st.floats(1.0, 20.0)
free = specs(constrained=False)


def answer(spec: SizingSpec, workload: WorkloadStats, corrections: PerPool[float] = UNCORRECTED) -> SizingResult:
    try:
        space_of(spec.limits, spec.constraints)
    except InvalidInputError:
        assume(False)
    return size(spec, workload, None, corrections)


def recommended(spec: SizingSpec, workload: WorkloadStats) -> tuple[int, int]:
    pools = size(spec, workload).pools
    return pools.prefill.recommended, pools.decode.recommended


@given(free, workloads(), factors)
def test_more_load_never_needs_fewer(spec: SizingSpec, workload: WorkloadStats, factor: float) -> None:
    more = replace(workload, arrival_rate_rps=workload.arrival_rate_rps * factor)
    for few, many in zip(recommended(spec, workload), recommended(spec, more), strict=True):
        assert few <= many


@given(free, workloads(), factors)
def test_a_looser_target_never_needs_more(spec: SizingSpec, workload: WorkloadStats, factor: float) -> None:
    loose = replace(spec, slo=Slo(_loosened(spec.slo.ttft, factor), _loosened(spec.slo.tpot, factor)))
    strict_pools, loose_pools = size(spec, workload).pools, size(loose, workload).pools
    for pool in Pool:
        if math.isfinite(strict_pools[pool].required):
            assert loose_pools[pool].recommended <= strict_pools[pool].recommended


def _loosened(target: LatencyTarget | None, factor: float) -> LatencyTarget | None:
    return None if target is None else replace(target, target_s=target.target_s * factor)


@given(free, workloads(), st.floats(1.0, 50.0))
def test_an_infeasible_target_gets_no_less_than_a_feasible_one_clear_of_the_edge(
    spec: SizingSpec, workload: WorkloadStats, factor: float
) -> None:
    pools = size(spec, workload).pools
    loose = replace(spec, slo=Slo(_loosened(spec.slo.ttft, factor), _loosened(spec.slo.tpot, factor)))
    loose_pools = size(loose, workload).pools
    alone = predict(spec, replace(workload, arrival_rate_rps=0.0), PerPool(1, 1))
    # The bounded rules: twice the TTFT, and 1.02 times the TPOT, of a request alone (PaperMM1's rule asks no less).
    for pool, target, latency, times in (
        (Pool.PREFILL, loose.slo.ttft, alone.ttft_s, 2.0),
        (Pool.DECODE, loose.slo.tpot, alone.tpot_s, 1.02),
    ):
        if target is None or math.isfinite(pools[pool].required):
            continue
        best_s = latency.of(target.statistic)
        assert best_s is not None
        if target.target_s >= times * best_s * (1 + 1e-6):
            assert loose_pools[pool].recommended <= pools[pool].recommended


@given(free, workloads())
def test_an_infeasible_target_never_runs_away(spec: SizingSpec, workload: WorkloadStats) -> None:
    result = size(spec, workload)
    if math.isinf(result.pools.prefill.required):
        idle = predict(spec, replace(workload, arrival_rate_rps=0.0), PerPool(1, 1))
        assert idle.ttft_s.mean is not None
        load = workload.arrival_rate_rps * idle.ttft_s.mean
        # Bursts and varied lengths ask for more than twice the load; the formula knows neither.
        factor = 2.0 if spec.model is SizingModel.PAPER_MM1 else 2.0 + _spread(workload)
        assert result.pools.prefill.recommended <= factor * load + 1


def _spread(workload: WorkloadStats) -> float:
    assert workload.isl is not None
    return 4 * (workload.arrival_scv + workload.isl.scv)


@given(free, workloads(), statistics, statistics)
def test_a_stricter_percentile_never_needs_fewer(
    spec: SizingSpec, workload: WorkloadStats, one: Statistic, other: Statistic
) -> None:
    low, high = sorted((one, other), key=sojourn_factor)
    ttft = spec.slo.ttft
    assume(ttft is not None)
    assert ttft is not None
    strict = replace(spec, slo=replace(spec.slo, ttft=replace(ttft, statistic=high)))
    assume(math.isfinite(size(strict, workload).pools.prefill.required))
    loose = replace(spec, slo=replace(spec.slo, ttft=replace(ttft, statistic=low)))
    assert recommended(loose, workload)[0] <= recommended(strict, workload)[0]


@given(free, workloads(), factors)
def test_more_varied_arrivals_never_need_fewer(spec: SizingSpec, workload: WorkloadStats, factor: float) -> None:
    more = replace(workload, arrival_scv=workload.arrival_scv * factor)
    for few, many in zip(recommended(spec, workload), recommended(spec, more), strict=True):
        assert few <= many


@given(free, workloads(), factors, st.sampled_from([Statistic.P95, Statistic.P99]))
def test_more_varied_prompts_never_need_fewer_at_high_percentiles(
    spec: SizingSpec, workload: WorkloadStats, factor: float, statistic: Statistic
) -> None:
    ttft, isl = spec.slo.ttft, workload.isl
    assume(ttft is not None)
    assert ttft is not None
    assert isl is not None
    strict = replace(spec, slo=replace(spec.slo, ttft=replace(ttft, statistic=statistic)))
    more = replace(workload, isl=replace(isl, scv=isl.scv * factor))
    varied = size(strict, more).pools.prefill
    assume(math.isfinite(varied.required))
    assert recommended(strict, workload)[0] <= varied.recommended


@given(specs(), workloads(), st.floats(0.5, 2.0), st.floats(0.5, 2.0))
def test_corrections_are_loads(spec: SizingSpec, workload: WorkloadStats, prefill: float, decode: float) -> None:
    corrected = answer(spec, workload, PerPool(prefill, decode))
    for pool, factor in ((Pool.PREFILL, prefill), (Pool.DECODE, decode)):
        more = answer(spec, replace(workload, arrival_rate_rps=workload.arrival_rate_rps * factor))
        assert corrected.pools[pool].recommended == more.pools[pool].recommended
        assert corrected.pools[pool].binding == more.pools[pool].binding


@given(specs(), workloads())
def test_what_a_plan_serves_it_serves_and_no_more(spec: SizingSpec, workload: WorkloadStats) -> None:
    result = answer(spec, workload)
    served_rps = result.served_rps
    assert served_rps is not None
    impossible = any(Limit.SERVICE_TIME_EXCEEDS_SLO in pool.limited_by for _, pool in result.pools.items())
    assert (served_rps == 0) == impossible
    assert result.feasible == (served_rps >= workload.arrival_rate_rps * (1 - 1e-6))
    if impossible or math.isinf(served_rps):
        return
    pair = result.pools.map(lambda pool: pool.replicas)
    for load_rps, enough in ((served_rps * (1 - 1e-6), True), (served_rps * (1 + 1e-5), False)):
        wanted = PerPool(*recommended(spec, replace(workload, arrival_rate_rps=load_rps)))
        assert (wanted.prefill <= pair.prefill and wanted.decode <= pair.decode) == enough


@given(specs(), workloads())
def test_no_allowed_pair_does_better(spec: SizingSpec, workload: WorkloadStats) -> None:
    """From the spec to the pair, against every pair: enough with the fewest GPUs, else the most served."""
    result = answer(spec, workload)
    space, models = space_of(spec.limits, spec.constraints), build_models(spec, workload)
    assert models is not None
    pair = result.pools.map(lambda pool: pool.replicas)
    asked = PerPool(*(space.bounds[pool].clamp(result.pools[pool].recommended) for pool in Pool))
    allowed = [PerPool(row[0], decode) for row in space.rows() for decode in range(row[1], row[2] + 1)]
    enough = [other for other in allowed if other.prefill >= asked.prefill and other.decode >= asked.decode]
    if enough:
        assert pair in enough
        assert result.gpus == min(space.cost(other) for other in enough)
        return
    loads = {
        other: min(models.pools.prefill.largest_load(other.prefill), models.pools.decode.largest_load(other.decode))
        for other in allowed
    }
    most = max(loads.values())
    assert loads[pair] == most
    assert result.gpus == min(space.cost(other) for other, load in loads.items() if load == most)


@given(specs(), workloads())
def test_no_load_gives_the_least_allowed_pair(spec: SizingSpec, workload: WorkloadStats) -> None:
    idle = answer(spec, replace(workload, arrival_rate_rps=0.0))
    rows = [
        (space.cost(PerPool(prefill, low)), prefill, low)
        for space in [space_of(spec.limits, spec.constraints)]
        for prefill, low, _ in space.rows()
    ]
    assert (idle.gpus, idle.pools.prefill.replicas, idle.pools.decode.replicas) == min(rows)
    assert idle.feasible


@given(specs(), workloads())
def test_a_feasible_plan_predicts_within_the_targets_and_one_fewer_does_not(
    spec: SizingSpec, workload: WorkloadStats
) -> None:
    result = answer(spec, workload)
    within = {Pool.PREFILL: True, Pool.DECODE: True}
    for pool, target, statistics_of in (
        (Pool.PREFILL, spec.slo.ttft, result.predicted.ttft_s),
        (Pool.DECODE, spec.slo.tpot, result.predicted.tpot_s),
    ):
        if target is not None:
            value = statistics_of.of(target.statistic)
            assert value is not None
            within[pool] = value <= target.target_s * (1 + 1e-6)
    if result.feasible:
        assert all(within.values())
    for pool, target in ((Pool.PREFILL, spec.slo.ttft), (Pool.DECODE, spec.slo.tpot)):
        need = result.pools[pool]
        if target is None or need.recommended == 1 or not math.isfinite(need.required):
            continue
        pair = PerPool(1, 1).replace(pool, need.recommended - 1)
        predicted = predict(spec, workload, pair)
        value = (predicted.ttft_s if pool is Pool.PREFILL else predicted.tpot_s).of(target.statistic)
        assert value is not None
        assert value > target.target_s * (1 - 1e-6)


@given(specs(), workloads(), st.integers(1, 12), st.integers(1, 12))
def test_one_pools_trouble_never_changes_what_the_other_is_recommended(
    spec: SizingSpec, workload: WorkloadStats, cap_prefill: int, cap_decode: int
) -> None:
    result = answer(spec, workload)
    capped = PerPool(
        replace(spec.limits.prefill, min_replicas=1, max_replicas=cap_prefill),
        replace(spec.limits.decode, min_replicas=1, max_replicas=cap_decode),
    )
    impossible = Slo(None if spec.slo.ttft is None else replace(spec.slo.ttft, target_s=1e-9), spec.slo.tpot)
    for other in (replace(spec, limits=capped), replace(spec, slo=impossible)):
        try:
            changed = size(other, workload)
        except InvalidInputError:
            continue
        assert changed.pools.decode.recommended == result.pools.decode.recommended
        if other.slo == spec.slo:
            assert changed.pools.prefill.recommended == result.pools.prefill.recommended


@given(specs(), workloads())
def test_replicas_stay_within_bounds_ratio_and_budget(spec: SizingSpec, workload: WorkloadStats) -> None:
    result = answer(spec, workload)
    space = space_of(spec.limits, spec.constraints)
    pair = result.pools.map(lambda pool: pool.replicas)
    assert (pair.prefill, pair.decode) in {
        (prefill, decode) for prefill, low, high in space.rows() for decode in range(low, high + 1)
    }
    assert result.gpus == space.cost(pair)
    assert bool(result.infeasible_reason) != result.feasible


@given(specs(), workloads())
def test_sizing_is_a_function(spec: SizingSpec, workload: WorkloadStats) -> None:
    assert answer(spec, workload) == answer(replace(spec), replace(workload))
