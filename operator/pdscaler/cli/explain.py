"""``pdscaler explain``: why these replicas, in plain words, from the status. May import click, rich, api and cli."""

import time
from datetime import UTC, tzinfo
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from pdscaler.api.spec import PDDeploymentSpec
from pdscaler.api.status import DecisionStatus, StepStatus
from pdscaler.cli.calibrationwords import calibration_facts
from pdscaler.cli.cluster import ClusterOptions, ask, cluster_options, get_or_list_names
from pdscaler.cli.forecastwords import decision_expected_words, expected_words, forecast_facts
from pdscaler.cli.hanging import Hanging
from pdscaler.cli.live import console, trouble_lines
from pdscaler.cli.output import emit, output_option
from pdscaler.cli.view import (
    UNKNOWN,
    View,
    clock_time,
    latency_name,
    observed_latency,
    predicted_latency,
    target_words,
    view_of,
    without_metrics,
)
from pdscaler.cli.words import binding_words, limit_words
from pdscaler.core.pools import Pool
from pdscaler.units import format_need, format_number

_LABEL_WIDTH = 10


@click.command()
@click.argument("name")
@output_option
@cluster_options
def explain(name: str, output: str, where: ClusterOptions) -> None:
    """Say why a PDDeployment has the replicas it has, and what was decided before."""
    namespace = where.home_namespace
    document = ask(where, lambda resources: get_or_list_names(resources, namespace, name))
    view = view_of(document)
    if output == "table":
        console().print(explanation(view, time.time()))
    else:
        emit(explanation_document(view), output)


def explanation(view: View, now_s: float, zone: tzinfo | None = None) -> RenderableType:
    """Render why the replicas are what they are: now, then the decisions that led here, newest first.

    Parameters
    ----------
    view
        The PDDeployment.
    now_s
        The present, seconds since the epoch.
    zone
        Time zone of the clock times; None: this machine's.
    """
    lines: list[RenderableType] = [Text(f"{view.namespace}/{view.name}: {now_words(view)}", style="bold")]
    lines += [_line(label, text) for label, text in present_facts(view, zone)]
    for decision in view.status.decisions:
        lines.append(Text())
        lines.append(Text(f"{clock_time(decision.time, zone, now_s)}  {decision_words(decision)}"))
        lines += [_line(label, text) for label, text in decision_facts(decision, zone)]
    if view.seen and not view.status.decisions:
        lines += [Text(), Text("nothing has been changed yet")]
    return Group(*lines)


def explanation_document(view: View) -> dict[str, Any]:
    """Return the machine-readable form: the same sentences, and the decisions as the status has them."""
    return {
        "namespace": view.namespace,
        "name": view.name,
        "mode": view.mode,
        "state": view.state,
        "now": {
            "summary": now_words(view),
            "facts": [{"about": label, "text": text} for label, text in present_facts(view, UTC)],
        },
        "decisions": [
            {
                **decision.model_dump(mode="json", by_alias=True, exclude_none=True),
                "summary": decision_words(decision),
            }
            for decision in view.status.decisions
        ],
    }


def now_words(view: View) -> str:
    """Say in one line what is ordered and what stands: ``prefill 3 → 4, decode stays 4 (Auto, ScalingUp)``."""
    if not view.seen:
        return "no operator has looked at it yet"
    said = []
    for pool, status in view.pools.items():
        if status.current is None:
            said.append(f"{pool.value} unknown")
        elif status.desired is None or status.desired == status.current:
            said.append(f"{pool.value} stays {status.current}")
        else:
            said.append(f"{pool.value} {status.current} → {status.desired}")
    return f"{', '.join(said)} ({', '.join(word for word in (view.mode, view.state, view.paused_words) if word)})"


def present_facts(view: View, zone: tzinfo | None = None) -> list[tuple[str, str]]:
    """Return what the present replicas follow from, as (label, sentence)."""
    facts = [("condition", line) for line in trouble_lines(view)]
    if not view.seen:
        return facts
    facts.append(("load", _load(view, zone)))
    facts += [("forecast", text) for text in forecast_facts(view.status.forecast)]
    facts += [("engines", text) for text in calibration_facts(view.status.calibration)]
    facts += [("needs", text) for text in (_needs(view, pool) for pool in Pool) if text]
    facts += [("latency", text) for text in (_latency(view, pool) for pool in Pool) if text]
    if view.spec is not None:
        facts.append(("allowed", allowed_words(view.spec, view.summary.gpus)))
    held = [
        f"{pool.value}: {limit_words(word)} ({word})"
        for pool, status in view.pools.items()
        for word in status.limited_by
    ]
    facts += [("held", text) for text in held] or [("held", "nothing: what is needed is what is desired")]
    if view.mode == "RecommendOnly":
        facts.append(("mode", "RecommendOnly: it says what it would do, and writes nothing"))
    return facts


