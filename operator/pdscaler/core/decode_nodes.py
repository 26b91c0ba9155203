"""The state of one decode replica against its mean occupancy, tabulated. Imports core only.

At each mean occupancy A the tables hold what :mod:`pdscaler.core.decode_law` adds up: the fluid step time, what the
fluctuations of the occupancy add to the mean, and the variances that make the percentiles.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from pdscaler.core.curves import DecodeSurface, Line
from pdscaler.core.decision import Binding
from pdscaler.core.decode_lengths import DecodeLengths

NODES = 22
"""Occupancies tabulated between 1 and the limit."""

MOST_FEEDBACK = 0.95
"""Highest elasticity of the step time in the occupancy: at 1 throughput falls as the batch grows."""

HERD_SHARE = 0.28
HERD_ON_MEAN = 1.5
OWN_STAY = 0.65
OWN_STAY_FEEDBACK = 0.55
IMBALANCE_OVER_STAY = 0.6
DISCRETENESS = 0.17


@dataclass(frozen=True, slots=True)
class Nodes:
    """Tables against the mean occupancy of one replica; every one non-decreasing except where said.

    Parameters
    ----------
    occupancy
        Mean running requests, ascending from 0.
    throughput
        Steps per second x = A / step(A), strictly ascending; the last is where the queue grows without bound.
    one_s, many_s, shared_s
        Mean step time that a request sees: in a pool of one replica; in a large pool; in a pool of D >= 2 the latter plus
        ``shared_s`` / D.
    one_variance, many_variance, shared_variance
        Variance of the TPOT of requests, likewise.
    intercept_s, slope_s
        Step time as a straight line in the occupancy from each node to the next.
    one_spread, many_spread, shared_spread
        Variance of a replica's occupancy, likewise.
    limit
        Largest occupancy.
    binding
        What sets the limit: slots, memory, or TPOT where throughput falls beyond it.
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
    intercept_s: tuple[float, ...]
    slope_s: tuple[float, ...]
    limit: float
    binding: Binding


def occupancy_limit(surface: DecodeSurface, lengths: DecodeLengths) -> tuple[float, Binding]:
    """Return the mean occupancy at which a replica is full, at least 1, and what fills it.

    Notes
    -----
    Memory: the head of the queue enters when resident + its prompt + its output fit. Between two admissions the running
    requests grow into that room, so that on average about half a prompt and an output stay free.
    """
    slots = float(surface.max_batch)
    if surface.kv_capacity_tokens is None:
        return slots, Binding.BATCH_SLOTS
    usable = surface.kv_capacity_tokens - HEADROOM * (lengths.prompt + lengths.steps)
    by_memory = max(1.0, usable / lengths.context)
    return (by_memory, Binding.KV_MEMORY) if by_memory < slots else (slots, Binding.BATCH_SLOTS)


HEADROOM = 0.5


def build_nodes(surface: DecodeSurface, lengths: DecodeLengths, arrival_scv: float, derate: float) -> Nodes:
    """Tabulate one replica up to its limit, or to the occupancy of its highest throughput if that is lower."""
    limit, binding = occupancy_limit(surface, lengths)
    state = _State(surface, lengths, arrival_scv, derate)
    rows: list[tuple[float, ...]] = []
    top = state.row(0.0)
    rows.append(top)
    for occupancy in _occupancies(limit):
        row = state.row(occupancy)
        if row[1] <= rows[-1][1] * (1 + 1e-12):
            # Beyond the highest throughput a fuller replica is a slower one: the queue never recovers.
            binding = Binding.TPOT
            break
        top = tuple(map(max, row, top))
        rows.append((row[0], row[1], *top[2:]))
    columns = list(zip(*rows, strict=True))
    occupancies = columns[0]
    occupancies = columns[0]
    steps = [state.step(occupancy) for occupancy in occupancies]
    slopes = [
        (after - before) / (high - low)
        for (low, high), (before, after) in zip(pairwise(occupancies), pairwise(steps), strict=True)
    ]
    intercepts = [step - slope * occupancy for step, slope, occupancy in zip(steps, slopes, occupancies, strict=False)]
    return Nodes(*columns, tuple(intercepts), tuple(slopes), limit=occupancies[-1], binding=binding)


