"""A hand-tuned utilisation rule: the last minute's rate over the profile's throughput, held. May import core."""

import math
from collections import deque

from pdscaler.core.pools import PerPool
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.policy import Entry, Knob, Setting, Wanted
from pdscaler.units import format_number


class LastMinute:
    """Rate of the last minute over what a replica can do, at a target utilisation; the peak of a while is held.

    Parameters
    ----------
    setting
        The PDDeployment.
    target
        Utilisation aimed at, in (0, 1].
    hold_s
        The greatest need of so many seconds counts; the initial replicas are the first one.
    rate_window_s
        Arrivals are averaged over so long (an operator's ``rate(…[1m])``).
    mix_window_s
        Lengths are averaged over so long: a minute's mean length is noise.

    Notes
    -----
    A prefill replica can do 1 / prefill_time(mean ISL) requests/s, one prompt after the other, as throughput at a
    length is profiled. A decode replica can do B / (step_time(B) · (mean OSL − 1)) with B the largest batch whose step,
    at contexts of mean ISL + OSL/2, is within the TPOT target, and within slots and KV memory.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        target: float = 0.7,
        hold_s: float = 1800.0,
        rate_window_s: float = 75.0,
        mix_window_s: float = 900.0,
    ) -> None:
        self._capacity = Capacity(setting.spec.sizing)
        self._target = target
        self._hold_s = hold_s
        self._rate_window_s = rate_window_s
        self._mix_window_s = mix_window_s
        self._held: PerPool[deque[tuple[float, int]]] = PerPool(deque(), deque())
        self._last = setting.initial

    def decide(self, observation: Observation, now_s: float) -> Wanted:
        """Return the greatest need of the last while."""
        minute, mix = observation.window(self._rate_window_s), observation.window(self._mix_window_s)
        if minute is None or mix is None or mix.isl_mean is None or mix.osl_mean is None:
            return Wanted(self._last, PerPool("nothing known yet", "nothing known yet"))
        rate_rps = minute.rate_rps
        uncached = max(1.0, mix.isl_mean * (1 - mix.prefix_hit_ratio))
        can = PerPool(self._capacity.prefill_rps(uncached), self._capacity.decode_rps(mix.isl_mean, mix.osl_mean))
        if not self._held.prefill:  # as HPA does at a start
            for pool, count in self._last.items():
                self._held[pool].append((now_s, count))
        needs = can.map(lambda each_rps: max(1, math.ceil(rate_rps / (each_rps * self._target))))
        self._last = PerPool(*(self._greatest(self._held[pool], need, now_s) for pool, need in needs.items()))
        told = can.map(
            lambda each_rps: (
                f"{format_number(rate_rps)} requests/s at {self._target:.0%} of {format_number(each_rps)} per replica"
            )
        )
        return Wanted(self._last, told)

    def _greatest(self, held: deque[tuple[float, int]], need: int, now_s: float) -> int:
        """Add a need; return the greatest of the last while. What a later, greater one outlives is dropped."""
        while held and held[-1][1] <= need:
            held.pop()
        held.append((now_s, need))
        while held[0][0] <= now_s - self._hold_s:
            held.popleft()
        return held[0][1]


ENTRY = Entry(
    LastMinute,
    "the last minute's rate over the profile's throughput at 70 %, held for 30 min",
    source="this repository: a utilisation rule tuned by hand on the two Azure traces",
    knob=Knob("target", (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
)
