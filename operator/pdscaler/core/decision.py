"""A decision with its reasons: the one object that status, events, metrics and logs are renderings of.

Imports the standard library and core only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from pdscaler.core.pools import PerPool
from pdscaler.core.slo import LatencyStatistics
from pdscaler.core.verification import Verification
from pdscaler.core.workload import NoData, Telemetry, WorkloadStats


class Binding(StrEnum):
    """What decides a pool's required replicas."""

    TTFT = "TTFT"
    TPOT = "TPOT"
    KV_MEMORY = "KVMemory"
    BATCH_SLOTS = "BatchSlots"
    MIN_REPLICAS = "MinReplicas"


class Limit(StrEnum):
    """What kept the desired replicas away from the recommended ones (the first five: DESIGN section 5)."""

    MIN_REPLICAS = "MinReplicas"
    MAX_REPLICAS = "MaxReplicas"
    MAX_GPUS = "MaxGPUs"
    RATIO = "Ratio"
    SERVICE_TIME_EXCEEDS_SLO = "ServiceTimeExceedsSLO"
    SCALE_UP_STABILIZATION = "ScaleUpStabilization"
    SCALE_DOWN_STABILIZATION = "ScaleDownStabilization"
    SCALE_UP_POLICY = "ScaleUpPolicy"
    SCALE_DOWN_POLICY = "ScaleDownPolicy"
    TOLERANCE = "Tolerance"
    PAUSED = "Paused"
    TARGET_UNKNOWN = "TargetUnknown"
    TARGET_AT_ZERO = "TargetAtZero"
    CAPACITY_PENDING = "CapacityPending"
    ROLLOUT = "RolloutInProgress"
    GPUS_NOT_FREE_YET = "GPUsNotFreeYet"
    PODS_TERMINATING = "PodsTerminating"
    PODS_FAILING = "PodsFailing"
    NO_DATA = "NoData"
    FALLBACK = "Fallback"
    VERIFICATION = "Verification"
    FORECAST = "ForecastUnavailable"
    SLO_MISSED = "SLOMissed"
    SCALE_DOWN_MARGIN = "ScaleDownMargin"


@dataclass(frozen=True, slots=True)
class PoolSizing:
    """What one pool needs.

    Parameters
    ----------
    required
        Replicas needed, real-valued, before rounding; infinite where no count meets the target.
    recommended
        The least whole count that meets the target (or the best feasible one), before bounds, ratio and budget.
    replicas
        The count chosen after bounds, ratio and budget.
    utilization
        ``required / replicas``.
    capacity_rps
        Requests per second that one replica serves within the target; 0 where it cannot.
    binding
        What decides ``required``.
    limited_by
        What kept ``replicas`` away from ``recommended``.
    explained
        Makes ``explanation``.
    latency_s
        Makes the target's statistic (the mean without a target), seconds, at another count under the same load;
        infinite where the queue is unstable, None where no length is known.
    """

    required: float
    recommended: int
    replicas: int
    utilization: float
    capacity_rps: float
    binding: Binding
    limited_by: tuple[Limit, ...]
    explained: Callable[[], str] = field(repr=False, compare=False)
    latency_s: Callable[[int], float | None] = field(repr=False, compare=False)

    @property
    def explanation(self) -> str:
        """One line for people: ``queueing: 1 fewer gives 2.07s``."""
        return self.explained()


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted latencies of a pair of replica counts."""

    ttft_s: LatencyStatistics
    tpot_s: LatencyStatistics


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The prediction for a neighbour of the chosen pair."""

    prefill: int
    decode: int
    gpus: int
    feasible: bool
    predicted: Prediction


@dataclass(frozen=True, slots=True)
class SizingDetails:
    """What people ask of a sizing answer beyond the counts.

    Parameters
    ----------
    what_if
        One replica more and one fewer of each pool.
    infeasible_reason
        One line where not feasible, else empty: ``TPOT 5ms cannot be met: one request alone decodes at 10.9ms …``.
    """

    what_if: tuple[WhatIf, ...]
    infeasible_reason: str


@dataclass(frozen=True, slots=True)
class SizingResult:
    """Answer of :func:`pdscaler.core.sizing.size`: the least xPyD under all constraints, and why.

    Parameters
    ----------
    feasible
        Whether the chosen pair is predicted to meet both objectives.
    gpus
        Of the chosen pair.
    limited_by
        What limited either pool.
    pools
        Of each pool, the need and the count chosen.
    predicted
        Latencies of the chosen pair.
    served_rps
        Load, requests/s of the given mix, that the pair serves within both objectives, 0 where one cannot be met; None
        where no length is known.
    warned
        Makes ``warnings``.
    details
        Makes the rest: ``what_if`` and ``infeasible_reason``.
    verification
        How simulation settled the plan; None where the answer is the analytic model's alone.
    """

    feasible: bool
    gpus: int
    limited_by: tuple[Limit, ...]
    pools: PerPool[PoolSizing]
    predicted: Prediction
    served_rps: float | None
    warned: Callable[[], tuple[str, ...]] = field(repr=False, compare=False)
    details: Callable[[], SizingDetails] = field(repr=False, compare=False)
    verification: Verification | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must be said about the profiles, one line each."""
        return self.warned()

    @property
    def what_if(self) -> tuple[WhatIf, ...]:
        """One replica more and one fewer of each pool."""
        return self.details().what_if

    @property
    def infeasible_reason(self) -> str:
        """One line for people where not feasible, else empty."""
        return self.details().infeasible_reason

    @property
    def label(self) -> str:
        """The pair in the field's notation, such as ``3P4D``."""
        return f"{self.pools.prefill.replicas}P{self.pools.decode.replicas}D"


