"""What one replica can do by its profile, without any queue: what throughput rules divide by. May import core."""

import math

from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.spec import SizingSpec


class Capacity:
    """Throughput of one replica of each pool.

    Parameters
    ----------
    sizing
        The PDDeployment: profiles, targets, derate.
    """

    def __init__(self, sizing: SizingSpec) -> None:
        self.prefill = prefill_curve(sizing.prefill_profile)
        self.decode = decode_surface(sizing.decode_profile)
        self.budget_tokens = sizing.prefill_profile.max_batched_tokens
        self.derate = sizing.decode_derate
        self.ttft_s = math.inf if sizing.slo.ttft is None else sizing.slo.ttft.target_s
        self.tpot_s = math.inf if sizing.slo.tpot is None else sizing.slo.tpot.target_s

    def prefill_rps(self, tokens: float) -> float:
        """Return the requests/s of prompts of ``tokens`` uncached tokens, one after the other."""
        return 1 / self.prefill.time_s(max(1.0, tokens))

    @property
    def peak_prefill_tokens_per_s(self) -> float:
        """Tokens/s of full passes: the token budget over the time of such a pass."""
        return self.budget_tokens / self.prefill.time_s(self.budget_tokens)

    def step_s(self, batch: float, context: float) -> float:
        """Return the seconds of one decode step of ``batch`` requests with ``context`` tokens each."""
        return self.decode.step_time_s(batch, batch * context) / self.derate

    def slots(self, context: float) -> int:
        """Return how many requests of ``context`` tokens fit into a decode replica, at least 1."""
        slots = self.decode.max_batch
        if self.decode.kv_capacity_tokens is not None:
            slots = min(slots, math.floor(self.decode.kv_capacity_tokens / context))
        return max(1, int(slots))

    def batch(self, isl: float, osl: float) -> int:
        """Return the largest batch whose step is within the TPOT target, and within slots and KV memory; at least 1."""
        context = isl + osl / 2
        low, high = 1, self.slots(context)
        while low < high:
            middle = (low + high + 1) // 2
            if self.step_s(middle, context) <= self.tpot_s:
                low = middle
            else:
                high = middle - 1
        return low

    def decode_rps(self, isl: float, osl: float) -> float:
        """Return the requests/s that a decode replica finishes at that batch."""
        batch = self.batch(isl, osl)
        return batch / (self.step_s(batch, isl + osl / 2) * max(1.0, osl - 1))

    @property
    def kv_tokens(self) -> float:
        """KV tokens of a decode replica; where the profile has no limit, those of its largest measured batch."""
        if self.decode.kv_capacity_tokens is not None:
            return self.decode.kv_capacity_tokens
        return self.decode.max_batch * self.decode.contexts[-1]
