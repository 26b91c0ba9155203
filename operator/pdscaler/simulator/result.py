"""What a replay came to: attainment, GPU-hours, what was ordered, and how it went over time.

May import numpy, core and simulator.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.run import Lives, Records
from pdscaler.core.slo import LatencyStatistics, LatencyTarget, Slo, Statistic
from pdscaler.simulator.ledger import OrderMade
from pdscaler.simulator.traces import LEAST_SPAN_S

Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Attained:
    """Shares of the requests whose own latency is within its target, in [0, 1].

    A target on the mean or on a percentile counts for each request with its value: P99 of 0.4 s is attained by a
    request whose TTFT is at most 0.4 s. What has no target is met, and so is the TPOT target by an answer of one token.
    """

    ttft: float
    tpot: float
    joint: float


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """How it went, by window; one entry for each.

    Parameters
    ----------
    begin_s
        Begins of the windows, seconds, at equal distances.
    window_s
        Their length, seconds; the last one ends with the last arrival: it is half to one and a half times as long.
    load_rps
        Arrivals per second; NaN where all arrive at once.
    ordered, ready
        Replicas at the end of each window; those that serve new requests are ready.
    ttft_p50_s, ttft_p99_s, tpot_p50_s, tpot_p99_s
        Of the requests that arrived in the window, seconds; NaN where there is none.
    ttft_bound_s, tpot_bound_s
        The statistic that the target binds; the mean where there is no target. NaN likewise.
    attainment
        Share of them within both targets; NaN likewise.
    """

    begin_s: Reals
    window_s: float
    load_rps: Reals
    ordered: PerPool[NDArray[np.int64]]
    ready: PerPool[NDArray[np.int64]]
    ttft_p50_s: Reals
    ttft_p99_s: Reals
    tpot_p50_s: Reals
    tpot_p99_s: Reals
    ttft_bound_s: Reals
    tpot_bound_s: Reals
    attainment: Reals

    def __len__(self) -> int:
        return len(self.begin_s)


@dataclass(frozen=True, slots=True, eq=False)
class ReplayResult:
    """What a replay came to; figures count from ``measured_from_s`` on, ``orders`` and ``series`` from the begin.

    Parameters
    ----------
    begin_s, measured_from_s, end_s
        Begin of the run, of the measurement, and the last arrival; seconds of the trace.
    requests
        Requests that arrived from ``measured_from_s`` on.
    attainment, ttft_s, tpot_s
        Of these.
    gpu_hours
        GPUs ordered, until ``end_s``.
    gpu_hours_with_drain
        Replicas that were told to leave count until their last request has finished.
    oracle_gpu_hours, bound_gpu_hours
        Of the clairvoyant schedule, and the lower bound; None where they were not asked for.
    scale_operations
        Changes of a pool's count.
    max_gpus
        Most GPUs ordered at any instant.
    orders
        What was ordered; the first one is what it began with.
    series
        How it went over time.
    records
        What happened to every request.
    evaluations
        How often the policy was asked.
    """

    begin_s: float
    measured_from_s: float
    end_s: float
    requests: int
    attainment: Attained
    ttft_s: LatencyStatistics
    tpot_s: LatencyStatistics
    gpu_hours: float
    gpu_hours_with_drain: float
    scale_operations: int
    max_gpus: int
    orders: tuple[OrderMade, ...]
    series: Series
    records: Records
    evaluations: int
    oracle_gpu_hours: float | None = None
    bound_gpu_hours: float | None = None

    @property
    def initial(self) -> PerPool[int]:
        """What the run began with."""
        return self.orders[0].replicas


def met(records: Records, slo: Slo) -> PerPool[NDArray[np.bool_]]:
    """Return which requests meet the TTFT target (prefill) and the TPOT target (decode)."""
    count = len(records)
    return PerPool(
        np.ones(count, bool) if slo.ttft is None else records.ttft_s <= slo.ttft.target_s,
        np.ones(count, bool) if slo.tpot is None else ~(records.tpot_s > slo.tpot.target_s),
    )


def attained(records: Records, slo: Slo, which: slice) -> Attained:
    """Return the shares of some requests that are within the targets."""
    within = met(records, slo).map(lambda each: each[which])
    shares = (within.prefill, within.decode, within.prefill & within.decode)
    return Attained(*(float(share.mean()) for share in shares))


def latency_statistics(values_s: Reals) -> LatencyStatistics:
    """Return mean and percentiles; NaN is left out, and None stands for what nothing was observed of."""
    values_s = values_s[~np.isnan(values_s)]
    if not len(values_s):
        return LatencyStatistics()
    quantiles = [statistic.quantile for statistic in Statistic if statistic.quantile is not None]
    return LatencyStatistics(float(values_s.mean()), *map(float, np.quantile(values_s, quantiles)))


def series_of(
    records: Records, slo: Slo, orders: Sequence[OrderMade], startup_s: PerPool[float], span: tuple[float, float, float]
) -> Series:
    """Return how it went over time.

    Parameters
    ----------
    records, slo
        What happened, against what.
    orders
        What was ordered.
    startup_s
        Of each pool.
    span
        Begin, end, and length of a window, seconds.
    """
    begin_s, end_s, window_s = span
    count = max(1, round((end_s - begin_s) / window_s))
    begins_s = np.asarray(begin_s + window_s * np.arange(count), np.float64)
    ends_s = np.append(begins_s[1:], max(begin_s, end_s))
    places = np.searchsorted(records.arrival_s, np.append(begins_s, np.inf))
    within = met(records, slo)
    joint = within.prefill & within.decode
    latencies = np.full((count, 6), np.nan)
    attainment = np.full(count, np.nan)
    for window, (first, last) in enumerate(pairwise(places.tolist())):
        if first < last:
            latencies[window, :3] = _of_window(records.ttft_s[first:last], slo.ttft)
            latencies[window, 3:] = _of_window(records.tpot_s[first:last], slo.tpot)
            attainment[window] = joint[first:last].mean()
    made_s = np.array([order.at_s for order in orders])
    holding = np.searchsorted(made_s, ends_s, side="right") - 1
    lasted_s = np.where(ends_s - begins_s > LEAST_SPAN_S, ends_s - begins_s, np.nan)
    return Series(
        begin_s=begins_s,
        window_s=window_s,
        load_rps=np.asarray(np.diff(places) / lasted_s, np.float64),
        ordered=PerPool(
            np.array([order.replicas.prefill for order in orders])[holding],
            np.array([order.replicas.decode for order in orders])[holding],
        ),
        ready=PerPool(*(_ready(records.lives[pool], startup, ends_s) for pool, startup in startup_s.items())),
        ttft_p50_s=latencies[:, 0],
        ttft_p99_s=latencies[:, 1],
        ttft_bound_s=latencies[:, 2],
        tpot_p50_s=latencies[:, 3],
        tpot_p99_s=latencies[:, 4],
        tpot_bound_s=latencies[:, 5],
        attainment=attainment,
    )


def _of_window(values_s: Reals, target: LatencyTarget | None) -> tuple[float, float, float]:
    """Return P50, P99 and the target's statistic; NaN where nothing was observed."""
    values_s = values_s[~np.isnan(values_s)]
    if not len(values_s):
        return math.nan, math.nan, math.nan
    p50, p99 = np.quantile(values_s, (0.5, 0.99))
    quantile = None if target is None else target.statistic.quantile
    return float(p50), float(p99), float(values_s.mean() if quantile is None else np.quantile(values_s, quantile))


def ready_steps(lives: Lives, startup_s: float, begin_s: float, end_s: float) -> tuple[Reals, NDArray[np.int64]]:
    """Return from when on how many replicas of a pool take requests: points of time, the first one the begin."""
    times_s = np.concatenate((lives.ordered_s + startup_s, lives.left_s))
    times_s = np.unique(times_s[(times_s > begin_s) & (times_s <= end_s)])
    times_s = np.concatenate(([begin_s], times_s))
    return times_s, _ready(lives, startup_s, times_s)


def _ready(lives: Lives, startup_s: float, at_s: Reals) -> NDArray[np.int64]:
    """Return how many replicas take requests at some points of time."""
    begun = np.searchsorted(np.sort(lives.ordered_s + startup_s), at_s, side="right")
    left = np.searchsorted(np.sort(lives.left_s), at_s, side="right")
    return np.asarray(begun - left, np.int64)
