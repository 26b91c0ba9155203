"""llm-d's workload variant autoscaler (WVA 0.9): tokens in use against capacity, handed to an HPA. May import core.

The token-based saturation analyser of the defaults (V2), for each role apart, and the HPA of its Helm chart.
"""

import math
from collections import deque

import numpy as np

from pdscaler.core.decision import PoolState
from pdscaler.core.pools import PerPool
from pdscaler.core.spec import Behavior, PolicyType, ScalingPolicy, ScalingRules
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.horizontal import Horizontal, by_average_value
from pdscaler.simulator.policies.parts import Every, hold
from pdscaler.simulator.policies.policy import Entry, Knob, Setting, Wanted

KV_THRESHOLD = 0.8
UP, DOWN = 0.85, 0.70
"""``scaleUpThreshold`` and ``scaleDownBoundary``."""

QUEUE_THRESHOLD = 5
"""Waiting requests of a replica from which on it counts as saturated."""

INTERVAL_S = 60.0
"""``GLOBAL_OPT_INTERVAL``."""

HISTORY = 10
"""Observations of a saturated replica's tokens that are averaged."""

METRIC_WINDOW_S = 60.0
"""Gauges are the greatest of so long (``max_over_time(…[1m])``)."""

_RULES = ScalingRules(240.0, (ScalingPolicy(PolicyType.PODS, 10, 150.0),))
BEHAVIOR = Behavior(scale_up=_RULES, scale_down=_RULES)
"""The chart's: 240 s of stabilisation both ways, at most 10 pods in 150 s."""


class Wva:
    """Tokens in use and waiting are kept within 70 to 85 % of capacity, for each role.

    Parameters
    ----------
    setting
        The PDDeployment.
    up
        Demand over capacity from which on replicas are added; they are removed below ``up`` − 0.15.
    behavior
        Of the HPA.

    Notes
    -----
    Capacity of a replica = the least of 80 % of its KV memory and of what it can compute. Demand = tokens in use +
    waiting requests × mean prompt. What a replica can compute is what it was seen to hold when
    its queue was full, averaged; before that N·(I + O/2) with N = min(B·O/(I + O), S): B the token budget, S the batch
    slots, I and O the mean lengths. A prefill engine answers with one token, O = 1. Added are
    ceil((demand/up − replicas · capacity) / capacity), pending ones counted; removed floor((capacity of the ready ones
    − demand/down) / capacity).
    """

    def __init__(self, setting: Setting, *, up: float = UP, behavior: Behavior = BEHAVIOR) -> None:
        self._up, self._down = up, up - (UP - DOWN)
        self._capacity = Capacity(setting.spec.sizing)
        self._every = Every(INTERVAL_S)
        self._desired = setting.initial
        self._pools = setting.spec.sizing.limits.map(lambda limits: Horizontal(limits, behavior))
        self._seen: PerPool[deque[float]] = PerPool(deque(maxlen=HISTORY), deque(maxlen=HISTORY))
        self._told = PerPool("", "")

    def decide(self, observation: Observation, now_s: float) -> Wanted:
        """Analyse each minute; the HPA looks at every period."""
        mix = observation.window(900.0)
        if mix is None or mix.isl_mean is None or mix.osl_mean is None:
            return hold(observation, "nothing known yet")
        pools = observation.pools
        if self._every.due(now_s):
            uncached = mix.isl_mean * (1 - mix.prefix_hit_ratio)
            slots = self._capacity.decode.max_batch
            prefill = self._analysed(
                pools.prefill,
                in_use=_peak(observation, "prefill_running") * uncached,
                waiting=_peak(observation, "prefill_waiting"),
                prompt=uncached,
                compute=self._computed(uncached, 1.0, slots),
                memory=math.inf,
                seen=self._seen.prefill,
            )
            decode = self._analysed(
                pools.decode,
                in_use=_peak(observation, "kv_tokens"),
                waiting=_peak(observation, "decode_waiting"),
                prompt=mix.isl_mean,
                compute=self._computed(mix.isl_mean, mix.osl_mean, slots),
                memory=KV_THRESHOLD * self._capacity.kv_tokens,
                seen=self._seen.decode,
            )
            self._desired = PerPool(prefill[0], decode[0])
            self._told = PerPool(prefill[1], decode[1])
        counts = PerPool(
            self._pools.prefill.next(pools.prefill, by_average_value(pools.prefill, self._desired.prefill, 1.0), now_s),
            self._pools.decode.next(pools.decode, by_average_value(pools.decode, self._desired.decode, 1.0), now_s),
        )
        return Wanted(counts, self._told)

    def _computed(self, isl: float, osl: float, slots: int) -> float:
        """Return the tokens that a replica holds when its token budget is used up, by its arguments alone."""
        steady = min(self._capacity.budget_tokens * osl / (isl + osl), slots)
        return steady * (isl + osl / 2)

    def _analysed(
        self,
        pool: PoolState,
        *,
        in_use: float,
        waiting: float,
        prompt: float,
        compute: float,
        memory: float,
        seen: deque[float],
    ) -> tuple[int, str]:
        """Return the count that one role's variant should have, and why."""
        ready = max(1, pool.ready_replicas)
        if waiting / ready >= QUEUE_THRESHOLD and in_use > 0:
            seen.append(in_use / ready)
            compute = in_use / ready
        elif seen:
            compute = float(np.mean(seen))
        capacity = max(1.0, min(memory, compute))
        demand = in_use + waiting * prompt
        required = demand / self._up - (ready + pool.pending_replicas) * capacity
        spare = ready * capacity - demand / self._down
        current = pool.spec_replicas
        wanted = current
        if required > 0:
            wanted = current + math.ceil(required / capacity - 1e-9)
        elif spare > 0:
            wanted = max(1, current - math.floor(spare / capacity + 1e-9))
        return wanted, f"{demand:.3g} tokens of {ready * capacity:.3g}"


def _peak(observation: Observation, gauge: str) -> float:
    values = observation.recent(gauge, METRIC_WINDOW_S)
    return float(values.max()) if len(values) else 0.0


ENTRY = Entry(
    Wva,
    "tokens in use and waiting within 70 to 85 % of capacity, through the HPA of its chart (240 s windows)",
    source="llm-d workload-variant-autoscaler 0.9: internal/engines/analyzers/saturation_v2/analyzer.go, "
    "docs/integrations/hpa-integration.md",
    assumed="replicas of a role are loaded alike; a prefill engine's tokens in use are those of its running passes",
    knob=Knob("up", (0.25, 0.4, 0.55, 0.7, 0.85)),
)
