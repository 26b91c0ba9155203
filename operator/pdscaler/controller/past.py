"""Of which past a forecast is, and how much of it must be known. Pure: no I/O, no clock."""

import math

import numpy as np

from pdscaler.core.spec import ScalingSpec
from pdscaler.core.workload import WorkloadStats
from pdscaler.forecast import History
from pdscaler.forecast.history import Row
from pdscaler.telemetry.subject import Subject
from pdscaler.units import format_duration

RATE_WINDOW_S = 60.0
"""Rates are averaged over so long, or over the rate window of the readings where that is shorter."""
SCRAPES_IN_WINDOW = 4
"""And never over fewer scrapes than this."""
FILLED_SHARE = 0.8
"""Share of the window before now that must be known before there may be fewer replicas."""


def source_of(subject: Subject) -> tuple[object, ...]:
    """Return all that decides whose history it is; not the pods, which change with every order."""
    return (
        subject.endpoint,
        subject.model,
        subject.engine,
        subject.front_door_preset,
        subject.front_door_labels,
        subject.pool_label,
        subject.targets,
        subject.window_s,
    )


def rate_window_s(scrape_interval_s: float | None, window_s: float) -> float:
    """Return over how long rates of the past are averaged, whole seconds."""
    scrapes_s = SCRAPES_IN_WINDOW * round(scrape_interval_s or 0.0)
    return float(max(1, scrapes_s, math.ceil(min(RATE_WINDOW_S, window_s))))


def gate_s(spec: ScalingSpec) -> float:
    """Return of how long before now the load must be known before there may be fewer replicas, seconds."""
    windows_s = (limits.behavior.scale_down.stabilization_window_s for _, limits in spec.sizing.limits.items())
    return max(spec.window_s, *windows_s)


def unfilled(history: History, before_s: float) -> str:
    """Say how much of the time before now is not known; empty where enough of it is."""
    share = history.coverage(before_s)
    return "" if share >= FILLED_SHARE else f"{share:.0%} of the last {format_duration(before_s)} are known"


def with_spread(history: History, workload: WorkloadStats) -> History:
    """Give the samples the spread of lengths that was read now: the past holds their means only."""
    values = history.values.copy()
    for mean, scv, lengths in (
        (Row.ISL_MEAN, Row.ISL_SCV, workload.isl),
        (Row.OSL_MEAN, Row.OSL_SCV, workload.osl),
    ):
        if lengths is not None:
            values[scv, ~np.isnan(values[mean])] = lengths.scv
    return History(history.step_s, history.end_s, values, history.window_s)
