"""Whether a demo run did what it must, from what was observed and recorded. Pure. Imports core and the demo's types.

A phase is settled from the moment when both pools have exactly what the model plans for its nominal load, ordered and
ready, until its end, and the backlog of before has been worked off: every request that had arrived by then has its
first token. Objectives are judged over the requests that arrived after that, from the emulator's own records.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

import numpy as np

from localplane.demo_types import Observation, PhasePlan, PhaseResult, Run, Served, Shares
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.units import format_duration

MIN_REQUESTS = 50
MIN_SETTLED_S = 10.0
"""A settled stretch that is shorter, or with fewer requests, proves nothing."""

Follows = Callable[[Observation, PhasePlan], bool]
"""Whether the replicas of one look are as the model plans."""


def exactly(seen: Observation, plan: PhasePlan) -> bool:
    """Both pools have what was planned for the phase, ordered and ready."""
    return seen.ordered == plan.planned and seen.ready == plan.planned


def looks_of(plan: PhasePlan, observations: Sequence[Observation]) -> list[Observation]:
    """Return the looks within a phase."""
    return [look for look in observations if plan.begin_s <= look.at_s < plan.end_s]


def never_observed(plan: PhasePlan) -> PhaseResult:
    """Return the verdict on a phase without a look."""
    return PhaseResult(plan, PerPool(0, 0), None, None, None, None, ("was never observed",), judged=False)


def judge_phase(
    plan: PhasePlan, observations: Sequence[Observation], served: Sequence[Served], slo: Slo, follows: Follows = exactly
) -> PhaseResult:
    """Judge one phase.

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
    follows
        What counts as being at the plan.
    """
    looks = looks_of(plan, observations)
    if not looks:
        return never_observed(plan)
    settled = _since(looks, plan, follows)
    observed = looks[-1].ordered if follows is not exactly else looks[-1].ready
    if settled is None:
        problem = f"ended at {label(observed)} ({_states(looks[-1])}), the model plans {label(plan.planned)}"
        return PhaseResult(plan, observed, None, None, None, None, (problem,), judged=False)
    settled_s = _worked_off(settled, plan.begin_s, served)
    judged = between(served, settled_s, plan.end_s)
    after_s = settled_s - plan.begin_s
    left_s = plan.end_s - settled_s
    problem = ""
    if left_s < MIN_SETTLED_S:
        problem = f"had settled only {max(0.0, left_s):.0f} s before its end: too late to judge"
    elif len(judged) < MIN_REQUESTS:
        problem = f"only {len(judged)} requests arrived after it had settled: too few to judge"
    if problem:
        return PhaseResult(plan, observed, after_s, None, None, shares(judged), (problem,), judged=False)
    ttft_s, tpot_s, missed = objectives(judged, slo)
    return PhaseResult(plan, observed, after_s, ttft_s, tpot_s, shares(judged), tuple(missed))


def objectives(judged: Sequence[Served], slo: Slo) -> tuple[float | None, float | None, list[str]]:
    """Return the statistic of TTFT and of TPOT that the targets bind, and what is missed."""
    ttft_s = _statistic([request.ttft_s for request in judged], slo.ttft)
    tpot_s = _statistic([request.tpot_s for request in judged if request.tpot_s is not None], slo.tpot)
    problems = [
        f"{name} {target.statistic} {format_duration(value)} misses {format_duration(target.target_s)}"
        for name, value, target in (("TTFT", ttft_s, slo.ttft), ("TPOT", tpot_s, slo.tpot))
        if target is not None and value is not None and value > target.target_s
    ]
    return ttft_s, tpot_s, problems


def shares(judged: Sequence[Served]) -> Shares | None:
    """Return the shares of requests that met their targets; None of nothing."""
    if not judged:
        return None
    count = len(judged)
    return Shares(
        ttft=sum(request.met_ttft for request in judged) / count,
        tpot=sum(request.met_tpot for request in judged) / count,
        joint=sum(request.met_ttft and request.met_tpot for request in judged) / count,
    )


def write_problems(run: Run, target_names: PerPool[str]) -> list[str]:
    """Say which pool the operator never scaled, and whether somebody else did."""
    problems = [
        f"the operator never scaled {target_names[pool]} ({run.writes_source})"
        for pool, count in run.writes.items()
        if count == 0
    ]
    if run.foreign_writes:
        problems.append(f"{run.foreign_writes} writes to the targets' scale were not the operator's")
    return problems


def label(replicas: PerPool[int]) -> str:
    """Write a pair in the field's notation, such as ``3P4D``."""
    return f"{replicas.prefill}P{replicas.decode}D"


def _since(looks: Sequence[Observation], plan: PhasePlan, follows: Follows) -> float | None:
    since: float | None = None
    for look in reversed(looks):
        if not follows(look, plan):
            break
        since = look.at_s
    return since


def _worked_off(settled_s: float, begin_s: float, served: Sequence[Served]) -> float:
    before = between(served, begin_s, settled_s)
    return max([settled_s, *(request.arrival_s + request.ttft_s for request in before)])


def between(served: Sequence[Served], begin_s: float, end_s: float) -> Sequence[Served]:
    """Return the requests that arrived from ``begin_s`` on and before ``end_s``; ``served`` is in order of arrival."""
    arrivals = [request.arrival_s for request in served]
    return served[bisect_left(arrivals, begin_s) : bisect_left(arrivals, end_s)]


def _statistic(values: Sequence[float], target: LatencyTarget | None) -> float | None:
    if not values:
        return None
    statistic = Statistic.MEAN if target is None else target.statistic
    if statistic.quantile is None:
        return float(np.mean(values))
    return float(np.quantile(values, statistic.quantile))


def _states(look: Observation) -> str:
    return ", ".join(f"{pool.value} {look.ready[pool]} ready of {look.ordered[pool]} ordered" for pool in Pool)
