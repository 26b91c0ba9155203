"""What a forecasting method offers, and what it is given. May import numpy, core and errors only.

A method answers one question at every sample: the highest level expected within the horizon. How far the real peak lies
above, at which probability, is learned for every method alike (``quantiles``), so that a method need not be unbiased:
only its ratio to the peaks that follow has to be steady.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pdscaler.forecast.history import History

Array = NDArray[np.float64]
Carry = tuple[float, ...]
"""What a model hands from one sample to the next."""


class Method(StrEnum):
    """The methods by the names of ``spec.forecast.method``."""

    LAST_VALUE = "LastValue"
    HOLT_WINTERS = "HoltWinters"
    SEASONAL = "Seasonal"
    ARIMA = "ARIMA"
    AUTO = "Auto"


@dataclass(frozen=True, slots=True)
class Grid:
    """The units of a forecast in samples.

    Parameters
    ----------
    step_s
        Seconds between samples.
    horizon_steps
        Samples within the horizon, at least 1.
    level_steps
        Samples that make one level.
    overlap_steps
        Samples that one sample of the rate already spans.
    quantile
        At which the methods are fitted and compared.
    """

    step_s: float
    horizon_steps: int
    level_steps: int
    overlap_steps: int
    quantile: float

    @property
    def horizon_s(self) -> float:
        """Seconds that the horizon's samples span."""
        return self.horizon_steps * self.step_s


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The last hours, as a method sees them when it is fitted.

    Parameters
    ----------
    grid
        See there.
    end_s
        Time of the last sample.
    rate_rps
        Rates of the samples; NaN in gaps.
    level_rps
        Mean of the last minute, held through gaps.
    peak_rps
        Highest level of the horizon after each sample; NaN where not known (yet).
    coarse
        Weeks, in longer steps, up to ``end_s``.
    """

    grid: Grid
    end_s: float
    rate_rps: Array
    level_rps: Array
    peak_rps: Array
    coarse: History

    def __len__(self) -> int:
        return self.rate_rps.size


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample more, as a method sees it.

    Parameters
    ----------
    at_s
        Its time.
    rate_rps
        Its rate; NaN in a gap.
    level_rps
        Mean of the last minute, held through gaps.
    """

    at_s: float
    rate_rps: float
    level_rps: float


class Model(Protocol):
    """A method fitted to a window: its parameters."""

    @property
    def method(self) -> Method:
        """Which method it is."""
        ...

    @property
    def text(self) -> str:
        """The fitted parameters in a few words."""
        ...

    def replay(self, window: Window) -> tuple[Array, Carry]:
        """Return the peaks expected at every sample of the window from what was known then; and what to go on with."""
        ...

    def step(self, carry: Carry, sample: Sample) -> tuple[Carry, float]:
        """Go on by one sample: what to go on with, and the peak expected now; NaN where the method has no answer."""
        ...


@dataclass(frozen=True, slots=True)
class LastValue:
    """The level stays as it is."""

    method: Method = Method.LAST_VALUE
    text: str = "the level of the last minute"

    def replay(self, window: Window) -> tuple[Array, Carry]:
        """Expect at every sample its level."""
        return window.level_rps, ()

    def step(self, carry: Carry, sample: Sample) -> tuple[Carry, float]:
        """Expect the level."""
        return carry, sample.level_rps
