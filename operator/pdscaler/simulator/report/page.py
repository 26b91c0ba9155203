"""The page of a replay's report. May import numpy, core, units and simulator.

The page loads nothing: style, script, figures and readings stand in it, and its content security policy allows no
other script than the one that is here.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise

from pdscaler.simulator.replayed import Replayed
from pdscaler.simulator.report.charts import chart
from pdscaler.simulator.report.decisions import decisions
from pdscaler.simulator.report.figures import cost_table, headline, latency_table, tiles
from pdscaler.simulator.report.markup import Markup, element, joined
from pdscaler.simulator.report.panels import Panel, panels_of
from pdscaler.simulator.report.scales import clock, time_scale
from pdscaler.units import format_duration


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that the replay read.

    Parameters
    ----------
    role
        What it is: ``trace``.
    name
        As the user gave it.
    sha256
        Of its bytes, hexadecimal; empty where it could be read only once.
    text
        Its text, where it is to be shown.
    """

    role: str
    name: str
    sha256: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What it takes to do the same again.

    Parameters
    ----------
    command
        The command line.
    version
        Of pdscaler.
    inputs
        The files.
    """

    command: str
    version: str
    inputs: tuple[InputFile, ...] = ()


def render_report(replayed: Replayed, provenance: Provenance) -> str:
    """Return the report: one HTML page, the same for the same input.

    Parameters
    ----------
    replayed
        What was replayed.
    provenance
        How to do it again.
    """
    panels = panels_of(replayed)
    title, lead = headline(replayed)
    body = (
        element("header", element("h1", title), element("p", lead, class_="lead")),
        element(
            "main",
            _section(
                "Result", tiles(replayed), element("div", latency_table(replayed), cost_table(replayed), class_="pair")
            ),
            _charts(replayed, panels),
            _section("Decisions", *decisions(replayed.result)),
            _notes(replayed),
            _again(replayed, provenance),
        ),
        element("script", Markup(_readings(replayed, panels)), type="application/json", id="readings"),
        element("script", Markup(_part("report.js"))),
    )
    return joined((Markup("<!DOCTYPE html>\n"), _page(title, body), Markup("\n")))


def _part(name: str) -> str:
    return (files("pdscaler.simulator.report") / name).read_text(encoding="utf-8")


def _page(title: str, body: Sequence[Markup]) -> Markup:
    digest = base64.b64encode(hashlib.sha256(_part("report.js").encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content="pdscaler replay"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(_part("report.css"))),
    )
    return element("html", head, element("body", *body), lang="en")


def _section(title: str, *content: Markup) -> Markup:
    key = title.lower().replace(" ", "-")
    return element("section", element("h2", title, id=key), *content, aria_labelledby=key)


def _charts(replayed: Replayed, panels: Sequence[Panel]) -> Markup:
    result = replayed.result
    time = time_scale(result.begin_s, result.end_s)
    window = format_duration(result.series.window_s)
    words = (
        f"Hours:minutes of the trace. Load, latencies and attainment by windows of {window}; replicas as they were"
        " ordered and ready."
    )
    if result.measured_from_s > result.begin_s:
        words += f" What lies before {clock(result.measured_from_s)} is shaded: it is not counted."
    slider = element(
        "label",
        element("span", "Values at", class_="word"),
        element("input", type="range", min="0", max=str(len(result.series) - 1), value="0", step="1", id="window"),
        element("output", "point at a chart, or slide", id="window-time"),
        class_="reader",
        hidden=True,
    )
    drawn = (chart(panel, time, result.measured_from_s) for panel in panels)
    return _section("Over time", element("p", words), slider, *drawn)


def _readings(replayed: Replayed, panels: Sequence[Panel]) -> str:
    """Return what the script shows for each window, as JSON that no HTML can be in."""
    result = replayed.result
    edges_s = [*result.series.begin_s.tolist(), max(result.end_s, float(result.series.begin_s[-1]))]
    span_s = max(edges_s[-1] - edges_s[0], 1e-9)
    document = {
        "windows": [f"{clock(begin_s)} to {clock(end_s)}" for begin_s, end_s in pairwise(edges_s)],
        "edges": [round((edge_s - edges_s[0]) / span_s, 6) for edge_s in edges_s],
        "series": {curve.key: curve.readings for panel in panels for curve in panel.curves},
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _notes(replayed: Replayed) -> Markup:
    if not replayed.notes:
        return Markup("")
    return _section("Notes", element("ul", *(element("li", note) for note in replayed.notes)))


def _again(replayed: Replayed, provenance: Provenance) -> Markup:
    rows = [
        ("pdscaler", provenance.version),
        ("seed", str(replayed.seed)),
        *((given.role, _identity(given)) for given in provenance.inputs),
    ]
    table = element(
        "table",
        element("caption", "What it rests on"),
        *(element("tr", element("th", name, scope="row"), element("td", value)) for name, value in rows),
        class_="plain",
    )
    texts = (
        element("details", element("summary", f"The {given.role}"), element("pre", element("code", given.text)))
        for given in provenance.inputs
        if given.text is not None
    )
    command = element("pre", element("code", provenance.command), tabindex="0")
    words = element("p", "The same command on the same files gives the same figures.")
    return _section("Do it again", words, command, element("div", table, class_="wide"), *texts)


def _identity(given: InputFile) -> str:
    return f"{given.name}, SHA-256 {given.sha256}" if given.sha256 else given.name
