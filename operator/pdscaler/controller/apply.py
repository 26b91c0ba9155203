"""Orders a decision: reads ``/scale`` just before each write, and never overwrites what somebody else wrote. No kopf.

A count that differs from the one decided on, or a refused precondition (409), means that somebody wrote in between:
read again, decide again, a bounded number of times. An order is an absolute count, so no repetition doubles a step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pdscaler.cluster.errors import NOT_FOUND, ClusterError, ConflictError
from pdscaler.cluster.scale import Scale
from pdscaler.cluster.targets import TargetRef
from pdscaler.controller.evaluation import ScaleWrite, SupersededError, WriteResult
from pdscaler.controller.memory import keep_orders, settle
from pdscaler.controller.prepare import Prepared, fingerprint_of
from pdscaler.core.decision import Decision, PlanInputs, PlanState, PoolState, TargetUnknown
from pdscaler.core.order import write_order
from pdscaler.core.pools import Pool

MAX_REPLANS = 2
"""How often one evaluation decides again because somebody else wrote; after that the next evaluation does."""

Replan = Callable[[PlanInputs, PlanState], Decision]


class ReadsScale(Protocol):
    """Reads ``/scale`` from the API server."""

    async def read(self, ref: TargetRef) -> Scale | TargetUnknown:
        """Read the scale of a target."""


class WritesScale(Protocol):
    """Writes ``/scale``."""

    async def write(self, scale: Scale, replicas: int) -> Scale:
        """Order replicas, if the target is still as it was read."""


class GetsResource(Protocol):
    """Reads a PDDeployment from the API server."""

    async def get(self, namespace: str, name: str) -> Mapping[str, Any]:
        """Read one PDDeployment."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of a decision.

    Parameters
    ----------
    decision
        The decision, the last one where it was planned again.
    inputs
        What that decision went by.
    writes
        Attempts to scale, in order; empty where nothing was to be written.
    state
        What the next evaluation starts from.
    """

    decision: Decision
    inputs: PlanInputs
    writes: tuple[ScaleWrite, ...]
    state: PlanState


@dataclass(slots=True)
class _Progress:
    """An application under way; ``ordered`` are the pools written since the decision was last made."""

    prepared: Prepared
    inputs: PlanInputs
    decision: Decision
    writes: list[ScaleWrite] = field(default_factory=list)
    ordered: frozenset[Pool] = frozenset()

    def grows_under_budget(self, pool: Pool) -> bool:
        """Whether an order takes GPUs that a budget counts."""
        budget = self.prepared.spec.sizing.constraints.max_gpus
        return budget is not None and self.decision.pools[pool].change > 0

    def learn(self, pool: Pool, replicas: int) -> None:
        """Take note of what ``/scale`` asks for now."""
        seen = self.inputs.targets[pool]
        if isinstance(seen, PoolState):
            targets = self.inputs.targets.replace(pool, replace(seen, spec_replicas=replicas))
            self.inputs = replace(self.inputs, targets=targets)

    def note(self, pool: Pool, result: WriteResult, problem: str = "") -> None:
        """Take note of an attempt."""
        decided = self.decision.pools[pool]
        assert decided.current is not None
        assert decided.desired is not None
        self.writes.append(ScaleWrite(pool, decided.current, decided.desired, result, decided.reason, problem))
        if result is WriteResult.WRITTEN:
            self.ordered |= {pool}
            self.learn(pool, decided.desired)


class Actuator:
    """Writes what was decided.

    Parameters
    ----------
    reader, writer
        Read and write ``/scale``.
    resources
        Reads the PDDeployment itself once more before anything is written for it.
    """

    def __init__(self, reader: ReadsScale, writer: WritesScale, resources: GetsResource) -> None:
        self._reader = reader
        self._writer = writer
        self._resources = resources

    async def apply(
        self, prepared: Prepared, inputs: PlanInputs, before: PlanState, decision: Decision, replan: Replan
    ) -> Applied:
        """Order a decision.

        Parameters
        ----------
        prepared
            The resource.
        inputs, before
            What the decision went by.
        decision
            What was decided.
        replan
            Decides again with newer inputs.

        Returns
        -------
        Applied
            The last decision, what was written of it, and the state without what was not.

        Raises
        ------
        SupersededError
            If the resource is gone or has changed: nothing more was written for it.
        NotLeadingError
            If another replica may lead by now: nothing more was written.
        """
        progress = _Progress(prepared, inputs, decision)
        base = before
        for attempt in range(MAX_REPLANS + 1):
            if not progress.decision.changed:
                break
            unsure = await self._check_still_asked(prepared)
            if unsure:
                for pool in write_order(progress.decision):
                    progress.note(pool, WriteResult.FAILED, unsure)
                break
            if await self._write_all(progress, last=attempt == MAX_REPLANS):
                break
            base = keep_orders(base, progress.decision.state, progress.ordered)
            progress.ordered = frozenset()
            progress.decision = replan(progress.inputs, base)
        state = settle(base, progress.decision.state, progress.ordered)
        return Applied(progress.decision, progress.inputs, tuple(progress.writes), state)

    async def _check_still_asked(self, prepared: Prepared) -> str:
        """Make sure that the resource still asks for what was decided; return why that cannot be told, else nothing."""
        # The watch may lag, or have missed a deletion while the API server was away.
        try:
            document = await self._resources.get(*prepared.key)
        except ClusterError as error:
            if error.reason == NOT_FOUND:
                raise SupersededError(gone=True) from error
            return f"the PDDeployment itself cannot be read: {error}"
        found = fingerprint_of(document)
        if found != prepared.fingerprint:
            raise SupersededError(gone=found.uid != prepared.fingerprint.uid)
        return ""

    async def _write_all(self, progress: _Progress, last: bool) -> bool:
        """Write each pool once; False where somebody else wrote, so that it must be decided again.

        The last time nothing is decided again: that is left to the next evaluation.

        A pool that cannot be written does not keep the other from it: every subset of a decision's orders is within the
        budget (:func:`pdscaler.core.order.write_order`).
        """
        order = write_order(progress.decision)
        if not await self._confirm(progress, order, last):
            return last
        moved: Pool | None = None
        for pool in order:
            if moved is not None and progress.grows_under_budget(pool):
                progress.note(pool, WriteResult.CONFLICT, f"somebody else scaled {moved} meanwhile")
            elif not await self._write(progress, pool, last):
                if not last:
                    return False
                moved = pool
        return True

    async def _confirm(self, progress: _Progress, order: tuple[Pool, ...], last: bool) -> bool:
        """Before a pool grows under a budget: whether the other one still asks for what the budget was counted with.

        The cache may lag behind an order, even one of ours. The pool that is written first is read at its write.
        """
        if not any(progress.grows_under_budget(pool) for pool in order):
            return True
        for pool in (pool for pool in Pool if pool != order[0]):
            known = progress.decision.pools[pool].current
            scale = None if known is None else await self._reader.read(progress.prepared.targets[pool])
            if not isinstance(scale, Scale) or scale.replicas == known:
                continue
            if last:
                said = f"somebody else scaled {pool} to {scale.replicas} meanwhile"
                for ordered in order:
                    progress.note(ordered, WriteResult.CONFLICT, said)
            else:
                progress.learn(pool, scale.replicas)
            return False
        return True

    async def _write(self, progress: _Progress, pool: Pool, last: bool) -> bool:
        decided = progress.decision.pools[pool]
        assert decided.desired is not None
        scale = await self._reader.read(progress.prepared.targets[pool])
        if isinstance(scale, TargetUnknown):
            progress.note(pool, WriteResult.FAILED, scale.message)
            return True
        if scale.replicas != decided.current:
            if last:
                progress.note(pool, WriteResult.CONFLICT, f"somebody else scaled it to {scale.replicas} meanwhile")
            else:
                progress.learn(pool, scale.replicas)
            return False
        try:
            await self._writer.write(scale, decided.desired)
        except ConflictError as error:
            progress.note(pool, WriteResult.CONFLICT, str(error))
            return False
        except ClusterError as error:
            if not (error.transient and await self._arrived(progress.prepared.targets[pool], decided.desired)):
                progress.note(pool, WriteResult.FAILED, str(error))
                return True
            progress.note(pool, WriteResult.WRITTEN)
        else:
            progress.note(pool, WriteResult.WRITTEN)
        return True

    async def _arrived(self, ref: TargetRef, replicas: int) -> bool:
        """Whether an order without an answer was carried out all the same: then it counts towards the rate limits."""
        scale = await self._reader.read(ref)
        return isinstance(scale, Scale) and scale.replicas == replicas
