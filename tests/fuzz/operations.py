"""Targets: the operator and its commands in a world that means ill.

Loads, statuses and annotations as they come; what people are then shown and what is logged.
"""

import asyncio
import contextlib
import copy
import io
import json
import logging
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from rich.console import Console

from fuzz.mutation import NASTY_TEXTS, Draw, documents
from fuzz.target import READ, Target, harmless
from pdscaler.api.status import PDDeploymentStatus
from pdscaler.cli.explain import explanation, explanation_document
from pdscaler.cli.live import change_line
from pdscaler.cli.output import emit
from pdscaler.cli.status import details, overview, status_document
from pdscaler.cli.view import view_of
from pdscaler.cluster.events import sanitize
from pdscaler.controller.logs import FIELDS, JsonFormatter, TextFormatter
from pdscaler.core.workload import LengthStats, PoolLoad, Telemetry, WorkloadStats
from pdscaler.telemetry.values import MAX_VALUE, MIN_LATENCY_S, MIN_TOKENS
from support.views import pddeployment_document
from support.world import START_S, World, load, resource

# What the telemetry lets through (pdscaler.telemetry.values).
_RATES = st.sampled_from((0.0, 5e-324, 1e-12, 12.5, 400.0, 1e9)) | st.floats(0, MAX_VALUE)
_LENGTHS = st.none() | st.builds(
    LengthStats,
    st.sampled_from((MIN_TOKENS, 1.0, 6144.0, 1e12)) | st.floats(MIN_TOKENS, MAX_VALUE),
    st.sampled_from((0.0, 1.0, 1e6)) | st.floats(0, (MAX_VALUE / MIN_TOKENS) ** 2),
)
_FIGURES = st.none() | st.sampled_from((0.0, 3.0, -1.0, 5e-324)) | st.floats(-100 * MAX_VALUE, 100 * MAX_VALUE)
_LATENCIES = st.none() | st.sampled_from((MIN_LATENCY_S, 0.02, 2.0)) | st.floats(MIN_LATENCY_S, MAX_VALUE)
_LOADS = st.builds(PoolLoad, _FIGURES, _FIGURES, _FIGURES)


@st.composite
def _telemetry(draw: Draw) -> Telemetry:
    isl, osl = draw(_LENGTHS), draw(_LENGTHS)
    both = isl is not None and osl is not None
    workload = WorkloadStats(
        draw(_RATES), isl if both else None, osl if both else None, 1.0, draw(st.sampled_from((0.0, 0.5, 0.999)))
    )
    return replace(
        load(1.0),
        workload=workload,
        ttft_mean_s=draw(_LATENCIES),
        tpot_mean_s=draw(_LATENCIES),
        prefill=draw(_LOADS),
        decode=draw(_LOADS),
    )


def _full_status() -> dict[str, Any]:
    """Return the status of an operator that has worked for a while."""
    world = World()
    world.cluster.set("deepseek-prefill", 4)
    world.cluster.set("deepseek-decode", 4)
    world.apply(resource())
    asyncio.run(world.run(3))
    return copy.deepcopy(world.status())


