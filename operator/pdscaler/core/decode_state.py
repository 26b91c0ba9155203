"""What fluctuations do to one decode replica at a mean occupancy. Imports the standard library and core only.

Notes
-----
Notation: A mean running requests, s(A) step time at the mean context, x = A / s(A) steps per second, s' its slope,
g = A s' / s its elasticity, v the squared coefficient of variation of the context of running requests.

- The fluid state is A = x s(A) (MODEL section 4). One replica is a processor-sharing queue whose speed depends on its
  state, insensitive to the length distribution (Kelly, Reversibility and Stochastic Networks, 1979, section 3.3): the
  stationary law is π(n) ∝ ∏ x s(k) / k, its variance A / (1 − g) to first order, and Little's law makes the mean TPOT
  E[n] / x. Expanding E[n / s(n)] = x to second order, E[n] = A + σ² (s' / s + A s'' / 2s), which makes
  TPOT = s + σ² (s' / A + s'' / 2). For s = a + b n that is exact (π is negative binomial).
- D replicas under fewest-KV routing share one fluctuation: σ² / D remains of it at each. What does not vanish as D
  grows is the imbalance between replicas. Their resident tokens are kept equal, not their counts, so that a count
  varies as a renewal count does, by A v. And where the output outweighs the prompt, a request is placed by what it
  holds now and not by what it will hold, which makes replicas fill up in turns ("herd").
- TPOT is an average over the stay, so its variance is that of a step times a factor: 2/3 for the number in M/D/∞ over
  one service time, more where the load relaxes slower than a stay (g near 1).

The constants below were fitted to 337 simulated cases (D 1 to 64, A 0.05 to 250, prompts of 100 to 20 000 and outputs
of 20 to 2000 tokens with scv 0 to 4, six kinds of profile, arrival scv 0.5 to 4).
"""

import math
from bisect import bisect_right
from itertools import accumulate

from pdscaler.core.decision import Binding
from pdscaler.core.decode_lengths import DecodeLengths

MOST_FEEDBACK = 0.95
"""Highest elasticity g that is used: at 1 the throughput falls as the batch grows, and no variance is finite."""

LEAST_BURST = 0.2
"""Variance of the occupancy under regular arrivals, over that under Poisson arrivals, at least."""

BURSTS_AT = 0.25
"""Occupancy at which half of the arrivals' excess variance shows: about what GI/M/∞ with gamma gaps has."""

LEAST_CONVEXITY = 0.3
"""Share of the first-order effect of fluctuations on the mean that a concave step time leaves, at least."""

STAY = 0.65
STAY_BY_FEEDBACK = 0.55
"""Variance of a stay's average over that of a step: at g = 0, and more of it for each unit of g (at most 1)."""

TAIL_REACH = 2.0
"""Deviations of a stay's occupancy above the mean over which the percentiles see the slope of the step time."""

UNEVEN_BY_OUTPUT = 1.2
"""More imbalance in count where the output outweighs the prompt: for each unit of (its share of the context)³."""

SETTLING = 2.5
"""Occupancy, in units of v, at which the renewal count's variance is half its limit."""

HERD = 0.28
HERD_ON_MEAN = 1.5
"""Variance over A of replicas that fill in turns, over A (output's share)²; and its weight in the mean."""

UNEVEN_OVER_STAY = 0.6
"""Variance of a stay's average over that of a step, for the imbalance between replicas."""

WHOLE = 0.17
"""Variance of a count that has to be whole although the replicas are kept equal."""

WHOLE_TOKENS = 0.3
"""The same for resident tokens, in squared mean contexts, before the scv of the requests' sizes."""


