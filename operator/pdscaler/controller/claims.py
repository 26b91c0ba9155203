"""Who may scale a target that several PDDeployments name: the oldest claim, whatever the restart order. No I/O."""

from collections.abc import Iterable

from pdscaler.cluster.targets import TargetRef
from pdscaler.controller.evaluation import ResourceKey, TargetConflict
from pdscaler.controller.prepare import Prepared


def conflicts(resources: Iterable[Prepared]) -> dict[ResourceKey, TargetConflict]:
    """Return the PDDeployments that must not write, each with who holds its target.

    The oldest is served first (creation time, then uid). One that loses any of its targets holds none of them: it would
    not scale the other pool either. RecommendOnly writes nothing, so it claims nothing.

    Parameters
    ----------
    resources
        Every valid PDDeployment that is not being deleted.
    """
    held: dict[tuple[str, str, str, str], Prepared] = {}
    lost: dict[ResourceKey, TargetConflict] = {}
    claimants = [resource for resource in resources if not resource.recommend_only]
    for resource in sorted(claimants, key=lambda claimant: (claimant.created, claimant.fingerprint.uid)):
        taken = [(pool, ref, held[_identity(ref)]) for pool, ref in resource.targets.items() if _identity(ref) in held]
        if taken:
            pool, ref, holder = taken[0]
            lost[resource.key] = TargetConflict(pool, ref, f"PDDeployment {holder.key}")
        else:
            held.update({_identity(ref): resource for _, ref in resource.targets.items()})
    return lost


def _identity(ref: TargetRef) -> tuple[str, str, str, str]:
    """Two versions of one kind are the same object."""
    return ref.namespace, ref.api_version.rpartition("/")[0], ref.kind, ref.name
