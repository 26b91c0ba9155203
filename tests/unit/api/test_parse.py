"""Reading PDDeployments: what is accepted, with which defaults, and how each mistake is named."""

from pathlib import Path
from typing import Any

import pytest

from pdscaler.api.parse import load_pddeployment, parse_pddeployment
from pdscaler.api.spec import Calibration, ForecastMethod, Mode
from pdscaler.core.slo import Statistic
from pdscaler.core.spec import FallbackBehavior, Routing, SizingModel
from pdscaler.errors import InvalidInputError, NotSupportedYetError
from support.documents import INVALID, Invalid, changed, pddeployment

SAMPLE = Path(__file__).parents[3] / "deploy/samples/deepseek-v31.yaml"


def test_defaults_are_those_of_the_design() -> None:
    spec = parse_pddeployment(pddeployment()).spec
    assert spec.mode is Mode.AUTO
    assert spec.slo.ttft is not None
    assert (spec.slo.ttft.target_s, spec.slo.ttft.statistic) == (0.3, Statistic.P95)
    assert spec.slo.tpot is not None
    assert spec.slo.tpot.statistic is Statistic.MEAN
    for pool in (spec.prefill, spec.decode):
        assert (pool.min_replicas, pool.gpus_per_replica, pool.startup_s) == (1, 1, 180.0)
        assert (pool.scale_target_ref.api_version, pool.scale_target_ref.kind) == ("apps/v1", "Deployment")
        assert pool.behavior is None
    assert spec.prefill.profile.max_batched_tokens == 8192
    overhead = spec.prefill.profile.overhead
    assert (overhead.fixed_s, overhead.per_thousand_tokens_s) == (0.0, 0.0)
    assert spec.constraints.max_gpus is None
    assert spec.constraints.ratio is None
    assert spec.sizing.model is SizingModel.AUTO
    assert spec.sizing.decode_derate == 1.0
    assert spec.sizing.calibration is Calibration.AUTO
    assert spec.routing.prefill is Routing.JOIN_SHORTEST_QUEUE
    assert spec.metrics.engine == "VLLM"
    assert (spec.metrics.prometheus.endpoint_ref, spec.metrics.prometheus.url) == ("default", None)
    assert (spec.metrics.window_s, spec.metrics.max_staleness_s, spec.metrics.pool_label) == (180.0, 120.0, "")
    assert spec.metrics.front_door is None
    assert spec.forecast.method is ForecastMethod.AUTO
    assert spec.behavior.scale_up is None
    assert spec.behavior.scale_down is None
    assert (spec.fallback.behavior, spec.fallback.failure_threshold) == (FallbackBehavior.HOLD, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"spec.slo": {"ttft": {"target": "2s"}}},
        {"spec.slo": {"tpot": {"target": "6500us", "statistic": "P99"}}},
        {"spec.mode": "RecommendOnly"},
        {"spec.metrics.engine": "my-company.engine_2"},
        {"spec.metrics.prometheus": {"url": "https://prometheus.monitoring:9090/tenant-a"}},
        {"spec.metrics.frontDoor": {"preset": "LLMD", "matchLabels": {"gateway": "eu-1"}}},
        {"spec.metrics.poolLabel": "role"},
        {"spec.forecast": {"method": "LastValue"}},
        {"spec.sizing": {"model": "PaperMM1", "decodeDerate": 0.905, "calibration": "Off"}},
        *({"spec.routing": {"prefill": name}} for name in ("RoundRobin", "Random", "Central")),
        {"spec.prefill.startup": "0s"},
        {
            "spec.prefill.scaleTargetRef": {
                "apiVersion": "leaderworkerset.x-k8s.io/v1",
                "kind": "LeaderWorkerSet",
                "name": "p",
            }
        },
        {"spec.prefill.scaleTargetRef.kind": "StatefulSet", "spec.prefill.scaleTargetRef.name": "llama-decode"},
        {"spec.constraints": {"maxGPUs": 2}},
        {"spec.constraints": {"ratio": {"min": {"prefill": 1, "decode": 4}, "max": {"prefill": 2, "decode": 1}}}},
        {"spec.fallback": {"behavior": "Static", "replicas": {"prefill": 4, "decode": 5}}},
        {
            "spec.fallback": {
                "behavior": "HoldOrHigher",
                "failureThreshold": 1,
                "replicas": {"prefill": 8, "decode": 12},
            }
        },
        {
            "spec.behavior": {
                "scaleUp": {"selectPolicy": "Disabled"},
                "scaleDown": {"tolerance": 0.05, "policies": []},
            },
            "spec.prefill.behavior": {
                "scaleDown": {
                    "stabilizationWindowSeconds": 0,
                    "selectPolicy": "Min",
                    "policies": [
                        {"type": "Pods", "value": 1, "periodSeconds": 60},
                        {"type": "Percent", "value": 10, "periodSeconds": 1800},
                    ],
                }
            },
        },
    ],
    ids=lambda changes: str(next(iter(changes.items())))[:60],
)
def test_accepted(changes: dict[str, Any]) -> None:
    document = changed(pddeployment(), changes)
    resource = parse_pddeployment(document)
    written = resource.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert parse_pddeployment(written) == resource, "what is written reads back as the same"


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.name)
def test_rejected_naming_the_field(case: Invalid) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_pddeployment(case.document, "pdd.yaml")
    assert caught.value.field == case.field
    assert case.words in caught.value.problem
    assert isinstance(caught.value, NotSupportedYetError) is case.yet
    assert ("not supported yet" in caught.value.problem) is case.yet
    assert str(caught.value).startswith(f"pdd.yaml: {case.field}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        ({}, "apiVersion", "is required (pdscaler.io/v1alpha1)"),
        ({"apiVersion": "pdscaler.io/v1", "kind": "PDDeployment"}, "apiVersion", "is not a version this release reads"),
        ({"apiVersion": "apps/v1", "kind": "Deployment"}, "apiVersion", "is not what this command reads"),
        ({"apiVersion": "pdscaler.io/v1alpha1", "kind": "PDProfile"}, "kind", '"PDProfile" is not what'),
        (changed(pddeployment(), {"spec": []}), "spec", "expected a mapping, found a list"),
        (changed(pddeployment(), {"spec": None}), "spec", "expected a mapping, found null"),
        (changed(pddeployment(), {"metadata": {}}), "metadata.name", "is required"),
        (changed(pddeployment(), {"specs": {}}), "specs", "is not a known field (did you mean spec?)"),
        (changed(pddeployment(), {"spec.slo.ttft": "2s"}), "spec.slo.ttft", 'expected a mapping, found "2s"'),
        (changed(pddeployment(), {"spec.prefill.profile.points": {"1": 2}}), "spec.prefill.profile.points", "a list"),
        (changed(pddeployment(), {"spec.model": ["a"]}), "spec.model", "expected a string, found a list"),
        (changed(pddeployment(), {"spec.model": 5}), "spec.model", "expected a string, found 5"),
        (changed(pddeployment(), {"spec.sizing.decodeDerate": float("nan")}), "spec.sizing.decodeDerate", "finite"),
        (changed(pddeployment(), {"spec.sizing.decodeDerate": float("inf")}), "spec.sizing.decodeDerate", "finite"),
        (changed(pddeployment(), {"spec.decode.maxReplicas": 10**5000}), "spec.decode.maxReplicas", "too large"),
    ],
)
def test_wrong_in_shape(document: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_pddeployment(document)
    assert caught.value.field == field
    assert words in caught.value.problem


def test_further_problems_are_counted() -> None:
    document = changed(pddeployment(), {"spec.mode": "X", "spec.model": 5, "spec.prefill.startup": "x"})
    with pytest.raises(InvalidInputError, match=r"spec\.mode: .* \(and 2 more problems\)$"):
        parse_pddeployment(document)


def test_metadata_of_a_live_object_is_read_and_the_rest_passed_over() -> None:
    document = changed(
        pddeployment(),
        {
            "metadata.uid": "u-1",
            "metadata.generation": 7,
            "metadata.resourceVersion": "42",
            "metadata.creationTimestamp": "2026-11-21T12:00:00Z",
            "metadata.annotations": {"pdscaler.io/paused": "true"},
            "metadata.labels": {"team": "a"},
            "metadata.managedFields": [{"manager": "kubectl"}],
            "metadata.finalizers": ["x/y"],
            "status": {"observedGeneration": 6, "unknown": {"kept": True}},
        },
    )
    resource = parse_pddeployment(document)
    metadata = resource.metadata
    assert resource.key == ("serving", "llama")
    assert (metadata.uid, metadata.generation, metadata.resource_version) == ("u-1", 7, "42")
    assert metadata.creation_timestamp == "2026-11-21T12:00:00Z"
    assert metadata.annotations == {"pdscaler.io/paused": "true"}
    assert metadata.labels == {"team": "a"}
    assert resource.status == {"observedGeneration": 6, "unknown": {"kept": True}}


def test_sample_is_read_from_its_file() -> None:
    resource = load_pddeployment(SAMPLE)
    assert resource.key == ("serving", "deepseek-v31")
    assert resource.spec.decode.profile.points is not None
    assert [point.tpot_s for point in resource.spec.decode.profile.points] == [
        0.0128,
        0.0164,
        0.0188,
        0.0216,
        0.0239,
        0.0262,
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no document of kind PDDeployment found, expected exactly one"),
        ("kind: Deployment\n", "no document of kind PDDeployment found"),
        ("a: [1,\n", "line 2: not YAML"),
        ("spec: 1\nspec: 2\n", 'line 2: not YAML: key "spec" stands twice'),
        ("[" * 3000 + "]" * 3000, "nested too deeply"),
        ("&a [*a]", "no document of kind PDDeployment"),
        ("x: !!python/object:os.system {}\n", "not YAML"),
        ("\ufeff\x00", "not YAML"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "pdd.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError) as caught:
        load_pddeployment(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_two_resources_in_a_file_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "pdd.yaml"
    path.write_text(
        f"{SAMPLE.read_text(encoding='utf-8')}\n---\n{SAMPLE.read_text(encoding='utf-8')}", encoding="utf-8"
    )
    with pytest.raises(InvalidInputError, match="2 documents of kind PDDeployment"):
        load_pddeployment(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nix\.yaml: cannot be read: no such file"):
        load_pddeployment(tmp_path / "nix.yaml")


def test_a_resource_among_other_objects(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(f"kind: Namespace\n---\n{SAMPLE.read_text(encoding='utf-8')}\n---\n", encoding="utf-8")
    assert load_pddeployment(path).metadata.name == "deepseek-v31"


def test_times_in_yaml_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "live.yaml"
    text = SAMPLE.read_text(encoding="utf-8").replace(
        "  namespace: serving", "  namespace: serving\n  creationTimestamp: 2026-11-21T12:00:00Z"
    )
    path.write_text(text, encoding="utf-8")
    assert load_pddeployment(path).metadata.creation_timestamp == "2026-11-21T12:00:00Z"
