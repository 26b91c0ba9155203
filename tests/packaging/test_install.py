"""Chart and kustomizations on a real API server: schemas, admission, rights, the life of a release, GitOps."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from localplane.errors import LocalPlaneError
from localplane.plane import ControlPlane
from localplane.toolset import Tools
from localplane.waiting import wait_for
from pdscaler.api.crd import CRD_NAME
from support.manifests import (
    CHART,
    ROOT,
    VERSION,
    Document,
    RenderError,
    documents,
    helm_template,
    kustomize,
    one,
    run,
)
from support.openapi import write_schemas

pytestmark = pytest.mark.e2e

GROUPS = (
    "api/v1",
    "apis/apps/v1",
    "apis/networking.k8s.io/v1",
    "apis/policy/v1",
    "apis/rbac.authorization.k8s.io/v1",
    "apis/apiextensions.k8s.io/v1",
    "apis/pdscaler.io/v1alpha1",
)
CONFINED: dict[str, Any] = {
    "namespaces": ["a", "b"],
    "metrics": {"dashboard": {"enabled": True}},
    "networkPolicy": {"enabled": True, "metricsFrom": ["monitoring"]},
}
SAMPLES = sorted((ROOT / "deploy/samples").glob("*.yaml"))


@pytest.fixture(scope="session")
def crd(control_plane: ControlPlane) -> None:
    """The custom resource definition, installed and served."""
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-k", ROOT / "crds")
    control_plane.wait_served(CRD_NAME)


@pytest.fixture(scope="session")
def schemas(control_plane: ControlPlane, crd: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where kubeconform finds the schemas of this API server."""
    return write_schemas(control_plane, tmp_path_factory.mktemp("schemas"), *GROUPS)


def conform(tools: Tools, schemas: str, manifests: str) -> dict[str, int]:
    options = ("-strict", "-summary", "-output", "json", "-schema-location", schemas)
    counts: dict[str, int] = json.loads(run(tools["kubeconform"], *options, "-", input=manifests))["summary"]
    return counts


@pytest.mark.parametrize("source", ["chart", "chart, namespaced", "deploy/base", "deploy/overlays/namespaced", "crds"])
def test_manifests_fit_the_api_servers_own_schemas(tools: Tools, schemas: str, source: str) -> None:
    values = CONFINED if "," in source else {}
    manifests = helm_template(tools, values) if source.startswith("chart") else kustomize(tools, source)
    assert conform(tools, schemas, manifests) == {
        "valid": len(documents(manifests)),
        "invalid": 0,
        "errors": 0,
        "skipped": 0,
    }


def test_samples_fit_the_schemas_and_a_misspelt_field_does_not(tools: Tools, schemas: str) -> None:
    for sample in SAMPLES:
        found = [document for document in documents(sample.read_text()) if "apiVersion" in document]
        if found:
            assert conform(tools, schemas, yaml.safe_dump_all(found))["valid"] == len(found), sample.name
    (resource,) = documents((ROOT / "deploy/samples/recommend-only.yaml").read_text())
    resource["spec"]["prefill"]["maxReplica"] = 3
    with pytest.raises(RenderError, match="additional"):
        conform(tools, schemas, yaml.safe_dump(resource))


def restricted(plane: ControlPlane, namespace: str) -> None:
    plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")


