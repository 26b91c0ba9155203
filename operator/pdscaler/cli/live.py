"""The live table of ``pdscaler status --watch`` and of the demo: pure functions from views to what is shown.

May import rich, core, units and cli.view. No I/O, no clock: the time is an argument.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pdscaler.api.status import DecisionStatus
from pdscaler.cli.calibrationwords import calibration_troubles
from pdscaler.cli.hanging import Hanging
from pdscaler.cli.view import (
    UNKNOWN,
    View,
    age_s,
    clock_time,
    latency_name,
    observed_latency,
    predicted_latency,
    target_words,
)
from pdscaler.core.pools import PerPool, Pool
from pdscaler.units import format_duration, format_need, format_number

_WIDTHS = (9, 5, 7, 6, 11, 7, 5, 0)
"""Least widths of the columns: tables of several PDDeployments align."""
_MAX_DECISIONS = 6
_PLAIN_WIDTH = 118
_NO_ATTAINMENT: PerPool[float | None] = PerPool(None, None)


@dataclass(frozen=True, slots=True)
class Attainment:
    """Shares of requests that met their targets, where somebody counts them (the demo does).

    Parameters
    ----------
    pools
        Share that met TTFT (prefill) and TPOT (decode), in [0, 1]; None where no request has finished.
    """

    pools: PerPool[float | None]


def render(
    views: Sequence[View],
    now_s: float,
    zone: tzinfo | None = None,
    attainments: Mapping[tuple[str, str], Attainment] | None = None,
    decisions: int = _MAX_DECISIONS,
) -> RenderableType:
    """Render PDDeployments as aligned tables, each with its conditions and its last decisions.

    Parameters
    ----------
    views
        What to show, in this order.
    now_s
        The present, seconds since the epoch.
    zone
        Time zone of the clock times; None: this machine's.
    attainments
        Attainment by (namespace, name); the column is left out where None.
    decisions
        How many decisions of each to show, at most.
    """
    parts: list[RenderableType] = []
    for view in views:
        if parts:
            parts.append(Text())
        attainment = None if attainments is None else attainments.get(view.key, Attainment(_NO_ATTAINMENT))
        parts.extend(_block(view, now_s, zone, attainment, decisions))
    return Group(*parts) if parts else Text("no PDDeployment")


def console() -> Console:
    """Return standard output: as wide as the terminal, and wide enough for every table where it is none."""
    width = None if Console().is_terminal else _PLAIN_WIDTH
    # What stands in a status is text: no [markup] and no :emoji: of rich.
    return Console(highlight=False, markup=False, emoji=False, width=width)


def title(view: View) -> Text:
    """Render the line that names a PDDeployment and says what it is doing, under which load."""
    words = [view.mode, view.state]
    if view.paused_words and view.state != "Paused":
        words.append(view.paused_words)
    if view.outdated:
        words.append("the newest spec is not evaluated yet")
    text = Text(f"{view.namespace}/{view.name}", style="bold")
    text.append("  " + ", ".join(words), style="not bold " + _state_style(view))
    text.append(f"   {load_words(view)}", style="not bold")
    if view.summary.gpus != UNKNOWN:
        text.append(f"   GPUs {view.summary.gpus}", style="not bold")
    return text


def load_words(view: View) -> str:
    """Write the load as UX does: ``12.5 requests/s × (6144 in + 512 out)``; a dash where nothing is known."""
    workload = view.status.workload
    if workload is None or workload.arrival_rate is None:
        return f"load {UNKNOWN}"
    rate = f"{format_number(workload.arrival_rate)} requests/s"
    isl = workload.input_tokens.mean if workload.input_tokens else None
    osl = workload.output_tokens.mean if workload.output_tokens else None
    if isl is None and osl is None:
        return rate
    return f"{rate} × ({_whole(isl)} in + {_whole(osl)} out)"


def pool_table(view: View, attainment: Attainment | None = None) -> Table:
    """Render both pools: current, recommended and desired replicas, and latency against its target."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    headers = ["", "ready", "current", "needed", "recommended", "desired", "load", "latency now / target"]
    for index, (header, width) in enumerate(zip(headers, _WIDTHS, strict=True)):
        justify = "right" if 0 < index < len(headers) - 1 else "left"
        table.add_column(header, min_width=width, justify=justify, no_wrap=bool(width))  # type: ignore[arg-type]
    if attainment is not None:
        table.add_column("SLO met", justify="right", no_wrap=True)
    for pool, status in view.pools.items():
        desired = Text(_count(status.desired))
        if status.desired is not None and status.current is not None and status.desired != status.current:
            desired = Text(f"{status.desired} ({status.desired - status.current:+d})", style="bold yellow")
        row: list[RenderableType] = [
            f"  {pool.value}",
            _count(status.ready),
            _count(status.current),
            format_need(status.required, status.recommended),
            _count(status.recommended),
            desired,
            _percent(status.utilization),
            _latency(view, pool),
        ]
        if attainment is not None:
            row.append(_percent(attainment.pools[pool]))
        table.add_row(*row)
    return table


