"""Requests as columns, and drawing them from a workload. May import only numpy, the standard library and core."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError

MAX_TOKENS = 2**31 - 1
"""Longest prompt or answer, tokens: what a heavy tail draws beyond it is cut."""


@dataclass(frozen=True, slots=True, eq=False)
class RequestTable:
    """Requests in order of arrival.

    Parameters
    ----------
    arrival_s
        Arrivals at the front door, seconds, ascending.
    input_tokens, output_tokens
        Lengths of prompts and answers, tokens, at least 1.
    prefix_hit_tokens
        Tokens of the prompt that the prefix cache serves, at most ``input_tokens``.
    """

    arrival_s: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    prefix_hit_tokens: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.arrival_s)

    def first(self, count: int) -> "RequestTable":
        """Return the first ``count`` requests, without copying them."""
        return RequestTable(
            self.arrival_s[:count],
            self.input_tokens[:count],
            self.output_tokens[:count],
            self.prefix_hit_tokens[:count],
        )


class Draw:
    """Requests of a workload, drawn piece by piece; see :func:`draw_requests`.

    Parameters
    ----------
    workload, seed
        As there.
    """

    __slots__ = ("_gaps", "_inputs", "_outputs", "_unit_s", "_workload")

    def __init__(self, workload: WorkloadStats, seed: int) -> None:
        rate_rps = workload.arrival_rate_rps
        if workload.isl is None or workload.osl is None or not math.isfinite(rate_rps) or rate_rps <= 0:
            raise InvalidInputError("arrival_rate", "nothing arrives, so nothing can be simulated: give a rate above 0")
        if not 0 <= workload.prefix_hit_ratio <= 1:
            raise InvalidInputError("prefix_hit_ratio", f"must be a share, found {workload.prefix_hit_ratio}")
        self._workload = workload
        self._gaps, self._inputs, self._outputs = (np.random.default_rng([seed, stream]) for stream in range(3))
        self._unit_s = 0.0  # the last arrival at unit rate

    def next(self, count: int) -> RequestTable:
        """Return the next ``count`` requests: the pieces are the same as one draw of all."""
        workload = self._workload
        if count < 1:
            raise InvalidInputError("requests", f"must be at least 1, found {count}")
        assert workload.isl is not None
        assert workload.osl is not None
        gaps = draw_gaps(workload.arrival_scv, self._gaps, count)
        gaps[0] += self._unit_s
        unit_s = np.cumsum(gaps)
        self._unit_s = float(unit_s[-1])
        input_tokens = draw_lengths(workload.isl, self._inputs, count, "input_tokens")
        return RequestTable(
            unit_s / workload.arrival_rate_rps,
            input_tokens,
            draw_lengths(workload.osl, self._outputs, count, "output_tokens"),
            np.floor(input_tokens * workload.prefix_hit_ratio).astype(np.int64),
        )


def draw_requests(workload: WorkloadStats, count: int, seed: int) -> RequestTable:
    """Draw requests of a workload.

    Parameters
    ----------
    workload
        Rate, requests/s, > 0; lengths log-normal with mean and squared coefficient of variation, or their measured
        atoms; gamma inter-arrival times.
    count
        How many, at least 1. A shorter draw is the beginning of a longer one.
    seed
        Seed of the random streams, at least 0. Gaps, inputs and outputs have a stream each, and gaps are drawn at unit
        rate and scaled: two workloads that differ in one of these share the other random numbers.

    Raises
    ------
    InvalidInputError
        If nothing arrives, or a figure makes no sense.

    Examples
    --------
    >>> table = draw_requests(WorkloadStats(10.0, LengthStats(300.0, 1.0), LengthStats(50.0)), 4, seed=1)
    >>> len(table), table.output_tokens.tolist()
    (4, [50, 50, 50, 50])
    """
    return Draw(workload, seed).next(count)


def draw_gaps(scv: float, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Draw gamma inter-arrival times of mean 1 with a squared coefficient of variation (0: a clock, 1: Poisson)."""
    if not math.isfinite(scv) or scv < 0:
        raise InvalidInputError("arrival_scv", f"must be a finite number of at least 0, found {scv}")
    if scv == 0:
        return np.ones(count)
    return rng.standard_exponential(count) if scv == 1 else rng.gamma(1 / scv, scv, count)


def draw_lengths(stats: LengthStats, rng: np.random.Generator, count: int, field: str = "tokens") -> NDArray[np.int64]:
    """Draw whole lengths of at least 1 token: from the atoms, or log-normal by mean and squared variation.

    Raises
    ------
    InvalidInputError
        If mean, scv or atoms make no sense; it names ``field``.
    """
    if stats.atoms:
        tokens, shares = np.array(stats.atoms, float).T
        if not np.isfinite(stats.atoms).all() or (shares < 0).any() or shares.sum() <= 0:
            raise InvalidInputError(field, "the shares of a length distribution must be at least 0, and not all 0")
        drawn = tokens[np.searchsorted(np.cumsum(shares) / shares.sum(), rng.random(count), side="right")]
    else:
        mean, scv = stats.mean_tokens, stats.scv
        if not (math.isfinite(mean) and mean > 0 and math.isfinite(scv) and scv >= 0):
            raise InvalidInputError(field, f"needs a mean above 0 and an scv of at least 0, found {mean} and {scv}")
        if scv == 0:
            return np.full(count, min(max(1, round(mean)), MAX_TOKENS), np.int64)
        variance = math.log1p(scv)
        drawn = np.exp(math.log(mean) - variance / 2 + math.sqrt(variance) * rng.standard_normal(count))
    return np.asarray(np.clip(np.rint(drawn), 1, MAX_TOKENS).astype(np.int64))