class Trouble(StrEnum):
    """What keeps a pool's replicas from becoming ready."""

    UNSCHEDULABLE = "Unschedulable"
    QUOTA_EXCEEDED = "QuotaExceeded"
    IMAGE_PULL = "ImagePullFailed"
    CRASH_LOOP = "CrashLoop"


@dataclass(frozen=True, slots=True)
class PoolState:
    """What is known of one pool's target.

    Parameters
    ----------
    spec_replicas
        What ``/scale`` asks for.
    ready_replicas
        Ready pods.
    pending_replicas
        Pods that exist and are not Ready yet (scheduling, loading the model).
    terminating_replicas
        Pods on their way out.
    rollout
        A new template is being rolled out.
    trouble
        What keeps pods from becoming ready; None where nothing does.
    """

    spec_replicas: int
    ready_replicas: int
    pending_replicas: int = 0
    terminating_replicas: int = 0
    rollout: bool = False
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class TargetUnknown:
    """A target that cannot be read or scaled: ``reason`` is a stable word, ``message`` one line for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Paused:
    """Which directions the user has paused, by annotation."""

    scale_up: bool = False
    scale_down: bool = False


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """Everything one evaluation knows.

    Parameters
    ----------
    telemetry
        The metrics, or why there are none.
    targets
        State of both targets, or why it is unknown.
    paused
        Pause annotations.
    verifying
        Whether the plan is being verified by simulation: fewer replicas wait for that, more do not.
    unforeseen
        Why the load ahead cannot be told, in a few words: fewer replicas wait until it can. Empty where it can.
    """

    telemetry: Telemetry | NoData
    targets: PerPool[PoolState | TargetUnknown]
    paused: Paused = Paused()
    verifying: bool = False
    unforeseen: str = ""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A replica count that was recommended at a time, for the stabilisation windows."""

    at_s: float
    replicas: int


@dataclass(frozen=True, slots=True)
class ScaleEvent:
    """A change that was ordered, for the rate limits of the policies: positive up, negative down.

    Parameters
    ----------
    at_s
        When, seconds since the epoch.
    change
        By how many replicas.
    found
        It was found after a restart, so ``at_s`` is the latest time at which it can have been ordered. It limits
        further changes of its direction; it does not make room for those of the other, since it may be long ago.
    """

    at_s: float
    change: int
    found: bool = False


@dataclass(frozen=True, slots=True)
class PoolMemory:
    """What one pool's behaviour remembers. ``recommendations`` are bounded: dominated entries are dropped."""

    recommendations: tuple[Recommendation, ...] = ()
    events: tuple[ScaleEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanState:
    """What an evaluation hands to the next one; persisted in status, and small.

    Parameters
    ----------
    pools
        Memory of each pool's behaviour.
    telemetry_failures
        Evaluations in a row without data.
    fallback_active
        The fallback has been applied and a full fresh window has not passed yet.
    healthy_since_s
        Since when telemetry has answered without a gap; None while it does not.
    last_workload
        The last workload whose lengths were known: an idle pool carries its lengths forward.
    """

    pools: PerPool[PoolMemory] = field(default_factory=lambda: PerPool(PoolMemory(), PoolMemory()))
    telemetry_failures: int = 0
    fallback_active: bool = False
    healthy_since_s: float | None = None
    last_workload: WorkloadStats | None = None


class Outcome(StrEnum):
    """What an evaluation came to."""

    PLANNED = "Planned"
    HELD = "Held"
    FALLBACK = "Fallback"


@dataclass(frozen=True, slots=True)
class PoolDecision:
    """Decision for one pool.

    Parameters
    ----------
    current
        What ``/scale`` asks for now; None where the target is unknown.
    ready
        Ready replicas; None where unknown.
    required, recommended
        The model's answer (see :class:`PoolSizing`); None where there is no data.
    desired
        What shall be ordered; None: leave it alone.
    utilization
        Required over desired; None where unknown.
    binding
        What decides the required count; None where unknown.
    limited_by
        What stands between recommended and desired, in the order applied.
    reason
        One line for people that names the figures: ``18 requests/s need 2.61 replicas; TTFT at 2 would be 1.9s``.
    """

    current: int | None
    ready: int | None
    required: float | None
    recommended: int | None
    desired: int | None
    utilization: float | None
    binding: Binding | None
    limited_by: tuple[Limit, ...]
    reason: str

    @property
    def change(self) -> int:
        """Ordered change, replicas; 0 where nothing is to be written."""
        if self.desired is None or self.current is None:
            return 0
        return self.desired - self.current


@dataclass(frozen=True, slots=True)
class Decision:
    """What one evaluation decided for both pools, and why.

    Parameters
    ----------
    at_s
        Time of the evaluation, seconds since the epoch.
    outcome
        Whether it was planned, held for want of data, or fell back.
    pools
        Decision of each pool.
    workload
        The workload that was sized for (the forecast); None where unknown.
    telemetry
        What was read, or why nothing was.
    predicted
        Latencies predicted at the desired counts; None where unknown.
    sizing
        The full sizing answer; None where there is no data.
    state
        What the next evaluation needs.
    verified
        Whether simulation has settled the plan for this load, within a few percent.
    """

    at_s: float
    outcome: Outcome
    pools: PerPool[PoolDecision]
    workload: WorkloadStats | None
    telemetry: Telemetry | NoData
    predicted: Prediction | None
    sizing: SizingResult | None
    state: PlanState
    verified: bool = False

    @property
    def changed(self) -> bool:
        """Whether any pool is to be scaled."""
        return any(pool.change != 0 for _, pool in self.pools.items())
