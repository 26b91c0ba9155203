"""The pictures of docs/policy-benchmark.md: attainment against GPU-hours by trace. Imports matplotlib."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.policy.cases import Case
from bench.policy.compare import GOAL, OURS, Compared, front
from bench.policy.runs import DEFAULT, TUNED

from pdscaler.simulator.policies import POLICIES

MOST_SHOWN = 4.0
"""Ratios beyond this stand at the right edge."""

LEAST_SHOWN = 0.3
TICKS = ((0.0, "0"), (0.5, "50"), (0.9, "90"), (0.97, "97"), (0.99, "99"), (0.999, "99.9"), (1.0, "≥ 99.99"))
COLOURS = (
    "#d62728", "#7f7f7f", "#8c564b", "#1f77b4", "#17becf", "#2ca02c", "#98df8a", "#ff7f0e", "#bcbd22", "#9467bd",
    "#e377c2", "#393b79", "#637939", "#843c39", "#7b4173",
)  # fmt: skip
MARKERS = "*sD^v<>oPXphdH8"


def height(attainment: float) -> float:
    """Return where an attainment stands: the misses on a logarithmic scale, cut at one in ten thousand.

    Examples
    --------
    >>> height(0.0), round(height(0.9), 6), height(1.0)
    (0.0, 1.0, 4.0)
    """
    return -math.log10(max(1e-4, 1.0 - attainment))


def draw(results: Mapping[Case, Compared], path: Path, columns: int) -> None:
    """Draw a panel for each case.

    Parameters
    ----------
    results
        The cases; at least one.
    path
        PNG file; its folder is made.
    columns
        Panels beside each other.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    rows = math.ceil(len(results) / columns)
    width = 12.5
    picture, axes = plt.subplots(
        rows, columns, figsize=(width, (5.2 if columns == 2 else 3.7) * rows + 1.2), squeeze=False, facecolor="white"
    )
    for axis in axes.flat[len(results) :]:
        axis.set_visible(False)
    for axis, (case, found) in zip(axes.flat, results.items(), strict=False):
        _panel(axis, case, found)
    handles = [
        Line2D(
            [], [], linestyle="", marker=MARKERS[index % len(MARKERS)], color=COLOURS[index % len(COLOURS)],
            markersize=12 if name == OURS else 7, label=name,
        )
        for index, name in enumerate(POLICIES)
    ]  # fmt: skip
    handles += [
        Line2D([], [], linestyle="", marker="o", color="#444444", markerfacecolor="none", label="the same, tuned"),
        Line2D([], [], color="#bbbbbb", linewidth=1.5, label="Pareto front"),
    ]
    picture.tight_layout(rect=(0, 0.95 / picture.get_figheight(), 1, 1), h_pad=1.6, w_pad=1.6)
    picture.legend(handles=handles, loc="lower center", ncols=6, frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=100)
    plt.close(picture)


def _panel(axis: Any, case: Case, found: Compared) -> None:
    def place(run: Any) -> tuple[float, float]:
        return min(max(found.ratio(run), LEAST_SHOWN), MOST_SHOWN), height(run.joint)

    axis.axhline(height(GOAL), color="#cccccc", linewidth=0.8, zorder=1)
    axis.axvline(1.0, color="#cccccc", linewidth=0.8, zorder=1)
    grey = {"color": "#888888", "fontsize": 7.5, "zorder": 1}
    axis.text(LEAST_SHOWN, height(GOAL) + 0.05, "goal", **grey)
    axis.text(1.02, -0.1, "clairvoyant", **grey)
    steps = [place(run) for run in front(found.runs) if found.ratio(run) <= MOST_SHOWN]
    if steps:
        axis.step(*zip(*steps, strict=True), where="post", color="#bbbbbb", linewidth=1.5, zorder=2)
    for index, name in enumerate(POLICIES):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        plain, tuned = found.run(name, DEFAULT), found.run(name, TUNED)
        if plain is None:
            continue
        x, y = place(plain)
        if tuned is not None:
            to = place(tuned)
            axis.plot((x, to[0]), (y, to[1]), color=colour, linewidth=0.6, alpha=0.6, zorder=3)
            axis.scatter(*to, marker=marker, s=40, facecolor="white", edgecolor=colour, linewidth=1.2, zorder=4)
        size = 190 if name == OURS else 46
        axis.scatter(x, y, marker=marker, s=size, color=colour, zorder=6 if name == OURS else 5, clip_on=False)
    axis.set_xscale("log")
    axis.set_xlim(LEAST_SHOWN * 0.95, MOST_SHOWN * 1.05)
    ticks = (0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0)
    axis.set_xticks(ticks, ["≤ 0.3", *(f"{tick:g}" for tick in ticks[1:-1]), "≥ 4"])
    axis.minorticks_off()
    axis.set_ylim(-0.15, 4.2)
    axis.set_yticks([height(share) for share, _ in TICKS], [text for _, text in TICKS])
    axis.set_title(
        f"{case.trace.title} ({found.reference.oracle_gpu_hours:.3g} GPU-hours = 1)", loc="left", fontsize=10
    )
    axis.set_xlabel("GPU-hours over the clairvoyant schedule's")
    axis.set_ylabel("requests within both targets, %")
