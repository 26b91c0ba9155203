"""The operator's own metrics, in a registry of their own. May import prometheus_client; no kopf.

A figure that is not known has no sample: neither 0 nor the last one that was known.
"""

from collections.abc import Callable
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from pdscaler.controller.evaluation import Evaluation, Rejection, ResourceKey
from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyStatistics, Statistic
from pdscaler.core.workload import NoData, NoDataReason
from pdscaler.forecast import Forecast

_KINDS = ("current", "recommended", "desired")
_FORECASTS = ("expected", "quantile")
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Samples of every live PDDeployment, and counters of what the operator did."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # One more series for each counter, that no query uses.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        resource = ("namespace", "name")
        self._replicas = Gauge(
            "pdscaler_replicas",
            "Replicas: current (what /scale asks for), recommended (the model's optimum), desired (what is ordered).",
            (*resource, "pool", "kind"),
            registry=self.registry,
        )
        self._ttft = Gauge(
            "pdscaler_predicted_ttft_seconds",
            "Time to first token predicted at the desired replicas.",
            (*resource, "statistic"),
            registry=self.registry,
        )
        self._tpot = Gauge(
            "pdscaler_predicted_tpot_seconds",
            "Time per output token predicted at the desired replicas.",
            (*resource, "statistic"),
            registry=self.registry,
        )
        self._attainable = Gauge(
            "pdscaler_slo_attainable",
            "1 where an allowed number of replicas meets the objectives, else 0.",
            resource,
            registry=self.registry,
        )
        self._forecast = Gauge(
            "pdscaler_forecast_requests_per_second",
            "Highest load expected within the horizon: its median (expected) and the quantile that is sized for.",
            (*resource, "kind"),
            registry=self.registry,
        )
        self._drift = Gauge(
            "pdscaler_calibration_drift_ratio",
            "Measured mean latency (TTFT of prefill, TPOT of decode) over what the profile says, less 1.",
            (*resource, "pool"),
            registry=self.registry,
        )
        self._derate = Gauge(
            "pdscaler_calibration_derate_ratio",
            "Throughput of the engines over their profile's, as sizing goes by it.",
            (*resource, "pool"),
            registry=self.registry,
        )
        self._overhead = Gauge(
            "pdscaler_calibration_overhead_seconds",
            "Overhead of a first token, as sizing goes by it.",
            resource,
            registry=self.registry,
        )
        self._fallbacks = Counter(
            "pdscaler_forecast_fallbacks",
            "Evaluations that went by the last value because the forecast asked for was missing or failed.",
            registry=self.registry,
        )
        self._evaluations = Counter(
            "pdscaler_evaluations", "Evaluations by what they came to.", ("outcome",), registry=self.registry
        )
        self._duration = Histogram(
            "pdscaler_evaluation_duration_seconds",
            "Time of one evaluation, writes included, the reading of metrics excluded.",
            registry=self.registry,
            buckets=_BUCKETS_S,
        )
        self._failures = Counter(
            "pdscaler_telemetry_failures",
            "Evaluations without usable metrics, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self._writes = Counter(
            "pdscaler_scale_writes", "Writes of /scale, by pool and result.", ("pool", "result"), registry=self.registry
        )
        self._leader = Gauge(
            "pdscaler_leader", "1 where this replica may write, 0 where it stands by.", registry=self.registry
        )
        self._leader.set(1)
        self._conflict = Gauge(
            "pdscaler_target_conflict",
            "1 where nothing is written because somebody else scales a target, else 0.",
            resource,
            registry=self.registry,
        )
        self._flips = Counter(
            "pdscaler_foreign_changes",
            "Changes by somebody else of replicas that were ordered, by pool.",
            ("pool",),
            registry=self.registry,
        )
        # A counter that first appears at 1 hides its first increase from rate(): the known reasons start at 0.
        for reason in NoDataReason:
            self._failures.labels(reason.value)
        for pool in Pool:
            self._flips.labels(pool.value)

    def follow(self, leading: Callable[[], bool]) -> None:
        """Show from now on whether this replica leads; asked at each scrape."""
        self._leader.set_function(lambda: float(leading()))

    def record(self, outcome: Evaluation | Rejection, duration_s: float) -> None:
        """Count an evaluation and show its figures.

        Parameters
        ----------
        outcome
            What the evaluation came to.
        duration_s
            How long it took, seconds.
        """
        self._duration.observe(duration_s)
        if isinstance(outcome, Rejection):
            self._evaluations.labels(outcome.reason).inc()
            self.forget(outcome.key)
            return
        decision = outcome.decision
        self._evaluations.labels(outcome.outcome.value).inc()
        if isinstance(decision.telemetry, NoData):
            self._failures.labels(decision.telemetry.reason.value).inc()
        elif outcome.expectation.fallback:
            self._fallbacks.inc()
        expected = outcome.expectation.forecast
        for kind, rate in zip(_FORECASTS, (None, None) if expected is None else _rates(expected), strict=True):
            _show(self._forecast, (*outcome.key, kind), rate)
        self._record_calibration(outcome)
        for write in outcome.writes:
            self._writes.labels(write.pool.value, write.result.value).inc()
        for pool, changes in outcome.foreign_changes.items():
            self._flips.labels(pool.value).inc(changes)
        _show(self._conflict, tuple(outcome.key), float(outcome.conflict is not None))
        for pool, counts in decision.pools.items():
            for kind, value in zip(_KINDS, (outcome.current(pool), counts.recommended, counts.desired), strict=True):
                _show(self._replicas, (*outcome.key, pool.value, kind), value)
        predicted = decision.predicted
        nothing = LatencyStatistics()
        for gauge, statistics in (
            (self._ttft, nothing if predicted is None else predicted.ttft_s),
            (self._tpot, nothing if predicted is None else predicted.tpot_s),
        ):
            for statistic in Statistic:
                _show(gauge, (*outcome.key, statistic.value), statistics.of(statistic))
        sizing = decision.sizing
        _show(self._attainable, tuple(outcome.key), None if sizing is None else float(sizing.feasible))

    def _record_calibration(self, outcome: Evaluation) -> None:
        known = outcome.calibration
        for pool in Pool:
            found = None if known is None else known.pools[pool]
            _show(self._drift, (*outcome.key, pool.value), None if found is None else found.drift)
            _show(self._derate, (*outcome.key, pool.value), None if found is None else found.correction.derate)
        overhead_s = outcome.spec.sizing.prefill_profile.overhead.fixed_s
        _show(self._overhead, tuple(outcome.key), None if known is None else overhead_s)

    def forget(self, key: ResourceKey) -> None:
        """Drop every sample of a PDDeployment: it is gone, or nothing is known of it."""
        for pool in Pool:
            for kind in _KINDS:
                _show(self._replicas, (*key, pool.value, kind), None)
            _show(self._drift, (*key, pool.value), None)
            _show(self._derate, (*key, pool.value), None)
        _show(self._overhead, tuple(key), None)
        for statistic in Statistic:
            _show(self._ttft, (*key, statistic.value), None)
            _show(self._tpot, (*key, statistic.value), None)
        for kind in _FORECASTS:
            _show(self._forecast, (*key, kind), None)
        _show(self._attainable, tuple(key), None)
        _show(self._conflict, tuple(key), None)

    def exposition(self) -> bytes:
        """Return all samples in Prometheus' text format."""
        return generate_latest(self.registry)


def _rates(expected: Forecast) -> tuple[float | None, float | None]:
    return expected.expected_rps, expected.rate_rps


def _show(gauge: Gauge, labels: tuple[str, ...], value: float | None) -> None:
    if value is None:
        with suppress(KeyError):
            gauge.remove(*labels)
    else:
        gauge.labels(*labels).set(value)
