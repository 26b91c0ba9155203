"""What one evaluation came to, as a value: status, events, metrics and logs are renderings of it. No kopf, no I/O."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pdscaler.cluster.targets import TargetRef
from pdscaler.controller.expectation import PRESENT, Expectation
from pdscaler.controller.standoff import UNCONTESTED, Standoff
from pdscaler.core.decision import Decision, Outcome, Paused, PlanState, PoolState, TargetUnknown
from pdscaler.core.live_calibration import CalibrationState
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.spec import ScalingSpec
from pdscaler.units import format_duration

INVALID_SPEC = "InvalidSpec"
INTERNAL_ERROR = "InternalError"
NO_CHANGES: PerPool[int] = PerPool(0, 0)


class ResourceKey(NamedTuple):
    """Identity of a PDDeployment while it lives."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class SupersededError(Exception):
    """The PDDeployment no longer asks for what is being done: nothing more may be written for it.

    Parameters
    ----------
    gone
        It does not exist any more; False: it has changed, and the watch will say so.
    """

    def __init__(self, gone: bool) -> None:
        self.gone = gone
        super().__init__(gone)


class WriteResult(StrEnum):
    """What came of an attempt to scale a target."""

    WRITTEN = "written"
    CONFLICT = "conflict"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ScaleWrite:
    """One attempt to scale one pool.

    Parameters
    ----------
    before, after
        Replicas that ``/scale`` read, and those that were asked for.
    reason
        Why, in one line: the decision's own words.
    problem
        What the API server said; empty where it was written.
    """

    pool: Pool
    before: int
    after: int
    result: WriteResult
    reason: str
    problem: str = ""

    @property
    def written(self) -> bool:
        """Whether the target now asks for ``after`` replicas."""
        return self.result is WriteResult.WRITTEN


@dataclass(frozen=True, slots=True)
class TargetConflict:
    """Somebody else scales one of the targets: we do not write until they are gone, or let it be.

    Parameters
    ----------
    pool, target
        What is contested.
    owner
        Who else, for people: ``PDDeployment serving/deepseek-v31``; of a standoff the field manager, empty where it is
        not known.
    standoff
        What they did, where they are known by their changes only.
    """

    pool: Pool
    target: TargetRef
    owner: str
    standoff: Standoff | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation that ended in a decision.

    Parameters
    ----------
    key, generation
        The resource, and which generation of its spec was evaluated.
    model
        Value of the model label, for messages.
    recommend_only
        Nothing could be written, by construction.
    spec
        What was asked for.
    paused
        Directions that the user has paused.
    targets, seen
        The two targets, and what was known of them.
    decision
        The decision, the last one where it was planned again before a write.
    writes
        Attempts to scale, in order.
    conflict
        Somebody else who scales a target; None where nobody does.
    state
        What the next evaluation starts from: the decision's, less what could not be written.
    retry_s
        How soon to evaluate again, seconds; None: at the next period.
    troubled_for_s
        How long each pool's replicas have been kept from becoming ready, seconds; 0 where they are not.
    period_s
        The evaluation period, seconds, for messages.
    expectation
        What load it went by.
    calibration
        What was learnt of the engines; None where nothing is to be learnt.
    standoffs
        What somebody else's changes of each target came to, for the next evaluation.
    foreign_changes
        Changes by somebody else of what was ordered that were new to it, of each pool.
    unwatched
        Which other autoscalers would go unnoticed, and why; empty where none would.
    """

    key: ResourceKey
    generation: int
    model: str
    recommend_only: bool
    spec: ScalingSpec
    paused: Paused
    targets: PerPool[TargetRef]
    seen: PerPool[PoolState | TargetUnknown]
    decision: Decision
    writes: tuple[ScaleWrite, ...]
    conflict: TargetConflict | None
    state: PlanState
    retry_s: float | None
    troubled_for_s: PerPool[float]
    period_s: float
    expectation: Expectation = PRESENT
    calibration: CalibrationState | None = None
    standoffs: PerPool[Standoff] = UNCONTESTED
    foreign_changes: PerPool[int] = NO_CHANGES
    unwatched: str = ""

    @property
    def at_s(self) -> float:
        """Time of the evaluation, seconds since the epoch."""
        return self.decision.at_s

    @property
    def outcome(self) -> Outcome:
        """What it came to."""
        return self.decision.outcome

    @property
    def failed_writes(self) -> tuple[ScaleWrite, ...]:
        """The last attempt of each pool that is still not what was ordered."""
        last = {write.pool: write for write in self.writes}
        return tuple(
            write for pool, write in last.items() if not write.written and self.ordered(pool) != self.current(pool)
        )

    @property
    def done_writes(self) -> tuple[ScaleWrite, ...]:
        """Attempts that succeeded."""
        return tuple(write for write in self.writes if write.written)

    def current(self, pool: Pool) -> int | None:
        """Replicas that ``/scale`` asks for after the evaluation; None where unknown."""
        for write in reversed(self.writes):
            if write.pool is pool and write.written:
                return write.after
        return self.decision.pools[pool].current

    def ordered(self, pool: Pool) -> int | None:
        """Replicas that the pool is meant to have: desired, or current where it is left alone."""
        desired = self.decision.pools[pool].desired
        return self.current(pool) if desired is None else desired


@dataclass(frozen=True, slots=True)
class Rejection:
    """An evaluation that could not take place: the spec is invalid, or something broke inside.

    Parameters
    ----------
    key, generation, at_s
        As in :class:`Evaluation`.
    reason
        ``InvalidSpec`` or ``InternalError``.
    message
        One line for people.
    """

    key: ResourceKey
    generation: int
    at_s: float
    reason: str
    message: str


def broken(key: ResourceKey, generation: int, at_s: float, error: Exception, period_s: float) -> Rejection:
    """Return the rejection of an evaluation that broke inside.

    Parameters
    ----------
    key, generation, at_s
        As in :class:`Evaluation`.
    error
        What went wrong.
    period_s
        How often it is tried again, seconds.
    """
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    message = (
        f"The evaluation failed ({said}); trying again every {format_duration(period_s)}. "
        "This is a fault of the operator: its log has the details."
    )
    return Rejection(key, generation, at_s, INTERNAL_ERROR, message)
