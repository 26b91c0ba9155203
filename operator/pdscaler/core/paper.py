"""The base sizing model, PaperMM1. May import only numpy, core and errors.

Li, Li, Gong, Zhang: "SLO-Aware Compute Resource Allocation for Prefill-Decode Disaggregated LLM Inference",
arXiv 2603.04716 (2026). Equation numbers in this module are theirs. Each prefill replica is one M/M/1 queue; each
decode replica runs at the largest batch whose measured TPOT meets the target.

Symbols: rate (Lambda, requests/s), L_in and L_out (mean tokens), T_P (the benchmarked maximum prefill throughput of
one replica, tokens/s), TP_p and TP_d (throughput of one prefill and one decode replica within the SLO, tokens/s),
mu = T_P / L_in, k (factor of the statistic under an exponential sojourn), T_ov (overhead, s).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pdscaler.core.curves import DecodeSurface, Line
from pdscaler.core.decision import Binding
from pdscaler.core.slo import LatencyStatistics, LatencyTarget, Statistic

UTILIZATION_IF_INFEASIBLE = 0.5
"""Prefill utilisation where no count meets the target: the mean wait is then as long as the service, no longer."""

UTILIZATION_WITHOUT_TARGET = 0.9
"""Highest prefill utilisation where TTFT has no target: the queue must stay stable under the load it is sized for."""

BEST_WITHIN = 1.02
"""An infeasible TPOT target gets the least count whose TPOT is within 2 % of the best achievable (MODEL section 4)."""


def sojourn_factor(statistic: Statistic) -> float:
    """Return k of an exponential sojourn time: statistic = k times the mean.

    Examples
    --------
    >>> [round(sojourn_factor(s), 3) for s in Statistic]
    [1.0, 0.693, 2.303, 2.996, 4.605]
    """
    quantile = statistic.quantile
    return 1.0 if quantile is None else -math.log1p(-quantile)


def prefill_throughput(
    max_tokens_per_second: float, input_tokens: float, ttft_s: float, overhead_s: float, factor: float = 1.0
) -> float:
    """Return TP_p, the tokens/s one prefill replica serves within the target (equation 13).

    Parameters
    ----------
    max_tokens_per_second
        T_P, the throughput without idle time, > 0.
    input_tokens
        L_in; with prefix caching the uncached part of it.
    ttft_s, overhead_s
        The target and what of it is not queue or pass, seconds.
    factor
        k of the statistic, see :func:`sojourn_factor`.

    Returns
    -------
    float
        Tokens per second; 0 where the target is infeasible (TTFT - T_ov <= k L_in / T_P).

    Notes
    -----
    TTFT_p - T_ov = k / (mu - lambda), so TP_p = T_P - k L_in / (TTFT_p - T_ov).

    Examples
    --------
    >>> round(prefill_throughput(28309, 6144, 2.0, 0.1))
    25075
    """
    allowed_s = ttft_s - overhead_s
    if allowed_s <= factor * input_tokens / max_tokens_per_second:
        return 0.0
    return max_tokens_per_second - factor * input_tokens / allowed_s


def prefill_decode_ratio(input_tokens: float, output_tokens: float, prefill_tps: float, decode_tps: float) -> float:
    """Return the P:D ratio (equation 7): prefill replicas for each decode replica.

    Examples
    --------
    >>> round(prefill_decode_ratio(6144, 512, 25075, 1690), 2), round(prefill_decode_ratio(6144, 512, 25075, 1714), 2)
    (0.81, 0.82)
    """
    return (input_tokens * decode_tps) / (output_tokens * prefill_tps)


def quadratic_decode_throughput(points: Sequence[tuple[float, float]], tpot_s: float) -> float:
    """Return TP_d by the authors' fit: decode throughput as a quadratic function of TPOT.

    The plan itself interpolates the batch linearly (:class:`DecodeModel`); this is the published variant beside it.

    Parameters
    ----------
    points
        (batch, TPOT in seconds), at least three.
    tpot_s
        The target, seconds.

    Examples
    --------
    >>> measured = [(10, .0128), (20, .0164), (30, .0188), (40, .0216), (50, .0239), (60, .0262)]
    >>> round(quadratic_decode_throughput(measured, 0.020), -1)
    1690.0
    """
    import numpy as np

    fit = np.polynomial.Polynomial.fit([tpot for _, tpot in points], [batch / tpot for batch, tpot in points], deg=2)
    return float(fit(tpot_s))


@dataclass(frozen=True, slots=True)
class PrefillModel:
    """One pool of M/M/1 prefill replicas under a given load.

    Parameters
    ----------
    rate_rps
        Arrivals per second over the whole pool.
    service_s
        Time of one pass over the uncached tokens of a mean request, 1 / mu.
    overhead_s
        T_ov.
    target
        The TTFT objective; None where there is none.
    """

    rate_rps: float
    service_s: float
    overhead_s: float
    target: LatencyTarget | None

    @property
    def attainable(self) -> bool:
        """Whether any number of replicas meets the target."""
        return self.capacity_rps > 0

    @property
    def binding(self) -> Binding:
        """What decides the required count."""
        return Binding.TTFT

    @property
    def capacity_rps(self) -> float:
        """Requests per second that one replica serves within the target; 0 where it cannot."""
        if self.target is None:
            return UTILIZATION_WITHOUT_TARGET / self.service_s
        factor = sojourn_factor(self.target.statistic)
        return prefill_throughput(1 / self.service_s, 1.0, self.target.target_s, self.overhead_s, factor)

    @property
    def best_effort_rps(self) -> float:
        """Requests per second of one replica that the pool is sized on: the capacity, or the bounded rule instead.

        Notes
        -----
        No count meets an infeasible target, and the latency only approaches its infimum as replicas are added. The
        pool then runs at half utilisation: wait <= service. So an infeasible target gets at least what any feasible
        target of TTFT - T_ov >= 2 k / mu gets, and at most twice what a stable queue needs.
        """
        return self.capacity_rps or UTILIZATION_IF_INFEASIBLE / self.service_s

    def statistics(self, replicas: int) -> LatencyStatistics:
        """Return the predicted TTFT; infinite where the queue is unstable."""
        utilization = self.rate_rps * self.service_s / replicas
        mean_s = self.service_s / (1 - utilization) if utilization < 1 else math.inf
        return _statistics(lambda statistic: sojourn_factor(statistic) * mean_s + self.overhead_s)

    def alone_s(self) -> float:
        """Return the target's statistic of TTFT on an idle engine, seconds."""
        statistic = self.target.statistic if self.target else Statistic.MEAN
        return sojourn_factor(statistic) * self.service_s + self.overhead_s


