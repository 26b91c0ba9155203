"""What one evaluation knows, gathered once, and what both pools' moves come to together. Imports core only."""

from dataclasses import dataclass

from pdscaler.core.decision import PlanInputs, PlanState, PoolState, SizingResult
from pdscaler.core.freeze import Freeze, freeze
from pdscaler.core.moves import Move
from pdscaler.core.order import Order, cut_growth, draining_replicas, repair_ratio, report_ratio
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.spec import ScalingSpec


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that one evaluation decides on, except the load."""

    spec: ScalingSpec
    inputs: PlanInputs
    freezes: PerPool[Freeze]
    now_s: float

    @classmethod
    def of(cls, spec: ScalingSpec, inputs: PlanInputs, now_s: float) -> "Situation":
        """Apply the freeze rules to both targets."""
        freezes = PerPool(
            *(
                freeze(
                    inputs.targets[pool],
                    inputs.paused,
                    spec.sizing.limits[pool].min_replicas,
                    verifying=inputs.verifying,
                    unforeseen=inputs.unforeseen,
                )
                for pool in Pool
            )
        )
        return cls(spec, inputs, freezes, now_s)

    @property
    def current(self) -> PerPool[int] | None:
        """What ``/scale`` asks for; None where it is unknown for either pool."""
        prefill, decode = self.freezes.prefill.current, self.freezes.decode.current
        return None if prefill is None or decode is None else PerPool(prefill, decode)

    def ready(self, pool: Pool) -> int | None:
        """Return the ready replicas of a pool; None where unknown."""
        target = self.inputs.targets[pool]
        return target.ready_replicas if isinstance(target, PoolState) else None

    def settle(
        self, moves: PerPool[Move], capacity: PerPool[float], state: PlanState, sizing: SizingResult | None
    ) -> PerPool[Order]:
        """Apply the joint rules to both pools' moves: repair the ratio, cut growth to the budget.

        Parameters
        ----------
        moves
            What each pool's own rules allow.
        capacity
            Load that one replica serves, any common unit.
        state, sizing
            For what to assume of a pool whose target cannot be read.
        """
        limits, constraints = self.spec.sizing.limits, self.spec.sizing.constraints
        orders = PerPool(*(self._order(pool, moves[pool], state, sizing) for pool in Pool))
        both = all(move.desired is not None for _, move in moves.items())
        if both and sizing is not None:
            orders = repair_ratio(orders, limits, constraints)
        draining = self.inputs.targets.map(draining_replicas)
        orders = cut_growth(orders, draining, limits, constraints, capacity)
        return report_ratio(orders, constraints) if both and sizing is not None else orders

    def _order(self, pool: Pool, move: Move, state: PlanState, sizing: SizingResult | None) -> Order:
        current = self.freezes[pool].current
        if current is None:
            # Its GPUs may be in use all the same: assume what it was last given, or would be given.
            remembered = [entry.replicas for entry in state.pools[pool].recommendations]
            planned = [] if sizing is None else [sizing.pools[pool].replicas]
            assumed = max([*remembered, *planned, self.spec.sizing.limits[pool].min_replicas])
            return Order(assumed, assumed, may_rise=False)
        desired = current if move.desired is None else move.desired
        return Order(current, desired, may_rise=not self.freezes[pool].no_up, limits=move.limits)
