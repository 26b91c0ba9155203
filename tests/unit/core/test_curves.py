"""The reference semantics of profiles (DESIGN section 6)."""

import math
from dataclasses import replace

import pytest

from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.profile import (
    DecodePoint,
    DecodeProfile,
    MaxThroughput,
    Overhead,
    PrefillPoint,
    PrefillProfile,
)
from pdscaler.errors import InvalidInputError
from support.core_cases import PAPER_DECODE


def prefill(*points: tuple[float, float]) -> PrefillProfile:
    return PrefillProfile(points=tuple(PrefillPoint(*point) for point in points))


def decode(*points: tuple[float, float, float], max_batch: int = 256) -> DecodeProfile:
    return DecodeProfile(tuple(DecodePoint(*point) for point in points), max_batch)


class TestPrefill:
    CURVE = prefill_curve(prefill((1000, 0.1), (2000, 0.2), (3000, 0.4), (5000, 0.6), (6000, 0.9)))

    @pytest.mark.parametrize(
        ("tokens", "time_s"),
        [
            (0, 0.1),
            (999, 0.1),
            (1000, 0.1),
            (1500, 0.15),
            (2500, 0.3),
            (4000, 0.5),
            (6000, 0.9),
            # Slopes of the last three intervals: 2e-4, 1e-4 and 3e-4 seconds per token; their mean is 2e-4.
            (7000, 1.1),
            (16000, 2.9),
        ],
    )
    def test_value(self, tokens: float, time_s: float) -> None:
        assert self.CURVE.time_s(tokens) == pytest.approx(time_s)

    def test_two_points_extend_with_their_only_slope(self) -> None:
        assert prefill_curve(prefill((1000, 0.1), (2000, 0.3))).time_s(3000) == pytest.approx(0.5)

    def test_points_may_come_in_any_order(self) -> None:
        assert prefill_curve(prefill((2000, 0.3), (1000, 0.1))).time_s(1500) == pytest.approx(0.2)

    def test_max_throughput_is_proportional(self) -> None:
        curve = prefill_curve(PrefillProfile(max_throughput=MaxThroughput(6144, 28300)))
        for tokens in (0, 1, 500, 6144, 100_000):
            assert curve.time_s(tokens) == pytest.approx(tokens / 28300)

    def test_overhead_counts_all_input_tokens(self) -> None:
        profile = PrefillProfile(max_throughput=MaxThroughput(1, 1), overhead=Overhead(0.1, 0.02))
        assert prefill_curve(profile).overhead_s(4000) == pytest.approx(0.18)

    def test_falling_latency_is_averaged_and_named(self) -> None:
        curve = prefill_curve(prefill((1000, 0.1), (2000, 0.3), (3000, 0.2), (4000, 0.5)))
        assert curve.line.values == pytest.approx((0.1, 0.25, 0.25, 0.5))
        (warning,) = curve.warnings
        assert "2000, 3000 tokens" in warning
        assert "300ms, 200ms became 250ms" in warning

    def test_monotone_points_give_no_warning(self) -> None:
        assert self.CURVE.warnings == ()

    @pytest.mark.parametrize(
        ("profile", "field"),
        [
            (PrefillProfile(), "spec.prefill.profile.points"),
            (prefill((1000, 0.1)), "spec.prefill.profile.points"),
            (prefill((1000, 0.1), (1000, 0.2)), "spec.prefill.profile.points"),
            (prefill((1000, 0.1), (-5, 0.2)), "spec.prefill.profile.points[1].inputTokens"),
            (prefill((1000, math.nan), (2000, 0.2)), "spec.prefill.profile.points[0].latency"),
            (prefill((1000, 0.1), (math.inf, 0.2)), "spec.prefill.profile.points[1].inputTokens"),
            (prefill((1000, 0.0), (2000, 0.2)), "spec.prefill.profile.points[0].latency"),
            (
                PrefillProfile(max_throughput=MaxThroughput(0, 10)),
                "spec.prefill.profile.maxThroughput.inputTokens",
            ),
            (
                PrefillProfile(max_throughput=MaxThroughput(10, math.nan)),
                "spec.prefill.profile.maxThroughput.tokensPerSecond",
            ),
            (replace(prefill((1, 1), (2, 2)), max_throughput=MaxThroughput(1, 1)), "spec.prefill.profile"),
            (
                replace(prefill((1, 1), (2, 2)), overhead=Overhead(-0.1)),
                "spec.prefill.profile.overhead.fixed",
            ),
        ],
    )
    def test_bad_profile_names_the_field(self, profile: PrefillProfile, field: str) -> None:
        with pytest.raises(InvalidInputError) as error:
            prefill_curve(profile)
        assert error.value.field == field


