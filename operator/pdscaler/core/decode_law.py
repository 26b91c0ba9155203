"""TPOT of a decode pool against its replicas and its load: ``sizing.model: Auto``. Imports core only.

Notes
-----
With x = rate E[OSL − 1] / D steps per second at each of D replicas (requests of one output token left out), the tables
of :mod:`pdscaler.core.decode_nodes` give, at the fluid occupancy A(x), the mean M and the variance V of what a request
sees. Then, for a percentile p with z deviations of a gamma shape,

    TPOT_mean = M + P w E[1 / N],    TPOT_p = M + √(o_p² + z² V + (w y_p)²)

o_p is what a request's own context adds where it is alone. A share P of the requests waits for a slot or for memory
(:mod:`pdscaler.core.decode_wait`), for an exponential time of mean w; N are a request's steps, and y_p solves
P E[exp(−y N)] = 1 − p: short answers suffer more from the same wait.

Monotone by construction: every table is non-decreasing in x, every sum of them over D is non-increasing in D at equal
x, and x = rate / D; addition, multiplication, division and square root of floats are monotone.

Accuracy: see :func:`decode_law`.
"""

import math
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from statistics import NormalDist
from typing import NamedTuple

from pdscaler.core.curves import decode_surface
from pdscaler.core.decision import Binding
from pdscaler.core.decode_grid import ALONE, step_grid
from pdscaler.core.decode_lengths import DecodeLengths, decode_lengths
from pdscaler.core.decode_nodes import build_nodes
from pdscaler.core.decode_wait import WAIT_STEP, WAIT_STEPS, WaitTail, wait_probability, wait_tail
from pdscaler.core.profile import DecodeProfile
from pdscaler.core.slo import LatencyStatistics, Statistic
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError

DEVIATIONS = {Statistic.MEAN: 0.0, Statistic.P50: 0.0, Statistic.P90: 1.34, Statistic.P95: 1.74, Statistic.P99: 2.6}
"""Standard deviations above the mean of each percentile of TPOT: a gamma shape of skewness 0.35."""

LOCAL_WAIT = 0.4
"""Wait behind one full replica, over that of a pool of one, for each unit of the share of local fluctuations."""

