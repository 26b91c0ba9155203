"""A pool of replicas on top of any latency law: least counts, largest loads, bounded rules. Imports core only.

A law is a function of count and load (:class:`pdscaler.core.law.LatencyLaw`); both inverses are found here by bracketed
interpolation. They start from what holds for every queue to first order: 1 / latency falls linearly with the load of
one replica, from 1 / (latency without load) to 0 at saturation. So a few evaluations suffice.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from pdscaler.core.decision import Binding
from pdscaler.core.law import LatencyLaw
from pdscaler.core.need import Need
from pdscaler.core.paper import BEST_WITHIN, UTILIZATION_IF_INFEASIBLE, UTILIZATION_WITHOUT_TARGET
from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyStatistics, LatencyTarget, Statistic

MOST_REPLICAS = 10**6
"""A need beyond this is no longer counted (a target at the very edge of what is attainable)."""

PRECISION = 1e-9
"""Relative precision of a largest load; it errs on the side that meets the target."""

NEXT_TO_NO_LOAD = 1e-3
"""Share of one replica's saturation at which a target of exactly the latency without load must still be met."""

LEAP = 8
"""At most this many times the greatest count known to fail is tried next: a law need not be asked about a million."""

SLOW = 3
"""Interpolations in a row that may fail to halve the bracket before it is halved."""


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
    _limit_s: float = field(init=False, repr=False)
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
        elif self.pool is Pool.DECODE:
            attainable, limit_s = False, BEST_WITHIN * idle_s
        else:
            attainable, share = False, UTILIZATION_IF_INFEASIBLE
        for name, value in (
            ("_statistic", statistic),
            ("_idle_s", idle_s),
            ("_attainable", attainable),
            ("_limit_s", limit_s),
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
        within 2 % of the best achievable; a TTFT target that no count meets gets half utilisation; without a target
        the pool runs at 90 % of saturation at most. All three never fall as the load grows, and none runs away.
        """
        rate_rps *= self.correction
        if rate_rps <= 0:
            return 1
        if self._share is None:
            value_s, statistic, limit_s = self.law.value_s, self._statistic, self._limit_s
            return _least_count(
                lambda count: value_s(count, rate_rps, statistic),
                limit_s,
                self._idle_s,
                rate_rps / self.law.saturation_rps(1),
            )
        # 1 / (1 - utilisation) is to the utilisation what the latency is to the load.
        saturation_rps, share = self.law.saturation_rps, self._share
        return _least_count(
            lambda count: _crowding(rate_rps / saturation_rps(count)),
            _crowding(share),
            1.0,
            rate_rps / saturation_rps(1),
        )

    def largest_load(self, replicas: int) -> float:
        """Return the largest load, requests/s, that a count serves within the target, or by the bounded rule.

        The inverse of :meth:`least_replicas`, to a relative precision of 1e-9.
        """
        if replicas < 1:
            return 0.0
        load_rps = self._loads.get(replicas)
        if load_rps is None:
            saturation_rps = self.law.saturation_rps(replicas)
            if self._share is None:
                value_s, statistic = self.law.value_s, self._statistic
                load_rps = _largest_argument(
                    lambda rate_rps: value_s(replicas, rate_rps, statistic),
                    self._limit_s,
                    self._idle_s,
                    saturation_rps,
                )
            else:
                load_rps = self._share * saturation_rps
            load_rps /= self.correction
            self._loads[replicas] = load_rps
        return load_rps

    def need(self) -> Need:
        """Return what the pool asks for under its load."""
        rate_rps = self.rate_rps
        if rate_rps <= 0:
            return Need(0.0, 0.0, 1)
        count = self.least_replicas(rate_rps)
        below_rps, enough_rps = self.largest_load(count - 1), self.largest_load(count)
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


def _crowding(utilization: float) -> float:
    return 1 / (1 - utilization) if utilization < 1 else math.inf


def _least_count(value: Callable[[int], float], limit: float, idle: float, saturated: float) -> int:
    """Return the least count with ``value(count) <= limit``, at least 1 and at most MOST_REPLICAS.

    Parameters
    ----------
    value
        Never rises with the count; tends to ``idle``.
    limit
        At least ``idle``.
    saturated
        The real-valued count at which the value becomes infinite, to first order.

    Notes
    -----
    Interpolates 1 / value linearly in 1 / count between the greatest count known to fail and the least known to
    serve; at first between ``saturated`` (0) and infinitely many (1 / idle).
    """
    wanted = 1 / limit
    fails, serves = 0, MOST_REPLICAS + 1
    left, left_y = (1 / saturated if saturated > 0 else math.inf), 0.0
    right, right_y = 0.0, 1 / idle
    slow = 0
    while serves - fails > 1:
        share = (right_y - wanted) / (right_y - left_y) if right_y > left_y else 0.5
        inverse = right + (left - right) * share
        guess = math.ceil(1 / inverse * (1 - PRECISION)) if inverse * MOST_REPLICAS > 1 else MOST_REPLICAS
        if slow >= SLOW and serves <= MOST_REPLICAS:
            # Counts vary over many scales: halve the ratio, not the difference.
            guess = math.isqrt(max(1, fails) * serves)
        leap = LEAP * max(fails, math.ceil(saturated)) if serves > MOST_REPLICAS else serves
        guess = min(max(guess, fails + 1), leap, serves - 1)
        before = math.log(serves / max(1, fails))
        found = value(guess)
        if found <= limit:
            serves, right, right_y = guess, 1 / guess, 1 / found
        else:
            fails, left, left_y = guess, 1 / guess, 1 / found
        slow = 0 if math.log(serves / max(1, fails)) <= before / 2 else slow + 1
    return min(serves, MOST_REPLICAS)


def _largest_argument(value: Callable[[float], float], limit: float, idle: float, end: float) -> float:
    """Return the largest argument with ``value(argument) <= limit``, to PRECISION and never beyond it.

    Parameters
    ----------
    value
        Never falls; ``idle`` at 0, infinite from ``end`` on.
    limit
        At least ``idle``.

    Notes
    -----
    Regula falsi on 1 / value with the weights of Anderson and Björck (BIT 13, 1973): the bracket stays, and the
    convergence is superlinear. A guess closer to an end of the bracket than the precision is moved to the other side
    of the root, so that the bracket closes from both sides.
    """
    wanted = 1 / limit
    low, low_y = 0.0, 1 / idle - wanted
    high, high_y = end, -wanted
    slow = side = 0
    while high - low > PRECISION * high:
        nearest = PRECISION / 4 * high
        width = high - low
        guess = low + width * low_y / (low_y - high_y) if low_y > high_y else low + width / 2
        if slow >= SLOW:
            guess = low + width / 2
        guess = min(max(guess, low + nearest), high - nearest)
        found = value(guess)
        y = 1 / found - wanted
        if found <= limit:
            if side > 0:  # the upper end was kept twice: it weighs less
                weight = 1 - y / low_y if low_y > 0 else 0.5
                high_y *= weight if weight > 0 else 0.5
            low, low_y, side = guess, max(y, 0.0), 1
        else:
            if side < 0:
                weight = 1 - y / high_y
                low_y *= weight if weight > 0 else 0.5
            high, high_y, side = guess, y, -1
        slow = 0 if high - low <= width / 2 else slow + 1
    return low
