"""What the collector must know of one PDDeployment. Imports core, the endpoint and text: no pydantic, no I/O."""

from dataclasses import dataclass

from pdscaler.core.pools import PerPool
from pdscaler.core.slo import Slo
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.text import LABEL_NAME, shown

_QUERY_LABELS = frozenset({"le", "quantile"})


@dataclass(frozen=True, slots=True)
class Subject:
    """One PDDeployment, as the collector sees it.

    Parameters
    ----------
    namespace, name
        Identity of the PDDeployment; series of other namespaces are never read for it, unless the administrator's
        preset says so (``scope: Cluster``).
    model
        Value of the model label.
    engine
        Name of the engines' preset.
    front_door_preset
        Name of the front door's preset; None where there is none.
    front_door_labels
        Labels that a front-door series must carry, as (name, value) pairs.
    endpoint
        Prometheus to read.
    pool_label
        Label whose value ``prefill`` or ``decode`` tells a series' pool; empty: the pod label and ``pods`` tell it.
    pods
        Names of each pool's pods, those gone within the window included: what they served belongs to the window.
    targets
        Name of each pool's target, for messages.
    window_s
        Length of the rate window, seconds.
    max_staleness_s
        Age of the newest sample from which on nothing is trusted, seconds.
    slo
        Objectives: a percentile asks for the buckets that hold it.
    """

    namespace: str
    name: str
    model: str
    engine: str
    front_door_preset: str | None
    front_door_labels: tuple[tuple[str, str], ...]
    endpoint: Endpoint
    pool_label: str
    pods: PerPool[frozenset[str]]
    targets: PerPool[str]
    window_s: float
    max_staleness_s: float
    slo: Slo

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name

    @property
    def bad_label(self) -> str:
        """Which of its label names cannot stand in a query, in words; empty where all can."""
        for name in (self.pool_label, *(name for name, _ in self.front_door_labels)):
            if name and (not LABEL_NAME.fullmatch(name) or name in _QUERY_LABELS or name.startswith("pdscaler_")):
                return f"spec.metrics: {shown(name)} is not a label that can be matched"
        return ""
