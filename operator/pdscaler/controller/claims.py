"""Who may scale a target that others scale too. No I/O.

Of several PDDeployments the oldest claim holds, whatever the restart order. Another kind of autoscaler, or somebody who
sets the replicas back again and again, is left alone with the target.
"""

from collections.abc import Callable, Iterable

from pdscaler.cluster.changes import ForeignChange
from pdscaler.cluster.targets import TargetIdentity, TargetRef
from pdscaler.controller.evaluation import ResourceKey, TargetConflict
from pdscaler.controller.prepare import Prepared
from pdscaler.controller.standoff import Standoff
from pdscaler.core.pools import PerPool, Pool


def conflicts(resources: Iterable[Prepared]) -> dict[ResourceKey, TargetConflict]:
    """Return the PDDeployments that must not write, each with who holds its target.

    The oldest is served first (creation time, then uid). One that loses any of its targets holds none of them: it would
    not scale the other pool either. RecommendOnly writes nothing, so it claims nothing.

    Parameters
    ----------
    resources
        Every valid PDDeployment that is not being deleted.
    """
    held: dict[TargetIdentity, Prepared] = {}
    lost: dict[ResourceKey, TargetConflict] = {}
    claimants = [resource for resource in resources if not resource.recommend_only]
    for resource in sorted(claimants, key=lambda claimant: (claimant.created, claimant.fingerprint.uid)):
        taken = [(pool, ref, held[ref.identity]) for pool, ref in resource.targets.items() if ref.identity in held]
        if taken:
            pool, ref, holder = taken[0]
            lost[resource.key] = TargetConflict(pool, ref, f"PDDeployment {holder.key}")
        else:
            held.update({ref.identity: resource for _, ref in resource.targets.items()})
    return lost


def rivalry(prepared: Prepared, rival: Callable[[TargetRef], str]) -> TargetConflict | None:
    """Return the other autoscaler of a PDDeployment's targets, if there is one; neither pool is written then.

    Parameters
    ----------
    prepared
        The PDDeployment.
    rival
        Names another autoscaler of a target; empty where none is known.
    """
    for pool, ref in prepared.targets.items():
        owner = rival(ref)
        if owner:
            return TargetConflict(pool, ref, owner)
    return None


def standoffs_after(
    known: PerPool[Standoff], prepared: Prepared, seen: Callable[[TargetRef], tuple[ForeignChange, ...]], now_s: float
) -> PerPool[Standoff]:
    """Return what somebody else's changes of each target came to by now.

    Parameters
    ----------
    known
        What they had come to.
    prepared
        The PDDeployment; it may name other targets than before.
    seen
        The last foreign changes of a target.
    now_s
        The time, seconds since the epoch.
    """

    def after(pool: Pool) -> Standoff:
        ref = prepared.targets[pool]
        return known[pool].of(ref.short).after(seen(ref), now_s)

    return PerPool(after(Pool.PREFILL), after(Pool.DECODE))


def contest(prepared: Prepared, standoffs: PerPool[Standoff]) -> TargetConflict | None:
    """Return the standoff over one of a PDDeployment's targets, if there is one; neither pool is written then."""
    for pool, standoff in standoffs.items():
        if standoff.until_s is not None:
            return TargetConflict(pool, prepared.targets[pool], standoff.flips[-1].by, standoff)
    return None
