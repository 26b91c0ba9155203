"""Trials of one pool: simulate a count of replicas until its statistic is clear of the target. Imports numpy and core.

Sequential sampling on common random numbers: every count sees the same blocks of requests, each block about as long as
all before it, and a trial takes the next block only while its interval holds the target.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyStatistics, LatencyTarget, Statistic
from pdscaler.core.verification import Trial
from pdscaler.core.verify_interval import LEAST_BATCHES, Interval, interval
from pdscaler.core.verify_scale import Memory
from pdscaler.core.verify_search import Verdict
from pdscaler.core.verify_settle import Margin

RESOLUTION = 0.004
"""A half width of this share of the target is as good as certain: the estimate then decides by itself."""

ALONE = 1 << 15
"""Requests looked at one by one where a target seems beyond every count."""

LEAST_BLOCK, MOST_BLOCK = 4096, 1 << 19
"""Requests of the first block at least, and of any block at most."""

MEMORIES_PER_BATCH = 0.75
"""Relaxation times to a batch, at least; what correlation is left between batches widens the interval."""

MEMORIES_TO_START = 3.0
"""Relaxation times of the run-in: 5 % of the distance between an empty pool and its steady state are left then."""

STAYS_AT_END = 2.0
_LATE_SHARE = 0.98
_LATE_FACTOR = 1.5
_PER_REPLICA = 32


class Source(Protocol):
    """Where a pool's latencies come from."""

    def latencies(self, block: int, size: int, replicas: int) -> NDArray[np.float64]:
        """Simulate a block of requests; latencies in order of arrival, NaN where a request has none."""

    def memory(self, replicas: int) -> Memory:
        """Return how long the pool remembers."""

    def alone(self, size: int) -> NDArray[np.float64]:
        """Return the latencies of requests that have a replica to themselves; NaN where a request has none."""


@dataclass(slots=True)
class Run:
    """What is known of one count."""

    kept: list[NDArray[np.float64]] = field(default_factory=list)
    blocks: int = 0
    requests: int = 0
    verdict: Verdict = Verdict.UNDECIDED
    estimate: Interval | None = None
    unstable: bool = False
    empty: bool = False
    """No request has this latency (answers of one token): it meets any target."""

    def values(self) -> NDArray[np.float64]:
        """Return the latencies of the steady state, in order of arrival, block after block."""
        if len(self.kept) > 1:
            self.kept = [np.concatenate(self.kept)]
        return self.kept[0] if self.kept else np.empty(0)


