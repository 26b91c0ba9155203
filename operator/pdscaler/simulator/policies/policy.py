"""What a policy is: it sees what an operator sees, and says how many replicas there shall be. May import core."""

from collections.abc import Callable
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


@dataclass(frozen=True, slots=True)
class Knob:
    """The one option by which a policy may be tuned to a trace.

    Parameters
    ----------
    name
        A keyword argument of what makes the policy.
    values
        What is tried; the default is one of them.
    """

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A policy that can be chosen.

    Parameters
    ----------
    make
        Makes it, of a :class:`Setting` and its options as keywords.
    text
        What it does, in one line.
    source
        Where its rule stands.
    assumed
        What the source leaves open, or the simulator does not have, and what was taken instead.
    knob
        What may be tuned; None where nothing is.
    """

    make: Callable[..., Policy]
    text: str
    source: str = "this repository"
    assumed: str = ""
    knob: Knob | None = None
