"""The closed loop: a trace is simulated, and a policy decides on the way from what an operator sees. Imports core.

Everything is a function of the arguments: no clock, and the seed decides the random routing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdscaler.core.decision import PoolState
from pdscaler.core.order import Order, cut_growth
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.simulation.live import LiveDeployment
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.simulation.run import deployment_of
from pdscaler.core.spec import ScalingSpec, SizingSpec
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.ledger import OrderMade, largest_order, operations, ordered_gpu_hours, used_gpu_hours
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.policy import Policy
from pdscaler.simulator.result import ReplayResult, attained, latency_statistics, series_of
from pdscaler.simulator.scrapes import Scraper

MOST_EVALUATIONS = 5_000_000
"""Two years and more at 15 s: what is longer is a mistake in the trace's times."""

MOST_WINDOWS = 300
"""Windows of the series, unless their length is given: five minutes each for a day. A chart shows no more."""

_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """How a trace is replayed.

    Parameters
    ----------
    measure_from_s
        What is counted counts from so many seconds after the begin on, at least 0.
    scrape_interval_s
        Distance of the scrapes, seconds, > 0.
    observation_delay_s
        A scrape is visible so many seconds after it, at least 0.
    series_window_s
        Windows of the series over time, seconds; None: a minute, or so many that there are at most 300.
    seed
        Of random routing.
    engine
        Whose profiles and routing the simulated engines have; None: those that the policy goes by.
    """

    measure_from_s: float = 0.0
    scrape_interval_s: float = 15.0
    observation_delay_s: float = 5.0
    series_window_s: float | None = None
    seed: int = 0
    engine: SizingSpec | None = None

    def __post_init__(self) -> None:
        for name, least in (("measure_from_s", 0.0), ("observation_delay_s", 0.0), ("scrape_interval_s", 1e-3)):
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise InvalidInputError(f"replay.{name}", f"is {value}, expected seconds of at least {least:g}")


def replay(
    spec: ScalingSpec,
    requests: RequestTable,
    policy: Policy,
    initial: PerPool[int],
    *,
    settings: ReplaySettings | None = None,
    progress: Callable[[float], None] | None = None,
) -> ReplayResult:
    """Replay requests against a policy.

    Parameters
    ----------
    spec
        The PDDeployment: profiles, bounds, budget, start-up times, evaluation period.
    requests
        What arrives.
    policy
        Decides at every period, from the second one on, until the last arrival.
    initial
        Replicas that are ready at the begin.
    settings
        The rest.
    progress
        Told the share of the run that is done, now and then.

    Returns
    -------
    ReplayResult
        Every request is simulated to its end.

    Raises
    ------
    InvalidInputError
        If the initial counts are out of bounds, or nothing is left to measure.

    Notes
    -----
    The run begins at the multiple of the period before the first arrival. Scrapes take place
    ``observation_delay_s`` before multiples of the interval, and are visible at these: with both intervals 15 s, what
    an evaluation sees is as old as the delay. Orders follow DESIGN section 6: they serve ``startup`` later; a
    scale-down takes replicas that are not ready first, then the least loaded; queued requests move, running ones
    finish.
    """
    settings = settings or ReplaySettings()
    return _Run(spec, requests, policy, initial, settings).go(progress)


