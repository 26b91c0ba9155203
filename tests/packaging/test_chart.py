"""The chart as helm renders it: values, schema, credentials, agreement with the kustomizations."""

import copy
import json
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from localplane.toolset import Tools
from pdscaler.api.config import OperatorConfig, load_config
from pdscaler.api.crd import crd_document
from support.manifests import (
    CHART,
    ROOT,
    VERSION,
    Document,
    RenderError,
    config_of,
    documents,
    helm_template,
    kustomize,
    of_kind,
    one,
    pod_spec,
    run,
)

# helm and kubectl come with the local control plane's tools.
pytestmark = pytest.mark.e2e

EVERYTHING: dict[str, Any] = {
    "namespaces": ["serving", "research"],
    "targets": [
        {"apiGroup": "apps", "resources": ["deployments", "statefulsets"]},
        {"apiGroup": "leaderworkerset.x-k8s.io", "resources": ["leaderworkersets"]},
    ],
    "crds": {"install": False},
    "image": {"repository": "registry.invalid/pdscaler", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "prometheus": {
        "endpoints": {
            "thanos": {
                "url": "https://thanos.invalid",
                "timeout": "3s",
                "caFrom": {"configMap": "ca", "key": "service-ca.crt"},
                "bearerTokenFrom": {"secret": "token", "key": "t"},
                "clientCertFrom": {"secret": "client", "certKey": "tls.crt", "keyKey": "tls.key"},
            }
        },
        "allowedUrls": ["https://tenants.invalid/prometheus"],
    },
    "presets": {"mine.yaml": "name: Mine\n"},
    "metrics": {
        "port": 9090,
        "serviceMonitor": {"enabled": True, "labels": {"release": "p"}},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    },
    "health": {"port": 9091},
    "networkPolicy": {"enabled": True, "metricsFrom": ["monitoring"], "egressPorts": [6443, 9090]},
    "serviceAccount": {"name": "operator", "annotations": {"a": "b"}},
    "podLabels": {"team": "inference"},
    "podAnnotations": {"c": "d"},
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"key": "system", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
    "config": {"evaluationPeriod": "5s", "logFormat": "text"},
    "leaderElection": {"enabled": True, "leaseDuration": "30s", "renewDeadline": "20s", "retryPeriod": "5s"},
    "podDisruptionBudget": {"enabled": True},
}
MATRIX: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one replica": {"replicaCount": 1},
    "one replica, no Lease": {"replicaCount": 1, "leaderElection": {"enabled": False}},
    "three replicas": {"replicaCount": 3, "podDisruptionBudget": {"maxUnavailable": "50%"}},
    "everything": EVERYTHING,
    "one namespace": {"namespaces": ["serving"]},
    "foreign service account": {"serviceAccount": {"create": False, "name": "mine"}},
    "no service": {"metrics": {"service": False}},
    "other name": {"fullnameOverride": "scaler"},
    "under a parent chart": {"global": {"region": "x"}},
}


def render(tools: Tools, values: dict[str, Any] | None = None) -> list[Document]:
    return documents(helm_template(tools, values))


