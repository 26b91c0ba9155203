"""The picture of docs/sizing-benchmark.md. Imports matplotlib."""

from collections.abc import Sequence
from pathlib import Path

from bench.sizing.judge import Answer
from bench.sizing.planners import PLANNERS, Planner
from bench.sizing.report import extra, figures

COLOURS = ("#1b6ca8", "#63b3ed", "#8a6d3b", "#5a8f29", "#97c93d", "#b5443c")
FEWER_EDGES, MORE_EDGES = (-0.5, -0.25, -0.1), (0.1, 0.25, 0.5, 1.0, 2.0)
LABELS = (
    "refuses", "≤ −50", "−50…−25", "−25…−10", "−10…0", "the smallest",
    "0…10", "10…25", "25…50", "50…100", "100…200", "> 200",
)  # fmt: skip
SMALLEST = 5
"""Position of "the smallest" in :data:`LABELS`."""


def draw(answers: Sequence[Answer], path: Path) -> None:
    """Draw the share of cases met against the GPUs above the smallest, and how the GPUs are spread."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    picture, (left, right) = plt.subplots(
        1, 2, figsize=(12.5, 5.0), width_ratios=(1, 1.75), layout="constrained", facecolor="white"
    )
    for planner, colour in zip(PLANNERS, COLOURS, strict=True):
        found = figures(answers, planner)
        left.scatter(100 * found.above_mean, 100 * found.met, s=70, color=colour, zorder=3, label=planner.title)
    left.set_xlabel("GPUs above the smallest pair, mean over the cases it meets, %")
    left.set_ylabel("cases whose TTFT and TPOT targets are both met, %")
    left.set_ylim(0, 104)
    left.set_xlim(left=-1)
    left.grid(color="#dddddd", linewidth=0.6)
    left.set_title("Better is up and to the left", loc="left")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False, fontsize=8.5)
    shares = [_spread(answers, planner) for planner in PLANNERS]
    right.imshow(shares, aspect="auto", cmap="Blues", vmin=0, vmax=100)
    for row, values in enumerate(shares):
        for column, share in enumerate(values):
            if share > 0:
                text = f"{share:.0f}" if share >= 0.95 else f"{share:.1f}"
                right.text(column, row, text, ha="center", va="center", color="white" if share > 55 else "#222222")
    right.set_yticks(range(len(PLANNERS)), [planner.title for planner in PLANNERS])
    right.set_xticks(range(len(LABELS)), LABELS, rotation=40, ha="right", rotation_mode="anchor")
    right.axvline(SMALLEST - 0.5, color="#888888", linewidth=0.8)
    right.axvline(SMALLEST + 0.5, color="#888888", linewidth=0.8)
    right.set_xlabel("GPUs beside the smallest pair, %: too few on the left, too many on the right")
    right.set_title("Share of the cases, %", loc="left")
    right.tick_params(length=0)
    for spine in right.spines.values():
        spine.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=110)
    plt.close(picture)


def _spread(answers: Sequence[Answer], planner: Planner) -> list[float]:
    """Return the shares, %, of the cases in each range of GPUs; "the smallest" is exactly that pair's number."""
    counts = [0] * len(LABELS)
    judged = [(answer, answer.planners[planner.name]) for answer in answers if answer.gpus is not None]
    for answer, one in judged:
        if one.gpus is None:
            counts[0] += 1
            continue
        share = extra(answer, one)
        if share < 0:
            counts[1 + sum(share > edge for edge in FEWER_EDGES)] += 1
        elif share == 0:
            counts[SMALLEST] += 1
        else:
            counts[SMALLEST + 1 + sum(share > edge for edge in MORE_EDGES)] += 1
    return [100 * count / max(1, len(judged)) for count in counts]
