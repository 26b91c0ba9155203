"""What the charts of a replay show, as plain values. May import numpy, core, units and simulator.

Every chart has the time of the trace as its axis. What was ordered and ready is shown as it was, step by step; load,
latencies and attainment by the windows of :class:`~pdscaler.simulator.result.Series`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.slo import LatencyTarget, Statistic
from pdscaler.simulator.bound import ATTAINMENT
from pdscaler.simulator.replayed import Replayed
from pdscaler.simulator.report.scales import Scale, latency_scale, linear_scale, share_scale
from pdscaler.simulator.result import ready_steps
from pdscaler.units import format_duration, format_number, format_share

Reals = NDArray[np.float64]


class Shape(Enum):
    """How a curve is drawn."""

    LINE = "line"
    """Through the middles of the windows."""
    STEPS = "steps"
    """Each value holds until the next point of time."""
    AREA = "area"
    """Steps, filled down to 0."""
    SHORTFALL = "shortfall"
    """Steps, filled between them and the level where they are below it."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One curve of a chart.

    Parameters
    ----------
    key
        Its name in the page, and its style.
    label
        Its name for people.
    shape
        How it is drawn.
    at_s, values
        Points of time and values; NaN is a gap. A step holds until the next point of time, the last one to the end.
    readings
        Its value in each window, as text.
    """

    key: str
    label: str
    shape: Shape
    at_s: Reals
    values: Reals
    readings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """A value that a chart marks from end to end: a target, a goal."""

    label: str
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One chart.

    Parameters
    ----------
    key
        Its name in the page.
    title, summary
        What it shows; what there is to see in it, in a sentence.
    scale
        Its vertical axis.
    curves
        In the order in which they are drawn.
    level
        The target, where there is one.
    """

    key: str
    title: str
    summary: str
    scale: Scale
    curves: tuple[Curve, ...]
    level: Level | None = None


def panels_of(replayed: Replayed) -> tuple[Panel, ...]:
    """Return the charts of a replay, from top to bottom."""
    targets = PerPool(replayed.spec.sizing.slo.ttft, replayed.spec.sizing.slo.tpot)
    latencies = (_latency(replayed, pool, target) for pool, target in targets.items())
    return (_load(replayed), *(_replicas(replayed, pool) for pool in Pool), *latencies, _attainment(replayed))


def statistic_word(statistic: Statistic) -> str:
    """Name a statistic: ``mean``, ``P99``."""
    return statistic.value if statistic.quantile else "mean"


def _texts(values: Iterable[float], write: Callable[[float], str]) -> tuple[str, ...]:
    return tuple(map(write, values))


def _middles(replayed: Replayed) -> Reals:
    series, end_s = replayed.result.series, replayed.result.end_s
    ends_s = np.append(series.begin_s[1:], end_s)
    return np.asarray((series.begin_s + ends_s) / 2)


def _counted(replayed: Replayed) -> NDArray[np.bool_]:
    """Return which windows lie in what is counted; all where none does as a whole."""
    counted = np.asarray(replayed.result.series.begin_s >= replayed.result.measured_from_s)
    return counted if counted.any() else np.ones_like(counted)


def _load(replayed: Replayed) -> Panel:
    series = replayed.result.series
    known = series.load_rps[~np.isnan(series.load_rps)]
    most = float(known.max()) if len(known) else 0.0
    mean = f"{format_number(float(known.mean()))} requests/s on average, " if len(known) else ""
    curve = Curve(
        "load", "arrivals", Shape.AREA, series.begin_s, series.load_rps,
        _texts(series.load_rps, lambda rate: f"{format_number(rate)}/s"),
    )  # fmt: skip
    summary = f"{mean}{format_number(most)} requests/s at most in a window of {format_duration(series.window_s)}."
    return Panel("load", "Load, requests/s", summary, linear_scale(most), (curve,))


