"""What the demo shows while it runs and when it is over. Imports rich and the command line's live table.

The table is that of ``pdscaler status --watch``; the figures that status keeps still (it is written at most once a
minute) are replaced by what the emulated engines and the Deployments say now.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from localplane.demo_ahead import step_text
from localplane.demo_judge import label
from localplane.demo_types import Observation, PhasePlan, PhaseResult, Scenario
from pdscaler.api.status import ObservedStatus, PDDeploymentStatus, PoolStatus, WorkloadStatus
from pdscaler.cli.live import Attainment, decision_lines, render
from pdscaler.cli.view import UNKNOWN, View, view_of
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.slo import LatencyTarget
from pdscaler.units import format_duration, format_number

_LINE_EVERY_S = 5.0
_WORTH_A_LINE = frozenset({"Stalled", "MetricsAvailable", "AbleToScale", "CapacityPending", "FallbackActive"})
"""Conditions that a log of the demo tells of; the others follow from them or from an ordinary decision."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One look, as it is shown.

    Parameters
    ----------
    document
        The PDDeployment.
    stats
        The emulator's ``/stats``.
    seen
        The same look as values.
    """

    document: Mapping[str, Any]
    stats: Mapping[str, Any]
    seen: Observation


class Screen:
    """Shows frames: a table redrawn in place on a terminal, aligned lines elsewhere.

    Parameters
    ----------
    scenario
        What is played.
    surroundings
        What it runs on: ``API server 1.36, Prometheus 3.15, 4 nodes × 8 GPUs``.
    console
        Where to show it.
    """

    def __init__(self, scenario: Scenario, surroundings: str, console: Console | None = None) -> None:
        self._scenario = scenario
        self._surroundings = surroundings
        self._console = console or Console(file=sys.stdout, highlight=False)
        self._live: Live | None = None
        self._said: dict[str, None] = {}
        self._line_at_s = -_LINE_EVERY_S
        self._phase: str | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)
            self._live = None

    def show(self, frame: Frame, now_s: float) -> None:
        """Show a frame; ``now_s`` is the present, seconds since the epoch."""
        if self._live is not None:
            self._live.update(self.table(frame, now_s), refresh=True)
            return
        view = view_of(frame.document)
        if frame.stats["phase"] != self._phase and frame.stats["phase"] is not None:
            self._phase = frame.stats["phase"]
            self._console.print(self.header(frame), soft_wrap=True, markup=False)
        for line in reversed(decision_lines(view, now_s)):
            self._say_once(line, line)
        for trouble in view.troubles:
            if trouble.type in _WORTH_A_LINE:
                self._say_once(
                    f"{trouble.type}={trouble.status}, {trouble.reason}",
                    f"! {trouble.type}={trouble.status}, {trouble.reason}: {trouble.message}",
                )
        if frame.seen.at_s - self._line_at_s >= _LINE_EVERY_S:
            self._line_at_s = frame.seen.at_s
            self._console.print(plain_line(frame, self._scenario), soft_wrap=True, markup=False)

    def say(self, line: str) -> None:
        """Write a line of its own; on a terminal above the table."""
        self._console.print(line, soft_wrap=True, markup=False)

    def _say_once(self, key: str, line: str) -> None:
        if key not in self._said:
            self._said[key] = None
            self._console.print(f"       {line}", soft_wrap=True, markup=False)

    def table(self, frame: Frame, now_s: float) -> RenderableType:
        """Render the header and the live table."""
        view = refreshed(frame)
        shares = frame.stats["recent"]["attainment"] or {}
        attainment = Attainment(PerPool(shares.get("ttft"), shares.get("tpot")))
        return Group(
            Text(self.header(frame), style="bold", no_wrap=True, overflow="ellipsis"),
            Text(f"  {self._surroundings}; TTFT, TPOT and SLO met: the last 15 s of requests", style="dim"),
            Text(f"  {_expected(frame.seen)}"),
            render([view], now_s, attainments={view.key: attainment}),
        )

    def header(self, frame: Frame) -> str:
        """Write where the run is: phase, elapsed, left."""
        elapsed_s = min(float(frame.stats["elapsed_s"]), self._scenario.duration_s)
        left_s = self._scenario.duration_s - elapsed_s
        name = frame.stats["phase"]
        names = [phase.name for phase in self._scenario.phases]
        if name in names:
            where = f"phase {names.index(name) + 1}/{len(names)} {name}"
        elif not frame.stats["started"]:
            where = "waiting for the first replicas"
        elif name is None:
            where = "the load is over"
        else:
            where = self._scenario.title
        return f"pdscaler demo   {where}   {_clock(elapsed_s)} elapsed, about {_clock(left_s)} left"


def refreshed(frame: Frame) -> View:
    """Return the PDDeployment's view with the present replicas, rate and latencies in it."""
    view = view_of(frame.document)
    recent, seen = frame.stats["recent"], frame.seen
    status: PDDeploymentStatus = view.status
    pools = {
        pool.value: (found or PoolStatus()).model_copy(
            update={"current": seen.ordered[pool], "ready": seen.ready[pool]}
        )
        for pool, found in ((Pool.PREFILL, status.prefill), (Pool.DECODE, status.decode))
    }
    workload = (status.workload or WorkloadStatus()).model_copy(
        update={"arrival_rate": recent["arrival_rate_rps"], "observed_at": None}
    )
    observed = (status.observed or ObservedStatus()).model_copy(
        update={
            "ttft": _duration(recent["ttft_s"]["statistic"]),
            "tpot": _duration(recent["tpot_s"]["statistic"]),
        }
    )
    changed = status.model_copy(update={**pools, "workload": workload, "observed": observed})
    return replace(view, status=changed)


