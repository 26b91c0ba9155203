"""Calibration of a mean TTFT law against what is measured live. May import only numpy, scipy, units, errors.

A profile says how long one pass takes on an idle engine. What a user waits for has three more parts that no idle
engine shows: the overhead (transfer of the KV, network, scheduling), the variability of arrivals and service, and how
far the throughput under load lies from the profile's. MODEL section 5 fits these three from operating points.

The law is a single-server queue, or any other that a point brings along: an engine that is slower by a derate d sees
the load r as an engine of the profile sees r / d, and takes 1 / d times as long. So one function of the load, the wait
on an engine of the profile, says the wait for every derate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pdscaler.errors import InvalidInputError
from pdscaler.units import format_duration, format_number

if TYPE_CHECKING:
    import numpy as np

MEASUREMENT_ERROR = 0.05
"""Relative error that a measured mean TTFT is taken to have; larger ones count linearly, not squared (outliers)."""

KAPPA_PRIOR_WIDTH = 0.7
"""Standard deviation of ln kappa around its prior: arrivals and services of scv 0.5 to 4 lie within it."""

DERATE_PRIOR_WIDTH = 0.2
"""Standard deviation of ln derate around its prior: a benchmark's throughput is seldom wrong by more than 20 %."""

OVERHEAD_PRIOR_WIDTH = 1.0
"""Standard deviation of the overhead around its prior, in service times."""

KAPPA_BOUNDS = (0.05, 20.0)
DERATE_BOUNDS = (0.5, 2.0)
OVERHEAD_MOST = 20.0
"""Largest overhead, in service times (or the prior, if that is larger)."""

LEAST_POINTS = 3
"""Three parameters need three operating points that differ."""

LEAST_DISTANCE = 0.03
"""Loads that differ by less, in utilisation of the profile, are one operating point."""

DERIVATIVE_STEP = 1e-3
"""Of ln derate, for the slope of a law that is not the single server's."""

GREATEST_CONDITION = 100.0
"""Beyond it the points cannot tell the parameters apart: the prior stays.

Chosen on random truths with 3 % noise: six loads within a tenth of the utilisation give 240 and more (and a fit that
was worse than the prior in one case of ten), within a half 16 to 43; the paper's four measured curves give 9 to 36.
"""


GREATEST_CONDITION_OF_TWO = 25.0
"""The same where kappa is known: two loads that differ by a tenth of the utilisation or more give 6 to 17, loads within
a thirtieth 55 and more (and half of an overhead was then taken for a derate)."""

_TOLD_APART = {False: "overhead, variability and throughput", True: "overhead and throughput"}


@dataclass(frozen=True, slots=True)
class QueueParameters:
    """What the mean TTFT law needs beside the service time.

    Parameters
    ----------
    overhead_s
        T_ov, time to first token beyond queue and pass, seconds, >= 0.
    kappa
        Variability of the queue, (c_a² + c_s²) / 2; 1 is M/M/1, > 0.
    derate
        Throughput under load over the profile's, > 0; below 1 the engine is slower than its profile.
    """

    overhead_s: float = 0.0
    kappa: float = 1.0
    derate: float = 1.0


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One steady load of prefill replicas, as measured.

    Parameters
    ----------
    rate_rps
        Arrivals per second, > 0: of one replica, or of as many as ``wait_s`` is about.
    ttft_s
        Measured mean TTFT, seconds, > 0.
    service_s
        Time of one pass over a mean request by the profile, seconds, > 0.
    saturation_rps
        Load beyond which the queue grows without bound by the profile, requests/s, > 0; None: 1 / ``service_s``.
    wait_s
        Mean wait, seconds, against load, requests/s, by the profile and at kappa 1, infinite from saturation on and
        growing towards it; None: that of a single-server queue.
    base_s
        Overhead that is not fitted (it grows with the prompt), seconds, >= 0.
    weight
        How much the point counts, in (0, 1].
    """

    rate_rps: float
    ttft_s: float
    service_s: float
    saturation_rps: float | None = None
    wait_s: Callable[[float], float] | None = field(default=None, compare=False)
    base_s: float = 0.0
    weight: float = 1.0

    @property
    def load(self) -> float:
        """Utilisation by the profile; 1 is saturation."""
        return self.rate_rps * self.service_s if self.saturation_rps is None else self.rate_rps / self.saturation_rps

    def ttft_by(self, parameters: QueueParameters) -> float:
        """Return the law's mean TTFT, seconds; infinite from saturation on."""
        derate = parameters.derate
        if self.wait_s is None:
            return self.base_s + mean_ttft_s(parameters, self.service_s, self.rate_rps)
        wait_s = self.wait_s(self.rate_rps / derate) if self.load < derate else math.inf
        return self.base_s + parameters.overhead_s + (self.service_s + parameters.kappa * wait_s) / derate


