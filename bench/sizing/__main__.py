"""`python -m bench.sizing`: plan and judge random cases, and write docs/sizing-benchmark.md with its picture."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from bench.progress import worked
from bench.sizing import plot, report, results
from bench.sizing.cases import cases
from bench.sizing.engines import ENGINES, engine_of
from bench.sizing.judge import Answer, answer, warm_up
from bench.sizing.planners import PLANNERS
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs" / "sizing-benchmark.md"
IMAGE = ROOT / "docs" / "images" / "sizing-benchmark.png"
LEAST_CASES = 300
"""Fewer cases are a trial: they are shown, and the document is left as it is."""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizing", description=__doc__)
    parser.add_argument("--cases", type=int, default=LEAST_CASES, help="how many (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the cases and of the simulations (default: %(default)s)"
    )
    parser.add_argument("--profile", type=Path, help="a file of measurements that makes one more engine")
    parser.add_argument(
        "--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench-sizing", help="folder of cases.jsonl")
    parser.add_argument("--resume", action="store_true", help="keep the answers that are there to the same questions")
    parser.add_argument(
        "--document", type=Path, help=f"where the table goes (default: {DOCUMENT.name}, from 300 cases on)"
    )
    options = parser.parse_args()
    if options.cases < 1 or options.workers < 1:
        parser.error("--cases and --workers must be at least 1")
    engines = [*ENGINES, *([engine_of(options.profile)] if options.profile else [])]
    asked = cases(engines, options.cases, options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "cases.jsonl"
    known = results.usable(results.read(path), asked) if options.resume else {}
    results.write(path, known.values())
    console = Console()
    console.width = max(console.width, 120)
    left = [case for case in asked if case.index not in known]
    for found in worked(console, "cases", answer, left, workers=options.workers, total=len(asked), initializer=warm_up):
        known[found.case] = found
        results.append(path, found)
    answers = [known[index] for index in sorted(known)]
    results.write(path, answers)
    _show(console, answers)
    console.print(f"written to {path}")
    document = options.document
    if document is None and options.profile is None and len(answers) >= LEAST_CASES:
        document = DOCUMENT
    if document is not None:
        image = document.parent / "images" / IMAGE.name
        plot.draw(answers, image)
        report.write(document, report.markdown(answers, options.seed, f"images/{IMAGE.name}"))
        console.print(f"written to {document} and {image}")


def _show(console: Console, answers: Sequence[Answer]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (
        "planner",
        "meets both",
        "smallest",
        "GPUs above",
        "most above",
        "most below",
        "worst",
        "median ms",
        "worst ms",
    ):
        table.add_column(heading, justify="left" if heading == "planner" else "right", no_wrap=True)
    for planner in PLANNERS:
        one = report.figures(answers, planner)
        table.add_row(
            planner.title,
            f"{100 * one.met:.1f} %",
            f"{100 * one.least:.1f} %",
            f"{100 * one.above_mean:.2f} %",
            f"+{one.most_above}",
            f"-{one.most_below}",
            f"{one.worst_latency:.3g}",
            f"{one.median_ms:.3g}",
            f"{one.worst_ms:.3g}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
