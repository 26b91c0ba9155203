"""What the pictures of a plan show, as plain values: curves against load, the map of pairs. Imports core only.

:mod:`pdscaler.cli.planplot` draws it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial

from pdscaler.core.choice import Space, space_of
from pdscaler.core.decision import SizingResult
from pdscaler.core.model import build_models
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.slo import LatencyTarget, Statistic
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import WorkloadStats
from pdscaler.units import format_number

SAMPLES = 160
"""Loads at which a curve is computed."""

STEEP = 4.0
"""What lies above so many times target and operating point is out of the picture."""

MOST_FACTOR = 1.25
"""By so much at most the load is scaled for a curve to pass an operating point that was simulated."""

HALVINGS = 10
"""Of the step within which a curve leaves the picture: near saturation it is steep."""

BEYOND_LOAD = 1.4
"""The load axis goes on to so many times the load, or to what the chosen counts serve, whichever is more."""

MOST_BEYOND = 3.0
"""But never beyond so many times the load."""

AROUND = 1.6
"""The map goes on to so many times the counts chosen and needed."""

LEAST_CELLS = 5
"""Counts of either pool that the map shows at least."""

LATENCIES = {Pool.PREFILL: "TTFT", Pool.DECODE: "TPOT"}


@dataclass(frozen=True, slots=True)
class Curve:
    """A latency against the load, at one count of replicas; infinite where the count cannot keep up."""

    replicas: int
    loads_rps: tuple[float, ...]
    values_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One latency: its curves at the chosen count and at one fewer, the target, the operating point.

    Parameters
    ----------
    statistic
        The target's; the mean without a target.
    curves
        The chosen count first; empty where nothing is known of the requests' lengths.
    at_plan_s
        The latency at the load planned for; None where unknown, infinite where the count cannot keep up.
    """

    pool: Pool
    statistic: Statistic
    target: LatencyTarget | None
    curves: tuple[Curve, ...]
    at_plan_s: float | None

    @property
    def name(self) -> str:
        """What it shows: ``TTFT P95``."""
        word = "mean" if self.statistic is Statistic.MEAN else self.statistic.value
        return f"{LATENCIES[self.pool]} {word}"


class Region(IntEnum):
    """What a pair of counts does to the objectives."""

    BOTH_MET = 0
    TTFT_MISSED = 1
    TPOT_MISSED = 2
    BOTH_MISSED = 3


