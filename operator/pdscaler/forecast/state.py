"""What a forecast keeps from one sample to the next. May import numpy only; no behaviour of its own."""

from dataclasses import dataclass

from pdscaler.forecast.history import History
from pdscaler.forecast.method import Grid, Method
from pdscaler.forecast.online import Track
from pdscaler.forecast.quantiles import Ratios
from pdscaler.forecast.settings import ForecastSettings


@dataclass(frozen=True, slots=True)
class Pending:
    """What was forecast at one sample, until its horizon has passed.

    Parameters
    ----------
    bases, forecasts
        Per track, requests/s; NaN where it had no answer.
    mix_tokens
        Mean ISL and OSL then; NaN where unknown.
    """

    bases: tuple[float, ...]
    forecasts: tuple[float, ...]
    mix_tokens: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Running:
    """A running mean and how many values it is of."""

    mean: float
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class ForecastState:
    """All that the next sample needs; rebuilt from the history alone (see ``live``).

    Parameters
    ----------
    settings, grid
        What is asked, and in samples.
    history
        The last hours at the step of the evaluations.
    coarse
        Rates of weeks, in longer steps, up to the last fit.
    fitted_s
        When the models were fitted; NaN before the first sample.
    tracks
        The methods; the first is LastValue.
    present
        Index of the one that is used.
    missing
        Methods that could not be fitted, with the reason.
    levels
        The last levels, oldest first; NaN in gaps.
    level
        The last known one; NaN before there is any.
    highest_rps
        The highest since the window of the last fit began; NaN likewise.
    running
        Running mean of the levels.
    noise
        Running mean of squared differences of neighbouring rates.
    pending
        The forecasts whose horizon has not passed, oldest first.
    drifts
        Of ISL and OSL: tokens/s at their peak over (peak rate × mean length when it was forecast).
    largest_rps
        Highest level ever seen; 0 before there is any.
    """

    settings: ForecastSettings
    grid: Grid
    history: History
    coarse: History
    fitted_s: float
    tracks: tuple[Track, ...]
    present: int
    missing: tuple[tuple[Method, str], ...]
    levels: tuple[float, ...]
    level: float
    highest_rps: float
    running: Running
    noise: Running
    pending: tuple[Pending, ...]
    drifts: tuple[Ratios, Ratios]
    largest_rps: float
