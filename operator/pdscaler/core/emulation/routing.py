"""Which replica a request joins. May import only numpy, the standard library and core.

A chooser answers with an index into the ready replicas, which stand in the order in which they became ready. Ties go to
the first of them, so that the same calls give the same answers.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pdscaler.core.spec import Routing

Chooser = Callable[[Sequence[float]], int]
"""From the load of every ready replica (unfinished uncached tokens) to the index of the one that is joined."""


def least(loads: Sequence[float]) -> int:
    """Return the index of the least load, the first of equals.

    Examples
    --------
    >>> least([7, 3, 3])
    1
    """
    return min(range(len(loads)), key=loads.__getitem__)


def chooser(routing: Routing, rng: np.random.Generator) -> Chooser:
    """Return the rule that picks the prefill replica for the next request.

    Parameters
    ----------
    routing
        The rule. ``Central`` has one queue for all, so a request only ever joins an idle replica: the first one.
    rng
        Random generator, for ``Random``.
    """
    if routing is Routing.RANDOM:
        return lambda loads: int(rng.integers(len(loads)))
    if routing is Routing.ROUND_ROBIN:
        turn = -1

        def next_in_turn(loads: Sequence[float]) -> int:
            nonlocal turn
            turn = (turn + 1) % len(loads)
            return turn

        return next_in_turn
    return least