class _Run:
    def __init__(
        self,
        spec: ScalingSpec,
        requests: RequestTable,
        policy: Policy,
        initial: PerPool[int],
        settings: ReplaySettings,
    ) -> None:
        limits = spec.sizing.limits
        for pool, count in initial.items():
            least, most = limits[pool].min_replicas, limits[pool].max_replicas
            if not least <= count <= most:
                problem = f"{count} {pool.value} replicas are out of bounds (minReplicas {least}, maxReplicas {most})"
                raise InvalidInputError("--initial", problem)
        self._spec = spec
        self._policy = policy
        self._settings = settings
        self._startup_s = limits.map(lambda limit: limit.startup_s)
        self._gpus = limits.map(lambda limit: limit.gpus_per_replica)
        engine = deployment_of(settings.engine or spec.sizing)
        self._live = LiveDeployment(engine, requests, initial, self._startup_s, seed=settings.seed)
        self._scraper = Scraper(self._live)
        period_s = spec.evaluation_period_s
        self.begin_s = math.floor(requests.arrival_s[0] / period_s) * period_s
        self.end_s = float(requests.arrival_s[-1])
        self.measured_from_s = self.begin_s + settings.measure_from_s
        self.first = int(np.searchsorted(requests.arrival_s, self.measured_from_s))
        if self.first == len(requests):
            span_s = self.end_s - self.begin_s
            problem = f"leaves nothing to measure: the last request arrives after {span_s:.0f} s"
            raise InvalidInputError("--measure-from", problem)
        self._evaluations = math.floor((self.end_s - self.begin_s) / period_s + _SLACK)
        if self._evaluations > MOST_EVALUATIONS:
            raise InvalidInputError("arrival_s", f"spans {self.end_s - self.begin_s:.3g} s: too long to be replayed")
        self._scrapes = 0  # taken or skipped so far
        self._skipped = 0
        self._orders = [OrderMade(self.begin_s, initial)]

    def go(self, progress: Callable[[float], None] | None) -> ReplayResult:
        """Run to the end of the last request."""
        step = max(1, self._evaluations // 200)
        for number in range(1, self._evaluations + 1):
            now_s = self.begin_s + number * self._spec.evaluation_period_s
            self._scrape_until(now_s)
            self._advance(now_s)
            self._evaluate(now_s)
            if progress is not None and number % step == 0:
                progress(number / self._evaluations)
        self._live.advance(math.inf)
        return self._result()

    def _advance(self, until_s: float) -> None:
        if until_s > self._live.now_s:
            self._scraper.see(*self._live.advance(until_s))

    def _scrape_until(self, now_s: float) -> None:
        """Take the scrapes that are to take place up to now."""
        settings = self._settings
        while True:
            visible_s = self.begin_s + (self._scrapes + 1) * settings.scrape_interval_s
            at_s = visible_s - settings.observation_delay_s
            if at_s > now_s:
                return
            self._scrapes += 1
            if at_s < self.begin_s:
                self._skipped += 1
                continue
            self._advance(at_s)
            self._scraper.scrape()

    def _known(self, now_s: float) -> int:
        """Return how many of the scrapes are visible."""
        visible = math.floor((now_s - self.begin_s) / self._settings.scrape_interval_s + _SLACK)
        known: int = max(0, min(visible, self._scrapes) - self._skipped)
        return known

    def _evaluate(self, now_s: float) -> None:
        pools = self._live.pools.map(
            lambda live: PoolState(
                spec_replicas=live.staffing.ordered,
                ready_replicas=live.staffing.serving,
                pending_replicas=len(live.staffing.pending),
                terminating_replicas=live.draining(now_s),
            )
        )
        wanted = self._policy.decide(Observation(now_s, pools, self._scraper.log, self._known(now_s)), now_s)
        replicas = self._allowed(wanted.replicas, pools)
        if replicas != self._orders[-1].replicas:
            self._live.order(replicas)
            self._orders.append(OrderMade(now_s, replicas, wanted.reasons))

    def _allowed(self, wanted: PerPool[int], pools: PerPool[PoolState]) -> PerPool[int]:
        """Return what is wanted within the bounds and the budget, whatever the policy."""
        sizing = self._spec.sizing

        def order(pool: Pool) -> Order:
            limits = sizing.limits[pool]
            bounded = min(max(wanted[pool], limits.min_replicas), limits.max_replicas)
            return Order(pools[pool].spec_replicas, bounded, may_rise=True)

        draining = pools.map(lambda pool: pool.terminating_replicas)
        orders = PerPool(order(Pool.PREFILL), order(Pool.DECODE))
        orders = cut_growth(orders, draining, sizing.limits, sizing.constraints, PerPool(1.0, 1.0))
        return orders.map(lambda each: each.desired)

    def _result(self) -> ReplayResult:
        records, orders, slo = self._live.records(), tuple(self._orders), self._spec.sizing.slo
        measured = slice(self.first, None)
        span_s = self.end_s - self.begin_s
        window_s = self._settings.series_window_s or max(60.0, 60.0 * math.ceil(span_s / 60.0 / MOST_WINDOWS))
        begin_s, end_s = self.measured_from_s, self.end_s
        return ReplayResult(
            begin_s=self.begin_s,
            measured_from_s=begin_s,
            end_s=end_s,
            requests=len(records) - self.first,
            attainment=attained(records, slo, measured),
            ttft_s=latency_statistics(records.ttft_s[measured]),
            tpot_s=latency_statistics(records.tpot_s[measured]),
            gpu_hours=ordered_gpu_hours(orders, self._gpus, begin_s, end_s),
            gpu_hours_with_drain=used_gpu_hours(records.lives, self._gpus, begin_s, end_s),
            scale_operations=operations(orders, begin_s),
            max_gpus=largest_order(orders, self._gpus, begin_s, end_s),
            orders=orders,
            series=series_of(records, slo, orders, self._startup_s, (self.begin_s, end_s, window_s)),
            records=records,
            evaluations=self._evaluations,
        )
