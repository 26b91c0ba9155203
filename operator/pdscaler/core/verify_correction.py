"""The factor on a pool's load that makes its law agree with the simulation. Imports core only."""

import math

from pdscaler.core.need import PoolModel
from pdscaler.core.verify_settle import Settled

INSIDE = 1e-3
"""The corrected load keeps this far from the loads at which the law's count changes, as a share of their distance."""


def correction(model: PoolModel, settled: Settled, ceiling: int) -> float:
    """Return the factor for the load of one pool.

    Parameters
    ----------
    model
        The pool as the law sees it, without any correction.
    settled
        What simulation settled of it.
    ceiling
        The greatest count allowed.

    Returns
    -------
    float
        So that the law asks for the settled count at this factor times the load, and for the real-valued need that the
        simulated latencies come to.
    """
    rate = model.rate_rps
    if not (settled.searched and model.attainable):
        return 1.0
    if settled.least is not None:
        return _load(model, settled.least, simulated_share(model, settled, settled.least)) / rate
    # All that is known is that the ceiling is too few: the law's own count stands if it says so too.
    return 1.0 if model.least_replicas(rate) > ceiling else _load(model, ceiling + 1, 0.5) / rate


def simulated_share(model: PoolModel, settled: Settled, least: int) -> float:
    """Return how far the load is on the way from what one fewer serves to what ``least`` serve, in (0, 1).

    Notes
    -----
    To first order 1 / latency falls linearly with the load of one replica, from y0 without load: with r replicas
    needed, y(n) = y0 - (r / n)(y0 - 1 / target). Two counts eliminate y0; where the smaller one is unstable, the
    latency without load stands in for it.
    """
    trials = settled.trials
    assert trials.target is not None
    wanted = 1 / trials.target.target_s
    enough, short = _inverse(settled, least), _inverse(settled, least - 1)
    if enough is None or enough < wanted:
        share = 1.0  # not seen to be enough by far: next to too few
    elif short is not None:
        spare, lack = (enough - wanted) * least, (wanted - short) * (least - 1)
        share = lack / (lack + spare) if lack > 0 else 0.0
    else:
        idle = 1 / model.idle_s
        share = least * (idle - enough) / (idle - wanted) - (least - 1) if idle > wanted else 0.5
    return min(max(share, INSIDE), 1 - INSIDE)


def _inverse(settled: Settled, replicas: int) -> float | None:
    """Return 1 / the target's statistic of a count, 1/s; None where it is unknown, or the queue grows."""
    target, margin = settled.trials.target, settled.trials.margin(replicas)
    if target is None or margin.share is None or not math.isfinite(margin.share):
        return None
    return 1 / (target.target_s * (1 - margin.share))


def _load(model: PoolModel, count: int, share: float) -> float:
    """Return the load that lies at a share of the way from what ``count - 1`` serve to what ``count`` serve."""
    below, enough = model.largest_load(count - 1), model.largest_load(count)
    if not (math.isfinite(enough) and enough > 0):
        return model.rate_rps
    return below + (enough - below) * share
