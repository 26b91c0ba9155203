"""The picture of a demo run. Imports matplotlib, numpy and the demo's types."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from localplane.demo_types import Observation, PhasePlan, Served
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.slo import LatencyTarget, Slo
from pdscaler.units import format_duration

_INK, _MUTED, _GRID = "#1f2933", "#6b7785", "#e3e7ec"
_COLOURS = {Pool.PREFILL: "#2563a8", Pool.DECODE: "#b4552d"}
_LOAD, _MISSED, _FORECAST = "#3f7d58", "#c62f3b", "#7a4fa3"
_SHADES = ("#f5f7fa", "#e9eef4")
_WIDE = 0.13
"""Share of the whole that a phase must last for its lengths to have room."""


def draw(
    path: Path,
    title: str,
    *,
    phases: Sequence[PhasePlan],
    planned: Sequence[tuple[float, PerPool[int]]],
    observations: Sequence[Observation],
    served: Sequence[Served],
    slo: Slo,
) -> None:
    """Draw load, replicas and latencies over time, with the phases shaded, into a PNG.

    Parameters
    ----------
    planned
        From when on the model plans which counts.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style: dict[Any, Any] = {"font.size": 9.5, "axes.edgecolor": _MUTED, "text.color": _INK, "axes.labelcolor": _INK}
    with mpl.rc_context(style):
        figure, axes = plt.subplots(
            5, 1, figsize=(11, 11), sharex=True, gridspec_kw={"height_ratios": [1, 1.15, 1.15, 1.1, 1.1]}
        )
        _phases(axes, phases)
        _load(axes[0], phases, served, observations)
        _replicas(axes[1], Pool.PREFILL, planned, observations)
        _replicas(axes[2], Pool.DECODE, planned, observations)
        _latency(axes[3], "TTFT", [(r.arrival_s, r.ttft_s) for r in served], slo.ttft, log=True)
        decoded = [(r.arrival_s, r.tpot_s) for r in served if r.tpot_s is not None]
        _latency(axes[4], "TPOT", decoded, slo.tpot, log=False)
        axes[4].set_xlabel("seconds since the load began")
        axes[4].set_xlim(phases[0].begin_s, phases[-1].end_s)
        figure.suptitle(title, x=0.09, y=0.985, ha="left", fontsize=13, fontweight="bold")
        figure.align_ylabels(axes)
        figure.subplots_adjust(left=0.09, right=0.985, top=0.925, bottom=0.05, hspace=0.14)
        figure.savefig(path, dpi=120)
        plt.close(figure)


def _phases(axes: Any, phases: Sequence[PhasePlan]) -> None:
    for axis in axes:
        for number, phase in enumerate(phases):
            axis.axvspan(phase.begin_s, phase.end_s, color=_SHADES[number % 2], zorder=0, lw=0)
        axis.grid(axis="y", color=_GRID, zorder=0.5)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        axis.tick_params(color=_MUTED, labelcolor=_MUTED)
    whole_s = phases[-1].end_s - phases[0].begin_s
    for phase in phases:
        wide = phase.end_s - phase.begin_s >= _WIDE * whole_s
        text = f"{phase.name}\n" + (f"{phase.input_tokens:.0f} in + {phase.output_tokens:.0f} out" if wide else "")
        middle = (phase.begin_s + phase.end_s) / 2
        axes[0].annotate(text, (middle, 1.04), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9)


def _load(
    axis: Any, phases: Sequence[PhasePlan], served: Sequence[Served], observations: Sequence[Observation]
) -> None:
    end_s = phases[-1].end_s
    counts, edges = np.histogram([request.arrival_s for request in served], bins=np.arange(0.0, end_s + 1.0, 1.0))
    axis.step(edges[:-1], counts, where="post", color=_LOAD, lw=0.9, alpha=0.75, label="arrived")
    times = [edge for phase in phases for edge in (phase.begin_s, phase.end_s)]
    ends = [(phase.arrival_rate_rps, phase.arrival_rate_end_rps) for phase in phases]
    rates = [rate for begin, end in ends for rate in (begin, begin if end is None else end)]
    axis.plot(times, rates, color=_INK, lw=1.4, ls=(0, (4, 2)), label="mean")
    expected = [(look.at_s, look.forecast_rps) for look in observations if look.forecast_rps is not None]
    if expected:
        axis.step(*zip(*expected, strict=True), where="post", color=_FORECAST, lw=1.8, label="forecast")
    axis.set_ylabel("load\nrequests/s")
    axis.set_ylim(0, max(*counts, *rates, *(rate for _, rate in expected)) * 1.25)
    axis.legend(loc="upper left", fontsize=8, frameon=False, ncols=3)


def _replicas(
    axis: Any, pool: Pool, planned: Sequence[tuple[float, PerPool[int]]], observations: Sequence[Observation]
) -> None:
    times = [look.at_s for look in observations]
    colour = _COLOURS[pool]
    ready = [look.ready[pool] for look in observations]
    axis.fill_between(times, ready, step="post", color=colour, alpha=0.22, lw=0, label="ready", zorder=2)
    axis.step(times, [look.ordered[pool] for look in observations], where="post", color=colour, lw=1.8, label="ordered")
    plan = [counts[pool] for _, counts in planned]
    axis.step(
        [at_s for at_s, _ in planned],
        plan,
        where="post",
        color=_INK,
        lw=1.3,
        ls=(0, (4, 2)),
        zorder=4,
        label="planned by the model",
    )
    top = max([*ready, *plan, *(look.ordered[pool] for look in observations)])
    axis.set_ylim(0, top + 1.6)
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.set_ylabel(f"{pool.value}\nreplicas")
    axis.legend(loc="upper right", fontsize=8, frameon=False, ncols=3)


def _latency(
    axis: Any, name: str, points: Sequence[tuple[float, float]], target: LatencyTarget | None, *, log: bool
) -> None:
    if points:
        arrivals, values = (np.array(column) for column in zip(*points, strict=True))
        seconds = arrivals.astype(int)
        means = np.bincount(seconds, weights=values) / np.maximum(1, np.bincount(seconds))
        seen = np.bincount(seconds) > 0
        x, y = np.arange(len(means))[seen] + 0.5, means[seen] * 1e3
        axis.plot(x, y, color=_INK, lw=1.1, label=f"mean {name} of the requests of each second")
        if target is not None:
            limit = target.target_s * 1e3
            words = f"target {format_duration(target.target_s)} ({target.statistic.value.replace('Mean', 'mean')})"
            axis.axhline(limit, color=_MISSED, lw=1.2, ls=(0, (4, 2)), label=words)
            axis.fill_between(x, limit, y, where=y > limit, color=_MISSED, alpha=0.25, lw=0, interpolate=True)
        low, high = min(*y, limit if target is not None else y[0]), max(*y, limit if target is not None else y[0])
        axis.set_ylim(*((low * 0.6, high * 4) if log else (0, high * 1.3)))
    if log:
        axis.set_yscale("log")
        from matplotlib.ticker import LogLocator

        bottom, top = axis.get_ylim()
        if top / bottom < 50:  # less than two labels of whole decades
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_formatter(lambda _value, _position: "")
        axis.yaxis.set_major_formatter(lambda value, _position: format_duration(value / 1e3))
        axis.set_ylabel(name)
    else:
        axis.set_ylabel(f"{name}\nms")
    axis.legend(loc="upper right", fontsize=8, frameon=False, ncols=2)
