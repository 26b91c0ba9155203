"""How long a pool remembers: what to leave out at the start, and how long to look. May import only core.

Rough on purpose: fixed points of mean figures, good to a factor of two. Of the latency laws that are to be verified
only the load of saturation is used. The intervals themselves are measured (:mod:`pdscaler.core.verify_interval`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.spec import Routing, SizingSpec
from pdscaler.core.workload import WorkloadStats

BUSIEST = 0.99
"""Utilisation beyond which memory is not reckoned to grow further: such a trial is overloaded or a close call."""

_FIXED_POINT_ROUNDS = 30


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a pool at a count of replicas.

    Parameters
    ----------
    utilization
        Load over the load beyond which the queue grows without bound.
    requests
        Requests that arrive while the pool forgets its state (the relaxation time).
    in_flight
        Requests in the pool on average.
    """

    utilization: float
    requests: float
    in_flight: float


Saturation = Callable[[int], float]
"""From a count of replicas to the load, requests/s, beyond which their queue grows without bound."""


def prefill_memory(spec: SizingSpec, workload: WorkloadStats, replicas: int, saturation: Saturation) -> Memory:
    """Return the memory of the prefill pool.

    Notes
    -----
    The relaxation time of M/M/1, 1/(mu·(1 − sqrt(rho))²), stretched by (c_a² + c_s²)/2 as in heavy traffic; of c
    queues that are kept level it is that of one server c times as fast, of queues without regard to each other c times
    as long.
    """
    assert workload.isl is not None
    curve = prefill_curve(spec.prefill_profile)
    uncached = workload.isl.mean_tokens * (1 - workload.prefix_hit_ratio)
    load = workload.arrival_rate_rps / saturation(replicas)
    rho = min(load, BUSIEST)
    variability = max(0.5, (workload.arrival_scv + workload.isl.scv) / 2)
    level = spec.routing in (Routing.JOIN_SHORTEST_QUEUE, Routing.CENTRAL)
    forgets = variability * rho / (1 - rho**0.5) ** 2 * (1 if level else replicas)
    in_flight = workload.arrival_rate_rps * curve.time_s(uncached) / (1 - rho)
    return Memory(load, max(forgets, in_flight, float(replicas)), in_flight)


def decode_memory(spec: SizingSpec, workload: WorkloadStats, replicas: int, saturation: Saturation) -> Memory:
    """Return the memory of the decode pool.

    Notes
    -----
    The mean residual stay (half a stay, 1 + scv times: long answers are met more often), stretched by the feedback of
    the batch on its own speed, plus the memory of the queue for slots, as of a prefill pool's queue.
    """
    assert workload.isl is not None
    assert workload.osl is not None
    surface = decode_surface(spec.decode_profile)
    context = workload.isl.mean_tokens + workload.osl.mean_tokens / 2 * (1 + workload.osl.scv)
    most = float(surface.max_batch)
    if surface.kv_capacity_tokens is not None:
        most = max(1.0, min(most, surface.kv_capacity_tokens / context))
    tokens = max(workload.osl.mean_tokens - 1, 1e-9)
    rate = workload.arrival_rate_rps / replicas / spec.decode_derate
    load = workload.arrival_rate_rps / saturation(replicas)
    batch = 1.0
    for _ in range(_FIXED_POINT_ROUNDS):
        batch = min(most, max(0.01, rate * tokens * surface.at_context(max(batch, 1.0), context)))
    in_flight = batch * replicas
    feedback = min(BUSIEST, 1 - surface.at_context(1.0, context) / surface.at_context(max(batch, 1.0), context))
    rho = min(load, BUSIEST)
    variability = max(0.5, (workload.arrival_scv + workload.osl.scv) / 2)
    forgets = in_flight * (1 + workload.osl.scv) / 2 / (1 - feedback) + variability * rho / (1 - rho**0.5) ** 2
    return Memory(load, max(forgets, float(replicas)), in_flight)
