"""What load is expected, in plain words, from the status. May import api, units and the standard library."""

from datetime import UTC, datetime, tzinfo

from pdscaler.api.status import DecisionStatus, ForecastStatus, PDDeploymentStatus
from pdscaler.controller.times import parse_rfc3339
from pdscaler.errors import InvalidInputError
from pdscaler.units import format_number, parse_duration


def expected_words(status: PDDeploymentStatus, zone: tzinfo | None = None) -> str:
    """Say what load is sized for: ``13.4 expected by 14:06 (P98 of the forecast, HoltWinters)``; empty where unknown.

    Parameters
    ----------
    status
        The operator's status.
    zone
        Time zone of the clock time; None: this machine's.
    """
    found = status.forecast
    if found is None or found.rate is None:
        return ""
    observed_s = parse_rfc3339(status.workload.observed_at) if status.workload is not None else None
    horizon_s = _seconds(found.horizon)
    by = "" if observed_s is None or horizon_s is None else f" by {_clock(observed_s + horizon_s, zone)}"
    return f"{format_number(found.rate)} expected{by} ({_source(found)})"


def decision_expected_words(decision: DecisionStatus, zone: tzinfo | None = None) -> str:
    """Say the same of a decision that was taken."""
    by_s = parse_rfc3339(decision.expected_by)
    if decision.expected_rate is None or by_s is None:
        return ""
    quantile, _, method = (decision.expected_from or "").partition(", ")
    source = f" ({quantile} of the forecast, {method})" if method else ""
    return f"{format_number(decision.expected_rate)} expected by {_clock(by_s, zone)}{source}"


def forecast_facts(found: ForecastStatus | None) -> list[str]:
    """Return what else must be said of a forecast, a sentence each."""
    if found is None:
        return []
    said = [found.reason] if found.reason else []
    if found.fallback:
        said.append(f"not the forecast that was asked for: {found.fallback}")
    if found.waiting and found.waiting != found.fallback:
        said.append(f"fewer replicas wait: {found.waiting}")
    return said


def _source(found: ForecastStatus) -> str:
    quantile = "" if found.quantile is None else f"P{found.quantile * 100:g} of the "
    return f"{quantile}forecast" + (f", {found.method}" if found.method else "")


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except InvalidInputError:
        return None


def _clock(at_s: float, zone: tzinfo | None) -> str:
    return datetime.fromtimestamp(at_s, UTC).astimezone(zone).strftime("%H:%M")
