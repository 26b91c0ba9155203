"""TTFT of a prefill pool against replicas and load, in closed form: the prefill model of ``sizing.model: Auto``.

May import only the standard library, core and errors: no numpy, a value costs a few microseconds.

A request's TTFT is what it would be alone (pass over its own prompt, overhead) plus a delay. The delay has two parts:

* Sharing. A pass takes all prompts that wait, up to the token budget, so passes grow with the load and a replica
  serves more than one prompt at a time could. Passes hold n prompts on average, where n^k = 1 + v^k and v = rate x
  (pass time of n) is what arrives during a pass: a smooth maximum of 1 (an idle replica starts with one prompt) and v.
  A single replica with Poisson arrivals has n = v + exp(−v), which k = 2.2 to 2.5 follows closely; the more replicas
  share the arrivals, the sharper the maximum. A request that finds its replica busy waits for part of a pass (half of
  it by chance; nearly all of it under join-shortest-queue in a big pool, as arrivals are sent to those that have just
  begun) and then shares the next pass.
* Queueing beyond one pass: kappa / (c mu (1 − rho)) rho^k, kappa = (ca² + cs²) / 2, with mu the throughput of full
  passes. It is the heavy-traffic limit of batch-service queues, where a replica serves as if one prompt took 1 / mu,
  and with one prompt a pass the sum of both parts is the Pollaczek–Khinchine mean wait (c = 1) or, with c > 1, close
  to Allen and Cunneen's. The exponent is what the pool's size takes off at moderate load (Sakasegawa's form).

Percentiles: the delay exceeds t with the probability of a wait, times a law that is bounded for sharing and exponential
for queueing; delay and own length are independent up to what both exceed their means by, which adds up like
independent spreads do. Random routing and round robin make c single queues: of arrivals with scv 1 + (ca² − 1) / c and
ca² / c.

References: J. F. C. Kingman 1961, Proc. Cambridge Phil. Soc. 57 (heavy traffic); H. Takagi 1986, Analysis of Polling
Systems (gated service: what arrives during a pass is served in the next); H. Sakasegawa 1977, Ann. Inst. Stat. Math. 29
(the exponent sqrt(2 (c + 1)) − 1); A. O. Allen 1990, Probability, Statistics and Queueing Theory (Allen–Cunneen); W.
Whitt 1983, Bell Syst. Tech. J. 62 (splitting of renewal arrivals). The exponents and factors were fitted to
simulations: :mod:`pdscaler.core.prefill_constants` states the errors that remain.
"""

import math
from bisect import bisect_left
from typing import NamedTuple

from pdscaler.core.curves import prefill_curve
from pdscaler.core.decision import Binding
from pdscaler.core.prefill_constants import CENTRAL, JOIN_SHORTEST_QUEUE, SINGLE
from pdscaler.core.prefill_lengths import PromptLengths, prompt_lengths
from pdscaler.core.prefill_passes import PassTable, cautious_pass_table, flatness, pass_table
from pdscaler.core.prefill_pool import PoolFactors, Variation, pool_factors
from pdscaler.core.profile import PrefillProfile
from pdscaler.core.slo import LatencyStatistics, Statistic
from pdscaler.core.spec import Routing
from pdscaler.core.workload import WorkloadStats
from pdscaler.errors import InvalidInputError

LEAST_ARRIVAL_SCV = 0.01
"""Arrivals more regular than this are taken to be so: the formulas divide by the scv."""

GRAIN = 2.0**-28
"""Values are whole multiples of this part of a pass over the mean tokens, rounded up."""

CAUTIOUS_BEYOND = 0.9
"""Percentiles beyond this one use the cautious tables."""

_QUANTILES = {statistic: statistic.quantile or 0.0 for statistic in Statistic}


class _Delay(NamedTuple):
    """The delay at one load: a request's mean time alone, and both parts of what it waits, seconds.

    ``waits`` is the probability of a wait, ``sharing_s`` the mean wait for passes of those who do, ``queueing_s`` the
    queue beyond (over all requests), ``mean_s`` = waits x sharing_s + queueing_s. ``scale_s`` is the queue without the
    power of the ``load``.
    """

    alone_s: float
    waits: float
    sharing_s: float
    queueing_s: float
    mean_s: float
    load: float
    scale_s: float


