"""The laws of MODEL section 7 that hold for PaperMM1."""

import math
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from pdscaler.core.choice import space_of
from pdscaler.core.decision import SizingResult
from pdscaler.core.paper import sojourn_factor
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.sizing import predict, size
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import WorkloadStats
from pdscaler.errors import InvalidInputError
from support.strategies import specs, statistics, workloads

factors = st.floats(1.0, 20.0)
free = specs(constrained=False)


def answer(spec: SizingSpec, workload: WorkloadStats) -> SizingResult:
    try:
        space_of(spec.limits, spec.constraints)
    except InvalidInputError:
        assume(False)
    return size(spec, workload)


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
    ttft, tpot = loose.slo.ttft, loose.slo.tpot
    if ttft is not None and math.isinf(pools.prefill.required):
        best_s = alone.ttft_s.of(ttft.statistic)
        overhead_s = alone.ttft_s.mean
        assert best_s is not None
        assert overhead_s is not None
        service_s = (best_s - overhead_s) / (sojourn_factor(ttft.statistic) - 1) if best_s != overhead_s else best_s
        # TTFT - T_ov >= 2 k S, with S and T_ov read off the statistics of an idle engine.
        if ttft.target_s >= best_s + 1.001 * sojourn_factor(ttft.statistic) * service_s:
            assert loose_pools.prefill.recommended <= pools.prefill.recommended
    if tpot is not None and math.isinf(pools.decode.required):
        assert alone.tpot_s.mean is not None
        if tpot.target_s >= 1.02 * alone.tpot_s.mean * (1 + 1e-9):
            assert loose_pools.decode.recommended <= pools.decode.recommended


@given(free, workloads())
def test_an_infeasible_target_never_runs_away(spec: SizingSpec, workload: WorkloadStats) -> None:
    result = size(spec, workload)
    if math.isinf(result.pools.prefill.required):
        idle = predict(spec, replace(workload, arrival_rate_rps=0.0), PerPool(1, 1))
        assert idle.ttft_s.mean is not None
        assert result.pools.prefill.recommended <= 2 * workload.arrival_rate_rps * idle.ttft_s.mean + 1


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
