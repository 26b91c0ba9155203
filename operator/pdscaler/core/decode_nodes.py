"""The state of one decode replica against its mean occupancy, tabulated. Imports core only.

At each mean occupancy A the tables hold what :mod:`pdscaler.core.decode_law` adds up: the fluid step time, what the
fluctuations of the occupancy add to the mean, and the variances that make the percentiles.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from pdscaler.core.curves import DecodeSurface
from pdscaler.core.decision import Binding
from pdscaler.core.decode_grid import StepGrid
from pdscaler.core.decode_lengths import DecodeLengths

FREE = 0.5
FREE_BY_SPREAD = 0.4
"""KV memory that stays free in overload, in mean prompts and outputs; and more of it for each unit of context scv."""

MOST_FEEDBACK = 0.95
"""Highest elasticity of the step time in the occupancy: at 1 throughput falls as the batch grows."""

YOUNG_UNEVEN = 1.2
SETTLING = 2.5
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
    local_share
        Share of that variance that is between the replicas of a large pool.
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
    local_share: tuple[float, ...]
    intercept_s: tuple[float, ...]
    slope_s: tuple[float, ...]
    limit: float
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
    points = _points(grid, lengths, limit, derate)
    state = _State(lengths, arrival_scv)
    rows: list[tuple[float, ...]] = []
    for before, here, after in zip([points[0], *points], points, points[1:], strict=False):
        row = state.row(before, here, after)
        if rows:
            if row[1] <= rows[-1][1] * (1 + 1e-12):
                # Beyond the highest throughput a fuller replica is a slower one: the queue never recovers.
                binding = Binding.TPOT
                break
            row = (row[0], row[1], *map(max, row[2:], rows[-1][2:]))
        rows.append(row)
    columns = list(zip(*rows, strict=True))
    occupancies = columns[0]
    slopes = tuple(
        (after.step_s - before.step_s) / (after.occupancy - before.occupancy)
        for before, after in pairwise(points[: len(rows)])
    )
    intercepts = tuple(point.step_s - slope * point.occupancy for point, slope in zip(points, slopes, strict=False))
    return Nodes(*columns, intercepts, slopes, limit=occupancies[-1], binding=binding)


class _Point(NamedTuple):
    """Step time at a mean occupancy over the spread of the mean context, and what the context does to it."""

    occupancy: float
    step_s: float
    context_slope: float
    context_variance: float


def _points(grid: StepGrid, lengths: DecodeLengths, limit: float, derate: float) -> list[_Point]:
    """Return the points of the grid up to the limit, which is the last but one, with one beyond."""
    points: list[_Point] = []
    scv = lengths.context_variance / (lengths.context * lengths.context)
    step = grid.step_s
    for node, occupancy in enumerate(grid.occupancy):
        # The mean context of n requests: log-normal, by three points of Gauss and Hermite.
        variance = math.log1p(scv / max(occupancy, 1.0))
        middle = lengths.context * math.exp(-variance / 2)
        factor = math.exp(math.sqrt(3.0 * variance))
        low_s, middle_s, high_s = step(node, middle / factor), step(node, middle), step(node, middle * factor)
        mean_s = (low_s + 4.0 * middle_s + high_s) / 6.0
        if factor > 1.0001:
            slope = (high_s - low_s) / (middle * (factor - 1.0 / factor))
        else:
            slope = (step(node, middle * 1.02) - step(node, middle * 0.98)) / (middle * 0.04)
        spread = (low_s * low_s + 4.0 * middle_s * middle_s + high_s * high_s) / 6.0 - mean_s * mean_s
        point = _Point(occupancy, mean_s / derate, slope / derate, max(0.0, spread) / (derate * derate))
        if points and occupancy > limit:
            if points[-1].occupancy < limit:
                share = (limit - points[-1].occupancy) / (occupancy - points[-1].occupancy)
                points.append(
                    _Point(*(low + (high - low) * share for low, high in zip(points[-1], point, strict=True)))
                )
            points.append(point)
            break
        points.append(point)
    return points


class _State:
    """Derivatives and variances of one replica at a mean occupancy."""

    def __init__(self, lengths: DecodeLengths, arrival_scv: float) -> None:
        self.lengths = lengths
        # What a request of a random age adds to the arrivals' variance: the share of the burst still there.
        self.burst = (arrival_scv - 1.0) / (
            1.0 + lengths.steps_scv if lengths.steps_scv < 1 else 1.6 + 0.4 * lengths.steps_scv
        )
        self.context_scv = lengths.context_variance / (lengths.context * lengths.context)
        young = 1.0 - lengths.prompt / lengths.context
        self.uneven = self.context_scv * (1.0 + YOUNG_UNEVEN * young**3)
        self.settling = SETTLING * self.context_scv * (1.0 - young)
        self.herd = HERD_SHARE * young * young
        self.herd_room = 1.0 / max(lengths.steps_scv, 1e-3) + 1.0 + self.context_scv

    def row(self, before: _Point, here: _Point, after: _Point) -> tuple[float, ...]:
        """Return the columns of :class:`Nodes` at one occupancy, from the points around it."""
        occupancy, step = here.occupancy, here.step_s
        rise = (after.step_s - step) / (after.occupancy - occupancy)
        if before is here:
            slope, bend = rise, 0.0
        else:
            fall = (step - before.step_s) / (occupancy - before.occupancy)
            slope = (after.step_s - before.step_s) / (after.occupancy - before.occupancy)
            bend = (rise - fall) / (after.occupancy - before.occupancy)
        feedback = min(occupancy * slope / step, MOST_FEEDBACK)
        # step = a + slope_count n + slope_token K: at fixed resident tokens K one more request costs slope_count.
        slope_token = here.context_slope / max(occupancy, 1.0)
        slope_count = max(0.0, slope - slope_token * self.lengths.context)
        crowd = occupancy / (1.0 + occupancy)
        mixed = occupancy / (occupancy + 0.5 + self.settling)
        bursts = max(0.2, 1.0 + self.burst * crowd)
        relative = bursts / (1.0 - feedback)
        variance = occupancy * relative
        herd = self.herd * occupancy / (1.0 + self.herd * occupancy / self.herd_room)
        uneven = self.uneven * mixed
        imbalance = uneven + herd * crowd
        discrete = max(1.0 - occupancy, DISCRETENESS / occupancy) if occupancy > 0 else 1.0
        alone = max(0.3 * slope * relative, slope * relative + bend * variance)
        lasting = slope * discrete + slope_count * (uneven + HERD_ON_MEAN * herd * crowd)
        stay = min(1.0, OWN_STAY + OWN_STAY_FEEDBACK * feedback)
        alone_variance = slope * slope * variance * stay + here.context_variance * crowd
        lasting_variance = IMBALANCE_OVER_STAY * slope_count**2 * occupancy * imbalance
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
            imbalance / (relative + imbalance),
        )
