"""Latency laws for tests of what is generic on top of any of them."""

import math
from dataclasses import dataclass, replace

from pdscaler.core.decision import Binding
from pdscaler.core.paper import DecodeModel, PrefillModel
from pdscaler.core.slo import LatencyStatistics, Statistic


@dataclass(frozen=True, slots=True)
class ErlangLaw:
    """A central queue before exponential servers (Erlang C) and the mean of wait and service times the statistic's k.

    Its pooling is not linear: n replicas serve more than n times what one serves within a target.
    """

    service_s: float
    overhead_s: float = 0.0

    def at(self, replicas: int, rate_rps: float) -> LatencyStatistics:
        return LatencyStatistics(*(self.value_s(replicas, rate_rps, statistic) for statistic in Statistic))

    def value_s(self, replicas: int, rate_rps: float, statistic: Statistic) -> float:
        load = rate_rps * self.service_s
        if load >= replicas:
            return math.inf
        blocked = 1.0  # Erlang B by its recurrence
        for count in range(1, replicas + 1):
            blocked = load * blocked / (count + load * blocked)
        waits = blocked / (1 - load / replicas * (1 - blocked))
        mean_s = self.service_s + waits * self.service_s / (replicas - load)
        return _factor(statistic) * mean_s + self.overhead_s

    def saturation_rps(self, replicas: int) -> float:
        return replicas / self.service_s

    def idle_s(self, statistic: Statistic) -> float:
        return _factor(statistic) * self.service_s + self.overhead_s

    def binding(self, replicas: int, rate_rps: float) -> Binding:
        return Binding.TTFT


@dataclass(frozen=True, slots=True)
class PaperPrefillLaw:
    """PaperMM1's TTFT as a law."""

    model: PrefillModel

    def at(self, replicas: int, rate_rps: float) -> LatencyStatistics:
        return replace(self.model, rate_rps=rate_rps).statistics(replicas)

    def value_s(self, replicas: int, rate_rps: float, statistic: Statistic) -> float:
        value_s = self.at(replicas, rate_rps).of(statistic)
        assert value_s is not None
        return value_s

    def saturation_rps(self, replicas: int) -> float:
        return replicas / self.model.service_s

    def idle_s(self, statistic: Statistic) -> float:
        return self.value_s(1, 0.0, statistic)

    def binding(self, replicas: int, rate_rps: float) -> Binding:
        return Binding.TTFT


@dataclass(frozen=True, slots=True)
class PaperDecodeLaw:
    """PaperMM1's TPOT as a law: piecewise linear batches, level parts included, and a wall where they end."""

    model: DecodeModel

    def at(self, replicas: int, rate_rps: float) -> LatencyStatistics:
        return replace(self.model, rate_rps=rate_rps).statistics(replicas)

    def value_s(self, replicas: int, rate_rps: float, statistic: Statistic) -> float:
        value_s = self.at(replicas, rate_rps).of(statistic)
        assert value_s is not None
        return value_s

    def saturation_rps(self, replicas: int) -> float:
        return replicas * replace(self.model, target=None).capacity_rps

    def idle_s(self, statistic: Statistic) -> float:
        return self.model.line(1.0)

    def binding(self, replicas: int, rate_rps: float) -> Binding:
        return self.model.binding


def _factor(statistic: Statistic) -> float:
    quantile = statistic.quantile
    return 1.0 if quantile is None else -math.log1p(-quantile)
