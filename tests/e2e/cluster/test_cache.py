import asyncio
import time
from collections.abc import Callable

import pytest

from localplane.plane import ControlPlane
from pdscaler.cluster.cache import ClusterCache
from pdscaler.cluster.connection import Connection
from pdscaler.cluster.targets import TargetRef
from pdscaler.core.decision import PoolState, TargetUnknown, Trouble
from support.eventually import eventually
from support.plane import DELETE_DELAY, READY_DELAY, allow_pods, apply_in, deployment
from support.scaling import scale_to


def target(namespace: str, name: str = "decode", kind: str = "Deployment") -> TargetRef:
    return TargetRef(namespace, "apps/v1", kind, name)


async def until(cache: ClusterCache, ref: TargetRef, **expected: object) -> PoolState:
    """Wait until the state of a target has these values."""

    def holds(seen: PoolState | TargetUnknown) -> bool:
        return isinstance(seen, PoolState) and all(getattr(seen, key) == value for key, value in expected.items())

    seen = await eventually(lambda: cache.target(ref), holds)
    assert isinstance(seen, PoolState)
    return seen


async def test_pods_load_become_ready_terminate_and_are_remembered(
    control_plane: ControlPlane, api: Connection, cache: ClusterCache, namespace: str
) -> None:
    ref = target(namespace)
    began_s = time.time()
    delays = {READY_DELAY: "2s", DELETE_DELAY: "3s"}
    apply_in(control_plane, namespace, deployment("decode", replicas=2, annotations=delays, grace_s=10))
    await cache.watch(ref)
    await until(cache, ref, spec_replicas=2, ready_replicas=0, pending_replicas=2, trouble=None)
    await until(cache, ref, spec_replicas=2, ready_replicas=2, pending_replicas=0, rollout=False)
    both = cache.pods(ref)
    assert [pod.ready for pod in both] == [True, True]
    assert all(pod.labels["app"] == "decode" and began_s - 5 < pod.created_at_s < time.time() for pod in both)

    await scale_to(api, ref, 1)

    await until(cache, ref, spec_replicas=1, ready_replicas=1, terminating_replicas=1)
    await until(cache, ref, spec_replicas=1, ready_replicas=1, terminating_replicas=0)
    (left,) = cache.pods(ref)
    assert cache.pod_names(ref, began_s) == {pod.name for pod in both}
    assert cache.pod_names(ref, time.time() + 1) == {left.name}


async def test_a_missing_target_is_unknown_and_known_once_it_appears(
    control_plane: ControlPlane, cache: ClusterCache, namespace: str
) -> None:
    ref = target(namespace)
    await cache.watch(ref)
    assert cache.target(ref) == TargetUnknown("FailedGetScale", f'Deployment "decode" not found in "{namespace}"')
    assert cache.pods(ref) == ()
    apply_in(control_plane, namespace, deployment("decode"))
    await until(cache, ref, spec_replicas=1, ready_replicas=1)
    control_plane.kubectl("delete", "deployment", "decode", "-n", namespace)
    await eventually(lambda: cache.target(ref), lambda seen: isinstance(seen, TargetUnknown))


async def test_exhausted_gpus_leave_pods_pending_and_unschedulable(
    control_plane: ControlPlane, api: Connection, cache: ClusterCache, namespace: str
) -> None:
    ref = target(namespace)
    apply_in(control_plane, namespace, deployment("decode", replicas=5, gpus=8))
    await cache.watch(ref)

    def exhausted(seen: PoolState | TargetUnknown) -> bool:
        return isinstance(seen, PoolState) and seen.trouble is Trouble.UNSCHEDULABLE and seen.ready_replicas >= 1

    seen = await eventually(lambda: cache.target(ref), exhausted)
    assert isinstance(seen, PoolState)
    assert seen.spec_replicas == 5
    assert seen.ready_replicas + seen.pending_replicas == 5
    await scale_to(api, ref, 1)
    await until(cache, ref, spec_replicas=1, ready_replicas=1, pending_replicas=0, trouble=None)


async def test_a_quota_shows_as_such(control_plane: ControlPlane, cache: ClusterCache, namespace: str) -> None:
    allow_pods(control_plane, namespace, 1)
    apply_in(control_plane, namespace, deployment("decode", replicas=3))
    ref = target(namespace)
    await cache.watch(ref)
    await until(cache, ref, spec_replicas=3, ready_replicas=1, pending_replicas=0, trouble=Trouble.QUOTA_EXCEEDED)


