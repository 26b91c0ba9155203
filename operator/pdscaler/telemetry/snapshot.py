"""The answers of one (endpoint, preset, window), indexed by owner. Pure: no I/O; imports core and the presets.

A table is built once and serves every PDDeployment. Building it settles what does not depend on who asks: which
alternative name counts where several answer, and that a pod which two jobs scrape counts once.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pdscaler.core.histogram import Bucket, differences
from pdscaler.telemetry.entries import Entries
from pdscaler.telemetry.presets.model import Names, Preset, Quantity
from pdscaler.telemetry.queries import JOB_LABEL, SERIES_LABEL, Kind, Query
from pdscaler.telemetry.reader import Sample


class Entry(NamedTuple):
    """What one pod (or one front door) says of one quantity.

    Parameters
    ----------
    labels
        The labels it was grouped by.
    model
        The first model label that is not empty.
    metric
        The alternative name that counted.
    parts
        Values by part (``sum``, ``count``, ``rate``, …).
    buckets
        Buckets, where they were asked for.
    """

    labels: Mapping[str, str]
    model: str
    metric: str
    parts: Mapping[str, float]
    buckets: tuple[Bucket, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """The answer to one query."""

    entries: Entries[Entry]
    by_pod: Mapping[tuple[str, str], Sequence[Entry]]


class PutOffError(Exception):
    """Somebody needs the answer to a query that has been put off."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All answers for one (endpoint, preset, window) at one time.

    Parameters
    ----------
    preset
        The preset asked for.
    at_s
        Prometheus's time of the evaluation, seconds since its epoch.
    window_s
        Window, seconds.
    tables
        Answers by quantity and kind.
    put_off
        Queries that have not been asked, as long as nobody needs their answers; by quantity and kind, too.
    """

    preset: Preset
    at_s: float
    window_s: float
    tables: Mapping[tuple[Quantity, Kind], Table]
    put_off: Mapping[tuple[Quantity, Kind], Query] = field(default_factory=dict)

    def table(self, quantity: Quantity, kind: Kind) -> Table:
        """Return the answer to one query; empty where there is no such query.

        Raises
        ------
        PutOffError
            If the query has been put off: it is to be asked now.
        """
        if (quantity, kind) in self.put_off:
            raise PutOffError
        return self.tables.get((quantity, kind), EMPTY)


EMPTY = Table(Entries(), {})


def build_table(
    samples: Iterable[Sample], names: Names, preset: Preset, kind: Kind, labels: Iterable[str] = ()
) -> Table:
    """Settle and index the answer to one query.

    Parameters
    ----------
    samples
        The answer.
    names
        The alternatives asked for, the preferred one first.
    preset
        Names of the labels.
    kind
        What was asked.
    labels
        Further labels it was grouped by.
    """
    order = {metric: place for place, metric in enumerate(names.metrics)}
    series: dict[str, tuple[int | None, str]] = {}
    own = preset.labels
    by = tuple(dict.fromkeys((own.namespace, own.pod, *own.model, *sorted(set(labels) - {JOB_LABEL}))))
    pod_at = by.index(own.pod)
    timed = kind in {Kind.SAMPLES, Kind.LAST}  # a time that is not finite is no time: it must not look fresh
    # Owner (the values of ``by``, and the job where no pod tells) -> (preference, job) -> parts. This loop runs for
    # each bucket of each pod of the cluster: it makes no object that it can spare.
    owners: dict[tuple[str, ...], dict[tuple[int, str], dict[str, float]]] = {}
    for sample in samples:
        given = sample.labels
        name = given.get(SERIES_LABEL, "")
        known = series.get(name)
        if known is None:
            metric, _, part = name.rpartition("/")
            known = series[name] = (order.get(metric), part)
        preference, part = known
        if preference is None or (timed and not math.isfinite(sample.value)):
            continue
        if kind is Kind.BUCKETS:
            part = given.get("le", "")
        owner = tuple([given.get(label, "") for label in by])
        job = given.get(JOB_LABEL, "")
        if not owner[pod_at]:
            # Without a pod label two jobs may be two front doors; with it they are one pod, scraped twice.
            owner, job = (*owner, job), ""
        parts = owners.setdefault(owner, {}).setdefault((preference, job), {})
        parts[part] = parts.get(part, 0.0) + sample.value
    entries: Entries[Entry] = Entries()
    by_pod: dict[tuple[str, str], list[Entry]] = {}
    models = own.model
    for owner, answers in owners.items():
        entry = _settle(dict(zip((*by, JOB_LABEL), owner, strict=False)), answers, names, models, kind)
        namespace = entry.labels.get(own.namespace, "")
        entries.add(namespace, entry.model, entry)
        by_pod.setdefault((namespace, entry.labels.get(own.pod, "")), []).append(entry)
    return Table(entries, by_pod)


def _settle(
    labels: dict[str, str],
    answers: Mapping[tuple[int, str], Mapping[str, float]],
    names: Names,
    models: Sequence[str],
    kind: Kind,
) -> Entry:
    """Choose the first alternative that answered, and of several jobs the one that saw most."""
    if len(answers) == 1:  # of thousands of owners nearly all
        (((preferred, job), parts),) = answers.items()
    else:
        preferred = min(preference for preference, _ in answers)
        jobs = [(job, parts) for (preference, job), parts in answers.items() if preference == preferred]
        job, parts = max(jobs, key=lambda candidate: (sum(candidate[1].values()), candidate[0]))
    if job:
        labels[JOB_LABEL] = job
    model = ""
    for label in models:
        model = model or labels.get(label, "")
    metric = names.metrics[preferred]
    if kind is Kind.BUCKETS:
        return Entry(labels, model, metric, {}, tuple(differences(_by_bound(parts))))
    return Entry(labels, model, metric, parts)


def _by_bound(parts: Mapping[str, float]) -> dict[float, float]:
    """Read the bounds: ``1`` and ``1.0`` are one, and what is not finite is left out."""
    bounds: dict[float, float] = {}
    for text, value in parts.items():
        try:
            bound = float(text)
        except ValueError:
            continue
        if not math.isnan(bound) and math.isfinite(value):
            bounds[bound] = bounds.get(bound, 0.0) + value
    return bounds
