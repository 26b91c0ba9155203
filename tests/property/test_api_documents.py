"""Whatever the document, reading it gives a resource or one clear error."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pdscaler.api.base import DurationBetween, exact_duration
from pdscaler.api.config import load_config
from pdscaler.api.convert import to_scaling_spec
from pdscaler.api.parse import parse_pddeployment
from pdscaler.api.yamlfile import parse_yaml
from pdscaler.errors import InvalidInputError
from pdscaler.units import parse_duration
from support.documents import changed, pddeployment

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=40)  # lone surrogates too: JSON can spell them
    | st.sampled_from(["2s", "20ms", "0", "1h", "Auto", "Off", "P99", "SGLang", "../x", "a" * 300, 10**400])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def paths(document: Any, prefix: str = "") -> list[str]:
    """Return the path of every field of a document."""
    if isinstance(document, dict):
        entries: Any = document.items()
    elif isinstance(document, list):
        entries = enumerate(document)
    else:
        return []
    found = []
    for key, value in entries:
        path = f"{prefix}.{key}" if prefix else str(key)
        found += [path, *paths(value, path)]
    return found


OPTIONAL = [
    "spec.constraints",
    "spec.constraints.maxGPUs",
    "spec.constraints.ratio",
    "spec.sizing.calibration",
    "spec.sizing.decodeDerate",
    "spec.routing.prefill",
    "spec.metrics",
    "spec.metrics.prometheus",
    "spec.metrics.prometheus.url",
    "spec.metrics.frontDoor",
    "spec.metrics.frontDoor.matchLabels",
    "spec.forecast",
    "spec.behavior.scaleUp.policies",
    "spec.fallback",
    "spec.fallback.replicas",
    "spec.prefill.minReplicas",
    "spec.prefill.profile.overhead",
    "metadata.annotations",
    "metadata.generation",
    "status",
]
PATHS = sorted({*paths(pddeployment()), *OPTIONAL})


def refusal(read: Callable[[], object]) -> str:
    """Return the error of reading, in words; empty where it reads."""
    try:
        read()
    except InvalidInputError as error:
        return str(error)
    return ""


def check(document: Any) -> None:
    words = refusal(lambda: to_scaling_spec(parse_pddeployment(document, "fuzz")))
    assert "\n" not in words
    assert len(words.encode("utf-8")) < 2000


@settings(max_examples=300, deadline=None, derandomize=True)
@given(document=VALUES)
def test_any_document(document: Any) -> None:
    check(document)


@settings(max_examples=600, deadline=None, derandomize=True)
@given(changes=st.dictionaries(st.sampled_from(PATHS), VALUES, min_size=1, max_size=1))
def test_any_value_in_any_field(changes: dict[str, Any]) -> None:
    check(changed(pddeployment(), changes))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(field=st.text(max_size=60), value=VALUES)
def test_any_unknown_field(field: str, value: Any) -> None:
    document = pddeployment()
    document["spec"]["prefill"][field] = value
    check(document)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(document=st.dictionaries(st.sampled_from(["namespaces", "prometheus", "logFormat", "x"]), VALUES))
def test_any_configuration(document: dict[str, Any], tmp_path_factory: Any) -> None:
    import yaml

    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=False), encoding="utf-8")
    assert "\n" not in refusal(lambda: load_config(path, {}, {}))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=st.text(max_size=200) | st.text(alphabet="{}[]:-&*!|>'\"\n ab#%@`,?", max_size=60))
def test_any_yaml(text: str) -> None:
    assert "\n" not in refusal(lambda: parse_yaml(text, "fuzz"))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(seconds=st.floats(1e-9, 3600.0).map(lambda seconds: float(f"{seconds:.12g}")))
def test_a_duration_reads_back(seconds: float) -> None:
    assert parse_duration(exact_duration(seconds)) == seconds


def test_bounds_are_written_in_durations() -> None:
    assert DurationBetween(0.0, 3600.0).bounds == "must be at least 0s and at most 1h"
