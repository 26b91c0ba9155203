"""What a preset is: the names that an engine or a front door gives to the quantities. Imports pydantic and errors.

The format of a preset file (YAML), the same for those in the package and for the administrator's:

- ``name``: how a PDDeployment names it (``VLLM``); case does not matter.
- ``description``: one line, optional.
- ``scope``: ``Namespace`` (default): only series of the PDDeployment's own namespace count. ``Cluster``: a front door
  that lives elsewhere; any tenant may then read the rates of any model there, so only an administrator can say it.
- ``labels``: ``namespace`` and ``pod`` name the labels that Prometheus adds to a target; ``model`` is a list, of which
  the first that is not empty names the model; an empty list: the series carry no model.
- ``quantities``: per quantity its ``type``, its ``source`` and its ``metrics``, a list of alternatives, new names
  first. Counters stand with their full name in the exposition (Python clients add ``_total``), histograms without
  ``_bucket``. ``exclude`` leaves out series whose label has the value (a series without the label stays).
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from pdscaler.telemetry.text import LABEL_NAME, METRIC_NAME


class Quantity(StrEnum):
    """A logical quantity, as the preset files spell it."""

    ARRIVALS = "arrivals"
    COMPLETIONS = "completions"
    ISL = "isl"
    OSL = "osl"
    TTFT = "ttft"
    TPOT = "tpot"
    WAITING = "waiting"
    RUNNING = "running"
    KV_USAGE = "kvUsage"
    PREFIX_HITS = "prefixHits"
    PREFIX_QUERIES = "prefixQueries"


class MetricType(StrEnum):
    """Type of a metric in the exposition."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


class Source(StrEnum):
    """Where a quantity is read."""

    FRONT_DOOR = "frontDoor"
    PREFILL = "prefill"
    DECODE = "decode"
    BOTH = "both"


class Scope(StrEnum):
    """Whose series count for a PDDeployment."""

    NAMESPACE = "Namespace"
    CLUSTER = "Cluster"


_POOLS = (Source.BOTH, Source.PREFILL, Source.DECODE)
ALLOWED: Final[Mapping[Quantity, tuple[MetricType, tuple[Source, ...]]]] = MappingProxyType(
    {
        Quantity.ARRIVALS: (MetricType.COUNTER, (Source.FRONT_DOOR,)),
        Quantity.COMPLETIONS: (MetricType.COUNTER, (Source.PREFILL,)),
        Quantity.ISL: (MetricType.HISTOGRAM, (Source.FRONT_DOOR, Source.PREFILL)),
        Quantity.OSL: (MetricType.HISTOGRAM, (Source.FRONT_DOOR, Source.DECODE)),
        Quantity.TTFT: (MetricType.HISTOGRAM, (Source.FRONT_DOOR, Source.PREFILL)),
        Quantity.TPOT: (MetricType.HISTOGRAM, (Source.FRONT_DOOR, Source.DECODE)),
        Quantity.WAITING: (MetricType.GAUGE, _POOLS),
        Quantity.RUNNING: (MetricType.GAUGE, _POOLS),
        Quantity.KV_USAGE: (MetricType.GAUGE, _POOLS),
        Quantity.PREFIX_HITS: (MetricType.COUNTER, (Source.FRONT_DOOR, Source.PREFILL)),
        Quantity.PREFIX_QUERIES: (MetricType.COUNTER, (Source.FRONT_DOOR, Source.PREFILL)),
    }
)
"""Type of each quantity, and where it may be read: OSL of a prefill pod (always 1) would be wrong, not a choice."""

RESERVED_LABELS: Final = frozenset({"le", "quantile", "job"})
"""Labels with a meaning of their own in the queries."""


def wrong(problem: str, *path: str | int) -> PydanticCustomError:
    """Return the error of a value that cannot be used; ``path`` leads from the model to the key."""
    return PydanticCustomError("preset", "{problem}", {"problem": problem, "path": list(path)})


