"""The compiled event simulation of a deployment (DESIGN section 6). May import only numpy, numba and core.

====================  =======================================================================================
``requests.py``       the requests as columns, and drawing them from a workload
``tables.py``         profiles as arrays: pass times, step times and their integrals
``changes.py``        orders of replicas as what happens to a pool: some become ready, some leave
``compiled.py``       the compiler's settings; works where no cache can be written, too
``prefill_kernel.py`` the prefill pool, event by event
``decode_kernel.py``  the decode pool, event by event
``run.py``            a deployment simulated: the calls that others use
``statistics.py``     estimates with their confidence intervals
``growth.py``         whether a queue was still growing
``outcome.py``        what a simulation came to, against the objectives
``pieces.py``         both pools run piece by piece
``stream.py``         the same of tens of millions of requests, in little memory
``live.py``           a deployment step by step, under orders that are decided on the way
``room.py``           room for replicas that nobody knew of at the start
====================  =======================================================================================

:mod:`pdscaler.core.emulation` is the same semantics in plain Python, steppable: the two agree request by request
(tests/simulation). Importing this package compiles nothing and does not import numba: that is left to the first call.
"""

from pdscaler.core.simulation.changes import Order
from pdscaler.core.simulation.outcome import Summary, summary
from pdscaler.core.simulation.requests import RequestTable, draw_requests
from pdscaler.core.simulation.run import (
    Deployment,
    Records,
    deployment_of,
    simulate,
    simulate_decode,
    simulate_prefill,
)
from pdscaler.core.simulation.statistics import Estimate, estimate, run_in, steady
from pdscaler.core.simulation.stream import simulate_stream

__all__ = [
    "Deployment",
    "Estimate",
    "Order",
    "Records",
    "RequestTable",
    "Summary",
    "deployment_of",
    "draw_requests",
    "estimate",
    "run_in",
    "simulate",
    "simulate_decode",
    "simulate_prefill",
    "simulate_stream",
    "steady",
    "summary",
]
