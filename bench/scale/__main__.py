"""`python -m bench.scale`: a thousand PDDeployments on a real control plane, and the same work done by HPA."""

import argparse
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.scale import hpa
from bench.scale.exposition import FleetMetrics
from bench.scale.fleet import PUBLISHED, Member, fleet
from bench.scale.measure import Counters, Usage, Watch, counters, peak_mib, requests_of
from bench.scale.stack import ROOT, Stack, pods_of
from rich.console import Console as Rich
from rich.table import Table

from localplane.demo_stack import OPERATOR_USER
from localplane.plane import ControlPlane
from localplane.processes import Process, terminate_as_interrupt
from localplane.progress import Console
from localplane.prom import Prometheus
from localplane.tools import ensure_tools
from localplane.waiting import wait_for

PERIOD_S = 15.0
_COUNT = 1000
SETTLE_S = 480.0
"""What waits for five minutes of history, or gives replicas back after five, has changed its word by then."""
_PODS_PER_NODE = 240
_PARTS = ("kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler", "kwok")
_EVALUATIONS = "pdscaler_evaluations_total"
_PLANNED = 'outcome="Planned"'
_LAST_PLAN = "pdscaler_last_plan_timestamp_seconds"
_ROUNDS = "pdscaler_round_duration_seconds"
_OVERTAKEN = "pdscaler_overtaken_evaluations_total"
_QUERIES = "prometheus_http_requests_total"
_QUERY_PATHS = ('handler="/api/v1/query"', 'handler="/api/v1/query_range"')


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to.

    Parameters
    ----------
    healthy, broken, refused
        PDDeployments: the healthy ones, the broken ones that exist, and those the API server did not take.
    settled_s
        From the operator's start until every healthy one had a verdict.
    settling, steady
        Cores that each part used in that time, and at steady load.
    usage, peak_mib
        Of the operator at steady load; its most memory ever.
    evaluated
        Evaluations that went by live metrics, over those that were due: one for each healthy PDDeployment, and each
        broken one that can be planned all the same, and period.
    requests, requests_per_s
        Of the operator to the API server.
    queries_per_period
        Of the operator to Prometheus.
    parts_s
        Mean time of each part of a round, seconds.
    overtaken
        Evaluations that had not ended when the next round was due.
    hpa
        What the controller manager used more than before once HPAs did the same work, and their requests per second;
        None where that was not asked for.
    """

    healthy: int
    broken: int
    refused: int
    settled_s: float
    settling: dict[str, float]
    steady: dict[str, float]
    usage: Usage
    peak_mib: float
    evaluated: float
    requests: Counter[str]
    requests_per_s: float
    queries_per_period: float
    parts_s: dict[str, float]
    overtaken: int
    hpa: tuple[float, float] | None


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--count", type=int, default=_COUNT, help="PDDeployments (default: %(default)s)")
    parser.add_argument("--broken", type=int, default=100, help="so many of them are broken (default: %(default)s)")
    parser.add_argument("--periods", type=int, default=12, help="evaluation periods to measure (default: %(default)s)")
    parser.add_argument("--period", type=float, default=PERIOD_S, help="evaluation period, seconds")
    parser.add_argument("--sizing", default=PUBLISHED, help="sizing model of all (default: %(default)s)")
    parser.add_argument("--no-hpa", action="store_true", help="leave HPA out")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build" / "bench-scale", help="folder of scale.json and operator.log"
    )
    options = parser.parse_args()
    if not 0 <= options.broken <= options.count or options.count < 1 or options.periods < 1:
        parser.error("--count and --periods must be at least 1, --broken at most --count")
    terminate_as_interrupt()
    options.output.mkdir(parents=True, exist_ok=True)
    # A longer period is asked for where there is more to read: what is read is then also scraped less often.
    scrape_s = max(PERIOD_S, options.period / 2)
    members = fleet(options.count, options.broken, options.sizing, 4 * scrape_s)
    result = run(members, scrape_s, options)
    (options.output / "scale.json").write_text(json.dumps(_document(result), indent=2) + "\n", encoding="utf-8")
    _show(result, options.period)


def run(members: list[Member], scrape_s: float, options: argparse.Namespace) -> Result:
    """Set everything up, measure, and take it down."""
    progress = Console()
    tools = ensure_tools(progress)
    nodes = 2 + sum(3 + member.number % 50 // 20 for member in members) // _PODS_PER_NODE
    with ExitStack() as opened:
        folder = Path(
            opened.enter_context(tempfile.TemporaryDirectory(prefix="pdscaler-scale-", ignore_cleanup_errors=True))
        )
        plane = opened.enter_context(
            ControlPlane(folder / "plane", tools, gpu_nodes=nodes, gpus_per_node=0, hpa_period="15s")
        )
        stack = Stack(plane, members)
        opened.callback(lambda: stack.log.exists() and shutil.copy(stack.log, options.output))
        progress.line(f"creating {2 * len(members)} Deployments on {nodes} nodes")
        pods = stack.create_targets()
        progress.line(f"{pods} pods are Ready; creating {len(members)} PDDeployments")
        stack.create_resources()
        metrics = opened.enter_context(FleetMetrics(members, pods_of(stack.api)))
        server = Prometheus(
            plane.run_dir / "prometheus",
            tools,
            static_targets=metrics.targets,
            scrape_interval=f"{scrape_s:g}s",
            processes=plane.processes,
        )
        server.start()
        progress.line("two minutes of metrics are scraped")
        time.sleep(120.0)
        return _measure(stack, server, options, progress)


def _measure(stack: Stack, server: Prometheus, options: argparse.Namespace, progress: Console) -> Result:
    healthy = [member for member in stack.members if member.fault is None]
    progress.line("starting the operator")
    begin_s = time.monotonic()
    operator, url = stack.start_operator(server, options.period)
    parts = {name: stack.plane.part(name) for name in _PARTS} | {"prometheus": server.process, "pdscaler": operator}
    watches = _watches(parts)
    wait_for(
        "a verdict on every healthy PDDeployment",
        lambda: _decided(stack, healthy),
        max(900.0, 30 * options.period),
        2.0,
    )
    settled_s, settling = time.monotonic() - begin_s, _cores(watches)
    progress.line(f"all {len(healthy)} healthy ones are decided after {settled_s:.0f} s; letting them settle")
    time.sleep(max(SETTLE_S, 8 * options.period))
    operator.check()
    shown = (_EVALUATIONS, f"{_ROUNDS}_sum", f"{_ROUNDS}_count", _OVERTAKEN, _LAST_PLAN)
    watches, mark = _watches(parts), stack.plane.audit_log.mark()
    asked = _queries(server)
    ends_s = time.monotonic() + options.periods * options.period
    first_s, before = time.time(), counters(url, *shown)
    progress.line(f"measuring {options.periods} periods of {options.period:g} s")
    time.sleep(max(0.0, ends_s - time.monotonic()))
    last_s, after = time.time(), counters(url, *shown)
    usage, steady = watches["pdscaler"].usage(), _cores(watches)
    requests = requests_of(stack.plane.audit_log, mark, user=OPERATOR_USER)
    periods = usage.seconds / options.period
    queries = (_queries(server) - asked) / periods
    peak = peak_mib(operator.pid)
    operator.check()
    operator.stop()
    return Result(
        healthy=len(healthy),
        broken=len(stack.members) - len(healthy) - len(stack.refused),
        refused=len(stack.refused),
        settled_s=settled_s,
        settling=settling,
        steady=steady,
        usage=usage,
        peak_mib=peak,
        evaluated=_more(before, after, _EVALUATIONS).get(_PLANNED, 0.0)
        / _due(before, after, healthy, (first_s, last_s), options.period),
        requests=requests,
        requests_per_s=requests.total() / usage.seconds,
        queries_per_period=queries,
        parts_s=_parts_s(before, after),
        overtaken=round(_more(before, after, _OVERTAKEN)[""]),
        hpa=None if options.no_hpa else _measure_hpa(stack, options, progress),
    )


def _measure_hpa(stack: Stack, options: argparse.Namespace, progress: Console) -> tuple[float, float]:
    """Return the cores that the controller manager uses more with HPAs, and their requests per second."""
    plane = stack.plane
    manager = plane.part("kube-controller-manager")
    progress.line("measuring the controller manager without HPAs")
    watch = Watch(manager.pid)
    time.sleep(4 * options.period)
    alone = watch.usage().cores
    scalers = list(hpa.autoscalers(stack.members))
    with hpa.Adapter(plane.run_dir / "pki") as adapter:
        adapter.register(plane)
        progress.line(f"creating {len(scalers)} HorizontalPodAutoscalers on the same Deployments")
        stack.api.create_all(scalers)
        wait_for("HPAs that read their metric", lambda: hpa.settled(stack.api, len(scalers)), 900.0, 5.0)
        time.sleep(4 * options.period)
        progress.line(f"measuring {options.periods} periods of {options.period:g} s")
        watch, mark = Watch(manager.pid), plane.audit_log.mark()
        time.sleep(options.periods * options.period)
        usage = watch.usage()
        requests = requests_of(plane.audit_log, mark, user=hpa.USER)
    return usage.cores - alone, requests.total() / usage.seconds


def _decided(stack: Stack, healthy: list[Member]) -> bool:
    """Whether all healthy ones have a verdict; looks for a tenth of the time only.

    A list of thousands is work for the API server, which takes the statuses meanwhile.
    """
    began_s = time.monotonic()
    states = stack.states()
    # An order alone says nothing: blind, the operator orders what is there.
    decided = all("recommended" in states[member.namespace, member.name].get("decode", {}) for member in healthy)
    if not decided:
        time.sleep(9 * (time.monotonic() - began_s))
    return decided


def _watches(parts: Mapping[str, Process]) -> dict[str, Watch]:
    return {name: Watch(process.pid) for name, process in parts.items()}


def _cores(watches: Mapping[str, Watch]) -> dict[str, float]:
    return {name: watch.usage().cores for name, watch in watches.items()}


def _more(before: Counters, after: Counters, name: str) -> dict[str, float]:
    """Return how much a counter grew, by labels."""
    return {labels: value - before[name].get(labels, 0.0) for labels, value in after[name].items()}


def _due(
    before: Counters, after: Counters, healthy: Sequence[Member], looks_s: tuple[float, float], period_s: float
) -> float:
    """Return how many evaluations were due, of each PDDeployment one in each period since its last one.

    The two looks at the counters may meet a round at its begin and another at its end: a number of periods between
    them would not tell. Within a round the order changes, so that two evaluations in a row may lie almost two periods
    apart; one that was not evaluated for longer than that owes the time since, but for the period that has just begun.
    """
    first, last = before[_LAST_PLAN], after[_LAST_PLAN]
    names = last.keys() | {f'name="{each.name}",namespace="{each.namespace}"' for each in healthy}
    begin_s, end_s = looks_s
    due_s = 0.0
    for name in names:
        newest_s = last.get(name, 0.0)
        stalled = end_s - newest_s > 2 * period_s
        due_s += (end_s - period_s if stalled else newest_s) - first.get(name, begin_s)
    return due_s / period_s


def _parts_s(before: Counters, after: Counters) -> dict[str, float]:
    """Return how long each part of a round took on average, seconds."""
    rounds = _more(before, after, f"{_ROUNDS}_count")
    return {
        labels.split('"')[1]: passed_s / max(1.0, rounds[labels])
        for labels, passed_s in _more(before, after, f"{_ROUNDS}_sum").items()
    }


def _queries(server: Prometheus) -> float:
    found = counters(f"{server.url}/metrics", _QUERIES)[_QUERIES]
    return sum(value for labels, value in found.items() if any(path in labels for path in _QUERY_PATHS))


def _document(result: Result) -> dict[str, Any]:
    return {
        "healthy": result.healthy,
        "broken": result.broken,
        "refused": result.refused,
        "settled_s": round(result.settled_s, 1),
        "settling_cores": {name: round(cores, 3) for name, cores in result.settling.items()},
        "steady_cores": {name: round(cores, 3) for name, cores in result.steady.items()},
        "cores": round(result.usage.cores, 3),
        "memory_mib": round(result.usage.memory_mib, 1),
        "peak_mib": round(result.peak_mib, 1),
        "evaluated_share": round(result.evaluated, 4),
        "api_requests_per_s": round(result.requests_per_s, 3),
        "api_requests": dict(result.requests.most_common()),
        "queries_per_period": round(result.queries_per_period, 2),
        "round_s": {part: round(passed_s, 3) for part, passed_s in result.parts_s.items()},
        "overtaken": result.overtaken,
        "hpa": None
        if result.hpa is None
        else {"cores": round(result.hpa[0], 3), "api_requests_per_s": round(result.hpa[1], 2)},
    }


def _show(result: Result, period_s: float) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("figure", "pdscaler", "goal", "HPA, same Deployments"):
        table.add_column(heading, justify="left" if heading == "figure" else "right", no_wrap=True)
    beside = ("–", "–") if result.hpa is None else (f"{result.hpa[0]:.1%}", f"{result.hpa[1]:.3g}/s")
    published = (result.healthy + result.broken + result.refused, period_s) == (_COUNT, PERIOD_S)
    busy_goal, memory_goal, requests_goal = ("≤ 30 %", "≤ 300 MB", "< 5/s") if published else ("–", "–", "–")
    table.add_row("one core busy", f"{result.usage.cores:.1%}", busy_goal, beside[0])
    table.add_row("memory", f"{_megabytes(result.usage.memory_mib)} MB", memory_goal, "in the controller manager")
    table.add_row("most memory ever", f"{_megabytes(result.peak_mib)} MB", "", "")
    table.add_row(f"evaluated, of one each every {period_s:g} s", f"{result.evaluated:.1%}", "100 %", "")
    table.add_row("API requests at steady load", f"{result.requests_per_s:.3g}/s", requests_goal, beside[1])
    table.add_row("Prometheus queries each period", f"{result.queries_per_period:.3g}", "any count", "")
    for part, passed_s in result.parts_s.items():
        table.add_row(f"a round: {part}", f"{passed_s:.3g} s", "", "")
    table.add_row("evaluations that the next round overtook", f"{result.overtaken}", "0", "")
    table.add_row("all decided after", f"{result.settled_s:.0f} s", "", "")
    shares = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("cores busy", "until all were decided", "at steady load"):
        shares.add_column(heading, justify="left" if heading == "cores busy" else "right", no_wrap=True)
    for name, cores in result.settling.items():
        shares.add_row(name, f"{cores:.1%}", f"{result.steady[name]:.1%}")
    console = Rich()
    console.width = max(console.width, 100)
    refused = f", {result.refused} refused by the API server" if result.refused else ""
    console.print(f"{result.healthy} healthy PDDeployments, {result.broken} broken ones{refused}")
    console.print(table)
    console.print()
    console.print(shares)


def _megabytes(mebibytes: float) -> int:
    return round(mebibytes * 1.048576)


if __name__ == "__main__":
    main()
