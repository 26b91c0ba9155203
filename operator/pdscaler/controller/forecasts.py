"""The forecast of every PDDeployment: begun from Prometheus's history, kept up with each period. No kopf.

What arrives is read by range queries at the start and by short ones of the same form afterwards, so a process that
restarts knows what the one before it knew. A long read goes on in the background and is waited for only briefly. A
forecast that is not there yet, or fails, is the load seen now, and fewer replicas wait.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pdscaler.controller.evaluation import ResourceKey
from pdscaler.controller.expectation import PRESENT, Expectation
from pdscaler.controller.past import gate_s, rate_window_s, source_of, unfilled, with_spread
from pdscaler.controller.prepare import Prepared
from pdscaler.core.workload import NoData, Telemetry, WorkloadStats
from pdscaler.forecast import (
    Forecast,
    ForecastSettings,
    ForecastState,
    History,
    aligned,
    forecast,
    observe,
    sized_for,
    start,
    with_settings,
)
from pdscaler.forecast.settings import COARSE_KEEP_S, COARSE_STEP_S
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.past import Want
from pdscaler.telemetry.subject import Subject
from pdscaler.units import format_duration

_logger = logging.getLogger(__name__)

LEAST_STEP_S = 5.0
"""Samples are no closer, seconds: a history of hours must stay small."""
STALE_S = 300.0
"""A history that ends so long ago says nothing of the next minutes."""
READ_LIMIT_S = 120.0
"""Time for reading hours and weeks, in the background."""
CATCH_UP_S = 1800.0
"""What was missed is read again up to so far back; what lies further back stays a gap."""
_RETRIES_S = (30.0, 120.0, 600.0)
"""When a history that could not be read is asked for again; the last one from then on."""
_LONGER = 1.4
"""A history is begun anew where scrapes have become so much rarer."""
_YIELD_EVERY = 10


class ReadsPast(Protocol):
    """Reads histories of many PDDeployments at once."""

    async def read(self, wants: Sequence[Want], limit_s: float) -> Mapping[tuple[str, str], History | str]:
        """Read what is wanted; a text says why there is nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One PDDeployment, and what was just read of it."""

    prepared: Prepared
    subject: Subject
    telemetry: Telemetry | NoData


@dataclass(slots=True)
class _Known:
    """The forecast of one PDDeployment.

    ``source`` is where its history comes from; ``tried`` whether the past was asked for; ``broken`` why there is no
    forecast, where that is its own fault; ``problem`` why the history could not be read lately.
    """

    source: tuple[object, ...]
    subject: Subject
    settings: ForecastSettings
    window_s: float
    state: ForecastState
    workload: WorkloadStats
    tried: bool = False
    attempts: int = 0
    next_try_s: float = -math.inf
    problem: str = ""
    broken: str = ""

    def breaks(self, error: Exception) -> None:
        """Do without a forecast for some minutes, then begin it anew."""
        self.broken = f"the forecast failed ({type(error).__name__})"
        self.next_try_s = min(self.next_try_s, self.state.history.end_s + _RETRIES_S[-1])


class Forecasts:
    """Keeps the forecasts.

    Parameters
    ----------
    past
        Reads histories.
    period_s
        The evaluation period, seconds.
    clock
        Seconds since the epoch.
    patience_s
        How long an evaluation waits for histories at most, seconds.
    """

    def __init__(
        self, past: ReadsPast, period_s: float, clock: Callable[[], float], patience_s: float | None = None
    ) -> None:
        self._past = past
        self._clock = clock
        self._patience_s = period_s if patience_s is None else patience_s
        self._step_s = float(math.ceil(max(LEAST_STEP_S, period_s)))
        self._known: dict[ResourceKey, _Known] = {}
        self._reads: dict[Endpoint, asyncio.Task[None]] = {}

    async def update(self, seen: Sequence[Seen]) -> None:
        """Bring the forecasts of some PDDeployments up to date; never fails."""
        try:
            followed = [each for each in seen if isinstance(each.telemetry, Telemetry)]
            for number, each in enumerate(followed):
                self._follow(each)
                if number % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
            keys = [each.prepared.key for each in followed if each.prepared.key in self._known]
            awaited = self._read_pasts(keys)
            if awaited:
                await asyncio.wait(awaited, timeout=self._patience_s)
            await self._advance(keys)
        except Exception:
            _logger.exception("the forecasts of %d PDDeployments could not be brought up to date", len(seen))

    def expectation(self, prepared: Prepared) -> Expectation:
        """Return what load a PDDeployment has to expect from now on."""
        if prepared.forecast is None:
            return PRESENT
        known = self._known.get(prepared.key)
        if known is None:
            return Expectation(unforeseen="nothing was read yet")
        if not known.tried:
            return Expectation(unforeseen="its history is being read")
        if known.broken:
            return Expectation(fallback=known.broken, unforeseen=known.broken)
        late_s = self._clock() - known.state.history.end_s
        if late_s > max(STALE_S, 4 * self._step_s):
            problem = f"its history could not be read for {format_duration(late_s)}"
            problem += f": {known.problem}" if known.problem else ""
            return Expectation(fallback=problem, unforeseen=problem)
        try:
            found = forecast(known.state)
        except Exception as error:
            _logger.exception("the forecast of PDDeployment %s failed", prepared.key)
            known.breaks(error)
            return Expectation(fallback=known.broken, unforeseen=known.broken)
        unforeseen = found.fallback or unfilled(known.state.history, gate_s(prepared.spec))
        return Expectation(_forecaster(found), found, found.fallback, unforeseen)

    def forget(self, key: ResourceKey) -> None:
        """Forget a PDDeployment that is gone."""
        self._known.pop(key, None)

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._reads.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self, seen: Seen) -> None:
        """Begin a forecast, or adapt it to what is asked for now."""
        assert isinstance(seen.telemetry, Telemetry)
        key, subject = seen.prepared.key, seen.subject
        known, source = self._known.get(key), source_of(subject)
        window_s = rate_window_s(seen.telemetry.scrape_interval_s, subject.window_s)
        if known is not None and known.source == source and window_s <= _LONGER * known.window_s:
            window_s = known.window_s
        else:
            known = None
        asked = seen.prepared.forecast
        if asked is None:
            self.forget(key)
            return
        settings = replace(asked, rate_window_s=min(asked.rate_window_s, window_s))
        workload = seen.telemetry.workload
        if known is None:
            nothing = History.empty(self._step_s, aligned(self._clock(), self._step_s), window_s)
            state = start(settings, nothing)
            self._known[key] = _Known(source, subject, settings, window_s, state, workload)
            return
        known.subject, known.workload = subject, workload
        if settings != known.settings:
            known.settings = settings
            _guarded(key, known, lambda: with_settings(known.state, settings))

    def _read_pasts(self, keys: Iterable[ResourceKey]) -> set[asyncio.Task[None]]:
        """Have pasts read that were not read yet; return the reads that some of the PDDeployments wait for."""
        now_s, awaited = self._clock(), set()
        for key in keys:
            known = self._known[key]
            endpoint = known.subject.endpoint
            if known.next_try_s <= now_s and endpoint not in self._reads:
                due = [
                    each
                    for each, other in self._known.items()
                    if other.subject.endpoint == endpoint and other.next_try_s <= now_s
                ]
                task = asyncio.create_task(self._read_past(due), name=f"pdscaler history of {len(due)}")
                self._reads[endpoint] = task
                task.add_done_callback(lambda _, read=endpoint: self._reads.pop(read, None))  # type: ignore[misc]
            if not known.tried and endpoint in self._reads:
                awaited.add(self._reads[endpoint])
        return awaited

    async def _read_past(self, keys: Sequence[ResourceKey]) -> None:
        """Read hours and weeks of some PDDeployments of one endpoint, and begin their forecasts from them."""
        asked = {key: self._known[key] for key in keys if key in self._known}
        for known in asked.values():
            known.next_try_s = math.inf
        try:
            recent = await self._past.read([self._recent(known) for known in asked.values()], READ_LIMIT_S)
            weeks = await self._past.read([_weeks(known) for known in asked.values()], READ_LIMIT_S)
            for key, known in asked.items():
                known.next_try_s = math.inf
                hours, coarse = recent[key], weeks[key]
                if isinstance(hours, str):
                    self._again(known, hours)
                    _logger.warning("the history of PDDeployment %s could not be read: %s", key, hours)
                    continue
                if isinstance(coarse, str):
                    _logger.warning("the weeks before of PDDeployment %s could not be read: %s", key, coarse)
                await self._begin(key, known, hours, coarse if isinstance(coarse, History) else None)
        except Exception:
            _logger.exception("reading the history of %d PDDeployments failed", len(asked))
            for known in asked.values():
                self._again(known, "reading it failed: the operator's log has the details")
        finally:
            for known in asked.values():
                known.tried = True

    async def _begin(self, key: ResourceKey, known: _Known, hours: History, weeks: History | None) -> None:
        settings, filled = known.settings, with_spread(hours, known.workload)
        try:
            state = await asyncio.to_thread(start, settings, filled, weeks)
        except Exception as error:
            _logger.exception("the forecast of PDDeployment %s failed", key)
            known.breaks(error)
            self._again(known, "")
            return
        known.problem, known.broken, known.attempts, known.tried = "", "", 0, True
        # Meanwhile samples may have been added to the little that was known, or the spec may have changed.
        newer = known.state.history
        known.state = state
        _guarded(key, known, lambda: with_settings(observe(state, newer), known.settings))

    def _again(self, known: _Known, problem: str) -> None:
        wait_s = _RETRIES_S[min(known.attempts, len(_RETRIES_S) - 1)]
        known.attempts += 1
        known.problem, known.next_try_s = problem, self._clock() + wait_s

    async def _advance(self, keys: Iterable[ResourceKey]) -> None:
        """Add the samples since the last one."""
        newest_s = aligned(self._clock(), self._step_s)
        late = {
            key: known
            for key in keys
            if (known := self._known.get(key)) and not known.broken and known.state.history.end_s < newest_s
        }
        if not late:
            return
        found = await self._past.read([self._newer(known) for known in late.values()], self._patience_s)
        for number, (key, known) in enumerate(late.items()):
            newer = found[key]
            if isinstance(newer, str):
                known.problem = newer
                continue
            known.problem = ""
            filled = with_spread(newer, known.workload)
            _guarded(key, known, lambda known=known, filled=filled: observe(known.state, filled))  # type: ignore[misc]
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _recent(self, known: _Known) -> Want:
        return Want(known.subject, known.settings.keep_s, -math.inf, known.window_s, self._step_s)

    def _newer(self, known: _Known) -> Want:
        return Want(known.subject, CATCH_UP_S, known.state.history.end_s, known.window_s, self._step_s)


def _weeks(known: _Known) -> Want:
    window_s = max(COARSE_STEP_S, known.window_s)
    return Want(known.subject, COARSE_KEEP_S, -math.inf, window_s, COARSE_STEP_S, lengths=False)


def _forecaster(found: Forecast) -> Callable[[WorkloadStats, float], WorkloadStats]:
    def expect(workload: WorkloadStats, horizon_s: float) -> WorkloadStats:  # noqa: ARG001 - the forecast's own
        return sized_for(workload, found)

    return expect


def _guarded(key: ResourceKey, known: _Known, change: Callable[[], ForecastState]) -> None:
    """Change a state; where that breaks, there is no forecast until it is begun anew."""
    try:
        known.state = change()
    except Exception as error:
        _logger.exception("the forecast of PDDeployment %s failed", key)
        known.breaks(error)