def _filled(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """Return a document in which every field that a schema knows has a value of its type."""
    if "$ref" in schema:
        return _filled(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for choices in ("anyOf", "allOf"):
        if choices in schema:
            return _filled(next(part for part in schema[choices] if part.get("type") != "null"), definitions)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type"):
        case "object" if "properties" in schema:
            return {name: _filled(part, definitions) for name, part in schema["properties"].items()}
        case "object":
            return {"name": _filled(schema.get("additionalProperties") or {"type": "string"}, definitions)}
        case "array":
            return [_filled(schema.get("items") or schema["prefixItems"][0], definitions)] * 2
        case "integer":
            return 3
        case "number":
            return 1.5
        case "boolean":
            return True
    return "2026-11-21T12:00:00Z" if schema.get("format") == "date-time" else "12.5"


_SCHEMA = PDDeploymentStatus.model_json_schema(by_alias=True)
_EVERYTHING: dict[str, Any] = _filled(_SCHEMA, _SCHEMA["$defs"])
_STATUS = _full_status()
_CASES = st.tuples(
    _telemetry(),
    documents([_STATUS, _EVERYTHING, {}], most=5),
    st.dictionaries(
        st.sampled_from(("pdscaler.io/paused", "pdscaler.io/paused-scale-down", "pdscaler.io/x", "other")),
        st.sampled_from(NASTY_TEXTS),
        max_size=2,
    ),
    st.sampled_from(((1, 1), (4, 4), (16, 32), (0, 3), (900, 900))),
)


def _evaluate(case: tuple[Telemetry, Any, dict[str, str], tuple[int, int]]) -> str:
    """Evaluate twice, from whatever status there is, under whatever load: never a fault, never outside the bounds."""
    telemetry, status, annotations, (prefill, decode) = case
    world = World()
    world.cluster.set("deepseek-prefill", prefill)
    world.cluster.set("deepseek-decode", decode)
    world.source.default = telemetry
    key = world.apply(resource(), annotations=annotations)
    world.server.documents[key]["status"] = status if isinstance(status, dict) else {}
    asyncio.run(world.run(2))
    conditions = world.conditions()
    assert conditions, "nothing was evaluated"
    assert {entry["reason"] for entry in conditions.values()} & {"InternalError"} == set(), conditions
    for target, _, after in world.cluster.writes:
        assert 1 <= after <= (16 if target.endswith("prefill") else 32)
    text = json.dumps(world.status(), allow_nan=False)
    assert len(text) < 200_000
    for _, _, _, message in world.server.events:
        harmless(sanitize(message))
    PDDeploymentStatus.model_validate(world.status())
    return "changed" if world.cluster.writes else "held"


_DOCUMENT = pddeployment_document("llama")
_SHOWN = [_DOCUMENT, {**_DOCUMENT, "status": _EVERYTHING}, {"metadata": {}, "spec": None}]


def _shown(document: Any) -> str:
    """Show a document in every form: no command fails, and no terminal is steered."""
    if not isinstance(document, dict) or not isinstance(document.get("metadata") or {}, dict):
        return "not an object"
    view = view_of(document)
    buffer = io.StringIO()
    terminal = Console(file=buffer, width=100, highlight=False, markup=False, emoji=False, force_terminal=False)
    terminal.print(details(view, START_S))
    terminal.print(explanation(view, START_S))
    lines = [
        *buffer.getvalue().splitlines(),
        *overview([view], with_namespace=True).splitlines(),
        change_line(view, ""),
    ]
    for output in ("json", "yaml"):
        for shown in (status_document(document), explanation_document(view)):
            lines += _emitted(shown, output).splitlines()
    for line in lines:
        assert line.isprintable(), ascii(line[:300])
    return READ


def _emitted(document: Any, output: str) -> str:
    buffer = io.StringIO()
    with contextlib.redirect_stdout(buffer):
        emit(document, output)
    return buffer.getvalue()


def _logged(case: dict[str, Any]) -> str:
    """Log fields: one line each, JSON that reads back, and nothing that a terminal obeys."""
    record = logging.LogRecord("pdscaler", logging.INFO, "f", 1, "evaluated", (), None)
    setattr(record, FIELDS, case)
    text = JsonFormatter().format(record)
    assert text.isprintable()
    parsed = json.loads(text)
    for name, value in case.items():
        if isinstance(value, str) and name not in {"ts", "level", "event"}:
            assert parsed[name] == value
    assert TextFormatter().format(record).isprintable()
    return READ


_FIELDS = st.dictionaries(
    st.sampled_from(("namespace", "name", "message", "reason")), st.sampled_from(NASTY_TEXTS) | st.text(max_size=30)
)

TARGETS = (
    Target("operator: any load, status and annotations", _CASES, _evaluate),
    Target("commands: any PDDeployment", documents(_SHOWN, most=6), _shown),
    Target("logs: any names and messages", _FIELDS, _logged),
)
