"""What following a load costs: forecast and plan of one period, the replay of a day. Imports core and forecast."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench.commands import SAMPLES
from bench.figure import Figure
from bench.planning import RATIO, SPEC, WORKLOAD, evaluation

from pdscaler.core.spec import ScalingSpec
from pdscaler.core.workload import WorkloadStats
from pdscaler.forecast import ForecastSettings, ForecastState, History, forecaster_of, observe_reading, start

PERIOD_S = 15.0
DAY_S, DAY_RPS = 86_400, 4.05
"""350 000 requests."""


def figures(quick: bool = False) -> Iterator[Figure]:
    """Measure both; ``quick`` plays half an hour of the day only."""
    times_ms = list(_periods_ms(40 if quick else 480))
    yield Figure("forecast_and_plan_median", statistics.median(times_ms), "ms", 2.0)
    yield Figure("replay_day_time", _replay_s(1800 if quick else DAY_S), "s", 30.0)


def _periods_ms(count: int) -> Iterator[float]:
    """Yield the time of an observation, its forecast by method Auto and the plan, for so many periods in a row."""
    spec = ScalingSpec(replace(SPEC, constraints=replace(RATIO, max_gpus=600)))
    state, rng = _ten_hours(), np.random.default_rng(1)

    def expect(workload: WorkloadStats, horizon_s: float) -> WorkloadStats:
        return forecaster_of(state)(workload, horizon_s)

    decide = evaluation(spec, expect)
    for number in range(count):
        seen = replace(WORKLOAD, arrival_rate_rps=WORKLOAD.arrival_rate_rps * float(rng.normal(1.0, 0.02)))
        begin = time.perf_counter()
        state = observe_reading(state, seen, (number + 1) * PERIOD_S)
        decide(seen)
        yield 1000 * (time.perf_counter() - begin)


def _ten_hours() -> ForecastState:
    """Return a forecast with all methods, from a history as long as it keeps."""
    settings = ForecastSettings(horizon_s=195.0)
    steps = int(settings.keep_s // PERIOD_S)
    wave = 1.0 + 0.3 * np.sin(np.arange(steps) / 200.0)
    rates = WORKLOAD.arrival_rate_rps * wave * np.random.default_rng(0).normal(1.0, 0.02, steps)
    lengths = {"isl_mean": 3000.0, "isl_scv": 0.9, "osl_mean": 250.0, "osl_scv": 0.6}
    columns = {name: np.full(steps, value) for name, value in lengths.items()}
    return start(settings, History.of(PERIOD_S, 0.0, rates, **columns, window_s=60.0))


def _replay_s(length_s: int) -> float:
    """Return the time of the whole command, the clairvoyant schedule and the lower bound included."""
    with tempfile.TemporaryDirectory() as folder:
        phases = Path(folder) / "day.yaml"
        phases.write_text(
            f"phases:\n- {{name: day, duration: {length_s}s, arrivalRate: {DAY_RPS}, "
            "inputTokens: {mean: 2000, scv: 1}, outputTokens: {mean: 400, scv: 1}}\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "pdscaler", "replay", "-f", str(SAMPLES / "deepseek-v31.yaml")]
        begin = time.perf_counter()
        subprocess.run([*command, "--phases", str(phases), "-o", "json"], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begin