def load(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> OperatorConfig:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return load_config(file, environ or {}, {})


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_helm_lint_and_the_operator_accept_each_set_of_values(
    tools: Tools, tmp_path: Path, values: dict[str, Any]
) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    run(tools["helm"], "lint", "--strict", "--kube-version", "1.36.3", CHART, "--values", file)
    objects = render(tools, values)
    config = load(tmp_path, config_of(objects))
    assert list(config.namespaces) == values.get("namespaces", [])
    ports = {port["name"]: port["containerPort"] for port in pod_spec(objects)["containers"][0]["ports"]}
    assert config.metrics_address == f"0.0.0.0:{ports['metrics']}"
    assert config.health_address == f"0.0.0.0:{ports['health']}"
    assert {service["spec"]["ports"][0]["targetPort"] for service in of_kind(objects, "Service")} <= set(ports)
    account = pod_spec(objects)["serviceAccountName"]
    bindings = of_kind(objects, "ClusterRoleBinding") + of_kind(objects, "RoleBinding")
    assert {binding["subjects"][0]["name"] for binding in bindings} == {account}


def test_credentials_are_mounted_from_named_objects_and_configured_where_they_are(tools: Tools, tmp_path: Path) -> None:
    objects = render(tools, EVERYTHING)
    assert not of_kind(objects, "Secret")
    endpoint = load(tmp_path, config_of(objects)).prometheus.endpoints["thanos"]
    spec = pod_spec(objects)
    volume = next(volume for volume in spec["volumes"] if volume["name"] == "prometheus-thanos")
    mount = next(mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "prometheus-thanos")
    paths = {
        f"{mount['mountPath']}/{item['path']}": (kind, source[kind]["name"], item["key"])
        for source in volume["projected"]["sources"]
        for kind in source
        for item in source[kind]["items"]
    }
    assert paths == {
        endpoint.ca_file: ("configMap", "ca", "service-ca.crt"),
        endpoint.bearer_token_file: ("secret", "token", "t"),
        endpoint.client_cert_file: ("secret", "client", "tls.crt"),
        endpoint.client_key_file: ("secret", "client", "tls.key"),
    }
    assert endpoint.timeout_s == 3.0


def test_the_network_policy_names_the_ports_of_the_pod_and_no_metadata_service(tools: Tools) -> None:
    assert not of_kind(render(tools), "NetworkPolicy")
    objects = render(tools, EVERYTHING)
    policy = one(objects, "NetworkPolicy")["spec"]
    pods = one(objects, "Deployment")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= pods["metadata"]["labels"].items()
    named = {port["name"] for port in pods["spec"]["containers"][0]["ports"]}
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == named
    (scrapers,) = (rule["from"] for rule in policy["ingress"] if "from" in rule)
    assert scrapers[0]["namespaceSelector"]["matchExpressions"][0]["values"] == ["monitoring"]
    dns, others = policy["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert [port["port"] for port in others["ports"]] == [6443, 9090]
    blocks = [peer["ipBlock"] for peer in others["to"] if "ipBlock" in peer]
    assert any(ip_address("169.254.169.254") in ip_network(hole) for block in blocks for hole in block["except"]), (
        "clouds hand out credentials there"
    )


def test_presets_are_mounted_where_the_configuration_looks(tools: Tools, tmp_path: Path) -> None:
    objects = render(tools, EVERYTHING)
    mounts = {mount["name"]: mount["mountPath"] for mount in pod_spec(objects)["containers"][0]["volumeMounts"]}
    assert load(tmp_path, config_of(objects)).presets == mounts["presets"]
    assert any(found["data"].get("mine.yaml") == "name: Mine\n" for found in of_kind(objects, "ConfigMap"))
    assert load(tmp_path, config_of(render(tools))).presets is None


def test_a_change_of_the_configuration_restarts_the_operator(tools: Tools) -> None:
    def checksum(values: dict[str, Any]) -> str:
        template = one(render(tools, values), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum({}) == checksum({"podLabels": {"a": "b"}})
    assert (
        len({checksum({}), checksum({"config": {"evaluationPeriod": "5s"}}), checksum({"presets": {"a.yaml": ""}})})
        == 3
    )


def objects_of_schema(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, value in schema.items():
            yield from objects_of_schema(value, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from objects_of_schema(value, f"{path}/{index}")


def test_the_schema_leaves_no_object_open() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    # What belongs to others: a parent chart's values, and the three kinds of affinity, which the API server checks.
    others = {"/properties/global"} | {
        f"/properties/affinity/properties/{kind}" for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity")
    }
    found = dict(objects_of_schema(schema))
    assert len(found) > 25
    still_open = {path for path, part in found.items() if part.get("additionalProperties", True) is True}
    assert still_open == others


def paths_of_values(values: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(values, dict) and values:
        yield path
        for key, value in values.items():
            yield from paths_of_values(value, (*path, key))
    if isinstance(values, list):
        for index, value in enumerate(values):
            yield from paths_of_values(value, (*path, index))


_FREE_KEYS = {("presets",), ("podLabels",), ("podAnnotations",), ("nodeSelector",), ("serviceAccount", "annotations")}
_FREE_KEYS |= {("metrics", part, "labels") for part in ("serviceMonitor", "prometheusRule", "dashboard")}
_FREE_KEYS |= {("resources", "requests"), ("resources", "limits"), ("prometheus", "endpoints")}


def test_a_misspelt_key_is_refused_at_every_level(tools: Tools) -> None:
    """Every mapping of every value, one after the other, gets a key that does not exist."""
    values = copy.deepcopy(EVERYTHING)
    values["image"]["tag"] = "1"
    levels = [path for path in paths_of_values(values) if path not in _FREE_KEYS]
    assert len(levels) > 15
    broken = copy.deepcopy(values)
    for path in levels:
        at: Any = broken
        for step in path:
            at = at[step]
        at["misspelt"] = "x"
    with pytest.raises(RenderError) as refused:
        helm_template(tools, broken)
    said = str(refused.value)
    for path in levels:
        place = "/" + "/".join(map(str, path)) if path else ""
        # caFrom is one of two shapes, so helm reports each of them.
        assert f"at '{place}'" in said, place
    assert said.count("'misspelt' not allowed") >= len(levels)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"targets": [{"apiGroup": "*", "resources": ["deployments"]}]}, "targets/0/apiGroup"),
        ({"targets": [{"apiGroup": "apps", "resources": ["*"]}]}, "targets/0/resources/0"),
        ({"targets": [{"apiGroup": "apps", "resources": ["deployments/scale"]}]}, "targets/0/resources/0"),
        ({"targets": []}, "targets"),
        ({"namespaces": "serving"}, "namespaces"),
        ({"config": {"evaluationPeriod": "15"}}, "config/evaluationPeriod"),
        ({"prometheus": {"endpoints": {"p": {"url": "http://user:word@p.invalid"}}}}, "prometheus/endpoints/p/url"),
        ({"prometheus": {"endpoints": {"p": {"timeout": "1s"}}}}, "missing property 'url'"),
        ({"metrics": {"port": 80}}, "metrics/port"),
        ({"metrics": {"service": False, "serviceMonitor": {"enabled": True}}}, "needs metrics.service: true"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(tools: Tools, values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RenderError, match=complaint):
        helm_template(tools, values)


def test_the_chart_carries_the_generated_crd_and_keeps_it(tools: Tools) -> None:
    rendered = one(render(tools), "CustomResourceDefinition")
    assert rendered["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert rendered == crd_document()
    assert not of_kind(render(tools, {"crds": {"install": False}}), "CustomResourceDefinition")


def test_versions_agree() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    base = yaml.safe_load((ROOT / "deploy/base/kustomization.yaml").read_text())
    assert chart["version"] == str(chart["appVersion"]) == base["images"][0]["newTag"] == VERSION


def normal(objects: list[Document]) -> dict[tuple[str, str], Document]:
    """Drop what must differ: Helm's labels and checksum, the hash in the ConfigMap's name, the keep annotation."""
    config = next(found["metadata"]["name"] for found in objects if "config.yaml" in found.get("data", {}))
    listed: list[Document] = json.loads(json.dumps(objects).replace(f'"{config}"', '"pdscaler"'))
    named = {}
    for document in listed:
        metadata = document["metadata"]
        for label in ("app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"):
            metadata.get("labels", {}).pop(label, None)
        metadata.get("annotations", {}).pop("helm.sh/resource-policy", None)
        if not metadata.get("annotations", True):
            del metadata["annotations"]
        if document["kind"] == "Deployment":
            document["spec"]["template"]["metadata"].pop("annotations", None)
        if document["kind"] == "ConfigMap":
            document["data"] = {name: yaml.safe_load(text) for name, text in document["data"].items()}
        if document["kind"] == "CustomResourceDefinition":
            metadata.pop("labels", None)
        if document["kind"] != "Namespace":
            named[document["kind"], metadata["name"]] = document
    return named


def test_the_chart_and_the_kustomize_base_are_the_same_objects(tools: Tools) -> None:
    chart, base = normal(render(tools)), normal(documents(kustomize(tools, "deploy/base")))
    assert set(chart) == set(base)
    for key, document in base.items():
        assert chart[key] == document, key


def test_the_namespaced_chart_and_overlay_grant_and_configure_the_same(tools: Tools, tmp_path: Path) -> None:
    chart = documents(helm_template(tools, {"namespaces": ["serving"]}, namespace="serving"))
    overlay = documents(kustomize(tools, "deploy/overlays/namespaced"))
    cluster_scoped = {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    assert not cluster_scoped & {document["kind"] for document in overlay}
    for field, kind in (("rules", "Role"), ("subjects", "RoleBinding")):
        granted = [
            {found["metadata"]["name"]: found[field] for found in of_kind(each, kind)} for each in (chart, overlay)
        ]
        assert granted[0] == granted[1]
        assert set(granted[0]) == {"pdscaler", "pdscaler-leader-election"}
    assert {document["metadata"]["namespace"] for document in overlay} == {"serving"}
    pods = pod_spec(overlay)
    (variable,) = pods["containers"][0].pop("env")
    assert variable == {
        "name": "PDSCALER_NAMESPACES",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}},
    }
    # The variable holds the pod's own namespace: the two ways of saying it end in one configuration.
    assert load(tmp_path, config_of(overlay), {"PDSCALER_NAMESPACES": "serving"}) == load(tmp_path, config_of(chart))


def test_replicas_share_a_lease_and_stay_apart(tools: Tools, tmp_path: Path) -> None:
    objects = render(tools, {"fullnameOverride": "scaler"})
    config = load(tmp_path, config_of(objects))
    assert config.leader_election
    assert config.lease_name == "scaler-leader"
    (rights,) = [found for found in of_kind(objects, "Role") if found["metadata"]["name"] == "scaler-leader-election"]
    named = [rule["resourceNames"] for rule in rights["rules"] if "resourceNames" in rule]
    assert named == [["scaler-leader"]], "no other Lease of the namespace"
    deployment = one(objects, "Deployment")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (preferred,) = deployment["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    apart = preferred["podAffinityTerm"]
    assert apart["labelSelector"]["matchLabels"] == deployment["selector"]["matchLabels"]
    budget = one(objects, "PodDisruptionBudget")["spec"]
    assert budget == {"maxUnavailable": 1, "selector": deployment["selector"]}


def test_an_anti_affinity_of_the_users_own_counts(tools: Tools) -> None:
    own: dict[str, Any] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}
    assert pod_spec(render(tools, {"affinity": own}))["affinity"] == own
    both = pod_spec(render(tools, {"affinity": {"nodeAffinity": {"x": 1}}}))["affinity"]
    assert set(both) == {"nodeAffinity", "podAntiAffinity"}


def test_one_replica_needs_neither_lease_nor_budget(tools: Tools, tmp_path: Path) -> None:
    objects = render(tools, {"replicaCount": 1, "leaderElection": {"enabled": False}})
    assert not load(tmp_path, config_of(objects)).leader_election
    assert one(objects, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    assert "affinity" not in pod_spec(objects)
    assert not [found for kind in ("Role", "RoleBinding", "PodDisruptionBudget") for found in of_kind(objects, kind)]
    with pytest.raises(RenderError, match=r"replicaCount above 1 needs leaderElection\.enabled"):
        helm_template(tools, {"leaderElection": {"enabled": False}})


def test_the_base_and_overlay_configuration_is_one_the_operator_reads(tools: Tools, tmp_path: Path) -> None:
    config = load(tmp_path, config_of(documents(kustomize(tools, "deploy/base"))))
    assert list(config.prometheus.endpoints) == ["default"]
    assert config.namespaces == ()
