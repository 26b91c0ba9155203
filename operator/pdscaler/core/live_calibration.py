"""Calibration on line: from the evaluations of an operator to a corrected profile, step by step. Imports core only.

Every evaluation shows one moment of each pool. Where the last window was steady it becomes an operating point; points
of the last day are compared with what the profile promises; and where the profile is off by more than the laws are, the
corrections move towards what fits the points, a bounded step at a time. Nothing is learnt from anything else, and what
cannot be identified stays as it is.

Laws: a function of its arguments; corrections stay within their bounds and move only with a new point; without steady
points nothing ever changes; one pool's points never move the other's correction.
"""

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from zlib import crc32

from pdscaler.core.calibration import KAPPA_PRIOR_WIDTH, MEASUREMENT_ERROR, QueueParameters, calibrate_ttft
from pdscaler.core.corrections import AS_PROFILED, EngineCorrection, calibratable
from pdscaler.core.decision import PoolState, TargetUnknown
from pdscaler.core.decode_calibration import calibrate_decode
from pdscaler.core.operating_point import Engine, PoolPoint, remember, thinned
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.spec import ScalingSpec, SizingSpec
from pdscaler.core.steadiness import Moment, followed, moment_of, unsteady
from pdscaler.core.workload import NoData, Telemetry
from pdscaler.errors import InvalidInputError

MOST_UTILIZATION = 0.9
"""A pool whose load is a greater share of what it can serve by the model is as good as overloaded."""

MOST_RATIO = 4.0
"""A latency so many times what the profile says, or as small a part, is no drift but another thing: not learned from.
"""

TOLERATED = {Pool.PREFILL: 0.08, Pool.DECODE: 0.04}
"""Mean relative error of a latency that is left alone: the laws, and means over a window, are no better."""

KAPPA_BOUNDS = (0.5, 2.0)
"""Variability of the waits that arrivals are taken to explain; waits beyond it are the engine's."""

SURE_SPAN = 0.4
SURE_CONDITION = 40.0
"""Variability is fitted beside overhead and throughput only where the loads span so much of the utilisation, and where
the condition number is no greater: measured loads that span half of it give 16 to 43."""

BETTER = 0.8
"""A correction must leave at most this share of the error."""

FIT_EVERY_S = 900.0
"""How often a correction that leaves a tolerable error is refined."""

DERATE_STEP = 1.15
"""Most that a derate changes at a time, up or down."""

OVERHEAD_STEP = 0.25
"""Most that the overhead changes at a time, in mean TTFTs measured."""

DERATE_APART, OVERHEAD_APART = 0.03, 0.05
"""Corrections whose derates differ by a smaller share, and whose overheads by a smaller share of the mean TTFT, are the
same: a plan shall not follow the noise of the points."""

DRIFTED, BACK = 0.2, 0.15
"""A profile is called off from this much drift on, and until it is below that."""

LEAST_FOR_DRIFT = 3


