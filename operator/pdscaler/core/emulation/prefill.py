"""One prefill replica: whole prompts, first come first served, in passes. May import only core."""

from collections import deque
from dataclasses import dataclass

from pdscaler.core.emulation.records import Request


@dataclass(slots=True)
class Queued:
    """A request in a replica's queue, and since when."""

    request: Request
    joined_s: float


class PrefillReplica:
    """State of one prefill replica.

    Parameters
    ----------
    name
        Name of the replica (its pod).
    order
        Rank among all replicas ever started: decides ties.
    max_batched_tokens
        Token budget of one pass. A prompt longer than it goes alone.
    """

    __slots__ = (
        "max_batched_tokens", "name", "order", "queue", "queued_tokens", "ready", "running", "running_tokens",
        "started_s",
    )  # fmt: skip

    def __init__(self, name: str, order: int, max_batched_tokens: int) -> None:
        self.name = name
        self.order = order
        self.max_batched_tokens = max_batched_tokens
        self.ready = True
        self.queue: deque[Queued] = deque()
        self.queued_tokens = 0
        self.running: tuple[Queued, ...] = ()
        self.running_tokens = 0
        self.started_s = 0.0

    @property
    def unfinished_tokens(self) -> int:
        """Uncached tokens in the queue and in the running pass: what join-shortest-queue compares."""
        return self.queued_tokens + self.running_tokens

    @property
    def empty(self) -> bool:
        """Nothing is queued and nothing runs."""
        return not self.queue and not self.running

    def join(self, request: Request, now_s: float) -> None:
        """Put a request at the end of the queue."""
        self.queue.append(Queued(request, now_s))
        self.queued_tokens += request.uncached_tokens

    def leave(self) -> list[Request]:
        """Empty the queue of a replica that goes away; its running pass stays."""
        moved = [queued.request for queued in self.queue]
        self.queue.clear()
        self.queued_tokens = 0
        return moved

    def start_pass(self, now_s: float) -> int:
        """Take the next prompts from the queue and return their uncached tokens.

        Prompts are taken in order while their sum fits the budget; the first is always taken.
        """
        batch: list[Queued] = []
        tokens = 0
        while self.queue:
            uncached = self.queue[0].request.uncached_tokens
            if batch and tokens + uncached > self.max_batched_tokens:
                break
            batch.append(self.queue.popleft())
            tokens += uncached
        self.queued_tokens -= tokens
        self.running = tuple(batch)
        self.running_tokens = tokens
        self.started_s = now_s
        return tokens

    def end_pass(self) -> tuple[Queued, ...]:
        """Return the prompts of the pass that has ended."""
        done = self.running
        self.running = ()
        self.running_tokens = 0
        return done