@dataclass(frozen=True, slots=True)
class PlanMap:
    """The pairs around a plan.

    Parameters
    ----------
    counts
        Counts of each pool that the map shows: from 1.
    needed
        By pool the least count that meets its objective; None where none does.
    allowed
        For each prefill count the decode counts that bounds, ratio and budget allow (first, last); None where none.
    gpus
        GPUs of one replica of each pool.
    chosen
        The plan's pair.
    max_gpus
        The budget; None where there is none.
    targeted
        By pool whether there is an objective; a pool without one still has to keep up with the load.
    """

    counts: PerPool[range]
    needed: PerPool[int | None]
    allowed: tuple[tuple[int, int] | None, ...]
    gpus: PerPool[int]
    chosen: PerPool[int]
    max_gpus: int | None
    targeted: PerPool[bool]

    def words(self, region: Region) -> str:
        """Name a region for the legend."""
        if region is Region.BOTH_MET:
            return "both met"
        if region is Region.BOTH_MISSED:
            return "both missed" if self.targeted.prefill and self.targeted.decode else "both too few"
        pool = Pool.PREFILL if region is Region.TTFT_MISSED else Pool.DECODE
        return f"{LATENCIES[pool]} missed" if self.targeted[pool] else f"{pool.value} overloaded"

    def misses(self, pool: Pool, replicas: int) -> bool:
        """Whether a count of one pool misses its objective, whatever the other pool does."""
        least = self.needed[pool]
        return least is None or replicas < least

    def region(self, pair: PerPool[int]) -> Region:
        """Return what a pair does to the objectives, allowed or not."""
        ttft, tpot = (self.misses(pool, replicas) for pool, replicas in pair.items())
        return Region(ttft * Region.TTFT_MISSED + tpot * Region.TPOT_MISSED)

    def cost(self, pair: PerPool[int]) -> int:
        """Return the GPUs of a pair."""
        return pair.prefill * self.gpus.prefill + pair.decode * self.gpus.decode

    def in_sight(self, gpus: int) -> bool:
        """Whether the line of pairs that cost so many GPUs crosses the map."""
        return self._cost_at(0) <= gpus <= self._cost_at(-1)

    def _cost_at(self, index: int) -> int:
        return self.cost(self.counts.map(lambda counts: counts[index]))

    def cost_levels(self, most: int = 6) -> tuple[int, ...]:
        """Return round numbers of GPUs whose lines cross the map, at most ``most``."""
        least, greatest = self._cost_at(0), self._cost_at(-1)
        step = _round_up((greatest - least) / most)
        first = (least // step + 1) * step
        return tuple(range(first, greatest, step))[:most]


@dataclass(frozen=True, slots=True)
class PlanPicture:
    """All that the pictures of one plan show."""

    title: str
    subtitle: str
    rate_rps: float
    last_rps: float
    """Where the load axis ends."""
    panels: tuple[Panel, ...]
    plan_map: PlanMap
    feasible: bool


def plan_picture(spec: SizingSpec, workload: WorkloadStats, result: SizingResult) -> PlanPicture:
    """Prepare the pictures of a plan.

    Parameters
    ----------
    spec, workload, result
        As they were sized; where a simulation settled the counts the curves pass its operating point.
    """
    chosen = result.pools.map(lambda pool: pool.replicas)
    last_rps, panels = _panels(spec, workload, result, chosen)
    gpus = "1 GPU" if result.gpus == 1 else f"{result.gpus} GPUs"
    return PlanPicture(
        title=f"{spec.name}: {result.label}, {gpus}" + ("" if result.feasible else " (objectives not met)"),
        subtitle=_subtitle(workload),
        rate_rps=workload.arrival_rate_rps,
        last_rps=last_rps,
        panels=panels,
        plan_map=_plan_map(spec, result, chosen),
        feasible=result.feasible,
    )


def _panels(
    spec: SizingSpec, workload: WorkloadStats, result: SizingResult, chosen: PerPool[int]
) -> tuple[float, tuple[Panel, ...]]:
    models = build_models(spec, workload)
    targets = PerPool(spec.slo.ttft, spec.slo.tpot)
    predicted = PerPool(result.predicted.ttft_s, result.predicted.tpot_s)
    statistics = targets.map(lambda target: Statistic.MEAN if target is None else target.statistic)
    if models is None:
        nothing = tuple(Panel(pool, statistics[pool], targets[pool], (), None) for pool in Pool)
        return 1.0, nothing
    rate = workload.arrival_rate_rps
    served = max(models.pools[pool].largest_load(chosen[pool]) for pool in Pool)
    last = BEYOND_LOAD * served if rate == 0 else max(BEYOND_LOAD * rate, min(1.1 * served, MOST_BEYOND * rate))
    loads = sorted({rate, *(last * index / SAMPLES for index in range(1, SAMPLES + 1))} - {0.0})

    def value_s(pool: Pool, replicas: int, factor: float, load_rps: float) -> float:
        there = build_models(spec, replace(workload, arrival_rate_rps=load_rps * factor))
        return math.inf if there is None else there.pools[pool].value_s(replicas)

    panels = []
    for pool in Pool:
        target, at_plan_s = targets[pool], predicted[pool].of(statistics[pool])
        factor = _factor(partial(value_s, pool, chosen[pool]), rate, at_plan_s)
        marks = (0.0 if target is None else target.target_s, at_plan_s or 0.0)
        high_s = STEEP * max(mark for mark in marks if math.isfinite(mark))
        counts = [replicas for replicas in (chosen[pool], chosen[pool] - 1) if replicas >= 1]
        curves = [_curve(partial(value_s, pool, replicas, factor), replicas, loads, high_s) for replicas in counts]
        panels.append(Panel(pool, statistics[pool], target, tuple(curves), at_plan_s))
    return last, tuple(panels)


def _factor(value_s: Callable[[float, float], float], rate_rps: float, at_plan_s: float | None) -> float:
    """Return the factor on the load, within limits, with which the model's curve passes the operating point.

    The operating point may come from a simulation, and the model is off by some percent of load then.
    """
    if rate_rps == 0 or at_plan_s is None or not math.isfinite(at_plan_s):
        return 1.0
    if math.isclose(value_s(1.0, rate_rps), at_plan_s, rel_tol=1e-9):
        return 1.0
    low, high = 1 / MOST_FACTOR, MOST_FACTOR
    for _ in range(2 * HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if value_s(middle, rate_rps) > at_plan_s else (middle, high)
    return low


def _curve(value_s: Callable[[float], float], replicas: int, loads: Sequence[float], high_s: float) -> Curve:
    """Compute a curve; where it leaves the picture (above ``high_s``) within one step, look closer."""
    points = {load: value_s(load) for load in loads}
    above = next((load for load in loads if points[load] > high_s), None)
    if above is not None:
        below = max((load for load in loads if load < above), default=0.0)
        for _ in range(HALVINGS):
            middle = (below + above) / 2
            points[middle] = value_s(middle)
            below, above = (middle, above) if points[middle] <= high_s else (below, middle)
    ordered = sorted(points)
    return Curve(replicas, tuple(ordered), tuple(points[load] for load in ordered))


def _plan_map(spec: SizingSpec, result: SizingResult, chosen: PerPool[int]) -> PlanMap:
    space = space_of(spec.limits, spec.constraints)
    needed = result.pools.map(lambda pool: pool.recommended if math.isfinite(pool.required) else None)
    # What no count meets still has a count that the bounded rule asks for; but far away it would dwarf the plan.
    asked = result.pools.map(lambda pool: min(pool.recommended, 4 * pool.replicas + LEAST_CELLS))
    counts = PerPool(
        *(
            range(1, max(LEAST_CELLS, math.ceil(AROUND * max(chosen[pool], asked[pool])), chosen[pool] + 2) + 1)
            for pool in Pool
        )
    )
    return PlanMap(
        counts=counts,
        needed=needed,
        allowed=tuple(_allowed(space, prefill) for prefill in counts.prefill),
        gpus=space.gpus,
        chosen=chosen,
        max_gpus=spec.constraints.max_gpus,
        targeted=PerPool(spec.slo.ttft is not None, spec.slo.tpot is not None),
    )


def _allowed(space: Space, prefill: int) -> tuple[int, int] | None:
    if not space.bounds.prefill.low <= prefill <= space.bounds.prefill.high:
        return None
    row = space.row(prefill)
    return None if row is None else row[1:]


def _subtitle(workload: WorkloadStats) -> str:
    rate = f"{format_number(workload.arrival_rate_rps)} requests/s"
    if workload.isl is None or workload.osl is None:
        return rate
    lengths = [
        f"{format_number(length.mean_tokens)} {way}" + (f" (scv {format_number(length.scv, 2)})" if length.scv else "")
        for length, way in ((workload.isl, "in"), (workload.osl, "out"))
    ]
    more = f", arrivals scv {format_number(workload.arrival_scv, 2)}" if workload.arrival_scv != 1 else ""
    hits = f", {workload.prefix_hit_ratio:.0%} of the input cached" if workload.prefix_hit_ratio else ""
    return f"{rate} × ({' + '.join(lengths)} tokens){more}{hits}"


def _round_up(value: float) -> int:
    """Return the least of 1, 2, 5, 10, 20, 50 … that is at least ``value``."""
    if value <= 1:
        return 1
    scale = 10 ** math.floor(math.log10(value))
    return next(int(step * scale) for step in (1, 2, 5, 10) if step * scale >= value)
