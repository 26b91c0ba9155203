"""Specs and workloads that the core's tests share."""

from dataclasses import replace

from pdscaler.core.decision import PlanInputs, PoolState, TargetUnknown
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import (
    DecodePoint,
    DecodeProfile,
    MaxThroughput,
    Overhead,
    PrefillPoint,
    PrefillProfile,
)
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import Constraints, PoolLimits, ScalingSpec, SizingModel, SizingSpec
from pdscaler.core.workload import (
    ArrivalSource,
    LengthStats,
    NoData,
    NoDataReason,
    PoolLoad,
    Telemetry,
    WorkloadStats,
)

PAPER_DECODE = tuple(
    DecodePoint(6400.0, batch, tpot_ms / 1000)
    for batch, tpot_ms in ((10, 12.8), (20, 16.4), (30, 18.8), (40, 21.6), (50, 23.9), (60, 26.2))
)
PAPER_TOKENS_PER_MINUTE = 5e6
PAPER_RATE_RPS = PAPER_TOKENS_PER_MINUTE / 60 / (6144 + 512)


def paper_spec(
    ttft_s: float | None = 2.0,
    tpot_s: float | None = 0.020,
    statistic: Statistic = Statistic.MEAN,
    constraints: Constraints | None = None,
    limits: PerPool[PoolLimits] | None = None,
) -> SizingSpec:
    """The paper's DeepSeek-V3.1 on 8 x H200, by the paper's formulas: counts that a test can check by hand."""
    return SizingSpec(
        name="deepseek-v31",
        slo=Slo(
            None if ttft_s is None else LatencyTarget(ttft_s, statistic),
            None if tpot_s is None else LatencyTarget(tpot_s),
        ),
        prefill_profile=PrefillProfile(max_throughput=MaxThroughput(6144, 28309), overhead=Overhead(fixed_s=0.1)),
        decode_profile=DecodeProfile(PAPER_DECODE),
        limits=limits
        or PerPool(PoolLimits(max_replicas=16, gpus_per_replica=8), PoolLimits(max_replicas=32, gpus_per_replica=8)),
        constraints=constraints or Constraints(),
        model=SizingModel.PAPER_MM1,
    )


def paper_workload(rate_rps: float = PAPER_RATE_RPS) -> WorkloadStats:
    """The paper's 5 M tokens per minute, unless another rate is given."""
    return WorkloadStats(rate_rps, LengthStats(6144.0), LengthStats(512.0))


def points_spec(ttft_s: float = 0.3, tpot_s: float = 0.020) -> SizingSpec:
    """A one-GPU engine measured at several lengths and contexts."""
    return replace(
        paper_spec(ttft_s, tpot_s),
        prefill_profile=PrefillProfile(
            points=(
                PrefillPoint(100, 0.020),
                PrefillPoint(2000, 0.050),
                PrefillPoint(4000, 0.090),
                PrefillPoint(8000, 0.170),
            )
        ),
        decode_profile=DecodeProfile(
            points=tuple(
                DecodePoint(context, batch, tpot)
                for context, rows in (
                    (1000.0, ((1, 0.0044), (100, 0.012), (200, 0.019))),
                    (8000.0, ((1, 0.0046), (40, 0.014), (80, 0.030))),
                )
                for batch, tpot in rows
            ),
            max_batch=160,
            kv_capacity_tokens=600_000.0,
        ),
        limits=PerPool(PoolLimits(max_replicas=100), PoolLimits(max_replicas=100)),
    )


def telemetry(workload: WorkloadStats) -> Telemetry:
    """A reading of nothing but a workload."""
    return Telemetry(
        workload=workload,
        arrival_source=ArrivalSource.FRONT_DOOR,
        ttft_mean_s=None,
        tpot_mean_s=None,
        ttft_bucket_s=None,
        tpot_bucket_s=None,
        prefill=PoolLoad(),
        decode=PoolLoad(),
        alternatives=(),
        window_s=180.0,
        observed_at_s=0.0,
    )


def no_data() -> NoData:
    return NoData(NoDataReason.NO_DATA, 'query "arrivals" returned nothing')


def inputs(
    reading: WorkloadStats | NoData, prefill: int | PoolState | TargetUnknown, decode: int | PoolState | TargetUnknown
) -> PlanInputs:
    """Inputs of an evaluation; a plain number is a pool with that many replicas, all ready."""
    targets = [PoolState(pool, pool) if isinstance(pool, int) else pool for pool in (prefill, decode)]
    return PlanInputs(
        telemetry(reading) if isinstance(reading, WorkloadStats) else reading, PerPool(targets[0], targets[1])
    )


def scaling(spec: SizingSpec | None = None) -> ScalingSpec:
    return ScalingSpec(spec or paper_spec())
