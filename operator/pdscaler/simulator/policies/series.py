"""A forecast of a few numbers in a row, as the planners make that have an ARIMA. May import numpy."""

from collections.abc import Sequence

import numpy as np

LEAST = 5
"""Numbers from which on anything but the last one is believed (Dynamo's minimum)."""

_MOST_MEMORY = 0.95


def forecast(series: Sequence[float], steps: int = 1) -> list[float]:
    """Return the next ``steps`` numbers by an ARIMA(1,1,0) fitted by least squares, none below 0.

    The planners leave order and fit to pmdarima's search over likelihoods; on series this short it settles on such
    models mostly. With fewer than five numbers, or where nothing has changed, the last one is repeated.

    Examples
    --------
    >>> forecast([8.0, 4.0, 6.0, 5.0, 5.5], 2)
    [5.25, 5.375]
    >>> forecast([3.0, 4.0])
    [4.0]
    """
    last = float(series[-1])
    changes = np.diff(np.asarray(series, np.float64))
    power = float((changes[:-1] ** 2).sum())
    if len(series) < LEAST or power == 0:
        return [max(0.0, last)] * steps
    memory = float(np.clip((changes[1:] * changes[:-1]).sum() / power, -_MOST_MEMORY, _MOST_MEMORY))
    change, values = float(changes[-1]), []
    for _ in range(steps):
        change *= memory
        last += change
        values.append(max(0.0, last))
    return values
