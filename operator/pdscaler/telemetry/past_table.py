"""The past on a grid of time: answers to range queries by owner, and whose they are. Pure: no I/O; imports numpy."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import Pool
from pdscaler.telemetry.entries import Entries
from pdscaler.telemetry.past_queries import COUNT, OWNER_LABEL, RATE, SUM, group_labels, owner_of
from pdscaler.telemetry.presets.model import Names, Preset, Quantity, Scope, Source
from pdscaler.telemetry.queries import JOB_LABEL, SERIES_LABEL
from pdscaler.telemetry.reader import Series
from pdscaler.telemetry.subject import Subject

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """Points of time: ``start_s``, ``start_s + step_s``, …, ``count`` of them."""

    start_s: float
    step_s: float
    count: int

    def columns(self, series: Series) -> Array:
        """Return the values of a series on the grid; NaN where it has none."""
        column = np.full(self.count, np.nan)
        for at_s, value in series.values:
            place = (at_s - self.start_s) / self.step_s
            if -0.5 <= place <= self.count - 0.5 and math.isfinite(value):
                column[min(round(place), self.count - 1)] = value
        return column


@dataclass(frozen=True, slots=True)
class PastEntry:
    """What one owner (or one front door) counted.

    Parameters
    ----------
    labels
        The labels it was grouped by.
    model
        The first model label that is not empty.
    parts
        Values on the grid by part, NaN where unknown.
    """

    labels: Mapping[str, str]
    model: str
    parts: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class PastTable:
    """The answer to one range query."""

    entries: Entries[PastEntry]


def build_past_table(
    answer: Iterable[Series], names: Names, preset: Preset, grid: Grid, labels: Iterable[str] = ()
) -> PastTable:
    """Settle and index an answer: one alternative name counts at each point, and of several jobs the larger.

    Parameters
    ----------
    answer
        The answer.
    names
        The alternatives asked for, the preferred one first.
    preset
        Names of the labels.
    grid
        Where the values lie.
    labels
        Further labels it was grouped by.
    """
    order = {metric: place for place, metric in enumerate(names.metrics)}
    by = tuple(label for label in group_labels(preset, labels) if label != JOB_LABEL)
    owners: dict[tuple[str, ...], dict[tuple[int, str], dict[str, Array]]] = {}
    for series in answer:
        given = series.labels
        metric, _, part = given.get(SERIES_LABEL, "").rpartition("/")
        preference = order.get(metric)
        if preference is None:
            continue
        owner = tuple(given.get(label, "") for label in by)
        job = given.get(JOB_LABEL, "")
        if not given.get(OWNER_LABEL):
            # Without a pod two jobs may be two front doors; with one they are the same, scraped twice.
            owner, job = (*owner, job), ""
        owners.setdefault(owner, {}).setdefault((preference, job), {})[part] = grid.columns(series)
    entries: Entries[PastEntry] = Entries()
    for owner, answers in owners.items():
        found = dict(zip((*by, JOB_LABEL), owner, strict=False))
        model = next((found[label] for label in preset.labels.model if found.get(label)), "")
        entry = PastEntry(found, model, _settled(answers))
        entries.add(found.get(preset.labels.namespace, ""), model, entry)
    return PastTable(entries)


def _settled(answers: Mapping[tuple[int, str], Mapping[str, Array]]) -> dict[str, Array]:
    """Take the first alternative that answered at each point: a release that renames a metric leaves no gap."""
    chosen: dict[int, tuple[float, Mapping[str, Array]]] = {}
    for (preference, _), parts in sorted(answers.items()):
        seen = float(sum(np.nansum(values) for values in parts.values()))
        if preference not in chosen or seen > chosen[preference][0]:
            chosen[preference] = (seen, parts)
    result: dict[str, Array] = {}
    for preference in sorted(chosen):
        for part, values in chosen[preference][1].items():
            known = result.get(part)
            result[part] = values if known is None else np.where(np.isnan(known), values, known)
    return result


PastTables = Mapping[tuple[str, Quantity], PastTable]
"""Answers by name of the preset and quantity."""


@dataclass(frozen=True, slots=True)
class Column:
    """The past of one PDDeployment on a grid: requests/s, mean tokens; NaN where unknown."""

    rate_rps: Array
    isl_mean: Array
    osl_mean: Array

    @property
    def lacks_lengths(self) -> bool:
        """Whether requests came at some point whose lengths are not known."""
        return bool(((self.rate_rps > 0) & (np.isnan(self.isl_mean) | np.isnan(self.osl_mean))).any())


@dataclass(frozen=True, slots=True)
class PastSource:
    """Where the past of one PDDeployment stands: its own series, by the presets of its engine and its front door."""

    subject: Subject
    engine: Preset
    front: Preset | None

    @property
    def spoken_for(self) -> frozenset[Quantity]:
        """The lengths that its front door names, so that its engines are asked only where that one is silent."""
        return frozenset() if self.front is None else self.front.said_at_front_door & {Quantity.ISL, Quantity.OSL}

    @property
    def counts_arrivals(self) -> bool:
        """Whether its arrivals are counted as they come, so that completions do not stand in for them."""
        presets = (self.front, self.engine)
        return any(preset is not None and Quantity.ARRIVALS in preset.said_at_front_door for preset in presets)

    def column(self, tables: PastTables, count: int) -> Column:
        """Put the past together: from the front door, or where there is none from the PDDeployment's own pools.

        Parameters
        ----------
        tables
            The answers.
        count
            Points of the grid.
        """
        rate = np.full(count, np.nan)
        # As for the present: where a front door is read, completions do not stand in for it.
        counted = Quantity.ARRIVALS if self.counts_arrivals else Quantity.COMPLETIONS
        for (found,) in list(self._totals(counted, tables, (RATE,)))[:1]:
            rate = rate if found is None else found
        return Column(rate, self._means(Quantity.ISL, tables, count), self._means(Quantity.OSL, tables, count))

    def _means(self, quantity: Quantity, tables: PastTables, count: int) -> Array:
        means = np.full(count, np.nan)
        for total, requests in self._totals(quantity, tables, (SUM, COUNT)):
            if total is not None and requests is not None:
                with np.errstate(divide="ignore", invalid="ignore"):
                    found = np.where(requests > 0, total / requests, np.nan)
                means = np.where(np.isnan(means), found, means)
        return means

    def _totals(
        self, quantity: Quantity, tables: PastTables, parts: tuple[str, ...]
    ) -> Iterator[tuple[Array | None, ...]]:
        """Sum parts over the PDDeployment's own entries, at each place where the quantity may stand."""
        for preset in (self.front, self.engine):
            if preset is not None and preset.at(quantity, Source.FRONT_DOOR) is not None:
                namespace = None if preset.scope is Scope.CLUSTER else self.subject.namespace
                near = self._near(tables, preset, quantity, namespace)
                yield _summed((entry for entry in near if self._of_door(entry)), parts)
        for pool in Pool:
            if self.engine.at(quantity, Source(pool.value)) is not None:
                near = self._near(tables, self.engine, quantity, self.subject.namespace)
                yield _summed((entry for entry in near if self._of_pool(entry, pool)), parts)

    def _near(
        self, tables: PastTables, preset: Preset, quantity: Quantity, namespace: str | None
    ) -> Iterator[PastEntry]:
        model = self.subject.model if preset.labels.model else None
        return tables[preset.name.upper(), quantity].entries.of(namespace, model)

    def _of_door(self, entry: PastEntry) -> bool:
        return all(entry.labels.get(name, "") == value for name, value in self.subject.front_door_labels)

    def _of_pool(self, entry: PastEntry, pool: Pool) -> bool:
        subject = self.subject
        if subject.pool_label:
            return entry.labels.get(subject.pool_label) == pool.value
        owner = entry.labels.get(OWNER_LABEL, "")
        return owner == subject.targets[pool] or any(owner == owner_of(pod) for pod in subject.pods[pool])


def _summed(entries: Iterable[PastEntry], parts: tuple[str, ...]) -> tuple[Array | None, ...]:
    own = list(entries)
    return tuple(_sum([entry.parts[part] for entry in own if part in entry.parts]) for part in parts)


def _sum(columns: list[Array]) -> Array | None:
    """Add columns; what one of them does not know the others may."""
    if not columns:
        return None
    stacked = np.stack(columns)
    known = ~np.isnan(stacked)
    return np.where(known.any(axis=0), np.where(known, stacked, 0.0).sum(axis=0), np.nan)
