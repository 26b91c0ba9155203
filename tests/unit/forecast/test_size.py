"""A forecast stays small: a thousand of them live in one operator."""

import numpy as np
import pytest

from pdscaler.forecast import ForecastSettings, ForecastState, History, start

END_S = 1_800_000_000.0


def history(count: int, step_s: float) -> History:
    rng = np.random.default_rng(1)
    rate = 50.0 + 30.0 * np.sin(np.arange(count) * step_s / 13_750.0) + rng.normal(size=count)
    lengths = {"isl_mean": rate * 20, "isl_scv": rate / 50, "osl_mean": rate * 4, "osl_scv": rate / 50}
    return History.of(step_s, END_S, rate, **lengths, window_s=60.0)


def arrays_kib(state: ForecastState) -> float:
    """Memory that the state's arrays hold on to, what they are views of included."""
    ratios = [track.ratios for track in state.tracks] + list(state.drifts)
    arrays = [state.history.values, state.coarse.values]
    arrays += [array for found in ratios for array in (found.ratios, found.weights)]
    held = {id(whole): whole for array in arrays for whole in [array if array.base is None else array.base]}
    return sum(whole.nbytes for whole in held.values()) / 1024


@pytest.mark.parametrize(("samples", "weeks", "most_kib"), [(240, 0, 25.0), (2260, 4320, 150.0)])
def test_it_stays_small(samples: int, weeks: int, most_kib: float) -> None:
    """After an hour at 15 s; after nine hours, with fifteen days at five minutes."""
    coarse = history(weeks, 300.0) if weeks else None
    state = start(ForecastSettings(horizon_s=135.0), history(samples, 15.0), coarse)
    assert len(state.tracks) >= 3
    assert arrays_kib(state) <= most_kib


def test_the_time_before_anything_was_known_takes_nothing() -> None:
    known = history(20, 15.0)
    padded = History.of(15.0, END_S, np.concatenate([np.full(2240, np.nan), known.rate_rps]), window_s=60.0)
    assert arrays_kib(start(ForecastSettings(horizon_s=135.0), padded)) < 3.0