def _occupancies(limit: float) -> list[float]:
    """Return occupancies from 0.25 to the limit, geometrically spaced above 1."""
    if limit <= 1.0:
        return [0.25, 0.5, 0.75, 1.0]
    ratio = limit ** (1.0 / NODES)
    return [0.25, 0.5, *(ratio**index for index in range(NODES)), limit]


class _State:
    """Derivatives and variances of one replica at a mean occupancy."""

    def __init__(self, surface: DecodeSurface, lengths: DecodeLengths, arrival_scv: float, derate: float) -> None:
        self.lengths = lengths
        context = lengths.context
        self.derate = derate
        self.line: Line = surface.line_at(context)
        self.width = 0.1 * context
        self.lower, self.upper = surface.line_at(context - self.width / 2), surface.line_at(context + self.width / 2)
        self.alone = self.line(1.0) / derate
        self.first = min(self.line(2.0) / derate - self.alone, 0.9 * self.alone)
        # What a request of a random age adds to the arrivals' variance: the share of the burst still there.
        self.burst = (arrival_scv - 1.0) / (
            1.0 + lengths.steps_scv if lengths.steps_scv < 1 else 1.6 + 0.4 * lengths.steps_scv
        )
        self.context_scv = lengths.context_variance / (context * context)
        young = 1.0 - lengths.prompt / context
        self.herd = HERD_SHARE * young * young
        self.herd_room = 1.0 / max(lengths.steps_scv, 1e-3) + 1.0 + self.context_scv

    def step(self, occupancy: float) -> float:
        """Return the step time at the mean context, continued below one request by the first slope."""
        if occupancy < 1.0:
            return self.alone - self.first * (1.0 - occupancy)
        return self.line(occupancy) / self.derate

    def row(self, occupancy: float) -> tuple[float, ...]:
        """Return the columns of :class:`Nodes` at one occupancy, the room left out."""
        step = self.step(occupancy)
        width = max(1.0, math.sqrt(occupancy))
        after, before = self.step(occupancy + width), self.step(max(0.0, occupancy - width))
        slope = (after - before) / (width + min(width, occupancy))
        bend = max(0.0, (after + before - 2 * step) / (2 * width * width)) if occupancy >= width else 0.0
        feedback = min(occupancy * slope / step, MOST_FEEDBACK)
        by_context = (self.upper(max(occupancy, 1.0)) - self.lower(max(occupancy, 1.0))) / (self.width * self.derate)
        # step = a + slope_count n + slope_token K: at fixed resident tokens K one more request costs slope_count.
        slope_token = by_context / max(occupancy, 1.0)
        slope_count = max(0.0, slope - slope_token * self.lengths.context)
        crowd = occupancy / (1.0 + occupancy)
        bursts = max(0.2, 1.0 + self.burst * crowd)
        relative = bursts / (1.0 - feedback)
        variance = occupancy * relative
        herd = self.herd * occupancy / (1.0 + self.herd * occupancy / self.herd_room)
        imbalance = (self.context_scv + herd) * crowd
        discrete = max(1.0 - occupancy, DISCRETENESS / occupancy) if occupancy > 0 else 1.0
        alone = slope * relative + bend * variance
        lasting = slope * discrete + slope_count * (self.context_scv + HERD_ON_MEAN * herd) * crowd
        stay = min(1.0, OWN_STAY + OWN_STAY_FEEDBACK * feedback)
        alone_variance = slope * slope * variance * stay + slope_token**2 * occupancy * self.lengths.context_variance
        lasting_variance = IMBALANCE_OVER_STAY * slope_count**2 * occupancy * imbalance
        own = slope_token * crowd
        own_variance = own * own * self.lengths.own_variance
        alone_variance += own_variance
        lasting_variance += own_variance
        lasting_spread = occupancy * imbalance + min(occupancy, DISCRETENESS)
        return (
            occupancy,
            occupancy / step,
            step + alone,
            step + lasting,
            max(0.0, alone - lasting),
            alone_variance,
            lasting_variance,
            max(0.0, alone_variance - lasting_variance),
            variance,
            lasting_spread,
            max(0.0, variance - lasting_spread),
        )
