"""How much noisier than Poisson arrivals are, and what that adds to a forecast. Imports the standard library only.

The index of dispersion of counts (variance over mean) is 1 for Poisson arrivals. It is read from neighbouring samples,
so that a rate that changes over minutes does not count: that is what the forecast is for. The queue models of the
sizing expect Poisson arrivals around the rate; what is beyond is a varying rate to them, so it widens the rate.
"""

import math

MOST_WIDENING = 0.15
"""A quantile is widened by this share at most: bursts of a minute and longer are in the peaks already."""

NOISE_WINDOW_S = 3600.0
"""The noise is averaged over so long."""


def index_of_dispersion(
    mean_square_difference: float, mean_rps: float, step_s: float, overlap_steps: int
) -> float | None:
    """Return variance over mean of the counts of one step.

    Parameters
    ----------
    mean_square_difference
        Mean of (rate − rate of the sample before)², (requests/s)².
    mean_rps
        Mean rate.
    step_s
        Seconds between samples.
    overlap_steps
        Steps that a sample spans. With k of them neighbours differ by (newest count − oldest count)/(k·step), of
        variance 2σ²/(k·step)².

    Examples
    --------
    >>> index_of_dispersion(2 * 30.0 / 15.0, 30.0, 15.0, 1)
    1.0
    """
    if not (mean_square_difference >= 0 and mean_rps > 0):
        return None
    return 0.5 * mean_square_difference * overlap_steps * overlap_steps * step_s / mean_rps


def widening(rate_rps: float, dispersion: float | None, weight: float, rate_window_s: float) -> float:
    """Return what to add to a rate for arrivals that are noisier than Poisson, requests/s.

    ``weight`` standard deviations, beyond Poisson's, of the mean over the rate's window: √((index − 1)·rate/window); at
    most :data:`MOST_WIDENING` of the rate. Nothing for Poisson arrivals or smoother ones.

    Examples
    --------
    >>> widening(100.0, 16.0, 1.0, 60.0), widening(100.0, 0.9, 1.0, 60.0)
    (5.0, 0.0)
    """
    if dispersion is None or not dispersion > 1 or not rate_rps > 0:
        return 0.0
    return min(MOST_WIDENING * rate_rps, weight * math.sqrt((dispersion - 1.0) * rate_rps / rate_window_s))