@dataclass(frozen=True, slots=True)
class PoolCalibration:
    """What is known of one pool's engines.

    Parameters
    ----------
    correction
        What sizing goes by.
    points
        The operating points of the last day, oldest first.
    drift
        Measured latency over what the profile says, less 1, over the points; None with fewer than three.
    drifted
        Whether that is called off the profile.
    mean_error, prior_error
        Mean relative error of the latency over the points, with the correction and with the profile as it is; None
        without points.
    kappa
        Variability of the prefill queue over the law's own, a diagnosis; None where it cannot be told.
    changed_s, fitted_s
        When the correction changed last, and when it was looked for last, seconds since the epoch; None: never.
    note
        One line for people: what was learnt, or why nothing was.
    refused
        Why the last evaluation made no operating point; empty where it did, or where one was made lately.
    moments
        The moments since the last change, oldest first; a restart begins anew.
    """

    correction: EngineCorrection = AS_PROFILED
    points: tuple[PoolPoint, ...] = ()
    drift: float | None = None
    drifted: bool = False
    mean_error: float | None = None
    prior_error: float | None = None
    kappa: float | None = None
    changed_s: float | None = None
    fitted_s: float | None = None
    note: str = ""
    refused: str = ""
    moments: tuple[Moment, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class CalibrationState:
    """What an evaluation hands to the next one.

    Parameters
    ----------
    about
        Of which engines it is (:func:`about`): of others it says nothing.
    pools
        What is known of each pool.
    """

    about: int = 0
    pools: PerPool[PoolCalibration] = field(default_factory=lambda: PerPool(PoolCalibration(), PoolCalibration()))

    @property
    def corrections(self) -> PerPool[EngineCorrection]:
        """What sizing goes by."""
        return self.pools.map(lambda pool: pool.correction)


@lru_cache(maxsize=2048)
def about(spec: SizingSpec, source: str = "") -> int:
    """Return a number for the engines and their profile: what is learnt holds for nothing else.

    Parameters
    ----------
    spec
        Profiles, derate, routing.
    source
        What else tells engines apart: the model, the targets.
    """
    said = (spec.prefill_profile, spec.decode_profile, spec.decode_derate, spec.routing, spec.model, source)
    return crc32(repr(said).encode())


def learn(
    state: CalibrationState,
    spec: ScalingSpec,
    telemetry: Telemetry | NoData,
    targets: PerPool[PoolState | TargetUnknown],
    now_s: float,
    *,
    source: str = "",
) -> CalibrationState:
    """Learn from one evaluation.

    Parameters
    ----------
    state
        What the previous evaluation handed over.
    spec
        As the user wrote it, not corrected.
    telemetry, targets
        What was read.
    now_s
        The time, seconds since the epoch.
    source
        See :func:`about`.
    """
    key = about(spec.sizing, source)
    if key != state.about:
        state = CalibrationState(key)
    if not calibratable(spec.sizing):
        return state
    state = _assessed(state, spec.sizing, now_s)
    pools = PerPool(
        *(
            _learn(pool, state.pools[pool], spec, moment_of(pool, telemetry, target, now_s), target)
            for pool, target in targets.items()
        )
    )
    return state if pools == state.pools else CalibrationState(key, pools)


def _assessed(state: CalibrationState, spec: SizingSpec, now_s: float) -> CalibrationState:
    """Say of points that were read back how far off they are; those that none would have been taken for are dropped."""
    pools = state.pools
    for pool, known in pools.items():
        if known.points and known.mean_error is None:
            try:
                plausible = [each for each in known.points if not _implausible(Engine(each, pool, spec), AS_PROFILED)]
                kept = replace(known, points=thinned(plausible, spec, pool, now_s))
                pools = pools.replace(pool, _rerated(pool, kept, spec, now_s) if kept.points else kept)
            except (InvalidInputError, ArithmeticError, ValueError):
                pools = pools.replace(pool, _forgotten(known))
    return state if pools is state.pools else replace(state, pools=pools)


def _learn(
    pool: Pool, known: PoolCalibration, spec: ScalingSpec, seen: Moment | str, target: PoolState | TargetUnknown
) -> PoolCalibration:
    if isinstance(seen, str):
        known = replace(known, moments=(), refused=seen)
        # Another image may be another engine: what was measured of the one before is no evidence of it.
        return _forgotten(known) if isinstance(target, PoolState) and target.rollout else known
    now_s = seen.at_s
    if known.moments and known.moments[-1].at_s == now_s:
        return known  # this evaluation has been seen
    known = replace(known, moments=followed(known.moments, seen, spec.evaluation_period_s, spec.window_s))
    if known.points and 0 <= now_s - known.points[-1].at_s < spec.window_s:
        return replace(known, refused="")  # its window would overlap the last one
    refused = unsteady(pool, known.moments, spec.window_s)
    if refused:
        return replace(known, refused=refused)
    point = PoolPoint(
        now_s, seen.replicas, seen.rate_rps, seen.isl, seen.osl, seen.prefix_hit_ratio, seen.latency_s
    ).rounded
    refused = _implausible(Engine(point, pool, spec.sizing), known.correction)
    if refused:
        return replace(known, refused=refused)
    points = remember(known.points, point, spec.sizing, pool)
    return _refitted(pool, replace(known, points=points, refused=""), spec.sizing, now_s)


def _forgotten(known: PoolCalibration) -> PoolCalibration:
    """Drop the points, and what was said of them; the correction stands until new ones say otherwise."""
    return replace(known, points=(), drift=None, mean_error=None, prior_error=None, kappa=None, note="")


def _implausible(engine: Engine, correction: EngineCorrection) -> str:
    """Say why a steady window is no operating point; empty where it is one."""
    load = engine.load / min(1.0, correction.derate)
    if not load < MOST_UTILIZATION:
        return f"overloaded: at {load:.0%} of what the replicas serve by the model"
    promised_s, measured_s = engine.latency_s(), engine.point.latency_s
    if not 1 / MOST_RATIO <= measured_s / promised_s <= MOST_RATIO:
        return (
            f"the latency is {measured_s / promised_s:.2g} times what the profile says: more than calibration corrects"
        )
    return ""


def _refitted(pool: Pool, known: PoolCalibration, spec: SizingSpec, now_s: float) -> PoolCalibration:
    engines = [Engine(point, pool, spec) for point in known.points]
    present = _rated(engines, known.correction, now_s)
    known = _rerated(pool, known, spec, now_s)
    as_profiled, tolerated = known.correction == AS_PROFILED, present.error <= TOLERATED[pool]
    lately = known.fitted_s is not None and 0 <= now_s - known.fitted_s < FIT_EVERY_S
    if tolerated and (as_profiled or lately):
        return replace(known, note=_agrees(known.correction))
    if lately and known.changed_s != known.fitted_s:
        return known  # the last fit was no reason to move, and points change slowly
    fitted, note = _fitted(pool, engines, now_s)
    best = present
    if fitted is not None:
        known = replace(known, fitted_s=now_s)
        aim, step = (_rated(engines, each, now_s) for each in (fitted, _step(known.correction, fitted, engines)))
        # A profile that is off has been left: from then on what fits is followed, as far as it is another thing.
        enough = aim.error <= (BETTER if as_profiled else 1.0) * present.error
        if enough and step.error <= present.error and _differ(known.correction, step.correction, engines):
            best = step
    elif not tolerated:
        # Where the points cannot tell the parameters apart, the profile is the only other candidate.
        back = _rated(engines, AS_PROFILED, now_s)
        step = _rated(engines, _step(known.correction, AS_PROFILED, engines), now_s)
        if back.error <= BETTER * present.error and step.error <= present.error:
            best = step
    if best.correction != known.correction:
        known = replace(known, correction=best.correction, mean_error=best.error, kappa=best.kappa, changed_s=now_s)
    return replace(known, note=note or _agrees(known.correction))


def _rerated(pool: Pool, known: PoolCalibration, spec: SizingSpec, now_s: float) -> PoolCalibration:
    """Say how far the points are off the profile and off the correction."""
    engines = [Engine(point, pool, spec) for point in known.points]
    drift = _drift(engines, now_s)
    # What is not known any more is no reason to call it well.
    drifted = known.drifted if drift is None else abs(drift) > (BACK if known.drifted else DRIFTED)
    prior, present = (_rated(engines, each, now_s) for each in (AS_PROFILED, known.correction))
    return replace(
        known,
        drift=drift,
        drifted=drifted,
        prior_error=prior.error,
        mean_error=present.error,
        kappa=present.kappa,
        note=known.note or _agrees(known.correction),
    )


@dataclass(frozen=True, slots=True)
class _Rated:
    """A correction, how far it leaves the points off, and the variability of the queue that fits it best."""

    correction: EngineCorrection
    error: float
    kappa: float | None


def _rated(engines: list[Engine], correction: EngineCorrection, now_s: float) -> _Rated:
    """Return how well a correction fits the points.

    The variability of the queue is fitted to every correction that is rated: rates that vary within a window lengthen
    the waits, and that is no fault of the engine.
    """
    kappa = _kappa(engines, correction, now_s) if engines[0].pool is Pool.PREFILL else None
    return _Rated(correction, _error(engines, correction, kappa or 1.0, now_s), kappa)


def _kappa(engines: list[Engine], correction: EngineCorrection, now_s: float) -> float:
    """Return the factor on the waits that fits best, by regularised least squares: the latency is linear in it."""
    strength = drawn = KAPPA_PRIOR_WIDTH**-2
    for engine in engines:
        alone_s, wait_s = engine.parts_s(correction.derate, correction.extra_s)
        if not math.isfinite(wait_s):
            continue
        measured_s = engine.point.latency_s
        slope, weight = wait_s / measured_s, engine.point.weight(now_s) / MEASUREMENT_ERROR**2
        strength += weight * slope * slope
        drawn += weight * slope * (1.0 - alone_s / measured_s)
    return min(max(drawn / strength, KAPPA_BOUNDS[0]), KAPPA_BOUNDS[1])


def _fitted(pool: Pool, engines: list[Engine], now_s: float) -> tuple[EngineCorrection | None, str]:
    """Return what fits the points; None where that cannot be told, and why not."""
    if pool is Pool.DECODE:
        decode = calibrate_decode(engines, now_s)
        return None if decode.derate is None else EngineCorrection(decode.derate), decode.note
    prior = QueueParameters(engines[0].spec.prefill_profile.overhead.fixed_s)
    points = [engine.for_fit(now_s) for engine in engines]
    loads = [point.load for point in points]
    result = None
    if max(loads) - min(loads) >= SURE_SPAN:
        result = calibrate_ttft(points, prior, kappa_bounds=KAPPA_BOUNDS)
    if result is None or not result.condition <= SURE_CONDITION:
        # Where the variability would be guessed, the waits are taken to be the law's: that rather sees a slow engine in
        # arrivals that come in clumps than a fast one.
        result = calibrate_ttft(points, prior, kappa_known=True)
    if not result.applied:
        return None, result.note.removeprefix("not calibrated: ")
    return EngineCorrection(result.parameters.derate, result.parameters.overhead_s - prior.overhead_s), ""


def _step(now: EngineCorrection, to: EngineCorrection, engines: list[Engine]) -> EngineCorrection:
    """Return the correction that is a bounded step nearer."""
    ratio = min(max(to.derate / now.derate, 1 / DERATE_STEP), DERATE_STEP)
    most_s = OVERHEAD_STEP * _mean_latency_s(engines)
    extra_s = now.extra_s + min(max(to.extra_s - now.extra_s, -most_s), most_s)
    return EngineCorrection(now.derate * ratio, extra_s).rounded


def _differ(one: EngineCorrection, other: EngineCorrection, engines: list[Engine]) -> bool:
    """Whether two corrections differ by more than what points of the same engine make of it."""
    apart_s = abs(one.extra_s - other.extra_s) / _mean_latency_s(engines)
    return abs(math.log(one.derate / other.derate)) > DERATE_APART or apart_s > OVERHEAD_APART


def _mean_latency_s(engines: list[Engine]) -> float:
    return math.fsum(engine.point.latency_s for engine in engines) / len(engines)


def _error(engines: list[Engine], correction: EngineCorrection, kappa: float, now_s: float) -> float:
    """Return the mean relative error of the latency, by weight; infinite where a point lies beyond saturation."""
    parts = [(engine.point.weight(now_s), _ratio(engine, correction, kappa)) for engine in engines]
    return math.fsum(weight * abs(ratio - 1.0) for weight, ratio in parts) / math.fsum(weight for weight, _ in parts)


def _ratio(engine: Engine, correction: EngineCorrection, kappa: float = 1.0) -> float:
    return engine.latency_s(correction.derate, correction.extra_s, kappa) / engine.point.latency_s


def _drift(engines: list[Engine], now_s: float) -> float | None:
    """Return how far the measured latency lies above the profile's, as a share; below it is negative.

    Points count the more, the less of their latency is waiting for others: waits tell of the arrivals, too.
    """
    if len(engines) < LEAST_FOR_DRIFT:
        return None
    weights = [engine.point.weight(now_s) * engine.alone_share**2 for engine in engines]
    logs = [-math.log(_ratio(engine, AS_PROFILED)) for engine in engines]
    return math.expm1(math.fsum(weight * log for weight, log in zip(weights, logs, strict=True)) / math.fsum(weights))


def _agrees(correction: EngineCorrection) -> str:
    return "as its profile" if correction == AS_PROFILED else "as corrected"
