"""The simulation of tens of millions of requests in little memory: only statistics are kept. Imports numpy and core.

Requests are drawn and simulated piece by piece; what is unfinished at the end of a piece is carried on, so that the
events are those of one long run. Latencies are counted in logarithmic histograms, one for each hundredth of the run:
means are exact, percentiles within ``RELATIVE_ERROR``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.simulation.changes import changes_of
from pdscaler.core.simulation.growth import POINTS, growing
from pdscaler.core.simulation.outcome import Attainment, LatencyEstimates, Summary, scaled
from pdscaler.core.simulation.pieces import DecodePieces, PrefillPieces
from pdscaler.core.simulation.requests import Draw
from pdscaler.core.simulation.run import Deployment
from pdscaler.core.simulation.statistics import LEAST_SHARE, STAYS, STAYS_AT_END, Estimate, half_width
from pdscaler.core.slo import Slo, Statistic
from pdscaler.core.workload import WorkloadStats
from pdscaler.errors import InvalidInputError

RELATIVE_ERROR = 0.001
"""Of a percentile: the width of a histogram's bucket."""

PARTS = 100
"""Parts of a run; several of them are one batch."""

PARTS_IN_BATCH = 5

LARGEST_PIECE = 250_000
"""Requests drawn at once."""

_LEAST_S, _MOST_S = 1e-6, 1e7
_LOG_RATIO = math.log1p(RELATIVE_ERROR)
_BUCKETS = math.ceil(math.log(_MOST_S / _LEAST_S) / _LOG_RATIO) + 1


class LatencyCounts:
    """Sums and histograms of one latency, by part of the run."""

    __slots__ = ("_count", "_histogram", "_sum_s")

    def __init__(self) -> None:
        self._sum_s = np.zeros(PARTS)
        self._count = np.zeros(PARTS, np.int64)
        self._histogram = np.zeros((PARTS, _BUCKETS), np.int32)

    def add(self, part: NDArray[np.int64], value_s: NDArray[np.float64]) -> None:
        """Count latencies."""
        self._sum_s += np.bincount(part, value_s, PARTS)
        self._count += np.bincount(part, minlength=PARTS)
        place = np.log(np.clip(value_s, _LEAST_S, _MOST_S) / _LEAST_S) / _LOG_RATIO
        np.add.at(self._histogram, (part, place.astype(np.int64)), 1)

    def estimates(self, batches: NDArray[np.int64]) -> LatencyEstimates:
        """Estimate every statistic; ``batches`` holds the parts of each batch."""
        return LatencyEstimates(*(self._estimate(batches, statistic) for statistic in Statistic))

    def _estimate(self, batches: NDArray[np.int64], statistic: Statistic) -> Estimate:
        counts = self._count[batches].sum(axis=1)
        if counts.sum() == 0:
            return Estimate(math.nan, math.nan)
        if statistic.quantile is None:
            sums_s = self._sum_s[batches].sum(axis=1)
            whole, each = sums_s.sum() / counts.sum(), sums_s[counts > 0] / counts[counts > 0]
        else:
            histograms = self._histogram[batches].sum(axis=1, dtype=np.int64)
            whole = _quantile(histograms.sum(axis=0), statistic.quantile)
            each = np.array([_quantile(row, statistic.quantile) for row in histograms[counts > 0]])
        return Estimate(float(whole), half_width(float(whole), each))


def _quantile(histogram: NDArray[np.int64], probability: float) -> float:
    """Return a quantile, seconds, interpolated in its bucket."""
    cumulative = np.cumsum(histogram)
    rank = probability * cumulative[-1]
    place = int(np.searchsorted(cumulative, rank))
    inside = 1 - (cumulative[place] - rank) / max(1, histogram[place])
    return _LEAST_S * math.exp((place + inside) * _LOG_RATIO)


@dataclass(slots=True)
class _Shares:
    """How many requests of each part met a target."""

    met: NDArray[np.int64]

    def estimate(self, batches: NDArray[np.int64], counts: NDArray[np.int64]) -> Estimate:
        met, total = self.met[batches].sum(axis=1), counts[batches].sum(axis=1)
        whole = float(met.sum() / total.sum())
        return Estimate(whole, half_width(whole, met / total))