class TestDecode:
    SURFACE = decode_surface(
        decode((1000, 1, 0.005), (1000, 10, 0.010), (1000, 20, 0.012), (3000, 1, 0.007), (3000, 10, 0.020))
    )

    @pytest.mark.parametrize(
        ("batch", "context", "step_s"),
        [
            (10, 1000, 0.010),
            (5.5, 1000, 0.0075),
            (0.5, 1000, 0.005),  # level below the first batch
            (30, 1000, 0.014),  # last slope beyond the last batch
            (10, 2000, 0.015),  # linear between contexts
            (10, 100, 0.010),  # held below the first context
            (10, 9000, 0.020),  # and beyond the last
            (20, 2000, (0.012 + 0.020 + 10 * 0.013 / 9) / 2),  # each context extends by its own last slope
        ],
    )
    def test_value(self, batch: float, context: float, step_s: float) -> None:
        assert self.SURFACE.step_time_s(batch, batch * context) == pytest.approx(step_s)

    @pytest.mark.parametrize("context", [500.0, 1000.0, 1700.0, 3000.0, 5000.0])
    def test_line_at_a_context_is_the_surface(self, context: float) -> None:
        line = self.SURFACE.line_at(context)
        for batch in (0.3, 1.0, 4.2, 10.0, 15.0, 20.0, 77.0):
            assert line(batch) == pytest.approx(self.SURFACE.step_time_s(batch, batch * context))

    def test_an_empty_replica_has_a_step_time(self) -> None:
        assert self.SURFACE.step_time_s(0, 0) == pytest.approx(0.005)

    def test_falling_tpot_is_averaged_within_its_context_and_named(self) -> None:
        surface = decode_surface(
            decode((1000, 1, 0.005), (1000, 10, 0.012), (1000, 20, 0.010), (3000, 1, 0.004), (3000, 10, 0.020))
        )
        assert surface.lines[0].values == pytest.approx((0.005, 0.011, 0.011))
        # Not monotone along the context (5 ms, then 4 ms): that is no fault.
        assert surface.lines[1].values == pytest.approx((0.004, 0.020))
        (warning,) = surface.warnings
        assert "context 1000, batches 10, 20" in warning

    @pytest.mark.parametrize(
        ("profile", "field"),
        [
            (DecodeProfile(()), "spec.decode.profile.points"),
            (decode((1000, 1, 0.01)), "spec.decode.profile.points"),
            (decode((1000, 1, 0.01), (2000, 1, 0.02), (2000, 5, 0.03)), "spec.decode.profile.points"),
            (decode((1000, 1, 0.01), (1000, 1, 0.02)), "spec.decode.profile.points"),
            (decode((1000, 1, 0.01), (1000, 2, math.inf)), "spec.decode.profile.points[1].tpot"),
            (decode((1000, 1, 0.01), (1000, -2, 0.02)), "spec.decode.profile.points[1].batch"),
            (decode((0, 1, 0.01), (1000, 2, 0.02)), "spec.decode.profile.points[0].contextTokens"),
            (DecodeProfile(PAPER_DECODE, max_batch=0), "spec.decode.profile.maxBatch"),
            (
                DecodeProfile(PAPER_DECODE, kv_capacity_tokens=-1.0),
                "spec.decode.profile.kvCapacityTokens",
            ),
        ],
    )
    def test_bad_profile_names_the_field(self, profile: DecodeProfile, field: str) -> None:
        with pytest.raises(InvalidInputError) as error:
            decode_surface(profile)
        assert error.value.field == field

    def test_a_profile_is_read_once(self) -> None:
        assert decode_surface(DecodeProfile(PAPER_DECODE)) is decode_surface(DecodeProfile(PAPER_DECODE))