@dataclass(frozen=True, slots=True)
class Calibration:
    """The law's parameters after a fit, or the priors where nothing could be learnt.

    Parameters
    ----------
    parameters
        What to use.
    applied
        Whether ``parameters`` were fitted; False: they are the priors.
    condition
        Condition number of the fit in units of the priors' widths; infinite where no fit was tried.
    mean_error, prior_error
        Mean absolute relative error of the law over the points, with ``parameters`` and with the priors; infinite where
        a point lies beyond the law's saturation, NaN without points.
    note
        One line for people: what was learnt, or why nothing was.
    """

    parameters: QueueParameters
    applied: bool
    condition: float
    mean_error: float
    prior_error: float
    note: str


def mean_ttft_s(parameters: QueueParameters, service_s: float, rate_rps: float) -> float:
    """Return the mean TTFT, seconds, of a single-server queue; infinite from saturation on.

    Notes
    -----
    T = T_ov + S' + kappa rho S' / (1 - rho) with S' = S / derate and rho = rate S' (MODEL sections 3 and 5).

    Examples
    --------
    >>> mean_ttft_s(QueueParameters(0.1), 0.5, 1.0)  # M/M/1: 0.1 + 1 / (2 - 1)
    1.1
    >>> mean_ttft_s(QueueParameters(derate=0.5), 0.5, 1.0)
    inf
    """
    service_s /= parameters.derate
    utilization = rate_rps * service_s
    if utilization >= 1:
        return math.inf
    return parameters.overhead_s + service_s * (1 + parameters.kappa * utilization / (1 - utilization))


def mean_relative_error(parameters: QueueParameters, points: Sequence[OperatingPoint]) -> float:
    """Return the mean absolute error of the law, relative to what was measured, by weight; NaN without points."""
    if not points:
        return math.nan
    errors = (p.weight * abs(p.ttft_by(parameters) - p.ttft_s) / p.ttft_s for p in points)
    return math.fsum(errors) / math.fsum(point.weight for point in points)


