"""The text of ``pdscaler simulate``: latencies with their intervals, and what they rest on. May import core, units."""

import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace

from pdscaler.cli.lines import labelled, left_and_right, load_words
from pdscaler.cli.output import WIDTH, aligned, strong
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.simulation.outcome import Attainment, LatencyEstimates, Summary
from pdscaler.core.simulation.statistics import Estimate
from pdscaler.core.slo import LatencyTarget, Statistic
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import WorkloadStats
from pdscaler.units import format_duration, format_number


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulation and what it came to.

    Parameters
    ----------
    spec, workload, replicas
        What was simulated.
    summary
        What it came to.
    requests, seed
        Size and seed of the simulation.
    notes
        What the user should know.
    """

    spec: SizingSpec
    workload: WorkloadStats
    replicas: PerPool[int]
    summary: Summary
    requests: int
    seed: int
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The counts as xPyD."""
        return f"{self.replicas.prefill}P{self.replicas.decode}D"

    @property
    def gpus(self) -> int:
        """GPUs of both pools."""
        return sum(count * self.spec.limits[pool].gpus_per_replica for pool, count in self.replicas.items())

    @property
    def found(self) -> Summary:
        """The summary, in which what an overloaded pool makes unbounded is infinite, and met by no request."""
        found = self.summary
        if not found.overloaded:
            return found
        prefill, decode = (pool in found.overloaded for pool in Pool)
        slo = self.spec.slo
        no = Estimate(0.0, 0.0)
        unknown = Estimate(math.nan, math.nan)
        ttft_met = no if prefill and slo.ttft is not None else found.attainment.ttft
        tpot_met = no if decode and slo.tpot is not None else unknown if prefill else found.attainment.tpot
        joint = no if no in (ttft_met, tpot_met) else unknown
        return replace(
            found,
            ttft_s=_unbounded() if prefill else found.ttft_s,
            # Decode behind an overloaded prefill pool sees what that lets through, not the load that was asked about.
            tpot_s=_unbounded() if decode else LatencyEstimates(*[unknown] * len(Statistic)),
            attainment=Attainment(ttft_met, tpot_met, joint),
            goodput_rps=Estimate(joint.value * found.rate_rps, joint.half_width * found.rate_rps),
        )

    @property
    def meets(self) -> dict[Pool, bool | None]:
        """Whether each target is met; None where there is none, or nothing is known."""
        found = self.found
        latencies = PerPool(found.ttft_s, found.tpot_s)
        return {pool: _met(latencies[pool], target(self.spec, pool)) for pool in Pool}


def _unbounded() -> LatencyEstimates:
    return LatencyEstimates(*[Estimate(math.inf, math.nan)] * len(Statistic))


def target(spec: SizingSpec, pool: Pool) -> LatencyTarget | None:
    """Return the objective of a pool."""
    return spec.slo.ttft if pool is Pool.PREFILL else spec.slo.tpot


def _met(latency: LatencyEstimates, objective: LatencyTarget | None) -> bool | None:
    if objective is None:
        return None
    value = latency.of(objective.statistic).value
    return None if math.isnan(value) else value <= objective.target_s


def simulate_table(simulated: Simulated, *, width: int = WIDTH) -> str:
    """Return the answer for people, in at most ``width`` columns where the words allow."""
    found = simulated.found
    answer = f"{simulated.spec.name}: {simulated.label}, {simulated.gpus} GPUs"
    lines = [strong(answer) + left_and_right(answer, load_words(simulated.workload), width)[len(answer) :], ""]
    for pool in found.overloaded:
        lines += [strong(line, "red") for line in textwrap.wrap(_overload_words(simulated, pool), width)]
    if found.overloaded:
        lines.append("")
    lines += [*_latencies(simulated, width), ""]
    shares = (("TTFT", found.attainment.ttft), ("TPOT", found.attainment.tpot), ("both", found.attainment.joint))
    met = "   ".join(f"{name} {_share(share)}" for name, share in shares)
    lines += labelled("within target", f"{met} of the requests", width)
    goodput = _with_interval(found.goodput_rps, format_number)
    lines += labelled("goodput", f"{goodput} of {format_number(found.rate_rps)} requests/s", width)
    replicas = simulated.replicas
    lines += labelled("prefill", f"{replicas.prefill} × {format_number(found.prefill_busy * 100, 2)} % busy", width)
    lines += labelled("decode", f"{replicas.decode} × {format_number(found.decode_batch)} requests in the batch", width)
    counted = (
        f"{found.requests} requests after a run-in of {found.run_in}; ± is the 95 % interval; seed {simulated.seed}"
    )
    lines += labelled("simulated", counted, width)
    for index, note in enumerate(simulated.notes):
        lines += labelled("notes" if index == 0 else "", note, width)
    return "\n".join(lines)


def _latencies(simulated: Simulated, width: int) -> list[str]:
    found, meets = simulated.found, simulated.meets
    words = [statistic.value if statistic.quantile else "mean" for statistic in Statistic]
    rows: list[tuple[str, ...]] = [("", *words, "target")]
    for pool, name, latency in ((Pool.PREFILL, "TTFT", found.ttft_s), (Pool.DECODE, "TPOT", found.tpot_s)):
        cells = (_with_interval(latency.of(statistic), format_duration) for statistic in Statistic)
        rows.append((name, *cells, _target_words(target(simulated.spec, pool), meets[pool])))
    lines = aligned(rows)
    if max(map(len, lines)) <= width:
        return lines
    # Narrow: one statistic below the other.
    return aligned(list(zip(*rows, strict=True)))


def _target_words(objective: LatencyTarget | None, met: bool | None) -> str:
    if objective is None:
        return "–"
    word = "mean" if objective.statistic is Statistic.MEAN else objective.statistic.value
    verdict = {True: "met", False: "missed", None: "unknown"}[met]
    return f"{format_duration(objective.target_s)} ({word}): {verdict}"


def _overload_words(simulated: Simulated, pool: Pool) -> str:
    count = simulated.replicas[pool]
    noun = "replica" if count == 1 else "replicas"
    return (
        f"{count} {pool.value} {noun} cannot keep up with {format_number(simulated.found.rate_rps)} requests/s: the "
        "queue grew until the last arrival, so there is no steady state"
    )


def _share(share: Estimate) -> str:
    if math.isnan(share.value):
        return "–"
    half = "" if math.isnan(share.half_width) else f" ±{format_number(share.half_width * 100, 2)}"
    return f"{format_number(share.value * 100)}{half} %"


def _with_interval(estimate: Estimate, words: Callable[[float, int], str]) -> str:
    value, half_width = estimate.value, estimate.half_width
    if math.isinf(value):
        return "unbounded"
    text = words(value, 3)
    if math.isnan(half_width):
        return text
    # What the digits of the value do not show is no uncertainty of theirs.
    return f"{text} ±{words(half_width, 2) if half_width > 1e-4 * value else 0}"
