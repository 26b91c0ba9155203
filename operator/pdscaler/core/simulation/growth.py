"""Whether a pool's queue was still growing when the arrivals ended. May import only numpy and core."""

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import Pool
from pdscaler.core.simulation.run import Records

POINTS = 40
"""Instants at which a run is looked at."""

LEAST_FIT = 0.8
"""Share of the variation that a straight line must explain: a steady queue wanders, an overloaded one climbs."""

LEAST_GROWTH = 0.3
"""Growth over the second half of the run against the mean: a climbing queue's is 2/3."""

LEAST_SHARE = 0.002
"""Growth against the arrivals of that half: what is served short of what arrives."""

LEAST_REQUESTS = 20.0
"""A handful of requests more is no trend."""


def growing(inside: NDArray[np.float64], arrivals: float) -> bool:
    """Return whether a queue seen at equal distances climbs without an end in sight.

    Parameters
    ----------
    inside
        Requests in the queue, over the second half of a run.
    arrivals
        Arrivals over that half.

    Examples
    --------
    >>> growing(np.arange(0.0, 400.0, 10.0), 4000.0), growing(np.array([40.0, 60.0] * 20), 4000.0)
    (True, False)
    """
    if len(inside) < POINTS // 4:
        return False
    at = np.linspace(-0.5, 0.5, len(inside))
    slope = float(at @ inside) / float(at @ at)  # over the whole stretch, which has length 1
    variation = float(((inside - inside.mean()) ** 2).sum())
    least = max(LEAST_GROWTH * float(inside.mean()), LEAST_SHARE * arrivals, LEAST_REQUESTS)
    return slope >= least and slope**2 * float(at @ at) >= LEAST_FIT * variation


def overloaded(records: Records) -> tuple[Pool, ...]:
    """Return the pools that cannot keep up: their queues grow until the arrivals end.

    A simulation cannot tell the two apart for sure: a pool loaded to a hair's breadth below its limit wanders so far
    that a finite run may look like growth. Neither has a steady state that this run could have shown.
    """
    arrival_s, first_token_s = records.arrival_s, records.first_token_s
    if len(arrival_s) < POINTS:
        return ()
    half_s = (arrival_s[0] + arrival_s[-1]) / 2
    at_s = np.linspace(half_s, arrival_s[-1], POINTS)
    decoded = ~np.isnan(records.tpot_s)
    queues = (
        (Pool.PREFILL, arrival_s, first_token_s),
        (Pool.DECODE, first_token_s[decoded], records.decode_started_s[decoded]),  # waiting for a slot
        (Pool.DECODE, first_token_s[decoded], records.finished_s[decoded]),  # a batch without a limit grows itself
    )
    arrivals = _before(arrival_s, at_s[-1:])[0] - _before(arrival_s, at_s[:1])[0]
    found = {pool for pool, begin, end in queues if growing(_before(begin, at_s) - _before(end, at_s), arrivals)}
    return tuple(pool for pool in Pool if pool in found)


def _before(times_s: NDArray[np.float64], at_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many of the times lie before or at each instant."""
    return np.searchsorted(np.sort(times_s), at_s, side="right").astype(np.float64)