class ReplicaState:
    """What the lengths and the arrivals make of the state of a replica, at points of occupancy and step time."""

    __slots__ = (
        "burst",
        "by_memory",
        "context",
        "counts",
        "herd",
        "herd_room",
        "settling",
        "size",
        "slopes",
        "steepest",
        "steps",
        "uneven",
    )

    def __init__(
        self, lengths: DecodeLengths, arrival_scv: float, binding: Binding, counts: list[float], steps: list[float]
    ) -> None:
        self.counts, self.steps = counts, steps
        self.slopes = [
            (steps[right] - steps[right - 1]) / (counts[right] - counts[right - 1]) for right in range(1, len(counts))
        ]
        self.steepest = list(accumulate(reversed(self.slopes), max))[::-1]
        scv = lengths.context_variance / (lengths.context * lengths.context)
        output_share = 1.0 - lengths.prompt / lengths.context
        self.context = lengths.context
        self.by_memory = binding is Binding.KV_MEMORY
        # Renewal arrivals at infinitely many servers: the excess of their scv counts by ∫ P(N > t)² dt / E[N], 1 for
        # equal lengths and falling with their spread.
        spread = lengths.steps_scv
        self.burst = (arrival_scv - 1.0) / (1.0 + spread if spread < 1.0 else 1.6 + 0.4 * spread)
        self.uneven = scv * (1.0 + UNEVEN_BY_OUTPUT * output_share**3)
        self.settling = 0.5 + SETTLING * scv * (1.0 - output_share)
        self.herd = HERD * output_share * output_share
        self.herd_room = 1.0 / max(spread, 1e-3) + 1.0 + scv
        self.size = WHOLE_TOKENS + 4.0 * lengths.own_variance / (lengths.context * lengths.context)

    def row(self, node: int, by_context: float, context_variance: float) -> tuple[float, ...]:
        """Return the columns of ``Nodes`` (:mod:`pdscaler.core.decode_nodes`) from ``one_s`` on at one point.

        Parameters
        ----------
        node
            Index of the point; there is one beyond it.
        by_context, context_variance
            Slope of the step time in the mean context, and its variance over the mean context of A requests.
        """
        counts, steps = self.counts, self.steps
        count, step, rise = counts[node], steps[node], self.slopes[node]
        if node:
            span = counts[node + 1] - counts[node - 1]
            slope = (steps[node + 1] - steps[node - 1]) / span
            bend = (rise - self.slopes[node - 1]) / span
        else:
            slope, bend = rise, 0.0
        feedback = count * slope / step
        feedback = feedback if feedback < MOST_FEEDBACK else MOST_FEEDBACK
        # s = a + slope_count n + slope_token K: one more request at fixed resident tokens K costs slope_count.
        slope_count = slope - by_context * self.context / (count if count > 1.0 else 1.0)
        slope_count = slope_count if slope_count > 0.0 else 0.0
        counted = slope_count / slope if slope > 0.0 else 0.0

        company = count / (1.0 + count)
        bursts = 1.0 + self.burst * count / (count + BURSTS_AT)
        relative = (bursts if bursts > LEAST_BURST else LEAST_BURST) / (1.0 - feedback)
        variance = count * relative
        uneven = self.uneven * count / (count + self.settling)
        herd = company * self.herd * count / (1.0 + self.herd * count / self.herd_room)
        imbalance = count * (uneven + herd)
        whole = 1.0 - count if count < 0.78 else WHOLE / count

        alone = max(LEAST_CONVEXITY * slope * relative, slope * relative + bend * variance)
        apart = slope * whole + slope_count * (uneven + HERD_ON_MEAN * herd)
        if bend > 0.0:
            apart += counted * bend * imbalance
        stay = STAY + STAY_BY_FEEDBACK * feedback
        alone_stay = variance * (stay if stay < 1.0 else 1.0)
        apart_stay = UNEVEN_OVER_STAY * imbalance
        alone_variance = slope * slope * alone_stay + context_variance * company
        bent_variance, apart_slope = 0.0, slope_count
        if self.steepest[node] > slope:
            steep = self._steep(count, step, alone_stay)
            if steep > slope:
                bent_variance = (steep * steep - slope * slope) * alone_stay
            steep = self._steep(count, step, apart_stay)
            if steep > slope:
                apart_slope += counted * (steep - slope)
        apart_variance = apart_slope * apart_slope * apart_stay
        if self.by_memory:
            apart_spread = count if count < self.size else self.size
        else:
            apart_spread = imbalance + (count if count < WHOLE else WHOLE)
        return (
            step + alone,
            step + apart,
            alone - apart if alone > apart else 0.0,
            alone_variance,
            apart_variance,
            alone_variance - apart_variance if alone_variance > apart_variance else 0.0,
            bent_variance,
            variance,
            apart_spread,
            variance - apart_spread if variance > apart_spread else 0.0,
            apart_spread / (count / (1.0 - feedback) + apart_spread) if count > 0.0 else 0.0,
        )

    def _steep(self, count: float, step: float, variance: float) -> float:
        """Return the slope of the step time from an occupancy to TAIL_REACH deviations above it; 0 where none."""
        reach = TAIL_REACH * math.sqrt(variance)
        if reach <= 0.0:
            return 0.0
        counts = self.counts
        right = bisect_right(counts, count + reach)
        right = right if right < len(counts) else len(counts) - 1
        return (self.steps[right] + self.slopes[right - 1] * (count + reach - counts[right]) - step) / reach
