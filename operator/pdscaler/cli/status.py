"""``pdscaler status``: what the operator thinks, read from the cluster. May import click, rich, cluster and cli."""

import contextlib
import time
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from pdscaler.api.status import EngineLoad
from pdscaler.cli.calibrationwords import calibration_facts
from pdscaler.cli.cluster import ClusterOptions, ask, cluster_options, get_or_list_names, list_all
from pdscaler.cli.forecastwords import expected_words, forecast_facts
from pdscaler.cli.hanging import Hanging
from pdscaler.cli.live import console, load_words, pool_table, title, trouble_lines
from pdscaler.cli.output import aligned, emit, output_option
from pdscaler.cli.view import UNKNOWN, View, clock_time, predicted_latency, target_words, view_of, without_metrics
from pdscaler.cli.watch import follow
from pdscaler.cli.words import binding_words, limit_words
from pdscaler.core.pools import Pool
from pdscaler.units import format_number

_LABEL_WIDTH = 10


@click.command()
@click.argument("name", required=False)
@click.option("-A", "--all-namespaces", is_flag=True, help="The PDDeployments of every namespace.")
@click.option(
    "-w", "--watch", is_flag=True, help="Keep showing it: a live table, or a line per change without a terminal."
)
@output_option
@cluster_options
def status(name: str | None, all_namespaces: bool, watch: bool, output: str, where: ClusterOptions) -> None:
    """Show what the operator thinks: of one PDDeployment in full, or of all in a line each."""
    if all_namespaces and name is not None:
        raise click.UsageError("-A shows every PDDeployment: leave out NAME, or name its namespace with -n")
    if watch and output == "yaml":
        raise click.UsageError("--watch goes with -o table or -o json (one document per line)")
    namespace = None if all_namespaces else where.home_namespace
    if watch:
        as_json = status_document if output == "json" else None
        with contextlib.suppress(KeyboardInterrupt):
            ask(where, lambda resources: follow(resources, namespace, name, as_json))
        return
    if name is not None:
        document = ask(where, lambda resources: get_or_list_names(resources, namespace or "default", name))
        if output == "table":
            console().print(details(view_of(document), time.time()))
        else:
            emit(status_document(document), output)
        return
    documents = ask(where, lambda resources: list_all(resources, namespace))
    if output != "table":
        emit({"items": [status_document(document) for document in documents]}, output)
    elif not documents:
        place = "in any namespace" if namespace is None else f'in namespace "{namespace}" (-A shows every namespace)'
        click.echo(f"no PDDeployment {place}", err=True)
    else:
        click.echo(overview([view_of(document) for document in documents], with_namespace=namespace is None))


def status_document(document: dict[str, Any]) -> dict[str, Any]:
    """Return the machine-readable form: identity, mode, pause, objectives and the operator's status as it stands."""
    view = view_of(document)
    spec = document.get("spec")
    return {
        "namespace": view.namespace,
        "name": view.name,
        "mode": view.mode,
        "state": view.state,
        "paused": {"scaleUp": view.paused.scale_up, "scaleDown": view.paused.scale_down},
        "slo": (spec.get("slo") if isinstance(spec, dict) else None) or {},
        "healthy": view.seen and not view.problem and not view.troubles,
        "problems": trouble_lines(view),
        "status": document.get("status") or {},
    }


def overview(views: list[View], with_namespace: bool) -> str:
    """Write one line for each PDDeployment, and below them what is not well."""
    headers = ["NAME", "MODE", "PREFILL", "DECODE", "RATE", "TTFT", "TPOT", "STATE", "LIMITED-BY", "GPUS"]
    rows = [["NAMESPACE", *headers] if with_namespace else headers]
    for view in views:
        said = view.summary
        row = [view.name, view.mode, said.prefill, said.decode, said.rate, said.ttft, said.tpot, view.state]
        row += [said.limited_by, said.gpus]
        rows.append([view.namespace, *row] if with_namespace else row)
    troubles = [f"{view.namespace}/{view.name}: {line}" for view in views for line in trouble_lines(view)]
    return "\n".join([*aligned(rows, indent=""), *([""] if troubles else []), *troubles])


