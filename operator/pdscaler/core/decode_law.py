"""TPOT of a decode pool against its replicas and its load: the model behind ``sizing.model: Auto``. Imports core only."""

import math
from bisect import bisect_right
from statistics import NormalDist

from pdscaler.core.curves import decode_surface
from pdscaler.core.decision import Binding
from pdscaler.core.decode_grid import step_grid
from pdscaler.core.decode_lengths import decode_lengths
from pdscaler.core.decode_nodes import build_nodes
from pdscaler.core.decode_wait import WAIT_STEP, WAIT_STEPS, WaitTail, wait_probability, wait_tail
from pdscaler.core.profile import DecodeProfile
from pdscaler.core.slo import LatencyStatistics, Statistic
from pdscaler.core.workload import WorkloadStats

DEVIATIONS = {Statistic.MEAN: 0.0, Statistic.P50: 0.0, Statistic.P90: 1.30, Statistic.P95: 1.74, Statistic.P99: 2.6}
"""Standard deviations above the mean of each percentile of TPOT: a gamma shape of skewness 0.35."""

LOCAL_WAIT = 0.3

FAR = WAIT_STEP * WAIT_STEPS
"""A limit this many standard deviations of the occupancy away is never reached."""

_NORMAL_QUANTILES = {
    statistic: NormalDist().inv_cdf(statistic.quantile) for statistic in Statistic if statistic.quantile is not None
}


def decode_law(profile: DecodeProfile, workload: WorkloadStats, derate: float = 1.0) -> "DecodeLaw":
    """Build the law of one profile under one mix of lengths; the rate of ``workload`` does not matter.

    Parameters
    ----------
    profile
        Step time against batch and context, and the limits of a replica.
    workload
        Lengths and arrival scv.
    derate
        Factor on the throughput of every step, > 0.

    Raises
    ------
    InvalidInputError
        If the profile holds what cannot be measured, or a length is unknown.
    """
    return DecodeLaw(profile, workload, derate)