class Tally:
    """What a long run came to so far.

    Parameters
    ----------
    slo
        Targets.
    count
        Requests of the whole run.
    """

    def __init__(self, slo: Slo, count: int) -> None:
        self._slo = slo
        self._count = count
        self._ttft, self._tpot = LatencyCounts(), LatencyCounts()
        self._finished = np.zeros(PARTS, np.int64)
        self._ttft_met, self._tpot_met, self._joint_met = (_Shares(np.zeros(PARTS, np.int64)) for _ in range(3))
        self._stay_s = 0.0

    def add(
        self,
        number: NDArray[np.int64],
        ttft_s: NDArray[np.float64],
        tpot_s: NDArray[np.float64],
        stay_s: NDArray[np.float64],
    ) -> None:
        """Count finished requests: their numbers in the run, latencies (TPOT NaN for one token), time in the system."""
        part = number * PARTS // self._count
        slo = self._slo
        ttft_met = np.ones(len(part), bool) if slo.ttft is None else ttft_s <= slo.ttft.target_s
        tpot_met = np.ones(len(part), bool) if slo.tpot is None else ~(tpot_s > slo.tpot.target_s)
        decoded = ~np.isnan(tpot_s)
        self._ttft.add(part, ttft_s)
        self._tpot.add(part[decoded], tpot_s[decoded])
        self._finished += np.bincount(part, minlength=PARTS)
        for shares, met in (
            (self._ttft_met, ttft_met),
            (self._tpot_met, tpot_met),
            (self._joint_met, ttft_met & tpot_met),
        ):
            shares.met += np.bincount(part[met], minlength=PARTS)
        self._stay_s += float(stay_s.sum())

    def summary(
        self, rate_rps: float, overloaded: tuple[Pool, ...], prefill_busy: float, decode_batch: float
    ) -> Summary:
        """Return the steady-state statistics: without the run-in and without the last stays, in whole parts."""
        size = self._count / PARTS
        stay = rate_rps * self._stay_s / self._count  # mean stay, counted in arrivals
        first = min(max(math.ceil(LEAST_SHARE * PARTS), math.ceil(STAYS * stay / size)), PARTS // 2)
        last = max(PARTS - math.ceil(STAYS_AT_END * stay / size), PARTS - PARTS // 4)
        parts = np.arange(last - (last - first) // PARTS_IN_BATCH * PARTS_IN_BATCH, last)
        batches = parts.reshape(-1, PARTS_IN_BATCH)
        shares = (self._ttft_met, self._tpot_met, self._joint_met)
        attainment = Attainment(*(each.estimate(batches, self._finished) for each in shares))
        return Summary(
            ttft_s=self._ttft.estimates(batches),
            tpot_s=self._tpot.estimates(batches),
            attainment=attainment,
            goodput_rps=scaled(attainment.joint, rate_rps),
            requests=int(self._finished[parts].sum()),
            run_in=int(self._finished[: parts[0]].sum()),
            rate_rps=rate_rps,
            overloaded=overloaded,
            prefill_busy=prefill_busy,
            decode_batch=decode_batch,
        )


def simulate_stream(
    deployment: Deployment,
    workload: WorkloadStats,
    count: int,
    replicas: PerPool[int],
    slo: Slo,
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Simulate many requests of a workload and keep only their statistics.

    Parameters
    ----------
    deployment
        Profiles and routing.
    workload
        What arrives; the requests are those of :func:`draw_requests` with the same seed.
    count
        How many, at least 10 000. The memory does not grow with it.
    replicas
        Ready replicas of each pool.
    slo
        Targets, for the attainment.
    seed
        Seed of requests and random routing.
    progress
        Is told after each piece how many requests have arrived.

    Returns
    -------
    Summary
        Means are exact, percentiles within 0.1 %.

    Raises
    ------
    InvalidInputError
        If figures make no sense.
    """
    if count < PARTS * PARTS:
        raise InvalidInputError("requests", f"must be at least {PARTS * PARTS} to be streamed, found {count}")
    draw = Draw(workload, seed)
    prefill = PrefillPieces(deployment, changes_of(Pool.PREFILL, replicas.prefill, (), 0.0), seed)
    decode = DecodePieces(deployment, changes_of(Pool.DECODE, replicas.decode, (), 0.0))
    tally = Tally(slo, count)
    piece = min(LARGEST_PIECE, math.ceil(count / (2 * POINTS)))
    inside: list[tuple[int, int, int]] = []
    drawn = 0
    begin_s = until_s = 0.0
    while drawn < count:
        requests = draw.next(min(piece, count - drawn))
        begin_s = begin_s or float(requests.arrival_s[0])
        until_s = float(requests.arrival_s[-1])
        drawn += len(requests)
        last = drawn == count
        for finished in decode.advance(prefill.advance(requests, until_s), until_s):
            tally.add(*finished)
        inside.append((prefill.inside, decode.waiting, decode.inside))
        if last:
            for finished in decode.advance(prefill.advance(None, math.inf), math.inf):
                tally.add(*finished)
        if progress is not None:
            progress(drawn)
    rate_rps = (count - 1) / (until_s - begin_s)
    queues = np.array(inside[len(inside) // 2 :], np.float64).T
    climbing = [growing(queue, count / 2) for queue in queues]
    overloaded = tuple(
        pool for pool, climbs in ((Pool.PREFILL, climbing[0]), (Pool.DECODE, climbing[1] or climbing[2])) if climbs
    )
    return tally.summary(
        rate_rps,
        overloaded,
        prefill.busy_s / (replicas.prefill * (prefill.now_s - begin_s)),
        decode.decoding_s / (replicas.decode * (decode.now_s - begin_s)),
    )
