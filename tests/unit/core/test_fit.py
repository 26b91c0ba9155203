"""Fits of raw measurements: synthetic truths, noise, outliers by a factor of ten, corners nobody measured."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.fit import MOST_BATCHES, MOST_CONTEXTS, MOST_PREFILL_POINTS, fit_decode, fit_prefill
from pdscaler.core.profile import DecodePoint, DecodeProfile, PrefillPoint, PrefillProfile
from pdscaler.errors import InvalidInputError

Law = Callable[[float, float], float]
LAWS: dict[str, Law] = {
    "additive": lambda batch, context: 0.0044 + 9e-5 * batch + 3.2e-8 * batch * context,
    "saturating": lambda batch, context: (
        0.0044 + 1.2e-4 * min(batch, 200) + 4e-5 * max(batch - 200, 0) + 3.2e-8 * batch * context
    ),
    "mixture of experts": lambda batch, context: (
        0.006 + 0.008 * (1 - math.exp(-batch / 12)) + 5e-5 * batch + 2e-8 * batch * context
    ),
    "roofline, not additive": lambda batch, context: 0.004 + max(1e-4 * batch, 4e-8 * batch * context),
    "power, not additive": lambda batch, context: 0.004 + 6e-4 * (batch * (1 + context / 4000)) ** 0.75,
}
CONTEXTS = (350, 3000, 5600, 8300, 11000, 13600)
GRID = [
    (context, float(batch))
    for context in CONTEXTS
    for batch in np.unique(np.linspace(1, min(1000, 9e5 / context), 6).round())
]
CORNER = [(context, batch) for context, batch in GRID if context == 8300 and batch > 30]


def prefill_truth_s(tokens: float) -> float:
    return 0.015 + 1.5e-5 * tokens + 4e-10 * tokens**2


def disturbed(value: float, rng: np.random.Generator, noise: float, outliers: float) -> float:
    value *= math.exp(float(rng.normal(0, noise)))
    if rng.random() < outliers:
        value *= 10 if rng.random() < 0.7 else 0.1
    return value


class TestPrefill:
    TOKENS = tuple(range(100, 16_101, 1000))

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize(
        ("repeats", "noise", "mean_error", "worst"),
        [(5, 0.02, 0.015, 0.06), (5, 0.05, 0.03, 0.10), (1, 0.03, 0.03, 0.15)],
    )
    def test_the_truth_is_found(self, seed: int, repeats: int, noise: float, mean_error: float, worst: float) -> None:
        rng = np.random.default_rng(seed)
        fit = fit_prefill(
            [
                PrefillPoint(tokens, disturbed(prefill_truth_s(tokens), rng, noise, 0.1))
                for tokens in self.TOKENS
                for _ in range(repeats)
            ]
        )
        curve = prefill_curve(PrefillProfile(fit.points))
        assert curve.warnings == ()
        errors = [abs(curve.time_s(n) / prefill_truth_s(n) - 1) for n in np.linspace(100, 16_100, 100)]
        assert np.mean(errors) < mean_error
        assert max(errors) < worst

    def test_residuals_are_reported_and_outliers_named(self) -> None:
        rng = np.random.default_rng(1)
        rows = [PrefillPoint(n, prefill_truth_s(n) * math.exp(rng.normal(0, 0.02))) for n in self.TOKENS for _ in "123"]
        rows[7] = PrefillPoint(rows[7].input_tokens, 10 * rows[7].latency_s)
        rows[40] = PrefillPoint(rows[40].input_tokens, rows[40].latency_s / 10)
        residuals = fit_prefill(rows).residuals
        assert residuals.count == 51
        assert 0.005 < residuals.median < 0.02  # 2 % of noise: 1.35 % about the truth, less about the fit of three each
        assert 0.025 < residuals.p95 < 0.06
        assert {outlier.index for outlier in residuals.outliers} == {7, 40}
        named = {outlier.index: str(outlier) for outlier in residuals.outliers}
        assert named[7].startswith("2100 tokens: ")
        assert "9." in named[7] or "10 times" in named[7] or "11 times" in named[7]

    def test_clean_points_come_out_as_they_went_in(self) -> None:
        rows = [PrefillPoint(n, 0.02 + n / 50_000) for n in (100, 1000, 2500, 9000)]
        for row, point in zip(rows, fit_prefill(rows).points, strict=True):
            assert point.latency_s == pytest.approx(row.latency_s, rel=1e-3)

    def test_many_lengths_become_few_points(self) -> None:
        fit = fit_prefill([PrefillPoint(n, prefill_truth_s(n)) for n in range(50, 20_000, 31)])
        assert len(fit.points) == MOST_PREFILL_POINTS
        assert (fit.points[0].input_tokens, fit.points[-1].input_tokens) == (50, 19_983)
        for point in fit.points:
            assert point.latency_s == pytest.approx(prefill_truth_s(point.input_tokens), rel=0.02)

    def test_the_order_does_not_matter(self) -> None:
        rng = np.random.default_rng(5)
        rows = [PrefillPoint(n, disturbed(prefill_truth_s(n), rng, 0.05, 0.1)) for n in self.TOKENS for _ in "12"]
        forward, backward = fit_prefill(rows).points, fit_prefill(rows[::-1]).points
        assert [p.latency_s for p in forward] == pytest.approx([p.latency_s for p in backward], rel=1e-6)

    @pytest.mark.parametrize(
        ("rows", "field"),
        [
            ([], "prefill"),
            ([PrefillPoint(100, 0.1), PrefillPoint(100, 0.2)], "prefill"),
            ([PrefillPoint(100, 0.1), PrefillPoint(200, math.nan)], "prefill[1].latency"),
            ([PrefillPoint(-1, 0.1), PrefillPoint(200, 1)], "prefill[0].inputTokens"),
        ],
    )
    def test_what_cannot_be_fitted_is_named(self, rows: list[PrefillPoint], field: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            fit_prefill(rows)
        assert caught.value.field == field


class TestDecode:
    @staticmethod
    def measured(law: Law, repeats: int, noise: float, outliers: float, seed: int = 0) -> list[DecodePoint]:
        rng = np.random.default_rng(seed)
        return [
            DecodePoint(context, batch, disturbed(law(batch, context), rng, noise, outliers))
            for context, batch in GRID
            if (context, batch) not in CORNER
            for _ in range(repeats)
        ]

    @pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
    @pytest.mark.parametrize("seed", range(2))
    @pytest.mark.parametrize(
        ("repeats", "noise", "mean_error", "worst"), [(5, 0.02, 0.015, 0.08), (4, 0.05, 0.035, 0.20)]
    )
    def test_the_truth_is_found(
        self, law: Law, seed: int, repeats: int, noise: float, mean_error: float, worst: float
    ) -> None:
        fit = fit_decode(self.measured(law, repeats, noise, 0.05, seed))
        surface = decode_surface(DecodeProfile(fit.points, 1000))
        assert surface.warnings == ()
        errors = [abs(surface.at_context(b, c) / law(b, c) - 1) for c, b in GRID if (c, b) not in CORNER]
        assert np.mean(errors) < mean_error
        assert max(errors) < worst
        corner = [surface.at_context(b, c) / law(b, c) - 1 for c, b in CORNER]
        # Nobody measured these: on the slow side, and not by much.
        assert min(corner) > -0.05
        assert max(corner) < 0.15

    @pytest.mark.parametrize("name", ["additive", "mixture of experts"])
    def test_one_measurement_each_is_enough_where_the_law_holds(self, name: str) -> None:
        law = LAWS[name]
        fit = fit_decode(self.measured(law, 1, 0.03, 0.1))
        surface = decode_surface(DecodeProfile(fit.points, 1000))
        errors = [abs(surface.at_context(b, c) / law(b, c) - 1) for c, b in GRID]
        assert np.mean(errors) < 0.04
        assert max(errors) < 0.15

    def test_what_was_filled_is_named(self) -> None:
        fit = fit_decode(self.measured(LAWS["additive"], 3, 0.02, 0.0))
        assert {point.context_tokens for point in fit.filled} == {8300}
        assert set(fit.filled) < set(fit.points)
        assert min(point.batch for point in fit.filled) > 22
        assert max(point.batch * point.context_tokens for point in fit.filled) <= 9.01e5, "within what was measured"

    def test_three_that_agree_are_believed_against_the_law(self) -> None:
        rows = [DecodePoint(c, b, LAWS["additive"](b, c)) for c, b in GRID for _ in range(4)]
        odd = [row if (row.context_tokens, row.batch) != (5600, 33) else DecodePoint(5600, 33, 0.018) for row in rows]
        fit = fit_decode(odd)
        assert fit.residuals.outliers == ()
        (point,) = (p for p in fit.points if (p.context_tokens, p.batch) == (5600, 33))
        assert point.tpot_s == pytest.approx(0.018, rel=0.02)

    def test_contexts_that_are_nearly_the_same_are_one(self) -> None:
        rng = np.random.default_rng(2)
        rows = [
            DecodePoint(float(round(context * rng.uniform(0.98, 1.02))), batch, LAWS["additive"](batch, context))
            for context in (1000, 4000)
            for batch in (1, 20, 60, 120)
            for _ in range(5)
        ]
        contexts = sorted({point.context_tokens for point in fit_decode(rows).points})
        assert contexts == [pytest.approx(1000, rel=0.02), pytest.approx(4000, rel=0.02)]

    def test_many_measurements_become_few_points(self) -> None:
        rng = np.random.default_rng(4)
        rows = [
            DecodePoint(float(rng.integers(200, 20_000)), float(rng.integers(1, 200)), 0.01 + 1e-4 * rng.random())
            for _ in range(1500)
        ]
        fit = fit_decode(rows)
        by_context: dict[float, int] = {}
        for point in fit.points:
            by_context[point.context_tokens] = by_context.get(point.context_tokens, 0) + 1
        assert len(by_context) <= MOST_CONTEXTS
        assert max(by_context.values()) <= MOST_BATCHES + 2

    @pytest.mark.parametrize(
        ("rows", "field"),
        [
            ([], "decode"),
            ([DecodePoint(100, 8, 0.1), DecodePoint(200, 8, 0.2)], "decode"),
            ([DecodePoint(100, 8, 0.1), DecodePoint(200, 0, 0.2)], "decode[1].batch"),
            ([DecodePoint(100, 8, 0.1), DecodePoint(200, 9, math.inf)], "decode[1].tpot"),
        ],
    )
    def test_what_cannot_be_fitted_is_named(self, rows: list[DecodePoint], field: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            fit_decode(rows)
        assert caught.value.field == field


def test_fitted_points_rise_with_the_batch_and_the_tokens() -> None:
    rows = TestDecode.measured(LAWS["roofline, not additive"], 2, 0.2, 0.2)
    lines: dict[float, list[DecodePoint]] = {}
    for point in fit_decode(rows).points:
        lines.setdefault(point.context_tokens, []).append(point)
    for line in lines.values():
        for left, right in pairwise(line):
            assert left.batch < right.batch
            assert left.tpot_s <= right.tpot_s
