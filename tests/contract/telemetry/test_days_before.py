"""The demo's past in a real Prometheus: the operator's reader gets it back, and the forecast sees a day in it."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from localplane.demo_history import DAYS, days_before, write_past
from localplane.demo_scenario import SAMPLES
from localplane.errors import LocalPlaneError
from localplane.prom import Prometheus
from localplane.toolset import Tools
from pdscaler.forecast import ForecastSettings, History, Method, forecast, start
from pdscaler.simulator.workload import read_phases
from pdscaler.telemetry.past import PastReader, Want
from pdscaler.telemetry.presets import load_presets
from support.subjects import subject

pytestmark = pytest.mark.prometheus

LABELS = {"namespace": "demo", "job": "frontdoor", "instance": "x", "model_name": "m", "target_model_name": "m"}


@pytest.fixture
async def reader() -> AsyncIterator[PastReader]:
    made = PastReader(load_presets(None))
    yield made
    made.close()


async def test_the_days_before_are_read_back_and_foreseen(
    prometheus_tools: Tools, tmp_path: Path, reader: PastReader
) -> None:
    phases = read_phases(SAMPLES / "phases.yaml")
    day_s = sum(phase.duration_s for phase in phases)
    # As if the load had begun so long ago that the morning's rise is 5 s ahead, and all of that were recorded too.
    morning_s = next(
        sum(other.duration_s for other in phases[:index])
        for index, phase in enumerate(phases)
        if phase.name == "morning"
    )
    begin_s = round(time.time()) + day_s - (morning_s - 5.0)
    past = days_before(phases, np.random.default_rng(0), DAYS + 1)
    known = past.times_s + begin_s <= time.time()
    cut = type(past)(past.times_s[known], past.counters[:, known])
    write_past(cut, begin_s, LABELS, prometheus_tools["promtool"], tmp_path / "data")
    with Prometheus(tmp_path, prometheus_tools) as server:
        door = subject(server.url, "demo", front_door_preset="LLMD")
        wanted = Want(door, 36_000.0, 0.0, 15.0, 5.0)
        found = (await reader.read([wanted], 20.0))[door.key]
    assert isinstance(found, History), found
    assert found.coverage(DAYS * day_s - 120.0) > 0.98
    rates = found.rate_rps
    ends_s = found.end_s - found.step_s * np.arange(len(found) - 1, -1, -1)
    phase_s = (ends_s - begin_s) % day_s
    surge = rates[(phase_s > 40.0) & (phase_s < 60.0)]
    assert np.nanmean(surge) == pytest.approx(90.0, rel=0.03)
    state = start(ForecastSettings(17.0, method=Method.SEASONAL, rate_window_s=15.0), found)
    ahead = forecast(state)
    assert (ahead.method, ahead.fallback) == (Method.SEASONAL, "")
    assert "period 3.5 min" in ahead.reason
    assert ahead.level_rps is not None
    assert ahead.expected_rps is not None
    assert ahead.expected_rps > 1.3 * ahead.level_rps


def test_a_past_that_cannot_be_written_says_why(prometheus_tools: Tools, tmp_path: Path) -> None:
    past = days_before(read_phases(SAMPLES / "phases.yaml"), np.random.default_rng(0), 1)
    with pytest.raises(LocalPlaneError, match="promtool could not write the past: "):
        write_past(past, 0.0, {"not a label": "x"}, prometheus_tools["promtool"], tmp_path / "data")
