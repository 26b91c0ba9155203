"""The smallest pair of counts that meets both targets, found by long simulations alone. Imports pdscaler's core.

The pools are separable: what prefill does never depends on decode, so the least prefill count is found first, and then
the least decode count that suffices for what these prefill replicas send. Latencies never rise as replicas are added:
a count that suffices next to one that does not is the least. Seeds are the reference's own: no planner sees them.

That a count suffices is never said after a short simulation: near saturation a pool may look at ease for a long time
before it first fails (short prompts that share a pass are served faster than a long queue of them in full passes).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.requests import RequestTable, draw_requests
from pdscaler.core.simulation.run import Deployment, simulate_decode, simulate_prefill, tpot_s
from pdscaler.core.simulation.statistics import estimate, steady
from pdscaler.core.slo import LatencyTarget, Slo
from pdscaler.core.workload import WorkloadStats

Floats = npt.NDArray[np.float64]
Key = TypeVar("Key", int, tuple[int, int])

TOLERANCE = 0.02
"""How far above its target a simulated statistic may lie and still meet it: the sampling error that is granted."""

FEWEST_REQUESTS, MOST_REQUESTS = 60_000, 1_920_000
"""Requests of one simulation: the least, and the most where it lies near a threshold."""

CONFIRMED_REQUESTS = 480_000
"""Requests that a count must have held for before it is called sufficient."""

LEAST_STAYS = 40.0
"""Mean stays in decode that a simulation lasts at least: a large pool holds thousands of requests at once."""

CLEAR = 1.5
"""Half-widths (95 %) from both thresholds at which a simulation is taken as settled."""

KEPT = 6
"""Outputs of prefill that are kept: a search goes back to the last ones only."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a pair of counts does to one latency: the simulated statistic, its 95 % half-width, the requests it took."""

    value_s: float
    half_width_s: float
    requests: int
    target_s: float

    @property
    def ratio(self) -> float:
        """The statistic over its target."""
        return self.value_s / self.target_s

    @property
    def within(self) -> bool:
        """Whether the target itself is met: what the smallest pair is held to."""
        return self.ratio <= 1

    @property
    def meets(self) -> bool:
        """Whether the target is met with the tolerance granted to a plan."""
        return self.ratio <= 1 + TOLERANCE

    @property
    def unsure(self) -> bool:
        """Whether the target itself lies within the sampling error: other requests may say otherwise."""
        return abs(self.value_s - self.target_s) < self.half_width_s

    @property
    def settled(self) -> bool:
        """Whether both thresholds lie outside of the sampling error."""
        room = CLEAR * self.half_width_s
        return all(abs(self.value_s - threshold * self.target_s) > room for threshold in (1, 1 + TOLERANCE))


def least(meets: Callable[[int], bool], start: int, limit: int) -> int | None:
    """Return the least count that meets, by steps that double from ``start`` and then bisection.

    Parameters
    ----------
    meets
        Never true for a count where it is false for a larger one.
    start
        Where to begin; it costs no exactness, only simulations.
    limit
        The largest count that is tried; None is returned where it does not meet.
    """
    count, step = min(max(1, start), limit), 1
    if meets(count):
        good = count
        while good > 1:
            tried = max(1, good - step)
            if not meets(tried):
                bad = tried
                break
            good, step = tried, 2 * step
        else:
            return 1
    else:
        bad = count
        while True:
            if bad == limit:
                return None
            tried = min(limit, bad + step)
            if meets(tried):
                good = tried
                break
            bad, step = tried, 2 * step
    while good - bad > 1:
        middle = (good + bad) // 2
        if meets(middle):
            good = middle
        else:
            bad = middle
    return good


