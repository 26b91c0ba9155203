"""How simulation settled a plan: trials, margins, and the factors it found the models to be off by.

Imports the standard library and core only.
"""

from dataclasses import dataclass

from pdscaler.core.pools import PerPool, Pool

UNCORRECTED = PerPool(1.0, 1.0)
"""Factors on the load that each pool's model sees: the load as it is."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One count of replicas of one pool that was simulated.

    Parameters
    ----------
    pool, replicas
        What was simulated.
    value_s
        The target's statistic, seconds; infinite where the queue grew without bound.
    half_width_s
        Half width of its 95 % confidence interval, seconds.
    requests
        Simulated requests that it took.
    """

    pool: Pool
    replicas: int
    value_s: float
    half_width_s: float
    requests: int


@dataclass(frozen=True, slots=True)
class Verification:
    """How a plan was settled by simulation.

    Parameters
    ----------
    verified
        Whether the simulation settled it: the counts meet the targets, and no fewer do, within the sampling error.
    margins
        By pool, (target - simulated statistic) / target: negative where the target is missed; None without a target.
    half_widths
        Half widths of the margins' 95 % confidence intervals, as shares of the target.
    requests
        Simulated requests in all.
    trials
        What was simulated, in order.
    note
        One line for people.
    """

    verified: bool
    margins: PerPool[float | None]
    half_widths: PerPool[float | None]
    requests: int
    trials: tuple[Trial, ...]
    note: str
    corrections: PerPool[float] = UNCORRECTED
    """Factors on the load that each pool's model sees, with which it gives the settled counts."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What simulation has found of a load, or of one close to it.

    Parameters
    ----------
    factors
        Factors on the load that each pool's model sees.
    verified
        Whether a simulation of this very load, within a few percent, settled the plan.
    """

    factors: PerPool[float] = UNCORRECTED
    verified: bool = False
