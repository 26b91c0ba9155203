"""Reads what arrived in the last hours and weeks back from Prometheus. Imports asyncio, forecast's history, telemetry.

One set of range queries serves all PDDeployments of the same (endpoint, presets, window, step), in pieces of a bounded
size, one question at a time, over sessions of its own: however long a history is, the readings of now never wait.
What Prometheus does not know is a gap.
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.workload import NoDataReason
from pdscaler.errors import InvalidInputError
from pdscaler.forecast.history import History, aligned
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.entries import Entries
from pdscaler.telemetry.lane import Asks, Lane
from pdscaler.telemetry.lanes import Lanes, QueryError, problem_of
from pdscaler.telemetry.past_queries import PastQuery, past_queries
from pdscaler.telemetry.past_table import Column, Grid, PastSource, PastTable, build_past_table
from pdscaler.telemetry.presets import Preset, Quantity, find_preset
from pdscaler.telemetry.reader import Reader, ReadError
from pdscaler.telemetry.subject import Subject

POINTS_AT_ONCE = 360
"""Points of time in one answer: an hour and a half at 15 s, so that the answers for a thousand stay small."""

_SESSIONS = 2
_SUBJECTS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Want:
    """What is to be read of one PDDeployment.

    Parameters
    ----------
    subject
        The PDDeployment.
    span_s
        How far back at most, seconds.
    since_s
        Only what is newer, seconds since the epoch.
    window_s
        Window of the rates, seconds.
    step_s
        Distance of the samples, whole seconds.
    lengths
        Whether ISL and OSL are wanted, too.
    """

    subject: Subject
    span_s: float
    since_s: float
    window_s: float
    step_s: float
    lengths: bool = True

    @property
    def before(self) -> int:
        """Points before the first one that tell whether its window is filled: ``rate`` divides by all of it."""
        return math.ceil(self.window_s / self.step_s)


@dataclass(frozen=True, slots=True)
class _Group:
    endpoint: Endpoint
    window_s: float
    step_s: float
    lengths: bool


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query, and the preset that it is about."""

    preset: Preset
    query: PastQuery

    @property
    def place(self) -> tuple[str, Quantity]:
        """Where its answer stands."""
        return self.preset.name.upper(), self.query.quantity


class PastReader:
    """Reads histories for the controller.

    Parameters
    ----------
    presets
        The known presets by upper-case name.
    make_reader
        Makes a session with an endpoint.
    """

    def __init__(self, presets: Mapping[str, Preset], make_reader: Callable[[Endpoint], Asks] = Reader) -> None:
        self._presets = presets
        self._lanes = Lanes(make_reader, _SESSIONS)

    @property
    def queries_sent(self) -> int:
        """Queries sent since the start."""
        return self._lanes.asked

    async def read(self, wants: Sequence[Want], limit_s: float) -> dict[tuple[str, str], History | str]:
        """Read the history of many PDDeployments.

        Parameters
        ----------
        wants
            What is wanted, at most one for each PDDeployment.
        limit_s
            Time for all of it, seconds.

        Returns
        -------
        dict[tuple[str, str], History | str]
            By namespace and name: the history, or in one line why there is none.
        """
        ends_s = asyncio.get_running_loop().time() + limit_s
        groups: dict[_Group, list[Want]] = {}
        found: dict[tuple[str, str], History | str] = {}
        for want in wants:
            if want.subject.bad_label:
                found[want.subject.key] = want.subject.bad_label
                continue
            group = _Group(want.subject.endpoint, want.window_s, want.step_s, want.lengths)
            groups.setdefault(group, []).append(want)
        answers = await asyncio.gather(*(self._read_group(group, own, ends_s) for group, own in groups.items()))
        for answer in answers:
            found.update(answer)
        return found

    def close(self) -> None:
        """Close all sessions."""
        self._lanes.close()

    async def _read_group(
        self, group: _Group, wants: Sequence[Want], ends_s: float
    ) -> dict[tuple[str, str], History | str]:
        try:
            with self._lanes.using([group.endpoint]) as (lane,):
                now_s = await lane.ask(lambda reader, limit_s: reader.time_s(limit_s), ends_s)
                return await self._histories(lane, group, wants, (aligned(now_s, group.step_s), ends_s))
        except ReadError as error:
            problem = problem_of(group.endpoint, error)
        except QueryError as failure:
            problem = problem_of(group.endpoint, failure.error, f"the {failure.asked}")
        except InvalidInputError as error:
            problem = str(error)
        return dict.fromkeys((want.subject.key for want in wants), problem)

    async def _histories(
        self, lane: Lane, group: _Group, wants: Sequence[Want], times_s: tuple[float, float]
    ) -> dict[tuple[str, str], History | str]:
        end_s, ends_s = times_s
        step_s, before = group.step_s, wants[0].before
        first_s = min(aligned(max(want.since_s, end_s - want.span_s), step_s) for want in wants) + step_s
        start_s = first_s - before * step_s
        points = max(0, round((end_s - start_s) / step_s) + 1)
        labels = sorted({name for want in wants for name in _labels(want.subject)})
        rows = 3 if group.lengths else 1
        found = {want.subject.key: np.full((rows, points), np.nan, dtype=np.float32) for want in wants}
        sources = {want.subject.key: self._source(want.subject) for want in wants}
        now, later = _queries(sources.values(), group, labels)
        for offset in range(0, points, POINTS_AT_ONCE) if end_s >= first_s else ():
            grid = Grid(start_s + offset * step_s, step_s, min(POINTS_AT_ONCE, points - offset))
            tables = defaultdict(lambda: PastTable(Entries()))
            for asked in now:
                tables[asked.place] = await _ask(lane, asked, labels, grid, ends_s)
            columns = await _columns(sources, tables, grid.count)
            if later and any(column.lacks_lengths for column in columns.values()):
                for asked in later:
                    tables[asked.place] = await _ask(lane, asked, labels, grid, ends_s)
                columns = await _columns(sources, tables, grid.count)
            for key, column in columns.items():
                for row, values in zip(found[key], (column.rate_rps, column.isl_mean, column.osl_mean), strict=False):
                    row[offset : offset + grid.count] = values
        return {want.subject.key: _history(want, found.pop(want.subject.key), end_s) for want in wants}

    def _source(self, subject: Subject) -> PastSource:
        front = subject.front_door_preset
        return PastSource(
            subject,
            find_preset(self._presets, subject.engine, "spec.metrics.engine"),
            None if front is None else find_preset(self._presets, front, "spec.metrics.frontDoor.preset"),
        )


