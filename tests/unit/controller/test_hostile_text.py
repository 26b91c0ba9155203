"""What others write reaches people harmless: status, Events, logs, metrics, commands."""

import io
import json
import logging
import math
from array import array
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from pdscaler.api.status import Condition, PDDeploymentStatus, WorkloadStatus
from pdscaler.cli.explain import explanation
from pdscaler.cli.live import console, title
from pdscaler.cli.output import emit
from pdscaler.cli.status import details, overview
from pdscaler.cli.view import view_of
from pdscaler.cluster.events import MAX_MESSAGE_BYTES, sanitize
from pdscaler.controller.evaluation import ResourceKey
from pdscaler.controller.gauges import FAMILIES
from pdscaler.controller.logs import FIELDS, JsonFormatter, TextFormatter
from pdscaler.controller.metrics import Metrics
from pdscaler.core.decision import TargetUnknown
from pdscaler.core.workload import NoData, NoDataReason
from pdscaler.errors import InvalidInputError
from pdscaler.printable import clipped, printable
from support.views import pddeployment_document
from support.world import World, resource

HOSTILE = '\r\nlevel=error event=forged\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp\u2028\x00[/bold] "x" {{7*7}}'
LONG = "x" * 1_000_000
"""A name of a megabyte."""


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, entry in value.items() for text in (key, *texts(entry))]
    if isinstance(value, list):
        return [text for entry in value for text in texts(entry)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("hostile", [HOSTILE, LONG], ids=["hostile", "long"])
async def test_an_evaluation_passes_nothing_on_that_steers_a_terminal(hostile: str) -> None:
    """Messages of a Prometheus, of the API server and of pods, in every place where one of them ends up."""
    world = World()
    world.cluster.set("deepseek-prefill", 4)
    world.cluster.targets["deepseek-decode"] = TargetUnknown("FailedGetScale", hostile)
    world.source.default = NoData(NoDataReason.QUERY_FAILED, hostile)
    world.apply(resource(model="\u202eevil\x9b31m"))
    await world.run(4)
    status = world.status()
    assert world.condition("MetricsAvailable") == ("False", "QueryFailed")
    assert world.condition("AbleToScale")[0] == "False"
    found = texts(status)
    assert found
    assert [text for text in found if not text.isprintable()] == []
    assert len(json.dumps(status)) < 50_000
    assert world.server.events
    for _, _, _, message in world.server.events:
        assert sanitize(message).isprintable()
        assert len(sanitize(message).encode()) <= MAX_MESSAGE_BYTES


def test_a_hostile_status_is_shown_and_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever may write a status may write anything there; an administrator looks at it on a terminal."""
    document = pddeployment_document("llama")
    document["metadata"]["name"] = document["spec"]["mode"] = HOSTILE
    document["status"]["conditions"][2] |= {"status": "False", "reason": HOSTILE, "message": HOSTILE + LONG}
    document["status"]["summary"]["state"] = document["status"]["prefill"]["reason"] = HOSTILE
    document["status"]["workload"]["alternatives"] = {HOSTILE: HOSTILE}
    view = view_of(document)
    buffer = io.StringIO()
    terminal = Console(file=buffer, width=100, markup=False, emoji=False, highlight=False)
    for shown in (details(view, 0.0), explanation(view, 0.0), title(view)):
        terminal.print(shown)
    lines = [*buffer.getvalue().splitlines(), *overview([view], with_namespace=True).splitlines()]
    for output in ("json", "yaml"):
        emit(document, output)
        written = capsys.readouterr().out
        lines += written.splitlines()
        if output == "json":
            assert json.loads(written) == document, "the escapes say the same"
    assert [ascii(line) for line in lines if not line.isprintable()] == []
    assert "forged" in buffer.getvalue()


def test_a_terminal_takes_no_markup_from_a_status() -> None:
    assert console()._markup is False
    assert console()._emoji is False


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()], ids=["json", "text"])
def test_a_log_line_is_one_line(formatter: logging.Formatter) -> None:
    record = logging.LogRecord("pdscaler", logging.INFO, "f", 1, "evaluated", (), None)
    setattr(record, FIELDS, {"name": HOSTILE, "message": LONG})
    assert formatter.format(record).isprintable()
    library = logging.LogRecord("kopf", logging.WARNING, "f", 1, "%s", (HOSTILE,), None)
    assert formatter.format(library).isprintable()


def test_a_hostile_name_is_one_label_of_a_metric() -> None:
    metrics = Metrics()
    unknown = [math.nan] * (sum(len(family.values) for family in FAMILIES) - 1)
    metrics._gauges._rows[ResourceKey(HOSTILE, HOSTILE)] = array("d", [4.0, *unknown])
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    labels = [sample.labels for family in families for sample in family.samples if sample.labels.get("name")]
    assert labels == [{"namespace": HOSTILE, "name": HOSTILE, "pool": "prefill", "kind": "current"}]


def test_an_error_is_one_line_whatever_it_names() -> None:
    said = str(InvalidInputError(HOSTILE, HOSTILE, HOSTILE))
    assert said.isprintable()
    assert said.startswith(r"\r\nlevel=error")


def test_clipping_counts_what_is_shown() -> None:
    for length in (8, 64, 512):
        assert len(clipped(HOSTILE * 100, length)) <= length
        assert clipped(LONG, length).endswith("…")
    assert clipped("µ → –", 5) == "µ → –"
    assert printable("µ → –") == "µ → –"


def test_a_status_takes_any_text() -> None:
    condition = Condition(type="Ready", status="True", reason=HOSTILE, message=LONG, last_transition_time="x")
    status = PDDeploymentStatus(conditions=(condition,), workload=WorkloadStatus(alternatives={HOSTILE: LONG}))
    assert [text for text in texts(status.to_document()) if not text.isprintable() or len(text) > 4096] == []
