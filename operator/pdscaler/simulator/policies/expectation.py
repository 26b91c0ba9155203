"""What load a replayed operator expects, from what it has seen so far. May import core and forecast.

The seam between the replay and the forecast: ``plan`` asks a forecaster, and whoever keeps a history makes one anew at
every evaluation.
"""

from dataclasses import replace
from typing import Protocol

from pdscaler.core.plan import Forecaster
from pdscaler.core.spec import ScalingSpec
from pdscaler.core.workload import WorkloadStats
from pdscaler.forecast import ForecastSettings, History, Method, forecaster_of, observe_reading, start
from pdscaler.forecast.last_value import last_value
from pdscaler.simulator.observation import Observation

RATE_WINDOW_S = 60.0
"""Window of the rates in the history: an operator asks Prometheus for ``rate(…[1m])`` at every period."""


class Expectation(Protocol):
    """Keeps what a forecast needs of the past."""

    def forecaster(self, observation: Observation, now_s: float) -> Forecaster:
        """Take what is seen now, and return what to expect of the time ahead."""


class LastValueExpectation:
    """Expects what is seen."""

    def forecaster(self, observation: Observation, now_s: float) -> Forecaster:  # noqa: ARG002 - a protocol
        """Return the identity."""
        return last_value


class LearnedExpectation:
    """Keeps a history of rates and lengths, and forecasts an upper quantile of the next peak from it.

    Parameters
    ----------
    spec
        For the horizon (the longer start-up and one period) and the step.
    method, quantile
        See :class:`pdscaler.forecast.ForecastSettings`; None: its own default.
    """

    def __init__(self, spec: ScalingSpec, method: Method = Method.AUTO, quantile: float | None = None) -> None:
        settings = ForecastSettings(horizon_s=spec.horizon_s, method=method)
        self._settings = settings if quantile is None else replace(settings, quantile=quantile)
        self._step_s = spec.evaluation_period_s
        self._state = start(self._settings, History.empty(self._step_s, 0.0, RATE_WINDOW_S))
        self._started = False

    def forecaster(self, observation: Observation, now_s: float) -> Forecaster:
        """Add the last minute to the history, and forecast."""
        if not self._started:
            self._started = True
            self._state = start(self._settings, History.empty(self._step_s, now_s - self._step_s, RATE_WINDOW_S))
        self._state = observe_reading(self._state, last_minute(observation), now_s)
        return forecaster_of(self._state)


def last_minute(observation: Observation) -> WorkloadStats | None:
    """Return the load of the last minute, as a history keeps it; None where it is not known yet."""
    window = observation.window(RATE_WINDOW_S)
    if window is None:
        return None
    return WorkloadStats(
        window.rate_rps, window.lengths("isl"), window.lengths("osl"), prefix_hit_ratio=window.prefix_hit_ratio
    )
