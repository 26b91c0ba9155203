"""What was learnt of the engines: kept over evaluations and restarts, and rendered into status. No kopf, no I/O.

Status is untrusted input: what is read back is clamped to its bounds, and what cannot be is left out.
"""

import logging
import math
from dataclasses import replace

from pdscaler.api.status import (
    MAX_POINTS,
    CalibrationMemory,
    CalibrationStatus,
    LengthStatus,
    PointMemory,
    PoolCalibrationMemory,
    PoolCalibrationStatus,
)
from pdscaler.controller.prepare import Prepared
from pdscaler.controller.times import parse_rfc3339, rfc3339
from pdscaler.core.corrections import EngineCorrection, calibratable, corrected
from pdscaler.core.decision import PlanInputs
from pdscaler.core.live_calibration import CalibrationState, PoolCalibration, learn
from pdscaler.core.operating_point import PoolPoint
from pdscaler.core.pools import PerPool
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import LengthStats
from pdscaler.units import format_duration, format_number

_logger = logging.getLogger(__name__)

_MOST_REPLICAS, _MOST_RATE_RPS, _MOST_TOKENS, _MOST_SCV, _MOST_LATENCY_S = 10**6, 1e6, 1e8, 1e3, 3600.0
"""What no operating point is beyond: a document that says more was not written by an operator."""


def calibrates(prepared: Prepared) -> bool:
    """Whether a PDDeployment is calibrated: it is left on, and its model is one that is corrected."""
    return prepared.calibration and calibratable(prepared.spec.sizing)


def learnt(state: CalibrationState, prepared: Prepared, inputs: PlanInputs, now_s: float) -> CalibrationState:
    """Return what is known after an evaluation; never fails, and nothing where it is not calibrated."""
    if not calibrates(prepared):
        return CalibrationState()
    targets = "|".join(f"{ref.api_version}/{ref.kind}/{ref.name}" for _, ref in prepared.targets.items())
    source = f"{prepared.model}|{targets}"
    try:
        return learn(state, prepared.spec, inputs.telemetry, inputs.targets, now_s, source=source)
    except Exception:
        _logger.exception("the calibration of PDDeployment %s failed; what was learnt before stays", prepared.key)
        return state


def applied(prepared: Prepared, state: CalibrationState) -> Prepared:
    """Return the PDDeployment with the profiles of its engines as they were found to be."""
    spec = prepared.spec
    sizing = corrected(spec.sizing, state.corrections)
    return prepared if sizing is spec.sizing else replace(prepared, spec=replace(spec, sizing=sizing))


def to_memory(state: CalibrationState | None) -> CalibrationMemory | None:
    """Write what was learnt as the status holds it; None where nothing was."""
    if state is None or all(not pool.points and pool.changed_s is None for _, pool in state.pools.items()):
        return None
    prefill, decode = (_pool_to_memory(pool) for _, pool in state.pools.items())
    return CalibrationMemory(about=state.about, prefill=prefill, decode=decode)


def from_memory(memory: CalibrationMemory | None) -> CalibrationState:
    """Read what was learnt back."""
    if memory is None:
        return CalibrationState()
    return CalibrationState(memory.about, PerPool(_pool_from_memory(memory.prefill), _pool_from_memory(memory.decode)))


def to_status(state: CalibrationState | None, spec: SizingSpec) -> CalibrationStatus | None:
    """Render what was learnt; None where nothing is learnt at all.

    Parameters
    ----------
    state
        What is known.
    spec
        What was sized with: profiles as corrected.
    """
    if state is None:
        return None
    prefill, decode = state.pools.prefill, state.pools.decode
    overhead = format_duration(spec.prefill_profile.overhead.fixed_s)
    return CalibrationStatus(
        prefill=_pool_to_status(prefill).model_copy(update={"overhead": overhead}), decode=_pool_to_status(decode)
    )


def _pool_to_status(known: PoolCalibration) -> PoolCalibrationStatus:
    return PoolCalibrationStatus(
        derate=known.correction.derate,
        drift=_figure(known.drift),
        off_profile=known.drifted,
        mean_error=_figure(known.mean_error),
        prior_error=_figure(known.prior_error),
        variability=_figure(known.kappa),
        points=len(known.points),
        last_fit=None if known.changed_s is None else rfc3339(known.changed_s),
        note=known.note or None,
        waiting=known.refused or None,
    )


def _pool_to_memory(known: PoolCalibration) -> PoolCalibrationMemory:
    return PoolCalibrationMemory(
        derate=known.correction.derate,
        extra_overhead=known.correction.extra_s,
        off_profile=known.drifted,
        changed=None if known.changed_s is None else rfc3339(known.changed_s, milliseconds=True),
        points=tuple(_point_to_memory(point) for point in known.points[-MAX_POINTS:]),
    )


def _point_to_memory(point: PoolPoint) -> PointMemory:
    return PointMemory(
        time=rfc3339(point.at_s),
        replicas=point.replicas,
        rate=point.rate_rps,
        input_tokens=LengthStatus(mean=point.isl.mean_tokens, scv=point.isl.scv),
        output_tokens=LengthStatus(mean=point.osl.mean_tokens, scv=point.osl.scv),
        prefix_hit_ratio=point.prefix_hit_ratio,
        latency=point.latency_s,
    )


def _pool_from_memory(memory: PoolCalibrationMemory) -> PoolCalibration:
    derate = 1.0 if memory.derate is None else memory.derate
    correction = EngineCorrection(derate, memory.extra_overhead or 0.0).rounded
    points = (_point_from_memory(point) for point in memory.points)
    return PoolCalibration(
        correction=correction,
        points=tuple(point for point in points if point is not None),
        drifted=memory.off_profile,
        changed_s=parse_rfc3339(memory.changed),
    )


def _point_from_memory(memory: PointMemory) -> PoolPoint | None:
    """Read a point back; None where it is none that an operator writes."""
    at_s, hits = parse_rfc3339(memory.time), memory.prefix_hit_ratio or 0.0
    isl, osl = _lengths(memory.input_tokens), _lengths(memory.output_tokens)
    rate_rps, latency_s = memory.rate or 0.0, memory.latency or 0.0
    if at_s is None or isl is None or osl is None or not 0 <= hits < 1:
        return None
    if not (0 < rate_rps <= _MOST_RATE_RPS and 0 < latency_s <= _MOST_LATENCY_S):
        return None
    if not 1 <= memory.replicas <= _MOST_REPLICAS:
        return None
    return PoolPoint(at_s, memory.replicas, rate_rps, isl, osl, hits, latency_s)


def _lengths(memory: LengthStatus) -> LengthStats | None:
    mean, scv = memory.mean, memory.scv or 0.0
    return (
        None if mean is None or not 1 <= mean <= _MOST_TOKENS or not 0 <= scv <= _MOST_SCV else LengthStats(mean, scv)
    )


def _figure(value: float | None) -> float | None:
    """Round to three significant digits; a share below a thousandth is none."""
    if value is None or not math.isfinite(value):
        return None
    return 0.0 if abs(value) < 1e-3 else float(format_number(value))
