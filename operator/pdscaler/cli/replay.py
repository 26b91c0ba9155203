"""``pdscaler replay``: close the loop on a trace. May import click, rich, api, core, units, simulator (late) and cli.

numba is imported by the simulation itself, so that bad input is told at once.
"""

import csv
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace as with_changes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdscaler.api.convert import to_scaling_spec
from pdscaler.api.parse import load_pddeployment
from pdscaler.cli.output import emit, output_option, terminal_width
from pdscaler.cli.replaytable import Replayed, replay_table
from pdscaler.cli.workload import Number
from pdscaler.core.pools import PerPool
from pdscaler.core.sizing import size
from pdscaler.core.slo import LatencyStatistics
from pdscaler.core.spec import ScalingSpec
from pdscaler.errors import InvalidInputError, NotSupportedYetError
from pdscaler.units import format_duration, format_number, parse_duration

if TYPE_CHECKING:
    from pdscaler.simulator.result import ReplayResult
    from pdscaler.simulator.traces import Trace

_LABEL = re.compile(r"(\d{1,6})P(\d{1,6})D", re.IGNORECASE)


class _Duration(click.ParamType[float]):
    """A duration as the resource writes it: 120s, 15m."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ARG002
        """Read the duration, or say what is wrong with it."""
        return value if isinstance(value, float) else parse_duration(value, param.opts[-1] if param else "")


class _Counts(click.ParamType[PerPool[int]]):
    """Counts in the field's notation: 7P5D."""

    name = "xPyD"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,
        ctx: click.Context | None,  # noqa: ARG002
    ) -> PerPool[int]:
        """Read the counts, or say what is wrong with them."""
        found = _LABEL.fullmatch(str(value))
        if found is None:
            raise InvalidInputError(param.opts[-1] if param else "", f'"{str(value)[:40]}" is not like 7P5D')
        return PerPool(int(found[1]), int(found[2]))


DURATION = _Duration()


@click.command("replay")
@click.option("-f", "--file", type=click.Path(path_type=Path), required=True, help="YAML file with the PDDeployment.")
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE", help="Recorded requests.")
@click.option("--phases", type=click.Path(path_type=Path), metavar="FILE", help="Synthetic requests instead (YAML).")
@click.option("--rate-scale", type=Number(1e-6, 1e6), metavar="X", help="Multiplies the trace's rate.")
@click.option("--policy", default="pdscaler", show_default=True, metavar="NAME", help="Who decides.")
@click.option("--startup", type=DURATION, metavar="TIME", help="From an order to Ready; both pools' own otherwise.")
@click.option("--initial", type=_Counts(), metavar="xPyD", help="Replicas at the begin; by the first minutes' load.")
@click.option("--measure-from", type=DURATION, default="0s", metavar="TIME", help="Count from then on; the begin.")
@click.option(
    "--observation-delay", type=DURATION, default="5s", show_default=True, metavar="TIME", help="Age of what is seen."
)
@click.option("--decisions", type=click.Path(path_type=Path), metavar="FILE", help="Write the orders, a CSV.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write a report, an HTML page.")
@click.option("--oracle/--no-oracle", default=True, help="Set the clairvoyant schedule and the lower bound beside it.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of all random numbers.")
@output_option
def replay(
    *,
    file: Path,
    policy: str,
    startup: float | None,
    initial: PerPool[int] | None,
    measure_from: float,
    observation_delay: float,
    decisions: Path | None,
    report: Path | None,
    oracle: bool,
    seed: int,
    output: str,
    **source: Any,
) -> None:
    """Replay recorded requests against a policy, as it would have scaled both pools live.

    The policy sees what an operator sees: means over windows, scrapes some seconds old, replicas that take --startup to
    serve. Give a --trace or --phases. Exit status: 0 done, 2 bad input.
    """
    if report is not None:
        raise NotSupportedYetError("--report", "is not supported yet (--decisions and -o json hold the figures)")
    if decisions is not None:
        _check_writable(decisions)
    began_s = time.monotonic()
    resource = load_pddeployment(file)
    spec = to_scaling_spec(resource)
    if startup is not None:
        limits = spec.sizing.limits.map(lambda pool: with_changes(pool, startup_s=startup))
        spec = with_changes(spec, sizing=with_changes(spec.sizing, limits=limits))
    trace = _requests(seed=seed, **source)
    try:
        replayed = _replayed(spec, trace, policy, initial, (measure_from, observation_delay, seed), oracle=oracle)
    except InvalidInputError as error:
        # What only the core checks is a field of the file too; a figure's own name says where it was given.
        raise error.with_source(str(file)) if error.field.startswith("spec.") else error from None
    if decisions is not None:
        _write_decisions(decisions, replayed.result)
    elapsed_s = time.monotonic() - began_s
    emit(
        replay_document(replayed),
        output,
        lambda: replay_table(replayed, elapsed_s=elapsed_s, width=terminal_width()),
    )


