"""``pdscaler simulate``: the event simulation of a fixed xPyD. May import click, api, core, units and cli.

numba is imported by the simulation itself, so that bad input is told at once.
"""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pdscaler.api.convert import to_sizing_spec
from pdscaler.api.parse import load_pddeployment
from pdscaler.cli.output import emit, output_option, terminal_width
from pdscaler.cli.simulatetable import Simulated, simulate_table
from pdscaler.cli.workload import Load, load_of, workload_options
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.simulation.outcome import Attainment, LatencyEstimates, summary
from pdscaler.core.simulation.requests import RequestTable, draw_requests
from pdscaler.core.simulation.run import deployment_of, simulate
from pdscaler.core.simulation.statistics import Estimate
from pdscaler.core.simulation.stream import RELATIVE_ERROR, simulate_stream
from pdscaler.core.slo import Statistic
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import WorkloadStats
from pdscaler.errors import InvalidInputError
from pdscaler.units import format_number

SLO_MISSED = 3

REQUESTS = 200_000
"""Requests of a simulation where none are asked for: half a second, and a P99 to a few per cent."""

STREAMED = 2_000_000
"""More requests than these are streamed: only statistics are kept."""

PROGRESS_S = 3.0
"""Time between two lines that say how far a long simulation is, seconds."""

_COUNT = click.IntRange(1, 10_000)


@click.command("simulate")
@click.option("-f", "--file", type=click.Path(path_type=Path), required=True, help="YAML file with the PDDeployment.")
@click.option("--prefill", type=_COUNT, required=True, metavar="P", help="Prefill replicas.")
@click.option("--decode", type=_COUNT, required=True, metavar="D", help="Decode replicas.")
@workload_options
@click.option(
    "--requests",
    type=click.IntRange(100, 10**9),
    metavar="N",
    help=f"Requests to simulate; {REQUESTS}, or all of the trace.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of all random numbers.")
@output_option
@click.pass_context
def simulate_command(
    ctx: click.Context,
    /,
    *,
    file: Path,
    prefill: int,
    decode: int,
    requests: int | None,
    seed: int,
    output: str,
    **workload: Any,
) -> None:
    """Simulate a fixed number of replicas under a workload, request by request.

    Give --arrival-rate, --input-tokens and --output-tokens, or a --trace. Statistics are of the steady state, with 95 %
    confidence intervals. Exit status: 0 done, 2 bad input, 3 done but a target is missed.
    """
    load = load_of(workload)
    resource = load_pddeployment(file)
    spec = to_sizing_spec(resource)
    replicas = PerPool(prefill, decode)
    try:
        simulated = _simulated(spec, load, replicas, requests, seed)
    except InvalidInputError as error:
        raise error.with_source(str(file)) if error.field.startswith("spec.") else error from None
    emit(simulate_document(simulated), output, lambda: simulate_table(simulated, width=terminal_width()))
    if False in simulated.meets.values():
        ctx.exit(SLO_MISSED)


def _simulated(spec: SizingSpec, load: Load, replicas: PerPool[int], requests: int | None, seed: int) -> Simulated:
    deployment = deployment_of(spec)
    if load.requests is not None:
        table = load.requests if requests is None else load.requests.first(requests)
        # A trace is simulated as it is: no more is left out than it takes to fill the empty system.
        found = summary(simulate(deployment, table, replicas, seed=seed), spec.slo, least_share=0.0)
        notes = (*load.notes[:-1], f"{len(table)} requests of the trace simulated")  # not for one rate, as in plan
        return Simulated(spec, _of_table(load.workload, table), replicas, found, len(table), seed, notes)
    if load.workload.arrival_rate_rps == 0:
        raise InvalidInputError("--arrival-rate", "is 0: nothing arrives, so there is nothing to simulate")
    count = REQUESTS if requests is None else requests
    if count <= STREAMED:
        table = draw_requests(load.workload, count, seed)
        found = summary(simulate(deployment, table, replicas, seed=seed), spec.slo)
        return Simulated(spec, load.workload, replicas, found, count, seed, load.notes)
    found = simulate_stream(
        deployment, load.workload, count, replicas, spec.slo, seed=seed, progress=_progress(count, time.monotonic)
    )
    note = f"percentiles are read off histograms, to {format_number(RELATIVE_ERROR * 100)} %"
    return Simulated(spec, load.workload, replicas, found, count, seed, (*load.notes, note))


def _progress(count: int, timer: Callable[[], float]) -> Callable[[int], None]:
    """Return what says on a terminal's standard error, every few seconds, how far a long simulation is."""
    said_s = timer()

    def tell(done: int) -> None:
        nonlocal said_s
        if done < count and timer() - said_s >= PROGRESS_S and sys.stderr.isatty():
            said_s = timer()
            click.echo(
                f"simulated {format_number(done / 1e6)} of {format_number(count / 1e6)} million requests", err=True
            )

    return tell


def _of_table(workload: WorkloadStats, table: RequestTable) -> WorkloadStats:
    """Return a trace's workload at the mean rate of what was simulated of it."""
    span_s = float(table.arrival_s[-1] - table.arrival_s[0])
    rate_rps = (len(table) - 1) / span_s if span_s > 0 else workload.arrival_rate_rps
    return WorkloadStats(rate_rps, workload.isl, workload.osl, workload.arrival_scv, workload.prefix_hit_ratio)


def simulate_document(simulated: Simulated) -> dict[str, object]:
    """Return the answer as the JSON document of DESIGN section 5.

    What an overloaded pool makes unbounded is null; ``intervals`` holds the 95 % confidence interval of every figure.
    """
    found, replicas = simulated.found, simulated.replicas
    return {
        "name": simulated.spec.name,
        "label": simulated.label,
        "gpus": simulated.gpus,
        "ttft_s": _values(found.ttft_s),
        "tpot_s": _values(found.tpot_s),
        "attainment": _shares(found.attainment),
        "goodput_rps": found.goodput_rps.value,
        "meets": {"ttft": simulated.meets[Pool.PREFILL], "tpot": simulated.meets[Pool.DECODE]},
        "overloaded": [pool.value for pool in found.overloaded],
        "intervals": {
            "ttft_s": _intervals(found.ttft_s),
            "tpot_s": _intervals(found.tpot_s),
            "attainment": {
                "ttft": _interval(found.attainment.ttft, 1.0),
                "tpot": _interval(found.attainment.tpot, 1.0),
                "joint": _interval(found.attainment.joint, 1.0),
            },
            "goodput_rps": _interval(found.goodput_rps),
        },
        "prefill": {"replicas": replicas.prefill, "utilization": found.prefill_busy},
        "decode": {"replicas": replicas.decode, "batch_mean": found.decode_batch},
        "requests": simulated.requests,
        "counted": found.requests,
        "run_in": found.run_in,
        "arrival_rate_rps": found.rate_rps,
        "seed": simulated.seed,
        "warnings": list(simulated.notes),
    }


def _values(latency: LatencyEstimates) -> dict[str, float]:
    return {statistic.value.lower(): latency.of(statistic).value for statistic in Statistic}


def _intervals(latency: LatencyEstimates) -> dict[str, list[float]]:
    return {statistic.value.lower(): _interval(latency.of(statistic)) for statistic in Statistic}


def _shares(attainment: Attainment) -> dict[str, float]:
    return {"ttft": attainment.ttft.value, "tpot": attainment.tpot.value, "joint": attainment.joint.value}


def _interval(estimate: Estimate, most: float = math.inf) -> list[float]:
    return [max(0.0, estimate.low), min(most, estimate.high)]
