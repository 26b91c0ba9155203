import asyncio

from localplane.plane import ControlPlane
from pdscaler.cluster.cache import ClusterCache
from pdscaler.cluster.connection import Connection, connect
from pdscaler.cluster.scale import ScaleReader
from pdscaler.cluster.targets import TargetRef
from pdscaler.core.decision import PoolState, TargetUnknown
from support.eventually import eventually
from support.plane import apply_in, deployment, replicas_of
from support.scaling import scale_to


async def test_the_watches_survive_an_outage_of_the_api_server(
    control_plane: ControlPlane, api: Connection, cache: ClusterCache, namespace: str
) -> None:
    apply_in(control_plane, namespace, deployment("decode", replicas=2))
    ref = TargetRef(namespace, "apps/v1", "Deployment", "decode")
    await cache.watch(ref)
    await eventually(lambda: cache.target(ref), lambda seen: seen == PoolState(2, 2))

    control_plane.stop_apiserver()
    try:
        await asyncio.sleep(1)
        assert cache.target(ref) == PoolState(2, 2), "what was known a moment ago still counts"
        unread = await ScaleReader(api).read(ref)
        assert isinstance(unread, TargetUnknown)
        assert "Unreachable" in unread.message
        late = ClusterCache(api, [namespace])
        await late.start()
        await late.watch(ref)
        seen = late.target(ref)
        assert isinstance(seen, TargetUnknown)
        assert "Unreachable" in seen.message
    finally:
        await asyncio.to_thread(control_plane.start_apiserver)

    await scale_to(api, ref, 3)
    await eventually(lambda: cache.target(ref), lambda seen: seen == PoolState(3, 3))
    await eventually(lambda: late.target(ref), lambda seen: seen == PoolState(3, 3))
    await late.stop()
    await eventually(lambda: replicas_of(control_plane, namespace, "decode"), lambda counts: counts == (3, 3))


async def test_a_start_without_api_server_waits_for_it_without_failing(
    control_plane: ControlPlane, namespace: str
) -> None:
    ref = TargetRef(namespace, "apps/v1", "Deployment", "decode")
    async with await connect(str(control_plane.kubeconfig)) as api:
        cache = ClusterCache(api, [namespace])
        control_plane.stop_apiserver()
        try:
            await cache.start()
            await cache.watch(ref)
            assert isinstance(cache.target(ref), TargetUnknown)
        finally:
            await asyncio.to_thread(control_plane.start_apiserver)
        apply_in(control_plane, namespace, deployment("decode"))
        await eventually(lambda: cache.target(ref), lambda seen: seen == PoolState(1, 1))
        await cache.stop()
