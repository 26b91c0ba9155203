from localplane.plane import ControlPlane
from pdscaler.cluster.cache import ClusterCache
from pdscaler.cluster.connection import Connection, collection_path, segments
from pdscaler.cluster.targets import TargetRef
from pdscaler.core.decision import PoolState, TargetUnknown
from support.eventually import eventually
from support.plane import apply_in
from support.scalable_kind import GROUP_VERSION, custom_kind, custom_object, engine_pod
from support.scaling import read_scale, scale_to


def known(seen: PoolState | TargetUnknown) -> bool:
    return isinstance(seen, PoolState)


async def test_a_kind_of_its_own_is_scaled_end_to_end_even_if_its_definition_comes_later(
    control_plane: ControlPlane, api: Connection, cache: ClusterCache, namespace: str
) -> None:
    control_plane.kubectl("delete", "crd", "groups.engines.example.test", "--ignore-not-found")
    ref = TargetRef(namespace, GROUP_VERSION, "Group", "decode")
    await cache.watch(ref)
    seen = cache.target(ref)
    assert isinstance(seen, TargetUnknown)
    assert "does not serve" in seen.message or "serves no kind" in seen.message

    control_plane.apply(custom_kind("groups", "Group"))
    control_plane.wait_served("groups.engines.example.test")
    missing = f'Group "decode" not found in "{namespace}"'
    await eventually(
        lambda: cache.target(ref), lambda seen: isinstance(seen, TargetUnknown) and missing in seen.message
    )

    # The group's leaders are its replicas; its workers are pods of another label.
    apply_in(control_plane, namespace, custom_object("decode", 2, "Group"))
    for number in range(2):
        apply_in(control_plane, namespace, engine_pod(f"leader-{number}", group="decode", rank="0"))
        apply_in(control_plane, namespace, engine_pod(f"worker-{number}", group="decode", rank="1"))
    await eventually(
        lambda: cache.target(ref), lambda seen: isinstance(seen, TargetUnknown) and seen.reason == "InvalidSelector"
    )
    path = collection_path(GROUP_VERSION, "groups", namespace) + segments("decode", "status")
    await api.patch(path, {"status": {"size": 2, "selector": "group=decode,rank in (0)"}})
    seen = await eventually(lambda: cache.target(ref), lambda seen: known(seen) and seen == PoolState(2, 2))
    assert cache.pod_names(ref, 0.0) == {"leader-0", "leader-1"}

    scale = await read_scale(api, ref)
    assert (scale.replicas, scale.status_replicas) == (2, 2)
    await scale_to(api, ref, 3)
    await eventually(lambda: cache.target(ref), lambda seen: seen == PoolState(3, 2))
    document = control_plane.get("groups.engines.example.test", "decode", "-n", namespace, "--show-managed-fields")
    assert document["spec"]["size"] == 3
    assert ("pdscaler", "scale") in {
        (entry["manager"], entry.get("subresource")) for entry in document["metadata"]["managedFields"]
    }

    control_plane.kubectl("delete", "groups.engines.example.test", "decode", "-n", namespace)
    await eventually(
        lambda: cache.target(ref), lambda seen: isinstance(seen, TargetUnknown) and missing in seen.message
    )


async def test_a_kind_whose_scale_reports_no_selector_cannot_be_a_target(
    control_plane: ControlPlane, cache: ClusterCache, namespace: str
) -> None:
    control_plane.apply(custom_kind("mutes", "Mute", selector=False))
    control_plane.wait_served("mutes.engines.example.test")
    apply_in(control_plane, namespace, custom_object("decode", 2, "Mute"))
    ref = TargetRef(namespace, GROUP_VERSION, "Mute", "decode")
    await cache.watch(ref)
    seen = await eventually(lambda: cache.target(ref), lambda seen: True)
    assert isinstance(seen, TargetUnknown)
    assert (seen.reason, "no label selector" in seen.message) == ("InvalidSelector", True)
