"""Rates of arrivals from counters: freshness, coverage of the window, queue growth. Pure; no I/O, no clock.

What ``rate`` leaves open, and what is done about it:

- *A series that ended* (its pod is gone) still has samples in the window: what it counted belongs to the window, so it
  stays in the sum, and freshness is judged by the newest sample of all.
- *A window that is not filled yet* (Prometheus or the first exposition just started): ``rate`` divides by the whole
  window, and the load would look small. Where even the oldest series of a PDDeployment begins within the window, the
  sum is divided by the covered part instead; below a quarter of the window there is no data.
- *Samples that stopped coming* (Prometheus no longer scrapes, every series has ended): the window empties from its end,
  and the load would seem to sink until ``maxStaleness`` is over. Where even the newest sample of a PDDeployment lies
  further back than the scrapes are apart, the sum is divided by the covered part likewise.
- *A counter born with a value* (a label set's first request, a new pod's first scrape): what it counted before its
  first scrape is lost, at most one scrape interval's requests of that series, once. It is not guessed: a counter that
  is merely new to Prometheus may hold months.
- *One scrape target of several that fails* sinks out of the sum over one window, while the others keep it fresh: the
  series alone cannot tell it from a pod that is gone. Alert on ``up``.
"""

import math
from dataclasses import dataclass

from pdscaler.core.workload import ArrivalSource, NoDataReason
from pdscaler.telemetry.places import Place, unknown
from pdscaler.telemetry.queries import FINE_S, Kind, window_step_s
from pdscaler.telemetry.values import MAX_VALUE
from pdscaler.units import format_duration, format_number

LEAST_COVERAGE = 0.25
"""Share of the window that must be covered by samples: less, and a burst's first seconds would size the pools."""

_EXTRAPOLATED_INTERVALS = 1.1
"""``rate`` extrapolates to an end of the window where the nearest sample is at most so many intervals from it."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Requests per second, and where they were counted."""

    rate_rps: float
    source: ArrivalSource


def check_fresh(place: Place, max_staleness_s: float) -> float | None:
    """Return the age of the newest sample, seconds; None where there is no series.

    Raises
    ------
    UnknownError
        StaleData, beyond ``max_staleness_s``.
    """
    age_s = place.age_s()
    if age_s is not None and age_s > max_staleness_s:
        limit = format_duration(max_staleness_s)
        message = f"{place.shown}: the newest sample is {format_duration(age_s)} old (maxStaleness is {limit})"
        raise unknown(NoDataReason.STALE_DATA, message, age_s)
    return age_s


def rate_of(place: Place) -> float:
    """Return the counter's rate over the covered part of the window, 1/s.

    Raises
    ------
    UnknownError
        Where the series is missing, stale, too young or not finite.
    """
    subject = place.subject
    window = format_duration(subject.window_s)
    if check_fresh(place, subject.max_staleness_s) is None:
        raise unknown(NoDataReason.NO_DATA, place.missing(Kind.SAMPLES))
    rate = place.total(Kind.RATE, Kind.RATE.value)
    if rate is None:
        problem = f"has fewer than two samples within the window of {window} (just started, or scraped too seldom)"
        raise unknown(NoDataReason.NO_DATA, f"{place.shown} {problem}")
    if not math.isfinite(rate):
        raise unknown(NoDataReason.NON_FINITE, f"{place.shown}: the rate is not a finite number")
    covered_s = covered(place)
    if covered_s < LEAST_COVERAGE * subject.window_s:
        least = format_duration(LEAST_COVERAGE * subject.window_s)
        problem = f"has samples of {format_duration(covered_s)} only of the window of {window}; waiting for {least}"
        raise unknown(NoDataReason.NO_DATA, f"{place.shown} {problem}")
    found = max(0.0, rate) * subject.window_s / covered_s
    if found > MAX_VALUE:
        raise unknown(NoDataReason.NON_FINITE, f"{place.shown}: the rate is no rate that can be")
    return found


def scrape_interval_s(place: Place) -> float | None:
    """Return the time between the samples of the oldest series, seconds; None where a window holds fewer than two."""
    spans = [e.parts for e in place.entries(Kind.SAMPLES) if e.parts.get("count", 0.0) >= 2 and "first" in e.parts]
    if not spans:
        return None
    oldest = min(spans, key=lambda parts: parts["first"])
    interval_s = (oldest.get("last", oldest["first"]) - oldest["first"]) / (oldest["count"] - 1)
    return interval_s if interval_s > 0 else None


def covered(place: Place) -> float:
    """Return the part of the window between the oldest and the newest sample of all, as ``rate`` extrapolates it, s."""
    window_s = place.subject.window_s
    spans = [e.parts for e in place.entries(Kind.SAMPLES) if "first" in e.parts and "last" in e.parts]
    if not spans:
        return 0.0
    oldest = min(spans, key=lambda parts: parts["first"])
    newest_s = max(parts["last"] for parts in spans)
    interval_s = (oldest["last"] - oldest["first"]) / max(1.0, oldest.get("count", 1.0) - 1)
    reach_s = _EXTRAPOLATED_INTERVALS * interval_s
    gap_s = oldest["first"] - (place.snapshot.at_s - window_s)
    age_s = place.snapshot.at_s - newest_s
    # The search for the oldest sample goes in steps: it may find one that is a step too young.
    missing_s = max(0.0, gap_s - interval_s / 2) if gap_s > reach_s + window_step_s(window_s) else 0.0
    # So does that for the newest sample of an ended series; an age taken too large would invent load.
    least_age_s = age_s - window_step_s(max(FINE_S, window_s)) - interval_s
    missing_s += max(0.0, least_age_s - interval_s / 2) if age_s > reach_s else 0.0
    return max(0.0, window_s - missing_s)


def completions_and_growth(completions: Place, waiting: Place | None) -> Arrivals:
    """Estimate arrivals as the prefill pool's completions plus the growth of its queue.

    The queue's change over the window is what arrived and did not complete. A queue that drains is not subtracted:
    then the estimate is too high, never too low. Without a waiting metric the completions are a lower bound.

    Raises
    ------
    UnknownError
        Where the completions are unknown, or requests wait and none completes: that is no idleness.
    """
    rate = rate_of(completions)
    growth = now = None
    if waiting is not None:
        change = waiting.total(Kind.GROWTH, Kind.GROWTH.value)
        growth = max(0.0, change) / covered(completions) if change is not None and math.isfinite(change) else None
        now = waiting.total(Kind.NOW, Kind.NOW.value)
    total = rate + (growth or 0.0)
    if total == 0 and now is not None and now > 0:
        problem = f"counts nothing, while {format_number(now)} requests wait: arrivals cannot be told"
        raise unknown(NoDataReason.NO_DATA, f"{completions.shown} {problem}")
    return Arrivals(total, ArrivalSource.PREFILL_COMPLETIONS)
