"""PromQL of the past: rates and lengths over a range of time, grouped by owner. Pure text.

As in ``queries`` nothing of a PDDeployment's text stands in a query except checked label names. Pods of hours ago are
gone, and nobody knows their names any more: series are summed over the pods of one *owner*, the name of what made them,
which Prometheus takes from the pod's name. So the answer grows neither with the pods nor with how often they change.
The few pods of a front door stay apart: of two releases side by side each is read by the name it gives its metrics.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from pdscaler.telemetry.presets.model import MetricType, Names, Preset, Quantity, Source
from pdscaler.telemetry.queries import JOB_LABEL, SERIES_LABEL
from pdscaler.telemetry.text import quote_label_value

OWNER_LABEL = "pdscaler_owner"
"""Holds the name of what made the pod."""

RATE, SUM, COUNT = "rate", "sum", "count"
"""Parts of the answers."""

_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
"""Letters of which Kubernetes makes the ends of names: no vowels, so that hardly any word looks like one."""
_OWNER = rf"(.+?)-(?:{_RANDOM}{{1,10}}-{_RANDOM}{{5}}|{_RANDOM}{{5}}|[0-9]+)"
"""A Deployment's pod (two random ends), one that was made directly (one), or a numbered one; RE2 and Python alike."""

_PATTERN = re.compile(_OWNER)
_RATES = (Quantity.ARRIVALS, Quantity.COMPLETIONS)
_LENGTHS = (Quantity.ISL, Quantity.OSL)


@dataclass(frozen=True, slots=True)
class PastQuery:
    """One range query.

    Parameters
    ----------
    quantity, names
        What is asked, and its alternatives.
    text
        PromQL.
    """

    quantity: Quantity
    names: Names
    text: str

    @property
    def shown(self) -> str:
        """The query for people: ``history of isl (vllm:request_prompt_tokens)``."""
        return f"history of {self.quantity.value} ({self.names.shown})"


@lru_cache(maxsize=1 << 14)
def owner_of(pod: str) -> str:
    """Return what the queries call the owner of a pod.

    Examples
    --------
    >>> owner_of("chat-decode-7d9f8b6c5-x2x4z"), owner_of("chat-decode-12"), owner_of("p0")
    ('chat-decode', 'chat-decode', 'p0')
    """
    match = _PATTERN.fullmatch(pod)
    return match.group(1) if match else pod


def past_queries(preset: Preset, window_s: float, labels: Iterable[str], *, lengths: bool) -> tuple[PastQuery, ...]:
    """Write the range queries of one preset: at most four, whoever asks.

    Parameters
    ----------
    preset
        Names of the metrics.
    window_s
        Window of the rates, seconds.
    labels
        Further labels to keep apart; their names must have been checked.
    lengths
        Whether the lengths are asked for too, or the arrivals alone.
    """
    by = ", ".join(group_labels(preset, labels))
    asked = (*_RATES, *_LENGTHS) if lengths else _RATES
    return tuple(
        PastQuery(quantity, names, _text(names, preset.labels.pod, by, window_s))
        for quantity, names in preset.quantities.items()
        if quantity in asked
    )


def group_labels(preset: Preset, labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels that the answers carry, each once."""
    own = preset.labels
    return tuple(dict.fromkeys((own.namespace, OWNER_LABEL, *own.model, JOB_LABEL, *sorted(labels))))


def _text(names: Names, pod: str, by: str, window_s: float) -> str:
    where = ", ".join(f"{label}!={quote_label_value(value)}" for label, value in sorted(names.exclude.items()))
    where = f"{{{where}}}" if where else ""
    window = f"{max(1, round(window_s * 1000))}ms"
    owner = "(.+)" if names.source is Source.FRONT_DOOR else _OWNER
    parts = {SUM: "_sum", COUNT: "_count"} if names.type is MetricType.HISTOGRAM else {RATE: ""}
    return " or ".join(
        f"label_replace(sum by ({by}) ({_owned(f'rate({metric}{end}{where}[{window}])', pod, owner)}), "
        f'"{SERIES_LABEL}", "{metric}/{part}", "", "")'
        for metric in names.metrics
        for part, end in parts.items()
    )


def _owned(text: str, pod: str, owner: str) -> str:
    """Label with what ``owner`` finds in the pod's name, or with the whole name."""
    for pattern in dict.fromkeys(("(.+)", owner)):
        text = f'label_replace({text}, "{OWNER_LABEL}", "$1", "{pod}", "{pattern}")'
    return text