def details(view: View, now_s: float) -> RenderableType:
    """Render one PDDeployment in full: the answer, then why, then what is not well."""
    parts: list[RenderableType] = [title(view)]
    if view.seen:
        parts += [Text(), pool_table(view), Text(), *_facts(view, now_s)]
    problems = trouble_lines(view)
    if problems:
        parts += [Text(), Text("not well", style="bold yellow")]
        parts += [Hanging("  ", line) for line in problems]
    return Group(*parts)


def _facts(view: View, now_s: float) -> list[RenderableType]:
    rows: list[tuple[str, str]] = []
    for pool, found in view.pools.items():
        # What happened to the metrics stands once, below; not once more for each pool.
        said = [found.reason] if found.reason and not without_metrics(found) else []
        said += [f"decided by {binding_words(found.binding)}"] if found.binding else []
        said += [f"{word}: {limit_words(word)}" for word in found.limited_by]
        rows += [("" if index else pool.value, text) for index, text in enumerate(said)]
    for pool, latency in ((Pool.PREFILL, "TTFT"), (Pool.DECODE, "TPOT")):
        predicted = predicted_latency(view, pool)
        if predicted is not None:
            rows.append((latency, f"{predicted} predicted at the desired replicas, target {target_words(view, pool)}"))
    rows += [
        *_workload_facts(view, now_s),
        *_engine_facts(view),
        ("changed", clock_time(view.summary.last_change, None, now_s)),
    ]
    return [Hanging(f"  {label:<{_LABEL_WIDTH}}", text) for label, text in rows if text and text != UNKNOWN]


def _workload_facts(view: View, now_s: float) -> list[tuple[str, str]]:
    workload = view.status.workload
    if workload is None:
        return []
    said = load_words(view)
    spread = [
        f"{name} scv {format_number(length.scv)}"
        for name, length in (("input", workload.input_tokens), ("output", workload.output_tokens))
        if length is not None and length.scv is not None
    ]
    said += f" ({', '.join(spread)})" if spread else ""
    if workload.prefix_hit_ratio:
        said += f", {100 * workload.prefix_hit_ratio:.0f} % of the input cached"
    source = f"counted by {workload.arrival_source}" if workload.arrival_source else ""
    window = f"over {workload.window}" if workload.window else ""
    at = f"at {clock_time(workload.observed_at, None, now_s)}" if workload.observed_at else ""
    facts = [("load", said), ("", " ".join(part for part in (source, window, at) if part))]
    expected = [*filter(None, [expected_words(view.status)]), *forecast_facts(view.status.forecast)]
    facts += [("forecast" if index == 0 else "", text) for index, text in enumerate(expected)]
    if workload.alternatives:
        facts.append(
            ("metrics", ", ".join(f"{query}: {name}" for query, name in sorted(workload.alternatives.items())))
        )
    return facts


def _engine_facts(view: View) -> list[tuple[str, str]]:
    observed = view.status.observed
    if observed is None:
        return []
    said = [
        f"{pool} {_engine_words(load)}"
        for pool, load in (("prefill", observed.prefill), ("decode", observed.decode))
        if load is not None and not load.waiting is load.running is load.kv_usage is None
    ]
    learnt = calibration_facts(view.status.calibration)
    facts = [("learnt" if index == 0 else "", text) for index, text in enumerate(learnt)]
    return [("engines", "; ".join(said)), *facts]


def _engine_words(load: EngineLoad) -> str:
    kv = UNKNOWN if load.kv_usage is None else f"{100 * load.kv_usage:.0f} %"
    return f"{format_number(load.waiting)} waiting, {format_number(load.running)} running, KV memory {kv}"
