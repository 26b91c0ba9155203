"""``pdscaler replay``: close the loop on a trace. May import click, rich, api, core, units, simulator (late) and cli.

numba is imported by the simulation itself, so that bad input is told at once.
"""

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
from pdscaler.cli.outfile import check_writable
from pdscaler.cli.output import emit, output_option, terminal_width
from pdscaler.cli.replayfiles import input_files, write_decisions, write_report
from pdscaler.cli.replaytable import replay_table
from pdscaler.cli.workload import Number
from pdscaler.core.pools import PerPool
from pdscaler.core.slo import LatencyStatistics
from pdscaler.core.spec import ScalingSpec
from pdscaler.errors import InvalidInputError
from pdscaler.units import format_duration, format_number, format_share, parse_duration

if TYPE_CHECKING:
    from pdscaler.simulator.replayed import Replayed
    from pdscaler.simulator.traces import Trace

Stage = Callable[[str], Callable[[float], None] | None]
"""Begins a part of the work under a name; what it returns is told the share that is done."""

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
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write a report, one HTML page.")
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
    inputs = {"resource": file, **{role: source[role] for role in ("trace", "phases") if source[role] is not None}}
    for option, path in (("--decisions", decisions), ("--report", report)):
        if path is not None:
            check_writable(option, path, list(inputs.values()))
    if report is not None and decisions is not None and report.absolute() == decisions.absolute():
        raise InvalidInputError("--report", f"{report} is where --decisions writes, too")
    began_s = time.monotonic()
    resource = load_pddeployment(file)
    spec = to_scaling_spec(resource)
    if startup is not None:
        limits = spec.sizing.limits.map(lambda pool: with_changes(pool, startup_s=startup))
        spec = with_changes(spec, sizing=with_changes(spec.sizing, limits=limits))
    trace = _requests(seed=seed, **source)
    given = input_files(inputs) if report is not None else ()
    try:
        replayed = _replayed(spec, trace, policy, initial, (measure_from, observation_delay, seed), oracle=oracle)
    except InvalidInputError as error:
        # What only the core checks is a field of the file too; a figure's own name says where it was given.
        raise error.with_source(str(file)) if error.field.startswith("spec.") else error from None
    if decisions is not None:
        write_decisions(decisions, replayed.result.orders)
    if report is not None:
        write_report(report, replayed, given, click.get_current_context())
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
) -> "Replayed":
    from pdscaler.core.simulation.requests import RequestTable
    from pdscaler.simulator.bound import bound
    from pdscaler.simulator.oracle import clairvoyant
    from pdscaler.simulator.policies import Setting, make_policy
    from pdscaler.simulator.replay import ReplaySettings, replay
    from pdscaler.simulator.replayed import Replayed

    notes = list(trace.notes)
    if initial is None:
        initial, note = _first_plan(spec, trace)
        notes.append(note)
    policy = make_policy(name, Setting(spec, initial))
    measure_from_s, delay_s, seed = settings
    table = RequestTable(trace.arrival_s, trace.input_tokens, trace.output_tokens, trace.prefix_hit_tokens)
    options = ReplaySettings(measure_from_s=measure_from_s, observation_delay_s=delay_s, seed=seed)
    schedule = None
    with _progress() as stage:
        result = replay(spec, table, policy, initial, settings=options, progress=stage("replaying"))
        if oracle:
            measured_s, told = result.measured_from_s, stage("clairvoyant schedule")
            schedule = clairvoyant(spec.sizing, table, measured_from_s=measured_s, seed=seed, progress=told)
            stage("lower bound")
            least = bound(spec.sizing, table, measured_from_s=measured_s)
            result = with_changes(result, oracle_gpu_hours=schedule.gpu_hours, bound_gpu_hours=least.gpu_hours)
    if schedule is not None and not schedule.reached:
        short = format_share(schedule.attainment.joint)
        notes.append(f"even the clairvoyant schedule attains {short} only: its GPU-hours are no measure here")
    return Replayed(spec, name, trace.source, result, seed, schedule, tuple(notes))


def _first_plan(spec: ScalingSpec, trace: "Trace") -> tuple[PerPool[int], str]:
    """Return what the plan gives for the load of the first minutes, and a note that says so."""
    from pdscaler.simulator.opening import opening

    counts, rate_rps = opening(spec, trace)
    minutes = format_duration(spec.window_s)
    if rate_rps is None:
        return counts, f"begins with the least replicas: too little arrives in the first {minutes} to plan for"
    rate = format_number(rate_rps)
    return counts, f"begins with the plan for the first {minutes} ({rate} requests/s); --initial says otherwise"


@contextmanager
def _progress() -> Iterator[Stage]:
    """Show a bar on a terminal's standard error, part by part."""
    if not sys.stderr.isatty():
        yield lambda _name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def stage(name: str) -> Callable[[float], None]:
            for task in bar.task_ids:
                bar.remove_task(task)
            task = bar.add_task(name, total=None)  # a part that tells nothing only pulses
            return lambda share: bar.update(task, completed=share, total=1.0)

        yield stage


def replay_document(replayed: "Replayed") -> dict[str, object]:
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