@pytest.mark.parametrize(
    ("label", "trouble"), [("pod-image-pull-failed", Trouble.IMAGE_PULL), ("pod-crash-loop", Trouble.CRASH_LOOP)]
)
async def test_what_keeps_a_container_from_running_shows_as_such(
    control_plane: ControlPlane, cache: ClusterCache, namespace: str, label: str, trouble: Trouble
) -> None:
    apply_in(control_plane, namespace, deployment("decode", labels={f"{label}.stage.kwok.x-k8s.io": "true"}))
    ref = target(namespace)
    await cache.watch(ref)
    await until(cache, ref, ready_replicas=0, pending_replicas=1, trouble=trouble)


async def test_a_new_template_is_a_rollout_and_a_scale_is_none(
    control_plane: ControlPlane, api: Connection, cache: ClusterCache, namespace: str
) -> None:
    ref = target(namespace)
    document = deployment("decode", replicas=2, annotations={READY_DELAY: "1s"})
    apply_in(control_plane, namespace, document)
    await cache.watch(ref)
    await until(cache, ref, spec_replicas=2, ready_replicas=2, rollout=False)

    seen: list[PoolState | TargetUnknown] = []
    await scale_to(api, ref, 3)

    def look() -> PoolState | TargetUnknown:
        seen.append(cache.target(ref))
        return seen[-1]

    await eventually(look, lambda now: isinstance(now, PoolState) and now.ready_replicas == 3)
    assert not any(isinstance(now, PoolState) and now.rollout for now in seen)

    document["spec"]["replicas"] = 3
    document["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.invalid/engine:2"
    apply_in(control_plane, namespace, document)
    rolling = await until(cache, ref, rollout=True)
    assert rolling.spec_replicas == 3
    await until(cache, ref, rollout=False, ready_replicas=3, terminating_replicas=0)


async def test_a_stateful_set_is_followed_too(control_plane: ControlPlane, cache: ClusterCache, namespace: str) -> None:
    apply_in(control_plane, namespace, {**deployment("decode", replicas=2), "kind": "StatefulSet"})
    ref = target(namespace, kind="StatefulSet")
    await cache.watch(ref)
    await until(cache, ref, spec_replicas=2, ready_replicas=2, rollout=False)
    assert cache.pod_names(ref, time.time()) == {"decode-0", "decode-1"}


async def test_targets_of_many_namespaces_are_followed_by_one_watch(
    control_plane: ControlPlane, cluster_wide: ClusterCache, make_namespace: Callable[[], str], namespace: str
) -> None:
    other = make_namespace()
    for place, replicas in ((namespace, 1), (other, 2)):
        apply_in(control_plane, place, deployment("decode", replicas=replicas))
        await cluster_wide.watch(target(place))
    await until(cluster_wide, target(namespace), ready_replicas=1)
    await until(cluster_wide, target(other), ready_replicas=2)


async def test_a_namespace_that_is_not_watched_is_said_to_be_so(cache: ClusterCache, namespace: str) -> None:
    ref = target("kube-system")
    await cache.watch(ref)
    seen = cache.target(ref)
    assert isinstance(seen, TargetUnknown)
    assert f"only watches namespaces {namespace}" in seen.message


async def test_what_is_retained_stays_followed_and_the_rest_does_not(
    control_plane: ControlPlane, cache: ClusterCache, namespace: str
) -> None:
    apply_in(control_plane, namespace, deployment("decode"))
    kept, dropped = target(namespace), target(namespace, kind="StatefulSet")
    for ref in (kept, dropped):
        await cache.watch(ref)
    tasks = len(asyncio.all_tasks())
    await cache.retain([kept])
    assert len(asyncio.all_tasks()) == tasks - 1
    await until(cache, kept, ready_replicas=1)
    seen = cache.target(dropped)
    assert isinstance(seen, TargetUnknown)
    assert "has not been read yet" in seen.message


async def test_stopping_leaves_no_task(control_plane: ControlPlane, api: Connection, namespace: str) -> None:
    before = asyncio.all_tasks()
    following = ClusterCache(api, [namespace, "default"])
    await following.start()
    await following.watch(target(namespace))
    assert (
        len(asyncio.all_tasks()) == len(before) + 9
    )  # pods, Deployments, two kinds of autoscalers of two namespaces; scales
    await following.stop()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("silent_s", [30.0, 300.0])
async def test_what_was_known_is_believed_for_a_while_without_the_api_server(
    control_plane: ControlPlane, api: Connection, namespace: str, silent_s: float
) -> None:
    """The clock leaps instead of the test waiting for minutes."""
    apply_in(control_plane, namespace, deployment("decode"))
    leap_s = 0.0
    following = ClusterCache(api, [namespace], clock=lambda: time.time() + leap_s)
    await following.start()
    ref = target(namespace)
    await following.watch(ref)
    await until(following, ref, ready_replicas=1)
    leap_s = silent_s
    seen = following.target(ref)
    await following.stop()
    if silent_s < 120:
        assert isinstance(seen, PoolState)
    else:
        assert isinstance(seen, TargetUnknown)
        assert "no word from the API server" in seen.message
