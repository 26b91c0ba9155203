"""Engines that differ from their profile, seen by an operator: readings by the laws themselves, exact unless told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pdscaler.core.corrections import NOTHING, EngineCorrection
from pdscaler.core.decision import PoolState, TargetUnknown
from pdscaler.core.live_calibration import CalibrationState, learn
from pdscaler.core.operating_point import Engine, PoolPoint
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.spec import ScalingSpec, SizingModel, SizingSpec
from pdscaler.core.workload import ArrivalSource, LengthStats, PoolLoad, Telemetry, WorkloadStats
from support.core_cases import points_spec

ISL, OSL = LengthStats(1500.0, 0.8), LengthStats(200.0, 0.6)
BEGIN_S = 1_795_262_400.0
PERIOD_S = 15.0
SLOW = PerPool(EngineCorrection(0.8), EngineCorrection(0.8))


def auto_spec() -> SizingSpec:
    """A one-GPU engine under the model that is calibrated."""
    return replace(points_spec(), model=SizingModel.AUTO)


def point(pool: Pool, load: float, replicas: int = 3, *, at_s: float = BEGIN_S, isl: LengthStats = ISL) -> PoolPoint:
    """An operating point at a utilisation of the profile; its latency is to be set."""
    known = PoolPoint(at_s, replicas, 1.0, isl, OSL, 0.0, 1.0)
    return replace(known, rate_rps=load * Engine(known, pool, auto_spec()).saturation_rps)


def measured(
    pool: Pool, load: float, truth: EngineCorrection, *, kappa: float = 1.0, replicas: int = 3, at_s: float = BEGIN_S
) -> Engine:
    """The same, with the latency of an engine that differs from its profile."""
    asked = Engine(point(pool, load, replicas, at_s=at_s), pool, auto_spec())
    latency_s = asked.latency_s(truth.derate, truth.extra_s, kappa)
    return Engine(replace(asked.point, latency_s=latency_s), pool, auto_spec())


@dataclass
class Observed:
    """An operator's evaluations of engines that are what ``truth`` says.

    ``distort`` may change what is read, at a time since the begin; ``targets`` what is known of the pools.
    """

    truth: PerPool[EngineCorrection] = NOTHING
    replicas: PerPool[int] = field(default_factory=lambda: PerPool(3, 3))
    spec: ScalingSpec = field(default_factory=lambda: ScalingSpec(auto_spec(), evaluation_period_s=PERIOD_S))
    distort: Callable[[Telemetry, float], Telemetry] = lambda reading, since_s: reading
    target: Callable[[Pool, PoolState, float], PoolState] = lambda pool, state, since_s: state
    state: CalibrationState = field(default_factory=CalibrationState)
    now_s: float = BEGIN_S

    def reading(self, rate_rps: float) -> Telemetry:
        """What the metrics say now."""
        latency_s = {
            pool: Engine(
                PoolPoint(self.now_s, self.replicas[pool], rate_rps, ISL, OSL, 0.0, 1.0), pool, self.spec.sizing
            ).latency_s(self.truth[pool].derate, self.truth[pool].extra_s)
            for pool in Pool
        }
        return Telemetry(
            workload=WorkloadStats(rate_rps, ISL, OSL),
            arrival_source=ArrivalSource.FRONT_DOOR,
            ttft_mean_s=latency_s[Pool.PREFILL],
            tpot_mean_s=latency_s[Pool.DECODE],
            ttft_bucket_s=None,
            tpot_bucket_s=None,
            prefill=PoolLoad(waiting_requests=0.0),
            decode=PoolLoad(waiting_requests=0.0),
            alternatives=(),
            window_s=self.spec.window_s,
            observed_at_s=self.now_s - 5.0,
        )

    def run(self, *phases: tuple[float, float]) -> CalibrationState:
        """Let phases of (seconds, requests/s) pass, an evaluation each period."""
        for duration_s, rate_rps in phases:
            for _ in range(int(duration_s / PERIOD_S)):
                self.now_s += PERIOD_S
                since_s = self.now_s - BEGIN_S
                targets: PerPool[PoolState | TargetUnknown] = PerPool(
                    *(self.target(pool, PoolState(count, count), since_s) for pool, count in self.replicas.items())
                )
                reading = self.distort(self.reading(rate_rps), since_s)
                self.state = learn(self.state, self.spec, reading, targets, self.now_s)
        return self.state


def waves(rates: Sequence[float], minutes: float = 8.0) -> list[tuple[float, float]]:
    """Phases of some minutes each."""
    return [(60.0 * minutes, rate) for rate in rates]
