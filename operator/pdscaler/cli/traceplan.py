"""``pdscaler plan`` from a load to the answer: by formula, verified, or over a whole trace. May import click, core."""

import time
from collections.abc import Callable

import click

from pdscaler.cli.workload import Load
from pdscaler.core.decision import SizingResult
from pdscaler.core.pools import Pool
from pdscaler.core.sizing import size
from pdscaler.core.spec import SizingModel, SizingSpec
from pdscaler.core.verify import verify
from pdscaler.units import format_number

SILENT_S = 1.5
"""What takes no longer says nothing on the way, seconds."""


def plan_load(spec: SizingSpec, load: Load, verified: bool) -> tuple[SizingResult, tuple[str, ...]]:
    """Size for a load.

    Parameters
    ----------
    spec
        What to size.
    load
        A workload; where it comes from a trace, with its requests.
    verified
        Whether to settle the counts by simulation.

    Returns
    -------
    tuple[SizingResult, tuple[str, ...]]
        The answer, and what the user should know about how it was found.
    """
    if not verified:
        unseen = () if load.requests is None else ("sized by formula for that load: no request was replayed",)
        return size(spec, load.workload), unseen
    if load.requests is None or spec.model is SizingModel.PAPER_MM1:
        return verify(spec, load.workload), ()
    from pdscaler.core.verify_trace import verify_trace

    result = verify_trace(spec, load.workload, load.requests, Progress(time.monotonic))
    return result, (f"all {len(load.requests)} requests of the trace were simulated, each latency counted",)


class Progress:
    """Says on standard error what is being simulated, once it takes longer than a moment.

    Parameters
    ----------
    timer
        Seconds that never go back.
    """

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._began_s = timer()

    def __call__(self, pool: Pool, replicas: int, requests: int) -> None:
        """Say which count is simulated next."""
        elapsed_s = self._timer() - self._began_s
        if elapsed_s >= SILENT_S:
            done = f"{format_number(requests / 1e6)} million requests in {format_number(elapsed_s, 2)} s"
            click.echo(f"{pool.value}: trying {replicas} ({done})", err=True)
