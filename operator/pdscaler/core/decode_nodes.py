"""One decode replica against its mean occupancy, tabulated for :mod:`pdscaler.core.decode_law`. Imports core only.

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
from dataclasses import dataclass
from itertools import accumulate

from pdscaler.core.curves import DecodeSurface
from pdscaler.core.decision import Binding
from pdscaler.core.decode_grid import StepGrid
from pdscaler.core.decode_lengths import DecodeLengths

FREE = 0.5
FREE_BY_SPREAD = 0.4
"""KV memory that stays free in overload, in mean prompts and outputs; and more of it for each unit of context scv."""

MOST_FEEDBACK = 0.95
"""Highest elasticity g that is used: at 1 the throughput falls as the batch grows, and no variance is finite."""

LEAST_BURST = 0.2
"""Variance of the occupancy under regular arrivals, over that under Poisson arrivals, at least."""

LEAST_CONVEXITY = 0.3
"""Share of the first-order effect of fluctuations on the mean that a concave step time leaves, at least."""

STAY = 0.65
STAY_BY_FEEDBACK = 0.55
"""Variance of a stay's average over that of a step: at g = 0, and more of it for each unit of g (at most 1)."""

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


@dataclass(frozen=True, slots=True)
class Nodes:
    """Tables against the mean occupancy of one replica, each non-decreasing.

    Parameters
    ----------
    occupancy
        Mean running requests A, ascending from 0.
    throughput
        Steps per second x = A / s(A), strictly ascending; at the last the queue grows without bound.
    one_s, many_s, shared_s
        Mean step time that a request sees in a pool of one replica; in a large pool; in a pool of D >= 2 the latter
        plus ``shared_s`` / D.
    one_variance, many_variance, shared_variance
        Variance of the TPOT of requests, likewise.
    one_spread, many_spread, shared_spread
        Variance of a replica's occupancy, likewise.
    local_share
        Share of that variance that is between the replicas of a large pool.
    intercept_s, slope_s
        Fluid step time as a straight line in the occupancy from each node to the next.
    binding
        What sets the last occupancy: slots, memory, or TPOT where throughput falls beyond it.
    """

    occupancy: tuple[float, ...]
    throughput: tuple[float, ...]
    one_s: tuple[float, ...]
    many_s: tuple[float, ...]
    shared_s: tuple[float, ...]
    one_variance: tuple[float, ...]
    many_variance: tuple[float, ...]
    shared_variance: tuple[float, ...]
    one_spread: tuple[float, ...]
    many_spread: tuple[float, ...]
    shared_spread: tuple[float, ...]
    local_share: tuple[float, ...]
    intercept_s: tuple[float, ...]
    slope_s: tuple[float, ...]
    binding: Binding


def occupancy_limit(surface: DecodeSurface, lengths: DecodeLengths) -> tuple[float, Binding]:
    """Return the mean occupancy at which a replica is full, at least 1, and what fills it.

    Notes
    -----
    Memory: the head of the queue enters when resident + its prompt + its output fit. Between two admissions the running
    requests grow into that room, and a long head waits longer, so that on average some room stays free: measured in
    overload by simulation, 0.5 of a mean prompt and output for equal lengths, 1 to 2 for heavy tails.
    """
    slots = float(surface.max_batch)
    if surface.kv_capacity_tokens is None:
        return slots, Binding.BATCH_SLOTS
    context_scv = lengths.context_variance / (lengths.context * lengths.context)
    free = (FREE + FREE_BY_SPREAD * context_scv) * (lengths.prompt + lengths.steps)
    by_memory = max(1.0, (surface.kv_capacity_tokens - free) / lengths.context)
    return (by_memory, Binding.KV_MEMORY) if by_memory < slots else (slots, Binding.BATCH_SLOTS)


def build_nodes(
    grid: StepGrid, surface: DecodeSurface, lengths: DecodeLengths, arrival_scv: float, derate: float
) -> Nodes:
    """Tabulate one replica up to its limit, or to the occupancy of its highest throughput if that is lower."""
    limit, binding = occupancy_limit(surface, lengths)
    counts, steps, slopes, variances = _steps(grid, lengths, limit, derate)
    last = len(counts) - 2
    for node in range(1, last + 1):
        if counts[node] * steps[node - 1] <= counts[node - 1] * steps[node] * (1 + 1e-12):
            # Beyond the highest throughput a fuller replica is a slower one: the queue never recovers.
            last, binding = node - 1, Binding.TPOT
            break
    row = _Rows(lengths, arrival_scv, by_memory=binding is Binding.KV_MEMORY).row
    rows = []
    before = 0
    for node in range(last + 1):
        rise = (steps[node + 1] - steps[node]) / (counts[node + 1] - counts[node])
        span = counts[node + 1] - counts[before]
        slope = (steps[node + 1] - steps[before]) / span
        bend = 0.0
        if node:
            bend = (rise - (steps[node] - steps[before]) / (counts[node] - counts[before])) / span
        rows.append(
            row(
                count=counts[node],
                step=steps[node],
                slope=slope,
                bend=bend,
                by_context=slopes[node],
                context_variance=variances[node],
            )
        )
        before = node
    columns = [tuple(accumulate(column, max)) for column in zip(*rows, strict=True)]
    lines = [(steps[node + 1] - steps[node]) / (counts[node + 1] - counts[node]) for node in range(last)]
    return Nodes(
        tuple(counts[: last + 1]),
        tuple(count / step for count, step in zip(counts[: last + 1], steps, strict=False)),
        *columns,
        tuple(step - slope * count for step, slope, count in zip(steps, lines, counts, strict=False)),
        tuple(lines),
        binding,
    )


