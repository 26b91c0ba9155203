"""A pool of replicas on top of any latency law: least counts, largest loads, bounded rules. Imports core only."""

import math
from dataclasses import dataclass, field

from pdscaler.core.decision import Binding
from pdscaler.core.inverse import Found, Limit, largest_load, least_count
from pdscaler.core.law import LatencyLaw
from pdscaler.core.need import Need
from pdscaler.core.paper import BEST_WITHIN, UTILIZATION_WITHOUT_TARGET
from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyStatistics, LatencyTarget, Statistic

MOST_REPLICAS = 10**6
"""A need beyond this is no longer counted (a target at the very edge of what is attainable)."""

TTFT_WITHIN = 2.0
"""A TTFT target that no count meets gets the least count with at most twice the TTFT of a pool without load.

For M/M/1 without overhead this is half utilisation, as PaperMM1 has it; a share of saturation would say little where
passes take many prompts, as their latency has doubled long before.
"""

ROUNDING = 1e-9
"""A need this little above a whole number is that number: it is rounding of the arithmetic."""

NEXT_TO_NO_LOAD = 1e-3
"""Share of one replica's saturation at which a target of exactly the latency without load must still be met."""


@dataclass(frozen=True, slots=True)
class LawPool:
    """A pool under a given load.

    Parameters
    ----------
    pool
        Its role, which decides the rule for targets that no count meets.
    law
        Latency against replicas and load.
    rate_rps
        Requests per second over the whole pool.
    target
        The objective; None where there is none.
    correction
        Factor on every load before the law sees it, > 0: what simulation found the law to be off by.
    """

    pool: Pool
    law: LatencyLaw
    rate_rps: float
    target: LatencyTarget | None
    correction: float = 1.0
    _statistic: Statistic = field(init=False, repr=False)
    _idle_s: float = field(init=False, repr=False)
    _attainable: bool = field(init=False, repr=False)
    _limit: Limit = field(init=False, repr=False)
    _share: float | None = field(init=False, repr=False)
    _loads: dict[int, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        statistic = Statistic.MEAN if self.target is None else self.target.statistic
        idle_s = self.law.idle_s(statistic)
        attainable, limit_s, share = True, math.inf, None
        if self.target is None:
            share = UTILIZATION_WITHOUT_TARGET
        elif self._reaches(self.target, idle_s):
            limit_s = self.target.target_s
        else:
            attainable = False
            limit_s = (BEST_WITHIN if self.pool is Pool.DECODE else TTFT_WITHIN) * idle_s
        for name, value in (
            ("_statistic", statistic),
            ("_idle_s", idle_s),
            ("_attainable", attainable),
            ("_limit", Limit(limit_s, idle_s)),
            ("_share", share),
            ("_loads", {}),
        ):
            object.__setattr__(self, name, value)

    def _reaches(self, target: LatencyTarget, idle_s: float) -> bool:
        """Whether some count meets the target under some load."""
        if target.target_s != idle_s:
            return target.target_s > idle_s
        little_rps = NEXT_TO_NO_LOAD * self.law.saturation_rps(1)
        return self.law.value_s(1, little_rps, target.statistic) <= target.target_s

    @property
    def statistic(self) -> Statistic:
        """The statistic that the target binds; the mean where there is no target."""
        return self._statistic

    @property
    def idle_s(self) -> float:
        """That statistic without load, seconds: no count does better."""
        return self._idle_s

    @property
    def attainable(self) -> bool:
        """Whether any number of replicas meets the target."""
        return self._attainable

    def least_replicas(self, rate_rps: float) -> int:
        """Return the least count that serves a load within the target, or the bounded rule where none does.

        Notes
        -----
        The bounded rules (MODEL section 4): a TPOT target that no count meets gets the least count whose statistic is
        within 2 % of the best achievable; a TTFT target that no count meets gets the least whose statistic is at most
        twice what it is without load; without a target the pool runs at 90 % of saturation at most. All three never
        fall as the load grows, and none runs away. So what no count meets gets no less than any looser target that
        some count meets, beyond those 2 % and that factor of two; a target between may ask for more, as it has to be
        met exactly.
        """
        return self._find(rate_rps).count

    def _find(self, rate_rps: float) -> Found:
        rate_rps *= self.correction
        saturated = rate_rps / self.law.saturation_rps(1)
        if saturated <= 0:
            return Found(1, 0.0, -1.0)
        if self._share is None:
            value_s, statistic = self.law.value_s, self._statistic
            return least_count(lambda count: value_s(count, rate_rps, statistic), self._limit, saturated, MOST_REPLICAS)
        wanted = min(saturated / self._share, float(MOST_REPLICAS))
        return Found(max(1, math.ceil(wanted * (1 - ROUNDING))), wanted, -1.0)

    def largest_load(self, replicas: int) -> float:
        """Return the largest load, requests/s, that a count serves within the target, or by the bounded rule.

        The inverse of :meth:`least_replicas`, to a relative precision of 1e-6.
        """
        return self._load(replicas, None)

    def _load(self, replicas: int, found: Found | None) -> float:
        """Return the largest load, searched for once; ``found`` tells where about it is."""
        if replicas < 1:
            return 0.0
        load_rps = self._loads.get(replicas)
        if load_rps is None:
            load_rps = self.law.saturation_rps(replicas)
            if self._share is not None:
                load_rps *= self._share
            elif math.isfinite(load_rps):
                value_s, statistic = self.law.value_s, self._statistic
                load_rps = largest_load(
                    lambda rate_rps: value_s(replicas, rate_rps, statistic),
                    self._limit,
                    load_rps,
                    self._near(replicas, load_rps, found),
                    -1.0 if found is None else found.slope,
                )
            load_rps = self._loads[replicas] = load_rps / self.correction
        return load_rps

    def _near(self, replicas: int, saturation_rps: float, found: Found | None) -> float:
        """Guess a largest load, as the law counts it, by the nearest count that is known."""
        if self._loads:
            known = min(self._loads, key=lambda count: abs(count - replicas))
            return self._loads[known] * self.correction * replicas / known
        if found is not None and found.real > 0:
            return self.rate_rps * self.correction * replicas / found.real
        return saturation_rps / (1 + self._limit.room(replicas))

    def need(self) -> Need:
        """Return what the pool asks for under its load."""
        rate_rps = self.rate_rps
        if rate_rps <= 0:
            return Need(0.0, 0.0, 1)
        found = self._find(rate_rps)
        count = found.count
        enough_rps, below_rps = self._load(count, found), self._load(count - 1, found)
        wanted = float(count)
        if below_rps < rate_rps < enough_rps:
            wanted = count - 1 + (rate_rps - below_rps) / (enough_rps - below_rps)
        return Need(wanted if self._attainable else math.inf, wanted, count)

    def binding(self, replicas: int) -> Binding:
        """Return what decides how much a count serves: what makes the latency at its largest load."""
        load_rps = self.largest_load(replicas)
        return self.law.binding(replicas, load_rps * self.correction)

    def statistics(self, replicas: int) -> LatencyStatistics:
        """Return the latencies predicted at a count; infinite where the queue is unstable."""
        return self.law.at(replicas, self.rate_rps * self.correction)

    def value_s(self, replicas: int) -> float:
        """Return the target's statistic predicted at a count, seconds; infinite where the queue is unstable."""
        return self.law.value_s(replicas, self.rate_rps * self.correction, self._statistic)
