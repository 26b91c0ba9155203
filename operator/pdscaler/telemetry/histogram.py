"""What a histogram's buckets tell about spread and percentiles. Pure; imports the standard library only.

Buckets of several pods and releases may have different bounds, so they are pooled as weighted intervals.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Bucket:
    """The observations in ``(lower, upper]``; ``upper`` may be infinite. ``weight`` is their number, or their rate."""

    lower: float
    upper: float
    weight: float


def differences(cumulative: Mapping[float, float]) -> list[Bucket]:
    """Turn cumulative counts by upper bound (``le``) into buckets.

    Scrapes and extrapolation can leave counts that do not grow with the bound; the running maximum mends them.
    """
    buckets: list[Bucket] = []
    lower, below = 0.0, 0.0
    for upper in sorted(cumulative):
        total = max(below, cumulative[upper])
        if total > below:
            buckets.append(Bucket(min(lower, upper), upper, total - below))
        lower, below = upper, total
    return buckets


def scv_of(buckets: Iterable[Bucket], mean: float) -> float:
    """Estimate the squared coefficient of variation of observations whose mean is known exactly.

    Parameters
    ----------
    buckets
        Pooled buckets; bounds >= 0.
    mean
        Sum over count, > 0.

    Returns
    -------
    float
        Estimate, finite and >= 0; 0 where there is no bucket.

    Notes
    -----
    Within each bucket ``(l, u]`` of width w and share p, the observations are taken as ``l + w B`` with
    ``B ~ Beta(2t, 2 (1 - t))``, of mean t and variance t (1 - t) / 3; the one t of all buckets is what the known mean
    asks for: ``sum p (l + t w) = mean``. At t = 1/2 that is the uniform distribution, at 0 and 1 all mass lies on the
    bounds. The second moment is ``sum p ((l + t w)^2 + w^2 t (1 - t) / 3)``.

    What the buckets allow is an interval: with x = l + t w, the variance within a bucket lies between 0 and
    w^2 t (1 - t). As long as t is common to all, the truth exceeds the estimate by at most
    ``(2/3) sum p w^2 t (1 - t) / mean^2``; for one bucket of ratio u / l = 2.5 (vLLM's) that is at most 0.15, and
    constant lengths inside it show an scv of at most 0.075 instead of 0.

    The last bucket has no upper bound. It is taken to end at twice its lower bound, or further out where the mean asks
    for it: an scv from a histogram that overflows is a lower bound.
    """
    bounded = [
        bucket if math.isfinite(bucket.upper) else Bucket(bucket.lower, max(2 * bucket.lower, mean), bucket.weight)
        for bucket in buckets
        if bucket.weight > 0
    ]
    total = math.fsum(bucket.weight for bucket in bounded)
    if not bounded or not total > 0 or not mean > 0:
        return 0.0
    low = math.fsum(b.weight * b.lower for b in bounded) / total
    width = math.fsum(b.weight * (b.upper - b.lower) for b in bounded) / total
    place = (mean - low) / width if width > 0 else 0.5
    last = max(range(len(bounded)), key=lambda index: bounded[index].upper)
    # A mean beyond what the bounds allow: the excess lies in the last bucket.
    beyond = (mean - low - width) * total / bounded[last].weight if place > 1 else 0.0
    place = min(1.0, max(0.0, place))
    points = [
        b.lower + place * (b.upper - b.lower) + (beyond if index == last else 0.0) for index, b in enumerate(bounded)
    ]
    centre = math.fsum(b.weight * x for b, x in zip(bounded, points, strict=True)) / total
    inner = place * (1 - place) / 3
    spreads = (
        b.weight * ((x - centre) ** 2 + inner * (b.upper - b.lower) ** 2) for b, x in zip(bounded, points, strict=True)
    )
    variance = math.fsum(spreads) / total
    return max(0.0, variance / mean**2)


def quantile_interval(buckets: Iterable[Bucket], quantile: float) -> tuple[float, float] | None:
    """Bound a quantile: no distribution with these buckets has it outside the interval.

    Parameters
    ----------
    buckets
        Pooled buckets; they may overlap, where pods have different bounds.
    quantile
        Probability, in (0, 1).

    Returns
    -------
    tuple[float, float] | None
        Lower and upper bound, the upper one possibly infinite; None where nothing was observed.
    """
    known = [bucket for bucket in buckets if bucket.weight > 0]
    wanted = quantile * math.fsum(bucket.weight for bucket in known)
    if not known:
        return None
    # Least: all observations at their lower bounds; most: all at their upper ones.
    return (
        _reaches(((bucket.lower, bucket.weight) for bucket in known), wanted),
        _reaches(((bucket.upper, bucket.weight) for bucket in known), wanted),
    )


def _reaches(points: Iterable[tuple[float, float]], wanted: float) -> float:
    """Return the place where the running weight reaches ``wanted`` (the last one, where rounding keeps it below)."""
    ordered = sorted(points)
    running = accumulate(weight for _, weight in ordered)
    reached = (place for (place, _), weight in zip(ordered, running, strict=True) if weight >= wanted)
    return next(reached, ordered[-1][0])