class PrefillLaw:
    """TTFT of a pool of equal prefill replicas; implements :class:`pdscaler.core.law.LatencyLaw`.

    Notes
    -----
    Values never fall as the load or the arrivals' variance grows, never rise as replicas are added, and at P95 and P99
    never fall as the lengths vary more: there the passes are taken not to get faster by it (cautious tables). Two
    limits: on curves with steps and plateaus, as no engine has them, the laws of replicas and of lengths can fail by
    about a per cent; and where the truth itself rises with replicas (passes equally long whatever they hold, under
    join-shortest-queue) the values lie above it.
    """

    __slots__ = (
        "_arrival_scv",
        "_cautious",
        "_grain_s",
        "_lengths",
        "_pools",
        "_routing",
        "_table",
        "_variation",
    )

    def __init__(
        self,
        lengths: PromptLengths,
        tables: tuple[PassTable, PassTable],
        variation: Variation,
        *,
        arrival_scv: float,
        routing: Routing,
    ) -> None:
        self._lengths = lengths
        self._table, self._cautious = tables
        self._variation = variation
        self._arrival_scv = max(LEAST_ARRIVAL_SCV, arrival_scv)
        self._routing = routing
        self._pools: dict[int, PoolFactors] = {}
        self._grain_s = GRAIN * lengths.middle_s

    def at(self, replicas: int, rate_rps: float) -> LatencyStatistics:
        """Return mean and percentiles of TTFT, seconds; infinite where the queue is unstable."""
        alone_s = self._lengths.alone_s
        if rate_rps <= 0:
            return LatencyStatistics(*(alone_s[statistic] for statistic in Statistic))
        pool = self._pools.get(replicas) or self._pool(replicas)
        delay = self._delay(pool, self._table, replicas, rate_rps, pool.residual_spread)
        far = self._delay(pool, self._cautious, replicas, rate_rps, 1.0)
        return LatencyStatistics(
            self._mean_s(delay),
            self._median_s(pool, delay),
            self._tail_s(pool, delay, Statistic.P90, 0.9),
            self._tail_s(pool, far, Statistic.P95, 0.95),
            self._tail_s(pool, far, Statistic.P99, 0.99),
        )

    def value_s(self, replicas: int, rate_rps: float, statistic: Statistic) -> float:
        """Return one statistic of TTFT, seconds; infinite where the queue is unstable."""
        if rate_rps <= 0:
            return self._lengths.alone_s[statistic]
        pool = self._pools.get(replicas) or self._pool(replicas)
        quantile = _QUANTILES[statistic]
        if quantile > CAUTIOUS_BEYOND:
            far = self._delay(pool, self._cautious, replicas, rate_rps, 1.0)
            return self._tail_s(pool, far, statistic, quantile)
        delay = self._delay(pool, self._table, replicas, rate_rps, pool.residual_spread)
        if quantile == 0.0:
            return self._mean_s(delay)
        if quantile == 0.5:
            return self._median_s(pool, delay)
        return self._tail_s(pool, delay, statistic, quantile)

    def saturation_rps(self, replicas: int) -> float:
        """Return the throughput of full passes, requests/s: beyond it the queue grows without bound."""
        return replicas * self._table.saturation_rps

    def idle_s(self, statistic: Statistic) -> float:
        """Return TTFT without load: the statistic of pass and overhead of one prompt, over the lengths."""
        return self._lengths.alone_s[statistic]

    def binding(self, replicas: int, rate_rps: float) -> Binding:  # noqa: ARG002 (the same at any load)
        """Return TTFT: prefill has no other limit."""
        return Binding.TTFT

    def _delay(
        self, pool: PoolFactors, table: PassTable, replicas: int, rate_rps: float, spread: float
    ) -> _Delay | None:
        """Return the two parts of the delay; None where the queue is unstable."""
        rate = rate_rps / replicas
        load = rate * (pool.full_weight / table.saturation_rps + (1.0 - pool.full_weight) / table.peak_rps)
        if rate >= table.saturation_rps or load >= 1.0:
            return None
        prompts, pass_s, offered = _passes(table, rate, pool.sharpness)
        sharp = pool.busy_sharpness
        busy = min(1.0, offered / min(table.full, (1.0 + offered**sharp) ** (1.0 / sharp)))
        waits: float = busy**pool.wait_exponent
        residual = pool.residual
        if pool.residual_gain > 0.0:
            size: float = replicas  # what the wait for the running pass goes by, see PoolFactors
            if pool.flat > 0.0:
                size = size ** (1.0 - pool.flat) * (1.0 + 2.0 * rate_rps * table.single_s) ** pool.flat
            residual += pool.residual_gain * spread * (1.0 - size**pool.residual_power)
        own_s = _at(table, prompts + pool.burst * busy) if pool.burst > 0.0 else pass_s
        sharing_s = max(0.0, residual * pass_s + own_s - table.single_s)
        scale_s = pool.queue_factor / (table.saturation_rps * (1.0 - load))
        queueing_s = scale_s * load**pool.queue_exponent
        alone_s = self._lengths.alone_s[Statistic.MEAN] + (table.single_s - self._table.single_s)
        return _Delay(alone_s, waits, sharing_s, queueing_s, waits * sharing_s + queueing_s, load, scale_s)

    def _rounded_s(self, value_s: float) -> float:
        """Return the value to a whole number of grains: laws hold exactly, whatever the last bits of a power are."""
        return math.ceil(value_s / self._grain_s) * self._grain_s

    def _mean_s(self, delay: _Delay | None) -> float:
        return math.inf if delay is None else self._rounded_s(delay.alone_s + delay.mean_s)

    def _median_s(self, pool: PoolFactors, delay: _Delay | None) -> float:
        """Return P50; never above the mean, as lengths and waits are skewed to the right."""
        if delay is None:
            return math.inf
        sharing_s = pool.half_sharing * delay.sharing_s * delay.waits**pool.half_shape
        half_s = sharing_s + pool.half_queueing * delay.queueing_s * delay.waits**pool.half_power
        median_s = self._lengths.alone_s[Statistic.P50]
        gap_s = min(max(0.0, delay.alone_s - median_s), delay.mean_s)
        value_s = min(median_s + half_s + pool.half_gap * gap_s, delay.alone_s + delay.mean_s)
        return max(median_s, self._rounded_s(value_s))

    def _tail_s(self, pool: PoolFactors, delay: _Delay | None, statistic: Statistic, quantile: float) -> float:
        """Return a percentile from P90 up."""
        if delay is None:
            return math.inf
        waits, alone_s = delay.waits, self._lengths.alone_s[statistic]
        odds = waits**pool.wait_power / (1.0 - quantile)
        # ln(odds) where they are high; it falls smoothly to 0 where requests that far out hardly wait.
        logarithm = 0.5 * math.log1p(odds * odds)
        tail_s: float = delay.sharing_s * pool.bounded_factor * (-math.expm1(-logarithm)) ** pool.bounded_shape
        stretch = pool.tail_factor * (1.0 + pool.heavy * logarithm)
        tail_s += delay.scale_s * delay.load**pool.tail_exponent * stretch * logarithm
        delay_above_s = max(0.0, tail_s - delay.mean_s)
        alone_above_s = max(0.0, alone_s - delay.alone_s)
        power = pool.spread_power
        above_s: float = (alone_above_s**power + delay_above_s**power) ** (1.0 / power)
        return max(alone_s, self._rounded_s(min(alone_s, delay.alone_s) + delay.mean_s + above_s))

    def _pool(self, replicas: int) -> PoolFactors:
        """Return and keep the exponents and factors for a count of replicas."""
        constants, c, scv = SINGLE, 1.0, self._arrival_scv
        if self._routing is Routing.ROUND_ROBIN:
            scv = max(LEAST_ARRIVAL_SCV, scv / replicas)
        elif self._routing is Routing.RANDOM:
            # More regular arrivals would be thinned into less regular ones as replicas are added: Poisson at best.
            scv = 1.0 + max(0.0, scv - 1.0) / replicas
        else:
            constants = CENTRAL if self._routing is Routing.CENTRAL else JOIN_SHORTEST_QUEUE
            c = float(replicas)
        pool = self._pools[replicas] = pool_factors(constants, c, scv, self._variation)
        return pool