def test_the_api_server_takes_chart_and_base_and_overlay(
    control_plane: ControlPlane, tools: Tools, crd: None, namespace: str, make_namespace: Callable[[], str]
) -> None:
    other = make_namespace()
    rendered = {
        "chart": helm_template(tools, {}, namespace=namespace),
        "namespaced": helm_template(tools, {"namespaces": [namespace, other]}, namespace=namespace),
        "base": kustomize(tools, "deploy/base").replace("pdscaler-system", namespace),
        "overlay": kustomize(tools, "deploy/overlays/namespaced").replace(
            "namespace: serving", f"namespace: {namespace}"
        ),
    }
    for name, manifests in rendered.items():
        done = control_plane.kubectl(
            *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"),
            input=manifests,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert len(done.stdout.splitlines()) == len(documents(manifests))


@pytest.mark.parametrize("source", ["chart", "base"])
def test_the_pod_is_admitted_where_pod_security_is_restricted(
    control_plane: ControlPlane, tools: Tools, crd: None, namespace: str, source: str
) -> None:
    restricted(control_plane, namespace)
    if source == "chart":
        values = {"crds": {"install": False}, "networkPolicy": {"enabled": True}}
        manifests = helm_template(tools, values, release=f"pdscaler-{namespace}", namespace=namespace)
    else:
        kept = [
            found
            for found in documents(kustomize(tools, "deploy/base").replace("pdscaler-system", namespace))
            if found["kind"] not in {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
        ]
        manifests = yaml.safe_dump_all(kept)
    control_plane.kubectl("apply", "-f", "-", input=manifests)
    try:
        name = one(documents(manifests), "Deployment")["metadata"]["name"]
        control_plane.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=180s")
        pods = control_plane.get("pods", "-n", namespace, "-l", "app.kubernetes.io/name=pdscaler")["items"]
        pod = pods[0]
        container = pod["spec"]["containers"][0]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["runAsUser"] > 10_000
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        tokens = [
            part["serviceAccountToken"]
            for volume in pod["spec"]["volumes"]
            for part in volume.get("projected", {}).get("sources", ())
            if "serviceAccountToken" in part
        ]
        assert [token["expirationSeconds"] <= 3607 for token in tokens] == [True]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == ["/tmp"]
        assert not [volume for volume in pod["spec"]["volumes"] if "secret" in volume]
        # The namespace does refuse what is not restricted: the admission above meant something.
        refused = control_plane.kubectl("run", "root", "--image=i", "-n", namespace, "--dry-run=server", check=False)
        assert "violates PodSecurity" in refused.stderr
    finally:
        control_plane.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", input=manifests, check=False)


ALLOWED_IN_A_NAMESPACE = [
    ("get", "pddeployments.pdscaler.io"),
    ("list", "pddeployments.pdscaler.io"),
    ("watch", "pddeployments.pdscaler.io"),
    ("patch", "pddeployments.pdscaler.io/status"),
    ("list", "pods"),
    ("watch", "pods"),
    ("create", "events"),
    ("patch", "events"),
    ("list", "horizontalpodautoscalers.autoscaling"),
    ("watch", "horizontalpodautoscalers.autoscaling"),
    ("list", "scaledobjects.keda.sh"),
    ("watch", "scaledobjects.keda.sh"),
    ("list", "deployments.apps"),
    ("watch", "deployments.apps"),
    ("get", "deployments.apps/scale"),
    ("patch", "deployments.apps/scale"),
]
LEASE_VERBS = ("create", "get", "patch", "update", "delete", "list", "watch", "deletecollection")
LEASES = "leases.coordination.k8s.io"
NEVER_ALLOWED = [
    ("get", "secrets"),
    ("list", "secrets"),
    ("list", "configmaps"),
    ("patch", "pddeployments.pdscaler.io"),
    ("delete", "pddeployments.pdscaler.io"),
    ("patch", "deployments.apps"),
    ("update", "deployments.apps"),
    ("delete", "deployments.apps"),
    ("patch", "statefulsets.apps/scale"),
    ("get", "statefulsets.apps/scale"),
    ("patch", "horizontalpodautoscalers.autoscaling"),
    ("delete", "horizontalpodautoscalers.autoscaling"),
    ("delete", "pods"),
    ("create", "pods/exec"),
    ("get", "nodes"),
    ("create", "serviceaccounts/token"),
    ("get", "deployments.apps"),
    ("list", "namespaces"),
    ("list", "customresourcedefinitions"),
]


def may(plane: ControlPlane, account: str, verb: str, resource: str, namespace: str, name: str = "") -> bool:
    # Asked of the API server itself: kubectl auth can-i takes liberties with kinds that are not installed.
    kind, _, subresource = resource.partition("/")
    plural, _, group = kind.partition(".")
    asked = {"namespace": namespace, "verb": verb, "group": group, "resource": plural, "subresource": subresource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": account, "resourceAttributes": {**asked, "name": name}},
    }
    answer = plane.kubectl("create", "-o", "json", "-f", "-", input=json.dumps(review))
    return bool(json.loads(answer.stdout)["status"]["allowed"])


def test_the_operator_may_do_what_it_needs_and_nothing_else(
    control_plane: ControlPlane, tools: Tools, crd: None, namespace: str, make_namespace: Callable[[], str]
) -> None:
    other = make_namespace()
    values = {"crds": {"install": False}, "namespaces": [namespace]}
    name = f"pdscaler-{namespace}"
    confined = helm_template(tools, values, release=name, namespace=namespace)
    rights = [found for found in documents(confined) if found["kind"] in {"ServiceAccount", "Role", "RoleBinding"}]
    control_plane.apply(*rights)
    account = f"system:serviceaccount:{namespace}:{name}"
    assert [right for right in ALLOWED_IN_A_NAMESPACE if not may(control_plane, account, *right, namespace)] == []
    assert [right for right in NEVER_ALLOWED if may(control_plane, account, *right, namespace)] == []
    its_lease = [verb for verb in LEASE_VERBS if may(control_plane, account, verb, LEASES, namespace, f"{name}-leader")]
    assert its_lease == ["create", "get", "patch"]
    another = [verb for verb in LEASE_VERBS if may(control_plane, account, verb, LEASES, namespace, "another")]
    assert another == ["create"], "RBAC knows no names when an object is created"
    assert not [verb for verb in LEASE_VERBS if may(control_plane, account, verb, LEASES, other)]
    everything = [
        *ALLOWED_IN_A_NAMESPACE,
        ("list", "namespaces"),
        ("list", "customresourcedefinitions.apiextensions.k8s.io"),
    ]
    assert [right for right in everything if may(control_plane, account, *right, other)] == []


def test_the_life_of_a_release(
    control_plane: ControlPlane, tools: Tools, crd: None, namespace: str, tmp_path: Path
) -> None:
    """Install, upgrade, uninstall with the real helm; the CRD and the PDDeployments outlive the release."""
    restricted(control_plane, namespace)
    name = f"pdscaler-{namespace}"

    def helm(*arguments: str | Path) -> str:
        options = ("--kubeconfig", control_plane.kubeconfig, "--namespace", namespace)
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        return run(tools["helm"], *arguments, *options, env=environment)

    # The CRD was there before the release: it takes it over instead of refusing.
    confined = ("--set", f"namespaces={{{namespace}}}")
    notes = helm("install", name, CHART, "--wait", "--timeout", "90s", "--take-ownership", *confined)
    assert f"pdscaler {VERSION} looks after the namespace {namespace}." in notes
    assert "deploy/samples/recommend-only.yaml" in notes
    sample = (ROOT / "deploy/samples/recommend-only.yaml").read_text()
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", input=sample)
    old = control_plane.get("deployment", name, "-n", namespace)
    helm("upgrade", name, CHART, "--wait", "--timeout", "90s", "--reuse-values", "--set", "config.evaluationPeriod=5s")
    new = control_plane.get("deployment", name, "-n", namespace)
    assert new["metadata"]["generation"] > old["metadata"]["generation"], (
        "a new configuration did not restart the operator"
    )
    helm("uninstall", name, "--wait", "--timeout", "60s")
    left = control_plane.get("deployments,serviceaccounts,roles,rolebindings,services", "-n", namespace)["items"]
    assert [found["metadata"]["name"] for found in left if found["metadata"]["name"].startswith(name)] == []
    resource = control_plane.get("pdd", "llama-8b", "-n", namespace)
    assert "finalizers" not in resource["metadata"]
    control_plane.kubectl("delete", "pdd", "llama-8b", "-n", namespace, "--timeout=180s")


def scale(plane: ControlPlane, namespace: str, name: str, replicas: int) -> None:
    """Write as the operator does: a merge patch of the scale subresource, by the field manager pdscaler."""
    options = ("--subresource=scale", "--type=merge", "--field-manager=pdscaler")
    patch = json.dumps({"spec": {"replicas": replicas}})
    plane.kubectl("patch", "deployment", name, "-n", namespace, *options, "-p", patch)


def owners_of_replicas(document: Document) -> set[str]:
    fields = document["metadata"]["managedFields"]
    return {entry["manager"] for entry in fields if "f:replicas" in entry["fieldsV1"].get("f:spec", {})}


def test_a_gitops_reapply_leaves_the_replicas_alone(control_plane: ControlPlane, crd: None, namespace: str) -> None:
    """The sample leaves out spec.replicas: what was written through /scale stays over a re-apply."""
    sample = ROOT / "deploy/samples/gitops.yaml"
    reconcile = ("apply", "--server-side", "--field-manager=gitops", "-n", namespace, "-f", sample)
    control_plane.kubectl(*reconcile)
    scale(control_plane, namespace, "qwen-prefill", 3)
    control_plane.kubectl(*reconcile)
    assert control_plane.get("deployment", "qwen-prefill", "-n", namespace)["spec"]["replicas"] == 3


def test_replicas_that_stand_in_git_are_marked_as_ours_once_written(
    control_plane: ControlPlane, crd: None, namespace: str
) -> None:
    """What Argo CD's managedFieldsManagers goes by."""
    deployment = documents((ROOT / "deploy/samples/gitops.yaml").read_text())[0]
    deployment["spec"]["replicas"] = 1
    options = ("--server-side", "--field-manager=gitops", "-n", namespace, "-f", "-")
    control_plane.kubectl("apply", *options, input=json.dumps(deployment))
    scale(control_plane, namespace, "qwen-prefill", 3)
    found = control_plane.get("deployment", "qwen-prefill", "-n", namespace, "--show-managed-fields")
    assert owners_of_replicas(found) == {"pdscaler"}


def test_the_schema_of_the_sample_is_enforced_by_the_api_server(
    control_plane: ControlPlane, crd: None, namespace: str
) -> None:
    (sample,) = documents((ROOT / "deploy/samples/recommend-only.yaml").read_text())
    sample["metadata"]["namespace"] = namespace
    sample["spec"]["slo"] = {}
    with pytest.raises(LocalPlaneError, match="at least one of ttft and tpot is needed"):
        control_plane.apply(sample)
    wait_for("the API server", lambda: control_plane.get("pdd", "-n", namespace)["items"] == [])
