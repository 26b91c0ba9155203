"""The wait for a decode slot or for KV memory: how often, how long, and what it adds to TPOT. Imports core only."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from pdscaler.core.decode_lengths import DecodeLengths

WAIT_STEP = 0.05
WAIT_STEPS = 100


def _wait_table() -> tuple[float, ...]:
    """Tabulate the probability to wait, 1 / (1 + β Φ(β) / φ(β)), for β = 0, WAIT_STEP, ..."""
    table = []
    for index in range(WAIT_STEPS + 1):
        beta = index * WAIT_STEP
        density = math.exp(-beta * beta / 2) / math.sqrt(2 * math.pi)
        below = 0.5 * (1 + math.erf(beta / math.sqrt(2)))
        table.append(density / (density + beta * below))
    table[-1] = 0.0
    return tuple(table)


_WAIT = _wait_table()


def wait_probability(distance: float) -> float:
    """Return the probability that a request waits, never rising with ``distance``.

    Parameters
    ----------
    distance
        Room between the mean occupancy and the limit, in standard deviations of the occupancy, >= 0.

    Notes
    -----
    Halfin and Whitt (Operations Research 29, 1981): P(wait) = [1 + β Φ(β) / φ(β)]⁻¹ for many servers; the deviation is
    that of a state-dependent service speed and of the routing, not the square root of the servers.
    """
    place = distance / WAIT_STEP
    if place >= WAIT_STEPS:
        return 0.0
    left = int(place)
    high, low = _WAIT[left], _WAIT[left + 1]
    return max(high + (low - high) * (place - left), low)


@dataclass(frozen=True, slots=True)
class WaitTail:
    """What an exponential wait of mean 1 adds to the TPOT of requests of various lengths.

    Parameters
    ----------
    mean
        E[1 / N], N the steps: the mean that it adds.
    log_odds, added
        The value y exceeded with odds r, E[exp(−y N)] = 1 / r, tabulated against ln r.
    """

    mean: float
    log_odds: tuple[float, ...]
    added: tuple[float, ...]

    def quantile(self, odds: float) -> float:
        """Return y with E[exp(−y N)] = 1 / odds; 0 where odds <= 1. Never falls as the odds grow."""
        if odds <= 1.0:
            return 0.0
        wanted = math.log(odds)
        knots = self.log_odds
        right = bisect_right(knots, wanted)
        if right == len(knots):
            return self.added[-1]
        low = self.added[right - 1]
        share = (wanted - knots[right - 1]) / (knots[right] - knots[right - 1])
        return min(low + (self.added[right] - low) * share, self.added[right])


def wait_tail(lengths: DecodeLengths) -> WaitTail:
    """Tabulate the tail for the lengths of a workload, odds up to 100 (all wait, P99)."""
    requests: Sequence[tuple[float, float]] = lengths.representatives()
    mean = math.fsum(share / steps for steps, share in requests)
    log_odds, added = [0.0], [0.0]
    shortest = requests[0][0]
    for index in range(1, 25):
        value = (index / 24) ** 2 * 5.0 / shortest
        transform = math.fsum(share * math.exp(-value * steps) for steps, share in requests)
        growth = -math.log(max(transform, 1e-3))
        if growth > log_odds[-1]:
            log_odds.append(growth)
            added.append(value)
    return WaitTail(mean, tuple(log_odds), tuple(added))