def decision_words(decision: DecisionStatus) -> str:
    """Say what a decision did to both pools: ``prefill 3 → 4, decode stays 4``."""
    said = []
    for pool, step in (("prefill", decision.prefill), ("decode", decision.decode)):
        if step is None or step.to is None:
            continue
        moved = step.from_ is not None and step.from_ != step.to
        said.append(f"{pool} {step.from_} → {step.to}" if moved else f"{pool} stays {step.to}")
    return ", ".join(said) or "nothing changed"


def decision_facts(decision: DecisionStatus, zone: tzinfo | None = None) -> list[tuple[str, str]]:
    """Return what a decision went by, as (label, sentence)."""
    facts = []
    if decision.arrival_rate is not None:
        lengths = f"; {_whole(decision.input_tokens)} in, {_whole(decision.output_tokens)} out"
        soon = decision_expected_words(decision, zone)
        now = f"{format_number(decision.arrival_rate)} requests/s"
        facts.append(("load", f"{now} now, {soon}{lengths}" if soon else f"{now}{lengths}"))
    facts += [
        (pool, step.reason)
        for pool, step in (("prefill", decision.prefill), ("decode", decision.decode))
        if step is not None and step.reason and _counts(step)
    ]
    return facts


def allowed_words(spec: PDDeploymentSpec, gpus: str = UNKNOWN) -> str:
    """Say what the spec allows: bounds, GPU budget, ratio."""
    said = [
        f"{name} {pool.min_replicas} to {pool.max_replicas}"
        for name, pool in (("prefill", spec.prefill), ("decode", spec.decode))
    ]
    budget = spec.constraints.max_gpus
    if budget is not None:
        said.append(f"{budget} GPUs" + (f" ({gpus.partition('/')[0]} used)" if gpus != UNKNOWN else ""))
    ratio = spec.constraints.ratio
    if ratio is not None:
        bounds = [
            f"{word} {bound.prefill}:{bound.decode}"
            for word, bound in (("at least", ratio.min), ("at most", ratio.max))
            if bound is not None
        ]
        said.append(f"P:D {' and '.join(bounds)}")
    return ", ".join(said)


def _load(view: View, zone: tzinfo | None) -> str:
    workload = view.status.workload
    if workload is None or workload.arrival_rate is None:
        return "unknown"
    said = f"{format_number(workload.arrival_rate)} requests/s"
    soon = expected_words(view.status, zone)
    said += f" now, {soon}" if soon else ""
    for name, length in (("in", workload.input_tokens), ("out", workload.output_tokens)):
        if length is not None and length.mean is not None:
            said += f"; {_whole(length.mean)} {name}"
            said += f" (scv {format_number(length.scv)})" if length.scv is not None else ""
    if workload.window:
        said += f", over {workload.window}"
    return said + (f", counted by {workload.arrival_source}" if workload.arrival_source else "")


def _needs(view: View, pool: Pool) -> str:
    status = view.pools[pool]
    if without_metrics(status):
        return ""
    if status.required is None and status.recommended is None:
        return f"{pool.value}: {status.reason}" if status.reason else ""
    count = f" → {status.recommended}" if status.recommended is not None else ""
    said = f"{pool.value} {format_need(status.required, status.recommended)}{count}"
    said += f", decided by {binding_words(status.binding)}" if status.binding else ""
    return said + (f" ({status.reason})" if status.reason else "")


def _latency(view: View, pool: Pool) -> str:
    if view.target(pool) is None:
        return ""
    now, soon = observed_latency(view, pool), predicted_latency(view, pool)
    said = f"{latency_name(pool)} {now or UNKNOWN} now"
    return said + (f", {soon} predicted" if soon else "") + f", target {target_words(view, pool)}"


def _counts(step: StepStatus) -> bool:
    return step.from_ != step.to


def _line(label: str, text: str) -> Hanging:
    return Hanging(f"  {label:<{_LABEL_WIDTH}}", text)


def _whole(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"
