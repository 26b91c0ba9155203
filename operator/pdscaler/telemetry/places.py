"""Whose series is whose: the places where a PDDeployment's quantities stand, and its entries there. Pure.

A series of a pool belongs by its namespace and its pod label (or ``poolLabel``) and its model; one of a front door by
its namespace, its model and ``matchLabels``. A preset of scope Cluster drops the namespace: only administrators write
presets.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pdscaler.core.pools import Pool
from pdscaler.core.workload import NoData, NoDataReason
from pdscaler.telemetry.presets.model import Names, Quantity, Scope, Source
from pdscaler.telemetry.queries import Kind
from pdscaler.telemetry.snapshot import Entry, Snapshot, Table
from pdscaler.telemetry.subject import Subject
from pdscaler.telemetry.text import shown, shown_list


class UnknownError(Exception):
    """Unwinds to :func:`pdscaler.telemetry.assemble.assemble`, which returns what it carries."""

    def __init__(self, no_data: NoData) -> None:
        self.no_data = no_data
        super().__init__(no_data.message)


def unknown(reason: NoDataReason, message: str, age_s: float | None = None) -> UnknownError:
    """Return the error that makes a reading end with "no data"."""
    return UnknownError(NoData(reason, message, age_s))


@dataclass(frozen=True, slots=True)
class Place:
    """Where one quantity of one PDDeployment stands.

    Parameters
    ----------
    subject
        The PDDeployment.
    snapshot
        Answers of the preset.
    quantity, names
        What is read.
    pool
        The pool that is read; None: the front door.
    """

    subject: Subject
    snapshot: Snapshot
    quantity: Quantity
    names: Names
    pool: Pool | None

    def entries(self, kind: Kind) -> list[Entry]:
        """Return the PDDeployment's own entries in the answer to one query."""
        model = self.subject.model if self.snapshot.preset.labels.model else None
        return list(self._of_owner(self.snapshot.table(self.quantity, kind), model))

    @property
    def ages(self) -> Kind:
        """Which query tells of its entries' newest samples: where only that is of interest, the rest was not asked."""
        return Kind.LAST if (self.quantity, Kind.LAST) in self.snapshot.tables else Kind.SAMPLES

    def age_s(self) -> float | None:
        """Return the age of the newest sample, seconds; None where none was found."""
        newest = [entry.parts["last"] for entry in self.entries(self.ages) if "last" in entry.parts]
        return max(0.0, self.snapshot.at_s - max(newest)) if newest else None

    def total(self, kind: Kind, part: str) -> float | None:
        """Sum one part over the entries; None where there is no entry with it."""
        values = [entry.parts[part] for entry in self.entries(kind) if part in entry.parts]
        return sum(values) if values else None

    def metrics(self, kind: Kind) -> str:
        """Return the names that answered, in the preset's order."""
        answered = {entry.metric for entry in self.entries(kind)}
        return ", ".join(metric for metric in self.names.metrics if metric in answered)

    @property
    def shown(self) -> str:
        """The quantity for people, with its alternatives."""
        return f"{self.quantity.value} ({self.names.shown})"

    def missing(self, kind: Kind) -> str:
        """Say what matched nothing, and what is there instead: only names from where the PDDeployment may read."""
        subject, preset = self.subject, self.snapshot.preset
        own = preset.labels
        wanted = [] if preset.scope is Scope.CLUSTER else [f"{own.namespace}={shown(subject.namespace)}"]
        if own.model:
            wanted.append(f"{' or '.join(own.model)}={shown(subject.model)}")
        if self.pool is None:
            wanted += [f"{name}={shown(value)}" for name, value in subject.front_door_labels]
        elif subject.pool_label:
            wanted.append(f"{subject.pool_label}={shown(self.pool.value)}")
        else:
            pods = len(subject.pods[self.pool])
            plural = "pod" if pods == 1 else "pods"
            wanted.append(f"{own.pod} of the {pods} {plural} of {shown(subject.targets[self.pool])}")
        return f"{self.shown} matched nothing for {', '.join(wanted)}{self._instead(kind)}"

    def _instead(self, kind: Kind) -> str:
        table = self.snapshot.table(self.quantity, kind)
        models = {entry.model for entry in self._of_owner(table, None) if entry.model}
        if models:
            return f"; models found there: {shown_list(models)}"
        near = list(table.entries.of(self.subject.namespace))
        if self.snapshot.preset.scope is Scope.NAMESPACE and near:
            found = {entry.model for entry in near if entry.model}
            models_found = f", of models {shown_list(found)}" if found else ""
            return f"; the namespace has such series, with other labels{models_found}"
        return "; the namespace has no such series" if table.entries else "; Prometheus has no such series"

    def _of_owner(self, table: Table, model: str | None) -> Iterable[Entry]:
        """Return the PDDeployment's own entries of a model; None: of any."""
        subject = self.subject
        if self.pool is None:
            near = table.entries.of(None if self.snapshot.preset.scope is Scope.CLUSTER else subject.namespace, model)
            wanted = subject.front_door_labels
            return (e for e in near if all(e.labels.get(name, "") == value for name, value in wanted))
        if subject.pool_label:
            label, role = subject.pool_label, self.pool.value
            return (e for e in table.entries.of(subject.namespace, model) if e.labels.get(label) == role)
        own = (e for pod in sorted(subject.pods[self.pool]) for e in table.by_pod.get((subject.namespace, pod), ()))
        return (e for e in own if model is None or e.model == model)


def places(subject: Subject, engine: Snapshot, front: Snapshot | None, quantity: Quantity) -> Iterator[Place]:
    """Return where a quantity may stand, the preferred place first: front door, then the pool that its preset names.

    A quantity of both pools is not found here; see :func:`pool_place`.
    """
    for snapshot in (front, engine):
        names = snapshot.preset.at(quantity, Source.FRONT_DOOR) if snapshot is not None else None
        if snapshot is not None and names is not None:
            yield Place(subject, snapshot, quantity, names, None)
    for pool in Pool:
        names = engine.preset.at(quantity, Source(pool.value))
        if names is not None:
            yield Place(subject, engine, quantity, names, pool)


def pool_place(subject: Subject, engine: Snapshot, quantity: Quantity, pool: Pool) -> Place | None:
    """Return where one pool's share of a quantity stands; None where the preset does not say."""
    names = engine.preset.at(quantity, Source(pool.value), Source.BOTH)
    return Place(subject, engine, quantity, names, pool) if names is not None else None
