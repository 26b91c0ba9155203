"""Laws of one evaluation, and of many in a row."""

import math
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from pdscaler.core.behavior import limit_rate, remember, stabilize
from pdscaler.core.choice import Space, space_of
from pdscaler.core.decision import (
    Decision,
    Outcome,
    PlanInputs,
    PlanState,
    PoolMemory,
    PoolState,
)
from pdscaler.core.order import write_order
from pdscaler.core.plan import plan
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.spec import Behavior, Constraints, Fallback, FallbackBehavior, ScalingSpec, SelectPolicy, SizingSpec
from pdscaler.core.workload import NoData, WorkloadStats
from pdscaler.errors import InvalidInputError
from pdscaler.forecast.last_value import last_value
from support.core_cases import inputs, no_data, telemetry
from support.strategies import behaviors, memories, pauses, pool_states, specs, targets, workloads

NOW_S = 1000.0
_specs = specs()


@st.composite
def scalings(draw: st.DrawFn, *, budget: bool = False) -> ScalingSpec:
    sizing: SizingSpec = draw(_specs)
    if budget:
        least = sum(limits.min_replicas * limits.gpus_per_replica for _, limits in sizing.limits.items())
        sizing = replace(sizing, constraints=Constraints(least + draw(st.integers(0, 60))))
    limits = sizing.limits.map(lambda limit: replace(limit, behavior=draw(behaviors)))
    fallback = Fallback(
        draw(st.sampled_from(FallbackBehavior)),
        draw(st.integers(1, 4)),
        PerPool(draw(st.integers(1, 12)), draw(st.integers(1, 12))),
    )
    try:
        space_of(limits, sizing.constraints)
    except InvalidInputError:
        assume(False)
    return ScalingSpec(replace(sizing, limits=limits), fallback)


states = st.builds(
    PlanState,
    st.builds(PerPool, memories, memories),
    st.integers(0, 4),
    st.booleans(),
    st.none() | st.floats(0, 1000),
    st.none() | workloads(),
)
readings = st.one_of(workloads(), workloads().map(lambda w: replace(w, arrival_rate_rps=0.0)), st.just(no_data()))


@st.composite
def evaluations(draw: st.DrawFn, *, known: bool = False) -> PlanInputs:
    reading: WorkloadStats | NoData = draw(readings)
    pools = pool_states if known else targets
    return replace(inputs(reading, draw(pools), draw(pools)), paused=draw(pauses))


def decide(spec: ScalingSpec, given_inputs: PlanInputs, state: PlanState, now_s: float = NOW_S) -> Decision:
    return plan(spec, given_inputs, state, now_s, last_value)


def budget_space(spec: ScalingSpec) -> Space:
    return space_of(spec.sizing.limits, spec.sizing.constraints)


@given(scalings(), evaluations(), states)
def test_plan_is_a_function(spec: ScalingSpec, given_inputs: PlanInputs, state: PlanState) -> None:
    assert decide(spec, given_inputs, state) == decide(spec, given_inputs, state)


@given(scalings(budget=True), evaluations(known=True), states)
def test_orders_never_exceed_the_budget_at_any_instant(
    spec: ScalingSpec, given_inputs: PlanInputs, state: PlanState
) -> None:
    decision = decide(spec, given_inputs, state)
    space, budget = budget_space(spec), spec.sizing.constraints.max_gpus
    assert budget is not None
    ordered = {pool: entry.current or 0 for pool, entry in decision.pools.items()}
    before = space.cost(PerPool(ordered[Pool.PREFILL], ordered[Pool.DECODE]))
    growing = False
    for pool in write_order(decision):
        entry = decision.pools[pool]
        assert entry.desired is not None
        assert not (growing and entry.change < 0)
        growing = growing or entry.change > 0
        ordered[pool] = entry.desired
        after = space.cost(PerPool(ordered[Pool.PREFILL], ordered[Pool.DECODE]))
        assert after <= max(budget, before)
        before = after
    # Growth fits beside the present orders too: the other write may fail or come late.
    for entry in (decision.pools.prefill, decision.pools.decode):
        if entry.change > 0:
            present = {pool: decision.pools[pool].current or 0 for pool in Pool}
            grown = sum(space.gpus[pool] * max(present[pool], decision.pools[pool].desired or 0) for pool in Pool)
            assert grown <= budget


@given(scalings(), st.builds(PerPool, targets, targets), pauses, states)
def test_unknown_never_lowers_a_count(
    spec: ScalingSpec, pools: PerPool[PoolState], paused: object, state: PlanState
) -> None:
    hold = replace(spec, fallback=Fallback())
    decision = decide(hold, PlanInputs(no_data(), pools), state)  # type: ignore[arg-type]
    assert decision.outcome is Outcome.HELD
    for pool, entry in decision.pools.items():
        if entry.desired is not None and entry.current is not None:
            assert entry.desired >= min(entry.current, spec.sizing.limits[pool].max_replicas)