@dataclass(frozen=True, slots=True)
class BatchLimit:
    """The largest batch one decode replica can run, whatever the target, and what limits it."""

    batch: float
    binding: Binding


def batch_limit(surface: DecodeSurface, context_tokens: float) -> BatchLimit:
    """Return the largest batch by slots and by KV memory; never below 1, for an empty replica admits any request."""
    by_memory = math.inf if surface.kv_capacity_tokens is None else surface.kv_capacity_tokens / context_tokens
    if by_memory < surface.max_batch:
        return BatchLimit(max(1.0, by_memory), Binding.KV_MEMORY)
    return BatchLimit(float(surface.max_batch), Binding.BATCH_SLOTS)


@dataclass(frozen=True, slots=True)
class DecodeModel:
    """One pool of decode replicas under a given load, each at one batch and one context length.

    Parameters
    ----------
    rate_rps
        Requests per second over the whole pool.
    output_tokens
        L_out.
    line
        Step time, seconds, against batch at the mean context, L_in + L_out / 2.
    limit
        Largest batch by slots and memory.
    derate
        Factor on the throughput, > 0.
    target
        The TPOT objective; None where there is none. Its statistic does not matter here.

    Notes
    -----
    TP_d = B* / TPOT(B*), B* the largest batch with TPOT(B*) <= target and within the limits. Where the measured
    throughput B / TPOT(B) falls as the batch grows (it does beyond saturation), the batch of the highest throughput up
    to B* is used instead: otherwise a looser target would ask for more replicas. Neglected: fluctuation of the batch
    and the ramp of the context, both of which make the truth slower.
    """

    rate_rps: float
    output_tokens: float
    line: Line
    limit: BatchLimit
    derate: float
    target: LatencyTarget | None

    @property
    def attainable(self) -> bool:
        """Whether any number of replicas meets the target."""
        return self.target is None or self.line(1.0) <= self.target.target_s

    @property
    def largest_batch(self) -> float:
        """B*, the largest batch that meets the target and the limits; 0 where none does."""
        if self.target is None:
            return self.limit.batch
        return self.batch_within(self.target.target_s)

    @property
    def binding(self) -> Binding:
        """What decides the required count."""
        return self.limit.binding if self.largest_batch >= self.limit.batch else Binding.TPOT

    @property
    def capacity_rps(self) -> float:
        """Requests per second that one replica serves within the target; 0 where it cannot."""
        return self.throughput_tps(self.largest_batch) / self.output_tokens

    @property
    def best_effort_rps(self) -> float:
        """Requests per second of one replica that the pool is sized on: the capacity, or the bounded rule instead.

        Notes
        -----
        An infeasible target gets the least count whose TPOT is within 2 % of TPOT(1). That is at least what any
        feasible target of 1.02 TPOT(1) or more gets. (A feasible target inside those 2 % may ask for more: it has to
        be met exactly.)
        """
        return self.capacity_rps or self.throughput_tps(self.batch_within(BEST_WITHIN * self.line(1.0))) / (
            self.output_tokens
        )

    def batch_within(self, tpot_s: float) -> float:
        """Return the largest batch, real-valued and within the limits, whose step takes at most ``tpot_s``."""
        right, step_s = self.limit.batch, self.line(self.limit.batch)
        if step_s <= tpot_s:
            return right
        for left in reversed(self._knots()[:-1]):
            value_s = self.line(left)
            if value_s <= tpot_s:
                return left + (right - left) * (tpot_s - value_s) / (step_s - value_s)
            right, step_s = left, value_s
        return 0.0

    def throughput_tps(self, batch: float) -> float:
        """Return the highest throughput, output tokens per second, of any batch up to ``batch``."""
        candidates = [*(knot for knot in self._knots() if knot < batch), batch]
        return self.derate * max(candidate / self.line(candidate) for candidate in candidates)

    def statistics(self, replicas: int) -> LatencyStatistics:
        """Return the predicted TPOT, the same for every statistic; infinite where the load cannot be served."""
        tpot_s = self.tpot_at(self.rate_rps * self.output_tokens / replicas)
        return _statistics(lambda _: tpot_s)

    def tpot_at(self, tokens_per_second: float) -> float:
        """Return TPOT, seconds, at the least batch of one replica that yields ``tokens_per_second``."""
        wanted = tokens_per_second / self.derate
        left, left_s = 1.0, self.line(1.0)
        # A load of exactly n times the capacity is served by n replicas, whatever the roundings on the way here.
        least = wanted * (1 - 1e-12)
        if least * left_s <= left:
            return left_s
        for right in self._knots()[1:]:
            right_s = self.line(right)
            if right / right_s >= least:
                slope = (right_s - left_s) / (right - left)
                intercept_s = left_s - slope * left
                # b / (intercept + slope b) = wanted; the denominator is positive as the throughput grows up to right.
                batch = min(right, wanted * intercept_s / (1 - wanted * slope)) if wanted * slope < 1 else right
                return self.line(batch)
            left, left_s = right, right_s
        return math.inf

    def _knots(self) -> list[float]:
        """Batches between which the step time is linear: from one request alone to the limit."""
        limit = self.limit.batch
        return [1.0, *(knot for knot in self.line.knots if 1.0 < knot < limit), *([limit] if limit > 1.0 else [])]


def _statistics(value: Callable[[Statistic], float]) -> LatencyStatistics:
    return LatencyStatistics(*(value(statistic) for statistic in Statistic))
