"""The pictures of a plan. May import click, core, units, cli; matplotlib (the extra ``plot``) only to draw.

Two panels show TTFT and TPOT against the load, a third one the map of (prefill, decode) counts. Colours differ in
lightness as well as in hue, so that they are told apart by colour-blind readers and in grey.
"""

import importlib.util
from pathlib import Path
from typing import Any

from pdscaler.cli.plotdata import Panel, PlanMap, PlanPicture, Region, plan_picture
from pdscaler.core.choice import label
from pdscaler.core.decision import SizingResult
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import WorkloadStats
from pdscaler.errors import InvalidInputError
from pdscaler.units import format_duration

OPTION = "--plot"
FORMATS = (".png", ".svg")

_INK, _MUTED, _GRID = "#1f2933", "#5b6773", "#e3e7ec"
_COLOURS = {Pool.PREFILL: "#2563a8", Pool.DECODE: "#b4552d"}
_TARGET = "#c62f3b"
_REGIONS = {
    Region.BOTH_MET: "#e4f1e3",
    Region.TTFT_MISSED: "#8fb4dc",
    Region.TPOT_MISSED: "#e0a27c",
    Region.BOTH_MISSED: "#77737f",
}
_OPEN: dict[str, Any] = {"ms": 8, "mfc": "white", "mec": _INK, "mew": 1.8, "zorder": 5}
_NEAR_THE_AXIS = 0.12
_CLEAR = 0.07
"""Share of the map that keeps a number and a marker apart."""

_DASHED = (0, (4, 2.4))
_MOST_CELLS_WITH_GAPS = 30


def check_plot(path: Path) -> None:
    """Say at once what would keep a picture from being drawn.

    Raises
    ------
    InvalidInputError
        If the file's name does not say what to draw, its folder is missing, or matplotlib is.
    """
    if path.suffix.lower() not in FORMATS:
        raise InvalidInputError(OPTION, f"{path.name} must end in {' or '.join(FORMATS)}")
    if not _matplotlib_is_there():
        raise InvalidInputError(OPTION, "needs matplotlib, the extra plot: pip install 'pdscaler[plot]'")
    if not path.parent.is_dir():
        raise InvalidInputError(OPTION, f"{path}: there is no such folder")


def _matplotlib_is_there() -> bool:
    try:
        return importlib.util.find_spec("matplotlib") is not None
    except ImportError:  # an import hook that refuses it
        return False


def draw_plan(path: Path, spec: SizingSpec, workload: WorkloadStats, result: SizingResult) -> None:
    """Draw a plan into a PNG or an SVG.

    Parameters
    ----------
    path
        Ends in .png or .svg.
    spec, workload, result
        As they were sized.

    Raises
    ------
    InvalidInputError
        If the picture cannot be drawn or written.
    """
    check_plot(path)
    picture = plan_picture(spec, workload, result)
    import matplotlib as mpl

    style: dict[Any, Any] = {
        "font.size": 9.5,
        "axes.edgecolor": _MUTED,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "svg.hashsalt": "pdscaler",
        "hatch.linewidth": 0.6,
    }
    with mpl.rc_context(style):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure: Any = Figure(figsize=(12, 6.6))
        FigureCanvasAgg(figure)
        draw_picture(figure, picture)
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        try:
            figure.savefig(path, dpi=120, metadata=metadata)
        except OSError as error:
            problem = f"{path}: cannot be written: {(error.strerror or 'error').lower()}"
            raise InvalidInputError(OPTION, problem) from None


def draw_picture(figure: Any, picture: PlanPicture) -> None:
    """Draw the three panels into a matplotlib figure of 12 by 6.6 inches."""
    left = figure.add_gridspec(2, 1, left=0.07, right=0.525, top=0.855, bottom=0.085, hspace=0.2)
    upper = figure.add_subplot(left[0])
    lower = figure.add_subplot(left[1], sharex=upper)
    for axis, panel in zip((upper, lower), picture.panels, strict=True):
        _latency(axis, panel, picture)
    upper.tick_params(labelbottom=False)
    lower.set_xlabel("load, requests/s")
    lower.set_xlim(0, picture.last_rps)
    figure.align_ylabels([upper, lower])
    _map(figure.add_axes((0.585, 0.085, 0.395, 0.72)), picture.plan_map)
    figure.text(0.02, 0.966, picture.title, fontsize=13, fontweight="bold", ha="left", va="center")
    figure.text(0.02, 0.93, picture.subtitle, fontsize=9.5, color=_MUTED, ha="left", va="center")


def _plain(axis: Any) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.tick_params(color=_MUTED, labelcolor=_MUTED)


