"""NVIDIA Dynamo's planner, current (1.6, target ``sla``): throughput loop as a floor, load loop. May import core.

Source: ai-dynamo ``components/src/dynamo/planner/core/throughput_scaling.py`` (every 180 s; with the load loop on it
sets a lower bound), ``load_scaling.py`` (``_advance_load_disagg``, ``_prefill_load_decision``,
``_decode_load_decision``, ``_scale_decision``), ``perf_model/`` (regressions), ``config/defaults.py``.
"""

from pdscaler.core.decision import PoolState
from pdscaler.core.pools import PerPool
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies import dynamo_rules
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.dynamo_classic import INTERVAL_S, Predictor
from pdscaler.simulator.policies.parts import Every, hold
from pdscaler.simulator.policies.policy import Entry, Knob, Setting, Wanted

SENSITIVITY = 0.8
"""``load_scaling_down_sensitivity``: what is left after a replica less must be within this share of the target."""


class DynamoCurrent:
    """Replicas by the load loop, never fewer than the throughput loop's.

    Parameters
    ----------
    setting
        The PDDeployment.
    headroom
        Multiplies the forecast rate of the throughput loop; 1 is the published rule.

    Notes
    -----
    The load loop estimates, for each engine, the next request's TTFT (queued tokens and a mean prompt, in passes of the
    token budget) and the next step (resident tokens and one request more), by linear regressions. All above the target:
    one replica more. One fewer where the queue's share of TTFT, and the step, with N/(N−1) times the load on each,
    stay within 80 % of what the target leaves.
    """

    def __init__(self, setting: Setting, *, headroom: float = 1.0) -> None:
        sizing = self._sizing = setting.spec.sizing
        self._capacity = Capacity(sizing)
        self._pass = dynamo_rules.prefill_regression(sizing.prefill_profile)
        self._step = dynamo_rules.decode_regression(sizing.decode_profile)
        self._every = Every(INTERVAL_S)
        self._predictor = Predictor(headroom)
        self._floor = PerPool(1, 1)

    def decide(self, observation: Observation, now_s: float) -> Wanted:
        """Let both loops run."""
        window = observation.window(INTERVAL_S)
        if window is None or window.isl_mean is None or window.osl_mean is None:
            return hold(observation, "nothing known yet")
        if self._every.due(now_s):
            load = self._predictor.next(window)
            self._floor = (None if load is None else dynamo_rules.current(self._sizing, load)) or self._floor
        pools = observation.pools
        wanted = observation.ordered
        # Engines that report are fewer than expected while some start: the load loop looks on.
        if not (pools.prefill.pending_replicas or pools.decode.pending_replicas):
            prompt = window.isl_mean * (1 - window.prefix_hit_ratio)
            wanted = PerPool(self._prefill(observation, pools.prefill, prompt), self._decode(observation, pools.decode))
        counts = PerPool(max(wanted.prefill, self._floor.prefill), max(wanted.decode, self._floor.decode))
        return Wanted(counts, self._floor.map(lambda floor: f"at least {floor} by throughput"))

    def _prefill(self, observation: Observation, pool: PoolState, prompt: float) -> int:
        current, target_s = pool.spec_replicas, self._capacity.ttft_s
        queued = (observation.gauge("prefill_waiting_tokens") or 0.0) / max(1, pool.ready_replicas)

        def ttft_s(tokens: float) -> float:
            return dynamo_rules.pass_time_s(self._sizing.prefill_profile, self._pass, tokens + prompt)

        if ttft_s(queued) > target_s:
            return current + 1
        own_s = ttft_s(0.0)
        left_s = (target_s - own_s) * SENSITIVITY
        if current > 1 and left_s > 0 and ttft_s(queued * current / (current - 1)) - own_s < left_s:
            return current - 1
        return current

    def _decode(self, observation: Observation, pool: PoolState) -> int:
        current, target_s = pool.spec_replicas, self._capacity.tpot_s
        ready = max(1, pool.ready_replicas)
        running = (observation.gauge("decode_running") or 0.0) / ready
        tokens = ((observation.gauge("kv_tokens") or 0.0) + (observation.gauge("decode_waiting_tokens") or 0.0)) / ready
        each = tokens / running if running else 0.0
        fixed_s, per_request_s, per_token_s = self._step

        def step_s(kv_tokens: float) -> float:
            return fixed_s + per_request_s * (running + 1) + per_token_s * (kv_tokens + each)

        if step_s(tokens) > target_s:
            return current + 1
        if current > 1:
            left = tokens * current / (current - 1)
            if left < self._capacity.kv_tokens and step_s(left) < target_s * SENSITIVITY:
                return current - 1
        return current


ENTRY = Entry(
    DynamoCurrent,
    "NVIDIA Dynamo planner 1.6 (target sla): throughput every 180 s as a floor, the load loop one replica at a time",
    source="ai-dynamo 1.6, planner/core/throughput_scaling.py, load_scaling.py, perf_model/, config/defaults.py",
    assumed="engines of a pool are loaded alike; both loops on; the load loop acts every 15 s in place of 5 s, and "
    "looks on while any replica starts; ARIMA(1,1,0); the regressions are fitted to the profile",
    knob=Knob("headroom", (1.0, 1.2, 1.5, 2.0, 2.5, 3.0)),
)
