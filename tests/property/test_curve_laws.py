from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.profile import DecodeProfile, PrefillProfile
from support.strategies import decode_profiles, prefill_profiles


@given(prefill_profiles(), st.floats(0, 60_000), st.floats(0, 60_000))
def test_prefill_time_never_falls(profile: PrefillProfile, one: float, other: float) -> None:
    curve = prefill_curve(profile)
    assert 0 <= curve.time_s(min(one, other)) <= curve.time_s(max(one, other)) * (1 + 1e-12)


@given(decode_profiles(), st.floats(0.1, 1000), st.floats(0.1, 1000), st.floats(1, 60_000))
def test_step_time_never_falls_with_the_batch(profile: DecodeProfile, one: float, other: float, context: float) -> None:
    surface = decode_surface(profile)
    few, many = min(one, other), max(one, other)
    assert 0 < surface.at_context(few, context) <= surface.at_context(many, context) * (1 + 1e-12)


@given(decode_profiles(), st.floats(0.1, 1000), st.floats(1, 60_000))
def test_step_time_is_between_those_of_the_measured_contexts(
    profile: DecodeProfile, batch: float, context: float
) -> None:
    surface = decode_surface(profile)
    values = [line(batch) for line in surface.lines]
    step_s = surface.step_time_s(batch, batch * context)
    assert min(values) * (1 - 1e-9) <= step_s <= max(values) * (1 + 1e-9)
    line_s = surface.line_at(context)(batch)
    assert abs(line_s - surface.at_context(batch, context)) <= 1e-9 * line_s


@given(prefill_profiles())
def test_a_repair_is_always_named(profile: PrefillProfile) -> None:
    ordered = sorted(profile.points, key=lambda point: point.input_tokens)
    falls = any(left.latency_s > right.latency_s for left, right in pairwise(ordered))
    assert bool(prefill_curve(profile).warnings) == falls