def plain_line(frame: Frame, scenario: Scenario) -> str:
    """Write a frame as one aligned line for a log."""
    seen, recent, slo = frame.seen, frame.stats["recent"], scenario.spec.sizing.slo
    shares = recent["attainment"]
    met = UNKNOWN if shares is None else f"{100 * shares['joint']:.0f} %"
    pools = "  ".join(_plain_pool(pool, seen) for pool in Pool)
    rate = f"{format_number(recent['arrival_rate_rps'])}/s"
    latencies = "  ".join(
        f"{name} {_against(recent[f'{name.lower()}_s']['statistic'], target):<13}"
        for name, target in (("TTFT", slo.ttft), ("TPOT", slo.tpot))
    )
    ahead = "" if seen.forecast_rps is None else f"  forecast {format_number(seen.forecast_rps)}/s"
    return f"{_clock(seen.at_s)}  {rate:>7}  {pools}  {latencies} SLO met {met}{ahead}"


def summary_lines(scenario: Scenario, results: Sequence[PhaseResult]) -> list[str]:
    """Write one aligned line for each phase, and what went wrong below it."""
    slo = scenario.spec.sizing.slo
    rows = [("phase", "load", "planned", "observed", "settled after", "TTFT", "TPOT", "SLO met")]
    for result in results:
        plan = result.plan
        rows.append(
            (
                plan.name,
                load_of(plan),
                label(plan.planned),
                label(result.observed),
                UNKNOWN if result.settled_s is None else f"{result.settled_s:.0f} s",
                _against(result.ttft_s, slo.ttft),
                _against(result.tpot_s, slo.tpot),
                UNKNOWN if result.attainment is None else f"{100 * result.attainment.joint:.1f} %",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  " + "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    notes = [f"  ! {result.plan.name}: {problem}" for result in results for problem in result.problems]
    notes += [f"  {result.plan.name}: {'; '.join(result.notes)}" for result in results if result.notes]
    for result in results:
        said = " ".join(result.problems)
        notes += [f"  {result.plan.name}: {text}" for step in result.steps if (text := step_text(step)) not in said]
    if results:
        notes.append(
            "  Latencies and SLO met: the requests that arrived after the phase had settled, from their records."
        )
    if any(result.plan.foreseen for result in results):
        names = ", ".join(result.plan.name for result in results if result.plan.foreseen)
        notes.append(
            f"  {names}: every request of the phase; a forecast is above what comes, so a replica may be spare."
        )
    return lines + notes


def _expected(seen: Observation) -> str:
    if seen.forecast_rps is None:
        return "sized for the load seen now"
    now = UNKNOWN if seen.arrival_rate_rps is None else f"{format_number(seen.arrival_rate_rps)}"
    return f"sized for the forecast, {format_number(seen.forecast_rps)} requests/s, now {now}"


def _plain_pool(pool: Pool, seen: Observation) -> str:
    recommended = UNKNOWN if seen.recommended[pool] is None else str(seen.recommended[pool])
    return f"{pool.value} {seen.ready[pool]} ready {seen.ordered[pool]} ordered {recommended} recommended"


def load_of(plan: PhasePlan) -> str:
    """Write a phase's load: ``87/s × (900 in + 110 out)``."""
    lengths = f"({plan.input_tokens:.0f} in + {plan.output_tokens:.0f} out)"
    end = "" if plan.arrival_rate_end_rps is None else f" to {format_number(plan.arrival_rate_end_rps)}"
    return f"{format_number(plan.arrival_rate_rps)}{end}/s × {lengths}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    return f"{minutes:02d}:{rest:02d}"


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else format_duration(seconds)


def _against(seconds: float | None, target: LatencyTarget | None) -> str:
    if target is None:
        return format_duration(seconds)
    return f"{format_duration(seconds)}/{format_duration(target.target_s)}"
