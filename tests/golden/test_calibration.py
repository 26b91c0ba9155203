"""The paper's four measured TTFT curves (MODEL section 1): the law fits each of them once it is calibrated."""

import pytest

from pdscaler.core.calibration import (
    Calibration,
    OperatingPoint,
    QueueParameters,
    calibrate_ttft,
    mean_relative_error,
    mean_ttft_s,
)

CURVES = {
    "H20, Qwen3-235B, in 4096, chunk 4096": (
        2.369,
        ((0.3, 0.609), (0.6, 0.70), (0.9, 0.856), (1.2, 1.074), (1.5, 1.218), (1.8, 1.72), (2.0, 2.06), (2.1, 2.45)),
    ),
    "H20, Qwen3-235B, in 4096, chunk 12288": (
        2.952,
        (
            (0.4, 0.616),
            (0.6, 0.657),
            (0.9, 0.822),
            (1.2, 0.956),
            (1.5, 1.335),
            (1.8, 1.64),
            (2.0, 2.006),
            (2.1, 2.225),
            (2.3, 3.213),
        ),
    ),
    "H200, DeepSeek, in 12288, chunk 12288": (
        2.470,
        ((0.7, 0.994), (1.0, 1.114), (1.2, 1.345), (1.4, 1.561), (1.6, 1.823), (1.7, 2.016)),
    ),
    "H200, DeepSeek, in 6144, chunk 24576": (
        4.608,
        (
            (0.6, 0.325),
            (1.0, 0.38),
            (1.5, 0.403),
            (2.0, 0.467),
            (2.3, 0.572),
            (2.6, 0.582),
            (3.0, 0.803),
            (3.3, 0.896),
            (3.6, 1.131),
            (4.0, 1.525),
            (4.2, 2.42),
        ),
    ),
}
"""mu (requests/s of one replica without idle time), and (requests/s of one replica, measured mean TTFT in s)."""

PRIOR = QueueParameters(overhead_s=0.1)
"""What the profile of the paper's scenario says: T_ov 0.1 s, one M/M/1 queue."""


def points_of(name: str) -> list[OperatingPoint]:
    capacity_rps, curve = CURVES[name]
    return [OperatingPoint(rate, ttft_s, 1 / capacity_rps) for rate, ttft_s in curve]


def calibrated(name: str) -> Calibration:
    return calibrate_ttft(points_of(name), PRIOR)


@pytest.mark.parametrize("name", CURVES)
def test_each_curve_is_met_within_5_percent(name: str) -> None:
    result = calibrated(name)
    assert result.applied
    assert result.mean_error <= 0.05
    assert result.mean_error < result.prior_error


@pytest.mark.parametrize(
    ("name", "overhead_s", "kappa", "derate", "error", "uncalibrated"),
    [
        ("H20, Qwen3-235B, in 4096, chunk 4096", 0.182, 1.76, 1.180, 0.026, 0.215),
        ("H20, Qwen3-235B, in 4096, chunk 12288", 0.154, 1.93, 0.975, 0.027, 0.439),
        ("H200, DeepSeek, in 12288, chunk 12288", 0.355, 1.44, 1.001, 0.019, 0.394),
        ("H200, DeepSeek, in 6144, chunk 24576", 0.081, 1.23, 1.026, 0.042, 0.169),
    ],
)
def test_what_is_fitted(
    name: str, overhead_s: float, kappa: float, derate: float, error: float, uncalibrated: float
) -> None:
    result = calibrated(name)
    assert result.parameters.overhead_s == pytest.approx(overhead_s, rel=0.01)
    assert result.parameters.kappa == pytest.approx(kappa, rel=0.01)
    assert result.parameters.derate == pytest.approx(derate, rel=0.005)
    assert result.mean_error == pytest.approx(error, abs=0.0006)
    # Equation 12 without overhead, as the paper states it: M/M/1 at the benchmarked throughput.
    assert mean_relative_error(QueueParameters(), points_of(name)) == pytest.approx(uncalibrated, abs=0.0006)


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_fitted_without_its_highest_load_predicts_it(name: str) -> None:
    *known, last = points_of(name)
    result = calibrate_ttft(known, PRIOR)
    assert result.applied
    predicted_s = mean_ttft_s(result.parameters, last.service_s, last.rate_rps)
    # Near saturation a per cent of throughput is tens of per cent of TTFT; the plan must still be of the right size.
    assert predicted_s == pytest.approx(last.ttft_s, rel=0.25)
