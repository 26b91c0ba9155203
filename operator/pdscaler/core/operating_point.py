"""Operating points of one pool: steady loads and what they measured, few and spread over the loads. Imports core only.

A point holds what a law needs to say what the profile promises of it. What is remembered is bounded: of every tenth of
the utilisation the newest few, none older than a day, and what is old counts less.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pdscaler.core.calibration import OperatingPoint
from pdscaler.core.curves import prefill_curve
from pdscaler.core.decode_law import DecodeLaw, decode_law
from pdscaler.core.pools import Pool
from pdscaler.core.prefill_law import PrefillLaw, prefill_law
from pdscaler.core.profile import Overhead, PrefillProfile
from pdscaler.core.slo import Statistic
from pdscaler.core.spec import Routing, SizingSpec
from pdscaler.core.workload import LengthStats, WorkloadStats

KEEP_S = 24 * 3600.0
"""A point that is older says nothing of today's engine."""

HALF_LIFE_S = 4 * 3600.0
"""A point counts half as much after so long."""

BIN = 0.1
"""Loads whose utilisation lies within the same tenth take turns."""

NEWEST_PER_BIN = 4
MOST_POINTS = 24

_ENDLESS_S = 1e6
"""A wait of a law next to saturation, at most: the fit reckons with finite numbers."""


@dataclass(frozen=True, slots=True)
class PoolPoint:
    """One steady load of one pool, as measured over one window.

    Parameters
    ----------
    at_s
        End of the window, seconds since the epoch.
    replicas
        Replicas that served, >= 1.
    rate_rps
        Arrivals per second over the pool, > 0.
    isl, osl
        Lengths.
    prefix_hit_ratio
        Share of the input tokens that the prefix cache served.
    latency_s
        Measured mean, seconds, > 0: TTFT of prefill, TPOT of decode.
    """

    at_s: float
    replicas: int
    rate_rps: float
    isl: LengthStats
    osl: LengthStats
    prefix_hit_ratio: float
    latency_s: float

    @property
    def rounded(self) -> "PoolPoint":
        """The same in five significant digits: what is kept in a document is what was reckoned with."""
        return replace(
            self,
            at_s=math.floor(self.at_s),
            rate_rps=_short(self.rate_rps),
            isl=LengthStats(_short(self.isl.mean_tokens), _short(self.isl.scv)),
            osl=LengthStats(_short(self.osl.mean_tokens), _short(self.osl.scv)),
            prefix_hit_ratio=_short(self.prefix_hit_ratio),
            latency_s=_short(self.latency_s),
        )

    def weight(self, now_s: float) -> float:
        """Return how much it counts, in (0, 1]."""
        return float(0.5 ** (max(0.0, now_s - self.at_s) / HALF_LIFE_S))


