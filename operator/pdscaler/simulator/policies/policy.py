"""What a policy is: it sees what an operator sees, and says how many replicas there shall be. May import core."""

from dataclasses import dataclass
from typing import Protocol

from pdscaler.core.pools import PerPool
from pdscaler.core.spec import ScalingSpec
from pdscaler.simulator.ledger import NO_REASONS
from pdscaler.simulator.observation import Observation


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a policy wants.

    Parameters
    ----------
    replicas
        Counts of both pools; the replay keeps them within the bounds and the budget of the PDDeployment.
    reasons
        One line for people for each pool; may be empty.
    """

    replicas: PerPool[int]
    reasons: PerPool[str] = NO_REASONS


class Policy(Protocol):
    """Decides at every evaluation. It keeps its own state, and knows neither the future nor the requests."""

    def decide(self, observation: Observation, now_s: float) -> Wanted:
        """Return the counts wanted from now on."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a policy is made for.

    Parameters
    ----------
    spec
        The PDDeployment: objectives, profiles, bounds, start-up, windows.
    initial
        Replicas at the begin.
    """

    spec: ScalingSpec
    initial: PerPool[int]
