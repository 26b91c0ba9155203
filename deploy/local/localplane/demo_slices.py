"""Judging a demo that plays a recorded trace: did the pools follow what the model plans? Imports core and demo types.

A trace has no nominal phases. So the model is asked, second by second, what it plans for the load that was really
measured in the operator's window (arrivals, prompts prefilled, answers finished, from the request records). The
operator may lag by one evaluation and by the scrape, and ``behavior`` lets it keep a higher count for the scale-down
stabilisation: so following means that its orders lie between the least and the greatest of the model's plans over that
stretch. They must do so for nine tenths of every slice of a minute (the start of the run excepted).

A slice is settled from when its orders follow and the ready replicas have reached the least of the plans, up to its
end, and the backlog of before is worked off. There the objectives must hold, as in phases. Where the load still grows
at the end of a slice nothing is settled: replicas that load their model cannot serve yet, however well they were
ordered, and no objective is judged. At least one slice must be. "planned" is the greatest count of the band at the
slice's end: what a stabilised scale-down asks for.
"""

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from localplane.demo_judge import judge_phase
from localplane.demo_types import Observation, PhasePlan, PhaseResult, Run, Scenario, Served
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.sizing import size
from pdscaler.core.spec import ScalingSpec
from pdscaler.core.workload import LengthStats, WorkloadStats

SLICE_S = 60.0
LAG_S = 4.0
"""One evaluation (2 s) after the scrape (1 s) that shows it, and the second between two looks."""
GRACE_S = 20.0
"""The first engines' start, the first window, and the first order's start-up are not counted."""
MIN_FOLLOWED = 0.9

Band = PerPool[tuple[int, int]]


def slices_of_trace(scenario: Scenario, run: Run) -> tuple[tuple[PhasePlan, ...], list[PhaseResult]]:
    """Cut a run into slices of a minute, and judge each."""
    bands = plan_bands(scenario.spec, run.served, scenario.duration_s)
    plans = []
    count = max(1, round(scenario.duration_s / SLICE_S))
    edges = np.linspace(0.0, scenario.duration_s, count + 1)
    for number, (begin_s, end_s) in enumerate(itertools.pairwise(edges), 1):
        plans.append(_slice(f"slice {number}", float(begin_s), float(end_s), run.served, bands))

    results = [_judge(plan, run, bands, scenario) for plan in plans]
    if results and not any(result.judged for result in results):
        problem = "no slice settled for long enough to judge the objectives"
        results[-1] = replace(results[-1], problems=(*results[-1].problems, problem))
    return tuple(plans), results


def ordered_within(seen: Observation, band: Band) -> bool:
    """Whether the orders of both pools lie within the band."""
    return all(band[pool][0] <= seen.ordered[pool] <= band[pool][1] for pool in Pool)


def _judge(plan: PhasePlan, run: Run, bands: Sequence[Band], scenario: Scenario) -> PhaseResult:
    def band_of(seen: Observation) -> Band:
        return bands[min(int(seen.at_s), len(bands) - 1)]

    def settled(seen: Observation, _plan: PhasePlan) -> bool:
        band = band_of(seen)
        return ordered_within(seen, band) and all(seen.ready[pool] >= band[pool][0] for pool in Pool)

    looks = [look for look in run.observations if max(plan.begin_s, GRACE_S) <= look.at_s < plan.end_s]
    share = sum(ordered_within(look, band_of(look)) for look in looks) / len(looks) if looks else 0.0
    result = judge_phase(plan, run.observations, run.served, scenario.spec.sizing.slo, settled)
    notes = [f"orders followed the model for {100 * share:.0f} % of the time"]
    problems = list(result.problems)
    if not result.judged:
        problems = []
        # A share of the few requests after the last step is a figure about nothing.
        result = replace(result, attainment=None)
        notes.append("still scaling at its end: objectives not judged")
    if share < MIN_FOLLOWED:
        problems.append(f"followed the model for only {100 * share:.0f} % of the time")
    return replace(result, problems=tuple(problems), notes=tuple(notes))


def plan_bands(spec: ScalingSpec, served: Sequence[Served], duration_s: float) -> list[Band]:
    """Return, for each second, the least and the greatest count that following the model allows for each pool."""
    plans = [planned_at(spec, served, float(second)) for second in range(int(duration_s) + 1)]
    bands = []
    for second in range(len(plans)):
        ranges = []
        for pool, limits in spec.sizing.limits.items():
            hold_s = limits.behavior.scale_down.stabilization_window_s
            recent = [plan[pool] for plan in plans[max(0, second - int(LAG_S)) : second + 1] if plan is not None]
            held = [plan[pool] for plan in plans[max(0, second - int(LAG_S + hold_s)) : second + 1] if plan is not None]
            ranges.append((min(recent), max(held)) if recent and held else (0, limits.max_replicas))
        bands.append(PerPool(*ranges))
    return bands


def plans_over_time(scenario: Scenario, run: Run) -> list[tuple[float, PerPool[int]]]:
    """Return what the model plans for the measured load, second by second, where it is known."""
    seconds = map(float, range(int(scenario.duration_s) + 1))
    found = [(at_s, planned_at(scenario.spec, run.served, at_s)) for at_s in seconds]
    return [(at_s, plan) for at_s, plan in found if plan is not None]


def planned_at(spec: ScalingSpec, served: Sequence[Served], now_s: float) -> PerPool[int] | None:
    """Return what the model plans for the load measured in the window before ``now_s``; None where nothing is known."""
    workload = measured_workload(served, now_s - spec.window_s, now_s)
    return None if workload is None else size(spec.sizing, workload).pools.map(lambda pool: pool.replicas)


def measured_workload(served: Sequence[Served], begin_s: float, end_s: float) -> WorkloadStats | None:
    """Return the load of a stretch as counters show it: arrivals, prompts prefilled, answers finished within it."""
    arrivals = [request.arrival_s for request in served]
    arrived = bisect_left(arrivals, end_s) - bisect_left(arrivals, max(0.0, begin_s))
    prompts = [r.input_tokens for r in served if begin_s <= r.arrival_s + r.ttft_s < end_s]
    answers = [r.output_tokens for r in served if begin_s <= r.arrival_s + r.e2e_s < end_s]
    if not arrived or not prompts or not answers:
        return None
    length_s = end_s - max(0.0, begin_s)
    return WorkloadStats(arrived / length_s, _length(prompts), _length(answers))


def _length(tokens: Sequence[float]) -> LengthStats:
    mean = float(np.mean(tokens))
    return LengthStats(mean, float(np.var(tokens)) / mean**2)


def _slice(name: str, begin_s: float, end_s: float, served: Sequence[Served], bands: Sequence[Band]) -> PhasePlan:
    inside = [request for request in served if begin_s <= request.arrival_s < end_s]
    last = bands[min(int(end_s) - 1, len(bands) - 1)]
    return PhasePlan(
        name=name,
        begin_s=begin_s,
        end_s=end_s,
        arrival_rate_rps=len(inside) / (end_s - begin_s),
        input_tokens=float(np.mean([r.input_tokens for r in inside])) if inside else 0.0,
        output_tokens=float(np.mean([r.output_tokens for r in inside])) if inside else 0.0,
        planned=PerPool(last.prefill[1], last.decode[1]),
    )
