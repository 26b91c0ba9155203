"""The figures of every live PDDeployment as gauges, made when they are scraped. May import prometheus_client; no kopf.

The library's own children take 15 KiB for each PDDeployment and a lock for each sample of each evaluation; the numbers
alone take a fiftieth of that.
"""

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pdscaler.controller.evaluation import Evaluation, ResourceKey
from pdscaler.core.decision import Outcome
from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyStatistics, Statistic

_POOLS = tuple((pool.value,) for pool in Pool)
_STATISTICS = tuple((statistic.value,) for statistic in Statistic)
_ALONE: tuple[tuple[str, ...], ...] = ((),)

Figures = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Family:
    """One gauge: its labels beside namespace and name, and each combination of their values."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = _ALONE


FAMILIES = (
    Family(
        "pdscaler_replicas",
        "Replicas: current (what /scale asks for), recommended (the model's optimum), desired (what is ordered).",
        ("pool", "kind"),
        tuple((pool.value, kind) for pool, kind in product(Pool, ("current", "recommended", "desired"))),
    ),
    Family(
        "pdscaler_predicted_ttft_seconds",
        "Time to first token predicted at the desired replicas.",
        ("statistic",),
        _STATISTICS,
    ),
    Family(
        "pdscaler_predicted_tpot_seconds",
        "Time per output token predicted at the desired replicas.",
        ("statistic",),
        _STATISTICS,
    ),
    Family("pdscaler_slo_attainable", "1 where an allowed number of replicas meets the objectives, else 0."),
    Family(
        "pdscaler_forecast_requests_per_second",
        "Highest load expected within the horizon: its median (expected) and the quantile that is sized for.",
        ("kind",),
        (("expected",), ("quantile",)),
    ),
    Family(
        "pdscaler_calibration_drift_ratio",
        "Measured mean latency (TTFT of prefill, TPOT of decode) over what the profile says, less 1.",
        ("pool",),
        _POOLS,
    ),
    Family(
        "pdscaler_calibration_derate_ratio",
        "Throughput of the engines over their profile's, as sizing goes by it.",
        ("pool",),
        _POOLS,
    ),
    Family("pdscaler_calibration_overhead_seconds", "Overhead of a first token, as sizing goes by it."),
    Family("pdscaler_target_conflict", "1 where nothing is written because somebody else scales a target, else 0."),
    Family("pdscaler_last_plan_timestamp_seconds", "Time of the newest evaluation that went by live metrics."),
)


_LAST_PLAN = "pdscaler_last_plan_timestamp_seconds"
_LAST_PLAN_AT = [family.name for family in FAMILIES for _ in family.values].index(_LAST_PLAN)


class ResourceGauges(Collector):
    """The gauges. A figure that is not known has no sample: neither 0 nor the last one that was known."""

    def __init__(self) -> None:
        self._rows: dict[ResourceKey, array[float]] = {}

    def show(self, evaluation: Evaluation) -> None:
        """Show the figures of an evaluation from now on."""
        known = self._rows.get(evaluation.key)
        figures = _figures(evaluation, None if known is None else known[_LAST_PLAN_AT])
        row = array("d")
        for family in FAMILIES:
            for _, value in zip(family.values, figures[family.name], strict=True):
                row.append(math.nan if value is None else value)
        self._rows[evaluation.key] = row

    def forget(self, key: ResourceKey) -> None:
        """Drop every sample of a PDDeployment: it is gone, or nothing is known of it."""
        self._rows.pop(key, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield one gauge after the other, so that the samples of one at a time lie in memory."""
        first = 0
        for family in FAMILIES:
            found = GaugeMetricFamily(family.name, family.documentation, labels=("namespace", "name", *family.labels))
            for key, row in self._rows.items():
                for place, values in enumerate(family.values, first):
                    if not math.isnan(row[place]):
                        found.add_metric((*key, *values), row[place])
            first += len(family.values)
            yield found


def _figures(evaluation: Evaluation, planned_at_s: float | None) -> Figures:
    """Return the figures of each gauge, in the order of its labels' values; a plan's time stays until the next one."""
    decision, expected = evaluation.decision, evaluation.expectation.forecast
    predicted, nothing = decision.predicted, LatencyStatistics()
    ttft_s, tpot_s = (nothing, nothing) if predicted is None else (predicted.ttft_s, predicted.tpot_s)
    learnt = evaluation.calibration
    overhead_s = evaluation.spec.sizing.prefill_profile.overhead.fixed_s
    return {
        "pdscaler_replicas": [
            count
            for pool, counts in decision.pools.items()
            for count in (evaluation.current(pool), counts.recommended, counts.desired)
        ],
        "pdscaler_predicted_ttft_seconds": [ttft_s.of(statistic) for statistic in Statistic],
        "pdscaler_predicted_tpot_seconds": [tpot_s.of(statistic) for statistic in Statistic],
        "pdscaler_slo_attainable": [None if decision.sizing is None else float(decision.sizing.feasible)],
        "pdscaler_forecast_requests_per_second": (
            [None, None] if expected is None else [expected.expected_rps, expected.rate_rps]
        ),
        "pdscaler_calibration_drift_ratio": [None if learnt is None else learnt.pools[pool].drift for pool in Pool],
        "pdscaler_calibration_derate_ratio": [
            None if learnt is None else learnt.pools[pool].correction.derate for pool in Pool
        ],
        "pdscaler_calibration_overhead_seconds": [None if learnt is None else overhead_s],
        "pdscaler_target_conflict": [float(evaluation.conflict is not None)],
        _LAST_PLAN: [evaluation.at_s if evaluation.outcome is Outcome.PLANNED else planned_at_s],
    }