def calibrate_ttft(
    points: Sequence[OperatingPoint],
    prior: QueueParameters,
    *,
    kappa_bounds: tuple[float, float] = KAPPA_BOUNDS,
    kappa_known: bool = False,
) -> Calibration:
    """Fit overhead, kappa and derate to measured operating points.

    Parameters
    ----------
    points
        In any order. One point, or several of nearly the same load, identify nothing.
    prior
        What the profile and the workload say; where the points say nothing it stays.
    kappa_bounds
        What kappa may be.
    kappa_known
        Whether kappa is the prior's and only the two others are fitted: two loads that differ may then do.

    Returns
    -------
    Calibration
        Deterministic; the order of the points does not matter.

    Raises
    ------
    InvalidInputError
        If a point or a prior is not a number in its range.

    Notes
    -----
    Least squares of ln(law / measured) / 5 % (soft L1: an outlier pulls linearly), plus the distances from the prior in
    units of its widths, within bounds that keep every point below saturation. The guard looks at the data alone, the
    derivatives scaled by the priors' widths: where their condition number is beyond :data:`GREATEST_CONDITION` the
    combination that the points leave open would be guessed, and the prior stays as a whole.

    Examples
    --------
    >>> truth = QueueParameters(0.08, 1.5, 0.9)
    >>> loads = [OperatingPoint(rate, mean_ttft_s(truth, 0.2, rate), 0.2) for rate in (0.5, 1.5, 2.5, 3.5, 4.0)]
    >>> calibrate_ttft(loads, QueueParameters(0.1)).mean_error < 0.01
    True
    >>> calibrate_ttft(loads[:1], QueueParameters(0.1)).note
    'not calibrated: 1 operating point, at least 3 that differ are needed'
    """
    _check_prior(prior)
    for index, point in enumerate(points):
        _check_point(point, index)
    prior_error = mean_relative_error(prior, points)
    different, least = _different_loads(points), LEAST_POINTS - kappa_known
    if different < least:
        noun = "operating point" if different == 1 else "operating points"
        note = f"not calibrated: {different} {noun}, at least {least} that differ are needed"
        return Calibration(prior, False, math.inf, prior_error, prior_error, note)
    if max(point.load for point in points) >= DERATE_BOUNDS[1]:
        note = "not calibrated: a load beyond twice the profile's throughput cannot be a steady one"
        return Calibration(prior, False, math.inf, prior_error, prior_error, note)
    ordered = sorted(points, key=lambda p: (p.rate_rps, p.ttft_s, p.service_s, p.weight, p.load))
    parameters, condition = _fit(ordered, prior, kappa_bounds, 2 if kappa_known else 3)
    if not condition <= (GREATEST_CONDITION_OF_TWO if kappa_known else GREATEST_CONDITION):
        note = (
            f"not calibrated: {different} operating points cannot tell {_TOLD_APART[kappa_known]} apart "
            f"(condition number {format_number(condition, 2)}): vary the load more"
        )
        return Calibration(prior, False, condition, prior_error, prior_error, note)
    error = mean_relative_error(parameters, points)
    note = (
        f"calibrated on {len(points)} operating points: overhead {format_duration(parameters.overhead_s)}, "
        f"kappa {format_number(parameters.kappa)}, throughput {parameters.derate:.1%} of the profile's; "
        f"mean error {error:.1%}, was {_percent(prior_error)}"
    )
    return Calibration(parameters, True, condition, error, prior_error, note)


def _fit(
    points: Sequence[OperatingPoint], prior: QueueParameters, kappa_bounds: tuple[float, float], free: int
) -> tuple[QueueParameters, float]:
    """Return the fitted parameters, and the condition number of the data alone.

    The parameters are the overhead in service times, ln derate and ln kappa; the first ``free`` of them are fitted.
    """
    import numpy as np
    from scipy.optimize import least_squares

    measured = np.array([point.ttft_s for point in points])
    base = np.array([point.base_s for point in points])
    service = np.array([point.service_s for point in points])
    # A point of half the weight is a measurement of √2 times the error.
    sharp = np.sqrt([point.weight for point in points]) / MEASUREMENT_ERROR
    scale = float(np.median(service))
    width = np.array([OVERHEAD_PRIOR_WIDTH, DERATE_PRIOR_WIDTH, KAPPA_PRIOR_WIDTH])[:free]
    centre = np.array([prior.overhead_s / scale, math.log(prior.derate), math.log(prior.kappa)])[:free]
    # Every point was served: a derate that puts one beyond saturation is no candidate.
    slowest = max(DERATE_BOUNDS[0], max(point.load for point in points) * (1 + 1e-6))
    lower = np.array([0.0, math.log(slowest), math.log(kappa_bounds[0])])[:free]
    upper = np.array([max(OVERHEAD_MOST, centre[0]), math.log(DERATE_BOUNDS[1]), math.log(kappa_bounds[1])])[:free]

    def kappa_of(x: "np.ndarray[Any, Any]") -> float:
        return math.exp(x[2]) if free > 2 else prior.kappa

    waits, wait_slopes = _wait_law(points)

    def parts(x: "np.ndarray[Any, Any]") -> tuple[Any, Any, Any]:
        fast = service / math.exp(x[1])
        wait = kappa_of(x) * waits(x[1])
        return fast, wait, base + x[0] * scale + fast + wait

    def residuals(x: "np.ndarray[Any, Any]") -> Any:
        total = parts(x)[2]
        return np.concatenate([np.log(total / measured) * sharp, (x - centre) / width])

    def data_jacobian(x: "np.ndarray[Any, Any]") -> Any:
        fast, wait, total = parts(x)
        by_derate = kappa_of(x) * wait_slopes(x[1]) - fast
        columns = [np.full_like(total, scale), by_derate, wait][:free]
        return np.stack(columns, axis=1) * (sharp / total)[:, None]

    def jacobian(x: "np.ndarray[Any, Any]") -> Any:
        return np.vstack([data_jacobian(x), np.diag(1 / width)])

    best = None
    # The law is not convex in its parameters: a few starts around the prior, always the same ones.
    for derate in (0.0, -0.2, 0.2) if free > 2 else (0.0,):
        for kappa in (0.0, 0.7) if free > 2 else (0.0,):
            start = np.clip(centre + np.array([0.0, derate, kappa])[:free], lower + 1e-3, upper - 1e-3)
            bounds = (lower, upper)
            found = least_squares(
                residuals, start, jac=jacobian, bounds=bounds, loss="soft_l1", x_scale=width, xtol=1e-7
            )
            if best is None or found.cost < best.cost * (1 - 1e-9):
                best = found
    assert best is not None
    strengths = np.linalg.svd(data_jacobian(best.x) * width, compute_uv=False)
    condition = float(strengths[0] / strengths[-1]) if strengths[-1] > 0 else math.inf
    overhead, derate_log = float(best.x[0]), float(best.x[1])
    return QueueParameters(overhead * scale, kappa_of(best.x), math.exp(derate_log)), condition


