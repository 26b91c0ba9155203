"""Whatever was measured, a fitted profile is one that can be read: positive, monotone, of one value per point."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.fit import fit_decode, fit_prefill
from pdscaler.core.profile import DecodePoint, DecodeProfile, PrefillPoint, PrefillProfile

seconds = st.floats(1e-4, 10.0)
prefill_rows = st.lists(st.builds(PrefillPoint, st.integers(1, 30_000), seconds), min_size=2, max_size=40).filter(
    lambda rows: len({row.input_tokens for row in rows}) > 1
)
decode_rows = st.lists(
    st.builds(DecodePoint, st.integers(1, 30_000), st.integers(1, 400), seconds), min_size=2, max_size=40
).filter(lambda rows: len({row.batch for row in rows}) > 1)
grids = st.builds(
    lambda contexts, batches, values: [
        DecodePoint(context, batch, values[(place + 7 * index) % len(values)])
        for place, context in enumerate(contexts)
        for index, batch in enumerate(batches)
    ],
    st.lists(st.integers(1, 30_000), min_size=1, max_size=4),
    st.lists(st.integers(1, 400), min_size=2, max_size=6, unique=True),
    st.lists(seconds, min_size=3, max_size=9),
)


@settings(max_examples=60, deadline=None)
@given(prefill_rows)
def test_a_fitted_prefill_curve_is_positive_and_never_falls(rows: list[PrefillPoint]) -> None:
    fit = fit_prefill(rows)
    assert all(point.latency_s > 0 for point in fit.points)
    for left, right in pairwise(fit.points):
        assert left.input_tokens < right.input_tokens
        assert left.latency_s <= right.latency_s
    assert prefill_curve(PrefillProfile(fit.points)).warnings == ()
    assert 0 <= fit.residuals.median <= fit.residuals.p95
    assert len(fit.residuals.outliers) < fit.residuals.count == len(rows)


@settings(max_examples=80, deadline=None)
@given(decode_rows | grids)
def test_a_fitted_decode_surface_is_positive_and_never_falls_with_the_batch(rows: list[DecodePoint]) -> None:
    fit = fit_decode(rows)
    surface = decode_surface(DecodeProfile(fit.points, 400))
    assert surface.warnings == (), "nothing to repair: each context has two batches, all different, none falling"
    assert all(point.tpot_s > 0 for point in fit.points)
    assert set(fit.filled) <= set(fit.points)
    assert max(point.batch for point in fit.points) <= 2 * max(row.batch for row in rows)
    assert 0 <= fit.residuals.median <= fit.residuals.p95
