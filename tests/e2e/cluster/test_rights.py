from typing import Any

import pytest

from localplane.plane import ControlPlane
from pdscaler.cluster.cache import ClusterCache
from pdscaler.cluster.connection import connect
from pdscaler.cluster.errors import ClusterError
from pdscaler.cluster.scale import Scale, ScaleReader, ScaleWriter
from pdscaler.cluster.targets import TargetRef
from pdscaler.core.decision import PoolState, TargetUnknown
from support.eventually import eventually
from support.plane import apply_in, deployment
from support.scaling import scale_to

READ = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list", "watch"]},
]
SCALE = [{"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch"]}]


def role(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rbac = "rbac.authorization.k8s.io"
    subjects = [{"kind": "ServiceAccount", "name": "operator"}]
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": "operator"}, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "operator"},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "operator"},
            "subjects": subjects,
        },
    ]


async def test_without_rights_the_target_is_unknown_and_known_once_they_are_granted(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("create", "serviceaccount", "operator", "-n", namespace)
    apply_in(control_plane, namespace, deployment("decode"))
    ref = TargetRef(namespace, "apps/v1", "Deployment", "decode")
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "operator")
    async with await connect(str(kubeconfig)) as api:
        cache = ClusterCache(api, [namespace])
        await cache.start()
        await cache.watch(ref)
        seen = cache.target(ref)
        assert isinstance(seen, TargetUnknown)
        assert seen.reason == "FailedGetScale"
        assert "Forbidden" in seen.message
        assert f'User "system:serviceaccount:{namespace}:operator" cannot list resource "deployments"' in seen.message
        scale = await ScaleReader(api).read(ref)
        assert isinstance(scale, TargetUnknown)
        assert 'cannot get resource "deployments/scale"' in scale.message

        apply_in(control_plane, namespace, *role(READ[1:]))
        seen = await eventually(
            lambda: cache.target(ref),
            lambda seen: isinstance(seen, TargetUnknown) and 'cannot list resource "pods"' in seen.message,
        )
        apply_in(control_plane, namespace, *role(READ + SCALE))
        await eventually(lambda: cache.target(ref), lambda seen: isinstance(seen, PoolState))
        await cache.stop()


async def test_get_and_patch_of_the_scale_are_enough_to_scale_and_for_nothing_else(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("create", "serviceaccount", "operator", "-n", namespace)
    apply_in(control_plane, namespace, deployment("decode"), {**deployment("other"), "kind": "StatefulSet"})
    apply_in(control_plane, namespace, *role(SCALE))
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "operator")
    async with await connect(str(kubeconfig)) as api:
        ref = TargetRef(namespace, "apps/v1", "Deployment", "decode")
        assert (await scale_to(api, ref, 2)).replicas == 2
        other = TargetRef(namespace, "apps/v1", "StatefulSet", "other")
        with pytest.raises(ClusterError) as caught:
            await ScaleWriter(api).write(Scale(other, 1, 1, "", "1"), 2)
    assert caught.value.reason == "Forbidden"
    assert caught.value.status == 403
