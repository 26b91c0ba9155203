"""HeteroScale: decode tokens per second against a target, prefill held at a ratio. May import core.

Source: arXiv 2508.19559 (proportional control on decode TPS, chosen there over GPU and latency metrics; P:D ratio
maintained; tolerance and cool-downs).
"""

import math

from pdscaler.core.pools import PerPool
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.parts import count, hold
from pdscaler.simulator.policies.policy import Entry, Knob, Setting, Wanted

TOLERANCE = 0.1
UP_COOLDOWN_S, DOWN_COOLDOWN_S = 180.0, 600.0
RATE_WINDOW_S = 60.0
MIX_WINDOW_S = 3600.0


class HeteroScale:
    """Decode = TPS / target, prefill = ratio × that; acted on where both change by more than 10 %, after a cool-down.

    Parameters
    ----------
    setting
        The PDDeployment.
    target
        Share of a decode replica's tokens/s (its largest batch within the TPOT target) that it should have, in (0, 1].

    Notes
    -----
    The ratio is that of the throughputs by the profile, at the last hour's mean lengths.
    """

    def __init__(self, setting: Setting, *, target: float = 0.8) -> None:
        self._target = target
        self._capacity = Capacity(setting.spec.sizing)
        self._last_s = -math.inf
        self._quiet_s = 0.0

    def decide(self, observation: Observation, now_s: float) -> Wanted:
        """Act on the tokens/s of the last minute."""
        minute, mix = observation.window(RATE_WINDOW_S), observation.window(MIX_WINDOW_S)
        if minute is None or mix is None or mix.isl_mean is None or mix.osl_mean is None:
            return hold(observation, "nothing known yet")
        ordered = observation.ordered
        if now_s < self._last_s + self._quiet_s:
            return hold(observation, "cooling down")
        capacity = self._capacity
        decode_rps = capacity.decode_rps(mix.isl_mean, mix.osl_mean)
        tokens_per_s = minute.rate("generated_tokens")
        need = tokens_per_s / (decode_rps * max(1.0, mix.osl_mean - 1) * self._target)
        ratio = decode_rps / capacity.prefill_rps(mix.isl_mean * (1 - mix.prefix_hit_ratio))
        decode = count(need)
        wanted = PerPool(count(decode * ratio), decode)
        reason = f"{tokens_per_s:.4g} tokens/s need {need:.2f} decode replicas"
        change = (wanted.prefill + wanted.decode) / (ordered.prefill + ordered.decode) - 1
        if abs(change) <= TOLERANCE:
            return hold(observation, f"{reason}: within 10 %")
        self._quiet_s = UP_COOLDOWN_S if change > 0 else DOWN_COOLDOWN_S
        self._last_s = now_s
        return Wanted(wanted, PerPool(f"{ratio:.2f} for each decode replica", reason))


ENTRY = Entry(
    HeteroScale,
    "decode tokens/s over a target; prefill at a fixed ratio to it; ±10 %, cool-downs of 180 s up and 600 s down",
    source="HeteroScale, arXiv 2508.19559 (ByteDance)",
    assumed="target = 80 % of the profile's tokens/s within the TPOT target; ratio from the profile at the last "
    "hour's mean lengths; its latency safety net and heterogeneous hardware are left out",
    knob=Knob("target", (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
)
