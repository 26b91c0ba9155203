"""What a simulation came to: latencies, attainment, goodput, with intervals. May import only numpy and core."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import Pool
from pdscaler.core.simulation.growth import overloaded
from pdscaler.core.simulation.run import Records
from pdscaler.core.simulation.statistics import LEAST_SHARE, Estimate, estimate_all, steady
from pdscaler.core.slo import LatencyStatistics, Slo, Statistic


@dataclass(frozen=True, slots=True)
class LatencyEstimates:
    """Mean and percentiles of a latency, seconds."""

    mean: Estimate
    p50: Estimate
    p90: Estimate
    p95: Estimate
    p99: Estimate

    def of(self, statistic: Statistic) -> Estimate:
        """Return the estimate of one statistic."""
        found: Estimate = getattr(self, statistic.value.lower())
        return found

    @property
    def values(self) -> LatencyStatistics:
        """The figures without their intervals; None where nothing was observed."""
        return LatencyStatistics(*(None if math.isnan(each.value) else each.value for each in map(self.of, Statistic)))


@dataclass(frozen=True, slots=True)
class Attainment:
    """Shares of the requests whose own latency is within its target.

    What has no target is met, and so is the TPOT target by an answer of one token.
    """

    ttft: Estimate
    tpot: Estimate
    joint: Estimate


@dataclass(frozen=True, slots=True)
class Summary:
    """What a simulation came to, in the steady state.

    Parameters
    ----------
    ttft_s, tpot_s
        Latencies; answers of one token are left out of TPOT.
    attainment
        Shares of the requests that meet the targets.
    goodput_rps
        Requests/s that meet both.
    requests, run_in
        Requests counted, and left out before them.
    rate_rps
        Arrivals/s over those counted.
    overloaded
        Pools that cannot keep up: the figures that depend on them describe no steady state.
    prefill_busy
        Share of the prefill replicas' time spent in passes.
    decode_batch
        Mean running requests of a decode replica.
    """

    ttft_s: LatencyEstimates
    tpot_s: LatencyEstimates
    attainment: Attainment
    goodput_rps: Estimate
    requests: int
    run_in: int
    rate_rps: float
    overloaded: tuple[Pool, ...]
    prefill_busy: float
    decode_batch: float


def latency_estimates(values: NDArray[np.float64]) -> LatencyEstimates:
    """Estimate every statistic of a stationary series; NaN is left out."""
    return LatencyEstimates(*estimate_all(values[~np.isnan(values)], *Statistic))


def summary(records: Records, slo: Slo, least_share: float = LEAST_SHARE) -> Summary:
    """Return the steady-state statistics of a simulation against the objectives.

    Parameters
    ----------
    records
        The simulation.
    slo
        Targets.
    least_share
        At least this share of the requests is left out as the run-in.
    """
    part = steady(records.arrival_s, records.finished_s - records.arrival_s, least_share)
    arrival_s, ttft_s, tpot_s = records.arrival_s[part], records.ttft_s[part], records.tpot_s[part]
    ttft_met = np.ones(len(ttft_s), bool) if slo.ttft is None else ttft_s <= slo.ttft.target_s
    tpot_met = np.ones(len(tpot_s), bool) if slo.tpot is None else ~(tpot_s > slo.tpot.target_s)
    attainment = Attainment(*(share(met) for met in (ttft_met, tpot_met, ttft_met & tpot_met)))
    span_s = float(arrival_s[-1] - arrival_s[0])
    rate_rps = (len(arrival_s) - 1) / span_s if span_s > 0 else math.nan
    replicas = records.lives.map(lambda lives: len(lives.ordered_s))
    decoding_s = float(np.nansum(records.finished_s - records.decode_started_s))
    return Summary(
        ttft_s=latency_estimates(ttft_s),
        tpot_s=latency_estimates(tpot_s),
        attainment=attainment,
        goodput_rps=scaled(attainment.joint, rate_rps),
        requests=len(arrival_s),
        run_in=part.start,
        rate_rps=rate_rps,
        overloaded=overloaded(records),
        prefill_busy=occupied(records.prefill_busy_s, replicas.prefill, records.arrival_s[0], records.first_token_s),
        decode_batch=occupied(decoding_s, replicas.decode, records.arrival_s[0], records.finished_s),
    )


def share(met: NDArray[np.bool_]) -> Estimate:
    """Estimate the share of requests that meet a target."""
    return estimate_all(met.astype(np.float64), Statistic.MEAN)[0]


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """Return an estimate in another unit."""
    return Estimate(estimate.value * factor, estimate.half_width * factor)


def occupied(work_s: float, replicas: int, begin_s: float, ends_s: NDArray[np.float64]) -> float:
    """Return the work that a replica does at a time, on average from the first arrival to the last end."""
    span_s = float(ends_s.max()) - float(begin_s)
    return work_s / (replicas * span_s) if span_s > 0 else math.nan
