"""A replay and what it rests on: what tables and reports are made of. May import core and simulator."""

from dataclasses import dataclass

from pdscaler.core.pools import PerPool
from pdscaler.core.spec import ScalingSpec
from pdscaler.simulator.oracle import Schedule
from pdscaler.simulator.result import ReplayResult


@dataclass(frozen=True, slots=True)
class Replayed:
    """A replay and what it rests on.

    Parameters
    ----------
    spec, policy
        Who decided, for what.
    source
        Name of the trace.
    result
        What it came to.
    seed
        Of all random numbers.
    schedule
        The clairvoyant schedule; None where it was not asked for.
    notes
        What the user should know.
    """

    spec: ScalingSpec
    policy: str
    source: str
    result: ReplayResult
    seed: int
    schedule: Schedule | None = None
    notes: tuple[str, ...] = ()

    @staticmethod
    def label(replicas: PerPool[int]) -> str:
        """Return counts as xPyD."""
        return f"{replicas.prefill}P{replicas.decode}D"
