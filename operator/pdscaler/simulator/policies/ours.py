"""Our policy: the very ``plan`` of the controller, on what the operator would read. May import core and forecast."""

from collections.abc import Callable
from dataclasses import replace

from pdscaler.core.corrections import corrected
from pdscaler.core.decision import Decision, PlanInputs, PlanState, PoolState, TargetUnknown
from pdscaler.core.histogram import quantile_interval, surely_above
from pdscaler.core.live_calibration import CalibrationState, learn
from pdscaler.core.plan import plan
from pdscaler.core.pools import PerPool
from pdscaler.core.slo import LatencyTarget
from pdscaler.core.spec import ScalingSpec
from pdscaler.core.workload import ArrivalSource, NoData, NoDataReason, Telemetry, WorkloadStats
from pdscaler.simulator.observation import Observation, Window
from pdscaler.simulator.policies.expectation import Expectation, LastValueExpectation, LearnedExpectation
from pdscaler.simulator.policies.policy import Entry, Setting, Wanted
from pdscaler.units import format_duration

LEAST_COVERAGE = 0.25
"""Share of the window that scrapes must cover before anything is decided (as ``telemetry.rates`` has it)."""


class Ours:
    """Plans at every evaluation and hands the state on, as the controller does.

    Parameters
    ----------
    setting
        The PDDeployment.
    expects
        Makes what keeps the history and forecasts; the present load is expected to stay where it is left out.
    """

    def __init__(self, setting: Setting, expects: Callable[[ScalingSpec], Expectation] | None = None) -> None:
        self._spec = setting.spec
        self._expectation = LastValueExpectation() if expects is None else expects(setting.spec)
        self._state = PlanState()
        self.calibration = CalibrationState()
        """What was learnt of the engines."""
        self.decision: Decision | None = None
        """The last decision, with all that it rests on."""

    def decide(self, observation: Observation, now_s: float) -> Wanted:
        """Plan; a pool that is left alone keeps what it has."""
        pools = observation.pools
        targets: PerPool[PoolState | TargetUnknown] = PerPool(pools.prefill, pools.decode)
        inputs = PlanInputs(telemetry_of(observation, self._spec), targets)
        forecaster = self._expectation.forecaster(observation, now_s)
        decision = self.decision = plan(self._calibrated(inputs, now_s), inputs, self._state, now_s, forecaster)
        self._state = decision.state
        ordered = observation.ordered
        counts = PerPool(
            *(ordered[pool] if each.desired is None else each.desired for pool, each in decision.pools.items())
        )
        return Wanted(counts, decision.pools.map(lambda each: each.reason))

    def _calibrated(self, inputs: PlanInputs, now_s: float) -> ScalingSpec:
        """Learn from what is seen, and return the spec of the engines as they are."""
        spec = self._spec
        if not spec.calibrate:
            return spec
        self.calibration = learn(self.calibration, spec, inputs.telemetry, inputs.targets, now_s)
        return replace(spec, sizing=corrected(spec.sizing, self.calibration.corrections))


def telemetry_of(observation: Observation, spec: ScalingSpec) -> Telemetry | NoData:
    """Return what the operator reads of the metrics at an evaluation, or why it can say nothing.

    The rules are those of ``telemetry.assemble`` with a front door that counts arrivals.
    """
    window, scraped_s = observation.window(spec.window_s), observation.scraped_s
    length = format_duration(spec.window_s)
    if window is None or scraped_s is None:
        return NoData(NoDataReason.NO_DATA, f"fewer than two samples within the window of {length}")
    if observation.covered_s(spec.window_s) < LEAST_COVERAGE * spec.window_s:
        return NoData(NoDataReason.NO_DATA, f"samples cover too little of the window of {length} yet")
    workload = _workload(window)
    if isinstance(workload, NoData):
        return workload
    slo = spec.sizing.slo
    ttft, tpot = _percentile(window, "ttft", slo.ttft), _percentile(window, "tpot", slo.tpot)
    return Telemetry(
        workload=workload,
        arrival_source=ArrivalSource.FRONT_DOOR,
        ttft_mean_s=window.ttft_mean_s,
        tpot_mean_s=window.tpot_mean_s,
        ttft_bucket_s=ttft[0],
        tpot_bucket_s=tpot[0],
        ttft_surely_s=ttft[1],
        tpot_surely_s=tpot[1],
        prefill=observation.load("prefill"),
        decode=observation.load("decode"),
        alternatives=(),
        window_s=spec.window_s,
        observed_at_s=scraped_s,
    )


def _workload(window: Window) -> WorkloadStats | NoData:
    rate_rps = window.rate_rps
    isl, osl = window.lengths("isl"), window.lengths("osl")
    if isl is None or osl is None:
        if rate_rps > 0:
            return NoData(NoDataReason.NO_DATA, f"{rate_rps:.3g} requests/s arrive, and no answer has finished yet")
        isl = osl = None
    return WorkloadStats(rate_rps, isl, osl, prefix_hit_ratio=window.prefix_hit_ratio)


def _percentile(
    window: Window, name: str, target: LatencyTarget | None
) -> tuple[tuple[float, float] | None, float | None]:
    """Return the bucket that holds the statistic of a target, and what it is above beyond chance."""
    quantile = None if target is None else target.statistic.quantile
    if quantile is None:
        return None, None
    buckets = window.buckets(name)
    count = sum(bucket.weight for bucket in buckets)
    return quantile_interval(buckets, quantile), surely_above(buckets, quantile, count)


def ours(setting: Setting) -> Ours:
    """Return the policy as the operator runs it: with its forecast."""
    return Ours(setting, LearnedExpectation)


ENTRY = Entry(ours, "the plan of the operator, by its forecast")
