"""Laws of the analytic decode model over random profiles and mixes (MODEL section 7)."""

import math
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from pdscaler.core.decision import Binding
from pdscaler.core.decode_law import DecodeLaw, decode_law
from pdscaler.core.profile import DecodePoint, DecodeProfile
from pdscaler.core.slo import Statistic
from pdscaler.core.workload import LengthStats, WorkloadStats
from support.strategies import decode_profiles, statistics

PERCENTILES = [statistic for statistic in Statistic if statistic is not Statistic.MEAN]


@st.composite
def outputs(draw: st.DrawFn) -> LengthStats:
    """Log-normal and constant lengths, and measured ones."""
    if draw(st.booleans()):
        return LengthStats(draw(st.floats(1, 5_000)), draw(st.floats(0, 4)))
    tokens = sorted(draw(st.lists(st.integers(1, 5_000), min_size=1, max_size=40, unique=True)))
    weights = [draw(st.floats(0.1, 1.0)) for _ in tokens]
    shares = [weight / sum(weights) for weight in weights]
    mean = sum(count * share for count, share in zip(tokens, shares, strict=True))
    second = sum(count * count * share for count, share in zip(tokens, shares, strict=True))
    atoms = tuple((float(count), share) for count, share in zip(tokens, shares, strict=True))
    return LengthStats(mean, max(0.0, second / mean**2 - 1), atoms)


@st.composite
def workloads(draw: st.DrawFn) -> WorkloadStats:
    prompts = LengthStats(draw(st.floats(1, 30_000)), draw(st.floats(0, 4)))
    return WorkloadStats(1.0, prompts, draw(outputs()), draw(st.floats(0.2, 4)))


@st.composite
def laws(draw: st.DrawFn) -> DecodeLaw:
    return decode_law(draw(decode_profiles()), draw(workloads()), draw(st.floats(0.5, 1.5)))


def load(law: DecodeLaw, replicas: int, share: float) -> float:
    """Return the load at a share of saturation."""
    saturation_rps = law.saturation_rps(replicas)
    assume(math.isfinite(saturation_rps))
    return share * saturation_rps


shares = st.floats(1e-6, 1.2) | st.floats(0.9, 1.0)


@given(laws(), st.integers(1, 80), shares, shares, statistics)
def test_more_load_is_never_faster(
    law: DecodeLaw, replicas: int, one: float, other: float, statistic: Statistic
) -> None:
    low, high = sorted((load(law, replicas, one), load(law, replicas, other)))
    assert law.value_s(replicas, low, statistic) <= law.value_s(replicas, high, statistic)


@given(laws(), st.integers(1, 80), st.floats(1e-3, 1.1), st.floats(0, 1e-9), statistics)
def test_the_least_more_load_is_never_faster(
    law: DecodeLaw, replicas: int, share: float, step: float, statistic: Statistic
) -> None:
    rate_rps = load(law, replicas, share)
    more_rps = max(rate_rps * (1 + step), math.nextafter(rate_rps, math.inf))
    assert law.value_s(replicas, rate_rps, statistic) <= law.value_s(replicas, more_rps, statistic)


@given(laws(), st.integers(1, 80), st.integers(1, 80), shares, statistics)
def test_more_replicas_are_never_slower(
    law: DecodeLaw, one: int, other: int, share: float, statistic: Statistic
) -> None:
    few, many = sorted((one, other))
    rate_rps = load(law, few, share)
    assert law.value_s(few, rate_rps, statistic) >= law.value_s(many, rate_rps, statistic)


@given(laws(), st.integers(1, 80), shares)
def test_a_stricter_percentile_is_never_smaller(law: DecodeLaw, replicas: int, share: float) -> None:
    rate_rps = load(law, replicas, share)
    values = [law.value_s(replicas, rate_rps, statistic) for statistic in PERCENTILES]
    assert values == sorted(values)


@given(laws(), st.integers(1, 80), shares)
def test_all_statistics_at_once_are_each_alone(law: DecodeLaw, replicas: int, share: float) -> None:
    rate_rps = load(law, replicas, share)
    together = law.at(replicas, rate_rps)
    for statistic in Statistic:
        assert together.of(statistic) == law.value_s(replicas, rate_rps, statistic)


