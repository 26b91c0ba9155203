"""One decode replica against its mean occupancy, tabulated for :mod:`pdscaler.core.decode_law`. Imports core only.

At each mean occupancy: the fluid step time of the surface, and what :mod:`pdscaler.core.decode_state` makes of it.
"""

import math
from dataclasses import dataclass
from itertools import accumulate

from pdscaler.core.curves import DecodeSurface
from pdscaler.core.decision import Binding
from pdscaler.core.decode_grid import StepGrid
from pdscaler.core.decode_lengths import DecodeLengths
from pdscaler.core.decode_state import ReplicaState

FREE = 0.5
FREE_BY_SPREAD = 0.4
"""KV memory that stays free in overload, in mean prompts and outputs; and more of it for each unit of context scv."""


ROW = (
    "one_s", "many_s", "shared_s", "one_variance", "many_variance", "shared_variance", "bent_variance", "one_spread",
    "many_spread", "shared_spread", "local_share",
)  # fmt: skip
"""The columns that :meth:`pdscaler.core.decode_state.ReplicaState.row` fills, in its order."""


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
    bent_variance
        More of it for the percentiles, where the step time rises faster above the mean occupancy, over D √D.
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
    bent_variance: tuple[float, ...]
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
    state = ReplicaState(lengths, arrival_scv, binding, counts, steps)
    rows = [state.row(node, slopes[node], variances[node]) for node in range(last + 1)]
    columns = (tuple(accumulate(column, max)) for column in zip(*rows, strict=True))
    lines = state.slopes[:last]
    return Nodes(
        occupancy=tuple(counts[: last + 1]),
        throughput=tuple(count / step for count, step in zip(counts[: last + 1], steps, strict=False)),
        intercept_s=tuple(step - slope * count for step, slope, count in zip(steps, lines, counts, strict=False)),
        slope_s=tuple(lines),
        binding=binding,
        **dict(zip(ROW, columns, strict=True)),
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
        # With more requests the mean context spreads less, which may outweigh the larger batch: held level there.
        steps.append(mean / derate if not steps or mean / derate > steps[-1] else steps[-1])
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
