"""The synthetic traces: rates, lengths, spread of the gaps, determinism."""

import math
from dataclasses import replace

import numpy as np
import pytest
from bench.policy.generators import HOUR_S, SHAPES, generate, wander

from pdscaler.errors import InvalidInputError

HOURS = 0.5


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_seed_gives_the_same_requests_and_a_cut_is_the_beginning(name: str) -> None:
    shape = SHAPES[name]
    one, again = generate(shape, 7, hours=HOURS), generate(shape, 7, hours=HOURS)
    np.testing.assert_array_equal(one.arrival_s, again.arrival_s)
    np.testing.assert_array_equal(one.output_tokens, again.output_tokens)
    shorter = generate(shape, 7, hours=HOURS / 2)
    assert 0 < len(shorter) < len(one)
    np.testing.assert_array_equal(shorter.arrival_s, one.arrival_s[: len(shorter)])
    np.testing.assert_array_equal(shorter.input_tokens, one.input_tokens[: len(shorter)])
    other = generate(shape, 8, hours=HOURS)
    assert len(other) != len(one) or (other.arrival_s != one.arrival_s).any()
    assert (np.diff(one.arrival_s) >= 0).all()
    assert 0 <= one.arrival_s[0] <= one.arrival_s[-1] < HOURS * HOUR_S
    assert one.input_tokens.min() >= 1
    assert one.output_tokens.min() >= 1
    assert not one.prefix_hit_tokens.any()


def counted(name: str, begin_s: float, end_s: float) -> float:
    """Requests per second between two points of time."""
    arrival_s = generate(SHAPES[name], 0).arrival_s
    return float(((arrival_s >= begin_s) & (arrival_s < end_s)).sum()) / (end_s - begin_s)


def test_the_rates_are_what_the_titles_say() -> None:
    assert counted("constant", 0.0, 7200.0) == pytest.approx(60.0, rel=0.01)
    assert counted("step", 0.0, 3600.0) == pytest.approx(30.0, rel=0.02)
    assert counted("step", 3610.0, 5400.0) == pytest.approx(90.0, rel=0.02)
    assert counted("step", 5410.0, 7200.0) == pytest.approx(45.0, rel=0.02)
    assert counted("slow-growth", 0.0, 600.0) == pytest.approx(20.0 + 20.0 / 12, rel=0.1)
    assert counted("slow-growth", 3.8 * HOUR_S, 4 * HOUR_S) == pytest.approx(98.0, rel=0.1)


def test_a_day_has_a_night() -> None:
    arrival_s = generate(SHAPES["diurnal"], 0).arrival_s
    by_hour = np.histogram(arrival_s, 24, (0, 24 * HOUR_S))[0] / HOUR_S
    assert by_hour.argmax() in range(9, 15)
    assert by_hour.max() == pytest.approx(42.0, rel=0.15)
    assert by_hour.min() == pytest.approx(6.0, rel=0.2)


def test_a_flash_crowd_quadruples_within_minutes() -> None:
    arrival_s = generate(SHAPES["flash-crowd"], 0).arrival_s
    by_minute = np.histogram(arrival_s, 180, (0, 3 * HOUR_S))[0] / 60
    assert np.median(by_minute) == pytest.approx(30.0, rel=0.2)
    assert by_minute.max() == pytest.approx(120.0, rel=0.1)
    jumps = by_minute[3:] - by_minute[:-3]
    assert (jumps > 70).any()


def test_on_off_has_both() -> None:
    arrival_s = generate(SHAPES["on-off"], 0).arrival_s
    by_minute = np.histogram(arrival_s, 180, (0, 3 * HOUR_S))[0] / 60
    on, off = (by_minute > 70).mean(), (by_minute < 8).mean()
    assert on > 0.2
    assert off > 0.3
    assert on + off > 0.6


def test_the_mix_drifts_from_summarising_to_reasoning() -> None:
    requests = generate(SHAPES["mix-drift"], 0)
    first, last = requests.arrival_s < 0.7 * HOUR_S, requests.arrival_s > 2.3 * HOUR_S
    assert requests.input_tokens[first].mean() == pytest.approx(4000, rel=0.03)
    assert requests.output_tokens[first].mean() == pytest.approx(120, rel=0.03)
    assert requests.input_tokens[last].mean() == pytest.approx(600, rel=0.03)
    assert requests.output_tokens[last].mean() == pytest.approx(1200, rel=0.03)
    spread = requests.output_tokens[last].var() / requests.output_tokens[last].mean() ** 2
    assert spread == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("scv", [0.0, 1.0, 4.0])
def test_gaps_and_lengths_have_their_spread(scv: float) -> None:
    shape = replace(SHAPES["constant"], arrival_scv=scv)
    requests = generate(shape, 3)
    gaps = np.diff(requests.arrival_s)
    assert gaps.mean() == pytest.approx(1 / 60, rel=0.02)
    assert gaps.var() / gaps.mean() ** 2 == pytest.approx(scv, rel=0.05, abs=1e-3)
    assert requests.input_tokens.mean() == pytest.approx(1100, rel=0.01)
    assert requests.input_tokens.var() / requests.input_tokens.mean() ** 2 == pytest.approx(0.8, rel=0.05)


def test_the_rate_scales() -> None:
    shape = SHAPES["on-off"]
    one, twice = generate(shape, 0), generate(shape, 0, rate_scale=2.0)
    assert len(twice) == pytest.approx(2 * len(one), rel=0.02)
    with pytest.raises(InvalidInputError, match="rate_scale: is 0, expected a number above 0"):
        generate(shape, 0, rate_scale=0)
    with pytest.raises(InvalidInputError, match="nothing arrives at 1e-09 times the rate"):
        generate(shape, 0, rate_scale=1e-9)


def test_a_wandering_rate_is_stationary() -> None:
    path = wander(np.random.default_rng(0), 400_000, 120.0, 0.3)
    assert path.mean() == pytest.approx(0.0, abs=0.02)
    assert path.std() == pytest.approx(0.3, rel=0.05)
    lagged = np.corrcoef(path[:-24], path[24:])[0, 1]  # 24 steps of 5 s are 120 s
    assert lagged == pytest.approx(math.exp(-1), abs=0.05)
