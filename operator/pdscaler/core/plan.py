"""One evaluation: freezes, forecast, sizing, constraints, behaviour, a decision with its reasons. Imports core only.

Pure: the clock is an argument, the next evaluation's memory is part of the answer, and the simulator calls the same
function as the controller.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from pdscaler.core.behavior import remember, seed
from pdscaler.core.decision import (
    Decision,
    Limit,
    Outcome,
    PlanInputs,
    PlanState,
    PoolDecision,
    PoolSizing,
    Prediction,
    SizingResult,
)
from pdscaler.core.health import after_data, after_failure, read
from pdscaler.core.moves import Move, blind_move, planned_move
from pdscaler.core.order import Order
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.pressure import PoolPressure, pressure_of
from pdscaler.core.reasons import limits_text, need_text, no_data_text
from pdscaler.core.situation import Situation
from pdscaler.core.sizing import predict, size
from pdscaler.core.spec import FallbackBehavior, ScalingSpec, SizingSpec
from pdscaler.core.verification import Correction
from pdscaler.core.workload import NoData, Telemetry, WorkloadStats
from pdscaler.errors import InvalidInputError

Forecaster = Callable[[WorkloadStats, float], WorkloadStats]
"""From the observed workload and a horizon, seconds, to the workload expected at the horizon."""

Corrector = Callable[[SizingSpec, WorkloadStats], Correction]
"""From what is sized and the load to what simulation has found of it (:mod:`pdscaler.core.verify`)."""


MOST_MARGIN = 0.04
"""Fewer replicas must suffice for so much more load, as a share, at most, before a pool shrinks to them."""


def uncorrected(spec: SizingSpec, workload: WorkloadStats) -> Correction:  # noqa: ARG001 - a Corrector
    """Correct nothing: nothing was simulated."""
    return Correction()


def plan(
    spec: ScalingSpec,
    inputs: PlanInputs,
    state: PlanState,
    now_s: float,
    forecaster: Forecaster,
    *,
    corrector: Corrector = uncorrected,
) -> Decision:
    """Decide what both pools shall have.

    Parameters
    ----------
    spec
        The whole PDDeployment.
    inputs
        Telemetry, targets and pauses, as they are now.
    state
        What the previous evaluation handed over.
    now_s
        Seconds since the epoch.
    forecaster
        Expected workload at the horizon: the longer start-up plus one period.
    corrector
        What is known from simulation of that workload; nothing is simulated here.

    Returns
    -------
    Decision
        With the state for the next evaluation, in which the orders count as written: whoever does not write one takes
        its event out, so that the policies count no change that never happened.

    Raises
    ------
    InvalidInputError
        If the spec contradicts itself.

    Notes
    -----
    Laws: unknown never lowers a count, nor touches the other pool; the sum of the present orders and the growth never
    exceeds the budget; a direction never flips within an evaluation; constant load settles.
    """
    _check(spec)
    situation = Situation.of(spec, inputs, now_s)
    reading = read(inputs.telemetry, state)
    if reading.workload is None:
        assert reading.missing is not None
        return _blind(situation, after_failure(state, spec.fallback), reading.missing)
    state = after_data(state, reading.workload, spec.window_s, now_s)
    workload = forecaster(reading.workload, spec.horizon_s)
    return _sighted(situation, state, workload, corrector(spec.sizing, workload))


def resume(state: PlanState, current: PerPool[int | None], now_s: float) -> PlanState:
    """Return the state to go on with after a restart: the windows are seeded with the current counts of now.

    So a restart causes no burst of scale-down, as with HPA. A fallback that was active needs a full fresh window again.
    """
    pools = PerPool(
        *(
            state.pools[pool] if count is None else seed(state.pools[pool], count, now_s)
            for pool, count in current.items()
        )
    )
    return replace(state, pools=pools, healthy_since_s=None)


def _check(spec: ScalingSpec) -> None:
    fallback = spec.fallback
    if fallback.behavior is not FallbackBehavior.HOLD and fallback.replicas is None:
        raise InvalidInputError("spec.fallback.replicas", f"is needed by behavior {fallback.behavior}")


def _sighted(situation: Situation, state: PlanState, workload: WorkloadStats, correction: Correction) -> Decision:
    """Decide with data."""
    spec, now_s = situation.spec, situation.now_s
    limits = spec.sizing.limits
    assert isinstance(situation.inputs.telemetry, Telemetry)
    pressure = pressure_of(spec.sizing, situation.inputs.telemetry, workload)
    correction = _pressed(correction, pressure)
    sizing = size(spec.sizing, workload, situation.current, correction.factors)
    enough = _enough(situation, workload, sizing, correction)
    moves = PerPool(
        *(
            planned_move(
                sizing.pools[pool],
                freeze,
                state.pools[pool],
                limits[pool],
                now_s,
                recovering=state.fallback_active,
                missing=bool(pressure[pool].missed) and _suffice(sizing.pools[pool], situation.ready(pool)),
                enough=enough[pool],
            )
            for pool, freeze in situation.freezes.items()
        )
    )
    capacity = sizing.pools.map(
        lambda answer: 1 / (answer.required if 0 < answer.required < math.inf else answer.recommended)
    )
    orders = situation.settle(moves, capacity, state, sizing)
    pools = PerPool(
        *(
            _planned_pool(situation, pool, move, orders[pool], (sizing, workload, correction.verified, pressure[pool]))
            for pool, move in moves.items()
        )
    )
    memory = PerPool(
        *(
            move.memory
            if move.wanted is None
            else remember(move.memory, limits[pool].behavior, move.wanted, pools[pool].change, now_s)
            for pool, move in moves.items()
        )
    )
    return Decision(
        at_s=now_s,
        outcome=Outcome.PLANNED,
        pools=pools,
        workload=workload,
        telemetry=situation.inputs.telemetry,
        predicted=_predicted(spec, workload, pools, sizing, correction),
        sizing=sizing,
        state=replace(state, pools=memory),
        verified=correction.verified,
    )


def _pressed(correction: Correction, pressure: PerPool[PoolPressure]) -> Correction:
    """Count what has piled up as load; a simulation of the load alone has not verified that."""
    if all(each.factor == 1.0 for _, each in pressure.items()):
        return correction
    factors = PerPool(*(factor * pressure[pool].factor for pool, factor in correction.factors.items()))
    return Correction(factors)


def _suffice(answer: PoolSizing, ready: int | None) -> bool:
    """Whether the replicas that are ready suffice by the model: then it does not see why a target is missed."""
    return ready is not None and answer.recommended <= ready


def _enough(
    situation: Situation, workload: WorkloadStats, sizing: SizingResult, correction: Correction
) -> PerPool[int | None]:
    """Return the counts to shrink to at most: those that meet the targets under a load that is higher by a margin.

    The margin is twice what the forecast adds to the load of now, at most :data:`MOST_MARGIN`: a load of which nothing
    is uncertain needs none, and the forecast's own noise is about as large as what it adds. Without it, a load near a
    boundary between two counts would go to and fro with its noise.
    """
    telemetry, current = situation.inputs.telemetry, situation.current
    assert isinstance(telemetry, Telemetry)
    now_rps = telemetry.workload.arrival_rate_rps
    margin = min(MOST_MARGIN, 2.0 * (workload.arrival_rate_rps / now_rps - 1.0)) if now_rps > 0 else 0.0
    if margin <= 0 or current is None or all(sizing.pools[pool].replicas >= current[pool] for pool in Pool):
        return PerPool(None, None)
    factors = correction.factors.map(lambda factor: factor * (1.0 + margin))
    return size(situation.spec.sizing, workload, current, factors).pools.map(lambda pool: pool.replicas)


def _blind(situation: Situation, state: PlanState, missing: NoData) -> Decision:
    """Decide without data: hold within the bounds, or apply the fallback to both pools at once."""
    fallback, limits = situation.spec.fallback, situation.spec.sizing.limits
    applies = fallback.behavior is not FallbackBehavior.HOLD and state.telemetry_failures >= fallback.failure_threshold
    counts: dict[Pool, int | None] = dict.fromkeys(Pool)
    if applies and fallback.replicas is not None:
        for pool, count in fallback.replicas.items():
            present = situation.freezes[pool].current or 0
            counts[pool] = max(count, present) if fallback.behavior is FallbackBehavior.HOLD_OR_HIGHER else count
    moves = PerPool(
        *(
            blind_move(freeze, state.pools[pool], limits[pool], situation.now_s, counts[pool])
            for pool, freeze in situation.freezes.items()
        )
    )
    orders = situation.settle(moves, moves.map(lambda move: 1 / max(1, move.desired or 1)), state, None)
    return Decision(
        at_s=situation.now_s,
        outcome=Outcome.FALLBACK if applies else Outcome.HELD,
        pools=PerPool(
            *(
                _blind_pool(situation, pool, move, orders[pool], (missing, state.telemetry_failures))
                for pool, move in moves.items()
            )
        ),
        workload=None,
        telemetry=missing,
        predicted=None,
        sizing=None,
        state=replace(state, pools=moves.map(lambda move: move.memory)),
    )


def _planned_pool(
    situation: Situation,
    pool: Pool,
    move: Move,
    order: Order,
    sized: tuple[SizingResult, WorkloadStats, bool, PoolPressure],
) -> PoolDecision:
    sizing, workload, verified, pressure = sized
    answer, limits = sizing.pools[pool], situation.spec.sizing.limits[pool]
    desired = None if move.desired is None else order.desired
    applied = move.limits if desired is None else order.limits
    reason = "; ".join(
        part for part in (need_text(pool, sizing, workload, verified=verified), pressure.text, pressure.missed) if part
    )
    if desired is None:
        reason = f"{move.blocks[0].message}; {reason}"
    elif desired != answer.recommended:
        verb = "stays" if desired == order.current else "goes to"
        held = limits_text(applied, move.blocks, limits)
        reason = f"{reason}; {verb} {desired}" + (f": {held}" if held else "")
    return PoolDecision(
        current=situation.freezes[pool].current,
        ready=situation.ready(pool),
        required=answer.required,
        recommended=answer.recommended,
        desired=desired,
        utilization=answer.required / desired if desired else None,
        binding=answer.binding,
        limited_by=applied,
        reason=reason,
    )


def _blind_pool(situation: Situation, pool: Pool, move: Move, order: Order, failed: tuple[NoData, int]) -> PoolDecision:
    missing, failures = failed
    desired = None if move.desired is None else order.desired
    applied = move.limits if desired is None else order.limits
    reason = no_data_text(missing)
    if desired is None:
        reason = f"{move.blocks[0].message}; {reason}"
    else:
        fallback, limits = situation.spec.fallback, situation.spec.sizing.limits[pool]
        held = limits_text((limit for limit in applied if limit is not Limit.FALLBACK), move.blocks, limits)
        what = f"holds {desired}" if desired == order.current else f"goes to {desired}"
        if Limit.FALLBACK in applied:
            what = f"fallback {fallback.behavior} after {failures} failures: {desired}"
        reason = f"{reason}; {what}" + (f" ({held})" if held else "")
    return PoolDecision(
        current=situation.freezes[pool].current,
        ready=situation.ready(pool),
        required=None,
        recommended=None,
        desired=desired,
        utilization=None,
        binding=None,
        limited_by=applied,
        reason=reason,
    )


def _predicted(
    spec: ScalingSpec,
    workload: WorkloadStats,
    pools: PerPool[PoolDecision],
    sizing: SizingResult,
    correction: Correction,
) -> Prediction | None:
    """Predict at the desired counts, or at the present ones of a pool that is left alone; None where unknown."""
    counts = [pool.current if pool.desired is None else pool.desired for _, pool in pools.items()]
    prefill, decode = counts
    if not prefill or not decode:
        return None
    if (prefill, decode) == (sizing.pools.prefill.replicas, sizing.pools.decode.replicas):
        return sizing.predicted
    return predict(spec.sizing, workload, PerPool(prefill, decode), correction.factors)
