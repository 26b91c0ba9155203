"""`python -m bench.sizing.same_work --profile FILE`: the same work for NVIDIA's planner and for ours, simulated.

Five loads at two targets each, and the cliff: the TPOT target tightens step by step, up to one that nothing meets.
Poisson arrivals, constant lengths, the GPUs that the file says. Imports pdscaler's core.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.sizing.cases import MAX_REPLICAS
from bench.sizing.engines import Engine, engine_of, every_decode_row
from bench.sizing.judge import REFERENCE_SEED
from bench.sizing.reference import Reference, Verdict
from rich.console import Console
from rich.table import Table

from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.run import deployment_of
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import PoolLimits, SizingSpec
from pdscaler.core.verify import verify
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.policies import dynamo_rules as dynamo
from pdscaler.units import format_duration

ROWS = (
    (33.0, 3000, 150, 0.3, 0.030),
    (60.0, 3000, 150, 0.2, 0.020),
    (50.0, 1000, 500, 0.3, 0.010),
    (200.0, 1000, 200, 0.2, 0.025),
    (15.0, 12_000, 500, 0.5, 0.015),
)
"""Rate, input tokens, output tokens, TTFT and TPOT targets, seconds."""

CLIFF = (100.0, 3000, 150, 0.5)
CLIFF_TPOT_S = (0.012, 0.008, 0.007, 0.0065, 0.0062, 0.006, 0.005)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizing.same_work", description=__doc__)
    parser.add_argument("--profile", type=Path, required=True, help="a file of measurements")
    options = parser.parse_args()
    try:
        engine = engine_of(options.profile)
        published = every_decode_row(engine, options.profile)
    except InvalidInputError as error:
        parser.error(str(error))
    console = Console()
    console.width = max(console.width, 130)
    console.print("The same work: planned counts, then simulated TTFT and TPOT (mean / P95)\n")
    _print(console, engine, published, ROWS)
    console.print("\nThe cliff: the TPOT target tightens\n")
    _print(console, engine, published, [(*CLIFF, tpot_s) for tpot_s in CLIFF_TPOT_S])


def question(
    engine: Engine, row: tuple[float, int, int, float, float], statistic: Statistic
) -> tuple[SizingSpec, WorkloadStats]:
    """Return a row as a planner is asked it."""
    rate, input_tokens, output_tokens, ttft_s, tpot_s = row
    spec = SizingSpec(
        name="same-work",
        slo=Slo(LatencyTarget(ttft_s, statistic), LatencyTarget(tpot_s, statistic)),
        prefill_profile=engine.prefill,
        decode_profile=engine.decode,
        limits=PerPool(
            PoolLimits(1, MAX_REPLICAS, engine.gpus.prefill), PoolLimits(1, MAX_REPLICAS, engine.gpus.decode)
        ),
    )
    return spec, WorkloadStats(rate, LengthStats(input_tokens), LengthStats(output_tokens))


def plans(
    engine: Engine, published: Engine, row: tuple[float, int, int, float, float]
) -> Iterator[tuple[str, PerPool[int] | None, str]]:
    """Yield planner, counts, and a note. NVIDIA's current planner sees every decode row of the file, as it does."""
    for name, statistic in (("ours, mean", Statistic.MEAN), ("ours, P95", Statistic.P95)):
        result = verify(*question(engine, row, statistic))
        yield name, result.pools.map(lambda pool: pool.replicas), "" if result.feasible else result.infeasible_reason
    yield "Dynamo current", dynamo.current(*question(published, row, Statistic.MEAN)), ""
    yield "Dynamo classic", dynamo.classic(*question(engine, row, Statistic.MEAN)), ""


def _print(
    console: Console, engine: Engine, published: Engine, rows: Sequence[tuple[float, int, int, float, float]]
) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (
        "rate",
        "in/out",
        "TTFT/TPOT",
        "planner",
        "plan",
        "TTFT mean / P95",
        "TPOT mean / P95",
        "meets mean / P95",
        "",
    ):
        table.add_column(heading, no_wrap=heading != "")
    for row in rows:
        rate, input_tokens, output_tokens, ttft_s, tpot_s = row
        cells = [f"{rate:g}", f"{input_tokens}/{output_tokens}", f"{1000 * ttft_s:g}/{1000 * tpot_s:g} ms"]
        judges = {statistic: _reference(engine, row, statistic) for statistic in (Statistic.MEAN, Statistic.P95)}
        for name, pair, note in plans(engine, published, row):
            if pair is None:
                table.add_row(*cells, name, "refuses", "", "", "", note)
                continue
            ttft = [judge.ttft(pair.prefill) for judge in judges.values()]
            tpot = [judge.tpot(pair.prefill, pair.decode) for judge in judges.values()]
            met = " / ".join(_yes(one.meets and other.meets) for one, other in zip(ttft, tpot, strict=True))
            table.add_row(*cells, name, f"{pair.prefill}P{pair.decode}D", _times(ttft), _times(tpot), met, note)
            cells = ["", "", ""]
        table.add_section()
    console.print(table)


def _reference(engine: Engine, row: tuple[float, int, int, float, float], statistic: Statistic) -> Reference:
    spec, workload = question(engine, row, statistic)
    return Reference(deployment_of(spec), workload, spec.slo, REFERENCE_SEED)


def _times(verdicts: Sequence[Verdict]) -> str:
    return " / ".join(format_duration(verdict.value_s) for verdict in verdicts)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


if __name__ == "__main__":
    main()