@dataclass(frozen=True, slots=True)
class Engine:
    """What the profile promises of one point, and of an engine that is slower or faster than it.

    Parameters
    ----------
    point
        The point.
    pool
        Whose.
    spec
        Profiles and routing.
    """

    point: PoolPoint
    pool: Pool
    spec: SizingSpec

    def latency_s(self, derate: float = 1.0, extra_s: float = 0.0, kappa: float = 1.0) -> float:
        """Return the mean TTFT or TPOT, seconds, of an engine of a derate; infinite from saturation on.

        Parameters
        ----------
        derate
            Its throughput over the profile's, > 0.
        extra_s
            Overhead of a first token beyond the profile's, seconds.
        kappa
            Factor on the wait, > 0.
        """
        alone_s, wait_s = self.parts_s(derate, extra_s)
        return alone_s + kappa * wait_s

    def parts_s(self, derate: float = 1.0, extra_s: float = 0.0) -> tuple[float, float]:
        """Return what a request takes where it is alone, and what it waits for others, seconds."""
        point, rate_rps = self.point, self.point.rate_rps / derate
        if self.pool is Pool.DECODE:
            decode = _decode(self.spec, point)
            alone_s = decode.idle_s(Statistic.MEAN) / derate
            return alone_s, decode.value_s(point.replicas, rate_rps, Statistic.MEAN) / derate - alone_s
        law = _prefill(_bare(self.spec.prefill_profile), self.spec.routing, point.isl, point.prefix_hit_ratio)
        curve = prefill_curve(self.spec.prefill_profile)
        overhead_s = max(0.0, curve.fixed_overhead_s + extra_s) + curve.overhead_per_token_s * point.isl.mean_tokens
        alone_s = law.idle_s(Statistic.MEAN)
        wait_s = law.value_s(point.replicas, rate_rps, Statistic.MEAN) - alone_s
        return overhead_s + alone_s / derate, wait_s / derate

    @property
    def saturation_rps(self) -> float:
        """The load, requests/s, beyond which the queue grows without bound."""
        point = self.point
        if self.pool is Pool.DECODE:
            return _decode(self.spec, point).saturation_rps(point.replicas)
        law = _prefill(_bare(self.spec.prefill_profile), self.spec.routing, point.isl, point.prefix_hit_ratio)
        return law.saturation_rps(point.replicas)

    @property
    def load(self) -> float:
        """Utilisation by the profile; 1 is saturation."""
        return self.point.rate_rps / self.saturation_rps

    @property
    def alone_share(self) -> float:
        """Share of the profile's latency that is no wait for others, in (0, 1]."""
        alone_s, wait_s = self.parts_s()
        return alone_s / (alone_s + wait_s)

    def for_fit(self, now_s: float) -> OperatingPoint:
        """Return a prefill point as :func:`pdscaler.core.calibration.calibrate_ttft` takes it."""
        point, profile = self.point, self.spec.prefill_profile
        law = _prefill(_bare(profile), self.spec.routing, point.isl, point.prefix_hit_ratio)
        alone_s = law.idle_s(Statistic.MEAN)

        def wait_s(rate_rps: float) -> float:
            return min(_ENDLESS_S, law.value_s(point.replicas, rate_rps, Statistic.MEAN) - alone_s)

        return OperatingPoint(
            rate_rps=point.rate_rps,
            ttft_s=point.latency_s,
            service_s=alone_s,
            saturation_rps=law.saturation_rps(point.replicas),
            wait_s=wait_s,
            base_s=prefill_curve(profile).overhead_per_token_s * point.isl.mean_tokens,
            weight=point.weight(now_s),
        )


def remember(points: Sequence[PoolPoint], new: PoolPoint, spec: SizingSpec, pool: Pool) -> tuple[PoolPoint, ...]:
    """Return the points with a new one among them, oldest first: the newest of each load, none too old."""
    return thinned([*points, new], spec, pool, new.at_s)


def thinned(points: Iterable[PoolPoint], spec: SizingSpec, pool: Pool, now_s: float) -> tuple[PoolPoint, ...]:
    """Return the points worth keeping, oldest first.

    Parameters
    ----------
    points
        In any order.
    spec, pool
        Of which engines they are.
    now_s
        The time, seconds since the epoch; what is newer was written by a clock that has been put back since.
    """
    kept: list[PoolPoint] = []
    counted: dict[int, int] = {}
    for point in sorted(points, key=lambda each: (-each.at_s, each.replicas, each.rate_rps, each.latency_s)):
        if not 0 <= now_s - point.at_s <= KEEP_S or len(kept) == MOST_POINTS:
            continue
        place = math.floor(Engine(point, pool, spec).load / BIN)
        counted[place] = counted.get(place, 0) + 1
        if counted[place] <= NEWEST_PER_BIN:
            kept.append(point)
    return tuple(reversed(kept))


def _short(value: float) -> float:
    return float(f"{value:.5g}")


@lru_cache(maxsize=64)
def _bare(profile: PrefillProfile) -> PrefillProfile:
    return replace(profile, overhead=Overhead())


@lru_cache(maxsize=256)
def _prefill(profile: PrefillProfile, routing: Routing, isl: LengthStats, prefix_hit_ratio: float) -> PrefillLaw:
    return prefill_law(profile, WorkloadStats(0.0, isl, None, prefix_hit_ratio=prefix_hit_ratio), routing)


def _decode(spec: SizingSpec, point: PoolPoint) -> DecodeLaw:
    return decode_law(spec.decode_profile, WorkloadStats(0.0, point.isl, point.osl), spec.decode_derate)
