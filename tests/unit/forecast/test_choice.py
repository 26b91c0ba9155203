import math
from dataclasses import replace

import numpy as np
import pytest

from pdscaler.forecast.choice import MARGIN, chosen, decay, rehearsed_choice
from pdscaler.forecast.levels import peaks_after, recent_peaks, running_means
from pdscaler.forecast.method import Grid, LastValue
from pdscaler.forecast.online import Blend, Context, ceiling, fresh_track, loss_of, rehearse
from pdscaler.forecast.quantiles import prior_ratio
from support.forecasts import GAP, poisson

GRID = Grid(15.0, 9, 1, 1, 0.95)
Series = np.ndarray[tuple[int], np.dtype[np.float64]]


def _context(level: Series) -> Context:
    return Context(recent_peaks(level, 40), running_means(level, 480), np.maximum.accumulate(level))


def test_the_plain_expectation_suits_steady_load() -> None:
    level = 30.0 * np.exp(np.cumsum(np.random.default_rng(0).normal(0.0, 0.03, 1000)))
    done = rehearse(LastValue(), (level, ()), peaks_after(level, 9), _context(level), GRID)
    assert done.track.blend == Blend()


def test_bursts_to_one_height_are_remembered_or_expected_on_average() -> None:
    on = np.random.default_rng(1).random(1000) < 0.2
    level = np.where(on, 100.0, 1.0)
    done = rehearse(LastValue(), (level, ()), peaks_after(level, 9), _context(level), GRID)
    assert done.track.blend.remembers or done.track.blend.mean_share >= 0.5
    quiet = done.forecasts[500:-9][~on[500:-9]]
    assert quiet.min() == pytest.approx(100.0, rel=0.1)


def test_a_forecast_of_the_past_knows_only_the_past() -> None:
    level = 30.0 * np.exp(np.cumsum(np.random.default_rng(0).normal(0.0, 0.03, 600)))
    surge = level.copy()
    surge[550:] *= 3.0
    before, after = (
        rehearse(LastValue(), (each, ()), peaks_after(each, 9), _context(each), GRID) for each in (level, surge)
    )
    assert before.track.blend == after.track.blend  # its two shares are those of the whole window
    np.testing.assert_array_equal(before.forecasts[:525], after.forecasts[:525])


def test_no_ratio_learned_in_quiet_minutes_multiplies_busy_ones() -> None:
    level = np.tile(np.r_[np.ones(30), np.full(3, 100.0)], 20)
    done = rehearse(LastValue(), (level, ()), peaks_after(level, 9), _context(level), GRID)
    assert done.forecasts[300:].max() <= 100.0 * prior_ratio(0.95, 135.0)
    assert ceiling(50.0, 20.0, 0.5, done.track.ratios) == 50.0


def test_a_track_without_an_answer_has_no_forecast() -> None:
    track = fresh_track(LastValue(), GRID)
    assert math.isnan(track.rate_rps(0.95, 10.0))
    assert replace(track, point=10.0, base=10.0).rate_rps(0.95, 10.0) == 10.0 * prior_ratio(0.95, 135.0)


def test_a_peak_teaches_and_costs() -> None:
    track = fresh_track(LastValue(), GRID).scored(12.0, 10.0, 1.9, 0.5).scored(10.0, 10.0, 0.1, 0.5)
    assert track.loss == pytest.approx(1.9 * 0.5 + 0.1)
    assert track.ratios.ratios == pytest.approx([1.0, 1.2])


def test_what_a_missing_forecast_costs_is_what_the_fallback_costs() -> None:
    assert loss_of(10.0, GAP, 8.0, 0.9) == loss_of(10.0, 8.0, 3.0, 0.9) == pytest.approx(1.8)
    assert loss_of(GAP, 8.0, 8.0, 0.9) == loss_of(10.0, GAP, GAP, 0.9) == 0.0


def test_equals_do_not_take_turns() -> None:
    assert chosen([1.0, 1.0 - MARGIN / 2], 0) == 0
    assert chosen([1.0, 1.0 - MARGIN / 2], 1) == 1
    assert chosen([1.0, 1.0 - 2 * MARGIN], 0) == 1
    assert chosen([0.0, 0.0], 1) == 1


def test_the_better_one_of_the_last_hours_is_chosen() -> None:
    level = poisson(np.full(1440, 30.0))
    peaks = peaks_after(level, 9)
    context = _context(level)
    good = rehearse(LastValue(), (level, ()), peaks, context, GRID)
    bad = replace(good, forecasts=good.forecasts * 2.0)
    missing = replace(good, forecasts=np.full(1440, GAP))
    losses, best = rehearsed_choice([bad, good, missing], peaks, 0.95, 15.0)
    assert best == 1
    assert losses[0] == losses[2] > losses[1]
    assert rehearsed_choice([good, bad], peaks, 0.95, 15.0)[1] == 0


def test_losses_count_half_after_two_hours() -> None:
    assert decay(15.0) ** 480 == pytest.approx(0.5)