class DecodeLaw:
    """TPOT per request, mean and percentiles (:class:`pdscaler.core.law.LatencyLaw`)."""

    __slots__ = ("_base", "_idle", "_lengths", "_nodes", "_per_request", "_tail", "_wait_scale")

    def __init__(self, profile: DecodeProfile, workload: WorkloadStats, derate: float) -> None:
        surface = decode_surface(profile)
        lengths = decode_lengths(workload)
        self._lengths = lengths
        self._nodes = build_nodes(step_grid(profile), surface, lengths, workload.arrival_scv, derate)
        self._per_request = lengths.share * lengths.steps
        self._wait_scale = (max(workload.arrival_scv, 0.2) + lengths.steps_scv) / 2 * lengths.steps
        self._tail: WaitTail | None = None
        self._base: dict[Statistic, tuple[tuple[float, ...], tuple[float, ...]]] = {}
        spread = math.sqrt(math.log1p(lengths.own_variance / lengths.own_context**2))
        middle = math.log(lengths.own_context) - spread * spread / 2

        def alone_s(deviations: float) -> float:
            return surface.at_context(1.0, math.exp(middle + spread * deviations)) / derate

        # Gauss-Hermite with three points for the mean; the step time grows with the context, so quantiles map.
        mean_s = (4 * alone_s(0.0) + alone_s(-math.sqrt(3)) + alone_s(math.sqrt(3))) / 6
        self._idle = {Statistic.MEAN: mean_s} | {
            statistic: alone_s(deviations) for statistic, deviations in _NORMAL_QUANTILES.items()
        }

    def idle_s(self, statistic: Statistic) -> float:
        """Return the statistic of TPOT over requests each of which is alone on its replica."""
        return self._idle[statistic]

    def saturation_rps(self, replicas: int) -> float:
        """Return the load at which every replica is at its limit, or at its highest throughput."""
        return math.inf if self._per_request <= 0 else replicas * self._nodes.throughput[-1] / self._per_request

    def value_s(self, replicas: int, rate_rps: float, statistic: Statistic) -> float:
        """Return one statistic of TPOT, seconds."""
        steps = rate_rps * self._per_request
        if steps <= 0:
            return self._idle[statistic]
        throughput = steps / replicas
        if throughput >= self._nodes.throughput[-1]:
            return math.inf
        one, many = self._base.get(statistic) or self._tabulate(statistic)
        value = self._value(throughput, replicas, statistic, one if replicas == 1 else many)
        if replicas > 1 and steps < self._nodes.throughput[-1]:
            value = min(value, self._value(steps, 1, statistic, one))
        return max(value, self._idle[statistic])

    def at(self, replicas: int, rate_rps: float) -> LatencyStatistics:
        """Return every statistic of TPOT, seconds."""
        return LatencyStatistics(*(self.value_s(replicas, rate_rps, statistic) for statistic in Statistic))

    def binding(self, replicas: int, rate_rps: float) -> Binding:
        """Return the limit (slots or memory) where waiting for it makes up most of what the load adds, else TPOT."""
        nodes = self._nodes
        if nodes.binding is Binding.TPOT:
            return Binding.TPOT
        throughput = rate_rps * self._per_request / replicas
        if throughput >= nodes.throughput[-1]:
            return nodes.binding
        left, share = self._locate(throughput)
        steps_s = _between(nodes.many_s, left, share) - nodes.many_s[0]
        waiting_s = self._waiting_s(throughput, replicas, left, share, Statistic.MEAN)
        return nodes.binding if waiting_s > steps_s else Binding.TPOT

    def _tabulate(self, statistic: Statistic) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Shift the mean by what a request's own context makes of it; the more company, the less that counts."""
        nodes = self._nodes
        own_s = self._idle[Statistic.P50 if statistic is Statistic.P50 else Statistic.MEAN] - nodes.one_s[0]
        tables: list[tuple[float, ...]] = []
        for column in (nodes.one_s, nodes.many_s):
            values, top = [], 0.0
            for value in column:
                top = max(top, value + own_s)
                values.append(top)
            tables.append(tuple(values))
        self._base[statistic] = tables[0], tables[1]
        return self._base[statistic]

    def _locate(self, throughput: float) -> tuple[int, float]:
        """Return the node left of a throughput, and the share of the way to the next."""
        nodes = self._nodes
        left = bisect_right(nodes.throughput, throughput) - 1
        # Between nodes the step time is linear in the occupancy A: x = A / (c + k A), solved for A.
        occupancy = throughput * nodes.intercept_s[left] / (1.0 - throughput * nodes.slope_s[left])
        low = nodes.occupancy[left]
        share = (occupancy - low) / (nodes.occupancy[left + 1] - low)
        return left, min(max(share, 0.0), 1.0)

    def _value(self, throughput: float, replicas: int, statistic: Statistic, base: tuple[float, ...]) -> float:
        """Return one statistic below saturation, from the tables of one replica or of many."""
        nodes = self._nodes
        left, share = self._locate(throughput)
        mean_s = _between(base, left, share)
        if replicas > 1:
            mean_s += _between(nodes.shared_s, left, share) / replicas
        waiting_s = self._waiting_s(throughput, replicas, left, share, statistic)
        deviations = DEVIATIONS[statistic]
        if deviations == 0.0:
            return mean_s + waiting_s
        if replicas == 1:
            variance = _between(nodes.one_variance, left, share)
        else:
            shared = _between(nodes.shared_variance, left, share)
            variance = _between(nodes.many_variance, left, share) + shared / replicas
        own_s = max(0.0, self._idle[statistic] - self._idle[Statistic.MEAN])
        return mean_s + math.sqrt(own_s * own_s + deviations * deviations * variance + waiting_s * waiting_s)

    def _waiting_s(self, throughput: float, replicas: int, left: int, share: float, statistic: Statistic) -> float:
        """Return what waiting for a slot or for memory adds to one statistic of TPOT."""
        nodes = self._nodes
        if replicas == 1:
            spread = _between(nodes.one_spread, left, share)
        else:
            spread = _between(nodes.many_spread, left, share) + _between(nodes.shared_spread, left, share) / replicas
        room = nodes.limit - _between(nodes.occupancy, left, share)
        if room * room >= FAR * FAR * spread:
            return 0.0
        waits = wait_probability(room / math.sqrt(spread))
        tail = self._tail = self._tail or wait_tail(self._lengths)
        among = 1.0 if replicas == 1 else 1.0 / replicas + LOCAL_WAIT * _between(nodes.local_share, left, share)
        mean_wait = self._wait_scale * among / (nodes.throughput[-1] - throughput)
        quantile = statistic.quantile
        if quantile is None:
            return mean_wait * waits * tail.mean
        return mean_wait * tail.quantile(waits / (1.0 - quantile))


def _between(column: tuple[float, ...], left: int, share: float) -> float:
    """Interpolate a non-decreasing column; never beyond the right node, whatever the rounding."""
    low, high = column[left], column[left + 1]
    return min(low + (high - low) * share, high)
