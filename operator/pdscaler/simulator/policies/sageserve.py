"""SageServe's long-term scaling with its reactive guard, for one model in one region. May import core.

Source: arXiv 2502.14617 and github.com/kjain1810/SageServe: ``long_term_allocation.py`` (the integer programme: least
instances whose tokens/s cover the forecast peak) and ``arbiter.py`` (``GlobalAribiterMemoryUtilizationScaling``:
towards the programme's count one at a time, up only above 50 % and down only below 25 % utilisation, up in any case
above 90 %).
"""

from collections import deque

from pdscaler.core.decision import PoolState
from pdscaler.core.pools import PerPool
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.parts import Every, count, hold
from pdscaler.simulator.policies.policy import Entry, Knob, Setting, Wanted
from pdscaler.simulator.policies.series import forecast

INTERVAL_S = 3600.0
SAMPLE_S = 60.0
HISTORY = 7 * 24 * 60
AHEAD = 60
"""Minutes forecast: until the next programme."""

ANYWAY, UP, DOWN = 0.9, 0.5, 0.25


class SageServe:
    """Each hour the programme's count for the peak of the forecast; in between towards it, by utilisation.

    Parameters
    ----------
    setting
        The PDDeployment.
    headroom
        Multiplies the forecast peak; 1.1 is the paper's buffer.

    Notes
    -----
    With one model, region and GPU type the programme is ceil(peak tokens/s / tokens/s of an instance). The first one is
    solved when the PDDeployment's window is full. Utilisation: KV memory in use for decode, as there; seconds in passes
    for prefill, whose memory says nothing.
    """

    def __init__(self, setting: Setting, *, headroom: float = 1.1) -> None:
        self._headroom = headroom
        self._capacity = Capacity(setting.spec.sizing)
        self._window_s = setting.spec.window_s
        self._programme, self._sample = Every(INTERVAL_S), Every(SAMPLE_S)
        self._rates: deque[float] = deque(maxlen=HISTORY)
        self._planned: PerPool[int] | None = None

    def decide(self, observation: Observation, now_s: float) -> Wanted:
        """Solve each hour; move towards the solution."""
        minute, mix = observation.window(SAMPLE_S + 15.0), observation.window(INTERVAL_S)
        if minute is None or mix is None or mix.isl_mean is None or mix.osl_mean is None:
            return hold(observation, "nothing known yet")
        if self._sample.due(now_s):
            self._rates.append(minute.rate_rps)
        capacity = self._capacity
        if observation.covered_s(self._window_s) >= self._window_s and self._programme.due(now_s):
            peak = self._headroom * max(*forecast(self._rates, AHEAD), self._rates[-1])
            prompt = mix.isl_mean * (1 - mix.prefix_hit_ratio)
            self._planned = PerPool(
                count(peak / capacity.prefill_rps(prompt)),
                count(peak / capacity.decode_rps(mix.isl_mean, mix.osl_mean)),
            )
        planned = self._planned
        if planned is None:
            return hold(observation, "the first window is not full yet")
        pools = observation.pools
        usage = observation.gauge("kv_tokens") or 0.0
        used = PerPool(
            minute.rate("prefill_busy_s") / max(1, pools.prefill.ready_replicas),
            usage / (capacity.kv_tokens * max(1, pools.decode.ready_replicas)),
        )
        counts = PerPool(
            self._next(pools.prefill, planned.prefill, used.prefill),
            self._next(pools.decode, planned.decode, used.decode),
        )
        told = PerPool(
            f"{planned.prefill} planned for the hour, {used.prefill:.0%} used",
            f"{planned.decode} planned for the hour, {used.decode:.0%} used",
        )
        return Wanted(counts, told)

    @staticmethod
    def _next(pool: PoolState, planned: int, used: float) -> int:
        current = pool.spec_replicas
        if pool.pending_replicas:
            return current
        if used > ANYWAY or (planned > current and used > UP):
            return current + 1
        if planned < current and used < DOWN:
            return current - 1
        return current


ENTRY = Entry(
    SageServe,
    "each hour the least instances for the forecast peak; towards it one at a time, by utilisation",
    source="SageServe, arXiv 2502.14617; code: kjain1810/SageServe (long_term_allocation.py, arbiter.py)",
    assumed="ARIMA(1,1,0) of the minutes' rates in place of a week's; a pool's lock lasts while an instance starts; "
    "one model, region and GPU type, so routing and the choice of models fall away",
    knob=Knob("headroom", (1.1, 1.5, 2.0, 2.5, 3.0)),
)
