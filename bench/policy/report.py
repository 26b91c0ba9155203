"""The Markdown of docs/policy-benchmark.md: tables of all runs, and who dominates whom."""

from collections.abc import Sequence
from pathlib import Path

from bench.markdown import between, percent, table
from bench.policy.cases import Case
from bench.policy.compare import GOAL, OURS, STATIC, Compared, better_than_ours, dominators, mean_ratio
from bench.policy.generators import SHAPES
from bench.policy.runs import DEFAULT, TUNED, Run
from bench.policy.work import Results

from pdscaler.simulator.policies import POLICIES
from pdscaler.units import format_duration

BEGIN, END = "<!-- bench-policy:begin -->", "<!-- bench-policy:end -->"


def write(document: Path, text: str) -> None:
    """Replace what stands between the markers; see :func:`bench.markdown.between`."""
    between(document, BEGIN, END, text)


def markdown(results: Results, images: Sequence[tuple[str, str]]) -> str:
    """Return what stands between the markers.

    Parameters
    ----------
    results
        All cases with their runs.
    images
        (what it shows, path) of each picture.
    """
    base = {case: found for case, found in results.items() if case.is_base}
    lines = [*verdict(results), ""]
    for title, path in images:
        lines += [f"![{title}]({path})", ""]
    lines += ["### Over all traces", "", *_overall(list(base.values())), ""]
    for case, found in base.items():
        lines += [f"### {_title(case)}", "", *_one(case, found), ""]
    varied = {case: found for case, found in results.items() if not case.is_base}
    if varied:
        lines += ["### Other start-up times and rates", "", *_varied(results), ""]
    lines += ["### Rules, their sources, and what was assumed", "", *_rules(), ""]
    return "\n".join(lines).rstrip()


def verdict(results: Results) -> list[str]:
    """Return the lines that say whether any policy beats ours, and where ours misses the goal."""
    ours = [(case, run) for case, found in results.items() if (run := found.run(OURS)) is not None]
    missed = [f"{case.key} ({percent(run.joint)})" for case, run in ours if run.joint < GOAL]
    better = better_than_ours(results.values())
    rivals = _by_case(results, [(found, run) for found, run in better if run.policy != STATIC])
    peak = _by_case(results, [(found, run) for found, run in better if run.policy == STATIC])
    runs = sum(len(found.runs) for found in results.values())
    bounded = f"No run that attains {GOAL:.0%} costs less than the proven lower bound (checked for every run)."
    lines = [f"{len(results)} cases, {runs} runs. {bounded}"]
    if rivals:
        where = f"in {len(rivals)} of {len(ours)} cases"
        beaten = f"**Policies that attain at least as much as {OURS} with at most its GPU-hours: {where}.**"
        lines += ["", beaten, "", *(f"- {each}" for each in rivals)]
    else:
        lines += ["", f"**No policy, tuned or not, attains as much as {OURS} with as few GPU-hours, in any case.**"]
    if peak:
        lines += ["", "The static peak, which is given what the busiest minutes need, does:", ""]
        lines += [f"- {each}" for each in peak]
    if missed:
        lines += ["", f"{OURS} attains less than {GOAL:.0%} in: {'; '.join(missed)}."]
    else:
        lines += ["", f"{OURS} attains at least {GOAL:.0%} in every case."]
    return lines


def _by_case(results: Results, better: Sequence[tuple[Compared, Run]]) -> list[str]:
    """Return one line for each case in which somebody is better."""
    found = []
    for case, compared in results.items():
        runs = [run for where, run in better if where is compared]
        if runs:
            found.append(f"{case.key}: {', '.join(_said(run) for run in runs)}")
    return found


def _said(run: Run) -> str:
    name = f"{run.policy} (tuned)" if run.variant == TUNED else run.policy
    return f"{name} {percent(run.joint)} with {run.gpu_hours:.2f} GPU-hours"


def _title(case: Case) -> str:
    trace = case.trace
    scale = f" ×{trace.rate_scale:g}" if trace.rate_scale != 1 else ""
    return f"{trace.title[0].upper()}{trace.title[1:]}{scale}"


