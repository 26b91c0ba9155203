"""Laws of the analytic prefill model over random engines and mixes (MODEL section 7); exact, as floats."""

import math

from hypothesis import assume, given
from hypothesis import strategies as st

from pdscaler.core.prefill_law import PrefillLaw, prefill_law
from pdscaler.core.profile import MaxThroughput, Overhead, PrefillPoint, PrefillProfile
from pdscaler.core.slo import Statistic
from pdscaler.core.spec import Routing
from pdscaler.core.workload import LengthStats, WorkloadStats
from support.strategies import prefill_profiles, statistics

SIZES = (64, 128, 512, 1024, 2048, 4096, 8192, 16384)
PERCENTILES = (Statistic.P50, Statistic.P90, Statistic.P95, Statistic.P99)


@st.composite
def engines(draw: st.DrawFn) -> PrefillProfile:
    """Passes as engines have them: a constant part, a slope, attention's square; or a throughput."""
    overhead = Overhead(draw(st.floats(0, 0.2)), draw(st.floats(0, 0.02)))
    budget = draw(st.sampled_from([512, 2048, 8192, 32768]))
    if draw(st.booleans()):
        throughput = MaxThroughput(draw(st.floats(100, 20_000)), draw(st.floats(1_000, 200_000)))
        return PrefillProfile(max_throughput=throughput, max_batched_tokens=budget, overhead=overhead)
    constant_s = draw(st.floats(0.0005, 0.2))
    slope_s, square_s = draw(st.floats(1e-6, 1e-4)), draw(st.sampled_from([0.0, 1e-10, 1e-9]))
    points = tuple(PrefillPoint(size, constant_s + slope_s * size + square_s * size**2) for size in SIZES)
    return PrefillProfile(points, max_batched_tokens=budget, overhead=overhead)


@st.composite
def workloads(draw: st.DrawFn) -> WorkloadStats:
    isl = LengthStats(draw(st.floats(20, 20_000)), draw(st.just(0.0) | st.floats(0, 4)))
    return WorkloadStats(1.0, isl, LengthStats(100.0), draw(st.floats(0, 4)), draw(st.floats(0, 0.9)))


routings = st.sampled_from(Routing)
laws = st.builds(prefill_law, engines(), workloads(), routings)
counts = st.integers(1, 200)
shares = st.floats(1e-6, 1.2) | st.floats(0.9, 1.0)


@given(laws, counts, shares, shares, statistics)
def test_more_load_is_never_faster(
    law: PrefillLaw, replicas: int, one: float, other: float, statistic: Statistic
) -> None:
    low, high = sorted(share * law.saturation_rps(replicas) for share in (one, other))
    assert law.value_s(replicas, low, statistic) <= law.value_s(replicas, high, statistic)


@given(laws, counts, st.integers(1, 50), shares, statistics)
def test_more_replicas_are_never_slower(
    law: PrefillLaw, replicas: int, more: int, share: float, statistic: Statistic
) -> None:
    rate_rps = share * law.saturation_rps(replicas)
    assert law.value_s(replicas + more, rate_rps, statistic) <= law.value_s(replicas, rate_rps, statistic)


@given(laws, counts, shares)
def test_a_stricter_percentile_is_never_lower(law: PrefillLaw, replicas: int, share: float) -> None:
    values_s = [law.value_s(replicas, share * law.saturation_rps(replicas), statistic) for statistic in PERCENTILES]
    assert values_s == sorted(values_s)


@given(engines(), workloads(), routings, counts, shares, st.floats(0, 4), statistics)
def test_more_arrival_variance_is_never_faster(
    profile: PrefillProfile,
    workload: WorkloadStats,
    routing: Routing,
    replicas: int,
    share: float,
    scv: float,
    statistic: Statistic,
) -> None:
    other = WorkloadStats(1.0, workload.isl, workload.osl, scv, workload.prefix_hit_ratio)
    calm, bursty = sorted((workload, other), key=lambda stats: stats.arrival_scv)
    law = prefill_law(profile, calm, routing)
    rate_rps = share * law.saturation_rps(replicas)
    slower = prefill_law(profile, bursty, routing)
    assert law.value_s(replicas, rate_rps, statistic) <= slower.value_s(replicas, rate_rps, statistic)


@given(
    engines(), workloads(), st.sampled_from([Routing.JOIN_SHORTEST_QUEUE, Routing.ROUND_ROBIN]), counts,
    st.floats(0.01, 0.9), st.floats(0.1, 4), st.sampled_from([Statistic.P95, Statistic.P99]),
)  # fmt: skip
def test_more_length_variance_is_never_faster_far_out(
    profile: PrefillProfile,
    workload: WorkloadStats,
    routing: Routing,
    replicas: int,
    share: float,
    more: float,
    statistic: Statistic,
) -> None:
    assert workload.isl is not None
    isl = LengthStats(workload.isl.mean_tokens, workload.isl.scv + more)
    varied = WorkloadStats(1.0, isl, workload.osl, workload.arrival_scv, workload.prefix_hit_ratio)
    law = prefill_law(profile, workload, routing)
    rate_rps = share * law.saturation_rps(replicas)
    slower = prefill_law(profile, varied, routing)
    assert law.value_s(replicas, rate_rps, statistic) <= slower.value_s(replicas, rate_rps, statistic)


@given(st.builds(prefill_law, prefill_profiles() | engines(), workloads(), routings), counts, shares)
def test_all_statistics_at_once_are_the_single_ones(law: PrefillLaw, replicas: int, share: float) -> None:
    rate_rps = share * law.saturation_rps(replicas)
    together = law.at(replicas, rate_rps)
    for statistic in Statistic:
        value_s = law.value_s(replicas, rate_rps, statistic)
        assert together.of(statistic) == value_s
        assert not math.isnan(value_s)
        assert value_s >= law.idle_s(statistic)
        assert math.isinf(value_s) or share <= 1


@given(laws, counts, st.floats(0.01, 0.95), statistics)
def test_values_are_continuous_in_the_load(law: PrefillLaw, replicas: int, share: float, statistic: Statistic) -> None:
    rate_rps = share * law.saturation_rps(replicas)
    value_s = law.value_s(replicas, rate_rps, statistic)
    assume(math.isfinite(value_s))
    step_s = law.value_s(replicas, rate_rps * (1 + 1e-9), statistic) - value_s
    assert step_s <= 1e-4 * value_s
