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

References: Kingman 1961 and Pollaczek–Khinchine (the heavy-traffic mean); O. J. Boxma and others on gated queues (what
arrives during a pass is served in the next); H. Sakasegawa 1977, Ann. Inst. Stat. Math. 29 (the exponent
sqrt(2 (c + 1)) − 1); A. O. Allen 1990, Probability, Statistics and Queueing Theory (Allen–Cunneen); the splitting of
renewal arrivals: W. Whitt 1983, Bell Syst. Tech. J. 62. The exponents and factors were fitted to simulations
(:mod:`pdscaler.core.prefill_constants`, where the errors that remain are stated).
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

from pdscaler.core.curves import prefill_curve
from pdscaler.core.decision import Binding
from pdscaler.core.prefill_constants import CENTRAL, JOIN_SHORTEST_QUEUE, SINGLE, Constants
from pdscaler.core.prefill_lengths import PromptLengths, prompt_lengths
from pdscaler.core.prefill_passes import PassTable, cautious_pass_table, pass_table
from pdscaler.core.profile import PrefillProfile
from pdscaler.core.slo import LatencyStatistics, Statistic
from pdscaler.core.spec import Routing
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError

LEAST_ARRIVAL_SCV = 0.01
"""Arrivals more regular than this are taken to be so: the formulas divide by the scv."""

SHARPEST = 40.0
"""Greatest exponent of the smooth maximum: beyond it there is no difference, and powers would overflow."""

BLUNTEST = 1.05
"""Least exponent of the smooth maximum."""

LEAST_EXPONENT, MOST_EXPONENT = 0.3, 200.0
"""Bounds of the exponent of the load in the queueing term."""

CAUTIOUS_BEYOND = 0.9
"""Percentiles beyond this one use the cautious tables."""

_QUANTILES = {statistic: statistic.quantile or 0.0 for statistic in Statistic}
_ONE_TOKEN = LengthStats(1.0)


@dataclass(frozen=True, slots=True)
class _Pool:
    """What depends on the count of replicas only: the exponents and factors of the formulas (module docstring)."""

    constants: Constants
    sharpness: float
    busy_sharpness: float
    wait_exponent: float
    residual: float
    residual_spread: float
    burst: float
    full_weight: float
    queue_exponent: float
    queue_factor: float
    bounded_factor: float
    tail_factor: float
    heavy: float


class _Delay(NamedTuple):
    """The delay at one load: a request's mean time alone, and both parts of what it waits, seconds.

    ``waits`` is the probability of a wait, ``sharing_s`` the mean wait for passes of those who do, ``queueing_s`` the
    queue beyond (over all requests), ``mean_s`` = waits x sharing_s + queueing_s.
    """

    alone_s: float
    waits: float
    sharing_s: float
    queueing_s: float
    mean_s: float


