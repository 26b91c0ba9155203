"""Who is better than whom: pairs of attainment and GPU-hours, over cases. Standard library only."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.policy.runs import DEFAULT, Reference, Run

OURS = "pdscaler"
STATIC = "static"
"""It is given what the busiest window needs: it knows the trace."""

GOAL = 0.99
"""Joint attainment that is asked of every trace."""


@dataclass(frozen=True, slots=True)
class Compared:
    """All runs of a case, and what they are measured against."""

    reference: Reference
    runs: tuple[Run, ...]

    def run(self, policy: str, variant: str = DEFAULT) -> Run | None:
        """Return one run; None where there is none."""
        return next((run for run in self.runs if (run.policy, run.variant) == (policy, variant)), None)

    def ratio(self, run: Run) -> float:
        """Return its GPU-hours over those of the clairvoyant schedule."""
        return run.gpu_hours / self.reference.oracle_gpu_hours


def dominates(one: Run, other: Run) -> bool:
    """Whether one attains as much with as few GPU-hours as the other, and is better in one of both."""
    if one.joint < other.joint or one.gpu_hours > other.gpu_hours:
        return False
    return one.joint > other.joint or one.gpu_hours < other.gpu_hours


def dominators(run: Run, runs: Iterable[Run]) -> list[Run]:
    """Return the runs that dominate one, the cheapest first."""
    return sorted((each for each in runs if dominates(each, run)), key=lambda each: (each.gpu_hours, -each.joint))


def front(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that none dominates, the cheapest first."""
    return sorted((run for run in runs if not dominators(run, runs)), key=lambda run: (run.gpu_hours, -run.joint))


def better_than_ours(compared: Iterable[Compared]) -> list[tuple[Compared, Run]]:
    """Return the runs that dominate ours with their cases; the static peak, which knows the trace, among them."""
    found = []
    for each in compared:
        ours = each.run(OURS)
        if ours is not None:
            found += [(each, run) for run in dominators(ours, each.runs)]
    return found


def below_bound(compared: Iterable[Compared]) -> list[tuple[Compared, Run]]:
    """Return the runs that reach the goal for less than the proven bound: there must be none."""
    return [
        (each, run)
        for each in compared
        for run in each.runs
        if run.joint >= GOAL and run.gpu_hours < each.reference.bound_gpu_hours * (1 - 1e-9)
    ]


def mean_ratio(compared: Sequence[Compared], policy: str, variant: str) -> float:
    """Return the geometric mean of a policy's ratios; NaN where it lacks a run."""
    ratios = [each.ratio(run) for each in compared if (run := each.run(policy, variant)) is not None]
    return statistics.geometric_mean(ratios) if len(ratios) == len(compared) and ratios else math.nan