@given(laws(), st.integers(1, 80), st.floats(0.0, 0.999), statistics)
def test_it_is_continuous(law: DecodeLaw, replicas: int, share: float, statistic: Statistic) -> None:
    rate_rps = load(law, replicas, share)
    here, there = (law.value_s(replicas, rate_rps * (1 + step), statistic) for step in (0, 1e-11))
    # Near saturation the wait grows as 1 / (1 - share).
    assert there - here <= 1e-6 * here / (1 - share) ** 2


@given(laws(), st.integers(1, 80), statistics)
def test_no_load_is_one_request_alone(law: DecodeLaw, replicas: int, statistic: Statistic) -> None:
    idle_s = law.idle_s(statistic)
    assert law.value_s(replicas, 0.0, statistic) == idle_s
    assert math.isclose(law.value_s(replicas, load(law, replicas, 1e-9), statistic), idle_s, rel_tol=1e-3)


@given(laws(), st.integers(1, 80), st.floats(1e-6, 1.2), statistics)
def test_it_is_finite_below_saturation_only(law: DecodeLaw, replicas: int, share: float, statistic: Statistic) -> None:
    assume(abs(share - 1) > 1e-9)
    value_s = law.value_s(replicas, load(law, replicas, share), statistic)
    assert math.isfinite(value_s) == (share < 1)
    assert value_s >= law.idle_s(statistic)


@given(decode_profiles(), workloads(), st.floats(0.2, 4), st.integers(1, 80), st.floats(0.01, 0.999), statistics)
def test_more_arrival_variance_is_never_faster(
    profile: DecodeProfile, workload: WorkloadStats, other: float, replicas: int, share: float, statistic: Statistic
) -> None:
    low, high = sorted((workload.arrival_scv, other))
    calm, bursty = (decode_law(profile, replace(workload, arrival_scv=scv)) for scv in (low, high))
    rate_rps = load(calm, replicas, share)
    # On profiles that fall and rise with the context the fixed points of both differ by some 1e-8.
    assert calm.value_s(replicas, rate_rps, statistic) <= bursty.value_s(replicas, rate_rps, statistic) * (1 + 1e-6)


@given(decode_profiles(), workloads(), st.floats(0.5, 2.0), st.integers(1, 20), st.floats(0.01, 1.1), statistics)
def test_a_derate_is_a_faster_clock(
    profile: DecodeProfile, workload: WorkloadStats, derate: float, replicas: int, share: float, statistic: Statistic
) -> None:
    plain, fast = decode_law(profile, workload), decode_law(profile, workload, derate)
    rate_rps = load(plain, replicas, share)
    assume(abs(share - 1) > 1e-6)
    expected_s = plain.value_s(replicas, rate_rps, statistic) / derate
    assert math.isclose(fast.value_s(replicas, rate_rps * derate, statistic), expected_s, rel_tol=1e-6)


@given(workloads(), st.integers(1, 20), st.floats(0.01, 0.999), statistics)
def test_a_slower_engine_is_never_faster(
    workload: WorkloadStats, replicas: int, share: float, statistic: Statistic
) -> None:
    points = tuple(
        DecodePoint(context, batch, 0.01 + 0.0004 * batch + 2e-8 * batch * context)
        for context in (500.0, 8000.0)
        for batch in (1.0, 16.0, 64.0)
    )
    slower = tuple(replace(point, tpot_s=1.2 * point.tpot_s) for point in points)
    fast, slow = (decode_law(DecodeProfile(kind, 64), workload) for kind in (points, slower))
    rate_rps = load(fast, replicas, share)
    assert fast.value_s(replicas, rate_rps, statistic) <= slow.value_s(replicas, rate_rps, statistic)


@given(laws(), st.integers(1, 80), shares)
def test_what_binds_is_the_pool_s_own(law: DecodeLaw, replicas: int, share: float) -> None:
    assert law.binding(replicas, load(law, replicas, share)) in {
        Binding.TPOT,
        Binding.BATCH_SLOTS,
        Binding.KV_MEMORY,
    }


@given(decode_profiles(), st.floats(1, 1e5), st.integers(1, 80), statistics)
def test_answers_of_one_token_load_nothing(
    profile: DecodeProfile, input_tokens: float, replicas: int, statistic: Statistic
) -> None:
    law = decode_law(profile, WorkloadStats(1.0, LengthStats(input_tokens), LengthStats(1.0)))
    assert math.isinf(law.saturation_rps(replicas))
    for rate_rps in (0.0, 1.0, 1e9, math.inf):
        assert law.value_s(replicas, rate_rps, statistic) == law.idle_s(statistic)
