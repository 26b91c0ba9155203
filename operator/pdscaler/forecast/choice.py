"""Which method forecasts: the least loss in the rolling back-test, with hysteresis. May import numpy only.

A method replaces the present one only where its discounted loss is smaller by :data:`MARGIN`: two methods that are
equally good must not take turns, since every change moves the forecast.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pdscaler.forecast.online import Rehearsal
from pdscaler.forecast.quantiles import pinball_losses

Array = NDArray[np.float64]

MARGIN = 0.05
HALF_LIFE_S = 7200.0
"""Losses count half after so long."""


def decay(step_s: float) -> float:
    """Return what a loss still counts one sample later."""
    return math.exp(-math.log(2.0) * step_s / HALF_LIFE_S)


def chosen(losses: Sequence[float], present: int) -> int:
    """Return the index of the method to use.

    Examples
    --------
    >>> chosen([1.0, 0.97, 0.9], 0), chosen([1.0, 0.97], 0), chosen([1.0, 0.97], 1)
    (2, 0, 1)
    """
    best = min(range(len(losses)), key=lambda index: losses[index])
    return best if losses[best] < (1.0 - MARGIN) * losses[present] else present


def rehearsed_choice(
    rehearsals: Sequence[Rehearsal], peaks: Array, quantile: float, step_s: float
) -> tuple[list[float], int]:
    """Return the discounted losses over a window and the choice at its end, with the hysteresis of the way there.

    The first method is what a missing forecast of another falls back to, and the choice to begin with.
    """
    fallback = rehearsals[0].forecasts
    table = np.array(
        [
            np.nan_to_num(pinball_losses(peaks, np.where(np.isnan(each.forecasts), fallback, each.forecasts), quantile))
            for each in rehearsals
        ]
    )
    losses, present, kept = [0.0] * len(rehearsals), 0, decay(step_s)
    # A look every 12th of the window keeps the hysteresis of the way without a loop over samples.
    for part in np.array_split(np.arange(table.shape[1]), 12):
        if not part.size:
            continue
        weights = kept ** np.arange(part.size - 1, -1, -1)
        added = table[:, part] @ weights
        losses = [loss * kept**part.size + float(more) for loss, more in zip(losses, added, strict=True)]
        present = chosen(losses, present)
    return losses, present
