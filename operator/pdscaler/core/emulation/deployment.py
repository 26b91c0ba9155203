"""Both pools on one clock: events in order, replicas that come and go. May import only numpy and core.

Events of one instant happen in this order: departures from decode, ends of passes, arrivals at decode, arrivals at the
front door; among equals the older replica first, then the request that was submitted first. So what is freed at an
instant is free for what arrives at it.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

import numpy as np

from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.emulation.decode import BatchClocks, DecodeReplica, Decoding
from pdscaler.core.emulation.prefill import PrefillReplica
from pdscaler.core.emulation.records import Admitted, Completion, Milestone, Prefilled, Request
from pdscaler.core.emulation.routing import chooser, least
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.profile import DecodeProfile, PrefillProfile
from pdscaler.core.spec import Routing

_DEPARTURE, _PASS_END, _DECODE_ARRIVAL, _ARRIVAL = range(4)


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """What one replica is doing at an instant.

    Parameters
    ----------
    name
        Its name.
    ready
        It takes requests; False while it drains.
    waiting, running
        Requests in its queue, and in its pass or batch.
    kv_tokens
        KV tokens held: of a decode replica its resident tokens, of a prefill replica the prompts of the running pass.
    decoded_tokens
        Tokens that a decode replica's running requests have decoded so far; 0 for prefill.
    """

    name: str
    ready: bool
    waiting: int
    running: int
    kv_tokens: float
    decoded_tokens: float = 0.0


class Emulation:
    """A disaggregated deployment, event by event.

    Requests go in with :meth:`submit`, replicas come and go with :meth:`set_replicas`, time passes with
    :meth:`advance`, which answers with what happened. How the time is cut into steps changes no number.

    Parameters
    ----------
    prefill, decode
        Engine profiles.
    routing
        How prefill requests are spread.
    rng
        Random generator; used by ``Routing.RANDOM`` only, which needs it.

    Examples
    --------
    >>> from pdscaler.core.profile import DecodePoint, MaxThroughput
    >>> prefill = PrefillProfile(max_throughput=MaxThroughput(1000, 1000))
    >>> decode = DecodeProfile((DecodePoint(900, 1, 0.01), DecodePoint(900, 9, 0.02)))
    >>> emulation = Emulation(prefill, decode)
    >>> emulation.set_replicas(Pool.PREFILL, ["p0"], 0.0)
    >>> emulation.set_replicas(Pool.DECODE, ["d0"], 0.0)
    >>> emulation.submit(Request(1, 0.0, input_tokens=500, output_tokens=101))
    >>> done = emulation.advance(10.0)[-1]
    >>> done.ttft_s, round(done.tpot_s, 6), round(done.e2e_s, 6)
    (0.5, 0.01, 1.5)
    """

    def __init__(
        self,
        prefill: PrefillProfile,
        decode: DecodeProfile,
        routing: Routing = Routing.JOIN_SHORTEST_QUEUE,
        rng: np.random.Generator | None = None,
    ) -> None:
        if routing is Routing.RANDOM and rng is None:
            raise ValueError("routing Random needs a random generator")
        self.now_s = 0.0
        self.arrived = 0
        self.completed = 0
        self._curve = prefill_curve(prefill)
        self._max_batched_tokens = prefill.max_batched_tokens
        self._decode = decode
        self._clocks = BatchClocks(decode_surface(decode))
        self._central = routing is Routing.CENTRAL
        self._choose = chooser(routing, rng if rng is not None else np.random.default_rng(0))
        self._prefill: dict[str, PrefillReplica] = {}
        self._decoders: dict[str, DecodeReplica] = {}
        self._front_door: deque[Request] = deque()
        self._before_decode: deque[Prefilled] = deque()
        self._started = 0
        self._sequence = 0
        self._events: list[tuple[float, int, int, int, object]] = []
        self._milestones: list[Milestone] = []

    # --- what the caller does ---------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Let a request arrive, now or later.

        Raises
        ------
        ValueError
            If it would have arrived in the past, or its lengths make no sense.
        """
        if request.arrival_s < self.now_s:
            raise ValueError(f"request {request.request_id} arrives at {request.arrival_s}, before {self.now_s}")
        if request.input_tokens < 1 or request.output_tokens < 1:
            raise ValueError(f"request {request.request_id} needs at least 1 input and 1 output token")
        if not 0 <= request.prefix_hit_tokens <= request.input_tokens:
            raise ValueError(f"request {request.request_id} has more prefix hits than input tokens")
        self._push(request.arrival_s, _ARRIVAL, 0, request)

    def advance(self, to_s: float) -> list[Milestone]:
        """Let time pass up to and including ``to_s``; return what happened since the last call, in order."""
        self._run(to_s)
        happened, self._milestones = self._milestones, []
        return happened

    def set_replicas(self, pool: Pool, names: Iterable[str], now_s: float) -> None:
        """Say which replicas are ready from ``now_s`` on.

        Queued requests of a replica that is no longer named move to the others, in order of arrival; its running ones
        finish there, and it disappears after the last. A name that comes back before that serves again.

        Parameters
        ----------
        pool
            The pool.
        names
            All ready replicas of the pool. New ones are ranked after the old ones, in this order.
        now_s
            The instant, not before the emulation's clock.
        """
        wanted = list(dict.fromkeys(names))
        self._run(now_s)
        if pool is Pool.PREFILL:
            self._set_prefill(wanted)
        else:
            self._set_decode(wanted)

    # --- what the caller sees ---------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Requests that have arrived and not finished."""
        return self.arrived - self.completed

    @property
    def next_event_s(self) -> float:
        """When something happens next if nothing is submitted or scaled; infinite where nothing will."""
        return self._events[0][0] if self._events else inf

    @property
    def held(self) -> PerPool[int]:
        """Requests that wait for a pool at none of its replicas: none is ready, or one queue serves all."""
        return PerPool(len(self._front_door), len(self._before_decode))

    def replicas(self, pool: Pool) -> tuple[ReplicaState, ...]:
        """State of every replica of a pool, draining ones included, oldest first."""
        if pool is Pool.PREFILL:
            return tuple(
                ReplicaState(
                    name=replica.name,
                    ready=replica.ready,
                    waiting=len(replica.queue),
                    running=len(replica.running),
                    kv_tokens=float(sum(queued.request.input_tokens for queued in replica.running)),
                )
                for replica in self._prefill.values()
            )
        return tuple(
            ReplicaState(
                name=decoder.name,
                ready=decoder.ready,
                waiting=len(decoder.waiting),
                running=decoder.batch,
                kv_tokens=decoder.resident_tokens(self.now_s),
                decoded_tokens=decoder.decoded_tokens(self.now_s),
            )
            for decoder in self._decoders.values()
        )

    # --- events -----------------------------------------------------------------------------------------------------

    def _push(self, at_s: float, kind: int, order: int, payload: object) -> None:
        heapq.heappush(self._events, (at_s, kind, order, self._sequence, payload))
        self._sequence += 1

    def _run(self, to_s: float) -> None:
        if to_s < self.now_s:
            raise ValueError(f"time cannot go back from {self.now_s} to {to_s}")
        events = self._events
        while events and events[0][0] <= to_s:
            at_s, kind, _, _, payload = heapq.heappop(events)
            self.now_s = at_s
            if kind == _ARRIVAL:
                assert isinstance(payload, Request)
                self.arrived += 1
                self._enter(payload)
            elif kind == _PASS_END:
                assert isinstance(payload, PrefillReplica)
                self._end_pass(payload)
            elif kind == _DECODE_ARRIVAL:
                assert isinstance(payload, Prefilled)
                self._first_token(payload)
            else:
                assert isinstance(payload, tuple)
                replica, version = payload
                if replica.version == version:
                    self._depart(replica)
        self.now_s = to_s

    # --- prefill ----------------------------------------------------------------------------------------------------

    def _ready_prefill(self) -> list[PrefillReplica]:
        return [replica for replica in self._prefill.values() if replica.ready]

    def _enter(self, request: Request) -> None:
        """Route a request, or hold it at the front door."""
        ready = self._ready_prefill()
        if self._central or not ready:
            self._front_door.append(request)
            if self._central:
                self._serve_central(ready)
            return
        replica = ready[self._choose([float(replica.unfinished_tokens) for replica in ready])]
        replica.join(request, self.now_s)
        self._start_pass(replica)

    def _serve_central(self, ready: list[PrefillReplica]) -> None:
        for replica in ready:
            if not self._front_door:
                return
            self._start_pass(replica)

    def _start_pass(self, replica: PrefillReplica) -> None:
        if replica.running:
            return
        if self._central and replica.ready:
            # One queue for all: take from it what one pass can hold.
            while self._front_door and (
                not replica.queue
                or replica.queued_tokens + self._front_door[0].uncached_tokens <= replica.max_batched_tokens
            ):
                replica.join(self._front_door.popleft(), self.now_s)
        if replica.queue:
            tokens = replica.start_pass(self.now_s)
            self._push(self.now_s + self._curve.time_s(tokens), _PASS_END, replica.order, replica)

    def _end_pass(self, replica: PrefillReplica) -> None:
        started_s = replica.started_s
        for queued in replica.end_pass():
            first_token_s = self.now_s + self._curve.overhead_s(queued.request.input_tokens)
            prefilled = Prefilled(queued.request, replica.name, queued.joined_s, started_s, self.now_s, first_token_s)
            self._milestones.append(prefilled)
            self._push(first_token_s, _DECODE_ARRIVAL, 0, prefilled)
        self._start_pass(replica)
        if not replica.ready and replica.empty:
            del self._prefill[replica.name]

    def _set_prefill(self, wanted: list[str]) -> None:
        moved: list[Request] = []
        for replica in list(self._prefill.values()):
            if replica.name not in wanted:
                replica.ready = False
                moved += replica.leave()
                if replica.empty:
                    del self._prefill[replica.name]
        for name in wanted:
            known = self._prefill.get(name)
            if known is not None:
                known.ready = True
                continue
            self._prefill[name] = PrefillReplica(name, self._started, self._max_batched_tokens)
            self._started += 1
        moved.sort(key=lambda request: (request.arrival_s, request.request_id))
        if self._central:
            self._front_door.extendleft(reversed(moved))
            self._serve_central(self._ready_prefill())
        elif wanted:
            entering = [*moved, *self._front_door]
            self._front_door.clear()
            for request in entering:
                self._enter(request)
        else:
            self._front_door.extend(moved)

    # --- decode -----------------------------------------------------------------------------------------------------

    def _first_token(self, prefilled: Prefilled) -> None:
        if prefilled.request.output_tokens == 1:
            self._complete(Completion(prefilled, None, None, None, self.now_s))
        else:
            self._enter_decode(prefilled)

    def _enter_decode(self, prefilled: Prefilled) -> None:
        ready = [decoder for decoder in self._decoders.values() if decoder.ready]
        if not ready:
            self._before_decode.append(prefilled)
            return
        decoder = ready[least([decoder.load_tokens(self.now_s) for decoder in ready])]
        decoder.join(prefilled, self.now_s)
        self._admit(decoder)

    def _admit(self, decoder: DecodeReplica) -> None:
        before = decoder.version
        for decoding in decoder.admit(self.now_s):
            self._milestones.append(
                Admitted(decoding.prefilled.request, decoder.name, decoding.joined_s, decoding.started_s)
            )
        if decoder.version != before:
            self._foresee(decoder)

    def _foresee(self, decoder: DecodeReplica) -> None:
        """Put the next departure on the calendar; those foreseen for another batch are void by their version."""
        if decoder.batch:
            self._push(decoder.next_departure_s(), _DEPARTURE, decoder.order, (decoder, decoder.version))

    def _depart(self, decoder: DecodeReplica) -> None:
        for decoding in decoder.depart(self.now_s):
            self._complete(self._record(decoder, decoding))
        before = decoder.version
        self._admit(decoder)
        if decoder.version == before:
            self._foresee(decoder)
        if not decoder.ready and decoder.empty:
            del self._decoders[decoder.name]

    def _record(self, decoder: DecodeReplica, decoding: Decoding) -> Completion:
        return Completion(decoding.prefilled, decoder.name, decoding.joined_s, decoding.started_s, self.now_s)

    def _complete(self, completion: Completion) -> None:
        self.completed += 1
        self._milestones.append(completion)

    def _set_decode(self, wanted: list[str]) -> None:
        moved: list[Prefilled] = []
        for decoder in list(self._decoders.values()):
            if decoder.name not in wanted:
                decoder.ready = False
                moved += decoder.leave()
                if decoder.empty:
                    del self._decoders[decoder.name]
        for name in wanted:
            known = self._decoders.get(name)
            if known is not None:
                known.ready = True
                continue
            profile = self._decode
            self._decoders[name] = DecodeReplica(
                name, self._started, profile.max_batch, profile.kv_capacity_tokens, self._clocks
            )
            self._started += 1
        moved.sort(key=lambda prefilled: (prefilled.first_token_s, prefilled.request.request_id))
        entering = [*moved, *self._before_decode]
        self._before_decode.clear()
        for prefilled in entering:
            self._enter_decode(prefilled)
