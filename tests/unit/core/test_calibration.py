"""Calibration of the TTFT law: what is learnt, and when nothing is."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscaler.core.calibration import (
    GREATEST_CONDITION,
    OperatingPoint,
    QueueParameters,
    calibrate_ttft,
    mean_relative_error,
    mean_ttft_s,
)
from pdscaler.errors import InvalidInputError

SERVICE_S = 0.2
PRIOR = QueueParameters(overhead_s=0.1)
TRUTH = QueueParameters(0.06, 1.6, 0.92)


def measured(truth: QueueParameters, *rates: float, service_s: float = SERVICE_S) -> list[OperatingPoint]:
    return [OperatingPoint(rate, mean_ttft_s(truth, service_s, rate), service_s) for rate in rates]


WIDE = measured(TRUTH, 0.5, 1.5, 2.5, 3.2, 3.8, 4.2)


class TestLaw:
    def test_kappa_1_is_mm1(self) -> None:
        capacity_rps, rate = 5.0, 3.0
        assert mean_ttft_s(QueueParameters(), 1 / capacity_rps, rate) == pytest.approx(1 / (capacity_rps - rate))

    def test_kappa_one_half_is_md1(self) -> None:
        # Pollaczek–Khinchine with constant service: rho S / (2 (1 - rho)) of waiting.
        assert mean_ttft_s(QueueParameters(0.0, 0.5), 0.1, 8.0) == pytest.approx(0.1 + 0.8 * 0.1 / (2 * 0.2))

    @pytest.mark.parametrize("rate", [5.0, 5.0000001, 100.0])
    def test_from_saturation_on_it_is_infinite(self, rate: float) -> None:
        assert math.isinf(mean_ttft_s(QueueParameters(), 0.2, rate))


class TestFit:
    def test_the_truth_is_found(self) -> None:
        result = calibrate_ttft(WIDE, PRIOR)
        assert result.applied
        assert result.parameters.overhead_s == pytest.approx(TRUTH.overhead_s, abs=0.01)
        assert result.parameters.kappa == pytest.approx(TRUTH.kappa, rel=0.1)
        assert result.parameters.derate == pytest.approx(TRUTH.derate, rel=0.02)
        assert result.mean_error < 0.01 < result.prior_error
        assert "mean error" in result.note
        assert "6 operating points" in result.note

    def test_the_length_mix_may_differ_between_points(self) -> None:
        mixed = [*measured(TRUTH, 0.5, 2.0, 3.5, service_s=0.2), *measured(TRUTH, 1.0, 4.0, 7.0, service_s=0.1)]
        result = calibrate_ttft(mixed, PRIOR)
        assert result.applied
        assert result.mean_error < 0.02

    def test_an_outlier_pulls_little(self) -> None:
        loads = [*WIDE, *measured(TRUTH, 1.0, 2.0, 3.0)]
        wrong = OperatingPoint(2.2, 10 * mean_ttft_s(TRUTH, SERVICE_S, 2.2), SERVICE_S)
        result = calibrate_ttft([*loads, wrong], PRIOR)
        assert result.applied
        assert mean_relative_error(result.parameters, loads) < 0.05

    def test_a_strange_prior_does_not_hold_what_the_data_say(self) -> None:
        result = calibrate_ttft(WIDE, QueueParameters(0.5, 4.0, 1.4))
        assert result.mean_error < 0.03


class TestGuard:
    @pytest.mark.parametrize(
        ("points", "different"),
        [
            ([], "0 operating points"),
            (WIDE[:1], "1 operating point,"),
            (WIDE[:2], "2 operating points"),
            (WIDE[:1] * 50, "1 operating point,"),
            (measured(TRUTH, 2.0, 2.01, 2.02, 2.03), "1 operating point,"),
        ],
    )
    def test_too_few_loads_leave_the_prior(self, points: list[OperatingPoint], different: str) -> None:
        result = calibrate_ttft(points, PRIOR)
        assert not result.applied
        assert result.parameters == PRIOR
        assert different in result.note
        assert result.note.startswith("not calibrated: ")
        assert math.isinf(result.condition)

    def test_loads_that_lie_close_together_leave_the_prior(self) -> None:
        result = calibrate_ttft(measured(TRUTH, 2.0, 2.2, 2.4, 2.6), PRIOR)
        assert not result.applied
        assert result.parameters == PRIOR
        assert result.condition > GREATEST_CONDITION
        assert "vary the load more" in result.note

    def test_an_overload_that_cannot_last_leaves_the_prior(self) -> None:
        result = calibrate_ttft([*WIDE, OperatingPoint(10.5, 8.0, SERVICE_S)], PRIOR)
        assert not result.applied
        assert result.parameters == PRIOR
        assert "steady" in result.note
        assert math.isinf(result.prior_error)

    @pytest.mark.parametrize(
        ("point", "field"),
        [
            (OperatingPoint(0.0, 1.0, 0.2), "points[6].rate_rps"),
            (OperatingPoint(-1.0, 1.0, 0.2), "points[6].rate_rps"),
            (OperatingPoint(1.0, math.nan, 0.2), "points[6].ttft_s"),
            (OperatingPoint(1.0, 1.0, math.inf), "points[6].service_s"),
        ],
    )
    def test_a_bad_point_is_named(self, point: OperatingPoint, field: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            calibrate_ttft([*WIDE, point], PRIOR)
        assert caught.value.field == field

    @pytest.mark.parametrize(
        ("prior", "field"),
        [
            (QueueParameters(-0.1), "prior.overhead_s"),
            (QueueParameters(0.0, 0.0), "prior.kappa"),
            (QueueParameters(0.0, 1.0, math.nan), "prior.derate"),
        ],
    )
    def test_a_bad_prior_is_named(self, prior: QueueParameters, field: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            calibrate_ttft(WIDE, prior)
        assert caught.value.field == field


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.02, 1.9), st.floats(0.5, 20.0)), min_size=3, max_size=8, unique=True),
    st.builds(QueueParameters, st.floats(0, 1), st.floats(0.2, 5), st.floats(0.6, 1.8)),
)
def test_any_points_give_parameters_within_the_bounds_whatever_their_order(
    rows: list[tuple[float, float]], prior: QueueParameters
) -> None:
    points = [OperatingPoint(load / SERVICE_S, stretch * SERVICE_S, SERVICE_S) for load, stretch in rows]
    result = calibrate_ttft(points, prior)
    assert calibrate_ttft(points[::-1], prior).parameters == result.parameters
    fitted = result.parameters
    assert fitted.overhead_s >= 0
    assert 0.05 <= fitted.kappa <= 20.001
    assert 0.5 <= fitted.derate <= 2.001
    if result.applied:
        assert math.isfinite(result.mean_error), "every point that was served lies below the fitted saturation"
    else:
        assert fitted == prior
