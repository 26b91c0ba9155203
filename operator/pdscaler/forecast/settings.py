"""How a forecast is made: horizon, quantile, windows. May import core and errors only."""

import math
from dataclasses import dataclass

from pdscaler.errors import InvalidInputError
from pdscaler.forecast.levels import level_samples
from pdscaler.forecast.method import Grid, Method

COARSE_STEP_S = 300.0
"""Step of the history that seasons are looked for in."""

COARSE_KEEP_S = 15 * 86_400.0
"""How much of it is kept: Prometheus keeps 15 days where nobody says otherwise."""

FIT_EVERY_S = 3600.0
"""Models are fitted at multiples of this (plus the offset), from the window before: the same whenever a process
started."""

FIT_EARLY_S = 300.0
YOUNG_S = 3 * 3600.0
"""While there is less history than this, they are fitted every :data:`FIT_EARLY_S`."""


@dataclass(frozen=True, slots=True)
class ForecastSettings:
    """What one PDDeployment asks of its forecast.

    Parameters
    ----------
    horizon_s
        How far ahead, seconds: the longer start-up plus one evaluation period.
    quantile
        Share of the load for which the peak of the horizon stays below the forecast, in [0.5, 1): what methods are
        compared at, and what is sized for while nothing is known of the load.
    overflow
        Share of the peaks' load that may lie above what is sized for, in (0, 1)
        (:meth:`pdscaler.forecast.quantiles.Ratios.containing`). Lower costs GPUs and misses less. None: always
        :attr:`quantile`.
    method
        Auto chooses by back-test at this quantile and horizon.
    rate_window_s
        Rates are averaged over so long; shorter follows noise, longer hides bursts.
    mix_window_s
        Lengths are averaged over so long.
    window_s
        The last hours, from which ratios are learned and models are fitted: longer is steadier, shorter forgets sooner.
    memory_s
        How far back a recent peak counts, where remembering it pays.
    mean_window_s
        Of the running mean that quiet load is expected to come back to.
    dispersion_weight
        How many standard deviations of the arrivals' noise beyond Poisson are added to the quantile; 0: none.
    offset_s
        Shifts the fits in time, below :data:`FIT_EVERY_S`: so that a thousand deployments are not fitted at once.
        Derive it from the name, so that it outlives a restart.
    """

    horizon_s: float
    quantile: float = 0.9
    overflow: float | None = 0.015
    method: Method = Method.AUTO
    rate_window_s: float = 60.0
    mix_window_s: float = 900.0
    window_s: float = 6 * 3600.0
    memory_s: float = 600.0
    mean_window_s: float = 7200.0
    dispersion_weight: float = 1.5
    offset_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.quantile < 1:
            raise InvalidInputError("forecast.quantile", f"is {self.quantile:g}, expected a number in [0.5, 1)")
        if self.overflow is not None and not 0 < self.overflow < 1:
            raise InvalidInputError("forecast.overflow", f"is {self.overflow:g}, expected a number in (0, 1)")
        for name in ("horizon_s", "rate_window_s", "mix_window_s", "window_s", "memory_s", "mean_window_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidInputError(f"forecast.{name}", f"is {getattr(self, name)}, expected seconds above 0")
        if not 0 <= self.dispersion_weight < math.inf:
            raise InvalidInputError("forecast.dispersion_weight", "expected a number of at least 0")
        if not 0 <= self.offset_s < FIT_EVERY_S:
            raise InvalidInputError("forecast.offset_s", f"expected seconds in [0, {FIT_EVERY_S:g})")

    def grid(self, step_s: float, sample_window_s: float) -> Grid:
        """Return the units in samples of a history."""
        return Grid(
            step_s=step_s,
            horizon_steps=max(1, math.ceil(self.horizon_s / step_s - 1e-9)),
            level_steps=level_samples(self.rate_window_s, sample_window_s, step_s),
            overlap_steps=max(1, round(sample_window_s / step_s)),
            quantile=self.quantile,
        )

    @property
    def warm_up_s(self) -> float:
        """Seconds before the window that its first levels, mixes and recent peaks look back."""
        return max(self.rate_window_s, self.mix_window_s, self.memory_s)

    @property
    def keep_s(self) -> float:
        """How much of the history at the evaluation's step is needed: also what to ask of Prometheus at a start."""
        return self.window_s + self.warm_up_s + max(FIT_EVERY_S, YOUNG_S) + self.horizon_s

    def fitted_at(self, now_s: float, first_known_s: float | None) -> float:
        """Return the time of the newest fit not after ``now_s``, seconds since the epoch."""
        hourly = _floor(now_s, FIT_EVERY_S, self.offset_s)
        if first_known_s is None:
            return hourly
        return max(hourly, _floor(min(now_s, first_known_s + YOUNG_S), FIT_EARLY_S, self.offset_s % FIT_EARLY_S))


def _floor(at_s: float, every_s: float, offset_s: float) -> float:
    return math.floor((at_s - offset_s) / every_s) * every_s + offset_s
