"""HPA on how busy the engines are, and on how full their batches are. May import core."""

import math

from pdscaler.core.pools import PerPool
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.horizontal import Horizontal, by_utilization
from pdscaler.simulator.policies.parts import hold
from pdscaler.simulator.policies.policy import Entry, Knob, Setting, Wanted

METRIC_WINDOW_S = 60.0
"""Utilisation is a mean over so long: ``rate(…[1m])``."""

TARGET = 0.8
"""What HPA takes where no metric is stated: 80 % average utilisation."""


class HpaUtilization:
    """HPA on the share of time that the engines (GPUs) are busy.

    Parameters
    ----------
    setting
        The PDDeployment.
    target
        Utilisation aimed at, in (0, 1].

    Notes
    -----
    Prefill: seconds in passes over the last minute. Decode: engines that run anything, mean over the scrapes of the
    last minute. A GPU counts as busy whatever its batch, as ``DCGM_FI_DEV_GPU_UTIL`` has it.
    """

    def __init__(self, setting: Setting, *, target: float = TARGET) -> None:
        self._target = target
        self._pools = setting.spec.sizing.limits.map(Horizontal)

    def decide(self, observation: Observation, now_s: float) -> Wanted:
        """Ask each pool's autoscaler."""
        utilization = self._utilization(observation)
        if utilization is None:
            return hold(observation, "nothing known yet")
        prefill, decode = observation.pools.prefill, observation.pools.decode
        counts = PerPool(
            self._pools.prefill.next(prefill, by_utilization(prefill, utilization.prefill, self._target), now_s),
            self._pools.decode.next(decode, by_utilization(decode, utilization.decode, self._target), now_s),
        )
        reasons = utilization.map(lambda share: f"{share:.0%} busy, target {self._target:.0%}")
        return Wanted(counts, reasons)

    def _utilization(self, observation: Observation) -> PerPool[float] | None:
        """Return how busy the ready replicas are, in [0, 1]; None where it is not known."""
        window = observation.window(METRIC_WINDOW_S)
        if window is None:
            return None
        decode = float(observation.recent("decode_busy_replicas", METRIC_WINDOW_S).mean())
        ready = observation.pools.map(lambda pool: max(1, pool.ready_replicas))
        return PerPool(
            min(1.0, window.rate("prefill_busy_s") / ready.prefill),
            min(1.0, decode / ready.decode),
        )


class HpaBatch(HpaUtilization):
    """HPA on the running requests over the largest batch within the TPOT target; prefill as :class:`HpaUtilization`.

    What cloud vendors recommend in place of GPU utilisation: decode GPUs are busy with one request as with a hundred.
    """

    def __init__(self, setting: Setting, *, target: float = TARGET) -> None:
        super().__init__(setting, target=target)
        self._capacity = Capacity(setting.spec.sizing)

    def _utilization(self, observation: Observation) -> PerPool[float] | None:
        busy = super()._utilization(observation)
        window = observation.window(15 * METRIC_WINDOW_S)
        if busy is None or window is None or window.isl_mean is None or window.osl_mean is None:
            return None
        inside = observation.recent("decode_running", METRIC_WINDOW_S) + observation.recent(
            "decode_waiting", METRIC_WINDOW_S
        )
        batch = self._capacity.batch(window.isl_mean, window.osl_mean)
        ready = max(1, observation.pools.decode.ready_replicas)
        share = float(inside.mean()) / (batch * ready)
        return PerPool(busy.prefill, share if math.isfinite(share) else 0.0)


_GRID = Knob("target", (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9))

ENTRY = Entry(
    HpaUtilization,
    "HPA v2 on the share of time that the GPUs are busy, target 80 %",
    source="Kubernetes autoscaling/v2 (replica_calculator.go; behaviour defaults of the API reference)",
    assumed="utilisation is the duty cycle of the engines over a minute; decode is busy whenever it runs anything",
    knob=_GRID,
)

BATCH_ENTRY = Entry(
    HpaBatch,
    "HPA v2 on running requests over the largest batch within the TPOT target (decode), busy time (prefill), 80 %",
    source="the same HPA; the metric as GKE's and vLLM's autoscaling guides recommend (batch size, not GPU busy)",
    assumed="the full batch is read off the profile at the mean lengths of the last 15 minutes",
    knob=_GRID,
)