def _steps(
    grid: StepGrid, lengths: DecodeLengths, limit: float, derate: float
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Return occupancies up to the limit, the last but one, with one beyond, and what the surface says at each.

    Returns
    -------
    tuple
        Occupancies; mean step times over the spread of the mean context of so many requests; their slopes in the mean
        context; their variances over that spread.
    """
    counts: list[float] = []
    steps: list[float] = []
    slopes: list[float] = []
    variances: list[float] = []
    context = lengths.context
    scv = lengths.context_variance / (context * context)
    step_s = grid.step_s
    for node, count in enumerate(grid.occupancy):
        # The mean context of n requests: log-normal, by three points of Gauss and Hermite.
        spread = math.log1p(scv / count) if count > 1.0 else math.log1p(scv)
        middle = context * math.exp(-spread / 2)
        factor = max(math.exp(math.sqrt(3.0 * spread)), 1.02)
        low, centre, high = step_s(node, middle / factor), step_s(node, middle), step_s(node, middle * factor)
        mean = centre if scv == 0.0 else (low + 4.0 * centre + high) / 6.0
        below, above = low - mean, high - mean
        counts.append(count)
        steps.append(mean / derate)
        slopes.append((high - low) / (middle * (factor - 1.0 / factor) * derate))
        variances.append(0.0 if scv == 0.0 else (below * below + above * above) / (6.0 * derate * derate))
        if count > limit:
            break
    if counts[-2] < limit < counts[-1]:
        share = (limit - counts[-2]) / (counts[-1] - counts[-2])
        for column in (counts, steps, slopes, variances):
            column.insert(-1, column[-2] + (column[-1] - column[-2]) * share)
        counts[-2] = limit
    return counts, steps, slopes, variances


class _Rows:
    """What the lengths and the arrivals make of the state of a replica."""

    __slots__ = ("burst", "by_memory", "context", "herd", "herd_room", "settling", "size", "uneven")

    def __init__(self, lengths: DecodeLengths, arrival_scv: float, *, by_memory: bool) -> None:
        scv = lengths.context_variance / (lengths.context * lengths.context)
        output_share = 1.0 - lengths.prompt / lengths.context
        self.context = lengths.context
        self.by_memory = by_memory
        # Renewal arrivals at infinitely many servers: the excess of their scv counts by ∫ P(N > t)² dt / E[N], 1 for
        # equal lengths and falling with their spread.
        spread = lengths.steps_scv
        self.burst = (arrival_scv - 1.0) / (1.0 + spread if spread < 1.0 else 1.6 + 0.4 * spread)
        self.uneven = scv * (1.0 + UNEVEN_BY_OUTPUT * output_share**3)
        self.settling = 0.5 + SETTLING * scv * (1.0 - output_share)
        self.herd = HERD * output_share * output_share
        self.herd_room = 1.0 / max(spread, 1e-3) + 1.0 + scv
        self.size = WHOLE_TOKENS + 4.0 * lengths.own_variance / (lengths.context * lengths.context)

    def row(
        self, *, count: float, step: float, slope: float, bend: float, by_context: float, context_variance: float
    ) -> tuple[float, ...]:
        """Return the columns of :class:`Nodes` from ``one_s`` to ``local_share`` at one occupancy.

        Parameters
        ----------
        count, step, slope, bend
            A, s, s', s'' / 2.
        by_context, context_variance
            Slope of the step time in the mean context, and its variance over the mean context of A requests.
        """
        feedback = min(count * slope / step, MOST_FEEDBACK)
        # s = a + slope_count n + slope_token K: one more request at fixed resident tokens K costs slope_count.
        slope_count = max(0.0, slope - by_context * self.context / max(count, 1.0))
        company = count / (1.0 + count)
        relative = max(LEAST_BURST, 1.0 + self.burst * company) / (1.0 - feedback)
        variance = count * relative
        uneven = self.uneven * count / (count + self.settling)
        herd = company * self.herd * count / (1.0 + self.herd * count / self.herd_room)
        imbalance = uneven + herd
        whole = 1.0 - count if count < 0.78 else WHOLE / count
        first = slope * relative
        alone = max(LEAST_CONVEXITY * first, first + bend * variance)
        apart = slope * whole + slope_count * (uneven + HERD_ON_MEAN * herd)
        stay = min(1.0, STAY + STAY_BY_FEEDBACK * feedback)
        alone_variance = slope * slope * variance * stay + context_variance * company
        apart_variance = UNEVEN_OVER_STAY * slope_count * slope_count * count * imbalance
        apart_spread = min(count, self.size) if self.by_memory else count * imbalance + min(count, WHOLE)
        return (
            step + alone,
            step + apart,
            max(0.0, alone - apart),
            alone_variance,
            apart_variance,
            max(0.0, alone_variance - apart_variance),
            variance,
            apart_spread,
            max(0.0, variance - apart_spread),
            apart_spread / (count / (1.0 - feedback) + apart_spread) if count > 0.0 else 0.0,
        )