def _replicas(replayed: Replayed, pool: Pool) -> Panel:
    result, limits = replayed.result, replayed.spec.sizing.limits[pool]
    middles_s = _middles(replayed)

    def steps(key: str, label: str, shape: Shape, at_s: Reals, counts: Sequence[int] | NDArray[np.int64]) -> Curve:
        values = np.asarray(counts, np.float64)
        places = np.maximum(np.searchsorted(at_s, middles_s, side="right") - 1, 0)
        return Curve(key, label, shape, at_s, values, _texts(values[places], format_number))

    ready = ready_steps(result.records.lives[pool], limits.startup_s, result.begin_s, result.end_s)
    ordered_s = np.array([order.at_s for order in result.orders])
    ordered = [order.replicas[pool] for order in result.orders]
    curves = [
        steps(f"ready-{pool.value}", "ready", Shape.AREA, *ready),
        steps(f"ordered-{pool.value}", "ordered", Shape.STEPS, ordered_s, ordered),
    ]
    summary = f"{min(ordered)} to {max(ordered)} {pool.value} replicas ordered"
    if replayed.schedule is not None:
        orders = replayed.schedule.orders
        counts = [order.replicas[pool] for order in orders]
        known_s = np.array([max(order.at_s, result.begin_s) for order in orders])
        curves.append(steps(f"clairvoyant-{pool.value}", "clairvoyant schedule", Shape.STEPS, known_s, counts))
        summary += f"; the clairvoyant schedule orders {min(counts)} to {max(counts)}"
    most = max(float(curve.values.max()) for curve in curves)
    title = f"{pool.value.capitalize()} replicas"
    return Panel(f"replicas-{pool.value}", title, f"{summary}.", linear_scale(most, whole=True), tuple(curves))


def _latency(replayed: Replayed, pool: Pool, target: LatencyTarget | None) -> Panel:
    series = replayed.result.series
    name = "TTFT" if pool is Pool.PREFILL else "TPOT"
    p50_s, p99_s, bound_s = (
        (series.ttft_p50_s, series.ttft_p99_s, series.ttft_bound_s)
        if pool is Pool.PREFILL
        else (series.tpot_p50_s, series.tpot_p99_s, series.tpot_bound_s)
    )
    middles_s = _middles(replayed)

    def line(word: str, values_s: Reals) -> Curve:
        readings = _texts(values_s, format_duration)
        return Curve(f"{name.lower()}-{word.lower()}", word, Shape.LINE, middles_s, values_s, readings)

    curves = [line("P50", p50_s), line("P99", p99_s)]
    word, level = "mean", None
    if target is not None:
        word = statistic_word(target.statistic)
        level = Level(f"target {format_duration(target.target_s)} ({word})", target.target_s)
        if target.statistic not in {Statistic.P50, Statistic.P99}:
            curves.append(line(word, bound_s))
    seen = np.concatenate([curve.values for curve in curves])
    seen = seen[seen > 0]  # and so no NaN
    if target is not None:
        seen = np.append(seen, target.target_s)
    scale = latency_scale(float(seen.min()), float(seen.max())) if len(seen) else linear_scale(1.0, format_duration)
    known = bound_s[_counted(replayed) & ~np.isnan(bound_s)]
    if not len(known):
        summary = f"No request that counts has a {name}."
    else:
        least, most = format_duration(float(known.min())), format_duration(float(known.max()))
        summary = f"{name} {word} of a window from {least} to {most}"
        if target is not None:
            late = int((known > target.target_s).sum())
            summary += f", above the target in {late} of {len(known)} windows that count"
        summary += "."
    return Panel(name.lower(), f"{name} of the requests that arrive in a window", summary, scale, tuple(curves), level)


def _attainment(replayed: Replayed) -> Panel:
    series = replayed.result.series
    shares = series.attainment
    known = shares[_counted(replayed) & ~np.isnan(shares)]
    short = int((known < ATTAINMENT).sum())
    curve = Curve("within", "within", Shape.SHORTFALL, series.begin_s, shares, _texts(shares, format_share))
    goal = Level(f"goal {format_share(ATTAINMENT)}", ATTAINMENT)
    summary = f"Below {format_share(ATTAINMENT)} in {short} of {len(known)} windows that count."
    title = "Requests within their targets, by window"
    return Panel("attainment", title, summary, share_scale(shares, ATTAINMENT), (curve,), goal)
