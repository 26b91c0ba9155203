"""The forecast as a value, and the workload to size for. Imports core only."""

import math
from dataclasses import dataclass, replace

from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.forecast.method import Method


@dataclass(frozen=True, slots=True)
class Forecast:
    """What to expect from now to now + horizon.

    Parameters
    ----------
    at_s
        Now: the time of the newest sample, seconds since the epoch.
    horizon_s
        Length of the time ahead, seconds.
    quantile
        Of :attr:`rate_rps`.
    method
        What made it: the method chosen, or LastValue where that one has no answer (see :attr:`fallback`).
    level_rps
        Mean rate of the last minute; None where nothing is known.
    rate_rps
        The quantile of the highest one-minute rate within the horizon, >= 0; None where nothing is known.
    expected_rps
        Its median, for display.
    isl, osl
        Lengths to size with; None where none are known. Such that rate × mean is the same quantile of the tokens/s.
    dispersion
        Index of dispersion of the arrivals' counts (1: Poisson); None where unknown. Included in :attr:`rate_rps`.
    fallback
        Why the method that was asked for was not used; empty where it was. Worth counting.
    reason
        One line for people.
    """

    at_s: float
    horizon_s: float
    quantile: float
    method: Method
    level_rps: float | None
    rate_rps: float | None
    expected_rps: float | None
    isl: LengthStats | None
    osl: LengthStats | None
    dispersion: float | None
    fallback: str
    reason: str


def sized_for(now: WorkloadStats, forecast: Forecast) -> WorkloadStats:
    """Return the workload to size for: never below what is seen now, neither in requests/s nor in tokens/s.

    Parameters
    ----------
    now
        What is observed. Its lengths, means of the last minutes, are noise: those of the forecast replace them, raised
        where rate × length would be below what is seen. A measured distribution keeps its shape.
    forecast
        What is expected; where it knows nothing, what is observed stays.

    Examples
    --------
    >>> nothing = Forecast(0.0, 135.0, 0.98, Method.LAST_VALUE, None, None, None, None, None, None, "no history", "")
    >>> now = WorkloadStats(3.0, LengthStats(900.0), LengthStats(200.0))
    >>> sized_for(now, nothing) == now
    True
    >>> sized_for(now, replace(nothing, rate_rps=4.5)).arrival_rate_rps
    4.5
    """
    rate = max(now.arrival_rate_rps, forecast.rate_rps or 0.0)
    share = now.arrival_rate_rps / rate if rate > 0 else 0.0
    return replace(
        now,
        arrival_rate_rps=rate,
        isl=_lengths(now.isl, forecast.isl, share),
        osl=_lengths(now.osl, forecast.osl, share),
    )


def _lengths(now: LengthStats | None, expected: LengthStats | None, share: float) -> LengthStats | None:
    if now is None or expected is None:
        return expected if now is None else now
    mean = max(expected.mean_tokens, share * now.mean_tokens)
    if not now.atoms:
        return LengthStats(mean, expected.scv)
    factor = mean / now.mean_tokens
    if not 0 < factor < math.inf:
        return now
    return LengthStats(mean, now.scv, tuple((tokens * factor, weight) for tokens, weight in now.atoms))