def _latency(axis: Any, panel: Panel, picture: PlanPicture) -> None:
    _plain(axis)
    axis.grid(axis="y", color=_GRID, zorder=0.5)
    axis.set_ylabel(panel.name)
    if not panel.curves:
        axis.set_yticks([])
        axis.text(
            0.5, 0.5, "nothing arrives, and no lengths are known", transform=axis.transAxes, ha="center", color=_MUTED
        )
        return
    top = _top(panel)
    colour = _COLOURS[panel.pool]
    for number, curve in enumerate(panel.curves):
        words = f"{curve.replicas} {panel.pool.value} replica{'' if curve.replicas == 1 else 's'}"
        inside = [min(value, 100 * top) for value in curve.values_s]
        style = {"lw": 2.0} if number == 0 else {"lw": 1.4, "ls": _DASHED}
        axis.plot(curve.loads_rps, inside, color=colour, zorder=3, label=words, **style)
    if panel.target is not None:
        words = f"target {format_duration(panel.target.target_s)}"
        axis.axhline(panel.target.target_s, color=_TARGET, lw=1.2, ls=(0, (1.2, 1.4)), zorder=2.5, label=words)
    axis.axvline(picture.rate_rps, color=_MUTED, lw=0.9, zorder=2)
    _point(axis, panel, picture, top)
    axis.set_ylim(0, top)
    axis.yaxis.set_major_formatter(lambda value, _position: format_duration(value))
    axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, fontsize=8.5, frameon=False, borderaxespad=0.1)


def _point(axis: Any, panel: Panel, picture: PlanPicture, top: float) -> None:
    """Mark the operating point and say its value; a load that cannot be served is marked at the top edge."""
    value = panel.at_plan_s
    if value is None:
        return
    served = value <= top
    at_s = value if served else 0.96 * top
    axis.plot([picture.rate_rps], [at_s], ls="none", marker="o" if served else "^", clip_on=False, **_OPEN)
    # Curves rise to the right: below them there is room, unless the axis is near.
    below = at_s > _NEAR_THE_AXIS * top
    axis.annotate(
        f"{format_duration(value)} at the plan" if served else "cannot keep up",
        (picture.rate_rps, at_s),
        xytext=(9, -14 if below else 8),
        textcoords="offset points",
        fontsize=9,
        fontweight="bold",
        zorder=6,
    )


def _top(panel: Panel) -> float:
    """Return where the latency axis ends: above target and operating point, not where the queue runs away."""
    values = [value for value in panel.curves[0].values_s if value != float("inf")]
    low = values[0] if values else 0.0
    marks = [1.6 * low]
    if panel.target is not None:
        marks.append(1.7 * panel.target.target_s)
    if panel.at_plan_s is not None and panel.at_plan_s != float("inf"):
        marks.append(1.3 * panel.at_plan_s)
    return max(marks) or 1.0


def _map(axis: Any, plan: PlanMap) -> None:
    import numpy as np

    prefills, decodes = plan.counts.prefill, plan.counts.decode
    ttft, tpot = (np.array([plan.misses(pool, n) for n in counts]) for pool, counts in plan.counts.items())
    regions = Region.TTFT_MISSED * ttft[None, :] + Region.TPOT_MISSED * tpot[:, None]
    left, right = prefills[0] - 0.5, prefills[-1] + 0.5
    bottom, top = decodes[0] - 0.5, decodes[-1] + 0.5
    from matplotlib.colors import ListedColormap

    gaps = max(len(prefills), len(decodes)) <= _MOST_CELLS_WITH_GAPS
    axis.pcolormesh(
        np.arange(left, right + 0.1),
        np.arange(bottom, top + 0.1),
        regions,
        cmap=ListedColormap([_REGIONS[region] for region in Region]),
        vmin=-0.5,
        vmax=len(Region) - 0.5,
        edgecolors="white" if gaps else "none",
        linewidth=0.8 if gaps else 0,
        zorder=1,
    )
    forbidden = _forbidden(axis, plan, (bottom, top))
    _costs(axis, plan)
    _pairs(axis, plan)
    axis.set_xlim(left, right)
    axis.set_ylim(bottom, top)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.tick_params(color=_MUTED, labelcolor=_MUTED)
    axis.set_xlabel("prefill replicas")
    axis.set_ylabel("decode replicas")
    _legend(axis, plan, regions, forbidden=forbidden)


