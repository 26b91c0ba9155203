"""How well a simulated statistic is known: intervals from batch means. May import only numpy and core.

Two widths: 95 % to report, and a wider one to decide on. A trial is looked at again and again while it runs, and each
look is another chance to be wrong.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.slo import Statistic

REPORTED = 1.96
"""Standard errors on either side of what is reported: 95 %."""

DECIDED = 3.0
"""Standard errors by which a value must clear the target: 99.7 % at each look."""

LEAST_BATCHES, MOST_BATCHES = 8, 40
_GREATEST_CORRELATION = 0.9


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic, seconds, and where the truth lies.

    Parameters
    ----------
    value_s
        The estimate.
    half_width_s
        Half width of the 95 % interval.
    low_s, high_s
        Ends of the wider interval that decisions go by.
    """

    value_s: float
    half_width_s: float
    low_s: float
    high_s: float


def interval(values: NDArray[np.float64], statistic: Statistic, batch: float) -> Interval | None:
    """Estimate a statistic of a correlated series.

    Parameters
    ----------
    values
        The latencies, seconds, in order of arrival, of the steady state.
    statistic
        Which statistic.
    batch
        Values to a batch, at least: about the correlation time of the series, or more.

    Returns
    -------
    Interval or None
        None where there are fewer than eight batches.

    Notes
    -----
    Batch means with Student's t (Cornish-Fisher); what correlation the batches still show widens the interval as that
    of a first-order autoregression does. A percentile's interval is read off the values between the ranks that the
    share below the percentile may have (batch means of the indicator): it needs no density, and is not symmetric.
    """
    batches = min(MOST_BATCHES, int(len(values) / max(batch, 1.0)))
    if batches < LEAST_BATCHES:
        return None
    length = len(values) // batches
    whole = slice(len(values) - batches * length, None)
    quantile = statistic.quantile
    if quantile is None:
        value = float(values.mean())
        error = _standard_error(values[whole].reshape(batches, length).mean(axis=1))
        reported, decided = (_student(width, batches - 1) * error for width in (REPORTED, DECIDED))
        return Interval(value, reported, value - decided, value + decided)
    value = float(np.quantile(values, quantile))
    error = _standard_error((values[whole] <= value).reshape(batches, length).mean(axis=1))
    # A share of 0 or 1 in every batch does not mean that it is known exactly.
    error = max(error, math.sqrt(quantile * (1 - quantile) / len(values)))
    reported, decided = (_student(width, batches - 1) * error for width in (REPORTED, DECIDED))
    ranks = [quantile - decided, quantile - reported, quantile + reported, quantile + decided]
    ends = np.quantile(values, np.clip(ranks, 0.0, 1.0))
    low, near, far, high = (float(end) for end in ends)
    return Interval(
        value,
        math.inf if ranks[2] > 1 else (far - near) / 2,
        low if ranks[0] >= 0 else 0.0,
        math.inf if ranks[3] > 1 else high,
    )


def _standard_error(means: NDArray[np.float64]) -> float:
    """Return the standard error of the mean of batch means, widened by the correlation of neighbours."""
    apart = means - means.mean()
    total = float(apart @ apart)
    if total == 0:
        return 0.0
    neighbours = min(max(float(apart[1:] @ apart[:-1]) / total, 0.0), _GREATEST_CORRELATION)
    count = len(means)
    return math.sqrt(total / (count - 1) / count * (1 + neighbours) / (1 - neighbours))


def _student(width: float, freedom: int) -> float:
    """Return Student's t at the probability of ``width`` normal standard errors (Cornish-Fisher expansion)."""
    cube = width**3
    return width + (cube + width) / (4 * freedom) + (5 * width**5 + 16 * cube + 3 * width) / (96 * freedom**2)
