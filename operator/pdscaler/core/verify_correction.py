"""The factor on a pool's load that makes its law agree with the simulation. Imports core only."""

import math

from pdscaler.core.need import PoolModel
from pdscaler.core.verify_settle import Settled

INSIDE = 1e-3
"""The corrected load keeps this far from the loads at which the law's count changes, as a share of their distance."""


def correction(model: PoolModel, settled: Settled, ceiling: int) -> float:
    """Return the factor for the load of one pool: the one nearest to 1 with which the law asks for the settled count.

    Parameters
    ----------
    model
        The pool as the law sees it, without any correction.
    settled
        What simulation settled of it.
    ceiling
        The greatest count allowed.

    Notes
    -----
    A law that asks for the settled count already is left alone: a factor would carry what it misses at this count over
    to counts at which it may be right.
    """
    rate = model.rate_rps
    if not (settled.searched and model.attainable):
        return 1.0
    if settled.least is not None:
        return _nearest(model, settled.least) / rate
    # All that is known is that the ceiling is too few: the law's own count stands if it says so too.
    return 1.0 if model.least_replicas(rate) > ceiling else _nearest(model, ceiling + 1) / rate


def _nearest(model: PoolModel, count: int) -> float:
    """Return the load nearest to the pool's own for which the law asks for a count."""
    rate, below, enough = model.rate_rps, model.largest_load(count - 1), model.largest_load(count)
    if not (math.isfinite(enough) and enough > 0):
        return rate
    room = INSIDE * (enough - below)
    return min(max(rate, below + room), enough - room)