def _wait_law(points: Sequence[OperatingPoint]) -> tuple[Callable[[float], Any], Callable[[float], Any]]:
    """Return the waits at kappa 1 of loads below saturation, seconds, against ln derate, and their derivatives."""
    import numpy as np

    rate, service = (np.array([getattr(point, name) for point in points]) for name in ("rate_rps", "service_s"))

    def single(derate_log: float) -> Any:
        fast = service / math.exp(derate_log)
        return rate * fast * fast / (1 - rate * fast)

    def single_slope(derate_log: float) -> Any:
        load = rate * service / math.exp(derate_log)
        return -single(derate_log) * (2 - load) / (1 - load)

    def own(derate_log: float) -> Any:
        unit = QueueParameters(derate=math.exp(derate_log))
        return np.array([point.ttft_by(unit) - point.base_s - point.service_s / unit.derate for point in points])

    def own_slope(derate_log: float) -> Any:
        return (own(derate_log + DERIVATIVE_STEP) - own(derate_log)) / DERIVATIVE_STEP

    return (single, single_slope) if all(point.wait_s is None for point in points) else (own, own_slope)


def _different_loads(points: Sequence[OperatingPoint]) -> int:
    """Return how many operating points differ in utilisation by more than :data:`LEAST_DISTANCE`."""
    count, last = 0, -math.inf
    for load in sorted(point.load for point in points):
        if load - last > LEAST_DISTANCE:
            count, last = count + 1, load
    return count


def _check_point(point: OperatingPoint, index: int) -> None:
    for name in ("rate_rps", "ttft_s", "service_s", "saturation_rps", "weight"):
        value = getattr(point, name)
        if name == "saturation_rps" and value is None:
            continue
        if not (math.isfinite(value) and value > 0):
            raise InvalidInputError(f"points[{index}].{name}", f"must be a finite number above 0, found {value}")


def _check_prior(prior: QueueParameters) -> None:
    if not (math.isfinite(prior.overhead_s) and prior.overhead_s >= 0):
        raise InvalidInputError("prior.overhead_s", f"must be a finite number of at least 0, found {prior.overhead_s}")
    for name, (low, high) in (("kappa", KAPPA_BOUNDS), ("derate", DERATE_BOUNDS)):
        value = getattr(prior, name)
        if not low <= value <= high:
            raise InvalidInputError(f"prior.{name}", f"must be between {low:g} and {high:g}, found {value}")


def _percent(share: float) -> str:
    return f"{share:.1%}" if math.isfinite(share) else "unstable"