def _requests(*, trace: Path | None, phases: Path | None, rate_scale: float | None, seed: int) -> "Trace":
    """Return what arrives."""
    import numpy as np

    from pdscaler.simulator.traces import read_trace, scale_trace
    from pdscaler.simulator.workload import phase_trace, read_phases

    if (trace is None) == (phases is None):
        raise InvalidInputError("--trace", "is required (or --phases FILE)" if trace is None else "excludes --phases")
    rng = np.random.default_rng(seed)
    if phases is not None:
        if rate_scale is not None:
            raise InvalidInputError("--rate-scale", "goes with --trace: phases say their rates themselves")
        return phase_trace(read_phases(phases), rng, phases.name)
    assert trace is not None
    recorded = read_trace(trace)
    return recorded if rate_scale is None else scale_trace(recorded, rate_scale, rng)


def _replayed(
    spec: ScalingSpec,
    trace: "Trace",
    name: str,
    initial: PerPool[int] | None,
    settings: tuple[float, float, int],
    *,
    oracle: bool,
) -> Replayed:
    from pdscaler.core.simulation.requests import RequestTable
    from pdscaler.simulator.bound import bound
    from pdscaler.simulator.oracle import clairvoyant
    from pdscaler.simulator.policies import Setting, make_policy
    from pdscaler.simulator.replay import ReplaySettings, replay

    notes = list(trace.notes)
    if initial is None:
        initial, note = _first_plan(spec, trace)
        notes.append(note)
    policy = make_policy(name, Setting(spec, initial))
    measure_from_s, delay_s, seed = settings
    table = RequestTable(trace.arrival_s, trace.input_tokens, trace.output_tokens, trace.prefix_hit_tokens)
    options = ReplaySettings(measure_from_s=measure_from_s, observation_delay_s=delay_s, seed=seed)
    with _progress() as tell:
        result = replay(spec, table, policy, initial, settings=options, progress=tell)
    if oracle:
        schedule = clairvoyant(spec.sizing, table, measured_from_s=result.measured_from_s, seed=seed)
        least = bound(spec.sizing, table, measured_from_s=result.measured_from_s)
        result = with_changes(result, oracle_gpu_hours=schedule.gpu_hours, bound_gpu_hours=least.gpu_hours)
        if not schedule.reached:
            short = f"{100 * schedule.attainment.joint:.4g} %"
            notes.append(f"even the clairvoyant schedule attains {short} only: its GPU-hours are no measure here")
    return Replayed(spec, name, trace.source, result, seed, tuple(notes))


def _first_plan(spec: ScalingSpec, trace: "Trace") -> tuple[PerPool[int], str]:
    """Return what the plan gives for the load of the first minutes, and a note that says so."""
    from pdscaler.simulator.traces import trace_workload

    first = trace.until(float(trace.arrival_s[0]) + spec.window_s)
    minutes = format_duration(spec.window_s)
    try:
        workload = with_changes(trace_workload(first), arrival_scv=1.0)
    except InvalidInputError:  # one request, or several at once: no rate
        counts = spec.sizing.limits.map(lambda pool: pool.min_replicas)
        return counts, f"begins with the least replicas: too little arrives in the first {minutes} to plan for"
    counts = size(spec.sizing, workload).pools.map(lambda pool: pool.replicas)
    rate = format_number(workload.arrival_rate_rps)
    return counts, f"begins with the plan for the first {minutes} ({rate} requests/s); --initial says otherwise"


@contextmanager
def _progress() -> Iterator[Callable[[float], None] | None]:
    """Show a bar on a terminal's standard error."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("replaying"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replay", total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _check_writable(path: Path) -> None:
    """Say before a long run what would keep its result from being written."""
    if path.is_dir() or not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise InvalidInputError("--decisions", f"{path} cannot be written")


def _write_decisions(path: Path, result: "ReplayResult") -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("time_s", "prefill", "decode"))
            for order in result.orders:
                writer.writerow((f"{order.at_s:.15g}", order.replicas.prefill, order.replicas.decode))
    except OSError as error:
        problem = (error.strerror or "error").lower()
        raise InvalidInputError("--decisions", f"{path} cannot be written: {problem}") from None


def replay_document(replayed: Replayed) -> dict[str, object]:
    """Return the answer as the JSON document of DESIGN section 5; it is the same for the same input."""
    result = replayed.result
    attainment = result.attainment
    return {
        "name": replayed.spec.sizing.name,
        "policy": replayed.policy,
        "requests": result.requests,
        "attainment": {"ttft": attainment.ttft, "tpot": attainment.tpot, "joint": attainment.joint},
        "gpu_hours": result.gpu_hours,
        "gpu_hours_with_drain": result.gpu_hours_with_drain,
        "oracle_gpu_hours": result.oracle_gpu_hours,
        "bound_gpu_hours": result.bound_gpu_hours,
        "scale_operations": result.scale_operations,
        "max_gpus": result.max_gpus,
        "ttft_s": _statistics(result.ttft_s),
        "tpot_s": _statistics(result.tpot_s),
        "initial": replayed.label(result.initial),
        "measured": {"from_s": result.measured_from_s, "until_s": result.end_s},
        "evaluations": result.evaluations,
        "seed": replayed.seed,
        "warnings": list(replayed.notes),
    }


def _statistics(latency: LatencyStatistics) -> dict[str, float | None]:
    return {"mean": latency.mean, "p50": latency.p50, "p90": latency.p90, "p95": latency.p95, "p99": latency.p99}