@given(scalings(), evaluations(), states)
def test_what_is_ordered_is_within_bounds_or_is_what_is_there(
    spec: ScalingSpec, given_inputs: PlanInputs, state: PlanState
) -> None:
    decision = decide(spec, given_inputs, state)
    for pool, entry in decision.pools.items():
        limits = spec.sizing.limits[pool]
        if entry.change > 0:
            assert entry.desired is not None
            assert entry.desired <= limits.max_replicas
        if entry.change < 0:
            assert entry.desired is not None
            assert entry.desired >= limits.min_replicas
            assert not given_inputs.paused.scale_down
        assert entry.reason
        if entry.recommended is not None and entry.desired != entry.recommended:
            assert entry.limited_by


@given(scalings(), pool_states, targets, states, workloads())
def test_one_pools_target_never_moves_the_other(
    spec: ScalingSpec, decode: PoolState, prefill: PoolState, state: PlanState, workload: WorkloadStats
) -> None:
    free = replace(spec, sizing=replace(spec.sizing, constraints=replace(spec.sizing.constraints, max_gpus=None)))
    free = replace(
        free, sizing=replace(free.sizing, constraints=replace(free.sizing.constraints, min_ratio=None, max_ratio=None))
    )
    one = decide(free, inputs(workload, prefill, decode), state)
    other = decide(free, inputs(workload, PoolState(3, 3), decode), state)
    assert one.pools.decode == other.pools.decode


@given(scalings(), workloads(), st.integers(1, 12), st.integers(1, 12))
def test_constant_load_settles(spec: ScalingSpec, workload: WorkloadStats, prefill: int, decode: int) -> None:
    state, current, changes = PlanState(), PerPool(prefill, decode), []
    for step in range(90):
        now_s = NOW_S + 15.0 * step
        decision = decide(spec, inputs(workload, current.prefill, current.decode), state, now_s)
        state = decision.state
        changes.append(decision.changed)
        current = PerPool(
            *(
                entry.desired if entry.desired is not None else count
                for (_, entry), (_, count) in zip(decision.pools.items(), current.items(), strict=True)
            )
        )
        for memory in (state.pools.prefill, state.pools.decode):
            assert len(memory.recommendations) <= 24
            assert len(memory.events) <= 45
    slow = any(
        rules.policies or rules.select_policy is SelectPolicy.DISABLED
        for _, limits in spec.sizing.limits.items()
        for rules in (limits.behavior.scale_up, limits.behavior.scale_down)
    )
    if not slow:
        assert not any(changes[45:])
    # However slow the policies: each pool turns at most once, as it grows at once and shrinks later.
    assert sum(changes) <= 60


@given(behaviors, memories, st.integers(1, 12), st.integers(1, 12))
def test_behaviour_never_flips_a_direction_nor_overshoots(
    behavior: Behavior, memory: PoolMemory, current: int, wanted: int
) -> None:
    stable = stabilize(memory, behavior, current, wanted, NOW_S).replicas
    limited = limit_rate(memory, behavior, current, stable, NOW_S).replicas
    for value in (stable, limited):
        assert min(current, wanted) <= value <= max(current, wanted)


@given(behaviors, st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 12))
def test_dropping_dominated_entries_changes_no_answer(behavior: Behavior, history: list[int], current: int) -> None:
    from pdscaler.core.decision import Recommendation

    kept, full = PoolMemory(), PoolMemory()
    for step, replicas in enumerate(history):
        now_s = 15.0 * step
        kept = remember(kept, behavior, replicas, 0, now_s)
        full = PoolMemory((*full.recommendations, Recommendation(now_s, replicas)))
        later_s = now_s + 15.0
        for wanted in (1, 6, 12):
            assert stabilize(kept, behavior, current, wanted, later_s) == stabilize(
                full, behavior, current, wanted, later_s
            )


@given(workloads(), st.sampled_from([math.nan, math.inf, -math.inf, -1.0]))
def test_a_rate_that_is_no_rate_is_no_data(workload: WorkloadStats, rate: float) -> None:
    from support.core_cases import scaling

    given_inputs = PlanInputs(
        telemetry(replace(workload, arrival_rate_rps=rate)), PerPool(PoolState(5, 5), PoolState(5, 5))
    )
    decision = decide(scaling(), given_inputs, PlanState())
    assert decision.outcome is Outcome.HELD
    assert not decision.changed
