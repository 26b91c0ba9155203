"""The histogram of the expositions, and the bucket bounds of vLLM and llm-d. May import prometheus_client.

prometheus_client's own Histogram takes one observation at a time and adds ``_created`` series; an emulated engine
observes a whole answer's tokens at once and exposes exactly the series that the real one has.
"""

from bisect import bisect_left
from collections.abc import Sequence

MAX_MODEL_LENGTH = 131_072
"""Longest request of the emulated model, tokens; vLLM derives its token bounds from it."""


def bounds_1_2_5(greatest: int) -> tuple[float, ...]:
    """Return vLLM's bounds of token counts: 1, 2 and 5 times the powers of ten, up to the model's length.

    Examples
    --------
    >>> bounds_1_2_5(100)
    (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
    """
    bounds: list[float] = []
    power = 1
    while True:
        for mantissa in (1, 2, 5):
            if mantissa * power > greatest:
                return tuple(bounds)
            bounds.append(float(mantissa * power))
        power *= 10


# vLLM, vllm/v1/metrics/loggers.py (0.10 and 0.11).
VLLM_TOKENS = bounds_1_2_5(MAX_MODEL_LENGTH)
VLLM_TTFT_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
    640.0, 2560.0,
)  # fmt: skip
VLLM_TPOT_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
VLLM_LATENCY_S = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
# llm-d router, pkg/epp/metrics (32778 is theirs).
EPP_INPUT_TOKENS = (
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32778.0, 65536.0,
    131072.0, 262144.0, 524288.0, 1048576.0,
)  # fmt: skip
EPP_OUTPUT_TOKENS = EPP_INPUT_TOKENS[:12]
EPP_LATENCY_S = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
)  # fmt: skip
EPP_TPOT_S = (
    0.0005, 0.00205, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0,
    3.0, 4.5, 6.0, 12.0, 18.0, 24.0, 30.0, 36.0, 48.0, 60.0, 90.0, 120.0, 180.0, 270.0, 360.0,
)  # fmt: skip


class Histogram:
    """Counts of observations in buckets, and their sum.

    Parameters
    ----------
    bounds
        Upper bounds, ascending, without infinity.
    """

    __slots__ = ("_bounds", "_counts", "_labels", "count", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._labels = [*map(str, bounds), "+Inf"]
        self._counts = [0] * len(self._labels)
        self.count = 0
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count ``times`` observations of ``value``."""
        self._counts[bisect_left(self._bounds, value)] += times
        self.count += times
        self.sum += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, cumulative count) as the exposition writes them."""
        total = 0
        cumulative: list[tuple[str, float]] = []
        for label, count in zip(self._labels, self._counts, strict=True):
            total += count
            cumulative.append((label, total))
        return cumulative
