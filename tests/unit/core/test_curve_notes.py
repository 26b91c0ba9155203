"""What a user is told about a profile's points; the values read off it stay as they are."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscaler.core.curve_notes import (
    decode_corner_notes,
    decode_point_notes,
    length_notes,
    prefill_point_notes,
    share_above,
    smoothness,
)
from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.profile import DecodePoint, DecodeProfile, MaxThroughput, PrefillPoint, PrefillProfile
from pdscaler.core.workload import LengthStats
from support.core_cases import PAPER_DECODE, points_spec

TOKENS = (100, 1000, 2000, 3000, 5000, 8000, 16_000, 32_000)


def law_s(tokens: float) -> float:
    return 0.012 + 1.3e-5 * tokens + 5e-10 * tokens**2


def prefill(*factors: tuple[int, float]) -> PrefillProfile:
    """A smooth curve, with some points (by index) multiplied by a factor."""
    points = [PrefillPoint(tokens, law_s(tokens)) for tokens in TOKENS]
    for index, factor in factors:
        points[index] = replace(points[index], latency_s=points[index].latency_s * factor)
    return PrefillProfile(tuple(points))


def decode(*lines: tuple[float, tuple[float, ...]], factor: tuple[float, float, float] = (0, 0, 1)) -> DecodeProfile:
    """Batches at contexts; the point at (context, batch) multiplied by a factor."""
    return DecodeProfile(
        tuple(
            DecodePoint(
                context,
                batch,
                (0.004 + 5e-5 * batch + 3e-8 * batch * context) * (factor[2] if (context, batch) == factor[:2] else 1),
            )
            for context, batches in lines
            for batch in batches
        )
    )


class TestPoints:
    def test_good_profiles_are_passed_over_in_silence(self) -> None:
        assert prefill_point_notes(prefill()) == ()
        assert prefill_point_notes(PrefillProfile(max_throughput=MaxThroughput(6144, 28309))) == ()
        assert prefill_point_notes(points_spec().prefill_profile) == ()
        for profile in (DecodeProfile(PAPER_DECODE), points_spec().decode_profile):
            assert decode_point_notes(profile) == ()
            assert decode_corner_notes(profile) == ()

    @pytest.mark.parametrize("power", [0.3, 0.5, 1.0, 1.5, 2.0])
    @pytest.mark.parametrize("floor", [0.0, 0.1, 10.0])
    def test_a_smooth_curve_on_a_coarse_grid_is_no_outlier(self, power: float, floor: float) -> None:
        points = [(float(x), floor + x**power) for x in (1, 2, 4, 8, 16, 64, 256)]
        assert smoothness(points).misfits == ()

    @pytest.mark.parametrize(("index", "factor"), [*((i, f) for i in range(1, 7) for f in (2.5, 10.0)), (7, 10.0)])
    def test_a_point_too_high_is_named(self, index: int, factor: float) -> None:
        (note,) = prefill_point_notes(prefill((index, factor)))
        assert note.startswith(f"prefill profile: an outlier at {TOKENS[index]} tokens (")
        assert note.endswith("measure again, or leave it out")
        assert "times its neighbours'" in note

    @pytest.mark.parametrize("index", range(2, 7))
    def test_a_point_too_low_is_named(self, index: int) -> None:
        (note,) = prefill_point_notes(prefill((index, 0.2)))
        assert note.startswith(f"prefill profile: an outlier at {TOKENS[index]} tokens (")

    def test_the_first_point_is_judged_by_the_second(self) -> None:
        (note,) = prefill_point_notes(prefill((0, 10.0)))
        assert "an outlier at 100 tokens (" in note

    def test_several_are_named_the_worst_first(self) -> None:
        (note,) = prefill_point_notes(prefill((2, 3.0), (5, 8.0)))
        assert note.startswith("prefill profile: outliers at 8000 tokens (")
        assert "; 2000 tokens (" in note

    def test_scatter_is_told_with_its_size(self) -> None:
        rng = np.random.default_rng(1)
        draws = [
            [(float(n), law_s(n) * math.exp(rng.normal(0, 0.12))) for n in range(500, 20_001, 500)] for _ in "12345"
        ]
        assert np.mean([smoothness(noisy).scatter for noisy in draws]) == pytest.approx(0.12, rel=0.25)
        notes = prefill_point_notes(PrefillProfile(tuple(PrefillPoint(*row) for row in draws[0])))
        assert any(note.startswith("prefill profile: the points scatter by about 1") for note in notes)
        assert notes[-1].endswith("around a smooth curve: repeat the measurements")
        calm = [(float(n), law_s(n) * math.exp(rng.normal(0, 0.03))) for n in range(500, 20_001, 500)]
        assert prefill_point_notes(PrefillProfile(tuple(PrefillPoint(*row) for row in calm))) == ()

    def test_a_decode_outlier_is_named_with_context_and_batch(self) -> None:
        lines = ((1000.0, (1.0, 20.0, 50.0, 100.0, 200.0)), (4000.0, (1.0, 20.0, 50.0, 100.0)))
        assert decode_point_notes(decode(*lines)) == ()
        (note,) = decode_point_notes(decode(*lines, factor=(4000.0, 20.0, 5.0)))
        assert note.startswith("decode profile: an outlier at context 4000, batch 20 (")

    @given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(1e-4, 100)), max_size=12, unique_by=lambda row: row[0]))
    def test_any_points_can_be_judged(self, rows: list[tuple[int, float]]) -> None:
        result = smoothness(sorted((float(x), y) for x, y in rows))
        assert len(result.misfits) <= max(0, len(rows) - 3)
        assert math.isnan(result.scatter) or result.scatter >= 0


class TestCorners:
    def test_a_context_measured_at_few_batches_is_named(self) -> None:
        profile = decode((1000.0, (1.0, 50.0, 200.0)), (8000.0, (1.0, 5.0)))
        (note,) = decode_corner_notes(profile)
        # The memory of 200 x 1000 tokens holds 25 requests of 8000.
        assert "context 8000 only up to batch 5 (of 25 in reach)" in note
        assert note.endswith("measure there too")

    def test_a_context_that_fills_the_memory_is_complete(self) -> None:
        assert decode_corner_notes(decode((1000.0, (1.0, 50.0, 200.0)), (8000.0, (1.0, 12.0, 25.0)))) == ()

    def test_one_context_has_no_corner(self) -> None:
        assert decode_corner_notes(decode((1000.0, (1.0, 2.0)))) == ()


def test_the_notes_come_with_the_curve_and_change_no_value() -> None:
    curve = prefill_curve(prefill((5, 8.0)))
    assert curve.notes == prefill_point_notes(prefill((5, 8.0)))
    assert len(curve.notes) == 1
    assert prefill_curve(prefill()).notes == ()
    surface = decode_surface(decode((1000.0, (1.0, 50.0, 200.0)), (8000.0, (1.0, 5.0))))
    assert surface.warnings == ()
    assert surface.notes == decode_corner_notes(decode((1000.0, (1.0, 50.0, 200.0)), (8000.0, (1.0, 5.0))))


class TestLengths:
    MEASURED = (100.0, 32_000.0)

    def test_long_tails_beyond_the_points_are_told(self) -> None:
        (note,) = length_notes(self.MEASURED, LengthStats(16_000.0, 1.0))
        assert note == (
            "prefill profile: 11% of the prompts are longer than the last point, 32000 uncached tokens: "
            "extrapolated for these"
        )

    @pytest.mark.parametrize(
        "isl",
        [
            LengthStats(16_000.0),
            LengthStats(3000.0, 1.0),
            LengthStats(40_000.0, 1.0),  # the mean itself lies beyond: another note says so
        ],
    )
    def test_what_is_measured_needs_no_word(self, isl: LengthStats) -> None:
        assert length_notes(self.MEASURED, isl) == ()

    def test_cached_tokens_are_not_computed(self) -> None:
        assert length_notes(self.MEASURED, LengthStats(16_000.0, 1.0), prefix_hit_ratio=0.8) == ()

    def test_a_measured_distribution_is_counted(self) -> None:
        isl = LengthStats(5000.0, 3.0, atoms=((1000.0, 0.95), (80_000.0, 0.05)))
        assert share_above(isl, 32_000) == pytest.approx(0.05)
        (note,) = length_notes(self.MEASURED, isl)
        assert "5% of the prompts" in note

    @pytest.mark.parametrize("scv", [0.25, 1.0, 4.0])
    def test_the_log_normal_tail(self, scv: float) -> None:
        from scipy.stats import lognorm

        sigma = math.sqrt(math.log1p(scv))
        exact = lognorm(s=sigma, scale=1000 * math.exp(-(sigma**2) / 2)).sf(2500)
        assert share_above(LengthStats(1000.0, scv), 2500) == pytest.approx(exact, rel=1e-9)