class Reference:
    """Simulates pairs of counts of one case, each only as long as it takes to be sure.

    Parameters
    ----------
    deployment, workload, slo
        The case; both objectives are given.
    seed
        Of the requests.
    """

    def __init__(self, deployment: Deployment, workload: WorkloadStats, slo: Slo, seed: int) -> None:
        self._deployment, self._workload, self._seed = deployment, workload, seed
        assert slo.ttft is not None
        assert slo.tpot is not None
        assert workload.osl is not None
        self._slo = PerPool(slo.ttft, slo.tpot)
        stay_s = workload.osl.mean_tokens * slo.tpot.target_s
        self._fewest = max(FEWEST_REQUESTS, math.ceil(LEAST_STAYS * workload.arrival_rate_rps * stay_s))
        self._most = max(MOST_REQUESTS, self._fewest)
        self._confirmed = min(max(CONFIRMED_REQUESTS, self._fewest), self._most)
        self._tables: dict[int, RequestTable] = {}
        self._first_tokens: dict[tuple[int, int], Floats] = {}
        self._ttft: dict[int, Verdict] = {}
        self._tpot: dict[tuple[int, int], Verdict] = {}
        self.simulated_requests = 0

    def ttft(self, prefill: int, *, confirmed: bool = False) -> Verdict:
        """Judge the TTFT of a count of prefill replicas; ``confirmed``: no short simulation says that it suffices."""
        return self._judge(self._ttft, prefill, confirmed, self._slo.prefill, lambda count: self._ttfts(prefill, count))

    def tpot(self, prefill: int, decode: int, *, confirmed: bool = False) -> Verdict:
        """Judge the TPOT of a count of decode replicas on what a count of prefill replicas sends."""
        pair = (prefill, decode)
        return self._judge(
            self._tpot, pair, confirmed, self._slo.decode, lambda count: self._tpots(prefill, decode, count)
        )

    def smallest(self, start: PerPool[int], limit: int) -> PerPool[int] | None:
        """Return the least pair within both targets; None where none up to ``limit`` is."""
        prefill = self._least(lambda count, sure: self.ttft(count, confirmed=sure), start.prefill, limit)
        if prefill is None:
            return None
        decode = self._least(lambda count, sure: self.tpot(prefill, count, confirmed=sure), start.decode, limit)
        return None if decode is None else PerPool(prefill, decode)

    @staticmethod
    def _least(judge: Callable[[int, bool], Verdict], start: int, limit: int) -> int | None:
        """Return the least count within the target; what a long simulation refutes is passed over."""
        count = least(lambda tried: judge(tried, False).within, start, limit)
        while count is not None and not judge(count, True).within:
            count = count + 1 if count < limit else None
        return count

    def unsure(self, smallest: PerPool[int]) -> bool:
        """Whether other requests might find a neighbour of the smallest pair instead."""
        prefill, decode = smallest.prefill, smallest.decode
        verdicts = [self.ttft(count) for count in (prefill, prefill - 1) if count]
        verdicts += [self.tpot(prefill, count) for count in (decode, decode - 1) if count]
        return any(verdict.unsure for verdict in verdicts)

    def _judge(
        self,
        known: dict[Key, Verdict],
        key: Key,
        confirmed: bool,
        target: LatencyTarget,
        simulate: Callable[[int], Floats],
    ) -> Verdict:
        if key not in known:
            known[key] = self._settle(target, simulate, self._fewest)
        if confirmed and known[key].meets and known[key].requests < self._confirmed:
            known[key] = self._settle(target, simulate, self._confirmed)
        return known[key]

    def _settle(self, target: LatencyTarget, simulate: Callable[[int], Floats], count: int) -> Verdict:
        while True:
            found = estimate(simulate(count), target.statistic)
            half_width_s = found.half_width if math.isfinite(found.half_width) else math.inf
            verdict = Verdict(found.value, half_width_s, count, target.target_s)
            if verdict.settled or count >= self._most:
                return verdict
            count = min(4 * count, self._most)

    def _table(self, count: int) -> RequestTable:
        if count not in self._tables:
            self._tables[count] = draw_requests(self._workload, count, self._seed)
        return self._tables[count]

    def _first_token_s(self, prefill: int, count: int) -> Floats:
        key = (prefill, count)
        if key not in self._first_tokens:
            while len(self._first_tokens) >= KEPT:
                self._first_tokens.pop(next(iter(self._first_tokens)))
            self._first_tokens[key] = simulate_prefill(self._deployment, self._table(count), prefill, seed=self._seed)
            self.simulated_requests += count
        return self._first_tokens[key]

    def _ttfts(self, prefill: int, count: int) -> Floats:
        arrival_s = self._table(count).arrival_s
        values = self._first_token_s(prefill, count) - arrival_s
        return values[steady(arrival_s, values)]

    def _tpots(self, prefill: int, decode: int, count: int) -> Floats:
        table, first_token_s = self._table(count), self._first_token_s(prefill, count)
        finished_s = simulate_decode(self._deployment, table, first_token_s, decode)
        self.simulated_requests += count
        return tpot_s(table, first_token_s, finished_s)[steady(table.arrival_s, finished_s - first_token_s)]