def decision_lines(view: View, now_s: float, zone: tzinfo | None = None, limit: int = _MAX_DECISIONS) -> list[str]:
    """Write the last decisions, newest first: ``14:02:15  prefill 2→3: 18 requests/s need 2.61 replicas``."""
    lines: list[str] = []
    for decision in view.status.decisions[:limit]:
        time = clock_time(decision.time, zone, now_s)
        lines.extend(f"{time}  {step}" for step in steps(decision))
    return lines


def steps(decision: DecisionStatus) -> list[str]:
    """Write what a decision did to each pool that it changed: ``prefill 2→3: reason``."""
    said = []
    for pool, step in (("prefill", decision.prefill), ("decode", decision.decode)):
        if step is not None and step.from_ is not None and step.to is not None and step.from_ != step.to:
            said.append(f"{pool} {step.from_}→{step.to}" + (f": {step.reason}" if step.reason else ""))
    return said


def trouble_lines(view: View) -> list[str]:
    """Write the conditions that are not well: ``MetricsAvailable=False, NoData: …``."""
    lines = [view.problem] if view.problem else []
    if not view.seen:
        lines.append("no operator has written a status yet: does pdscaler run, and look after this namespace?")
    lines.extend(
        f"{condition.type}={condition.status}, {condition.reason}: {condition.message}" for condition in view.troubles
    )
    return lines + calibration_troubles(view.status.calibration)


def fingerprint(view: View) -> tuple[object, ...]:
    """Return what must differ for a change to be worth a line: no figure that moves by itself."""
    pools = tuple((pool.current, pool.ready, pool.desired) for _, pool in view.pools.items())
    troubles = tuple((trouble.type, trouble.status, trouble.reason) for trouble in view.troubles)
    newest = view.status.decisions[0].time if view.status.decisions else None
    return view.mode, view.paused, view.state, pools, troubles, newest, view.problem


def change_line(view: View, at: str, before: View | None = None) -> str:
    """Write one line for a log: what it is doing now, with the newest decision or trouble where that is new."""
    pools = ", ".join(f"{pool.value} {_brief(view, pool)}" for pool in Pool)
    latencies = " ".join(
        f"{latency_name(pool)} {_latency_text(view, pool)}" for pool in Pool if view.target(pool) is not None
    )
    line = f"{at}  {view.namespace}/{view.name}  {view.state}: {pools}; {load_words(view)}"
    if latencies:
        line += f"; {latencies}"
    news = _news(view, before)
    return f"{line}; {news}" if news else line


def _news(view: View, before: View | None) -> str:
    newest = view.status.decisions[0] if view.status.decisions else None
    known = before.status.decisions[0].time if before is not None and before.status.decisions else None
    said = steps(newest) if newest is not None and before is not None and newest.time != known else []
    old = set(trouble_lines(before)) if before is not None else set()
    return "; ".join([*said, *(line for line in trouble_lines(view) if line not in old)])


def _block(
    view: View, now_s: float, zone: tzinfo | None, attainment: Attainment | None, decisions: int
) -> Iterable[RenderableType]:
    yield title(view)
    if view.seen:
        yield pool_table(view, attainment)
    for line in trouble_lines(view):
        yield Hanging("  ! ", line, style="yellow")
    for line in decision_lines(view, now_s, zone, decisions):
        at, _, said = line.partition("  ")
        yield Hanging(f"  {at}  ", said)
    observed_at = view.status.workload.observed_at if view.status.workload is not None else None
    age = age_s(observed_at, now_s)
    if age is not None:
        yield Text(f"  metrics of {clock_time(observed_at, zone, now_s)}, {_ago(age)}", style="dim")


def _brief(view: View, pool: Pool) -> str:
    status = view.pools[pool]
    text = _count(status.current)
    if status.desired is not None and status.desired != status.current:
        text += f"→{status.desired}"
    return text if status.ready in (None, status.current) else f"{text} ({status.ready} ready)"


def _latency(view: View, pool: Pool) -> str:
    return f"{latency_name(pool)} {_latency_text(view, pool)}"


def _latency_text(view: View, pool: Pool) -> str:
    now = observed_latency(view, pool)
    if now is None:
        predicted = predicted_latency(view, pool)
        now = UNKNOWN if predicted is None else f"{UNKNOWN} ({predicted} predicted)"
    return f"{now} / {target_words(view, pool)}"


def _state_style(view: View) -> str:
    if view.state.startswith(("Holding", "NotSeenYet")):
        return "yellow"
    return "green" if view.state == "Steady" else "cyan"


def _ago(age: float) -> str:
    return "now" if age < 1 else f"{format_duration(float(round(age)))} ago" if age < 120 else f"{age / 60:.0f} min ago"


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)


def _whole(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.0f} %"
