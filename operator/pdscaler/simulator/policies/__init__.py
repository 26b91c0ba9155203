"""Policies that can be replayed, by name. May import core, forecast, units and errors only.

To add one: a class or function that takes a :class:`Setting` and returns something with ``decide(observation, now_s)``,
and a line in :data:`POLICIES`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pdscaler.errors import InvalidInputError
from pdscaler.simulator.policies.expectation import LearnedExpectation
from pdscaler.simulator.policies.last_minute import LastMinute
from pdscaler.simulator.policies.ours import Ours
from pdscaler.simulator.policies.policy import Policy, Setting, Wanted
from pdscaler.simulator.policies.static import Static

__all__ = ["POLICIES", "Entry", "Policy", "Setting", "Wanted", "make_policy"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A policy that can be chosen: what makes it, and what it does in one line."""

    make: Callable[[Setting], Policy]
    text: str


POLICIES: Final[Mapping[str, Entry]] = {
    "pdscaler": Entry(lambda setting: Ours(setting, LearnedExpectation), "the plan of the operator, by its forecast"),
    "static": Entry(Static, "the initial replicas, for ever"),
    "last-minute": Entry(LastMinute, "the last minute's rate over the profile's throughput at 70 %, held for 30 min"),
}


def make_policy(name: str, setting: Setting) -> Policy:
    """Return a policy by its name.

    Raises
    ------
    InvalidInputError
        If there is none of that name; it names those that there are.
    """
    if name not in POLICIES:
        raise InvalidInputError("--policy", f'"{name[:40]}" is unknown (there are: {", ".join(POLICIES)})')
    return POLICIES[name].make(setting)
