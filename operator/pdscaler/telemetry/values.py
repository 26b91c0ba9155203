"""What a figure of Prometheus can be: what is beyond is no measurement. Pure; imports the standard library only.

A Prometheus may be wrong, or somebody else's. Figures that no engine can have count as not finite, so that sums and
squares of those that are left stay finite.
"""

import math
from typing import Final

MAX_VALUE: Final = 1e15
"""Larger than any rate, length, time or count of requests."""
MIN_TOKENS: Final = 1e-3
"""Least mean length, tokens: a thousand requests with one token among them."""

MIN_LATENCY_S: Final = 1e-6
"""Least mean latency, seconds: no engine answers faster."""


def possible(value: float) -> float:
    """Return a value as it is, or as infinite where nothing that is measured is as large.

    Examples
    --------
    >>> possible(2.5), possible(-1e300)
    (2.5, -inf)
    """
    return value if abs(value) <= MAX_VALUE or math.isnan(value) else math.copysign(math.inf, value)
