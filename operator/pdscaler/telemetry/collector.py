"""Collects the telemetry of many PDDeployments at once. Imports asyncio and telemetry; no kopf, no kubernetes.

One snapshot serves all subjects of the same (endpoint, preset, window): the number of queries does not grow with the
number of PDDeployments. A failed endpoint fails its own subjects only, and the whole has a deadline.

Where a front door speaks for thousands of engines, they are asked for the same quantities only if it stays silent.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pdscaler.core.workload import NoData, NoDataReason, Telemetry
from pdscaler.errors import InvalidInputError
from pdscaler.telemetry.assemble import assemble
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.groups import Group, Needs, grouped, groups_of
from pdscaler.telemetry.lane import Asks, Lane
from pdscaler.telemetry.lanes import Lanes, QueryError, problem_of
from pdscaler.telemetry.presets import Preset, Quantity, find_preset
from pdscaler.telemetry.queries import Kind, Query, build_queries, can_wait
from pdscaler.telemetry.reader import Reader, ReadError
from pdscaler.telemetry.snapshot import PutOffError, Snapshot, Table, build_table
from pdscaler.telemetry.subject import Subject
from pdscaler.units import format_duration

DEADLINE_S = 10.0
"""Time of a whole collection: below the default evaluation period of 15 s."""

_SUBJECTS_AT_ONCE = 50


class Collector:
    """Reads Prometheus for the controller.

    Parameters
    ----------
    presets
        The known presets by upper-case name (:func:`pdscaler.telemetry.presets.load_presets`).
    clock
        The time, seconds since the epoch.
    deadline_s
        Time of a whole collection, seconds.
    make_reader
        Makes a session with an endpoint.
    """

    def __init__(
        self,
        presets: Mapping[str, Preset],
        clock: Callable[[], float],
        *,
        deadline_s: float = DEADLINE_S,
        make_reader: Callable[[Endpoint], Asks] = Reader,
    ) -> None:
        self._presets = presets
        self._clock = clock
        self._deadline_s = deadline_s
        self._lanes = Lanes(make_reader)

    @property
    def queries_sent(self) -> int:
        """Queries sent since the start."""
        return self._lanes.asked

    async def collect(self, subjects: Sequence[Subject]) -> dict[tuple[str, str], Telemetry | NoData]:
        """Read the telemetry of all subjects.

        Returns
        -------
        dict[tuple[str, str], Telemetry | NoData]
            One reading per subject, by namespace and name; a bad endpoint is "no data", never an exception.
        """
        ends_s = asyncio.get_running_loop().time() + self._deadline_s
        result: dict[tuple[str, str], Telemetry | NoData] = {}
        accepted = []
        for subject in subjects:
            refused = self._refused(subject)
            if refused is None:
                accepted.append(subject)
            else:
                result[subject.key] = refused
        groups = grouped(accepted, self._presets)
        snapshots = await self._snapshots(groups, ends_s)
        unsaid = await self._readings(accepted, snapshots, result)
        if unsaid:
            asked = {group for subject in unsaid for group in groups_of(subject)}
            snapshots |= await self._completed({group: snapshots[group] for group in asked}, groups, ends_s)
            await self._readings(unsaid, snapshots, result)
        return result

    async def close(self) -> None:
        """Close all sessions."""
        self._lanes.close()

    def _refused(self, subject: Subject) -> NoData | None:
        """Say why a subject cannot be read at all."""
        try:
            find_preset(self._presets, subject.engine, "spec.metrics.engine")
            if subject.front_door_preset is not None:
                find_preset(self._presets, subject.front_door_preset, "spec.metrics.frontDoor.preset")
        except InvalidInputError as error:
            return NoData(NoDataReason.NO_DATA, str(error))
        return None if not subject.bad_label else NoData(NoDataReason.NO_DATA, subject.bad_label)

    async def _readings(
        self,
        subjects: Sequence[Subject],
        snapshots: Mapping[Group, Snapshot | NoData],
        result: dict[tuple[str, str], Telemetry | NoData],
    ) -> list[Subject]:
        """Add the readings of some subjects; return those that need more than was asked."""
        unsaid = []
        for place, subject in enumerate(subjects, 1):
            try:
                result[subject.key] = self._reading(subject, snapshots)
            except PutOffError:
                unsaid.append(subject)
            if place % _SUBJECTS_AT_ONCE == 0:
                await asyncio.sleep(0)  # the operator's other tasks live in the same loop
        return unsaid

    async def _snapshots(self, groups: Mapping[Group, Needs], ends_s: float) -> dict[Group, Snapshot | NoData]:
        """Read all groups, but for what can wait."""
        found: dict[Group, Snapshot | NoData] = {}
        by_endpoint: dict[Endpoint, dict[Group, Needs]] = {}
        for group, needs in groups.items():
            by_endpoint.setdefault(group.endpoint, {})[group] = needs
        with self._lanes.using(by_endpoint) as lanes:
            await _all_until(
                ends_s, (self._read_endpoint(lane, by_endpoint[lane.endpoint], found, ends_s) for lane in lanes)
            )
        return {group: found.get(group) or self._late(group) for group in groups}

    async def _completed(
        self, snapshots: Mapping[Group, Snapshot | NoData], groups: Mapping[Group, Needs], ends_s: float
    ) -> dict[Group, Snapshot | NoData]:
        """Ask, for the same time, what has been put off."""
        partial = {
            group: snapshot
            for group, snapshot in snapshots.items()
            if isinstance(snapshot, Snapshot) and snapshot.put_off
        }
        found: dict[Group, Snapshot | NoData] = {}

        async def complete(lane: Lane, group: Group, snapshot: Snapshot) -> None:
            needs, preset = groups[group], snapshot.preset
            tables = await _tables(
                lane, list(snapshot.put_off.values()), preset, needs, at_s=snapshot.at_s, ends_s=ends_s
            )
            found[group] = (
                tables
                if isinstance(tables, NoData)
                else replace(snapshot, tables={**snapshot.tables, **tables}, put_off={})
            )

        with self._lanes.using({group.endpoint for group in partial}) as lanes:
            by_endpoint = {lane.endpoint: lane for lane in lanes}
            await _all_until(
                ends_s, (complete(by_endpoint[group.endpoint], group, snapshot) for group, snapshot in partial.items())
            )
        return {group: found.get(group) or self._late(group) for group in partial}

    def _late(self, group: Group) -> NoData:
        waited = f"gave no complete answer within {format_duration(self._deadline_s)}"
        return _no_data(group.endpoint, ReadError(NoDataReason.PROMETHEUS_UNREACHABLE, waited))

    async def _read_endpoint(
        self, lane: Lane, groups: Mapping[Group, Needs], found: dict[Group, Snapshot | NoData], ends_s: float
    ) -> None:
        """Read all groups of an endpoint at one and the same time of its clock."""
        try:
            at_s = await lane.ask(lambda reader, limit_s: reader.time_s(limit_s), ends_s)
        except ReadError as error:
            for group in groups:
                found[group] = _no_data(lane.endpoint, error)
            return
        for group, needs in groups.items():
            found[group] = snapshot = await self._read_group(lane, group, needs, at_s, ends_s)
            if isinstance(snapshot, NoData) and snapshot.reason is NoDataReason.PROMETHEUS_UNREACHABLE:
                # It died between two questions: the others would wait for their timeouts one after the other.
                for other in groups:
                    found.setdefault(other, snapshot)
                return

    async def _read_group(
        self, lane: Lane, group: Group, needs: Needs, at_s: float, ends_s: float
    ) -> Snapshot | NoData:
        preset = self._presets[group.preset]
        percentiles, spoken_for = frozenset(needs.percentiles), needs.spoken_for
        queries = build_queries(preset, group.window_s, at_s, needs.labels, percentiles, spoken_for=spoken_for)
        put_off = {query.key: query for query in queries if can_wait(*query.key, spoken_for)}
        now = [query for query in queries if query.key not in put_off]
        tables = await _tables(lane, now, preset, needs, at_s=at_s, ends_s=ends_s)
        return tables if isinstance(tables, NoData) else Snapshot(preset, at_s, group.window_s, tables, put_off)

    def _reading(self, subject: Subject, snapshots: Mapping[Group, Snapshot | NoData]) -> Telemetry | NoData:
        own = [snapshots[group] for group in groups_of(subject)]
        good = [snapshot for snapshot in own if isinstance(snapshot, Snapshot)]
        for snapshot in own:
            if isinstance(snapshot, NoData):
                return snapshot
        return assemble(subject, good[0], good[1] if len(good) > 1 else None, self._clock())


async def _all_until(ends_s: float, parts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all parts at once until a time of the event loop; what is not done by then is given up."""
    tasks = [asyncio.create_task(part) for part in parts]
    if not tasks:
        return
    try:
        await asyncio.wait(tasks, timeout=max(0.0, ends_s - asyncio.get_running_loop().time()))
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome  # a defect: what an endpoint can cause has become NoData


async def _tables(
    lane: Lane, queries: Sequence[Query], preset: Preset, needs: Needs, *, at_s: float, ends_s: float
) -> dict[tuple[Quantity, Kind], Table] | NoData:
    """Ask some queries of a group at once; the first that fails ends the others."""
    tasks = [asyncio.create_task(_ask(lane, query, preset, needs, at_s=at_s, ends_s=ends_s)) for query in queries]
    try:
        tables = await asyncio.gather(*tasks)
    except QueryError as failure:
        return _no_data(lane.endpoint, failure.error, failure.asked)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {query.key: table for query, table in zip(queries, tables, strict=True)}


async def _ask(lane: Lane, query: Query, preset: Preset, needs: Needs, *, at_s: float, ends_s: float) -> Table:
    def question(reader: Asks, limit_s: float) -> Table:
        samples = reader.query(query.text, at_s, limit_s)
        return build_table(samples, query.names, preset, query.kind, needs.labels)

    try:
        return await lane.ask(question, ends_s)
    except ReadError as error:
        raise QueryError(query.shown, error) from None


def _no_data(endpoint: Endpoint, error: ReadError, asked: str = "") -> NoData:
    return NoData(error.reason, problem_of(endpoint, error, asked))