def _label(name: str) -> str:
    if not LABEL_NAME.fullmatch(name) or name in RESERVED_LABELS or name.startswith("pdscaler_"):
        raise wrong("is not a label name that can be used (letters, digits and _; not le, quantile, job, pdscaler_…)")
    return name


def _metric(name: str) -> str:
    if not METRIC_NAME.fullmatch(name):
        raise wrong("is not a metric name (letters, digits, _ and :)")
    return name


LabelName = Annotated[str, Field(strict=True, max_length=128), AfterValidator(_label)]
MetricName = Annotated[str, Field(strict=True, max_length=256), AfterValidator(_metric)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PresetLabels(_Part):
    """Names of the labels that say whose series it is."""

    namespace: LabelName = "namespace"
    pod: LabelName = "pod"
    model: Annotated[tuple[LabelName, ...], Field(max_length=4)] = ()


class Names(_Part):
    """Where one quantity stands.

    Parameters
    ----------
    type
        Type of the metric.
    source
        Pool, or the front door.
    metrics
        Alternative names, the preferred one first.
    exclude
        Label values whose series are left out.
    """

    type: MetricType
    source: Source
    metrics: Annotated[tuple[MetricName, ...], Field(min_length=1, max_length=8)]
    exclude: Annotated[dict[LabelName, Annotated[str, Field(strict=True, max_length=253)]], Field(max_length=8)] = {}

    @model_validator(mode="after")
    def _names(self) -> Self:
        for place, name in enumerate(self.metrics):
            if name in self.metrics[:place]:
                raise wrong("stands twice", "metrics", place)
            if self.type is MetricType.HISTOGRAM and name.endswith(("_bucket", "_sum", "_count")):
                raise wrong(f"{name}: write a histogram without _bucket, _sum or _count", "metrics", place)
        return self

    @property
    def shown(self) -> str:
        """The alternatives for people: ``new or legacy``."""
        return " or ".join(self.metrics)


class Preset(_Part):
    """The names of one engine or front door; see the module's text for the meaning of each key."""

    name: Annotated[str, Field(strict=True, max_length=63, pattern=r"^[A-Za-z][A-Za-z0-9._-]*$")]
    description: Annotated[str, Field(strict=True, max_length=512)] = ""
    scope: Scope = Scope.NAMESPACE
    labels: PresetLabels = PresetLabels()
    quantities: Annotated[dict[Quantity, Names], Field(min_length=1)]

    @model_validator(mode="after")
    def _quantities(self) -> Self:
        for quantity, names in self.quantities.items():
            kind, sources = ALLOWED[quantity]
            if names.type is not kind:
                raise wrong(f"{quantity.value} is a {kind.value}", "quantities", quantity.value, "type")
            if names.source not in sources:
                allowed = " or ".join(source.value for source in sources)
                raise wrong(f"{quantity.value} is read from {allowed}", "quantities", quantity.value, "source")
        hits, queries = self.quantities.get(Quantity.PREFIX_HITS), self.quantities.get(Quantity.PREFIX_QUERIES)
        if (hits is None) != (queries is None) or (hits and queries and hits.source is not queries.source):
            raise wrong("prefixHits and prefixQueries stand together, with the same source", "quantities")
        if self.scope is Scope.CLUSTER and any(n.source is not Source.FRONT_DOOR for n in self.quantities.values()):
            raise wrong("Cluster is for front doors: a pool's series belong to its own namespace", "scope")
        return self

    @cached_property
    def said_at_front_door(self) -> frozenset[Quantity]:
        """The quantities that are read at a front door."""
        return frozenset(quantity for quantity in self.quantities if self.at(quantity, Source.FRONT_DOOR) is not None)

    def at(self, quantity: Quantity, *sources: Source) -> Names | None:
        """Return the names of a quantity where it is read from one of ``sources``; else None."""
        names = self.quantities.get(quantity)
        return names if names is not None and names.source in sources else None
