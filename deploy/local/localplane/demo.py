"""``make demo``: the main job end to end, watched, judged and drawn. Imports the demo's modules.

A real control plane and Prometheus, emulated engines under load, the operator with the rights that it ships with; one
``kubectl apply``; then both pools follow the load. What it did is judged from the API server's audit log and from the
engines' own request records.
"""

import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from localplane.demo_ahead import judge_foreseen, nominal_plan
from localplane.demo_files import read_records, summary, write_timeline
from localplane.demo_judge import exactly, judge_phase, write_problems
from localplane.demo_plot import draw
from localplane.demo_scenario import scenario_of_phases, scenario_of_trace
from localplane.demo_show import Frame, Screen, summary_lines
from localplane.demo_slices import plans_over_time, slices_of_trace
from localplane.demo_stack import REPOSITORY, DemoStack
from localplane.demo_types import Observation, PhasePlan, Run, Scenario
from localplane.demo_writes import count_writes
from localplane.errors import LocalPlaneError
from localplane.kind import KindCluster, context_name
from localplane.plane import ControlPlane
from localplane.processes import terminate_as_interrupt
from localplane.progress import Console, format_elapsed
from localplane.tools import ensure_tools
from localplane.toolset import TOOLS, Tools
from pdscaler.api.spec import ForecastMethod
from pdscaler.core.pools import PerPool, Pool
from pdscaler.units import parse_duration

OUT = REPOSITORY / "build" / "demo"
"""Where the demo leaves what it saw."""
FORECAST = "Auto"
"""The method that looks ahead where nobody says otherwise."""
_LOOK_EVERY_S = 1.0
_NODES, _GPUS = 4, 8
_WARM_S = 10.0
"""So long the load has run when the operator gets it: a window of 15 s then holds more than a few requests."""
_DRAIN_S = 30.0
_LATE_S = 2.0
"""A day that begins so much later than those before is worth a line: the forecast goes by the time of day."""


@dataclass(frozen=True, slots=True)
class Played:
    """What is played instead of the phases, as it was asked for; all None: the phases.

    Parameters
    ----------
    trace, profile
        A recorded trace and a measured profile; both or none.
    duration, rate_scale
        How much of the trace (``4m`` by default), and how many times its rate.
    forecast
        The method that looks ahead in the phases, of ``spec.forecast.method``; LastValue: nothing does.
    """

    trace: Path | None = None
    profile: Path | None = None
    duration: str | None = None
    rate_scale: float | None = None
    forecast: str | None = None


def run_demo(cluster: str, played: Played, *, seed: int = 0, out: Path = OUT) -> int:
    """Run the demo and return the exit status: 0 only if everything was as it must be.

    Parameters
    ----------
    cluster
        ``local``, ``kind`` or ``kind-NAME``.
    played
        The phases, or a trace.
    seed
        Seed of the load.
    out
        Folder for what it leaves; files of an earlier run are replaced.
    """
    terminate_as_interrupt()
    context = None if cluster == "local" else context_name(cluster)
    scenario = _scenario(played, out)
    progress = Console()
    tools = ensure_tools(progress)
    started_s = time.monotonic()
    records = out / "requests.csv"
    with ExitStack() as stack:
        run_dir = Path(stack.enter_context(_run_folder()))
        progress.line("starting the control plane, Prometheus, the emulated engines and the operator")
        where = stack.enter_context(_cluster(context, run_dir, tools))
        try:
            parts = stack.enter_context(DemoStack(where, scenario, records, seed))
            observations, late_s = _watch(parts, scenario, played.forecast or FORECAST, progress)
            said = (parts.resource().get("status") or {}).get("forecast", {}).get("reason", "")
            run = Run(observations, read_records(records), *count_writes(parts), late_s, said)
            for name, args in (("get", ("get", "pdd", "-o", "wide")), ("describe", ("describe", "pdd"))):
                said = where.kubectl(*args, "-n", scenario.namespace).stdout
                (out / f"kubectl-{name}-pdd.txt").write_text(said, encoding="utf-8")
        finally:
            shutil.copytree(where.run_dir / "logs", out / "logs", dirs_exist_ok=True)
    return _conclude(scenario, run, time.monotonic() - started_s, out)


