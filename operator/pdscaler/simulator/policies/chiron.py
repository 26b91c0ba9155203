"""Chiron's interactive backpressure: busy over total instances at most a threshold. May import core.

Source: arXiv 2501.08090 for the idea; threshold 0.6 and the lock while instances start from the implementation in
SageServe's simulator (``arbiter.py``, ``ChironArbiter``).
"""

from pdscaler.core.decision import PoolState
from pdscaler.core.pools import PerPool
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.parts import count, hold
from pdscaler.simulator.policies.policy import Entry, Knob, Setting, Wanted

THRESHOLD = 0.6
WINDOW_S = 60.0
MIX_WINDOW_S = 900.0


class Chiron:
    """Up to the count with busy/total at the threshold where it is above; else down by one, where that stays below it.

    Parameters
    ----------
    setting
        The PDDeployment.
    threshold
        Busy over total instances, in (0, 1].

    Notes
    -----
    Chiron packs interactive requests on as few instances as their batches allow, and counts these as busy. The router
    here spreads them, so busy is what the same requests would fill: prefill's seconds in passes, decode's requests over
    the largest batch within the TPOT target (what its local autoscaler settles on).
    """

    def __init__(self, setting: Setting, *, threshold: float = THRESHOLD) -> None:
        self._threshold = threshold
        self._capacity = Capacity(setting.spec.sizing)

    def decide(self, observation: Observation, now_s: float) -> Wanted:  # noqa: ARG002 - it knows the present only
        """Compare both pools with the threshold."""
        minute, mix = observation.window(WINDOW_S), observation.window(MIX_WINDOW_S)
        if minute is None or mix is None or mix.isl_mean is None or mix.osl_mean is None:
            return hold(observation, "nothing known yet")
        inside = observation.recent("decode_running", WINDOW_S) + observation.recent("decode_waiting", WINDOW_S)
        busy = PerPool(
            minute.rate("prefill_busy_s"),
            float(inside.mean()) / self._capacity.batch(mix.isl_mean, mix.osl_mean),
        )
        pools = observation.pools
        counts = PerPool(self._next(pools.prefill, busy.prefill), self._next(pools.decode, busy.decode))
        return Wanted(counts, busy.map(lambda each: f"{each:.2f} instances busy, at most {self._threshold:.0%} of all"))

    def _next(self, pool: PoolState, busy: float) -> int:
        current = pool.spec_replicas
        if pool.pending_replicas:
            return current
        if busy > self._threshold * current:
            return count(busy / self._threshold)
        return max(1, current - 1) if busy <= self._threshold * (current - 1) else current


ENTRY = Entry(
    Chiron,
    "busy over total instances at most 60 %: up at once, down one by one, nothing while instances start",
    source="Chiron, arXiv 2501.08090; threshold and lock as in SageServe's simulator (arbiter.py)",
    assumed="busy instances are those that the same requests would fill; down only where busy/total stays within the "
    "threshold (the implementation goes down whenever it is not above, and up again)",
    knob=Knob("threshold", (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
)