def _queries(
    sources: Collection[PastSource], group: _Group, labels: Sequence[str]
) -> tuple[list[_Asked], list[_Asked]]:
    """Return what is asked at once, and what only where a front door is silent."""
    named = (preset for source in sources for preset in (source.engine, source.front))
    presets = {preset.name.upper(): preset for preset in named if preset is not None}
    doors = {source.front.name.upper() for source in sources if source.front is not None}
    spoken_for = frozenset.intersection(*(source.spoken_for for source in sources))
    counted = all(source.counts_arrivals for source in sources)
    now: list[_Asked] = []
    later: list[_Asked] = []
    for name, preset in sorted(presets.items()):
        for query in past_queries(preset, group.window_s, labels, lengths=group.lengths):
            if counted and query.quantity is Quantity.COMPLETIONS:
                continue
            waits = name not in doors and query.quantity in spoken_for
            (later if waits else now).append(_Asked(preset, query))
    return now, later


async def _columns(
    sources: Mapping[tuple[str, str], PastSource], tables: Mapping[tuple[str, Quantity], PastTable], count: int
) -> dict[tuple[str, str], Column]:
    columns = {}
    for place, (key, source) in enumerate(sources.items(), 1):
        columns[key] = source.column(tables, count)
        if place % _SUBJECTS_AT_ONCE == 0:
            await asyncio.sleep(0)  # the operator's other tasks live in the same loop
    return columns


async def _ask(lane: Lane, asked: _Asked, labels: Sequence[str], grid: Grid, ends_s: float) -> PastTable:
    query, preset = asked.query, asked.preset
    end_s = grid.start_s + (grid.count - 1) * grid.step_s

    def question(reader: Asks, limit_s: float) -> PastTable:
        if not limit_s > 0:
            raise ReadError(NoDataReason.PROMETHEUS_UNREACHABLE, "gave no complete answer in time")
        answer = reader.query_range(query.text, grid.start_s, end_s, grid.step_s, limit_s)
        return build_past_table(answer, query.names, preset, grid, labels)

    try:
        return await lane.ask(question, ends_s)
    except ReadError as error:
        raise QueryError(query.shown, error) from None


def _labels(subject: Subject) -> list[str]:
    names = [name for name, _ in subject.front_door_labels]
    return [*names, subject.pool_label] if subject.pool_label else names


def _history(want: Want, values: NDArray[np.float32], end_s: float) -> History:
    """Return what was found from the first known rate on; a rate whose window was not filled yet is a gap."""
    rate, *lengths = values
    known = ~np.isnan(rate)
    known[want.before :] &= known[: -want.before].copy()
    whole = max(0, math.floor((end_s - max(want.since_s, end_s - want.span_s)) / want.step_s + 1e-6))
    kept = slice(max(want.before, rate.size - whole), None)
    isl_mean, osl_mean = (row[kept] for row in lengths) if lengths else (None, None)
    history = History.of(
        want.step_s,
        end_s,
        np.where(known, rate, np.nan)[kept],
        isl_mean=isl_mean,
        osl_mean=osl_mean,
        window_s=want.window_s,
    )
    return (history if lengths else history.rates_only()).without_leading_gap()
