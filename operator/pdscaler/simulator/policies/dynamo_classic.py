"""NVIDIA Dynamo's planner, classic (up to 0.9), over time: every 180 s, with correction factors. May import core.

Source: ai-dynamo ``planner_core.py`` and docs.nvidia.com/dynamo/v-0-9-0, planner design: forecast of requests, ISL and
OSL (ARIMA) for the next interval; correction factors from what was observed in the last one; counts as in
:mod:`pdscaler.simulator.policies.dynamo_rules`.
"""

from collections import deque

from pdscaler.core.pools import PerPool
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.simulator.observation import Observation, Window
from pdscaler.simulator.policies import dynamo_rules
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.parts import Every, hold
from pdscaler.simulator.policies.policy import Entry, Knob, Setting, Wanted
from pdscaler.simulator.policies.series import forecast

INTERVAL_S = 180.0
WINDOW = 50
"""Intervals that the predictor remembers."""


class Predictor:
    """Forecasts the load of the next interval from those so far.

    Parameters
    ----------
    headroom
        Multiplies the rate; 1 is the published rule.
    """

    def __init__(self, headroom: float) -> None:
        self._headroom = headroom
        self._seen: tuple[deque[float], ...] = tuple(deque(maxlen=WINDOW) for _ in range(3))

    def next(self, window: Window) -> WorkloadStats | None:
        """Take an interval, and return what is expected of the next one; None before anything was known."""
        for series, value in zip(self._seen, (window.rate_rps, window.isl_mean, window.osl_mean), strict=True):
            if value is not None:
                series.append(value)
        if not all(self._seen):
            return None
        rate, isl, osl = (forecast(series)[0] for series in self._seen)
        return WorkloadStats(
            rate * self._headroom,
            LengthStats(max(1.0, isl)),
            LengthStats(max(1.0, osl)),
            prefix_hit_ratio=window.prefix_hit_ratio,
        )


class DynamoClassic:
    """Acts every three minutes on the forecast of the next three.

    Parameters
    ----------
    setting
        The PDDeployment.
    headroom
        Multiplies the forecast rate; 1 is the published rule.
    """

    def __init__(self, setting: Setting, *, headroom: float = 1.0) -> None:
        self._sizing = setting.spec.sizing
        self._capacity = Capacity(setting.spec.sizing)
        self._every = Every(INTERVAL_S)
        self._predictor = Predictor(headroom)

    def decide(self, observation: Observation, now_s: float) -> Wanted:
        """Plan where an interval is over."""
        window = observation.window(INTERVAL_S)
        if window is None or window.osl_mean is None or not self._every.due(now_s):
            return hold(observation, "waits for the interval's end")
        load = self._predictor.next(window)
        if load is None:
            return hold(observation, "nothing known yet")
        correction = self._correction(window, observation)
        counts = dynamo_rules.classic(self._sizing, load, correction)
        told = f"{load.arrival_rate_rps:.3g} requests/s expected"
        return Wanted(
            counts, correction.map(lambda factor: f"{told}, latency {factor:.2f} times what the profile says")
        )

    def _correction(self, window: Window, observation: Observation) -> PerPool[float]:
        """Return observed over expected latencies; 1 where nothing was observed."""
        isl, osl, capacity = window.isl_mean, window.osl_mean, self._capacity
        if isl is None or osl is None or window.ttft_mean_s is None or window.tpot_mean_s is None:
            return PerPool(1.0, 1.0)
        ready = max(1, observation.pools.decode.ready_replicas)
        concurrency = max(1.0, window.rate_rps * window.tpot_mean_s * max(1.0, osl - 1) / ready)
        return PerPool(
            window.ttft_mean_s / capacity.prefill.time_s(isl),
            window.tpot_mean_s / capacity.step_s(concurrency, isl + osl / 2),
        )


ENTRY = Entry(
    DynamoClassic,
    "NVIDIA Dynamo planner 0.9: every 180 s, forecast load over profiled throughput, correction factors",
    source="ai-dynamo 0.9, planner design (docs.nvidia.com/dynamo/v-0-9-0) and throughput/interpolation.py",
    assumed="ARIMA(1,1,0) in place of pmdarima's search; the first plan as soon as an answer has finished",
    knob=Knob("headroom", (1.0, 1.2, 1.5, 2.0, 2.5, 3.0)),
)
