from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pdscaler.errors import InvalidInputError
from pdscaler.telemetry.presets import MetricType, Preset, Quantity, Scope, Source, find_preset, load_presets

GATEWAY: dict[str, Any] = {
    "name": "MyGateway",
    "scope": "Cluster",
    "labels": {"namespace": "kubernetes_namespace", "pod": "pod", "model": ["model"]},
    "quantities": {
        "arrivals": {"type": "counter", "source": "frontDoor", "metrics": ["gateway_requests_total"]},
        "ttft": {"type": "histogram", "source": "frontDoor", "metrics": ["gateway_ttft_seconds"]},
    },
}


def write(folder: Path, document: object, name: str = "gateway.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(document))
    return path


def changed(path: str, value: object) -> dict[str, Any]:
    """The gateway with one key changed; ``value`` None deletes it."""
    document: dict[str, Any] = yaml.safe_load(yaml.safe_dump(GATEWAY))
    *steps, last = path.split("/")
    inner = document
    for step in steps:
        inner = inner[step]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return document


def test_the_package_has_its_presets() -> None:
    presets = load_presets(None)
    assert set(presets) == {"VLLM", "LLMD"}
    vllm, llmd = presets["VLLM"], presets["LLMD"]
    assert vllm.scope is Scope.NAMESPACE
    # Python clients add _total; a query without it matches nothing.
    assert vllm.quantities[Quantity.PREFIX_HITS].metrics[0] == "vllm:prefix_cache_hits_total"
    assert vllm.quantities[Quantity.COMPLETIONS].metrics[0] == "vllm:request_success_total"
    assert vllm.quantities[Quantity.OSL].source is Source.DECODE
    assert vllm.quantities[Quantity.ISL].source is Source.PREFILL
    assert llmd.quantities[Quantity.ARRIVALS].metrics == (
        "llm_d_epp_request_total",
        "inference_objective_request_total",
        "inference_model_request_total",
    )
    assert all(names.source is Source.FRONT_DOOR for names in llmd.quantities.values())
    assert llmd.labels.model == ("target_model_name", "model_name")
    # The inter-token latency is not TPOT.
    assert not any(
        "inter_token" in metric for p in presets.values() for n in p.quantities.values() for metric in n.metrics
    )


def test_an_administrator_adds_and_replaces(tmp_path: Path) -> None:
    write(tmp_path, GATEWAY)
    newer = load_presets(None)["LLMD"].model_dump(mode="json")
    newer["quantities"]["arrivals"]["metrics"].insert(0, "next_name_total")
    write(tmp_path, newer, "llmd.yml")
    (tmp_path / "notes.txt").write_text("not a preset")
    (tmp_path / "..data").mkdir()
    (tmp_path / ".hidden.yaml").write_text("[")
    presets = load_presets(tmp_path)
    assert set(presets) == {"VLLM", "LLMD", "MYGATEWAY"}
    assert presets["LLMD"].quantities[Quantity.ARRIVALS].metrics[0] == "next_name_total"
    found = find_preset(presets, "mygateway", "spec.metrics.frontDoor.preset")
    assert found.name == "MyGateway"
    assert found.quantities[Quantity.TTFT].type is MetricType.HISTOGRAM
    assert found.labels.namespace == "kubernetes_namespace"


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(InvalidInputError, match=r'spec\.x: no preset "Nope" \(there are "LLMD", "VLLM"\)'):
        find_preset(load_presets(None), "Nope", "spec.x")


@pytest.mark.parametrize(
    ("document", "field", "problem"),
    [
        (changed("name", None), "name", "is required"),
        (changed("name", "9x"), "name", '"9x": '),
        (changed("colour", "red"), "colour", "unknown key"),
        (changed("quantities", {}), "quantities", "at least 1"),
        (changed("quantities/speed", {}), "quantities.speed", "'arrivals'"),
        (changed("quantities/arrivals/type", "gauge"), "quantities.arrivals.type", "arrivals is a counter"),
        (changed("quantities/arrivals/source", "prefill"), "quantities.arrivals.source", "read from frontDoor"),
        (changed("quantities/arrivals/source", "moon"), "quantities.arrivals.source", '"moon": '),
        (changed("quantities/arrivals/metrics", []), "quantities.arrivals.metrics", "at least 1"),
        (changed("quantities/arrivals/metrics", ["a b"]), "quantities.arrivals.metrics[0]", "not a metric name"),
        (changed("quantities/arrivals/metrics", ["a", "a"]), "quantities.arrivals.metrics[1]", "stands twice"),
        (
            changed("quantities/arrivals/metrics", ["ok", 'x"}) or vector(1']),
            "quantities.arrivals.metrics[1]",
            "not a metric name",
        ),
        (changed("quantities/ttft/metrics", ["x_bucket"]), "quantities.ttft.metrics[0]", "without _bucket"),
        (changed("quantities/ttft/exclude", {"a-b": "x"}), "quantities.ttft.exclude.a-b", "not a label name"),
        (changed("quantities/ttft/exclude", {"a": 1}), "quantities.ttft.exclude.a", "string"),
        (changed("labels/model", ["le"]), "labels.model[0]", "not a label name"),
        (changed("labels/pod", "__name__"), "labels.pod", "not a label name"),
        (
            changed("quantities/isl", {"type": "histogram", "source": "prefill", "metrics": ["x"]}),
            "scope",
            "Cluster is for front doors",
        ),
        (
            changed("quantities/prefixHits", {"type": "counter", "source": "frontDoor", "metrics": ["x"]}),
            "quantities",
            "prefixHits and prefixQueries stand together",
        ),
    ],
)
def test_a_bad_preset_names_file_and_key(
    tmp_path: Path, document: Mapping[str, object], field: str, problem: str
) -> None:
    path = write(tmp_path, document)
    with pytest.raises(InvalidInputError) as caught:
        load_presets(tmp_path)
    assert caught.value.source == str(path)
    assert caught.value.field == field
    assert problem in caught.value.problem
    assert "\n" not in str(caught.value)


def test_files_that_are_no_presets(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("[1, 2")
    with pytest.raises(InvalidInputError, match=r"x\.yaml: line 1: not YAML"):
        load_presets(tmp_path)
    (tmp_path / "x.yaml").write_text("- a\n")
    with pytest.raises(InvalidInputError, match="expected one mapping"):
        load_presets(tmp_path)
    (tmp_path / "x.yaml").unlink()
    write(tmp_path, GATEWAY, "a.yaml")
    write(tmp_path, {**GATEWAY, "name": "MYGATEWAY"}, "b.yaml")
    with pytest.raises(InvalidInputError, match=r'b\.yaml: name: "MYGATEWAY" is also the name in .*a\.yaml'):
        load_presets(tmp_path)
    with pytest.raises(InvalidInputError, match="is not a directory"):
        load_presets(tmp_path / "nothing")


def test_a_quantity_is_found_only_at_its_source() -> None:
    vllm: Preset = load_presets(None)["VLLM"]
    assert vllm.at(Quantity.OSL, Source.DECODE, Source.BOTH) is not None
    assert vllm.at(Quantity.OSL, Source.PREFILL) is None
    assert vllm.at(Quantity.ARRIVALS, Source.FRONT_DOOR) is None
