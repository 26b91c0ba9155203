"""The step times of a profile on a fixed grid of occupancies, computed once for each profile. Imports core only."""

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

from pdscaler.core.curves import decode_surface
from pdscaler.core.profile import DecodeProfile

NODES = 22
"""Geometric steps of the occupancy from 1 to the batch limit."""

BELOW_ONE = (0.0, 0.4)
ALONE = len(BELOW_ONE)
"""Node of the occupancy 1."""


@dataclass(frozen=True, slots=True)
class StepGrid:
    """Step time on a grid.

    Parameters
    ----------
    occupancy
        0, some below 1, 1, geometrically on to ``max_batch``, and one beyond.
    contexts
        Measured context lengths, tokens, ascending.
    rows
        Step time, seconds, at each occupancy, one row for each context; continued below one request by the slope
        between one and two, so that a mean occupancy below 1 has a meaning.
    """

    occupancy: tuple[float, ...]
    contexts: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]

    def step_s(self, node: int, context_tokens: float) -> float:
        """Return the step time at a node of the grid and any context: linear between contexts, held at the ends."""
        contexts = self.contexts
        right = bisect_right(contexts, context_tokens)
        if right == 0:
            return self.rows[0][node]
        low = self.rows[right - 1][node]
        if right == len(contexts):
            return low
        start = contexts[right - 1]
        return low + (self.rows[right][node] - low) * ((context_tokens - start) / (contexts[right] - start))


@lru_cache(maxsize=1024)
def step_grid(profile: DecodeProfile) -> StepGrid:
    """Compute the grid of a profile.

    Raises
    ------
    InvalidInputError
        If the profile holds what cannot be measured.
    """
    surface = decode_surface(profile)
    ratio = max(float(surface.max_batch), 2.0) ** (1.0 / NODES)
    # A slot limit of 1 still needs the slope beyond it; the grid then ends above the limit, which the nodes cut off.
    above = [*(ratio**index for index in range(NODES)), max(float(surface.max_batch), 2.0)]
    above.append(above[-1] * ratio)
    rows = []
    for line in surface.lines:
        alone_s = line(1.0)
        first_s = min(line(2.0) - alone_s, 0.9 * alone_s)
        rows.append((*(alone_s - first_s * (1.0 - count) for count in BELOW_ONE), *map(line, above)))
    return StepGrid((*BELOW_ONE, *above), surface.contexts, tuple(rows))
