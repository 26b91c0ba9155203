"""What load to expect: from what was observed to what is sized for. May import numpy, scipy, core, units and errors.

Use: :func:`start` with the history read back from Prometheus, :func:`observe` (or :func:`observe_reading`) each
period, then :func:`forecast` for status and :func:`forecaster_of` for ``plan``. Everything is a value and pure; the
state after a restart is the state without one (see ``live``).

A forecast is the quantile of the highest one-minute rate between now and now + horizon, as that is what replicas have
to bear before any ordered later is ready. A *method* (last value, Holt–Winters, seasonal, ARIMA) says what peak it
expects; how far real peaks lie above, at which probability, is learned from the last hours (``quantiles``); Auto takes
the method with the least pinball loss in the rolling back-test (``choice``).
"""

from pdscaler.forecast.answer import forecast, forecaster_of
from pdscaler.forecast.history import History, aligned
from pdscaler.forecast.live import observe, observe_reading, start, with_settings
from pdscaler.forecast.method import Method
from pdscaler.forecast.result import Forecast, sized_for
from pdscaler.forecast.settings import ForecastSettings
from pdscaler.forecast.state import ForecastState

__all__ = [
    "Forecast",
    "ForecastSettings",
    "ForecastState",
    "History",
    "Method",
    "aligned",
    "forecast",
    "forecaster_of",
    "observe",
    "observe_reading",
    "sized_for",
    "start",
    "with_settings",
]