def _one(case: Case, found: Compared) -> list[str]:
    """Return the table of one case."""
    trace, reference = case.trace, found.reference
    what = "recorded" if trace.file is not None else SHAPES[trace.name].text
    measured = found.runs[0].requests if found.runs else 0
    intro = (
        f"{what[0].upper()}{what[1:]}. TTFT {format_duration(trace.ttft_s)}, TPOT {format_duration(trace.tpot_s)} "
        f"(P99); {measured} requests measured, from {format_duration(trace.measure_from_s)} on. Clairvoyant schedule "
        f"{reference.oracle_gpu_hours:.2f} GPU-hours ({percent(reference.oracle_attainment)}"
        f"{'' if reference.oracle_reached else ', less than asked: no measure here'}), lower bound "
        f"{reference.bound_gpu_hours:.2f}. All begin with {reference.initial[0]}P{reference.initial[1]}D; "
        f"the static peak is {reference.static[0]}P{reference.static[1]}D."
    )
    rows = []
    for name in sorted(POLICIES, key=lambda name: _order(found, name)):
        plain, tuned = found.run(name), found.run(name, TUNED)
        if plain is None:
            continue
        by = dominators(plain, found.runs)
        knob = POLICIES[name].knob
        rows.append([
            f"**{name}**" if name == OURS else name,
            percent(plain.joint),
            f"{plain.gpu_hours:.2f}",
            f"{found.ratio(plain):.2f}",
            str(plain.scale_operations),
            *(
                ["–", "–", "–", "–"]
                if tuned is None or knob is None or tuned.option is None
                else [
                    f"{knob.name} {tuned.option:g}",
                    percent(tuned.joint),
                    f"{tuned.gpu_hours:.2f}",
                    f"{found.ratio(tuned):.2f}",
                ]
            ),
            f"{by[0].policy}{' (tuned)' if by[0].variant == TUNED else ''}" if by else "nobody",
        ])  # fmt: skip
    heading = [
        "policy", "attainment", "GPU-hours", "ratio", "changes", "tuned", "attainment", "GPU-hours", "ratio",
        "dominated by",
    ]  # fmt: skip
    return [intro, "", *table(heading, rows)]


def _order(found: Compared, name: str) -> tuple[bool, float, float]:
    """Those that reach the goal first, the cheapest first; the others by attainment."""
    run = found.run(name)
    if run is None:
        return True, 1.0, 0.0
    return run.joint < GOAL, 0.0 if run.joint >= GOAL else -run.joint, run.gpu_hours


def _overall(compared: Sequence[Compared]) -> list[str]:
    rows = []
    for name, entry in POLICIES.items():
        row = [f"**{name}**" if name == OURS else name]
        for variant in (DEFAULT, TUNED):
            where = [each for each in compared if each.run(name, variant) is not None]
            runs = [run for each in where if (run := each.run(name, variant)) is not None]
            if not runs:
                row += ["–", "–", "–"]
                continue
            reached = sum(run.joint >= GOAL for run in runs)
            row += [
                f"{reached} of {len(runs)}",
                percent(min(run.joint for run in runs)),
                f"{mean_ratio(where, name, variant):.2f}",
            ]
        rows.append([*row, entry.text])
    heading = [
        "policy", f"traces with ≥ {GOAL:.0%}", "worst attainment", "ratio, geometric mean",
        f"tuned: traces with ≥ {GOAL:.0%}", "worst", "ratio", "rule",
    ]  # fmt: skip
    return table(heading, rows)


def _varied(results: Results) -> list[str]:
    """Return, for each trace, attainment and ratio at other start-up times and rates."""
    lines: list[str] = []
    for trace in dict.fromkeys(case.trace for case in results):
        chosen = [case for case in results if case.trace == trace]
        if len(chosen) < 2:
            continue
        chosen.sort(key=lambda case: (case.rate_factor != 1, case.rate_factor, case.startup_s))
        heading = ["policy"]
        for case in chosen:
            what = f"×{trace.rate_scale * case.rate_factor:g}, " if case.rate_factor != 1 else ""
            heading.append(f"{what}start-up {format_duration(case.startup_s)}")
        rows = []
        for name in POLICIES:
            cells = []
            for case in chosen:
                run = results[case].run(name)
                cells.append("–" if run is None else f"{percent(run.joint)} at {results[case].ratio(run):.2f}")
            rows.append([f"**{name}**" if name == OURS else name, *cells])
        lines += [f"{_title(chosen[0])}: attainment at GPU-hours over the clairvoyant schedule's.", ""]
        lines += [*table(heading, rows), ""]
    return lines[:-1]


def _rules() -> list[str]:
    rows = []
    for name, entry in POLICIES.items():
        knob = "–" if entry.knob is None else f"{entry.knob.name} of {', '.join(f'{v:g}' for v in entry.knob.values)}"
        rows.append([name, entry.source, entry.assumed or "–", knob])
    return table(["policy", "source", "assumed, or not simulated", "tuned by"], rows)
