"""The load that a pool too small for the whole one does serve, settled by simulation. Imports core only."""

import math
from collections.abc import Callable

from pdscaler.core.need import PoolModel
from pdscaler.core.verify_settle import Trials

At = Callable[[float], Trials]
"""From a load, requests/s of the same mix, to the trials of the pool under it."""

ROUNDS = 5
CLOSE = 0.01
"""A statistic within 1 % below the target is the target."""

_LEAST_STEP, _GREATEST_STEP = 0.7, 1.25
_BACK = 0.97


def largest_load(model: PoolModel, trials_at: At, replicas: int, budget: int) -> tuple[float, int] | None:
    """Find the largest load that a count of replicas serves within the target.

    Parameters
    ----------
    model
        The pool by its corrected law: where to begin. It has a target that can be met.
    trials_at
        The pool under any load.
    replicas
        The count; it misses the target under the model's own load.
    budget
        Requests to simulate at most; each load costs one block at least.

    Returns
    -------
    tuple[float, int] or None
        The greatest load that was seen to meet the target, requests/s, and the requests it took; None where none was.

    Notes
    -----
    Secant steps on 1 / latency against the load, which is about a straight line that falls from 1 / (latency of a
    request alone). A step never goes beyond a load that was seen to be too much.
    """
    assert model.target is not None
    alone, wanted = 1 / model.idle_s, 1 / model.target.target_s
    load, spent = min(model.largest_load(replicas), model.rate_rps), 0
    best, too_much = 0.0, model.rate_rps
    for _ in range(ROUNDS):
        trials = trials_at(load)
        trials.judge(replicas, max(budget - spent, 0) // 2)
        spent += trials.requests
        share = trials.margin(replicas).share
        if share is None:
            break
        if share >= 0:
            best = max(best, load)
            if share <= CLOSE:
                break
        else:
            too_much = min(too_much, load)
        step = _BACK
        if math.isfinite(share):
            reached = wanted / (1 - share)
            step = (alone - wanted * (1 + CLOSE / 2)) / (alone - reached) if alone > reached else _GREATEST_STEP
        load = max(load * min(max(step, _LEAST_STEP), _GREATEST_STEP), best)
        if load >= too_much:
            load = (best + too_much) / 2 if best else too_much * _BACK
        if best and load <= best * (1 + CLOSE / 2):
            break
    return (best, spent) if best else None
