"""`python -m bench.policy`: replay every policy on every trace, and write docs/policy-benchmark.md."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.policy import plot, report
from bench.policy.cases import ENGINE, HERE, Case, Trace, cases_of, recorded, synthetic
from bench.policy.compare import OURS, below_bound
from bench.policy.generators import SHAPES
from bench.policy.work import Results, results_of
from rich.console import Console
from rich.table import Table

from pdscaler.errors import InvalidInputError
from pdscaler.simulator.policies import POLICIES
from pdscaler.units import parse_duration

ROOT = HERE.parent.parent
DOCUMENT = ROOT / "docs" / "policy-benchmark.md"
RECORDED_IMAGE, SYNTHETIC_IMAGE = "policy-benchmark.png", "policy-benchmark-synthetic.png"
QUICK_SHAPES, QUICK_HOURS = ("bursty-chat", "on-off"), 0.5
"""Quick: the first half-hour of two synthetic traces, no tuning."""


def main() -> None:
    """Run the benchmark."""
    options = _options()
    console = Console()
    console.width = max(console.width, 120)
    try:
        cases = _cases(options)
        path = options.output / "runs.jsonl"
        results = results_of(
            cases,
            options.policies or list(POLICIES),
            path,
            console,
            workers=options.workers,
            tune=lambda case: _tuned(case, options),
            fresh=options.fresh,
        )
    except InvalidInputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    _show(console, results)
    console.print(f"every run: {path}")
    for line in report.verdict(results):
        console.print(line.replace("**", ""), highlight=False)
    wrong = below_bound(results.values())
    for found, run in wrong:
        console.print(
            f"{found.reference.case}: {run.policy} ({run.variant}) attains {run.joint:.4f} with {run.gpu_hours:.4g} "
            f"GPU-hours, below the proven bound {found.reference.bound_gpu_hours:.4g}",
            style="red",
        )
    if wrong:
        console.print("A bound that is beaten is no bound: nothing is written.")
        sys.exit(1)
    if options.document is not None:
        images = _pictures(results, options.document.parent / "images")
        report.write(options.document, report.markdown(results, images))
        console.print(f"written to {options.document} and {options.document.parent / 'images'}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.policy", description=__doc__)
    add = parser.add_argument
    default = "(default: %(default)s)"
    workers, output = min(2, os.cpu_count() or 1), ROOT / "build" / "bench" / "policy"
    add("--traces", nargs="*", type=Path, default=[], help="trace files, or YAML files that list them")
    add("--profile", type=Path, help="the engine of these traces: a PDDeployment, or measurements (JSON)")
    add("--ttft", help="P99 target of traces that bench/policy/traces.yaml does not know")
    add("--tpot", help="likewise")
    add("--rate-scale", type=float, default=1.0, help=f"likewise {default}")
    add("--synthetic", nargs="*", choices=list(SHAPES), help="which synthetic traces; all where it is left out")
    add("--policies", nargs="*", choices=list(POLICIES), help="which policies; all where it is left out")
    add("--startups", nargs="*", default=["15s", "600s"], help=f"beside 120s {default}")
    add("--rate-factors", nargs="*", type=float, default=[0.5, 2.0], help=f"beside 1 {default}")
    add(
        "--tune",
        choices=["all", "recorded", "none"],
        default="all",
        help=f"traces that policies are tuned to {default}",
    )
    add("--every", action="store_true", help="all combinations of both, on all traces")
    add("--quick", action="store_true", help="two short traces, no tuning: to see that it works")
    add("--workers", type=int, default=workers, help=f"processes {default}")
    add("--output", type=Path, default=output, help="folder of runs.jsonl")
    add("--fresh", action="store_true", help="forget the runs that are there")
    add("--document", type=Path, nargs="?", const=DOCUMENT, help=f"write it ({DOCUMENT.name} where none is named)")
    options = parser.parse_args()
    if options.workers < 1:
        parser.error("--workers must be at least 1")
    return options


def _tuned(case: Case, options: argparse.Namespace) -> bool:
    """Whether policies get their tuning chance: at the base settings, and everywhere where all is asked for."""
    if options.quick or options.tune == "none" or not (options.every or case.is_base):
        return False
    return options.tune == "all" or case.trace.file is not None


def _cases(options: argparse.Namespace) -> list[Case]:
    if options.quick:
        return [Case(trace) for trace in synthetic(names=options.synthetic or QUICK_SHAPES, hours=QUICK_HOURS)]
    asked = {"ttft": options.ttft, "tpot": options.tpot, "rateScale": options.rate_scale}
    real = recorded(options.traces, options.profile or ENGINE, asked)
    drawn = synthetic(names=tuple(SHAPES) if options.synthetic is None else tuple(options.synthetic))
    startups_s = [parse_duration(each, "--startups") for each in options.startups]
    # What is varied costs as much again: it is varied on the recorded traces, and on all where there are none.
    varied: Sequence[Trace] = [*real, *drawn] if options.every or not real else real
    fixed = [trace for trace in drawn if trace not in varied]
    found = cases_of(varied, options.rate_factors, startups_s, every=options.every)
    found += [Case(trace) for trace in fixed]
    if not found:
        raise InvalidInputError("--traces", "no trace is asked for")
    return sorted(found, key=lambda case: not case.is_base)


def _show(console: Console, results: Results) -> None:
    for case, found in results.items():
        table = Table(box=None, pad_edge=False, header_style="bold", title=case.key, title_justify="left")
        for heading in ("policy", "variant", "attainment", "GPU-hours", "ratio", "changes"):
            table.add_column(heading, justify="left" if heading in ("policy", "variant") else "right", no_wrap=True)
        for run in sorted(found.runs, key=lambda run: -run.joint):
            variant = run.variant if run.option is None else f"{run.variant} ({run.option:g})"
            style = "bold" if run.policy == OURS else None
            table.add_row(
                run.policy,
                variant,
                f"{100 * run.joint:.2f} %",
                f"{run.gpu_hours:.2f}",
                f"{found.ratio(run):.2f}",
                str(run.scale_operations),
                style=style,
            )
        console.print(table)


def _pictures(results: Results, folder: Path) -> list[tuple[str, str]]:
    """Draw the base cases; return what each picture shows, and its path from the document."""
    base = {case: found for case, found in results.items() if case.is_base}
    drawn = []
    for what, name, chosen in (
        ("the recorded traces", RECORDED_IMAGE, {c: f for c, f in base.items() if c.trace.file is not None}),
        ("the synthetic traces", SYNTHETIC_IMAGE, {c: f for c, f in base.items() if c.trace.file is None}),
    ):
        if chosen:
            plot.draw(chosen, folder / name, columns=2 if len(chosen) <= 2 else 3)
            drawn.append((f"Attainment against GPU-hours of every policy on {what}", f"{folder.name}/{name}"))
    return drawn


if __name__ == "__main__":
    main()