def _scenario(played: Played, out: Path) -> Scenario:
    if (played.trace is None) != (played.profile is None):
        raise LocalPlaneError("TRACE and PROFILE go together: make demo TRACE=trace.csv PROFILE=profile.json")
    if played.trace is None and (played.duration is not None or played.rate_scale is not None):
        raise LocalPlaneError("DURATION and RATE_SCALE go with TRACE and PROFILE")
    if played.trace is not None and played.forecast is not None:
        raise LocalPlaneError("FORECAST goes with the phases, not with TRACE: a trace has no days before it")
    if played.forecast is not None and played.forecast not in set(ForecastMethod):
        raise LocalPlaneError(f'FORECAST="{played.forecast}" is none of {", ".join(ForecastMethod)}')
    for file in ("requests.csv", "summary.json", "timeline.csv", "demo.png", "pddeployment.yaml", "targets.yaml"):
        (out / file).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    if played.trace is None or played.profile is None:
        return scenario_of_phases()
    length_s = parse_duration(played.duration or "4m", "DURATION")
    return scenario_of_trace(played.trace, played.profile, length_s, played.rate_scale or 1.0, out)


def _watch(
    parts: DemoStack, scenario: Scenario, method: str, progress: Console
) -> tuple[list[Observation], float | None]:
    """Watch the run to its end; return the looks, and how late the load began."""
    observations: list[Observation] = []
    late_s: float | None = None
    ahead_s = scenario.looks_ahead_from_s if method != ForecastMethod.LAST_VALUE else None
    surroundings = f"API server {parts.server_version()}, Prometheus {_prometheus_version(parts)}, "
    surroundings += f"{_NODES} nodes × {_GPUS} GPUs"
    progress.line(f"{surroundings}\nkubectl apply -f {_shown(scenario.targets)}")
    parts.create_targets()
    applied = False
    over_s: float | None = None
    with Screen(scenario, surroundings) as screen:
        for tick in _ticks(_LOOK_EVERY_S):
            parts.check()
            frame = _look(parts, scenario, applied=applied)
            if frame.stats["started"]:
                observations.append(frame.seen)
                if late_s is None and parts.dawn_s is not None:
                    late_s = time.time() - frame.seen.at_s - parts.dawn_s
            if not applied:
                progress.tick("the first engines load their model and come under load", float(tick))
                if frame.seen.at_s >= _WARM_S and parts.serving():
                    progress.line(f"kubectl apply -f {_shown(scenario.resource)}")
                    parts.apply_resource()
                    applied = True
            else:
                screen.show(frame, time.time())
                if ahead_s is not None and frame.seen.at_s >= ahead_s:
                    screen.say(parts.look_ahead(method))
                    ahead_s = None
            if frame.stats["finished"]:
                over_s = over_s or time.monotonic()
                if frame.stats["in_flight"] == 0 or time.monotonic() - over_s > _DRAIN_S:
                    return observations, late_s
    raise AssertionError("unreachable")


def _look(parts: DemoStack, scenario: Scenario, *, applied: bool) -> Frame:
    document, stats = parts.resource() if applied else {}, parts.stats()
    ordered, ready = [], []
    for name in (scenario.target_names.prefill, scenario.target_names.decode):
        deployment = parts.deployment(name)
        ordered.append(int(deployment["spec"].get("replicas", 1)))
        ready.append(int(deployment.get("status", {}).get("readyReplicas", 0)))
    status = document.get("status") or {}
    recommended = PerPool(*((status.get(pool.value) or {}).get("recommended") for pool in Pool))
    recent = stats["recent"]
    seen = Observation(
        at_s=float(stats["elapsed_s"]),
        ordered=PerPool(*ordered),
        ready=PerPool(*ready),
        recommended=recommended,
        arrival_rate_rps=recent["arrival_rate_rps"],
        ttft_s=recent["ttft_s"]["statistic"],
        tpot_s=recent["tpot_s"]["statistic"],
        forecast_rps=parts.forecast_rps() if applied else None,
    )
    return Frame(document, stats, seen)