def _forbidden(axis: Any, plan: PlanMap, span: tuple[float, float]) -> bool:
    """Hatch what bounds, ratio and budget forbid; return whether there is any in sight."""
    bottom, top = span
    edges, lows, highs = [], [], []
    for prefill, row in zip(plan.counts.prefill, plan.allowed, strict=True):
        edges.append(prefill - 0.5)
        lows.append(top if row is None else min(top, max(bottom, row[0] - 0.5)))
        highs.append(top if row is None else max(bottom, min(top, row[1] + 0.5)))
    edges.append(edges[-1] + 1)
    lows.append(lows[-1])
    highs.append(highs[-1])
    hatched = {"step": "post", "facecolor": (1, 1, 1, 0.55), "edgecolor": (0.2, 0.24, 0.28, 0.55), "hatch": "////"}
    axis.fill_between(edges, bottom, lows, lw=0, zorder=2, **hatched)
    axis.fill_between(edges, highs, top, lw=0, zorder=2, **hatched)
    return any(low > bottom or high < top for low, high in zip(lows, highs, strict=True))


def _costs(axis: Any, plan: PlanMap) -> None:
    """Draw lines of equal cost, each with its GPUs, and the budget."""
    import numpy as np
    from matplotlib.patheffects import withStroke

    x, y = ((counts[0] - 0.5, counts[-1] + 0.5) for _, counts in plan.counts.items())
    budget = plan.max_gpus
    for level in {*plan.cost_levels(), *(() if budget is None else (budget,))}:
        # D = (cost - P gpusP) / gpusD, cut off where it leaves the map.
        ends = [(level - plan.gpus.decode * edge) / plan.gpus.prefill for edge in y[::-1]]
        start, end = max(x[0], ends[0]), min(x[1], ends[1])
        if start >= end:
            continue
        line = np.linspace(start, end, 21)
        costs = (level - plan.gpus.prefill * line) / plan.gpus.decode
        colour, width = (_TARGET, 1.6) if level == budget else (_INK, 0.8)
        halo = [withStroke(linewidth=width + 1.4, foreground="white", alpha=0.6)]
        axis.plot(line, costs, color=colour, lw=width, zorder=3, path_effects=halo)
        spots = [(line[index], costs[index]) for index in (10, 6, 14, 3, 17)]
        place = max(spots, key=lambda spot: min(_CLEAR, _distance(spot, plan)))
        text = axis.text(*place, str(level), fontsize=8, color=colour, ha="center", va="center", zorder=4)
        text.set_path_effects([withStroke(linewidth=3.2, foreground="white")])


def _distance(spot: tuple[float, float], plan: PlanMap) -> float:
    """Return how far a spot lies from the marked pairs, in shares of the map."""
    marked = [plan.chosen]
    if plan.needed.prefill is not None and plan.needed.decode is not None:
        marked.append(PerPool(plan.needed.prefill, plan.needed.decode))
    return min(
        max(
            abs(spot[0] - pair.prefill) / len(plan.counts.prefill), abs(spot[1] - pair.decode) / len(plan.counts.decode)
        )
        for pair in marked
    )


def _pairs(axis: Any, plan: PlanMap) -> None:
    """Mark the chosen pair, and the least pair that meets both objectives where it is another one."""
    needed = plan.needed
    if needed.prefill is not None and needed.decode is not None:
        least = PerPool(needed.prefill, needed.decode)
        if least != plan.chosen:
            axis.plot(
                [least.prefill],
                [least.decode],
                marker="D",
                ms=7,
                mfc="none",
                mec=_INK,
                mew=1.5,
                ls="none",
                zorder=5,
                label=f"needed: {label(least)}",
            )
    axis.plot(
        [plan.chosen.prefill],
        [plan.chosen.decode],
        marker="o",
        ms=10,
        mfc=_INK,
        mec="white",
        mew=1.8,
        ls="none",
        zorder=6,
        label=f"plan: {label(plan.chosen)}",
    )


def _legend(axis: Any, plan: PlanMap, regions: Any, *, forbidden: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles, _ = axis.get_legend_handles_labels()
    handles = handles[::-1]
    for region in Region:
        if (regions == region).any():
            handles.append(Patch(facecolor=_REGIONS[region], edgecolor=_MUTED, lw=0.6, label=plan.words(region)))
    if forbidden:
        handles.append(Patch(facecolor="white", edgecolor=_MUTED, hatch="////", lw=0.6, label="not allowed"))
    handles.append(Line2D([], [], color=_INK, lw=0.7, alpha=0.65, label="GPUs, equal cost"))
    if plan.max_gpus is not None and plan.in_sight(plan.max_gpus):
        handles.append(Line2D([], [], color=_TARGET, lw=1.5, label=f"budget, {plan.max_gpus} GPUs"))
    axis.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.03),
        ncols=3,
        fontsize=8.5,
        frameon=False,
        borderaxespad=0.0,
        columnspacing=1.4,
        handlelength=1.6,
    )
