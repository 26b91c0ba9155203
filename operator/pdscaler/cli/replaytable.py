"""The text of ``pdscaler replay``: what it attained, what it cost. May import core, units, cli, simulator (types)."""

from typing import TYPE_CHECKING

from pdscaler.cli.lines import labelled, left_and_right
from pdscaler.cli.output import WIDTH, aligned, strong
from pdscaler.core.slo import LatencyStatistics, LatencyTarget, Statistic
from pdscaler.units import format_duration, format_number, format_share

if TYPE_CHECKING:
    from pdscaler.simulator.replayed import Replayed


def replay_table(replayed: "Replayed", *, elapsed_s: float, width: int = WIDTH) -> str:
    """Return the answer for people, in at most ``width`` columns where the words allow.

    Parameters
    ----------
    replayed
        What was replayed.
    elapsed_s
        How long it took, seconds.
    width
        Columns.
    """
    result, sizing = replayed.result, replayed.spec.sizing
    title = f"{sizing.name}: policy {replayed.policy}"
    span = format_duration(result.end_s - result.measured_from_s)
    right = f"{replayed.source}, {result.requests} requests in {span}"
    lines = [strong(title) + left_and_right(title, right, width)[len(title) :], ""]
    words = [statistic.value if statistic.quantile else "mean" for statistic in Statistic]
    attainment = result.attainment
    rows: list[tuple[str, ...]] = [
        ("", *words, "target", "within"),
        _latency("TTFT", result.ttft_s, sizing.slo.ttft, attainment.ttft),
        _latency("TPOT", result.tpot_s, sizing.slo.tpot, attainment.tpot),
    ]
    table = aligned(rows)
    lines += table if max(map(len, table)) <= width else aligned(list(zip(*rows, strict=True)))
    lines += ["", *labelled("within both", f"{format_share(attainment.joint)} of the requests", width)]
    hours = f"{format_number(result.gpu_hours, 4)}, with drain {format_number(result.gpu_hours_with_drain, 4)}"
    lines += labelled("GPU-hours", hours, width)
    if result.oracle_gpu_hours is not None and result.bound_gpu_hours is not None:
        beside = f"{format_number(result.oracle_gpu_hours, 4)} by a clairvoyant schedule"
        if result.oracle_gpu_hours > 0:
            beside += f" (this took {format_number(result.gpu_hours / result.oracle_gpu_hours)} times that)"
        least = f"no policy attains 99 % in less than {format_number(result.bound_gpu_hours, 4)}"
        lines += labelled("", f"{beside}; {least}", width)
    lines += labelled("most GPUs", str(result.max_gpus), width)
    last = replayed.label(result.orders[-1].replicas)
    times = "once" if result.scale_operations == 1 else f"{result.scale_operations} times"
    scaled = f"{times}; from {replayed.label(result.initial)} at the begin to {last}"
    lines += labelled("scaled", scaled, width)
    begin = f"counted from {format_duration(result.measured_from_s - result.begin_s)} on"
    took = f"{result.evaluations} evaluations in {format_number(elapsed_s, 2)} s; {begin}; seed {replayed.seed}"
    lines += labelled("replayed", took, width)
    for index, note in enumerate(replayed.notes):
        lines += labelled("notes" if index == 0 else "", note, width)
    return "\n".join(lines)


def _latency(name: str, latency: LatencyStatistics, target: LatencyTarget | None, share: float) -> tuple[str, ...]:
    values = (format_duration(latency.of(statistic)) for statistic in Statistic)
    if target is None:
        return (name, *values, "–", "–")
    word = "mean" if target.statistic is Statistic.MEAN else target.statistic.value
    return (name, *values, f"{format_duration(target.target_s)} ({word})", format_share(share))
