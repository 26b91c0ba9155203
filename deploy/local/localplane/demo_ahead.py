"""Whether a rising load was met ahead of time: pure arithmetic on what was observed. Imports core and the demo's types.

A forecast is judged by when its replicas are ready, not by its figures: for every step of a pool, how many seconds
before the nominal load needs that many replicas they were ordered, and how many before they were ready. And since
nothing has to settle where the replicas come first, the objectives are judged over every request of such a phase.
"""

from collections.abc import Sequence

from localplane.demo_judge import MIN_REQUESTS, between, label, looks_of, never_observed, objectives, shares
from localplane.demo_types import Observation, PhasePlan, PhaseResult, Served, Step, StepResult
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.sizing import size
from pdscaler.core.slo import Slo
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import WorkloadStats
from pdscaler.simulator.workload import Phase

RESOLUTION_S = 0.1
"""Steps are looked for so finely."""

SPARE = 1
"""Replicas beyond what the nominal load needs that a forecast may hold: it is a quantile, not a mean."""


def planned_for(spec: SizingSpec, phase: Phase, at_s: float) -> PerPool[int]:
    """Return what the model plans for the nominal load at an instant of a phase."""
    answer = size(spec, WorkloadStats(phase.rate_at(at_s), phase.isl, phase.osl, phase.arrival_scv))
    return answer.pools.map(lambda pool: pool.replicas)


def steps_of(spec: SizingSpec, phase: Phase, begin_s: float) -> tuple[Step, ...]:
    """Return when a phase that begins at ``begin_s`` needs which replica more than at its begin."""
    steps: list[Step] = []
    present = planned_for(spec, phase, 0.0)
    for number in range(1, int(phase.duration_s / RESOLUTION_S) + 1):
        at_s = number * RESOLUTION_S
        planned = planned_for(spec, phase, at_s)
        for pool in Pool:
            more = range(present[pool] + 1, planned[pool] + 1)
            steps += [Step(pool, replicas, begin_s + at_s) for replicas in more]
        present = PerPool(*(max(present[pool], planned[pool]) for pool in Pool))
    return tuple(steps)


def nominal_plan(plans: Sequence[PhasePlan]) -> list[tuple[float, PerPool[int]]]:
    """Return from when on the nominal load of which counts, step by step where it rises."""
    found: list[tuple[float, PerPool[int]]] = []
    for plan in plans:
        counts = plan.planned
        for step in reversed(plan.steps):
            counts = counts.replace(step.pool, min(counts[step.pool], step.replicas - 1))
        found.append((plan.begin_s, counts))
        for step in plan.steps:
            counts = counts.replace(step.pool, step.replicas)
            found.append((step.needed_s, counts))
        found.append((plan.end_s, counts))
    return found


def judge_foreseen(
    plan: PhasePlan, observations: Sequence[Observation], served: Sequence[Served], slo: Slo
) -> PhaseResult:
    """Judge a phase that a forecast must have met ahead.

    Parameters
    ----------
    plan
        The phase and its plan.
    observations
        Looks of the whole run, in order of time.
    served
        Finished requests of the whole run, in order of arrival.
    slo
        The objectives.
    """
    looks = looks_of(plan, observations)
    if not looks:
        return never_observed(plan)
    until = [look for look in observations if look.at_s < plan.end_s]
    steps = tuple(_judge_step(step, until) for step in plan.steps)
    problems = [problem for step in steps if (problem := _late(step))]
    observed = looks[-1].ready
    if not plan.steps:
        problems += _short(plan, looks)
    problems += [
        f"held {looks[-1].ordered[pool]} {pool.value} replicas at its end, the model plans {plan.most[pool]} at most"
        for pool in Pool
        if looks[-1].ordered[pool] > plan.most[pool] + SPARE
    ]
    judged = between(served, plan.begin_s, plan.end_s)
    if len(judged) < MIN_REQUESTS:
        problems.append(f"only {len(judged)} requests arrived: too few to judge")
        return PhaseResult(plan, observed, None, None, None, None, tuple(problems), judged=False, steps=steps)
    ttft_s, tpot_s, missed = objectives(judged, slo)
    return PhaseResult(plan, observed, None, ttft_s, tpot_s, shares(judged), (*problems, *missed), steps=steps)


def step_text(result: StepResult) -> str:
    """Write a step for people: ``decode 3 was ordered 14 s before the load needed it, ready 8 s before``."""
    step = result.step
    name = f"{step.pool.value} {step.replicas}"
    if result.ordered_s is None:
        return f"{name} was not ordered"
    ready = "not ready in this phase" if result.ready_s is None else f"ready {_lead(step, result.ready_s)}"
    ordered = _lead(step, result.ordered_s).replace(" before", " before the load needed it", 1)
    return f"{name} was ordered {ordered.replace(' after', ' after the load needed it', 1)}, {ready}"


def _judge_step(step: Step, looks: Sequence[Observation]) -> StepResult:
    ordered_s, ready_s = (
        _since([(look.at_s, counts[step.pool]) for look, counts in pairs], step.replicas)
        for pairs in (
            [(look, look.ordered) for look in looks],
            [(look, look.ready) for look in looks],
        )
    )
    return StepResult(step, ordered_s, ready_s)


def _since(counts: Sequence[tuple[float, int]], replicas: int) -> float | None:
    """Return from when on a count has stayed at ``replicas`` or more to the end."""
    since: float | None = None
    for at_s, count in reversed(counts):
        if count < replicas:
            break
        since = at_s
    return since


def _late(result: StepResult) -> str:
    if result.ready_s is not None and result.ready_s <= result.step.needed_s:
        return ""
    return f"not met ahead: {step_text(result)}"


def _short(plan: PhasePlan, looks: Sequence[Observation]) -> list[str]:
    short = next((look for look in looks if any(look.ready[pool] < plan.planned[pool] for pool in Pool)), None)
    if short is None:
        return []
    after_s = short.at_s - plan.begin_s
    return [f"had only {label(short.ready)} ready after {after_s:.0f} s, the model plans {label(plan.planned)}"]


def _lead(step: Step, at_s: float) -> str:
    lead_s = step.needed_s - at_s
    return f"{abs(lead_s):.0f} s {'before' if lead_s >= 0 else 'after'}"
