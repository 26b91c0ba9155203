"""When a pool must not move, up, down or at all, whatever the load says. Imports core only.

Unknown is not zero: each rule is a row of the fault table. A rule reads one pool's target and nothing of the other, so
that trouble in one pool never moves the other.
"""

from dataclasses import dataclass

from pdscaler.core.decision import Limit, Paused, PoolState, TargetUnknown, Trouble


@dataclass(frozen=True, slots=True)
class Block:
    """A rule that forbids a direction: its name, and one line for people."""

    limit: Limit
    message: str


@dataclass(frozen=True, slots=True)
class Freeze:
    """What one pool may do now.

    Parameters
    ----------
    current
        What ``/scale`` asks for; None where the target is unknown.
    untouchable
        Why nothing may be ordered at all; None where it may.
    no_up, no_down
        Why the direction is forbidden; empty where it is free.
    """

    current: int | None
    untouchable: Block | None = None
    no_up: tuple[Block, ...] = ()
    no_down: tuple[Block, ...] = ()

    def blocks(self, wanted: int) -> tuple[Block, ...]:
        """Return what forbids going from the current count to ``wanted``."""
        if self.current is None or wanted == self.current:
            return ()
        return self.no_up if wanted > self.current else self.no_down


def freeze(
    target: PoolState | TargetUnknown,
    paused: Paused,
    min_replicas: int,
    *,
    verifying: bool = False,
    unforeseen: str = "",
) -> Freeze:
    """Return what a pool may do, given the state of its target.

    Parameters
    ----------
    target, paused
        What is known of the target, and which directions the user has paused.
    min_replicas
        The pool's lower bound.
    verifying
        Whether fewer replicas are being verified by simulation: they wait for it, more never do.
    unforeseen
        Why the load ahead cannot be told; empty where it can. Unknown load is no less load.

    Notes
    -----
    Pending replicas are part of what ``/scale`` asks for: they are committed, and need a rule only
    where they cannot start.
    """
    if isinstance(target, TargetUnknown):
        return Freeze(None, Block(Limit.TARGET_UNKNOWN, f"{target.reason}: {target.message}"))
    if target.spec_replicas == 0 and min_replicas > 0:
        return Freeze(0, Block(Limit.TARGET_AT_ZERO, "somebody has set the target to 0 replicas: left alone"))
    no_up: list[Block] = []
    no_down: list[Block] = []
    if paused.scale_up:
        no_up.append(Block(Limit.PAUSED, "scale-up is paused by annotation"))
    if paused.scale_down:
        no_down.append(Block(Limit.PAUSED, "scale-down is paused by annotation"))
    if verifying:
        no_down.append(Block(Limit.VERIFICATION, "fewer are being verified by simulation"))
    if unforeseen:
        no_down.append(Block(Limit.FORECAST, f"no fewer while the load ahead is unknown ({unforeseen})"))
    if target.trouble in (Trouble.UNSCHEDULABLE, Trouble.QUOTA_EXCEEDED):
        no_up.append(Block(Limit.CAPACITY_PENDING, f"{_count(target.pending_replicas)} pending ({target.trouble})"))
    elif target.trouble is not None:
        failing = Block(Limit.PODS_FAILING, f"replicas fail to start ({target.trouble})")
        no_up.append(failing)
        no_down.append(failing)
    if target.rollout:
        no_down.append(Block(Limit.ROLLOUT, "a rollout of the target is in progress"))
    elif target.terminating_replicas > 0:
        no_down.append(Block(Limit.PODS_TERMINATING, f"{_count(target.terminating_replicas)} still terminating"))
    return Freeze(target.spec_replicas, None, tuple(no_up), tuple(no_down))


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
