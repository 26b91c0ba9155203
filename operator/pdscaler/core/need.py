"""What one pool asks for, and what a sizing model must tell of it. Imports core only."""

from dataclasses import dataclass
from typing import Protocol

from pdscaler.core.decision import Binding
from pdscaler.core.slo import LatencyStatistics, LatencyTarget, Statistic


@dataclass(frozen=True, slots=True)
class Need:
    """What one pool asks for under its load.

    Parameters
    ----------
    required
        Real-valued replicas; infinite where no count meets the target.
    wanted
        The same, or by the bounded rule where no count meets the target: ``recommended`` is this, rounded up.
    recommended
        The least whole count, at least 1.
    """

    required: float
    wanted: float
    recommended: int


class PoolModel(Protocol):
    """A pool of replicas under a given load: both directions between load and count, and the latencies."""

    @property
    def rate_rps(self) -> float:
        """Requests per second over the whole pool."""

    @property
    def target(self) -> LatencyTarget | None:
        """The objective; None where there is none."""

    @property
    def statistic(self) -> Statistic:
        """The statistic that the target binds; the mean where there is no target."""

    @property
    def idle_s(self) -> float:
        """That statistic without load, seconds: no count does better."""

    @property
    def attainable(self) -> bool:
        """Whether any number of replicas meets the target."""

    def need(self) -> Need:
        """Return what the pool asks for under its load."""

    def least_replicas(self, rate_rps: float) -> int:
        """Return the least count that serves a load within the target, or the bounded rule where none does."""

    def largest_load(self, replicas: int) -> float:
        """Return the largest load, requests/s, that a count serves within the target, or by the bounded rule."""

    def binding(self, replicas: int) -> Binding:
        """Return what decides how much a count serves."""

    def statistics(self, replicas: int) -> LatencyStatistics:
        """Return the latencies predicted at a count; infinite where the queue is unstable."""

    def value_s(self, replicas: int) -> float:
        """Return the target's statistic predicted at a count, seconds; infinite where the queue is unstable."""