def _conclude(scenario: Scenario, run: Run, seconds: float, out: Path) -> int:
    slo = scenario.spec.sizing.slo
    if scenario.phases:
        plans: tuple[PhasePlan, ...] = scenario.phases
        planned = nominal_plan(plans)
        results = [
            judge_foreseen(plan, run.observations, run.served, slo)
            if plan.foreseen
            else judge_phase(plan, run.observations, run.served, slo, exactly)
            for plan in plans
        ]
    else:
        plans, results = slices_of_trace(scenario, run)
        planned = plans_over_time(scenario, run)
    problems = write_problems(run, scenario.target_names)
    ok = not problems and not any(result.problems for result in results)
    writes = run.writes.prefill + run.writes.decode
    document = summary(results, writes, seconds, ok=ok)
    (out / "summary.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    write_timeline(out / "timeline.csv", run.observations)
    draw(
        out / "demo.png",
        f"pdscaler demo: {scenario.title}",
        phases=plans,
        planned=planned,
        observations=run.observations,
        served=run.served,
        slo=slo,
    )
    click.echo("")
    click.echo(f"pdscaler demo: {'everything as planned' if ok else 'NOT as planned'}, {format_elapsed(seconds)}")
    click.echo("")
    for line in summary_lines(scenario, results):
        click.echo(line)
    for problem in problems:
        click.echo(f"  ! {problem}")
    counts = f"prefill {run.writes.prefill}, decode {run.writes.decode}"
    if run.forecast:
        click.echo(f"  The last forecast: {run.forecast}.")
    if run.late_s is not None and abs(run.late_s) > _LATE_S:
        click.echo(f"  The load began {run.late_s:.1f} s later than on the days before: the forecast is early by that.")
    click.echo(f"  {len(run.served)} requests served; scale writes by the operator: {counts} ({run.writes_source}).")
    click.echo("")
    click.echo((out / "kubectl-get-pdd.txt").read_text(encoding="utf-8").rstrip())
    click.echo("")
    click.echo(f"  plot      {_shown(out / 'demo.png')}")
    click.echo(f"  summary   {_shown(out / 'summary.json')}   (records, timeline, logs beside it)")
    click.echo("")
    click.echo("what to try next")
    for line in _next_steps(scenario):
        click.echo(f"  {line}")
    return 0 if ok else 1


def _next_steps(scenario: Scenario) -> list[str]:
    resource, phases = _shown(scenario.resource), "deploy/samples/phases.yaml"
    return [
        f".venv/bin/pdscaler plan -f {resource} --arrival-rate 120 --input-tokens 900 --output-tokens 110",
        f".venv/bin/pdscaler emulate -f {resource} --static 2P1D --phases {phases}   # the same day, nobody scales",
        "make demo FORECAST=LastValue   # the same day without foresight: the morning is met late",
        "make demo TRACE=trace.csv PROFILE=profile.json RATE_SCALE=20   # a recorded trace on a measured engine",
    ]


def _cluster(context: str | None, run_dir: Path, tools: Tools) -> ControlPlane | KindCluster:
    if context is None:
        return ControlPlane(run_dir / "plane", tools, gpu_nodes=_NODES, gpus_per_node=_GPUS)
    return KindCluster(run_dir / "kind", tools, context, gpu_nodes=_NODES, gpus_per_node=_GPUS)


def _run_folder() -> "tempfile.TemporaryDirectory[str]":
    # Not under build/: keys and tokens lie there, and socket paths must stay short.
    return tempfile.TemporaryDirectory(prefix="pdscaler-demo-", ignore_cleanup_errors=True)


def _prometheus_version(parts: DemoStack) -> str:
    version = TOOLS["prometheus"].version_of(parts.cluster.tools["prometheus"]) or "of an unknown version"
    return ".".join(version.split(".")[:2])


def _ticks(every_s: float) -> Iterator[int]:
    due_s = time.monotonic()
    for number in itertools.count():
        yield number
        due_s = max(due_s + every_s, time.monotonic())
        time.sleep(max(0.0, due_s - time.monotonic()))


def _shown(path: Path) -> str:
    """Write a path as the user would type it."""
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)
