import math

import numpy as np
import pytest

from pdscaler.forecast.dispersion import MOST_WIDENING, index_of_dispersion, widening
from pdscaler.forecast.quantiles import Ratios, pinball, pinball_losses, prior_ratio, student_factor


def _ratios(peaks: list[float], expected: list[float], steps: int = 1) -> Ratios:
    return Ratios.of(np.array(peaks), np.array(expected), steps, 15.0 * steps)


def test_the_quantile_is_weighted_with_what_was_expected() -> None:
    # A ratio of 10 at 1 request/s weighs nothing against 1.1 at 99.
    ratios = _ratios([10.0, 108.9, 99.0], [1.0, 99.0, 99.0])
    assert ratios.seen(0.99)[0] == pytest.approx(1.1)
    assert ratios.seen(0.999)[0] == pytest.approx(10.0)


def test_it_is_the_minimum_of_the_pinball_loss() -> None:
    rng = np.random.default_rng(3)
    expected = rng.uniform(1.0, 50.0, 400)
    peaks = expected * rng.lognormal(0.1, 0.3, 400)
    for quantile in (0.5, 0.9, 0.98):
        best = _ratios(peaks.tolist(), expected.tolist()).seen(quantile)[0]
        losses = [pinball_losses(peaks, expected * best * factor, quantile).sum() for factor in (0.99, 1.0, 1.01)]
        assert losses[1] == min(losses)


def test_the_loss_of_arrays_is_that_of_numbers() -> None:
    assert pinball_losses(np.array([12.0, 8.0]), np.array([10.0, 10.0]), 0.9).tolist() == pytest.approx(
        [pinball(12.0, 10.0, 0.9), pinball(8.0, 10.0, 0.9)]
    )


def test_adding_one_by_one_is_pairing_at_once() -> None:
    peaks, expected = [3.0, 1.0, 2.0, 5.0], [1.0, 2.0, 2.0, 4.0]
    grown = _ratios([], [])
    for peak, base in zip(peaks, expected, strict=True):
        grown = grown.added(peak, base)
    whole = _ratios(peaks, expected)
    assert grown.ratios.tolist() == whole.ratios.tolist()
    assert grown.seen(0.1, 0.5, 0.9) == whole.seen(0.1, 0.5, 0.9)


@pytest.mark.parametrize(("peak", "expected"), [(math.nan, 1.0), (1.0, 0.0), (1.0, math.nan), (1.0, math.inf)])
def test_a_pair_without_sense_is_left_out(peak: float, expected: float) -> None:
    assert len(_ratios([], []).added(peak, expected)) == 0
    assert len(_ratios([peak], [expected])) == 0


def test_short_history_is_wider_and_the_prior_fades() -> None:
    few, many = _ratios([1.0] * 18, [1.0] * 18, 9), _ratios([1.0] * 1440, [1.0] * 1440, 9)
    assert prior_ratio(0.98, 135.0) > few.quantile(0.98) > many.quantile(0.98) > 1.0
    assert many.quantile(0.98) == pytest.approx(1.0, abs=0.01)
    assert _ratios([], [], 9).quantile(0.98) == prior_ratio(0.98, 135.0)


def test_no_more_than_the_share_lies_above_and_no_less() -> None:
    rng = np.random.default_rng(9)
    expected = rng.uniform(1.0, 50.0, 5000)
    peaks = expected * rng.lognormal(0.0, 0.4, 5000)
    ratios = _ratios(peaks.tolist(), expected.tolist())
    for share in (0.005, 0.02, 0.1):
        above = np.maximum(0.0, peaks - expected * ratios.containing(share, 0.9)).sum() / peaks.sum()
        assert above == pytest.approx(share, rel=0.05)


def test_heavier_tails_ask_for_a_higher_share_of_the_peaks() -> None:
    rng = np.random.default_rng(10)
    shares = []
    for spread in (0.05, 0.2, 0.8):
        ratios = _ratios(rng.lognormal(0.0, spread, 4000).tolist(), [1.0] * 4000)
        shares.append(ratios.share_below(ratios.containing(0.015, 0.9), 0.9))
    assert shares == sorted(shares)
    assert shares[0] < 0.7 < 0.95 < shares[2]


def test_of_nothing_the_prior_is_what_contains() -> None:
    assert _ratios([], [], 9).containing(0.015, 0.9) == prior_ratio(0.9, 135.0)
    assert _ratios([], [], 9).share_below(1.2, 0.9) == 0.9
    assert _ratios([0.0, 0.0], [1.0, 1.0], 9).containing(0.015, 0.9) == prior_ratio(0.9, 135.0)


def test_student_widens_what_few_peaks_show() -> None:
    assert student_factor(0.98, 3.0) > student_factor(0.98, 10.0) > student_factor(0.98, 1000.0) > 1.0
    assert student_factor(0.98, 1e6) == pytest.approx(1.0, abs=1e-3)


def test_the_index_of_dispersion_is_one_for_poisson_and_twenty_for_copies() -> None:
    rng = np.random.default_rng(5)
    for copies in (1, 20):
        counts = copies * rng.poisson(30.0 * 15.0 / copies, 20_000)
        rates = counts / 15.0
        index = index_of_dispersion(float((np.diff(rates) ** 2).mean()), float(rates.mean()), 15.0, 1)
        assert index == pytest.approx(copies, rel=0.05)


def test_overlapping_samples_show_the_same_dispersion() -> None:
    rng = np.random.default_rng(6)
    rates = rng.poisson(450.0, 20_000) / 15.0
    minutes = np.convolve(rates, np.full(4, 0.25), mode="valid")
    index = index_of_dispersion(float((np.diff(minutes) ** 2).mean()), 30.0, 15.0, 4)
    assert index == pytest.approx(1.0, rel=0.05)


def test_nothing_is_known_of_nothing() -> None:
    assert index_of_dispersion(math.nan, 3.0, 15.0, 1) is None
    assert index_of_dispersion(1.0, 0.0, 15.0, 1) is None
    assert widening(100.0, None, 1.0, 60.0) == 0.0


def test_widening_is_bounded() -> None:
    assert widening(1.0, 1e9, 1.0, 60.0) == MOST_WIDENING
