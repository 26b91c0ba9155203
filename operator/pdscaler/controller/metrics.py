"""The operator's own metrics, in a registry of their own. May import prometheus_client; no kopf."""

from collections.abc import Callable
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from pdscaler.controller.evaluation import Evaluation, Rejection, ResourceKey
from pdscaler.controller.gauges import ResourceGauges
from pdscaler.core.pools import Pool
from pdscaler.core.workload import NoData, NoDataReason

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROUND_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0)


class RoundPart(StrEnum):
    """What a round consists of, one after the other."""

    READ = "read"
    FORESEE = "foresee"
    EVALUATE = "evaluate"


class Metrics:
    """Samples of every live PDDeployment, and counters of what the operator did."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # One more series for each counter, that no query uses.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._gauges = ResourceGauges()
        self.registry.register(self._gauges)
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
        self._rounds = Histogram(
            "pdscaler_round_duration_seconds",
            "Time of the parts of a round, in which all PDDeployments of one Prometheus are evaluated once.",
            ("part",),
            registry=self.registry,
            buckets=_ROUND_BUCKETS_S,
        )
        self._overtaken = Counter(
            "pdscaler_overtaken_evaluations",
            "Evaluations that had not ended when the next round was due.",
            registry=self.registry,
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
        self._flips = Counter(
            "pdscaler_foreign_changes",
            "Changes by somebody else of replicas that were ordered, by pool.",
            ("pool",),
            registry=self.registry,
        )
        # A counter that first appears at 1 hides its first increase from rate(): the known reasons start at 0.
        for reason in NoDataReason:
            self._failures.labels(reason.value)
        for part in RoundPart:
            self._rounds.labels(part.value)
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
        for write in outcome.writes:
            self._writes.labels(write.pool.value, write.result.value).inc()
        for pool, changes in outcome.foreign_changes.items():
            self._flips.labels(pool.value).inc(changes)
        self._gauges.show(outcome)

    def passed(self, part: RoundPart, duration_s: float) -> None:
        """Take note of how long a part of a round took, seconds."""
        self._rounds.labels(part.value).observe(duration_s)

    def overtaken(self, count: int) -> None:
        """Count evaluations that had not ended when the next round was due."""
        self._overtaken.inc(count)

    def forget(self, key: ResourceKey) -> None:
        """Drop every sample of a PDDeployment: it is gone, or nothing is known of it."""
        self._gauges.forget(key)

    def exposition(self) -> bytes:
        """Return all samples in Prometheus' text format."""
        return generate_latest(self.registry)
