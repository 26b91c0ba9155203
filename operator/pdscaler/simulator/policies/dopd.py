"""DOPD: forecast requests and lengths, decode by concurrency, prefill by the optimal ratio. May import core.

Source: arXiv 2511.20982: ARIMA over the last 50 intervals of 10 s for requests, ISL and OSL; P per D =
B_max · TTFT(ISL) / (OSL · TPOT); D = concurrency / B_max.
"""

from collections import deque

from pdscaler.core.pools import PerPool
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.parts import count, hold
from pdscaler.simulator.policies.policy import Entry, Knob, Setting, Wanted
from pdscaler.simulator.policies.series import forecast

WINDOW = 50
RATE_WINDOW_S = 35.0


class Dopd:
    """Sizes for the forecast of the next interval.

    Parameters
    ----------
    setting
        The PDDeployment.
    headroom
        Multiplies the forecast requests; 1 is the published rule.

    Notes
    -----
    B_max is the largest batch within the TPOT target, slots and KV memory; TPOT is that batch's step; TTFT(ISL) an idle
    pass; concurrency = requests/s · OSL · TPOT.
    """

    def __init__(self, setting: Setting, *, headroom: float = 1.0) -> None:
        self._headroom = headroom
        self._capacity = Capacity(setting.spec.sizing)
        self._seen: tuple[deque[float], ...] = tuple(deque(maxlen=WINDOW) for _ in range(3))

    def decide(self, observation: Observation, now_s: float) -> Wanted:  # noqa: ARG002 - it counts the periods
        """Forecast and size."""
        now = observation.window(RATE_WINDOW_S)
        if now is not None:
            mix = (now.rate_rps, now.isl_mean, now.osl_mean)
            for series, value in zip(self._seen, mix, strict=True):
                if value is not None:
                    series.append(value)
        if not all(self._seen):
            return hold(observation, "nothing known yet")
        rate, isl, osl = (forecast(series)[0] for series in self._seen)
        isl, osl, rate = max(1.0, isl), max(1.0, osl), rate * self._headroom
        capacity = self._capacity
        batch = capacity.batch(isl, osl)
        step_s = capacity.step_s(batch, isl + osl / 2)
        hits = 0.0 if now is None else now.prefix_hit_ratio
        ratio = batch * capacity.prefill.time_s(isl * (1 - hits)) / (osl * step_s)
        batches = rate * osl * step_s / batch
        decode = count(batches)
        return Wanted(
            PerPool(count(decode * ratio), decode),
            PerPool(
                f"{ratio:.2f} for each decode replica",
                f"{rate:.3g} requests/s expected: {batches:.2f} batches of {batch}",
            ),
        )


ENTRY = Entry(
    Dopd,
    "ARIMA of requests, ISL and OSL; decode by concurrency over the largest batch, prefill at the optimal ratio",
    source="DOPD, arXiv 2511.20982",
    assumed="acts each 15 s in place of 10 s; ARIMA(1,1,0); its length-aware routing is not simulated",
    knob=Knob("headroom", (1.0, 1.2, 1.5, 2.0, 2.5, 3.0)),
)
