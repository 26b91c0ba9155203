"""TokenScale: token arrival rate over the token velocity of each stage. May import core.

Source: arXiv 2512.03416: prefillers = ceil(token rate / prefill velocity), decoders = the sum over classes of requests
of token rate / decode velocity, the tokens that a decoder releases per second.
"""

from pdscaler.core.pools import PerPool
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.parts import count, hold
from pdscaler.simulator.policies.policy import Entry, Knob, Setting, Wanted

RATE_WINDOW_S = 35.0
"""The least that spans two scrapes wherever the evaluation falls: it wants the rate of now."""

MIX_WINDOW_S = 300.0


class TokenScale:
    """Sizes both stages by the velocity of tokens, at every period.

    Parameters
    ----------
    setting
        The PDDeployment.
    headroom
        Multiplies the rate; 1 is the published rule.

    Notes
    -----
    Prefill velocity: tokens/s of a full pass, a constant. Decode velocity: with the largest batch B within the TPOT
    target, B/OSL requests end at each step and release ISL + OSL tokens each: B (ISL + OSL) / (OSL · step).
    """

    def __init__(self, setting: Setting, *, headroom: float = 1.0) -> None:
        self._headroom = headroom
        self._capacity = Capacity(setting.spec.sizing)

    def decide(self, observation: Observation, now_s: float) -> Wanted:  # noqa: ARG002 - it knows the present only
        """Divide the rates by the velocities."""
        now, mix = observation.window(RATE_WINDOW_S), observation.window(MIX_WINDOW_S)
        if now is None or mix is None or mix.isl_mean is None or mix.osl_mean is None:
            return hold(observation, "nothing known yet")
        capacity, isl, osl = self._capacity, mix.isl_mean, mix.osl_mean
        batch = capacity.batch(isl, osl)
        decode_velocity = batch * (isl + osl) / (osl * capacity.step_s(batch, isl + osl / 2))
        rates = PerPool(
            (now.rate("input_tokens") - now.rate("cached_tokens")) * self._headroom,
            now.rate_rps * (isl + osl) * self._headroom,
        )
        velocity = PerPool(capacity.peak_prefill_tokens_per_s, decode_velocity)
        return Wanted(
            PerPool(count(rates.prefill / velocity.prefill), count(rates.decode / velocity.decode)),
            PerPool(
                f"{rates.prefill:.4g} tokens/s at {velocity.prefill:.4g}",
                f"{rates.decode:.4g} tokens/s at {velocity.decode:.4g}",
            ),
        )


ENTRY = Entry(
    TokenScale,
    "token arrival rate over token velocity: prefill a constant, decode the KV tokens released per second",
    source="TokenScale, arXiv 2512.03416",
    assumed="one class of requests (metrics tell prompts and answers apart, not their pairs); no convertible "
    "decoders: here a decode replica cannot prefill",
    knob=Knob("headroom", (1.0, 1.2, 1.5, 2.0, 2.5, 3.0)),
)
