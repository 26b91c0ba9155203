"""One decode replica: admission in order, and fluid progress integrated exactly. May import only core.

Every running request advances ``1 / step_time(batch, resident)`` tokens per second, and each token adds one resident
token. So over ``u`` tokens of progress at a constant batch ``B`` the context (resident / batch) grows by ``u``, and the
time that takes is the integral of ``step_time`` over the context. The measured surface is linear in context between the
measured contexts and level outside them: the integral is exact by trapezoids, its inverse is a quadratic. There is no
time step and no approximation; the error is that of floating point.
"""

import heapq
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from math import inf, sqrt

from pdscaler.core.curves import DecodeSurface
from pdscaler.core.emulation.records import Prefilled


class BatchClock:
    """Time and progress at one batch size: the step time along the context, and its integral.

    Parameters
    ----------
    contexts
        Measured contexts, tokens, ascending.
    step_s
        Step time at each of them for this batch, seconds, > 0.
    """

    __slots__ = ("_contexts", "_elapsed", "_step")

    def __init__(self, contexts: tuple[float, ...], step_s: tuple[float, ...]) -> None:
        self._contexts = contexts
        self._step = step_s
        elapsed = [0.0]
        for i in range(1, len(contexts)):
            elapsed.append(elapsed[-1] + (contexts[i] - contexts[i - 1]) * (step_s[i] + step_s[i - 1]) / 2)
        self._elapsed = tuple(elapsed)

    def _integral(self, context: float) -> float:
        knots, step = self._contexts, self._step
        i = bisect_right(knots, context)
        if i == 0:
            return (context - knots[0]) * step[0]
        if i == len(knots):
            return self._elapsed[-1] + (context - knots[-1]) * step[-1]
        u = context - knots[i - 1]
        slope = (step[i] - step[i - 1]) / (knots[i] - knots[i - 1])
        return self._elapsed[i - 1] + u * (step[i - 1] + slope * u / 2)

    def time_s(self, context: float, tokens: float) -> float:
        """Return the time in which every running request advances by ``tokens``, starting at ``context``."""
        return self._integral(context + tokens) - self._integral(context)

    def tokens(self, context: float, time_s: float) -> float:
        """Return by how many tokens every running request advances in ``time_s``, starting at ``context``."""
        knots, step, elapsed = self._contexts, self._step, self._elapsed
        target = self._integral(context) + time_s
        i = bisect_right(elapsed, target)
        if i == 0:
            return knots[0] + target / step[0] - context
        if i == len(knots):
            return knots[-1] + (target - elapsed[-1]) / step[-1] - context
        rest = target - elapsed[i - 1]
        slope = (step[i] - step[i - 1]) / (knots[i] - knots[i - 1])
        # The stable root of step·u + slope·u²/2 = rest: no cancellation where the slope is small.
        return knots[i - 1] + 2 * rest / (step[i - 1] + sqrt(step[i - 1] ** 2 + 2 * slope * rest)) - context


class BatchClocks:
    """The clocks of one decode profile, one for each batch size, built when first needed.

    Parameters
    ----------
    surface
        Step times, linear in context between the measured contexts.
    """

    def __init__(self, surface: DecodeSurface) -> None:
        self._surface = surface
        self._clocks: dict[int, BatchClock] = {}

    def __getitem__(self, batch: int) -> BatchClock:
        clock = self._clocks.get(batch)
        if clock is None:
            contexts = self._surface.contexts
            steps = tuple(self._surface.at_context(batch, context) for context in contexts)
            clock = self._clocks[batch] = BatchClock(contexts, steps)
        return clock


@dataclass(slots=True)
class Decoding:
    """A request at a decode replica: since when it is there, since when it runs, when it started counting."""

    prefilled: Prefilled
    joined_s: float
    started_s: float = 0.0
    ends_at_tokens: float = 0.0
    """Value of the replica's progress at which the request has all its tokens."""


