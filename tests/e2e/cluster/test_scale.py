import asyncio

import pytest

from localplane.plane import ControlPlane
from pdscaler.cluster.connection import Connection
from pdscaler.cluster.errors import ClusterError, ConflictError
from pdscaler.cluster.scale import Scale, ScaleReader, ScaleWriter
from pdscaler.cluster.targets import TargetRef
from pdscaler.core.decision import TargetUnknown
from support.plane import apply_in, deployment, replicas_of, wait_ready
from support.scalable_kind import GROUP_VERSION, KIND, custom_kind, custom_object
from support.scaling import read_scale, scale_to


async def test_a_deployment_is_scaled_by_our_field_manager_and_nobody_elses_fields_change(
    control_plane: ControlPlane, api: Connection, namespace: str
) -> None:
    apply_in(control_plane, namespace, deployment("decode", replicas=2))
    wait_ready(control_plane, namespace, "decode", 2)
    ref = TargetRef(namespace, "apps/v1", "Deployment", "decode")
    before = await read_scale(api, ref)
    assert (before.ref, before.replicas, before.status_replicas, before.selector) == (ref, 2, 2, "app=decode")

    after = await scale_to(api, ref, 3)

    assert after.replicas == 3
    assert after.resource_version != before.resource_version
    assert replicas_of(control_plane, namespace, "decode")[0] == 3
    document = control_plane.get("deployment", "decode", "-n", namespace, "--show-managed-fields")
    ours = [entry for entry in document["metadata"]["managedFields"] if entry["manager"] == "pdscaler"]
    assert [(entry["operation"], entry["subresource"], entry["fieldsV1"]) for entry in ours] == [
        ("Update", "scale", {"f:spec": {"f:replicas": {}}})
    ]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", KIND])
async def test_a_write_on_an_old_reading_is_a_conflict_and_changes_nothing(
    control_plane: ControlPlane, api: Connection, namespace: str, kind: str
) -> None:
    if kind == KIND:
        control_plane.apply(custom_kind())
        control_plane.wait_served("enginesets.engines.example.test")
        apply_in(control_plane, namespace, custom_object("decode", 1))
        ref = TargetRef(namespace, GROUP_VERSION, kind, "decode")
    else:
        apply_in(control_plane, namespace, {**deployment("decode", replicas=1), "kind": kind})
        ref = TargetRef(namespace, "apps/v1", kind, "decode")
        control_plane.kubectl("rollout", "status", f"{kind}/decode", "-n", namespace, "--timeout=180s")
    old = await read_scale(api, ref)
    plural = "enginesets.engines.example.test" if kind == KIND else kind.lower()
    control_plane.kubectl("scale", plural, "decode", "-n", namespace, "--replicas=4")

    with pytest.raises(ConflictError):
        await ScaleWriter(api).write(old, 2)

    assert (await read_scale(api, ref)).replicas == 4


async def test_of_several_writers_on_one_reading_exactly_one_wins(
    control_plane: ControlPlane, api: Connection, namespace: str
) -> None:
    control_plane.apply(custom_kind())
    control_plane.wait_served("enginesets.engines.example.test")
    apply_in(control_plane, namespace, custom_object("decode", 1))
    ref = TargetRef(namespace, GROUP_VERSION, KIND, "decode")
    scale = await read_scale(api, ref)
    results = await asyncio.gather(
        *(ScaleWriter(api).write(scale, replicas) for replicas in (2, 3, 4, 5)), return_exceptions=True
    )
    won = [result for result in results if isinstance(result, Scale)]
    assert len(won) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 3
    assert (await read_scale(api, ref)).replicas == won[0].replicas


async def test_what_a_write_returns_can_be_written_again(
    control_plane: ControlPlane, api: Connection, namespace: str
) -> None:
    control_plane.apply(custom_kind())
    control_plane.wait_served("enginesets.engines.example.test")
    apply_in(control_plane, namespace, custom_object("decode", 1))
    writer = ScaleWriter(api)
    scale = await read_scale(api, TargetRef(namespace, GROUP_VERSION, KIND, "decode"))
    for replicas in (2, 5, 0, 3):
        scale = await writer.write(scale, replicas)
        assert scale.replicas == replicas


async def test_a_target_that_cannot_be_scaled_says_why(api: Connection, namespace: str) -> None:
    reader = ScaleReader(api)
    missing = await reader.read(TargetRef(namespace, "apps/v1", "Deployment", "nope"))
    assert missing == TargetUnknown("FailedGetScale", f'Deployment "nope" not found in "{namespace}"')
    for api_version, kind, problem in (
        ("apps/v1", "DaemonSet", "has no scale subresource"),
        ("apps/v1", "Deploymint", 'serves no kind "Deploymint" in apps/v1'),
        ("apps/v9", "Deployment", "does not serve apps/v9"),
        ("nowhere.test/v1", "Engine", "does not serve nowhere.test/v1"),
    ):
        found = await reader.read(TargetRef(namespace, api_version, kind, "x"))
        assert isinstance(found, TargetUnknown)
        assert found.reason == "FailedGetScale"
        assert problem in found.message


async def test_a_target_deleted_after_the_reading_is_not_found_at_the_write(
    control_plane: ControlPlane, api: Connection, namespace: str
) -> None:
    apply_in(control_plane, namespace, deployment("decode"))
    scale = await read_scale(api, TargetRef(namespace, "apps/v1", "Deployment", "decode"))
    control_plane.kubectl("delete", "deployment", "decode", "-n", namespace)
    with pytest.raises(ClusterError) as caught:
        await ScaleWriter(api).write(scale, 2)
    assert caught.value.reason == "NotFound"
