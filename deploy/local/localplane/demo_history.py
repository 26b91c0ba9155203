"""The days before the demo's: what Prometheus would have kept of them. Imports numpy and the operator's phases.

A forecast learns from the past, and a demo of minutes has none. So the phases are played again and again up to a
moment before the load begins, second by second: Poisson arrivals and drawn lengths, as the front door would have
counted them. ``promtool`` writes them into Prometheus's storage, and the operator reads them back like any other past.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localplane.errors import LocalPlaneError
from pdscaler.core.simulation.requests import draw_lengths
from pdscaler.simulator.workload import Phase

DAYS = 30
"""How many days are kept: an hour and a half of the demo's days."""

GAP_S = 20
"""The past ends so long before the load begins: its last load shall not stand in the first readings."""

_COUNTERS = ("llm_d_epp_request_total",)
_LENGTHS = (("llm_d_epp_request_input_tokens", 1), ("llm_d_epp_request_output_tokens", 2))


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Counters at whole seconds.

    Parameters
    ----------
    times_s
        Seconds relative to the begin of the load; negative.
    counters
        Requests, tokens of prompts and tokens of answers so far, one row each.
    """

    times_s: NDArray[np.float64]
    counters: NDArray[np.float64]


def days_before(phases: Sequence[Phase], rng: np.random.Generator, days: int = DAYS) -> Past:
    """Play the phases ``days`` times, so that the next day begins at 0; the lengths are those of the last phase.

    Parameters
    ----------
    phases
        A day.
    rng
        Random generator.
    days
        How many.
    """
    day_s = sum(phase.duration_s for phase in phases)
    times = np.arange(-round(days * day_s), -GAP_S + 1, dtype=np.float64)
    expected = np.array([_expected(phases, at_s % day_s) + at_s // day_s * _expected(phases, day_s) for at_s in times])
    arrived = rng.poisson(np.diff(expected))
    usual, total = phases[-1], int(arrived.sum())
    rows = [np.concatenate([[0.0], np.cumsum(arrived)])]
    for lengths in (usual.isl, usual.osl):
        tokens = np.concatenate([[0.0], np.cumsum(draw_lengths(lengths, rng, total))])
        rows.append(tokens[rows[0].astype(np.int64)])
    return Past(times, np.array(rows))


def write_past(past: Past, begin_s: float, labels: Mapping[str, str], promtool: Path, folder: Path) -> None:
    """Write the past into the storage of a Prometheus that has not started yet.

    Parameters
    ----------
    past
        The counters.
    begin_s
        When the load will begin, seconds since the epoch.
    labels
        Those that Prometheus has of the front door: namespace and model.
    promtool
        The binary.
    folder
        Prometheus's data folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = folder.parent / "past.txt"
    written = ",".join(f'{name}="{value}"' for name, value in labels.items())
    series = [(name, 0) for name in _COUNTERS]
    for name, row in _LENGTHS:
        series += [(f"{name}_sum", row), (f"{name}_count", 0)]
    with source.open("w", encoding="utf-8") as file:
        for name, row in series:
            for at_s, value in zip(past.times_s.tolist(), past.counters[row].tolist(), strict=True):
                file.write(f"{name}{{{written}}} {value:.0f} {begin_s + at_s:.0f}\n")
        file.write("# EOF\n")
    command = [str(promtool), "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(source), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise LocalPlaneError(f"promtool could not write the past: {done.stderr.strip()[-300:]}")
    source.unlink()


def _expected(phases: Sequence[Phase], at_s: float) -> float:
    """Return how many requests a day is expected to have seen at an instant of it."""
    total = 0.0
    for phase in phases:
        total += phase.expected(at_s)
        at_s -= phase.duration_s
    return total