def prefill_law(profile: PrefillProfile, workload: WorkloadStats, routing: Routing) -> PrefillLaw:
    """Build the law of one prefill pool.

    Parameters
    ----------
    profile
        Pass times, token budget, overhead.
    workload
        Input lengths, prefix hits and arrival scv; its rate does not matter.
    routing
        How requests are spread over the replicas.

    Raises
    ------
    InvalidInputError
        If the profile makes no sense, or the length is unknown.

    Examples
    --------
    >>> from pdscaler.core.profile import MaxThroughput
    >>> from pdscaler.core.workload import LengthStats
    >>> profile = PrefillProfile(max_throughput=MaxThroughput(1000, 10000.0), max_batched_tokens=1000)
    >>> workload = WorkloadStats(0.0, LengthStats(1000.0), LengthStats(100.0))
    >>> law = prefill_law(profile, workload, Routing.JOIN_SHORTEST_QUEUE)
    >>> law.saturation_rps(2), law.idle_s(Statistic.MEAN), round(law.value_s(1, 5.0, Statistic.MEAN), 2)
    (20.0, 0.1, 0.15)
    """
    isl = workload.isl
    if isl is None:
        raise InvalidInputError("inputTokens", "the mean length is needed")
    curve = prefill_curve(profile)
    lengths = prompt_lengths(curve, isl, workload.prefix_hit_ratio)
    budget_tokens = float(profile.max_batched_tokens)
    table = pass_table(curve.line, lengths, budget_tokens)
    cautious = table
    if lengths.scv > 0 and not isl.atoms:
        cautious = cautious_pass_table(curve.line, lengths, budget_tokens)
    tokens = lengths.tokens
    budget = max(1.0, budget_tokens / tokens)
    variation = Variation(
        budget=budget,
        pass_range=curve.line(tokens * budget) / curve.line(tokens),
        scv=lengths.scv,
        # Passes are limited by time where one prompt fills the budget, by tokens where many do.
        demand_scv=lengths.pass_scv + (lengths.scv - lengths.pass_scv) * (1 - 1 / budget),
        flatness=flatness(curve.line, tokens, budget_tokens),
    )
    return PrefillLaw(lengths, (table, cautious), variation, arrival_scv=workload.arrival_scv, routing=routing)


