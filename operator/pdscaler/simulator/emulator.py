"""The event simulation on the wall clock: emulated engines under load. May import core and this package.

It knows no Kubernetes: :func:`run` asks an asynchronous callable which replicas are ready. Requests arrive at their
own times whatever the engines do, so too few replicas show as queues and missed objectives.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pdscaler.core.emulation import Admitted, Completion, Emulation, Prefilled, ReplicaState, Request, Routing
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.profile import DecodeProfile, PrefillProfile
from pdscaler.core.slo import Slo
from pdscaler.simulator.exposition import EngineMetrics, FrontDoorMetrics
from pdscaler.simulator.load import Load, Segment
from pdscaler.simulator.records import RecordsWriter
from pdscaler.simulator.statistics import RecentSample, Sample, met

TICK_S = 0.05
"""The simulation is never further behind the clock than this, seconds."""
RECENT_S = 15.0
"""Window of the live statistics, seconds."""

ReadyReplicas = Callable[[], Awaitable[PerPool[Sequence[str]]]]
"""Names of the replicas that are ready now."""
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class EmulatedModel:
    """What is emulated.

    Parameters
    ----------
    name
        The model label of the metrics.
    namespace
        Namespace of the pods, for Prometheus.
    prefill, decode
        Engine profiles.
    slo
        Objectives that requests are compared with.
    routing
        How prefill requests are spread.
    pool_label
        Label that tells the pools apart for Prometheus; empty: none.
    """

    name: str
    namespace: str
    prefill: PrefillProfile
    decode: DecodeProfile
    slo: Slo
    routing: Routing = Routing.JOIN_SHORTEST_QUEUE
    pool_label: str = ""


class Emulator:
    """Emulated engines that serve a load in real time.

    Parameters
    ----------
    model
        What is emulated.
    load
        What arrives.
    rng
        Random generator, for routing.
    clock
        A clock that never goes back, seconds.
    unix_clock
        Seconds since the epoch, for the records.
    records
        Where finished requests are written; None: nowhere.
    """

    def __init__(
        self,
        model: EmulatedModel,
        load: Load,
        rng: np.random.Generator,
        *,
        clock: Clock,
        unix_clock: Clock,
        records: RecordsWriter | None = None,
    ) -> None:
        self.model = model
        self.load = load
        self.front_door = FrontDoorMetrics(model.name)
        self.samples = [Sample() for _ in load.segments]
        self._recent = RecentSample(RECENT_S)
        self._emulation = Emulation(model.prefill, model.decode, model.routing, rng)
        self._engines: dict[str, tuple[Pool, EngineMetrics]] = {}
        self._ready: PerPool[tuple[str, ...]] = PerPool((), ())
        self._next: Request | None = next(load.requests, None)
        self._clock = clock
        self._unix_clock = unix_clock
        self._records = records
        self._started_s: float | None = None
        self._started_unix_s = 0.0

    def start(self) -> None:
        """Let the load begin now."""
        self._started_s = self._clock()
        self._started_unix_s = self._unix_clock()

    @property
    def started(self) -> bool:
        """The load has begun."""
        return self._started_s is not None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the load began; 0 before."""
        return 0.0 if self._started_s is None else self._clock() - self._started_s

    @property
    def segment(self) -> Segment | None:
        """The segment that is being played; None before the start and after the end."""
        elapsed_s = self.elapsed_s
        if not self.started or elapsed_s >= self.load.duration_s:
            return None
        return self.load.segments[self.load.segment_index(elapsed_s)]

    @property
    def drained(self) -> bool:
        """The load is over and every request has finished."""
        over = self._next is None and self.elapsed_s >= self.load.duration_s
        return over and self._emulation.in_flight == 0

    @property
    def in_flight(self) -> int:
        """Requests that have arrived and not finished."""
        return self._emulation.in_flight

    @property
    def held(self) -> PerPool[int]:
        """Requests that wait for a pool without a ready replica."""
        return self._emulation.held

    @property
    def engines(self) -> tuple[tuple[str, Pool], ...]:
        """Names and pools of the engines that run, draining ones included."""
        return tuple((name, pool) for name, (pool, _) in self._engines.items())

    def replicas(self, pool: Pool) -> tuple[ReplicaState, ...]:
        """State of the replicas of a pool."""
        return self._emulation.replicas(pool)

    def recent(self) -> Sample:
        """What was observed in the last seconds."""
        return self._recent.sample(self.elapsed_s)

    def render_engine(self, name: str) -> bytes | None:
        """Write one engine's exposition; None where no such engine runs."""
        known = self._engines.get(name)
        if known is None:
            return None
        pool, metrics = known
        for state in self._emulation.replicas(pool):
            if state.name == name:
                metrics.see(state)
        return metrics.render()

    def render_front_door(self) -> bytes:
        """Write the front door's exposition."""
        held = self._emulation.held.prefill
        self.front_door.see(running=self._emulation.in_flight - held, held=held)
        return self.front_door.render()

    def set_ready(self, ready: PerPool[Sequence[str]]) -> None:
        """Say which replicas are ready now."""
        wanted = ready.map(tuple)
        if wanted == self._ready:
            return
        self._ready = wanted
        self.advance()  # what has arrived so far went to the replicas of before
        now_s = self._emulation.now_s
        for pool, names in wanted.items():
            self._emulation.set_replicas(pool, names, now_s)
            for name in names:
                if name not in self._engines:
                    self._engines[name] = (pool, EngineMetrics(self.model.name, self.model.decode.kv_capacity_tokens))
        self._take(now_s)

    def advance(self) -> None:
        """Bring the simulation to the present: submit what has arrived, and observe what has happened."""
        if self._started_s is None:
            return
        now_s = max(self.elapsed_s, self._emulation.now_s)
        while self._next is not None and self._next.arrival_s <= now_s:
            request = self._next
            self._emulation.submit(request)
            self.front_door.arrived(request)
            self._recent.arrived(request.arrival_s)
            self.samples[self.load.segment_index(request.arrival_s)].arrivals += 1
            self._next = next(self.load.requests, None)
        self._take(now_s)

    def _take(self, now_s: float) -> None:
        for event in self._emulation.advance(now_s):
            if isinstance(event, Prefilled):
                self.front_door.prefilled(event)
                self._recent.prefilled(event)
                self._engines[event.replica][1].prefilled(event)
            elif isinstance(event, Admitted):
                self._engines[event.replica][1].admitted(event)
            else:
                self._complete(event)
        if self._records is not None:
            self._records.flush()
        alive = {state.name for pool in Pool for state in self._emulation.replicas(pool)}
        if len(alive) < len(self._engines):
            self._engines = {name: engine for name, engine in self._engines.items() if name in alive}

    def _complete(self, event: Completion) -> None:
        outcome = met(event, self.model.slo)
        self.front_door.completed(event)
        self._recent.completed(event, outcome)
        if event.decode_replica is not None:
            self._engines[event.decode_replica][1].completed(event)
        index = self.load.segment_index(event.request.arrival_s)
        sample = self.samples[index]
        sample.ttft_s.append(event.ttft_s)
        if event.tpot_s is not None:
            sample.tpot_s.append(event.tpot_s)
        sample.outcomes.append(outcome)
        if self._records is not None:
            self._records.write(event, self.load.segments[index].name, self._started_unix_s, outcome)


async def run(
    emulator: Emulator,
    ready: ReadyReplicas,
    stop: asyncio.Event,
    *,
    linger: bool = False,
    on_segment: Callable[[Segment | None], None] = lambda _segment: None,
) -> None:
    """Play the load until it is over and every request has finished, or until ``stop`` is set.

    The load begins when both pools have a ready replica: until then there is no deployment to emulate.

    Parameters
    ----------
    emulator
        The emulated engines.
    ready
        Which replicas are ready; asked at every tick.
    stop
        Set it to end at once.
    linger
        Go on serving metrics after the end, until ``stop`` is set.
    on_segment
        Called when a segment begins, and with None when the load is over.
    """
    shown: Segment | None = None
    while not stop.is_set():
        names = await ready()
        emulator.set_ready(names)
        if not emulator.started and names.prefill and names.decode:
            emulator.start()
        emulator.advance()
        segment = emulator.segment
        if segment is not shown:
            shown = segment
            on_segment(segment)
        if emulator.drained and not linger:
            return
        try:
            await asyncio.wait_for(stop.wait(), TICK_S)
        except TimeoutError:
            continue
