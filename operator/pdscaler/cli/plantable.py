"""The text of ``pdscaler plan``: the answer first, then why, then what would change it. May import core, units, cli."""

import math
import textwrap

from pdscaler.cli.lines import LABEL, labelled, left_and_right, load_words
from pdscaler.cli.output import WIDTH, aligned, strong
from pdscaler.core.decision import Prediction, SizingResult, WhatIf
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.sizing import NextChange
from pdscaler.core.slo import LatencyTarget, Statistic
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import WorkloadStats
from pdscaler.units import format_duration, format_need, format_number


def plan_table(
    spec: SizingSpec,
    workload: WorkloadStats,
    result: SizingResult,
    changes: PerPool[NextChange],
    notes: tuple[str, ...],
    *,
    width: int = WIDTH,
) -> str:
    """Return the answer for people, in at most ``width`` columns where the words allow."""
    lines = _headline(spec, workload, result, width)
    lines += ["", *_pool_lines(spec, result, width)]
    below: list[str] = []
    if result.feasible:  # what would change a plan that does not hold is told by its reason
        below += labelled("next change", _next_change(changes), width)
        below += labelled("one less", _one_less(spec, result), width)
        below += labelled("serves", _served(result, changes), width)
    below += labelled("simulated", _simulated(result), width)
    below += labelled("limited by", ", ".join(limit.value for limit in result.limited_by), width)
    for index, note in enumerate(notes):
        below += labelled("notes" if index == 0 else "", note, width)
    return "\n".join([*lines, "", *below] if below else lines)


def _headline(spec: SizingSpec, workload: WorkloadStats, result: SizingResult, width: int) -> list[str]:
    load = load_words(workload)
    if not result.feasible:
        reason = textwrap.wrap(f"no plan: {result.infeasible_reason}", width)
        best = f"{spec.name}: best within the constraints {result.label}, {result.gpus} GPUs"
        return [strong(reason[0], "red"), *reason[1:], "", left_and_right(best, load, width)]
    answer = f"{spec.name}: {result.label}, {result.gpus} GPUs"
    return [strong(answer) + left_and_right(answer, load, width)[len(answer) :]]


def _pool_lines(spec: SizingSpec, result: SizingResult, width: int) -> list[str]:
    rows = [("", "replicas", "needed", "load", "at this plan", "target", "what binds")]
    for pool, sizing in result.pools.items():
        target = _target(spec, pool)
        rows.append(
            (
                pool.value,
                str(sizing.replicas),
                format_need(sizing.required, sizing.recommended),
                f"{format_number(sizing.utilization * 100, 2)} %" if math.isfinite(sizing.utilization) else "–",
                f"{_name(pool)} {_word(target)} {_latency(result.predicted, pool, target)}",
                "–" if target is None else f"{format_duration(target.target_s)} ({_word(target)})",
                sizing.explanation,
            )
        )
    lines = aligned(rows)
    if max(map(len, lines)) <= width:
        return lines
    # A long explanation goes below its row instead of beyond the edge.
    short = aligned([row[:-1] for row in rows])
    texts = [row[-1] for row in rows]
    below = ([f"  {'':{LABEL}}{part}" for part in textwrap.wrap(text, width - LABEL - 2)] for text in texts[1:])
    return [short[0], *(line for row, extra in zip(short[1:], below, strict=True) for line in (row, *extra))]


def _next_change(changes: PerPool[NextChange]) -> str:
    parts = []
    ups = [(change.up_rps, pool, change.up_replicas) for pool, change in changes.items() if change.up_rps is not None]
    downs = [
        (change.down_rps, pool, change.down_replicas) for pool, change in changes.items() if change.down_rps is not None
    ]
    if ups:
        rate, pool, count = min(ups)
        parts.append(f"at {format_number(rate)} requests/s {pool.value} needs {count}")
    if downs:
        rate, pool, count = max(downs)
        parts.append(f"below {format_number(rate)} {pool.value} {count} suffices")
    return ";  ".join(parts)


def _one_less(spec: SizingSpec, result: SizingResult) -> str:
    """Say what one replica less of either pool would give."""
    start = PerPool(result.pools.prefill.replicas, result.pools.decode.replicas)
    parts = []
    for pool in Pool:
        other = _neighbour(result, start, pool)
        if other is not None:
            target = _target(spec, pool)
            value = _value(other.predicted, pool, target)
            text = f"{other.prefill}P{other.decode}D: {_name(pool)} {_latency(other.predicted, pool, target)}"
            parts.append(text + _over(value, target))
    return "      ".join(parts)


def _served(result: SizingResult, changes: PerPool[NextChange]) -> str:
    """Say how much load the plan serves, where no change at that load says so already."""
    served_rps = result.served_rps
    told = any(change.up_rps is not None for _, change in changes.items())
    if told or served_rps is None or not math.isfinite(served_rps):
        return ""
    return f"up to {format_number(served_rps)} requests/s of this mix within the targets"


def _simulated(result: SizingResult) -> str:
    """Say what the simulation came to."""
    verification = result.verification
    if verification is None:
        return ""
    if not verification.requests:
        return verification.note
    outcome = "verified" if verification.verified else "not settled"
    return f"{outcome}: {verification.note} ({format_number(verification.requests)} requests)"


def _neighbour(result: SizingResult, start: PerPool[int], pool: Pool) -> WhatIf | None:
    wanted = start.replace(pool, start[pool] - 1)
    return next(
        (other for other in result.what_if if (other.prefill, other.decode) == (wanted.prefill, wanted.decode)), None
    )


def _over(value: float | None, target: LatencyTarget | None) -> str:
    if value is None or target is None or not math.isfinite(value) or value <= target.target_s:
        return ""
    return f" (over by {format_number((value / target.target_s - 1) * 100, 2)} %)"


def _target(spec: SizingSpec, pool: Pool) -> LatencyTarget | None:
    return spec.slo.ttft if pool is Pool.PREFILL else spec.slo.tpot


def _value(predicted: Prediction, pool: Pool, target: LatencyTarget | None) -> float | None:
    latency = predicted.ttft_s if pool is Pool.PREFILL else predicted.tpot_s
    return latency.of(Statistic.MEAN if target is None else target.statistic)


def _latency(predicted: Prediction, pool: Pool, target: LatencyTarget | None) -> str:
    value = _value(predicted, pool, target)
    return "unbounded" if value is not None and math.isinf(value) else format_duration(value)


def _name(pool: Pool) -> str:
    return "TTFT" if pool is Pool.PREFILL else "TPOT"


def _word(target: LatencyTarget | None) -> str:
    statistic = Statistic.MEAN if target is None else target.statistic
    return "mean" if statistic is Statistic.MEAN else statistic.value
