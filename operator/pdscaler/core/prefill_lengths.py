"""What prefill needs to know of the lengths of prompts: moments and percentiles of their passes. Imports core only.

A pass time is piecewise linear in the tokens, so its moments under a log-normal are sums over the pieces of partial
moments, E[X^k; X < a] = E[X^k] Phi((ln a − mu) / sigma − k sigma): exact, no sampling.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from pdscaler.core.curves import Line, PrefillCurve
from pdscaler.core.slo import Statistic
from pdscaler.core.workload import LengthStats

_NORMAL_QUANTILES = {0.5: 0.0, 0.9: 1.2815515655446004, 0.95: 1.6448536269514722, 0.99: 2.3263478740408408}
"""z with Phi(z) = q."""


@dataclass(frozen=True, slots=True)
class PromptLengths:
    """Prompts of a workload, as a prefill replica sees them.

    Parameters
    ----------
    tokens
        Mean uncached tokens, > 0.
    scv
        Squared coefficient of variation of the tokens.
    middle_s
        Time of a pass over the mean tokens, seconds.
    pass_s
        Mean time of a pass over one prompt alone, seconds.
    pass_scv
        Squared coefficient of variation of that time.
    convex_pass_s
        A bound of ``pass_s`` from above that grows with the variance of the lengths (see Notes).
    alone_s
        TTFT of a request that is alone, pass and overhead: its statistics, seconds.

    Notes
    -----
    Where the pass time is concave somewhere, lengths that vary more can have a shorter mean pass. The law that more
    length variance never needs fewer replicas at P95 and P99 then calls for a bound: p(m) + E[h(X)] − h(m), with h the
    greatest convex function below p. It grows with the variance by Jensen's inequality.
    """

    tokens: float
    scv: float
    middle_s: float
    pass_s: float
    pass_scv: float
    convex_pass_s: float
    alone_s: dict[Statistic, float]


def prompt_lengths(curve: PrefillCurve, isl: LengthStats, prefix_hit_ratio: float) -> PromptLengths:
    """Read the lengths off a workload's input lengths.

    Parameters
    ----------
    curve
        Pass time and overhead.
    isl
        Input lengths: atoms, or log-normal by mean and scv.
    prefix_hit_ratio
        Share of every prompt that the prefix cache serves, in [0, 1).
    """
    uncached = 1.0 - prefix_hit_ratio
    line, fixed_s, per_token_s = curve.line, curve.fixed_overhead_s, curve.overhead_per_token_s
    mean = isl.mean_tokens
    if isl.atoms:
        total = math.fsum(share for _, share in isl.atoms)
        atoms = [(tokens, share / total) for tokens, share in isl.atoms]
        mean = math.fsum(tokens * share for tokens, share in atoms)
        scv = max(0.0, math.fsum(tokens * tokens * share for tokens, share in atoms) / (mean * mean) - 1.0)
        passes = [(line(uncached * tokens), share) for tokens, share in atoms]
        first = math.fsum(pass_s * share for pass_s, share in passes)
        second = math.fsum(pass_s * pass_s * share for pass_s, share in passes)
        bound = first
        quantiles = {q: _atom_quantile(atoms, q) for q in _NORMAL_QUANTILES}
    elif isl.scv > 0:
        scv = isl.scv
        sigma = math.sqrt(math.log1p(scv))
        first, second = _log_normal_moments(line, uncached * mean, scv, sigma)
        hull = _convex_below(line)
        bound = first
        if hull is not line:
            bound = max(
                first,
                line(uncached * mean)
                + _log_normal_moments(hull, uncached * mean, scv, sigma)[0]
                - hull(uncached * mean),
            )
        quantiles = {q: mean * math.exp(sigma * (z - sigma / 2)) for q, z in _NORMAL_QUANTILES.items()}
    else:
        scv = 0.0
        first = bound = line(uncached * mean)
        second = first * first
        quantiles = dict.fromkeys(_NORMAL_QUANTILES, mean)
    alone_s = {Statistic.MEAN: first + fixed_s + per_token_s * mean}
    for statistic in Statistic:
        quantile = statistic.quantile
        if quantile is not None:
            tokens = quantiles[quantile]
            alone_s[statistic] = line(uncached * tokens) + fixed_s + per_token_s * tokens
    middle_s = line(uncached * mean)
    return PromptLengths(
        uncached * mean, scv, middle_s, first, max(0.0, second / (first * first) - 1.0), bound, alone_s
    )


def _atom_quantile(atoms: list[tuple[float, float]], quantile: float) -> float:
    """Return the least length that at least the share ``quantile`` of the prompts does not exceed."""
    for (tokens, _), below in zip(atoms, accumulate(share for _, share in atoms), strict=True):
        if below >= quantile - 1e-12:
            return tokens
    return atoms[-1][0]


def _log_normal_moments(line: Line, mean: float, scv: float, sigma: float) -> tuple[float, float]:
    """Return E[p(X)] and E[p(X)²] of a log-normal X with this mean and scv, sigma² = ln(1 + scv)."""
    knots, values = line.knots, line.values
    middle = math.log(mean) - sigma * sigma / 2
    square = mean * mean * (1.0 + scv)
    root = math.sqrt(0.5)
    erfc = math.erfc
    below_0 = below_1 = below_2 = 0.0
    first = second = 0.0
    level, slope = values[0], 0.0  # of the piece that ends at the knot: p = level + slope x
    last = len(knots) - 1
    for index, knot in enumerate(knots):
        if knot > 0:
            z = (math.log(knot) - middle) / sigma
            at_0 = 0.5 * erfc(-z * root)
            at_1 = 0.5 * mean * erfc((sigma - z) * root)
            at_2 = 0.5 * square * erfc((2 * sigma - z) * root)
            share_0, share_1, share_2 = at_0 - below_0, at_1 - below_1, at_2 - below_2
            first += level * share_0 + slope * share_1
            second += level * (level * share_0 + 2 * slope * share_1) + slope * slope * share_2
            below_0, below_1, below_2 = at_0, at_1, at_2
        slope = line.tail_slope if index == last else (values[index + 1] - values[index]) / (knots[index + 1] - knot)
        level = values[index] - slope * knot
    share_0, share_1, share_2 = 1.0 - below_0, mean - below_1, square - below_2
    first += level * share_0 + slope * share_1
    second += level * (level * share_0 + 2 * slope * share_1) + slope * slope * share_2
    return max(first, values[0]), max(second, values[0] * values[0])


@lru_cache(maxsize=256)
def _convex_below(line: Line) -> Line:
    """Return the greatest convex function below ``line``; ``line`` itself where it is convex."""
    points = list(zip(line.knots, line.values, strict=True))
    hull: list[tuple[float, float]] = [(0.0, points[0][1])] if points[0][0] > 0 else []
    for point in points:
        while len(hull) >= 2 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    while len(hull) >= 2 and _slope(hull[-2], hull[-1]) > line.tail_slope:
        hull.pop()
    if all(point in hull for point in points):
        return line
    return Line(tuple(x for x, _ in hull), tuple(y for _, y in hull), line.tail_slope)


def _slope(left: tuple[float, float], right: tuple[float, float]) -> float:
    return (right[1] - left[1]) / (right[0] - left[0])
