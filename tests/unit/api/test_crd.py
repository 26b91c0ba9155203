"""The generated CRD: no drift, structural, bounded; and a generator that fails loudly."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from pdscaler.api.base import Latency
from pdscaler.api.crd import SchemaError, crd_document, crd_yaml, structural_schema
from pdscaler.cli.crd import COPIES

ROOT = Path(__file__).parents[3]


def schema() -> dict[str, Any]:
    document: Any = crd_document()
    found: dict[str, Any] = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def walk(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    if "items" in node:
        yield from walk(node["items"], path + "[]")
    if "additionalProperties" in node:
        yield from walk(node["additionalProperties"], path + "{}")


@pytest.mark.parametrize("copy", COPIES, ids=str)
def test_copies_are_what_the_models_generate(copy: Path) -> None:
    assert (ROOT / copy).read_text(encoding="utf-8") == crd_yaml(), "run `make crd` and commit"


def test_yaml_reads_back_as_the_document() -> None:
    assert yaml.safe_load(crd_yaml()) == crd_document()


def test_every_part_is_bounded_and_structural() -> None:
    forbidden = {"$ref", "anyOf", "oneOf", "allOf", "const", "title", "nullable"}
    seen = 0
    for part in ("spec", "status"):
        for path, node in walk(schema()["properties"][part], part):
            seen += 1
            assert "type" in node, path
            assert not forbidden & set(node), path
            assert node.get("additionalProperties") is not False, path
            if node["type"] == "string":
                assert "maxLength" in node or "enum" in node, path
            if node["type"] == "array":
                assert "maxItems" in node, path
    assert seen > 150


def test_status_has_no_defaults_and_conditions_are_a_map_by_type() -> None:
    status = schema()["properties"]["status"]
    assert [path for path, node in walk(status, "status") if "default" in node] == []
    conditions = status["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])


def test_defaults_of_the_spec_stand_in_the_schema() -> None:
    spec = schema()["properties"]["spec"]["properties"]
    assert spec["mode"]["default"] == "Auto"
    assert spec["prefill"]["properties"]["startup"]["default"] == "3m"
    assert spec["metrics"]["default"] == {
        "prometheus": {},
        "engine": "VLLM",
        "poolLabel": "",
        "window": "3m",
        "maxStaleness": "2m",
    }
    assert "default" not in spec["metrics"]["properties"]["prometheus"]["properties"]["endpointRef"]
    assert spec["sizing"]["default"] == {"model": "Auto", "decodeDerate": 1.0, "calibration": "Auto"}
    assert set(schema()["properties"]["spec"]["required"]) == {"model", "slo", "prefill", "decode"}


def test_numeric_exclusive_minimum_takes_the_boolean_form() -> None:
    derate = schema()["properties"]["spec"]["properties"]["sizing"]["properties"]["decodeDerate"]
    assert (derate["minimum"], derate["exclusiveMinimum"], derate["maximum"]) == (0, True, 2)


def test_names_and_subresources() -> None:
    document: Any = crd_document()
    assert document["metadata"]["name"] == "pddeployments.pdscaler.io"
    names = document["spec"]["names"]
    assert (names["kind"], names["shortNames"]) == ("PDDeployment", ["pdd"])
    version = document["spec"]["versions"][0]
    assert version["subresources"] == {"status": {}}, "no scale subresource of its own"
    normal = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]
    assert normal == ["MODE", "PREFILL", "DECODE", "RATE", "TTFT", "TPOT", "STATE", "AGE"]
    wide = [column["name"] for column in version["additionalPrinterColumns"] if column.get("priority") == 1]
    assert wide == ["LIMITED-BY", "FORECAST", "GPUS", "LAST-CHANGE"]


def test_every_column_leads_to_a_field_of_the_schema() -> None:
    document: Any = crd_document()
    for column in document["spec"]["versions"][0]["additionalPrinterColumns"]:
        node = schema()
        path = column["jsonPath"].removeprefix(".").split(".")
        if path[0] == "metadata":
            continue
        for part in path:
            node = node["properties"][part]
        assert node["type"] == "string"


class Bounded(BaseModel):
    latency: Latency | None = None
    kind: Literal["x"] = "x"
    count: Annotated[int, Field(gt=0, lt=5)] = 1


def test_rewriting() -> None:
    found = structural_schema(Bounded)["properties"]
    assert found["latency"]["type"] == "string"
    assert "default" not in found["latency"]
    assert found["kind"] == {"type": "string", "enum": ["x"], "default": "x"}
    expected = {"minimum": 0, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": True}
    assert {key: found["count"][key] for key in expected} == expected


class TwoTypes(BaseModel):
    either: int | str


class Unbounded(BaseModel):
    text: str


class EndlessList(BaseModel):
    counts: tuple[int, ...]


class EndlessMap(BaseModel):
    words: dict[str, int]


class Anything(BaseModel):
    value: Any


class Pair(BaseModel):
    pair: tuple[int, int]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (TwoTypes, "TwoTypes.either: anyOf other than"),
        (Unbounded, "Unbounded.text: a string needs a maxLength"),
        (EndlessList, "EndlessList.counts: a list needs a maxItems"),
        (EndlessMap, "EndlessMap.words: a map needs a maxProperties"),
        (Anything, "Anything.value: no type"),
        (Pair, "Pair.pair: prefixItems cannot be written"),
    ],
)
def test_what_a_structural_schema_cannot_say_fails_loudly(model: type[BaseModel], words: str) -> None:
    with pytest.raises(SchemaError) as caught:
        structural_schema(model)
    assert words in str(caught.value)
