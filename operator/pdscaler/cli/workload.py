"""The workload options that commands share: figures, or a trace. May import click, core, units, simulator (late)."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError
from pdscaler.units import format_number

if TYPE_CHECKING:
    from pdscaler.core.simulation.requests import RequestTable
    from pdscaler.simulator.traces import Trace

PEAK_WINDOW_S = 60.0
"""Bursts of minutes are load; what is shorter is the queue's business."""


class Number(click.ParamType[float]):
    """A finite number within bounds."""

    name = "number"

    def __init__(self, low: float, high: float, *, below: bool = False) -> None:
        self.low = low
        self.high = high
        self.below = below

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ARG002
        """Read the number, or say what is wrong with it."""
        option = param.opts[-1] if param else ""
        try:
            number = float(str(value))
        except ValueError:
            raise InvalidInputError(option, f'"{str(value)[:40]}" is not a number') from None
        if not math.isfinite(number) or not self.low <= number <= self.high or (self.below and number == self.high):
            upper = f"{'below' if self.below else 'at most'} {self.high:.12g}"
            raise InvalidInputError(option, f"{str(value)[:40]} must be at least {self.low:g} and {upper}")
        return number


RATE = Number(0, 1e7)
LENGTH = Number(1, 1e8)
SCV = Number(0, 1e4)


@dataclass(frozen=True, slots=True)
class Load:
    """A workload to size for, and what the user should know about it."""

    workload: WorkloadStats
    notes: tuple[str, ...] = ()
    requests: "RequestTable | None" = None
    """Every request, where they were recorded; the workload is then that of the busiest minute."""


def workload_options(function: Any) -> Any:
    """Add the options that describe a workload."""
    for option in reversed(
        (
            click.option("--arrival-rate", type=RATE, metavar="R", help="Requests per second."),
            click.option("--input-tokens", type=LENGTH, metavar="N", help="Mean prompt length, tokens."),
            click.option("--output-tokens", type=LENGTH, metavar="M", help="Mean answer length, tokens."),
            click.option("--input-tokens-scv", type=SCV, metavar="X", help="Variance over squared mean; 0."),
            click.option("--output-tokens-scv", type=SCV, metavar="X", help="Variance over squared mean; 0."),
            click.option(
                "--arrival-scv", type=SCV, metavar="X", help="The same of the inter-arrival times; 1: Poisson."
            ),
            click.option(
                "--prefix-hit-ratio", type=Number(0, 1, below=True), metavar="X", help="Share of cached input; 0."
            ),
            click.option("--trace", type=click.Path(path_type=Path), metavar="FILE", help="Recorded requests instead."),
            click.option("--rate-scale", type=Number(1e-6, 1e6), metavar="X", help="Multiplies the trace's rate."),
        )
    ):
        function = option(function)
    return function


def load_of(options: dict[str, Any]) -> Load:
    """Return the workload that the options describe.

    Raises
    ------
    InvalidInputError
        If figures are missing, or figures and a trace are mixed.
    """
    figures = {
        name: value for name, value in options.items() if name not in ("trace", "rate_scale") and value is not None
    }
    if options["trace"] is not None:
        if figures:
            raise InvalidInputError(_flag(next(iter(figures))), "excludes --trace: the trace says it")
        return _trace_load(options["trace"], options["rate_scale"])
    if options["rate_scale"] is not None:
        raise InvalidInputError("--rate-scale", "goes with --trace")
    for name in ("arrival_rate", "input_tokens", "output_tokens"):
        if name not in figures:
            raise InvalidInputError(_flag(name), "is required (or --trace FILE)")
    return Load(
        WorkloadStats(
            arrival_rate_rps=figures["arrival_rate"],
            isl=LengthStats(figures["input_tokens"], figures.get("input_tokens_scv", 0.0)),
            osl=LengthStats(figures["output_tokens"], figures.get("output_tokens_scv", 0.0)),
            arrival_scv=figures.get("arrival_scv", 1.0),
            prefix_hit_ratio=figures.get("prefix_hit_ratio", 0.0),
        )
    )


def _trace_load(path: Path, rate_scale: float | None) -> Load:
    import numpy as np

    from pdscaler.core.simulation.requests import RequestTable
    from pdscaler.simulator.traces import read_trace, scale_trace, trace_workload

    trace = read_trace(path)
    if rate_scale is not None:
        trace = scale_trace(trace, rate_scale, np.random.default_rng(0))
    whole = trace_workload(trace)
    peak_rps, window_s = peak_rate(trace)
    note = (
        f"the load is that of the busiest {format_number(window_s)} s of {len(trace)} requests "
        f"({format_number(peak_rps)} requests/s, mean {format_number(whole.arrival_rate_rps)})"
    )
    workload = WorkloadStats(
        arrival_rate_rps=peak_rps,
        isl=whole.isl,
        osl=whole.osl,
        # The trace's own scv measures minutes of varying rate too: the peak rate already holds those.
        arrival_scv=1.0,
        prefix_hit_ratio=whole.prefix_hit_ratio,
    )
    requests = RequestTable(trace.arrival_s, trace.input_tokens, trace.output_tokens, trace.prefix_hit_tokens)
    return Load(workload, (*trace.notes, note), requests)


def peak_rate(trace: "Trace") -> tuple[float, float]:
    """Return the greatest arrival rate over any window of a minute (the whole trace, if shorter), and the window.

    Returns
    -------
    tuple[float, float]
        Requests/s, and the length of the window, seconds.
    """
    import numpy as np

    arrivals = trace.arrival_s
    window_s = min(PEAK_WINDOW_S, float(arrivals[-1] - arrivals[0]))
    # Windows that start with an arrival: one of them holds the most.
    counts = np.searchsorted(arrivals, arrivals + window_s, side="left") - np.arange(len(arrivals))
    return float(counts.max()) / window_s, window_s


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