class PoolTrials:
    """The trials of one pool.

    Parameters
    ----------
    pool, target
        Whose, and what they are held against; without a target they are only looked at.
    source
        Simulates.
    """

    def __init__(self, pool: Pool, target: LatencyTarget | None, source: Source) -> None:
        self.pool = pool
        self.target = target
        self._source = source
        self._runs: dict[int, Run] = {}
        self.requests = 0

    def judge(self, replicas: int, budget: int) -> Verdict:
        """Simulate a count until it is clear of the target, or the budget does not hold the next block (but the first).

        Parameters
        ----------
        replicas
            The count.
        budget
            Requests that this count may cost in all, earlier calls included.
        """
        assert self.target is not None
        run = self._runs.setdefault(replicas, Run())
        while run.verdict is Verdict.UNDECIDED and (
            run.blocks == 0 or run.requests + self.size(replicas, run.blocks) <= budget
        ):
            self._extend(replicas, run)
            run.verdict = self._verdict(run)
        return run.verdict

    def look(self, replicas: int) -> None:
        """Simulate a count for at least one block that counts, whatever it shows."""
        run = self._runs.setdefault(replicas, Run())
        while not (run.unstable or run.empty or run.kept) and run.requests < MOST_BLOCK:
            self._extend(replicas, run)
            if self.target is not None and run.verdict is Verdict.UNDECIDED:
                run.verdict = self._verdict(run)

    def statistics(self, replicas: int) -> LatencyStatistics | None:
        """Return every statistic of a count that was simulated long enough; None of another."""
        run = self._runs.get(replicas)
        if run is None:
            return None
        if run.unstable:
            return LatencyStatistics(*[math.inf] * 5)
        values = run.values()
        if not len(values):
            return None
        return statistics_of(values)

    def margin(self, replicas: int) -> Margin:
        """Return by which share of the target a count stays below it."""
        run = self._runs.get(replicas)
        if run is None or self.target is None or (run.estimate is None and not run.unstable):
            return Margin(None, None)
        if run.unstable or run.estimate is None:
            return Margin(-math.inf, 0.0)
        target_s = self.target.target_s
        return Margin(1 - run.estimate.value_s / target_s, run.estimate.half_width_s / target_s)

    def unattainable(self) -> bool:
        """Whether requests that have a replica to themselves miss the target too."""
        assert self.target is not None
        values = self._source.alone(ALONE)
        self.requests += len(values)
        values = values[~np.isnan(values)]
        return len(values) > 0 and one_of(values, self.target.statistic) > self.target.target_s

    def spent(self, replicas: int) -> int:
        """Return the requests that a count has cost."""
        run = self._runs.get(replicas)
        return 0 if run is None else run.requests

    def trials(self) -> tuple[Trial, ...]:
        """Return the trials as the result lists them, in the order in which they began."""
        return tuple(
            Trial(
                self.pool,
                replicas,
                math.inf if run.unstable or run.estimate is None else run.estimate.value_s,
                math.inf if run.unstable or run.estimate is None else run.estimate.half_width_s,
                run.requests,
            )
            for replicas, run in self._runs.items()
        )

    def size(self, replicas: int, block: int) -> int:
        """Return the requests of a block: the first holds one interval, each later one as many as all before it.

        A count that seems overloaded begins with little: that shows soon.
        """
        memory = self._source.memory(replicas)
        first = max(LEAST_BLOCK, _PER_REPLICA * replicas)
        if memory.utilization < 1:
            enough = (MEMORIES_TO_START + LEAST_BATCHES * MEMORIES_PER_BATCH) * memory.requests
            first = max(first, int(1.2 * enough + STAYS_AT_END * memory.in_flight))
        return min(min(first, MOST_BLOCK) << max(0, block - 1), MOST_BLOCK)

    def _extend(self, replicas: int, run: Run) -> None:
        """Simulate the next block and keep what is of the steady state."""
        size = self.size(replicas, run.blocks)
        values = self._source.latencies(run.blocks, size, replicas)
        run.blocks += 1
        run.requests += size
        self.requests += size
        memory = self._source.memory(replicas)
        lead = int(MEMORIES_TO_START * memory.requests)
        # The last requests decode while nobody arrives any more: as far from the steady state as the first.
        tail = int(STAYS_AT_END * memory.in_flight) if self.pool is Pool.DECODE else 0
        if size == MOST_BLOCK:
            lead, tail = min(lead, size // 2), min(tail, size // 8)
        if np.isnan(values).all():
            run.empty = True
        elif self._overloaded(values[: size - tail], memory):
            run.unstable = True
        elif lead + tail <= size // 2:
            steady = values[lead : size - tail]
            run.kept.append(steady[~np.isnan(steady)])
        kept = run.values()
        if self.target is not None and len(kept):
            run.estimate = interval(kept, self.target.statistic, MEMORIES_PER_BATCH * memory.requests)

    def _overloaded(self, values: NDArray[np.float64], memory: Memory) -> bool:
        """Whether the queue plainly grows: almost every request of the last quarter is beyond the target by far."""
        values = values[~np.isnan(values)]
        quarter = len(values) // 4
        if not quarter:
            return False
        last, before = values[-quarter:], values[-2 * quarter : -quarter]
        growing = float(last.mean()) > 1.2 * float(before.mean())
        if self.target is None:
            return growing and memory.utilization > 1
        late = float((last > self.target.target_s).mean()) >= _LATE_SHARE
        return late and growing and float(last.mean()) > _LATE_FACTOR * self.target.target_s

    def _verdict(self, run: Run) -> Verdict:
        assert self.target is not None
        if run.empty:
            return Verdict.MEETS
        if run.unstable:
            return Verdict.MISSES
        estimate, target_s = run.estimate, self.target.target_s
        if estimate is None:
            return Verdict.UNDECIDED
        if estimate.high_s <= target_s:
            return Verdict.MEETS
        if estimate.low_s > target_s:
            return Verdict.MISSES
        if estimate.half_width_s <= RESOLUTION * target_s:
            return Verdict.MEETS if estimate.value_s <= target_s else Verdict.MISSES
        return Verdict.UNDECIDED


def statistics_of(values: NDArray[np.float64]) -> LatencyStatistics:
    """Return every statistic of latencies, seconds."""
    quantiles = [statistic.quantile for statistic in Statistic if statistic.quantile is not None]
    return LatencyStatistics(float(values.mean()), *(float(value) for value in np.quantile(values, quantiles)))


def one_of(values: NDArray[np.float64], statistic: Statistic) -> float:
    """Return one statistic of latencies, seconds."""
    quantile = statistic.quantile
    return float(values.mean() if quantile is None else np.quantile(values, quantile))
