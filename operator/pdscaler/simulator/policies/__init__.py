"""Policies that can be replayed, by name. May import core, forecast, units and errors only.

To add one: a class or function that takes a :class:`Setting` and returns something with ``decide(observation, now_s)``,
and a line in :data:`POLICIES` (an :class:`Entry` with the rule's source, and the knob that the benchmark may tune).
"""

from collections.abc import Mapping
from typing import Final

from pdscaler.errors import InvalidInputError
from pdscaler.simulator.policies import (
    blitzscale,
    chiron,
    dopd,
    dynamo_classic,
    dynamo_current,
    heteroscale,
    hpa,
    last_minute,
    llmd_tokens,
    ours,
    sageserve,
    static,
    tokenscale,
    wva,
)
from pdscaler.simulator.policies.policy import Entry, Knob, Policy, Setting, Wanted

__all__ = ["POLICIES", "Entry", "Knob", "Policy", "Setting", "Wanted", "make_policy"]


POLICIES: Final[Mapping[str, Entry]] = {
    "pdscaler": ours.ENTRY,
    "static": static.ENTRY,
    "last-minute": last_minute.ENTRY,
    "hpa": hpa.ENTRY,
    "hpa-batch": hpa.BATCH_ENTRY,
    "dynamo-classic": dynamo_classic.ENTRY,
    "dynamo-current": dynamo_current.ENTRY,
    "llm-d-tokens": llmd_tokens.ENTRY,
    "wva": wva.ENTRY,
    "blitzscale": blitzscale.ENTRY,
    "heteroscale": heteroscale.ENTRY,
    "tokenscale": tokenscale.ENTRY,
    "dopd": dopd.ENTRY,
    "chiron": chiron.ENTRY,
    "sageserve": sageserve.ENTRY,
}


def make_policy(name: str, setting: Setting, **options: float) -> Policy:
    """Return a policy by its name.

    Parameters
    ----------
    name
        A key of :data:`POLICIES`.
    setting
        What it is made for.
    options
        Its own options by name, where they are not to be the defaults.

    Raises
    ------
    InvalidInputError
        If there is none of that name; it names those that there are.
    """
    if name not in POLICIES:
        raise InvalidInputError("--policy", f'"{name[:40]}" is unknown (there are: {", ".join(POLICIES)})')
    return POLICIES[name].make(setting, **options)
