"""`python -m soak`: torment a running operator at random for a while, and report what it survived."""

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console as Rich
from rich.table import Table

from localplane.processes import terminate_as_interrupt
from localplane.progress import Console
from localplane.tools import ensure_tools
from pdscaler.api.convert import to_scaling_spec
from pdscaler.api.parse import parse_pddeployment
from pdscaler.core.sizing import size
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.units import parse_duration
from soak.faults import FAULTS, Fault, Holds, choose
from soak.judge import Judge
from soak.world import GPUS, NAMESPACE, World, sleep_until
from support.replica_changes import Orders
from support.stage import DECODE, NAME, PREFILL

LOADS_RPS = (30.0, 50.0, 70.0, 130.0, 170.0, 210.0)
"""None at a boundary between two counts; the last one needs more than the budget."""
RECOVERY_S = 90.0
SEEN_WITHIN_S = 9.0
"""A fault that lasts longer than this, and blinds, must be told by the conditions."""


@dataclass(slots=True)
class Tally:
    """How often a fault came, and how long the operator took to be right again afterwards."""

    times: int = 0
    recovered_s: list[float] = field(default_factory=list)


def main() -> None:
    """Run the soak test; exit 1 if anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--duration", default="30m", help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of faults, loads and durations (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("build/soak"), help="folder of soak.json and the logs")
    options = parser.parse_args()
    length_s = parse_duration(options.duration, "--duration")
    terminate_as_interrupt()
    options.output.mkdir(parents=True, exist_ok=True)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # a proxy whose upstream is gone is no news
    progress = Console()
    tools = ensure_tools(progress)
    judge = Judge()
    tallies: dict[str, Tally] = defaultdict(Tally)
    progress.line("starting the control plane, Prometheus, the engines and the operator")
    with tempfile.TemporaryDirectory(prefix="pdscaler-soak-", ignore_cleanup_errors=True) as folder:
        with World(Path(folder), tools) as world, Orders(world.administrator, NAMESPACE, GPUS, judge.sees):
            rounds = _torment(world, judge, tallies, random.Random(options.seed), length_s, progress)
            log = "".join(each.log.read_text(encoding="utf-8", errors="replace") for each in world.operators)
        (options.output / "operator.log").write_text(log, encoding="utf-8")
    document = _document(judge, tallies, rounds, options)
    (options.output / "soak.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    _show(judge, tallies, rounds)
    sys.exit(1 if judge.violations else 0)


def _torment(
    world: World, judge: Judge, tallies: dict[str, Tally], rng: random.Random, length_s: float, progress: Console
) -> int:
    """Run rounds of a new load, one or two faults, and a recovery; return how many."""
    end_s = time.monotonic() + length_s
    begun_s: dict[str, float] = {}
    load = LOADS_RPS[0]
    world.engines.set_load(load)
    _recover(world, judge, load, "the start")
    rounds = 0
    while time.monotonic() < end_s:
        rounds += 1
        load = rng.choice(LOADS_RPS)
        faults = choose(rng, begun_s, time.monotonic())
        names = " and ".join(fault.name for fault in faults)
        left_s = max(0.0, end_s - time.monotonic())
        progress.line(f"round {rounds}, {left_s / 60:.0f} min left: {load:g} requests/s; {names}")
        if rng.random() < 0.5:  # the load changes before the fault, or within it
            world.engines.set_load(load)
            time.sleep(rng.uniform(0.0, 6.0))
        for fault in faults:
            begun_s[fault.name] = time.monotonic()
        _inflict(world, judge, rng, faults, load)
        seconds = _recover(world, judge, load, names)
        for violation in judge.unread():
            progress.line(f"  ! {violation}")
        for fault in faults:
            tallies[fault.name].times += 1
            if seconds is not None:
                tallies[fault.name].recovered_s.append(seconds)
    return rounds


def _inflict(world: World, judge: Judge, rng: random.Random, faults: list[Fault], load: float) -> None:
    """Let some faults happen for a while; the operator must say what it sees."""
    ends = []
    for fault in faults:
        end = fault.begin(world, rng)
        ends.append((judge.begins(fault), end))
        time.sleep(rng.uniform(0.0, 2.0))
    world.engines.set_load(load)
    lasts_s = max(fault.grace_s for fault in faults) + rng.uniform(2.0, 14.0)
    until_s = time.monotonic() + lasts_s
    blind = any(fault.holds is Holds.NO_DATA for fault in faults)
    answers = all(fault.part not in {"api", "operator", "resource"} for fault in faults)
    sleep_until(until_s)
    if blind and answers and lasts_s > max(fault.grace_s for fault in faults) + SEEN_WITHIN_S:
        found = world.condition("MetricsAvailable")
        if found[0] != "False":
            judge.says(f"MetricsAvailable is {found} while {' and '.join(fault.name for fault in faults)}")
    for torment, end in reversed(ends):
        torment.ended_s = time.monotonic()
        end()


def _recover(world: World, judge: Judge, load: float, after: str) -> float | None:
    """Wait until all is as it should be at this load; return how long that took, None where it never was."""
    wanted = _wanted(world, load)
    begin_s = time.monotonic()
    found: dict[str, Any] = {}
    while time.monotonic() - begin_s < RECOVERY_S:
        if not world.operator.running:
            judge.says(f"the operator ended with status {world.operator.returncode} after {after}")
            world.plane.processes.forget(world.operator)
            world.start_operator()
        try:
            found = {
                "replicas": _replicas(world),
                "metrics": world.condition("MetricsAvailable")[0],
                "ready": world.condition("Ready")[0],
                "healthy": world.healthy(),
            }
        except OSError as error:
            found = {"api": str(error)}
        if found == {"replicas": wanted, "metrics": "True", "ready": "True", "healthy": True}:
            return time.monotonic() - begin_s
        time.sleep(0.5)
    judge.says(f"not as it should be ({wanted}) {RECOVERY_S:g} s after {after}: {found}; {world.status()}")
    return None


def _replicas(world: World) -> tuple[int, int]:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    found = {each["metadata"]["name"]: int(each["spec"]["replicas"]) for each in world.administrator.get(path)["items"]}
    return found[PREFILL], found[DECODE]


def _wanted(world: World, load: float) -> tuple[int, int]:
    """Return what the model says, asked here."""
    path = f"/apis/pdscaler.io/v1alpha1/namespaces/{NAMESPACE}/pddeployments/{NAME}"
    document = world.administrator.get(path)
    document.pop("status", None)
    spec = to_scaling_spec(parse_pddeployment(document))
    workload = WorkloadStats(load, LengthStats(world.engines.input_tokens), LengthStats(world.engines.output_tokens))
    pools = size(spec.sizing, workload).pools
    return pools.prefill.replicas, pools.decode.replicas


def _document(judge: Judge, tallies: dict[str, Tally], rounds: int, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "duration": options.duration,
        "seed": options.seed,
        "rounds": rounds,
        "orders": len(judge.changes),
        "violations": judge.violations,
        "faults": {
            name: {"times": tally.times, "recovered": len(tally.recovered_s), "slowest_s": _slowest(tally)}
            for name, tally in sorted(tallies.items())
        },
    }


def _slowest(tally: Tally) -> float | None:
    return round(max(tally.recovered_s), 1) if tally.recovered_s else None


def _show(judge: Judge, tallies: dict[str, Tally], rounds: int) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("fault", "times", "survived", "right again after, at most"):
        table.add_column(heading, justify="left" if heading == "fault" else "right", no_wrap=True)
    for fault in FAULTS:
        tally = tallies.get(fault.name, Tally())
        slowest = _slowest(tally)
        after = "–" if slowest is None else f"{slowest:.0f} s"
        table.add_row(fault.name, str(tally.times), str(len(tally.recovered_s)), after)
    console = Rich()
    console.width = max(console.width, 100)
    console.print(table)
    console.print(f"{rounds} rounds, {len(judge.changes)} orders by the operator, {len(judge.violations)} violations")
    for violation in judge.violations:
        console.print(f"  ! {violation}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
