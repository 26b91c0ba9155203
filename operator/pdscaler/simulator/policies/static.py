"""The policy that never scales. May import core."""

from pdscaler.core.pools import PerPool
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.policies.policy import Entry, Setting, Wanted


class Static:
    """Keeps the initial replicas."""

    def __init__(self, setting: Setting) -> None:
        self._wanted = Wanted(setting.initial, PerPool("static", "static"))

    def decide(self, observation: Observation, now_s: float) -> Wanted:  # noqa: ARG002 - it looks at nothing
        """Return the initial counts."""
        return self._wanted


ENTRY = Entry(
    Static,
    "the initial replicas, for ever",
    assumed="in the benchmark: what the busiest 5 to 15 minutes need, by hindsight (it knows the trace)",
)
