"""llm-d's token-aware autoscaling: seconds of prefill backlog and KV occupancy, by KEDA and HPA. May import core."""

from pdscaler.core.pools import PerPool
from pdscaler.core.spec import Behavior, PolicyType, ScalingPolicy, ScalingRules
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.horizontal import Horizontal, by_average_value
from pdscaler.simulator.policies.parts import hold
from pdscaler.simulator.policies.policy import Entry, Knob, Setting, Wanted

BACKLOG_S = 1.5
"""Seconds of queued prefill work that a replica may have (the guide's shipped threshold)."""

KV_USAGE = 0.8
"""Share of its KV memory that a decode replica may use."""

BEHAVIOR = Behavior(
    scale_up=ScalingRules(0.0, (ScalingPolicy(PolicyType.PODS, 1, 180.0),)),
    scale_down=ScalingRules(300.0, (ScalingPolicy(PolicyType.PODS, 1, 300.0),)),
)
"""Of both ScaledObjects: at most one pod more in 3 min, at most one fewer in 5 min."""


class LlmdTokens:
    """Prefill = ceil(queued tokens / peak throughput / threshold), decode = ceil(sum of KV usage / 0.8), each by HPA.

    Parameters
    ----------
    setting
        The PDDeployment.
    backlog_s, kv_usage
        The two thresholds.
    behavior
        Of both HPAs.

    Notes
    -----
    The peak throughput is the token budget over the time of a full pass, as ``calibrate.sh`` measures it. Queued are
    the uncached tokens that have been dispatched and not been prefilled, those in the running passes included.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        backlog_s: float = BACKLOG_S,
        kv_usage: float = KV_USAGE,
        behavior: Behavior = BEHAVIOR,
    ) -> None:
        self._backlog_s = backlog_s
        self._kv_usage = kv_usage
        self._capacity = Capacity(setting.spec.sizing)
        self._pools = setting.spec.sizing.limits.map(lambda limits: Horizontal(limits, behavior))

    def decide(self, observation: Observation, now_s: float) -> Wanted:
        """Ask both scalers."""
        waiting, kv_tokens = observation.gauge("prefill_waiting_tokens"), observation.gauge("kv_tokens")
        if waiting is None or kv_tokens is None:
            return hold(observation, "nothing known yet")
        window = observation.window(900.0)
        running = observation.gauge("prefill_running") or 0.0
        if window is not None and window.isl_mean is not None:
            waiting += running * window.isl_mean * (1 - window.prefix_hit_ratio)
        backlog_s = waiting / self._capacity.peak_prefill_tokens_per_s
        usage = kv_tokens / self._capacity.kv_tokens
        pools = observation.pools
        wanted = PerPool(
            by_average_value(pools.prefill, backlog_s, self._backlog_s),
            by_average_value(pools.decode, usage, self._kv_usage),
        )
        counts = PerPool(
            self._pools.prefill.next(pools.prefill, wanted.prefill, now_s),
            self._pools.decode.next(pools.decode, wanted.decode, now_s),
        )
        return Wanted(
            counts,
            PerPool(
                f"{backlog_s:.2g} s of backlog, {self._backlog_s:g} s for each",
                f"{usage:.2g} replicas' KV memory, {self._kv_usage:g} for each",
            ),
        )


ENTRY = Entry(
    LlmdTokens,
    "prefill by seconds of queued tokens (1.5 s a replica), decode by KV memory in use (80 %), one pod at a time",
    source="llm-d, guides/workload-autoscaling/keda-epp-token-aware/pd-disaggregation: thresholds and HPA as shipped",
    assumed="tokens of running passes are requests in them times the mean uncached ISL of 15 minutes",
    knob=Knob("backlog_s", (0.02, 0.05, 0.1, 0.2, 0.5, 1.5)),
)