def _passes(table: PassTable, rate: float, sharpness: float) -> tuple[float, float, float]:
    """Return mean prompts in a pass, its time, and the prompts that arrive during it (by the envelope).

    The root of (1 + v(n)^k)^(1/k) = n, v(n) = rate x envelope(n). As v / n falls with n, it is unique and moves up
    with the rate: bisection over the nodes, then linear in between.
    """
    prompts, envelope_s = table.prompts, table.envelope_s
    last = len(prompts) - 1
    low, high = 0, last
    if 1.0 + (rate * envelope_s[last]) ** sharpness >= prompts[last] ** sharpness:
        return prompts[last], table.pass_s[last], rate * envelope_s[last]
    while high - low > 1:
        middle = (low + high) >> 1
        if 1.0 + (rate * envelope_s[middle]) ** sharpness >= prompts[middle] ** sharpness:
            low = middle
        else:
            high = middle
    inverse = 1.0 / sharpness
    left = (1.0 + (rate * envelope_s[low]) ** sharpness) ** inverse - prompts[low]
    right = (1.0 + (rate * envelope_s[high]) ** sharpness) ** inverse - prompts[high]
    share = min(1.0, max(0.0, left / (left - right))) if left > right else 0.0
    return (
        prompts[low] + (prompts[high] - prompts[low]) * share,
        table.pass_s[low] + (table.pass_s[high] - table.pass_s[low]) * share,
        rate * (envelope_s[low] + (envelope_s[high] - envelope_s[low]) * share),
    )


def _at(table: PassTable, prompts: float) -> float:
    """Return the time of a pass of so many prompts, at most a full one."""
    nodes = table.prompts
    if prompts >= nodes[-1]:
        return table.pass_s[-1]
    right = max(1, bisect_left(nodes, prompts))
    low_s = table.pass_s[right - 1]
    share = (prompts - nodes[right - 1]) / (nodes[right] - nodes[right - 1])
    return low_s + (table.pass_s[right] - low_s) * share