class DecodeReplica:
    """State of one decode replica. Between two events of its own it holds still: progress is computed when asked.

    Parameters
    ----------
    name
        Name of the replica (its pod).
    order
        Rank among all replicas ever started: decides ties.
    max_batch
        Batch slots.
    kv_capacity_tokens
        KV memory, tokens; None where it does not bind.
    clocks
        Step times of the profile.
    """

    __slots__ = (
        "_at_s", "_clocks", "_kv_capacity_tokens", "_max_batch", "_progress", "_resident", "_running", "_sequence",
        "name", "order", "ready", "version", "waiting", "waiting_tokens",
    )  # fmt: skip

    def __init__(
        self, name: str, order: int, max_batch: int, kv_capacity_tokens: float | None, clocks: BatchClocks
    ) -> None:
        self.name = name
        self.order = order
        self.ready = True
        self.version = 0  # counts changes of the batch: a departure foreseen for another batch is void
        self.waiting: deque[Decoding] = deque()
        self.waiting_tokens = 0
        self._max_batch = max_batch
        self._kv_capacity_tokens = inf if kv_capacity_tokens is None else kv_capacity_tokens
        self._clocks = clocks
        self._running: list[tuple[float, int, Decoding]] = []  # heap by the progress at which each ends
        self._sequence = 0
        self._at_s = 0.0  # state below is of this instant
        self._progress = 0.0  # tokens that a request running since the replica was last idle would have decoded
        self._resident = 0.0

    @property
    def batch(self) -> int:
        """Running requests."""
        return len(self._running)

    @property
    def empty(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self.waiting and not self._running

    def _advanced(self, now_s: float) -> float:
        """Tokens that every running request has advanced since the last event."""
        if not self._running or now_s <= self._at_s:
            return 0.0
        batch = len(self._running)
        tokens = self._clocks[batch].tokens(self._resident / batch, now_s - self._at_s)
        # Rounding must not carry the state past the next departure, which has an event of its own.
        return min(max(tokens, 0.0), self._running[0][0] - self._progress)

    def resident_tokens(self, now_s: float) -> float:
        """KV tokens of the running requests: their prompts and what they have decoded."""
        return self._resident + len(self._running) * self._advanced(now_s)

    def load_tokens(self, now_s: float) -> float:
        """Resident KV tokens with the prompts that wait: what the router compares."""
        return self.resident_tokens(now_s) + self.waiting_tokens

    def decoded_tokens(self, now_s: float) -> float:
        """Tokens that the running requests have decoded here so far (their first tokens came from prefill)."""
        progress = self._progress + self._advanced(now_s)
        return sum(
            progress - ends_at + decoding.prefilled.request.output_tokens - 1 for ends_at, _, decoding in self._running
        )

    def join(self, prefilled: Prefilled, now_s: float) -> None:
        """Put a request at the end of the queue; :meth:`admit` lets it in."""
        self.waiting.append(Decoding(prefilled, now_s))
        self.waiting_tokens += prefilled.request.input_tokens

    def leave(self) -> list[Prefilled]:
        """Empty the queue of a replica that goes away; those who run stay."""
        moved = [decoding.prefilled for decoding in self.waiting]
        self.waiting.clear()
        self.waiting_tokens = 0
        return moved

    def _move_to(self, now_s: float) -> None:
        tokens = self._advanced(now_s)
        self._progress += tokens
        self._resident += len(self._running) * tokens
        self._at_s = now_s

    def admit(self, now_s: float) -> list[Decoding]:
        """Let in, in order, those for whom there is a slot and memory; return them.

        A request needs resident + its prompt + its output within the capacity; an empty replica takes any request.
        """
        admitted: list[Decoding] = []
        while self.waiting and len(self._running) < self._max_batch:
            if not admitted:
                self._move_to(now_s)
            head = self.waiting[0]
            request = head.prefilled.request
            needed = self._resident + request.input_tokens + request.output_tokens
            if self._running and needed > self._kv_capacity_tokens:
                break
            self.waiting.popleft()
            self.waiting_tokens -= request.input_tokens
            head.started_s = now_s
            head.ends_at_tokens = self._progress + (request.output_tokens - 1)
            heapq.heappush(self._running, (head.ends_at_tokens, self._sequence, head))
            self._sequence += 1
            self._resident += request.input_tokens
            admitted.append(head)
        if admitted:
            self.version += 1
        return admitted

    def next_departure_s(self) -> float:
        """Return when the next request finishes if nothing else changes; infinite where none runs."""
        if not self._running:
            return inf
        batch = len(self._running)
        tokens = self._running[0][0] - self._progress
        return self._at_s + self._clocks[batch].time_s(self._resident / batch, tokens)

    def depart(self, now_s: float) -> list[Decoding]:
        """Take out those who finish at ``now_s``, the instant that :meth:`next_departure_s` foresaw."""
        progress = self._running[0][0]
        self._resident += len(self._running) * (progress - self._progress)
        self._progress = progress
        self._at_s = now_s
        done: list[Decoding] = []
        while self._running and self._running[0][0] <= progress:
            decoding = heapq.heappop(self._running)[2]
            request = decoding.prefilled.request
            self._resident -= request.input_tokens + request.output_tokens - 1
            done.append(decoding)
        if not self._running:
            self._progress = self._resident = 0.0  # rounding does not outlive an idle instant
        self.version += 1
        return done
