"""What the answers amount to: figures of each planner, and the Markdown of docs/sizing-benchmark.md."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.markdown import between, percent, table
from bench.sizing.judge import Answer, Judged
from bench.sizing.planners import PLANNERS, VERIFIED, Planner

from pdscaler.units import format_duration

BEGIN, END = "<!-- bench-sizing:begin -->", "<!-- bench-sizing:end -->"
WORST_SHOWN = 8
"""Cases of our own that are listed where they miss a target or take more GPUs than needed."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One planner over all cases.

    Parameters
    ----------
    planner
        Whose.
    cases, refused
        Cases judged, and those it gave no answer to.
    met, met_ttft, met_tpot
        Shares of the cases.
    above_mean
        GPUs above the smallest pair, as a share of it, mean over the cases whose targets it meets (fewer counts as 0).
    least
        Share of all cases in which it names exactly the smallest pair.
    most_above, most_below
        Most replicas of one pool above the smallest pair; and below it, where that misses the pool's target.
    worst_latency
        The largest simulated statistic over its target.
    median_ms, worst_ms
        Processor time of a plan.
    """

    planner: Planner
    cases: int
    refused: int
    met: float
    met_ttft: float
    met_tpot: float
    above_mean: float
    least: float
    most_above: int
    most_below: int
    worst_latency: float
    median_ms: float
    worst_ms: float


def figures(answers: Sequence[Answer], planner: Planner) -> Figures:
    """Sum up one planner over the cases that have a smallest pair."""
    pairs = [(answer, answer.planners[planner.name]) for answer in answers if answer.gpus is not None]
    planned = [(answer, judged) for answer, judged in pairs if judged.gpus is not None]
    above = [max(0.0, extra(answer, judged)) for answer, judged in planned if judged.meets]
    changes = [change for answer, judged in planned for change in differences(answer, judged)]
    short = [
        -change
        for answer, judged in planned
        for change, met in zip(differences(answer, judged), (judged.meets_ttft, judged.meets_tpot), strict=True)
        if not met
    ]
    return Figures(
        planner=planner,
        cases=len(pairs),
        refused=len(pairs) - len(planned),
        met=_share(judged.meets for _, judged in pairs),
        met_ttft=_share(judged.meets_ttft for _, judged in pairs),
        met_tpot=_share(judged.meets_tpot for _, judged in pairs),
        above_mean=statistics.fmean(above) if above else math.nan,
        least=_share(judged.gpus is not None and not any(differences(answer, judged)) for answer, judged in pairs),
        most_above=max([0, *changes]),
        most_below=max([0, *short]),
        worst_latency=max(
            (value for _, judged in planned for value in (judged.ttft, judged.tpot) if value), default=math.nan
        ),
        median_ms=statistics.median([judged.processor_ms for _, judged in pairs]) if pairs else math.nan,
        worst_ms=max((judged.processor_ms for _, judged in pairs), default=math.nan),
    )


def extra(answer: Answer, judged: Judged) -> float:
    """Return the GPUs above the smallest pair, as a share of it."""
    assert judged.gpus is not None
    assert answer.gpus is not None
    return (judged.gpus - answer.gpus) / answer.gpus


def differences(answer: Answer, judged: Judged) -> tuple[int, int]:
    """Return the replicas above the smallest pair, of each pool."""
    assert judged.prefill is not None
    assert judged.decode is not None
    assert answer.prefill is not None
    assert answer.decode is not None
    return judged.prefill - answer.prefill, judged.decode - answer.decode


def markdown(answers: Sequence[Answer], seed: int, image: str) -> str:
    """Return what stands between the markers of the document."""
    found = [figures(answers, planner) for planner in PLANNERS]
    judged = sum(answer.gpus is not None for answer in answers)
    requests = sum(answer.requests for answer in answers)
    unsure = sum(answer.unsure for answer in answers)
    engines = {
        name: sum(answer.engine == name for answer in answers) for name in dict.fromkeys(a.engine for a in answers)
    }
    lines = [
        f"{judged} cases, seed {seed}; {requests / 1e6:.0f} million simulated requests judged them.",
        f"In {unsure} of them a count's statistic lies within its sampling error (95 %) of the target: other requests",
        "might find a neighbour of the smallest pair there.",
        "",
        *table(
            ["planner", "meets both", "TTFT", "TPOT", "refuses", "exactly the smallest", "GPUs above, mean",
             "replicas above, worst", "replicas short, worst", "worst latency / target"],
            [
                [
                    one.planner.title,
                    percent(one.met),
                    percent(one.met_ttft),
                    percent(one.met_tpot),
                    str(one.refused),
                    percent(one.least),
                    _above(one.above_mean),
                    f"+{one.most_above}",
                    f"−{one.most_below}" if one.most_below else "0",
                    _times(one.worst_latency),
                ]
                for one in found
            ],
        ),
        "",
        f"![Share of the cases whose targets are met, and GPUs beside the smallest pair, by planner]({image})",
        "",
        "Targets met, by statistic of the TTFT target and by engine:",
        "",
        *_by_group(answers, lambda answer: answer.statistics[0], "TTFT statistic"),
        "",
        *_by_group(answers, lambda answer: answer.engine, "engine"),
        "",
        "Processor time of one plan, on the machine that ran this (the figures above do not depend on it):",
        "",
        *table(
            ["planner", "median", "worst"],
            [[one.planner.title, _time(one.median_ms), _time(one.worst_ms)] for one in found],
        ),
        "",
        *_misses(answers),
        f"Engines: {'; '.join(f'{name} ({count} cases)' for name, count in engines.items())}.",
    ]  # fmt: skip
    return "\n".join(lines)


def write(document: Path, text: str) -> None:
    """Replace what stands between the markers.

    Raises
    ------
    ValueError
        If the document lacks the markers.
    """
    between(document, BEGIN, END, text)


def _by_group(answers: Sequence[Answer], key: Callable[[Answer], str], heading: str) -> list[str]:
    rows = []
    for group in dict.fromkeys(key(answer) for answer in answers):
        chosen = [answer for answer in answers if key(answer) == group and answer.gpus is not None]
        rows.append([group, str(len(chosen)), *(percent(figures(chosen, planner).met) for planner in PLANNERS)])
    return table([heading, "cases", *(planner.title for planner in PLANNERS)], rows)


def _misses(answers: Sequence[Answer]) -> list[str]:
    """List where our verified plan misses a target, or is not the smallest: nobody should have to look for it."""
    rows = []
    for answer in answers:
        judged = answer.planners[VERIFIED.name]
        if answer.gpus is None or judged.gpus is None:
            continue
        change = differences(answer, judged)
        if judged.meets and not any(change):
            continue
        assert judged.ttft is not None
        assert judged.tpot is not None
        rows.append(
            (
                judged.meets,
                -max(judged.ttft, judged.tpot),
                [
                    str(answer.case),
                    answer.summary,
                    f"{answer.prefill}P{answer.decode}D",
                    f"{judged.prefill}P{judged.decode}D",
                    _times(judged.ttft),
                    _times(judged.tpot),
                ],
            )
        )
    if not rows:
        return ["The verified plan is the smallest pair in every case.", ""]
    rows.sort(key=lambda row: row[:2])
    shown = [cells for _, _, cells in rows[:WORST_SHOWN]]
    return [
        f"Cases in which the verified plan is not exactly the smallest pair: {len(rows)}; the worst of them:",
        "",
        *table(["case", "asked", "smallest", "verified", "TTFT / target", "TPOT / target"], shown),
        "",
    ]


def _share(values: Iterable[bool]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else math.nan


def _above(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.{2 if share < 0.1 else 0}f} %"


def _times(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}" if value < 10 else f"{value:.0f}"


def _time(milliseconds: float) -> str:
    return format_duration(milliseconds / 1000)
