"""Hypothesis strategies for profiles, specs, workloads, targets and histories."""

from hypothesis import strategies as st

from pdscaler.core.decision import (
    Paused,
    PoolMemory,
    PoolState,
    Recommendation,
    ScaleEvent,
    TargetUnknown,
    Trouble,
)
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
from pdscaler.core.spec import (
    Behavior,
    Constraints,
    PolicyType,
    PoolLimits,
    Ratio,
    Routing,
    ScalingPolicy,
    ScalingRules,
    SelectPolicy,
    SizingModel,
    SizingSpec,
)
from pdscaler.core.workload import LengthStats, WorkloadStats

MODELS = tuple(SizingModel)
rates = st.floats(0.01, 500.0)
statistics = st.sampled_from(Statistic)
# Strategies are made once: each is examined anew when it is used first, which takes longer than to draw from it.
_capacities = st.none() | st.floats(5_000, 2_000_000)
_ttfts = st.builds(LatencyTarget, st.floats(0.01, 5.0), statistics)
_tpots = st.builds(LatencyTarget, st.floats(0.002, 0.2), statistics)
slos = st.builds(Slo, _ttfts, _tpots) | st.builds(Slo, _ttfts, st.none()) | st.builds(Slo, st.none(), _tpots)


@st.composite
def prefill_profiles(draw: st.DrawFn) -> PrefillProfile:
    """Points in any order of latency (repairs included), or a maximum throughput."""
    overhead = Overhead(draw(st.floats(0, 0.2)), draw(st.floats(0, 0.02)))
    if draw(st.booleans()):
        throughput = MaxThroughput(draw(st.floats(100, 20_000)), draw(st.floats(1_000, 200_000)))
        return PrefillProfile(max_throughput=throughput, overhead=overhead)
    tokens = draw(st.lists(st.integers(10, 20_000), min_size=2, max_size=8, unique=True))
    points = tuple(PrefillPoint(float(count), draw(st.floats(0.005, 2.0))) for count in tokens)
    return PrefillProfile(points, overhead=overhead)


@st.composite
def decode_profiles(draw: st.DrawFn) -> DecodeProfile:
    """One to three contexts with two to five batches each, TPOT in any order."""
    contexts = draw(st.lists(st.integers(200, 30_000), min_size=1, max_size=3, unique=True))
    points = [
        DecodePoint(float(context), float(batch), draw(st.floats(0.002, 0.1)))
        for context in contexts
        for batch in draw(st.lists(st.integers(1, 300), min_size=2, max_size=5, unique=True))
    ]
    capacity = draw(_capacities)
    return DecodeProfile(tuple(points), draw(st.integers(1, 512)), capacity)


@st.composite
def pool_limits(draw: st.DrawFn, largest: int = 12) -> PoolLimits:
    low = draw(st.integers(1, 3))
    return PoolLimits(low, draw(st.integers(low, largest)), draw(st.integers(1, 8)))


_prefills, _decodes, _limits = prefill_profiles(), decode_profiles(), pool_limits()
ratios = st.builds(Ratio, st.integers(1, 4), st.integers(1, 4))
constraints = st.builds(Constraints, st.none() | st.integers(4, 120), st.none() | ratios, st.none() | ratios)


@st.composite
def specs(draw: st.DrawFn, *, constrained: bool = True, models: tuple[SizingModel, ...] = MODELS) -> SizingSpec:
    slo = draw(slos)
    limits = PerPool(draw(_limits), draw(_limits))
    return SizingSpec(
        name="any",
        slo=slo,
        prefill_profile=draw(_prefills),
        decode_profile=draw(_decodes),
        limits=limits,
        constraints=draw(constraints) if constrained else Constraints(),
        model=draw(st.sampled_from(models)),
        decode_derate=draw(st.floats(0.5, 1.5)),
        routing=draw(st.sampled_from(Routing)),
    )


@st.composite
def workloads(draw: st.DrawFn) -> WorkloadStats:
    return WorkloadStats(
        draw(rates),
        LengthStats(draw(st.floats(1, 30_000)), draw(st.floats(0, 4))),
        LengthStats(draw(st.floats(1, 5_000)), draw(st.floats(0, 4))),
        arrival_scv=draw(st.floats(0, 4)),
        prefix_hit_ratio=draw(st.floats(0, 0.95)),
    )


policies = st.builds(
    ScalingPolicy, st.sampled_from(PolicyType), st.integers(1, 100), st.sampled_from([15.0, 60.0, 300.0])
)
rules = st.builds(
    ScalingRules,
    st.sampled_from([0.0, 30.0, 300.0]),
    st.lists(policies, max_size=2).map(tuple),
    st.sampled_from(SelectPolicy),
    st.sampled_from([0.0, 0.1]),
)
behaviors = st.builds(Behavior, rules, rules)

memories = st.builds(
    PoolMemory,
    st.lists(st.builds(Recommendation, st.floats(0, 1000), st.integers(1, 12)), max_size=6).map(
        lambda entries: tuple(sorted(entries, key=lambda entry: entry.at_s))
    ),
    st.lists(st.builds(ScaleEvent, st.floats(0, 1000), st.integers(-5, 5)), max_size=4).map(
        lambda events: tuple(sorted(events, key=lambda event: event.at_s))
    ),
)

pool_states = st.builds(
    PoolState,
    st.integers(0, 14),
    st.integers(0, 14),
    st.integers(0, 3),
    st.integers(0, 2),
    st.booleans(),
    st.none() | st.sampled_from(Trouble),
)
targets = pool_states | st.just(TargetUnknown("FailedGetScale", "not found"))
pauses = st.builds(Paused, st.booleans(), st.booleans())
