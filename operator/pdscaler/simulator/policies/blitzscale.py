"""BlitzScale's scaling rule: bounds on waiting prompt tokens and on KV blocks in use. May import core.

Source: github.com/blitz-serving/blitz-scale, ``router_v2/src/replica/cybernetics/planner.rs``
(``generate_scale_target``); the bounds of its experiments, (0.5, 0.8) for prefill and (0.75, 0.95) for decode.
"""

import math

from pdscaler.core.pools import PerPool
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.parts import hold
from pdscaler.simulator.policies.policy import Entry, Knob, Setting, Wanted

PREFILL_BOUNDS, DECODE_BOUNDS = (0.5, 0.8), (0.75, 0.95)


def step(current: int, work: float, bounds: tuple[float, float]) -> int:
    """Return the next count of a pool.

    Parameters
    ----------
    current
        Its replicas, those that load included.
    work
        What there is to do, in what one replica can do.
    bounds
        Lower and upper bound of the share of it that is used.

    Returns
    -------
    int
        Below the least count that keeps the upper bound: the midpoint between it and the least that keeps the lower
        one. Above the latter: one fewer. At least one.

    Examples
    --------
    >>> step(2, 4.0, (0.5, 0.8)), step(9, 4.0, (0.5, 0.8)), step(6, 4.0, (0.5, 0.8))
    (7, 8, 6)
    """
    lower, upper = bounds
    least, most = math.ceil(work / upper - 1e-9), math.ceil(work / lower - 1e-9)
    if least > current:
        return (least + most + 1) // 2
    if most < current:
        return max(1, current - 1)
    return current


class BlitzScale:
    """Prefill by the tokens that wait, over the tokens of a second; decode by the KV tokens of the whole system.

    Parameters
    ----------
    setting
        The PDDeployment.
    share
        A replica is taken to do this share of what the profile says, > 0; 1 is the published rule.
    """

    def __init__(self, setting: Setting, *, share: float = 1.0) -> None:
        capacity = Capacity(setting.spec.sizing)
        self._tokens_per_s = capacity.peak_prefill_tokens_per_s * share
        self._kv_tokens = capacity.kv_tokens * share

    def decide(self, observation: Observation, now_s: float) -> Wanted:  # noqa: ARG002 - it knows the present only
        """Compare both pools with their bounds."""
        waiting, kv_tokens = observation.gauge("prefill_waiting_tokens"), observation.gauge("kv_tokens")
        inside = observation.gauge("decode_waiting_tokens")
        if waiting is None or kv_tokens is None or inside is None:
            return hold(observation, "nothing known yet")
        ordered = observation.ordered
        work = PerPool(waiting / self._tokens_per_s, (kv_tokens + inside) / self._kv_tokens)
        counts = PerPool(
            step(ordered.prefill, work.prefill, PREFILL_BOUNDS), step(ordered.decode, work.decode, DECODE_BOUNDS)
        )
        told = PerPool(f"{work.prefill:.2g} s of waiting tokens", f"{work.decode:.2g} replicas' KV memory")
        return Wanted(counts, told)


ENTRY = Entry(
    BlitzScale,
    "waiting tokens within 50 to 80 % of a second's prefill, KV blocks within 75 to 95 %; down by one",
    source="BlitzScale (OSDI '25), code: blitz-serving/blitz-scale, planner.rs and its experiments' bounds",
    assumed="acts at every period (its loop has no pause); the bound on KV transfer is left out, transfers are instant "
    "here; its fast loading is the shorter start-up, live scaling cannot be had",
    knob=Knob("share", (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)),
)
