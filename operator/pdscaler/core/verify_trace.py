"""Plans for recorded requests: the least xPyD whose statistics over the whole trace meet both targets. Imports core.

Nothing is drawn and nothing is left out: every request of the trace is simulated, for every count that is tried, so a
count is decided exactly. The analytic model, at the load of the busiest minute, only says where to begin.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.decision import SizingResult
from pdscaler.core.pools import Pool
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.slo import LatencyStatistics, LatencyTarget, Statistic
from pdscaler.core.spec import SizingSpec
from pdscaler.core.verification import Trial
from pdscaler.core.verify_joint import settle_plan
from pdscaler.core.verify_search import Verdict
from pdscaler.core.verify_settle import Margin
from pdscaler.core.verify_trial import one_of, statistics_of
from pdscaler.core.workload import WorkloadStats

PASSES = 64
"""Passes over the trace that a plan may cost at most: a search from a bad start needs about thirty."""

PARTS = (1 / 16, 1 / 4, 1.0)
"""A count is shown the beginning of the trace first: what breaks the target there need not see the rest."""

LEAST_PART = 20_000

Latencies = Callable[[int, int], NDArray[np.float64]]
"""From how many first requests and a count of replicas to their latencies, seconds; NaN where there is none."""

Progress = Callable[[Pool, int, int], None]
"""Told the pool and the count that is simulated next, and the requests simulated so far."""


def verify_trace(
    spec: SizingSpec, workload: WorkloadStats, requests: RequestTable, progress: Progress | None = None
) -> SizingResult:
    """Find the least replicas of both pools that serve a whole trace within the targets.

    Parameters
    ----------
    spec
        Objectives, profiles, bounds and constraints.
    workload
        What the analytic model goes by: where the search begins, and how the load scales with the counts.
    requests
        The trace.
    progress
        Told before each simulation.

    Returns
    -------
    SizingResult
        With the statistics over all requests, from an empty start to the end of the last answer.

    Raises
    ------
    InvalidInputError
        If the spec, the workload or the trace holds what cannot be.
    """
    from pdscaler.core.simulation.run import deployment_of, simulate_decode, simulate_prefill, tpot_s
    from pdscaler.core.verify_source import MOST_REPLICAS as MOST_PREFILL
    from pdscaler.core.verify_source import decode_alone, unhindered

    deployment = deployment_of(spec)

    def first_tokens(count: int, replicas: int) -> NDArray[np.float64]:
        if replicas > MOST_PREFILL:
            return unhindered(deployment, requests.first(count))
        return simulate_prefill(deployment, requests.first(count), replicas)

    def behind(prefill: int) -> TraceTrials:
        first_token_s = first_tokens(len(requests), prefill)

        def decode(count: int, replicas: int) -> NDArray[np.float64]:
            part, begin_s = requests.first(count), first_token_s[:count]
            return tpot_s(part, begin_s, simulate_decode(deployment, part, begin_s, replicas))

        alone = decode_alone(deployment, requests)
        return TraceTrials(Pool.DECODE, spec.slo.tpot, decode, alone, progress)

    def prefill(count: int, replicas: int) -> NDArray[np.float64]:
        return first_tokens(count, replicas) - requests.arrival_s[:count]

    alone = unhindered(deployment, requests) - requests.arrival_s
    queue = TraceTrials(Pool.PREFILL, spec.slo.ttft, prefill, alone, progress)
    return settle_plan(spec, workload, queue, behind, PASSES * len(requests))


@dataclass(slots=True)
class _Pass:
    """What a count came to: the statistics over all requests, or None where the beginning was enough to see."""

    verdict: Verdict
    requests: int
    statistics: LatencyStatistics | None = None
    value_s: float = math.inf


class TraceTrials:
    """Trials of one pool on every request of a trace.

    Parameters
    ----------
    pool, target
        Whose, and what they are held against.
    latencies
        Simulates the first requests of the trace.
    alone
        Latencies of all requests, were each alone, seconds.
    progress
        Told before each simulation.
    """

    def __init__(
        self,
        pool: Pool,
        target: LatencyTarget | None,
        latencies: Latencies,
        alone: NDArray[np.float64],
        progress: Progress | None = None,
    ) -> None:
        self.pool = pool
        self.target = target
        self.requests = 0
        self._latencies = latencies
        self._alone = alone
        self._counted = int((~np.isnan(alone)).sum())
        self._progress = progress
        self._passes: dict[int, _Pass] = {}

    def judge(self, replicas: int, budget: int) -> Verdict:
        """Simulate a count on as much of the trace as decides it."""
        assert self.target is not None
        known = self._passes.get(replicas)
        if known is not None:
            return known.verdict
        spent = 0
        for part in PARTS:
            size = math.ceil(part * len(self._alone))
            if part < 1 and size < LEAST_PART:
                continue
            if spent + size > budget:
                return Verdict.UNDECIDED
            values = self._simulate(size, replicas)
            spent += size
            if part == 1:
                self._passes[replicas] = self._whole(values, spent)
            elif broken(values, self.target, self._counted):
                self._passes[replicas] = _Pass(Verdict.MISSES, spent)
                break
        return self._passes[replicas].verdict

    def look(self, replicas: int) -> None:
        """Simulate a count on the whole trace."""
        known = self._passes.get(replicas)
        if known is None or known.statistics is None:
            spent = 0 if known is None else known.requests
            size = len(self._alone)
            self._passes[replicas] = self._whole(self._simulate(size, replicas), spent + size)

    def unattainable(self) -> bool:
        """Whether requests that have a replica to themselves miss the target too."""
        assert self.target is not None
        values = self._alone[~np.isnan(self._alone)]
        return len(values) > 0 and one_of(values, self.target.statistic) > self.target.target_s

    def spent(self, replicas: int) -> int:
        """Return the requests that a count has cost."""
        known = self._passes.get(replicas)
        return 0 if known is None else known.requests

    def statistics(self, replicas: int) -> LatencyStatistics | None:
        """Return every statistic of a count over the whole trace; None where it was not simulated to the end."""
        known = self._passes.get(replicas)
        return None if known is None else known.statistics

    def margin(self, replicas: int) -> Margin:
        """Return by which share of the target a count stays below it: exact."""
        known = self._passes.get(replicas)
        if known is None or self.target is None or known.statistics is None:
            return Margin(None, None)
        return Margin(1 - known.value_s / self.target.target_s, 0.0)

    def trials(self) -> tuple[Trial, ...]:
        """Return what was simulated, in order."""
        return tuple(
            Trial(self.pool, replicas, known.value_s, 0.0, known.requests) for replicas, known in self._passes.items()
        )

    def _simulate(self, size: int, replicas: int) -> NDArray[np.float64]:
        if self._progress is not None:
            self._progress(self.pool, replicas, self.requests)
        self.requests += size
        return self._latencies(size, replicas)

    def _whole(self, values: NDArray[np.float64], spent: int) -> _Pass:
        values = values[~np.isnan(values)]
        if not len(values):
            return _Pass(Verdict.MEETS, spent, LatencyStatistics(), 0.0)
        statistic = Statistic.MEAN if self.target is None else self.target.statistic
        value_s = one_of(values, statistic)
        meets = self.target is None or value_s <= self.target.target_s
        return _Pass(Verdict.MEETS if meets else Verdict.MISSES, spent, statistics_of(values), value_s)


def broken(values: NDArray[np.float64], target: LatencyTarget, counted: int) -> bool:
    """Whether the first latencies alone break a target over ``counted`` of them, whatever the rest will be.

    Examples
    --------
    >>> slow = np.array([3.0, 3.0, 3.0, 1.0])
    >>> broken(slow, LatencyTarget(2.0, Statistic.P50), 5), broken(slow, LatencyTarget(2.0, Statistic.P50), 8)
    (True, False)
    """
    quantile = target.statistic.quantile
    if quantile is None:
        return float(np.nansum(values)) > counted * target.target_s
    # The interpolated percentile lies at or above the value of rank floor(quantile (n - 1)), counted from 0.
    return int((values > target.target_s).sum()) >= counted - math.floor(quantile * (counted - 1))
