"""What load to expect: from what was observed to what is sized for. May import numpy, scipy, core, units and errors.

Use: :func:`start` with the history read back from Prometheus, :func:`observe` (or :func:`observe_reading`) each
period, then :func:`forecast` for status and :func:`forecaster_of` for ``plan``. Everything is a value and pure; the
state after a restart is the state without one (see ``live``).

A forecast is the quantile of the highest one-minute rate between now and now + horizon, as that is what replicas have
to bear before any ordered later is ready. A *method* (last value, Holt–Winters, seasonal, ARIMA) says what peak it
expects; how far real peaks lie above, at which probability, is learned from the last hours (``quantiles``); Auto takes
the method with the least pinball loss in the rolling back-test (``choice``).

Measured on the two public traces and on seeded synthetic load, from 15 minutes (half an hour where it is longer) on,
at the quantile 0.98, without the widening for dispersion: share of time in which the peak of the horizon stayed below,
mean excess over it, pinball loss (thousandths of the mean peak). Beside it one headroom for all, level now × 1.5:

==================================  =====================  =====================  =====================
series, steps of 15 s               30 s ahead             135 s ahead            615 s ahead
==================================  =====================  =====================  =====================
Azure conversation 2023 ×20, 1 h    99.4 %, +11 %, 2.2     100 %, +29 %, 5.7      100 %, +57 %, 11.5
the same, level × 1.5               100 %, +48 %, 9.6      100 %, +38 %, 7.7      91.7 %, +25 %, 9.5
Azure code 2023 ×20, 1 h            100 %, +238 %, 47      100 %, +206 %, 41      100 %, +199 %, 40
the same, level × 1.5               69.5 %, +33 %, 132     40.0 %, -16 %, 360     25.0 %, -31 %, 395
bursty chat, 2 days                 97.6 %, +20 %, 5.2     97.2 %, +61 %, 18      95.5 %, +89 %, 31
the same, level × 1.5               99.6 %, +45 %, 9.3     81.1 %, +25 %, 42      48.0 %, -3 %, 152
reasoning at 4 requests/s, a day    97.2 %, +10 %, 2.5     98.5 %, +19 %, 4.2     97.4 %, +33 %, 7.6
three days with a daily wave        97.6 %, +4 %, 0.9      97.5 %, +10 %, 2.3     97.9 %, +22 %, 4.8
growth fivefold in a day            98.1 %, +4 %, 1.0      97.6 %, +7 %, 1.8      97.8 %, +11 %, 2.6
constant, 6 h                       98.2 %, +3 %, 0.8      97.4 %, +4 %, 1.1      100 %, +14 %, 2.8
==================================  =====================  =====================  =====================

One period costs 0.3 to 0.4 ms with all methods, a start from 6 hours of 15 s samples and 15 days of weeks 50 ms.
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
