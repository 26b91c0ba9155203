"""A pool by the formulas of PaperMM1: every replica serves the same, whatever their number. Imports core only."""

import math
from dataclasses import dataclass, field

from pdscaler.core.decision import Binding
from pdscaler.core.need import Need
from pdscaler.core.paper import DecodeModel, PrefillModel
from pdscaler.core.slo import LatencyStatistics, LatencyTarget, Statistic

ROUNDING = 1e-9
"""A need this little above a whole number is that number: it is rounding of the arithmetic."""

MOST_REPLICAS = 10**9
"""A need beyond this is no longer counted (a target at the very edge of what is attainable)."""


@dataclass(frozen=True, slots=True)
class PaperPool:
    """A pool under a given load.

    Parameters
    ----------
    model
        The formulas, at ``correction`` times the load.
    rate_rps
        Requests per second over the whole pool.
    correction
        Factor on every load before the formulas see it, > 0: what simulation found them to be off by.
    """

    model: PrefillModel | DecodeModel
    rate_rps: float
    correction: float = 1.0
    _each_rps: float = field(init=False, repr=False)
    """Load that one replica serves within the target, or by the bounded rule."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_each_rps", self.model.best_effort_rps / self.correction)

    @property
    def target(self) -> LatencyTarget | None:
        """The objective; None where there is none."""
        return self.model.target

    @property
    def statistic(self) -> Statistic:
        """The statistic that the target binds; the mean where there is no target."""
        target = self.model.target
        return Statistic.MEAN if target is None else target.statistic

    @property
    def idle_s(self) -> float:
        """That statistic without load, seconds: no count does better."""
        model = self.model
        return model.alone_s() if isinstance(model, PrefillModel) else model.line(1.0)

    @property
    def attainable(self) -> bool:
        """Whether any number of replicas meets the target."""
        return self.model.attainable and self.model.capacity_rps > 0

    def need(self) -> Need:
        """Return what the pool asks for: the formula's own real value, and the whole number above it."""
        wanted = self._wanted(self.rate_rps)
        required = wanted if self.attainable or self.rate_rps == 0 else math.inf
        return Need(required, wanted, max(1, math.ceil(wanted * (1 - ROUNDING))))

    def least_replicas(self, rate_rps: float) -> int:
        """Return the least count that serves a load within the target, or the bounded rule where none does."""
        return max(1, math.ceil(self._wanted(rate_rps) * (1 - ROUNDING)))

    def largest_load(self, replicas: int) -> float:
        """Return the largest load, requests/s, that a count serves within the target, or by the bounded rule."""
        return replicas * self._each_rps

    def binding(self, replicas: int) -> Binding:  # noqa: ARG002 - the same at every count
        """Return what decides how much a count serves."""
        return self.model.binding

    def statistics(self, replicas: int) -> LatencyStatistics:
        """Return the latencies predicted at a count; infinite where the queue is unstable."""
        return self.model.statistics(replicas)

    def value_s(self, replicas: int) -> float:
        """Return the target's statistic predicted at a count, seconds; infinite where the queue is unstable."""
        value_s = self.model.statistics(replicas).of(self.statistic)
        assert value_s is not None
        return value_s

    def _wanted(self, rate_rps: float) -> float:
        wanted = rate_rps / self._each_rps
        return wanted if wanted <= MOST_REPLICAS else float(MOST_REPLICAS)
