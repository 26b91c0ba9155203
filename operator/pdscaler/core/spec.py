"""What a PDDeployment asks for, as plain values for the core. Imports the standard library and core only."""

from dataclasses import dataclass, field
from enum import StrEnum

from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodeProfile, PrefillProfile
from pdscaler.core.slo import Slo


class SizingModel(StrEnum):
    """Which model turns load into replicas."""

    AUTO = "Auto"
    PAPER_MM1 = "PaperMM1"


class Routing(StrEnum):
    """How the router picks a prefill replica."""

    JOIN_SHORTEST_QUEUE = "JoinShortestQueue"
    ROUND_ROBIN = "RoundRobin"
    RANDOM = "Random"
    CENTRAL = "Central"


class PolicyType(StrEnum):
    """Unit of a scaling policy's value."""

    PODS = "Pods"
    PERCENT = "Percent"


class SelectPolicy(StrEnum):
    """Which of several scaling policies counts."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """At most ``value`` pods (or percent of the replicas) of change within any ``period_s``."""

    type: PolicyType
    value: int
    period_s: float


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """HPA v2's rules of one direction. No policies: no rate limit."""

    stabilization_window_s: float
    policies: tuple[ScalingPolicy, ...] = ()
    select_policy: SelectPolicy = SelectPolicy.MAX
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Behavior:
    """Rules of both directions; the defaults are DESIGN section 2's."""

    scale_up: ScalingRules = ScalingRules(stabilization_window_s=0.0)
    scale_down: ScalingRules = ScalingRules(stabilization_window_s=300.0)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of prefill to decode replicas."""

    prefill: int
    decode: int


@dataclass(frozen=True, slots=True)
class Constraints:
    """Joint limits of both pools; None where unlimited."""

    max_gpus: int | None = None
    min_ratio: Ratio | None = None
    max_ratio: Ratio | None = None


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds and costs of one pool."""

    min_replicas: int = 1
    max_replicas: int = 10
    gpus_per_replica: int = 1
    startup_s: float = 180.0
    behavior: Behavior = Behavior()


class FallbackBehavior(StrEnum):
    """What happens to the replicas when telemetry has failed for long."""

    HOLD = "Hold"
    HOLD_OR_HIGHER = "HoldOrHigher"
    STATIC = "Static"


@dataclass(frozen=True, slots=True)
class Fallback:
    """What to do after ``failure_threshold`` evaluations in a row without data."""

    behavior: FallbackBehavior = FallbackBehavior.HOLD
    failure_threshold: int = 3
    replicas: PerPool[int] | None = None


@dataclass(frozen=True, slots=True)
class SizingSpec:
    """All that sizing needs, nothing that changes from minute to minute."""

    name: str
    slo: Slo
    prefill_profile: PrefillProfile
    decode_profile: DecodeProfile
    limits: PerPool[PoolLimits]
    constraints: Constraints = Constraints()
    model: SizingModel = SizingModel.AUTO
    decode_derate: float = 1.0
    routing: Routing = Routing.JOIN_SHORTEST_QUEUE


@dataclass(frozen=True, slots=True)
class ScalingSpec:
    """A whole PDDeployment for :func:`pdscaler.core.plan.plan`."""

    sizing: SizingSpec
    fallback: Fallback = field(default_factory=Fallback)
    window_s: float = 180.0
    evaluation_period_s: float = 15.0
    calibrate: bool = True
    """Whether sizing goes by the engines as they are found to be, with the profile as prior."""

    @property
    def horizon_s(self) -> float:
        """How far the forecast looks ahead, seconds: the longer start-up plus one period."""
        return max(limits.startup_s for _, limits in self.sizing.limits.items()) + self.evaluation_period_s
