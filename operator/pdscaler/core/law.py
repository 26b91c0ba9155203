"""What a latency model must tell of one pool of equal replicas, whatever its mathematics. Imports core only.

Everything else that sizing needs of a pool (the least count, the largest load, what to do where no count meets the
target) is generic on top of it: :mod:`pdscaler.core.model`.
"""

from typing import Protocol

from pdscaler.core.decision import Binding
from pdscaler.core.slo import LatencyStatistics, Statistic


class LatencyLaw(Protocol):
    """One latency (TTFT of a prefill pool, TPOT of a decode pool) against the count of replicas and the load.

    Notes
    -----
    A law holds one profile and one mix of lengths; the load, requests/s over the whole pool, is an argument. Its value
    is continuous and never falls as the load grows, never rises as replicas are added (as floats, exactly), and never
    falls as the statistic gets stricter from P50 to P99.
    """

    def at(self, replicas: int, rate_rps: float) -> LatencyStatistics:
        """Return every statistic, seconds; infinite where the queue is unstable."""

    def value_s(self, replicas: int, rate_rps: float, statistic: Statistic) -> float:
        """Return one statistic, seconds; infinite where the queue is unstable. The fast path of :meth:`at`."""

    def saturation_rps(self, replicas: int) -> float:
        """Return the load, requests/s, beyond which the queue grows without bound."""

    def idle_s(self, statistic: Statistic) -> float:
        """Return the statistic of a pool without load, seconds: a target below it no count of replicas meets."""

    def binding(self, replicas: int, rate_rps: float) -> Binding:
        """Return what makes the latency what it is at this load: TTFT, TPOT, KVMemory or BatchSlots."""
