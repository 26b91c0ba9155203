"""The horizontal pod autoscaler (autoscaling/v2) of one pool, as the Kubernetes controller computes. May import core.

Source: kubernetes ``pkg/controller/podautoscaler/replica_calculator.go`` and ``horizontal.go``, and the reference
of ``HorizontalPodAutoscalerBehavior``: a tolerance of 10 %; up at once, at most doubling or four pods more in 15 s,
whichever is more; down to the greatest recommendation of the last 300 s, then all at once.
"""

import math

from pdscaler.core.behavior import limit_rate, remember, seed, stabilize
from pdscaler.core.decision import PoolMemory, PoolState
from pdscaler.core.spec import Behavior, PolicyType, PoolLimits, ScalingPolicy, ScalingRules

TOLERANCE = 0.1
"""``--horizontal-pod-autoscaler-tolerance``."""

DEFAULT = Behavior(
    scale_up=ScalingRules(0.0, (ScalingPolicy(PolicyType.PERCENT, 100, 15.0), ScalingPolicy(PolicyType.PODS, 4, 15.0))),
    scale_down=ScalingRules(300.0, (ScalingPolicy(PolicyType.PERCENT, 100, 15.0),)),
)


def by_utilization(pool: PoolState, utilization: float, target: float) -> int:
    """Return the count for a mean utilisation of the ready pods (``GetResourceReplicas``).

    Pods that are not ready count as idle where the utilisation asks for more, and not at all where it asks for less.

    Examples
    --------
    >>> by_utilization(PoolState(4, 4), 0.9, 0.6), by_utilization(PoolState(4, 4), 0.63, 0.6)
    (6, 4)
    >>> by_utilization(PoolState(6, 4, pending_replicas=2), 0.9, 0.6)
    6
    """
    ratio = utilization / target
    ready, pending = pool.ready_replicas, pool.pending_replicas
    if ready == 0:
        return pool.spec_replicas
    if ratio <= 1 or pending == 0:
        return pool.spec_replicas if _near(ratio) else math.ceil(ratio * ready - 1e-9)
    ratio *= ready / (ready + pending)
    if _near(ratio) or ratio < 1:
        return pool.spec_replicas
    return max(pool.spec_replicas, math.ceil(ratio * (ready + pending) - 1e-9))


def by_average_value(pool: PoolState, usage: float, target: float) -> int:
    """Return the count for a total that is to be shared, ``target`` for each pod (``GetExternalPerPodMetricReplicas``).

    Examples
    --------
    >>> by_average_value(PoolState(4, 2), 9.0, 1.5), by_average_value(PoolState(4, 4), 6.3, 1.5)
    (6, 4)
    """
    if pool.spec_replicas and _near(usage / (target * pool.spec_replicas)):
        return pool.spec_replicas
    return math.ceil(usage / target - 1e-9)


def _near(ratio: float) -> bool:
    return abs(ratio - 1.0) <= TOLERANCE


class Horizontal:
    """Stabilisation and rate limits of one pool, and their memory.

    Parameters
    ----------
    limits
        Bounds of the pool.
    behavior
        The autoscaler's defaults where it is left out.
    """

    def __init__(self, limits: PoolLimits, behavior: Behavior = DEFAULT) -> None:
        self._limits = limits
        self._behavior = behavior
        self._memory = PoolMemory()

    def next(self, pool: PoolState, wanted: int, now_s: float) -> int:
        """Return what is ordered now where the metric asks for ``wanted``."""
        current, behavior = pool.spec_replicas, self._behavior
        wanted = min(max(wanted, self._limits.min_replicas), self._limits.max_replicas)
        memory = self._memory
        if not memory.recommendations:
            memory = seed(memory, current, now_s)
        stable = stabilize(memory, behavior, current, wanted, now_s).replicas
        limited = limit_rate(memory, behavior, current, stable, now_s).replicas
        self._memory = remember(memory, behavior, wanted, limited - current, now_s)
        return limited
