"""Latency objectives and the statistics they bind. Imports the standard library only."""

from dataclasses import dataclass
from enum import StrEnum


class Statistic(StrEnum):
    """Which statistic of the latencies a target binds."""

    MEAN = "Mean"
    P50 = "P50"
    P90 = "P90"
    P95 = "P95"
    P99 = "P99"

    @property
    def quantile(self) -> float | None:
        """The probability of a percentile (0.95 for P95); None for the mean."""
        return None if self is Statistic.MEAN else int(self.value[1:]) / 100


@dataclass(frozen=True, slots=True)
class LatencyTarget:
    """The value that one statistic of a latency must not exceed."""

    target_s: float
    statistic: Statistic = Statistic.MEAN


@dataclass(frozen=True, slots=True)
class Slo:
    """The objectives of one PDDeployment; at least one of the two is given."""

    ttft: LatencyTarget | None
    tpot: LatencyTarget | None


@dataclass(frozen=True, slots=True)
class LatencyStatistics:
    """Mean and percentiles of a latency, seconds; None where unknown, infinite where the queue is unstable."""

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None

    def of(self, statistic: Statistic) -> float | None:
        """Return the value of one statistic."""
        value: float | None = getattr(self, statistic.value.lower())
        return value
