"""Who wrote the targets' scale, and how often. Imports prometheus_client's parser, the audit log and the demo's stack.

On the local control plane the API server's audit log is the witness. A borrowed cluster's audit log is not ours to
read, so there the operator's own counter is taken, and the summary says so.
"""

from prometheus_client.parser import text_string_to_metric_families

from localplane.demo_stack import OPERATOR_USER, DemoStack
from localplane.plane import ControlPlane
from pdscaler.core.pools import PerPool, Pool


def count_writes(parts: DemoStack) -> tuple[PerPool[int], str, int]:
    """Return the operator's accepted writes to each target's scale, how they were counted, and everybody else's."""
    if not isinstance(parts.cluster, ControlPlane):
        counted = writes_of_exposition(parts.operator_metrics())
        return counted, "counted by the operator's own metrics: this cluster's audit log is not ours to read", 0
    found = [
        request
        for request in parts.cluster.audit_log.requests(
            resource="deployments/scale", verb="write", namespace=parts.scenario.namespace
        )
        if 200 <= request.code < 300
    ]
    own = parts.scenario.target_names.map(
        lambda name: sum(request.user == OPERATOR_USER and request.name == name for request in found)
    )
    foreign = sum(request.user != OPERATOR_USER for request in found)
    return own, "counted in the API server's audit log", foreign


def writes_of_exposition(text: str) -> PerPool[int]:
    """Read ``pdscaler_scale_writes_total{result="written"}`` of each pool from an exposition."""
    counts = dict.fromkeys(Pool, 0)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "pdscaler_scale_writes_total" and sample.labels.get("result") == "written":
                counts[Pool(sample.labels["pool"])] += int(sample.value)
    return PerPool(counts[Pool.PREFILL], counts[Pool.DECODE])
