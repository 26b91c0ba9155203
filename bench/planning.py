"""How long one evaluation's decision takes, with bounds of 300 x 300. Imports pdscaler's core and forecast."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from bench.figure import Figure

from pdscaler.core.curves import decode_surface
from pdscaler.core.decision import PlanInputs, PlanState, PoolState, TargetUnknown
from pdscaler.core.plan import Forecaster, plan
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, DecodeProfile, PrefillPoint, PrefillProfile
from pdscaler.core.sizing import size
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import Constraints, PoolLimits, Ratio, ScalingSpec, SizingModel, SizingSpec
from pdscaler.core.workload import ArrivalSource, LengthStats, PoolLoad, Telemetry, WorkloadStats
from pdscaler.forecast.last_value import last_value

BOUND = 300
SPEC = SizingSpec(
    name="bench",
    slo=Slo(LatencyTarget(0.3, Statistic.P95), LatencyTarget(0.020)),
    prefill_profile=PrefillProfile(
        tuple(PrefillPoint(float(tokens), 0.02 + tokens * 2.2e-5) for tokens in range(100, 16_500, 1000))
    ),
    decode_profile=DecodeProfile(
        tuple(
            DecodePoint(float(context), float(batch), 0.0044 + batch * (4e-5 + context * 3e-8))
            for context in (350, 3000, 5600, 8300, 11_000)
            for batch in (1, 50, 100, 150, 200, 250, 300)
        ),
        kv_capacity_tokens=945_000.0,
    ),
    limits=PerPool(PoolLimits(1, BOUND), PoolLimits(1, BOUND)),
)
WORKLOAD = WorkloadStats(1000.0, LengthStats(3000.0, 0.9), LengthStats(250.0, 0.6))
RATIO = Constraints(min_ratio=Ratio(1, 4), max_ratio=Ratio(2, 1))


def figures(quick: bool = False) -> Iterator[Figure]:
    """Measure the calls; ``quick`` takes few samples, for a test that the figures come at all."""
    samples = 20 if quick else 2000
    for name, model, budget in (
        ("plan_call", SizingModel.AUTO, 600),
        ("plan_call_budget_binds", SizingModel.AUTO, 100),
        ("plan_call_paper_mm1", SizingModel.PAPER_MM1, 600),
    ):
        spec = ScalingSpec(replace(SPEC, model=model, constraints=replace(RATIO, max_gpus=budget)))
        call = evaluation(spec)
        times_ms = _times_ms(lambda: call(WORKLOAD), samples)  # noqa: B023 - called here
        brute_ms = statistics.median(_times_ms(lambda: brute_force(spec.sizing), 3))  # noqa: B023 - called here
        yield Figure(f"{name}_median", statistics.median(times_ms), "ms", 0.3, brute_ms)
        yield Figure(f"{name}_p99", statistics.quantiles(times_ms, n=100)[98], "ms", 2.0)
    # Nothing is remembered of a mix that was never seen: its laws are built.
    call = evaluation(ScalingSpec(replace(SPEC, constraints=replace(RATIO, max_gpus=600))))
    mixes = (replace(WORKLOAD, isl=LengthStats(3000.0 + step, 0.9)) for step in itertools.count(1))
    times_ms = _times_ms(lambda: call(next(mixes)), samples)
    yield Figure("plan_call_new_mix_median", statistics.median(times_ms), "ms", 0.6)
    yield Figure("plan_call_new_mix_p99", statistics.quantiles(times_ms, n=100)[98], "ms", 2.0)
    surface = decode_surface(SPEC.decode_profile)
    batches = [1.0 + 0.3 * step for step in range(1000)]
    times_ms = _times_ms(lambda: [surface.step_time_s(batch, batch * 4000.0) for batch in batches], samples // 10)
    yield Figure("step_time_call_median", statistics.median(times_ms), "us", 5.0)  # ms for 1 000 calls is us for one


def evaluation(spec: ScalingSpec, forecaster: Forecaster = last_value) -> Callable[[WorkloadStats], object]:
    """Return one evaluation of a settled deployment, as a function of the load."""
    pools = size(spec.sizing, WORKLOAD).pools
    targets: PerPool[PoolState | TargetUnknown] = pools.map(lambda pool: PoolState(pool.replicas, pool.replicas))
    state = plan(spec, PlanInputs(_telemetry(WORKLOAD), targets), PlanState(), 0.0, last_value).state
    return lambda workload: plan(spec, PlanInputs(_telemetry(workload), targets), state, 15.0, forecaster)


def brute_force(spec: SizingSpec) -> tuple[int, int] | None:
    """Choose the pair by looking at every pair of counts: what a search without structure costs.

    Returns
    -------
    tuple of int, or None
        The allowed pair of fewest GPUs that is enough for both pools, else the one that serves the largest load.
    """
    pools = size(spec, WORKLOAD).pools
    budget = spec.constraints.max_gpus or 2 * BOUND
    best: tuple[float, int] | None = None
    best_pair = None
    for prefill in range(1, BOUND + 1):
        for decode in range(1, BOUND + 1):
            if prefill + decode > budget or decode > 4 * prefill or prefill > 2 * decode:
                continue
            served = min(prefill / pools.prefill.required, decode / pools.decode.required, 1.0)
            key = (-served, prefill + decode)
            if best is None or key < best:
                best, best_pair = key, (prefill, decode)
    return best_pair


def _telemetry(workload: WorkloadStats) -> Telemetry:
    load = PoolLoad()
    return Telemetry(workload, ArrivalSource.FRONT_DOOR, None, None, None, None, load, load, (), 180.0, 0.0)


def _times_ms(call: Callable[[], object], samples: int) -> list[float]:
    """Return the processor time of each call: what others do on the machine does not count."""
    call()
    times = []
    for _ in range(samples):
        begin_ns = time.thread_time_ns()
        call()
        times.append((time.thread_time_ns() - begin_ns) / 1e6)
    return times
