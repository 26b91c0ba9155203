"""The days before the demo's: the same curve again and again, up to a moment before the load begins."""

import numpy as np
import pytest

from localplane.demo_history import DAYS, GAP_S, days_before
from localplane.demo_scenario import SAMPLES
from pdscaler.core.workload import LengthStats
from pdscaler.simulator.workload import Phase, read_phases

DAY = (
    Phase("low", 60.0, 10.0, LengthStats(500.0, 0.5), LengthStats(50.0)),
    Phase("rise", 40.0, 10.0, LengthStats(500.0, 0.5), LengthStats(50.0), 1.0, 90.0),
    Phase("high", 50.0, 90.0, LengthStats(1000.0, 0.5), LengthStats(200.0, 0.25)),
)
DAY_S = 150


def test_each_day_begins_a_day_before_the_next() -> None:
    past = days_before(DAY, np.random.default_rng(0), 40)
    assert (past.times_s[0], past.times_s[-1]) == (-40 * DAY_S, -GAP_S)
    assert (np.diff(past.counters) >= 0).all()
    rates = np.diff(past.counters[0])
    phase = past.times_s[:-1] % DAY_S
    assert rates[phase < 60].mean() == pytest.approx(10.0, rel=0.03)
    assert rates[(phase >= 79) & (phase < 81)].mean() == pytest.approx(50.0, rel=0.06)
    assert rates[phase >= 100].mean() == pytest.approx(90.0, rel=0.03)


def test_the_lengths_are_those_of_the_last_phase() -> None:
    requests, input_tokens, output_tokens = days_before(DAY, np.random.default_rng(1), 40).counters
    assert input_tokens[-1] / requests[-1] == pytest.approx(1000.0, rel=0.01)
    assert output_tokens[-1] / requests[-1] == pytest.approx(200.0, rel=0.01)
    assert input_tokens[0] == output_tokens[0] == requests[0] == 0


def test_the_samples_past_is_long_enough_to_find_a_day_in() -> None:
    phases = read_phases(SAMPLES / "phases.yaml")
    day_s = sum(phase.duration_s for phase in phases)
    assert DAYS * day_s > 3600
    assert phases[-1].isl == phases[0].isl, "the usual mix, not the one that turned"
