"""What simulation found, put into a sizing answer: models that know simulated latencies, margins, a note. Core only."""

import math
from dataclasses import dataclass, replace

from pdscaler.core.decision import Binding
from pdscaler.core.explain import LATENCY
from pdscaler.core.need import Need, PoolModel
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.slo import LatencyStatistics, LatencyTarget, Statistic
from pdscaler.core.verification import Verification
from pdscaler.core.verify_settle import Settled
from pdscaler.units import format_number

HALF = 0.5
"""Where between two counts the need lies is not known without a law: in the middle."""


@dataclass(frozen=True, slots=True)
class SimulatedPool:
    """A pool whose latencies are those that were simulated, where they were; all else is the law's.

    Parameters
    ----------
    law
        The pool by its law, at the corrected load.
    simulated
        Statistics by count of replicas, never rising with the count.
    least
        The count that simulation settled where the law takes the target for unattainable: no factor on the load makes
        such a law agree, so that counts then serve in proportion to this one. None where the law knows better.
    loads
        (count, largest load within the target, requests/s) that were settled by simulation.
    """

    law: PoolModel
    simulated: dict[int, LatencyStatistics]
    least: int | None = None
    loads: tuple[tuple[int, float], ...] = ()

    @classmethod
    def of(cls, law: PoolModel, settled: Settled) -> "SimulatedPool":
        """Return a pool by its law, and by the settled count where the law has none."""
        return cls(law, {}, settled.least if settled.searched and not law.attainable else None)

    def around(self, settled: Settled, chosen: int) -> "SimulatedPool":
        """Return the pool with what simulation shows of a count and its neighbours; simulate where nothing is known."""
        found: dict[int, LatencyStatistics] = {}
        above: LatencyStatistics | None = None
        for replicas in (chosen + 1, chosen, chosen - 1):
            if replicas < 1:
                continue
            settled.trials.look(replicas)
            statistics = settled.trials.statistics(replicas)
            if statistics is None:
                continue
            if above is not None:  # two counts closer than their sampling error must not look reversed
                statistics = worse(statistics, above)
            found[replicas] = above = statistics
        return replace(self, simulated=found)

    def serving(self, replicas: int, load_rps: float | None) -> "SimulatedPool":
        """Return the pool with a load that a count was seen to serve; None where nothing was."""
        return self if load_rps is None else replace(self, loads=((replicas, load_rps),))

    @property
    def rate_rps(self) -> float:
        """Requests per second over the whole pool."""
        return self.law.rate_rps

    @property
    def target(self) -> LatencyTarget | None:
        """The objective; None where there is none."""
        return self.law.target

    @property
    def statistic(self) -> Statistic:
        """The statistic that the target binds; the mean where there is no target."""
        return self.law.statistic

    @property
    def idle_s(self) -> float:
        """That statistic without load, seconds: no count does better."""
        return self.law.idle_s

    @property
    def attainable(self) -> bool:
        """Whether any number of replicas meets the target."""
        return self.least is not None or self.law.attainable

    def need(self) -> Need:
        """Return what the pool asks for under its load."""
        if self.least is None:
            return self.law.need()
        return Need(self.least - HALF, self.least - HALF, self.least)

    def least_replicas(self, rate_rps: float) -> int:
        """Return the least count that serves a load within the target, or the bounded rule where none does."""
        if self.least is None:
            return self.law.least_replicas(rate_rps)
        return max(1, math.ceil(rate_rps / self.largest_load(1)))

    def largest_load(self, replicas: int) -> float:
        """Return the largest load, requests/s, that a count serves within the target, or by the bounded rule."""
        settled = dict(self.loads).get(replicas)
        if settled is not None:
            return settled
        if self.least is None:
            return self.law.largest_load(replicas)
        return self.rate_rps * replicas / (self.least - HALF)

    def binding(self, replicas: int) -> Binding:
        """Return what decides how much a count serves."""
        return self.law.binding(replicas)

    def statistics(self, replicas: int) -> LatencyStatistics:
        """Return the latencies at a count; infinite where the queue is unstable."""
        known = self.simulated.get(replicas)
        return self.law.statistics(replicas) if known is None else known

    def value_s(self, replicas: int) -> float:
        """Return the target's statistic at a count, seconds; infinite where the queue is unstable."""
        value_s = self.statistics(replicas).of(self.statistic)
        assert value_s is not None
        return value_s


def worse(one: LatencyStatistics, other: LatencyStatistics) -> LatencyStatistics:
    """Return the greater of each statistic.

    Examples
    --------
    >>> worse(LatencyStatistics(mean=1.0, p99=5.0), LatencyStatistics(mean=2.0, p99=4.0))
    LatencyStatistics(mean=2.0, p50=None, p90=None, p95=None, p99=5.0)
    """

    def greater(statistic: Statistic) -> float | None:
        known = [value for value in (one.of(statistic), other.of(statistic)) if value is not None]
        return max(known, default=None)

    return LatencyStatistics(*map(greater, Statistic))


def verification_of(
    settled: PerPool[Settled], chosen: PerPool[int], corrections: PerPool[float], budget_requests: int
) -> Verification:
    """Say how a plan was settled."""
    margins = PerPool(*(found.trials.margin(chosen[pool]) for pool, found in settled.items()))
    open_pools = [pool for pool, found in settled.items() if not found.decided]
    note = "; ".join(_note(pool, found) for pool, found in settled.items())
    if any(settled[pool].searched for pool in open_pools):
        note += f"; {' and '.join(open_pools)} not settled by {format_number(budget_requests / 1e6)} million requests"
    return Verification(
        verified=not open_pools,
        margins=margins.map(lambda margin: margin.share),
        half_widths=margins.map(lambda margin: margin.half_width),
        requests=sum(found.trials.requests for _, found in settled.items()),
        trials=tuple(trial for _, found in settled.items() for trial in found.trials.trials()),
        note=note,
        corrections=corrections,
    )


def _note(pool: Pool, settled: Settled) -> str:
    if settled.trials.target is None:
        return f"{pool} has no target"
    name = LATENCY[pool]
    if not settled.searched:
        return f"no count meets the {name} target"
    if settled.least is None:
        return f"the greatest {pool} count misses the {name} target"
    parts = [f"{name} at {settled.least} {_distance(settled, settled.least)}"]
    if settled.least > 1:
        parts.append(f"at {settled.least - 1} {_distance(settled, settled.least - 1)}")
    return ", ".join(parts)


def _distance(settled: Settled, replicas: int) -> str:
    margin = settled.trials.margin(replicas)
    if margin.share is None or margin.half_width is None:
        return "is unknown"
    if math.isinf(margin.share):
        return "is unbounded"
    side = "below" if margin.share >= 0 else "above"
    sampled = f" (±{format_number(margin.half_width * 100, 1)} %)" if 0 < margin.half_width < math.inf else ""
    return f"is {format_number(abs(margin.share) * 100, 2)} % {side} the target{sampled}"
