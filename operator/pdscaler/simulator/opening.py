"""What a replay begins with where nobody says: the plan for the first minutes' load. May import core and the traces."""

from dataclasses import replace

from pdscaler.core.pools import PerPool
from pdscaler.core.sizing import size
from pdscaler.core.spec import ScalingSpec
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.traces import Trace, trace_workload


def opening(spec: ScalingSpec, trace: Trace) -> tuple[PerPool[int], float | None]:
    """Return the analytic plan for the load of the first window, and its rate, requests/s.

    The least replicas, and None, where too little arrives in it to tell a rate.
    """
    first = trace.until(float(trace.arrival_s[0]) + spec.window_s)
    try:
        workload = replace(trace_workload(first), arrival_scv=1.0)
    except InvalidInputError:  # one request, or several at once
        return spec.sizing.limits.map(lambda pool: pool.min_replicas), None
    return size(spec.sizing, workload).pools.map(lambda pool: pool.replicas), workload.arrival_rate_rps
