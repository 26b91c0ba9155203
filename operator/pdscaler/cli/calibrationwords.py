"""How engines differ from their profile, in plain words, from the status. May import api, units and driftwords."""

from pdscaler.api.status import CalibrationStatus, PoolCalibrationStatus
from pdscaler.controller.driftwords import drift_words
from pdscaler.core.pools import Pool
from pdscaler.units import format_number


def calibration_facts(found: CalibrationStatus | None) -> list[str]:
    """Say what was learnt of the engines, a sentence for each pool; empty where nothing is learnt.

    Examples
    --------
    >>> when = "2026-11-21T12:00:00Z"
    >>> slow = PoolCalibrationStatus(derate=0.8, last_fit=when, drift=0.42, mean_error=0.01, prior_error=0.29, points=9)
    >>> calibration_facts(CalibrationStatus(decode=slow))[1]
    'decode at 80 % of its profile (error 1 %, was 29 %; 9 points); mean TPOT is 42 % above what its profile says'
    """
    if found is None:
        return []
    return [_pool_words(pool, _of(found, pool)) for pool in Pool]


def calibration_troubles(found: CalibrationStatus | None) -> list[str]:
    """Say which profiles the engines are off, a line each."""
    if found is None:
        return []
    return [
        f"profile of {pool.value} is off: {drift_words(pool, each.drift) or 'it was when last measured'}"
        for pool in Pool
        if (each := _of(found, pool)).off_profile
    ]


def _of(found: CalibrationStatus, pool: Pool) -> PoolCalibrationStatus:
    return found.prefill if pool is Pool.PREFILL else found.decode


def _pool_words(pool: Pool, known: PoolCalibrationStatus) -> str:
    if not known.points:
        said = f"{pool.value}: nothing learnt yet" if known.last_fit is None else f"{pool.value} {_correction(known)}"
        return said + (f" ({known.waiting})" if known.waiting else "")
    count = "1 point" if known.points == 1 else f"{known.points} points"
    error = "" if known.mean_error is None else f"error {_percent(known.mean_error)}; "
    if error and known.prior_error is not None and not _as_profiled(known):
        error = error.replace("; ", f", was {_percent(known.prior_error)}; ")
    said = f"{pool.value} {_correction(known)} ({error}{count})"
    drift = drift_words(pool, known.drift)
    said += f"; {drift}" if drift and abs(known.drift or 0.0) >= 0.01 else ""
    return said + (f"; not corrected further: {known.note}" if known.note and not known.note.startswith("as ") else "")


def _correction(known: PoolCalibrationStatus) -> str:
    if _as_profiled(known):
        return "as its profile"
    overhead = f", overhead {known.overhead}" if known.overhead else ""
    return f"at {_percent(known.derate or 1.0)} of its profile{overhead}"


def _as_profiled(known: PoolCalibrationStatus) -> bool:
    """Whether nothing was corrected; an overhead of the profile's own is no correction."""
    return known.last_fit is None


def _percent(share: float) -> str:
    return f"{format_number(100 * share, 2)} %"
