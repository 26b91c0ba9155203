"""The event simulation of a deployment (DESIGN section 6). May import only numpy, the standard library and core.

=================  ==========================================================================================
``records.py``     a request, and what happens to it on its way: plain values
``routing.py``     which replica a request joins
``prefill.py``     one prefill replica: whole prompts in passes under a token budget
``decode.py``      one decode replica: admission, fluid progress, and its exact integration
``deployment.py``  both pools on one clock: events in order, replicas that come and go
=================  ==========================================================================================

Everything is deterministic: the same calls give the same numbers, however the clock is stepped.
"""

from pdscaler.core.emulation.deployment import Emulation, ReplicaState
from pdscaler.core.emulation.records import Admitted, Completion, Milestone, Prefilled, Request
from pdscaler.core.spec import Routing

__all__ = [
    "Admitted",
    "Completion",
    "Emulation",
    "Milestone",
    "Prefilled",
    "ReplicaState",
    "Request",
    "Routing",
]
