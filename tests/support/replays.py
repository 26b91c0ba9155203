"""Streams and policies that the tests of the replay share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import Constraints, PoolLimits, ScalingSpec
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies import Wanted
from support.core_cases import points_spec


def spec_of(startup_s: float = 120.0, constraints: Constraints | None = None) -> ScalingSpec:
    """A one-GPU engine with percentile targets; a prefill replica takes two GPUs, so that sums can be told apart."""
    sizing = points_spec()
    limits = PerPool(2, 1).map(lambda count: PoolLimits(max_replicas=60, gpus_per_replica=count, startup_s=startup_s))
    slo = Slo(LatencyTarget(0.3, Statistic.P95), LatencyTarget(0.015, Statistic.P95))
    return ScalingSpec(replace(sizing, slo=slo, limits=limits, constraints=constraints or Constraints()))


def stream(rates: Sequence[tuple[float, float]], seed: int = 1, *, isl: int = 1500, osl: int = 60) -> RequestTable:
    """Poisson arrivals of (seconds, requests/s) one after the other, geometric lengths, some prefix hits."""
    rng = np.random.default_rng(seed)
    pieces = []
    begin_s = 0.0
    for duration_s, rate_rps in rates:
        pieces.append(begin_s + duration_s * rng.random(rng.poisson(duration_s * rate_rps)))
        begin_s += duration_s
    arrival_s = np.sort(np.concatenate(pieces))
    inputs = rng.geometric(1 / isl, len(arrival_s))
    return RequestTable(
        arrival_s, inputs, rng.geometric(1 / osl, len(arrival_s)), (inputs * rng.random(len(arrival_s)) / 3).astype(int)
    )


def clock(rates: Sequence[tuple[float, float]], *, isl: int = 1500, osl: int = 60) -> RequestTable:
    """Arrivals at equal distances with equal lengths: a load without noise."""
    pieces, begin_s = [], 0.0
    for duration_s, rate_rps in rates:
        pieces.append(begin_s + (np.arange(int(duration_s * rate_rps)) + 0.5) / rate_rps)
        begin_s += duration_s
    arrival_s = np.concatenate(pieces)
    count = len(arrival_s)
    return RequestTable(arrival_s, np.full(count, isl), np.full(count, osl), np.zeros(count, np.int64))


@dataclass
class Scripted:
    """Orders what a script says, and keeps what it saw."""

    script: Callable[[float], PerPool[int]]
    seen: list[Observation] = field(default_factory=list)

    def decide(self, observation: Observation, now_s: float) -> Wanted:
        assert observation.now_s == now_s
        self.seen.append(observation)
        return Wanted(self.script(now_s))