class PrefillLaw:
    """TTFT of a pool of equal prefill replicas; implements :class:`pdscaler.core.law.LatencyLaw`.

    Notes
    -----
    Values never fall as the load or the arrivals' variance grows, never rise as replicas are added, and at P95 and P99
    never fall as the lengths vary more: there the passes are taken not to get faster by it (cautious tables).
    """

    __slots__ = ("_arrival_scv", "_budget", "_cautious", "_demand_scv", "_lengths", "_pools", "_routing", "_table")

    def __init__(
        self,
        lengths: PromptLengths,
        tables: tuple[PassTable, PassTable],
        *,
        budget: float,
        arrival_scv: float,
        routing: Routing,
    ) -> None:
        self._lengths = lengths
        self._table, self._cautious = tables
        self._budget = max(1.0, budget)
        self._arrival_scv = max(LEAST_ARRIVAL_SCV, arrival_scv)
        self._routing = routing
        # Passes are limited by time where one prompt fills the budget, by tokens where many do.
        self._demand_scv = lengths.pass_scv + (lengths.scv - lengths.pass_scv) * (1 - 1 / self._budget)
        self._pools: dict[int, _Pool] = {}

    def at(self, replicas: int, rate_rps: float) -> LatencyStatistics:
        """Return mean and percentiles of TTFT, seconds; infinite where the queue is unstable."""
        alone_s = self._lengths.alone_s
        if rate_rps <= 0:
            return LatencyStatistics(*(alone_s[statistic] for statistic in Statistic))
        pool = self._pools.get(replicas) or self._pool(replicas)
        delay = self._delay(pool, self._table, rate_rps / replicas, pool.residual_spread)
        far = self._delay(pool, self._cautious, rate_rps / replicas, pool.residual)
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
            far = self._delay(pool, self._cautious, rate_rps / replicas, pool.residual)
            return self._tail_s(pool, far, statistic, quantile)
        delay = self._delay(pool, self._table, rate_rps / replicas, pool.residual_spread)
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

    def _delay(self, pool: _Pool, table: PassTable, rate: float, residual: float) -> _Delay | None:
        """Return the two parts of the delay at a rate per replica; None where the queue is unstable."""
        if rate >= table.saturation_rps:
            return None
        prompts, pass_s, offered = _passes(table, rate, pool.sharpness)
        sharp = pool.busy_sharpness
        busy = min(1.0, offered / (1.0 + offered**sharp) ** (1.0 / sharp)) if table.prompts[-1] > 1.0 else offered
        own_s = _at(table, prompts + pool.burst * busy) if pool.burst > 0.0 else pass_s
        weight = pool.full_weight
        load = rate * (weight / table.saturation_rps + (1.0 - weight) / table.peak_rps)
        waits: float = busy**pool.wait_exponent
        sharing_s = max(0.0, residual * pass_s + own_s - table.single_s)
        queueing_s = pool.queue_factor * load**pool.queue_exponent / (table.saturation_rps * (1.0 - load))
        alone_s = self._lengths.alone_s[Statistic.MEAN] + (table.single_s - self._table.single_s)
        return _Delay(alone_s, waits, sharing_s, queueing_s, waits * sharing_s + queueing_s)

    def _mean_s(self, delay: _Delay | None) -> float:
        return math.inf if delay is None else delay.alone_s + delay.mean_s

    def _median_s(self, pool: _Pool, delay: _Delay | None) -> float:
        """Return P50: never above the mean by more than the delay's own median is."""
        if delay is None:
            return math.inf
        q, waits = pool.constants, delay.waits
        half_s: float = (
            delay.sharing_s * waits ** (1.0 + q.half_shape) * q.half_sharing
            + delay.queueing_s * waits**q.half_power * q.half_queueing
        )
        median_s = self._lengths.alone_s[Statistic.P50]
        gap_s = min(max(0.0, delay.alone_s - median_s), delay.mean_s)
        bound_s = max(median_s, delay.alone_s + max(half_s, delay.mean_s))
        return min(median_s + half_s + q.half_gap * gap_s, bound_s)

    def _tail_s(self, pool: _Pool, delay: _Delay | None, statistic: Statistic, quantile: float) -> float:
        """Return a percentile from P90 up."""
        if delay is None:
            return math.inf
        q, waits = pool.constants, delay.waits
        odds = waits**q.wait_power / (1.0 - quantile)
        # ln(odds) where the odds are high; falls smoothly to 0 where a request that far out hardly waits.
        logarithm = 0.5 * math.log1p(odds * odds)
        tail_s: float = delay.sharing_s * pool.bounded_factor * (-math.expm1(-logarithm)) ** q.bounded_shape
        if waits > 0.0:
            stretch = pool.tail_factor * (1.0 + pool.heavy * logarithm)
            tail_s += delay.queueing_s * waits**-q.tail_power * stretch * logarithm
        delay_above_s = max(0.0, tail_s - delay.mean_s)
        alone_above_s = max(0.0, self._lengths.alone_s[statistic] - delay.alone_s)
        power = q.spread_power
        above_s: float = (alone_above_s**power + delay_above_s**power) ** (1.0 / power)
        return delay.alone_s + delay.mean_s + above_s

    def _pool(self, replicas: int) -> _Pool:
        """Return and keep the exponents and factors for a count of replicas."""
        scv = self._arrival_scv
        single = replicas == 1
        if self._routing is Routing.ROUND_ROBIN:
            scv, single = max(LEAST_ARRIVAL_SCV, scv / replicas), True
        elif self._routing is Routing.RANDOM:
            scv, single = 1.0 + (scv - 1.0) / replicas, True
        pooled = CENTRAL if self._routing is Routing.CENTRAL else JOIN_SHORTEST_QUEUE
        constants, c = (SINGLE, 1.0) if single else (pooled, float(replicas))
        made = _pool(constants, c, scv, budget=self._budget, demand_scv=self._demand_scv, scv=self._lengths.scv)
        self._pools[replicas] = made
        return made


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
        If the profile, the lengths or a variation make no sense.

    Examples
    --------
    >>> from pdscaler.core.profile import MaxThroughput
    >>> profile = PrefillProfile(max_throughput=MaxThroughput(1000, 10000.0), max_batched_tokens=1000)
    >>> workload = WorkloadStats(0.0, LengthStats(1000.0), LengthStats(100.0))
    >>> law = prefill_law(profile, workload, Routing.JOIN_SHORTEST_QUEUE)
    >>> law.saturation_rps(2), law.idle_s(Statistic.MEAN), round(law.value_s(1, 5.0, Statistic.MEAN), 3)
    (20.0, 0.1, 0.15)
    """
    isl = workload.isl or _ONE_TOKEN
    for field, value, least in (
        ("inputTokens", isl.mean_tokens, 0.0),
        ("inputTokensScv", isl.scv, -1.0),
        ("arrivalScv", workload.arrival_scv, -1.0),
    ):
        if not math.isfinite(value) or value <= least:
            raise InvalidInputError(field, f"must be a finite number, found {value}")
    curve = prefill_curve(profile)
    lengths = prompt_lengths(curve, isl, workload.prefix_hit_ratio)
    budget = float(profile.max_batched_tokens)
    table = pass_table(curve.line, lengths, budget)
    cautious = table
    if lengths.scv > 0 and not isl.atoms:
        cautious = cautious_pass_table(curve.line, lengths, budget)
    return PrefillLaw(
        lengths, (table, cautious), budget=budget / lengths.tokens, arrival_scv=workload.arrival_scv, routing=routing
    )


def _pool(q: Constants, c: float, arrivals: float, *, budget: float, demand_scv: float, scv: float) -> _Pool:
    """Return the exponents and factors at a count of replicas ``c`` (1: each replica is a queue of its own).

    ``arrivals`` is the arrivals' scv at such a queue, ``scv`` that of the lengths, ``demand_scv`` that of the work.
    """
    root = math.sqrt(2.0 * (c + 1.0)) - 2.0
    base = q.sharpness + q.sharpness_pool * (c**q.sharpness_growth - 1.0)
    bursts = arrivals ** (-q.sharpness_bursts * c**-q.sharpness_pooling)
    sharpness = 1.0 + base * bursts * (1.0 + scv) ** -q.sharpness_lengths
    regularity = arrivals
    if arrivals < 1.0:
        regularity = (arrivals + q.wait_lengths * demand_scv) / (1.0 + q.wait_lengths * demand_scv)
    kappa = (arrivals + demand_scv) / 2.0
    chosen = 0.5 * q.residual_pool * (1.0 - c**-q.residual_growth)
    queue_exponent = (1.0 + q.queue_power * kappa**-q.queue_kappa * c**-q.queue_pooling) * budget**q.queue_budget
    queue_exponent += q.queue_pool * root * (1.0 + q.queue_pool_budget * (1.0 - 1.0 / budget)) * kappa**-q.queue_pooling
    excess = max(0.0, arrivals - 1.0)
    bounded = q.bounded * c**-q.bounded_pooling * budget**q.bounded_budget * (1.0 + q.bounded_bursts * excess)
    return _Pool(
        constants=q,
        sharpness=min(SHARPEST, max(BLUNTEST, sharpness)),
        busy_sharpness=min(SHARPEST, 1.0 + base),
        wait_exponent=(1.0 + q.wait_pool * root) * regularity ** (-q.wait_bursts * c**-q.wait_pooling),
        residual=q.residual + chosen,
        residual_spread=q.residual + chosen * (1.0 + scv) ** -q.residual_lengths,
        burst=q.burst * c**-q.burst_pooling * excess,
        full_weight=budget**-q.full_weight,
        queue_exponent=min(MOST_EXPONENT, max(LEAST_EXPONENT, queue_exponent)),
        queue_factor=q.queue_factor * kappa / c**q.queue_share,
        bounded_factor=1.0 + bounded,
        tail_factor=q.tail * kappa**-q.tail_kappa * (1.0 + demand_scv) ** q.tail_lengths * c**q.tail_pool,
        heavy=q.heavy * demand_scv / (1.0 + demand_scv) / math.log(100.0),
    )


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