LEAST_ARRIVAL_SCV = 0.2
"""Variability of arrivals in the wait, at least."""

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

    Notes
    -----
    Against the event simulation of DESIGN section 6, on seeded random cases beside those that the constants were fitted
    to (h200, DeepSeek and linear profiles, slots of 32 to 1049, prompts of 200 to 12 000 and outputs of 30 to 1000
    tokens, targets of 1.03 to 5 times TPOT alone, every statistic, 1 to 50 replicas). With length scv up to 1 (264
    cases) the least count is the simulated one in 80 % (92 % up to ten replicas), off by at most one or 5 % in 98 %,
    below it in 4 %, 0.9 % above it in sum; with scv up to 4 (157 cases) 79 % (90 %), 97 %, 10 % and 0.3 %. TPOT away
    from the limits: mean within −1.4 to +2.6 %, P99 within −4 to +7 % in nine cases of ten. Least sure, and to be
    settled by simulation: percentiles within 10 % of TPOT alone; heavy-tailed outputs longer than their prompts; waits
    where few long requests fill memory.
    """
    if workload.isl is None or workload.osl is None:
        raise InvalidInputError("inputTokens" if workload.isl is None else "outputTokens", "the mean length is needed")
    return _law(profile, workload.isl, workload.osl, workload.arrival_scv, derate)


@lru_cache(maxsize=256)
def _law(profile: DecodeProfile, isl: LengthStats, osl: LengthStats, arrival_scv: float, derate: float) -> "DecodeLaw":
    return DecodeLaw(profile, decode_lengths(isl, osl), arrival_scv, derate)


class DecodeLaw:
    """TPOT per request, mean and percentiles (:class:`pdscaler.core.law.LatencyLaw`)."""

    __slots__ = ("_base", "_idle", "_lengths", "_nodes", "_own", "_per_request", "_tail", "_wait_scale")

    def __init__(self, profile: DecodeProfile, lengths: DecodeLengths, arrival_scv: float, derate: float) -> None:
        surface, grid = decode_surface(profile), step_grid(profile)
        self._lengths = lengths
        self._nodes = build_nodes(grid, surface, lengths, arrival_scv, derate)
        self._per_request = lengths.share * lengths.steps
        self._wait_scale = (max(arrival_scv, LEAST_ARRIVAL_SCV) + lengths.steps_scv) / 2 * lengths.steps
        self._tail: WaitTail | None = None
        self._base: dict[Statistic, tuple[tuple[float, ...], tuple[float, ...]]] = {}
        spread = math.sqrt(math.log1p(lengths.own_variance / lengths.own_context**2))
        middle = math.log(lengths.own_context) - spread * spread / 2

        def alone_s(deviations: float) -> float:
            return grid.step_s(ALONE, math.exp(middle + spread * deviations)) / derate

        # Gauss and Hermite with three points for the mean. Percentiles map, as the step time grows with the context;
        # where noise makes it fall, the greatest so far stands, so that a stricter percentile is never smaller.
        mean_s = (4 * alone_s(0.0) + alone_s(-math.sqrt(3)) + alone_s(math.sqrt(3))) / 6
        quantiles_s = accumulate(map(alone_s, _NORMAL_QUANTILES.values()), max)
        self._idle = {Statistic.MEAN: mean_s} | dict(zip(_NORMAL_QUANTILES, quantiles_s, strict=True))
        self._own = {statistic: max(0.0, value - mean_s) for statistic, value in self._idle.items()}

    def idle_s(self, statistic: Statistic) -> float:
        """Return the statistic of TPOT over requests each of which is alone on its replica."""
        return self._idle[statistic]

    def saturation_rps(self, replicas: int) -> float:
        """Return the load at which every replica is at its limit, or at its highest throughput."""
        return math.inf if self._per_request <= 0 else replicas * self._nodes.throughput[-1] / self._per_request

    def value_s(self, replicas: int, rate_rps: float, statistic: Statistic) -> float:
        """Return one statistic of TPOT, seconds; infinite from saturation on."""
        steps = rate_rps * self._per_request
        if not steps > 0:  # nor where answers of one token make no steps of whatever load
            return self._idle[statistic]
        states = self._states(steps, replicas)
        return self._value(states, statistic) if states else math.inf

    def at(self, replicas: int, rate_rps: float) -> LatencyStatistics:
        """Return every statistic of TPOT, seconds."""
        steps = rate_rps * self._per_request
        if not steps > 0:
            return LatencyStatistics(*(self._idle[statistic] for statistic in Statistic))
        states = self._states(steps, replicas)
        return LatencyStatistics(*(self._value(states, statistic) if states else math.inf for statistic in Statistic))

    def binding(self, replicas: int, rate_rps: float) -> Binding:
        """Return what makes the latency what it is at this load.

        Notes
        -----
        Slots or memory where waiting for them adds more to the mean than the slower steps do, and beyond saturation
        where they set it; TPOT everywhere else, also where throughput falls before a limit is reached.
        """
        nodes = self._nodes
        if nodes.binding is Binding.TPOT or self._per_request == 0:  # answers of one token never decode
            return Binding.TPOT
        states = self._states(rate_rps * self._per_request, replicas)
        if not states:
            return nodes.binding
        state = states[0]
        slower_s = _between(nodes.many_s, state.left, state.share) - nodes.many_s[0]
        return nodes.binding if self._waiting_s(state, Statistic.MEAN) > slower_s else Binding.TPOT

    def _states(self, steps: float, replicas: int) -> "tuple[_State, ...]":
        """Return the pool's state, and that of one replica under the whole load where it is stable; empty: unstable.

        The pool is never worse than one of its replicas under the whole load: between one replica and two, whose
        formulas differ, that keeps the value from rising.
        """
        most = self._nodes.throughput[-1]
        if steps / replicas >= most:
            return ()
        state = self._state(steps / replicas, replicas)
        return (state, self._state(steps, 1)) if replicas > 1 and steps < most else (state,)

    def _state(self, throughput: float, replicas: int) -> "_State":
        """Read the tables at ``throughput`` steps per second at each replica, > 0 and below saturation."""
        nodes = self._nodes
        left = bisect_right(nodes.throughput, throughput) - 1
        # Between nodes the step time is linear in the occupancy A: x = A / (c + k A), solved for A.
        low, high = nodes.occupancy[left], nodes.occupancy[left + 1]
        occupancy = throughput * nodes.intercept_s[left] / (1.0 - throughput * nodes.slope_s[left])
        share = min(max((occupancy - low) / (high - low), 0.0), 1.0)
        if replicas == 1:
            added_s = 0.0
            variance = _between(nodes.one_variance, left, share) + _between(nodes.bent_variance, left, share)
            spread = _between(nodes.one_spread, left, share)
            among = 1.0
        else:
            added_s = _between(nodes.shared_s, left, share) / replicas
            variance = _between(nodes.many_variance, left, share)
            bent = _between(nodes.bent_variance, left, share) / math.sqrt(replicas)
            variance += (_between(nodes.shared_variance, left, share) + bent) / replicas
            spread = _between(nodes.many_spread, left, share) + _between(nodes.shared_spread, left, share) / replicas
            among = 1.0 / replicas + LOCAL_WAIT * _between(nodes.local_share, left, share)
        room = nodes.occupancy[-1] - _between(nodes.occupancy, left, share)
        waits = wait_s = 0.0
        if room * room < FAR * FAR * spread:
            waits = wait_probability(room / math.sqrt(spread))
            wait_s = self._wait_scale * among / (nodes.throughput[-1] - throughput)
        return _State(left, share, replicas == 1, added_s, variance, waits, wait_s)

    def _value(self, states: "tuple[_State, ...]", statistic: Statistic) -> float:
        """Return one statistic: the least over the states, and never below that of a request alone."""
        one, many = self._base.get(statistic) or self._tabulate(statistic)
        deviations = DEVIATIONS[statistic]
        least_s = math.inf
        for state in states:
            value_s = _between(one if state.single else many, state.left, state.share) + state.added_s
            waiting_s = self._waiting_s(state, statistic) if state.waits > 0.0 else 0.0
            if deviations == 0.0:
                value_s += waiting_s
            else:
                own_s = self._own[statistic]
                value_s += math.sqrt(own_s * own_s + deviations * deviations * state.variance + waiting_s * waiting_s)
            least_s = min(least_s, value_s)
        return max(least_s, self._idle[statistic])

    def _waiting_s(self, state: "_State", statistic: Statistic) -> float:
        """Return what waiting for a slot or for memory adds to one statistic of TPOT."""
        tail = self._tail = self._tail or wait_tail(self._lengths)
        quantile = statistic.quantile
        if quantile is None:
            return state.wait_s * state.waits * tail.mean
        return state.wait_s * tail.quantile(state.waits / (1.0 - quantile))

    def _tabulate(self, statistic: Statistic) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Shift the mean step time to that of requests weighed alike, whose contexts are shorter, for one statistic."""
        nodes = self._nodes
        shift_s = min(self._idle[statistic], self._idle[Statistic.MEAN]) - nodes.one_s[0]
        one, many = (tuple(max(0.0, value + shift_s) for value in column) for column in (nodes.one_s, nodes.many_s))
        self._base[statistic] = one, many
        return one, many


class _State(NamedTuple):
    """The tables read at one throughput: place, additions over D, and the wait."""

    left: int
    share: float
    single: bool
    added_s: float
    variance: float
    waits: float
    wait_s: float


def _between(column: tuple[float, ...], left: int, share: float) -> float:
    """Interpolate a non-decreasing column; never beyond the right node, whatever the rounding."""
    low, high = column[left], column[left + 1]
    return min(low + (high - low) * share, high)
