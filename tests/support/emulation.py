"""Small deployments whose numbers can be computed by hand, for the tests of the event simulation."""

from collections.abc import Iterable

from pdscaler.core.emulation import Completion, Emulation, Request, Routing
from pdscaler.core.pools import Pool
from pdscaler.core.profile import DecodePoint, DecodeProfile, MaxThroughput, Overhead, PrefillProfile

NO_OVERHEAD = Overhead()
INSTANT = PrefillProfile(max_throughput=MaxThroughput(1.0, 1e300))
"""Prefill that takes next to no time: what arrives is at decode at once."""


def prefill(budget: int = 1000, overhead: Overhead = NO_OVERHEAD) -> PrefillProfile:
    """One token takes one millisecond."""
    return PrefillProfile(max_throughput=MaxThroughput(1000, 1000), max_batched_tokens=budget, overhead=overhead)


def level(step_s: float = 0.01, max_batch: int = 256, kv_capacity_tokens: float | None = None) -> DecodeProfile:
    """A step takes the same time whatever runs."""
    points = (DecodePoint(1000, 1, step_s), DecodePoint(1000, 2, step_s))
    return DecodeProfile(points, max_batch, kv_capacity_tokens)


def shared(step_s: float = 0.01, max_batch: int = 256) -> DecodeProfile:
    """A step takes ``step_s`` times the batch: the replica is a shared processor."""
    points = (DecodePoint(1000, 1, step_s), DecodePoint(1000, 2, 2 * step_s))
    return DecodeProfile(points, max_batch, None)


def deployment(
    prefill_profile: PrefillProfile,
    decode_profile: DecodeProfile,
    replicas: tuple[int, int] = (1, 1),
    routing: Routing = Routing.JOIN_SHORTEST_QUEUE,
) -> Emulation:
    """A deployment whose replicas are ready from the start: p0, p1, … and d0, d1, …."""
    emulation = Emulation(prefill_profile, decode_profile, routing)
    emulation.set_replicas(Pool.PREFILL, [f"p{i}" for i in range(replicas[0])], 0.0)
    emulation.set_replicas(Pool.DECODE, [f"d{i}" for i in range(replicas[1])], 0.0)
    return emulation


def submit(emulation: Emulation, *requests: tuple[float, int, int]) -> None:
    """Submit (arrival, input tokens, output tokens), numbered from 0."""
    for request_id, (arrival_s, input_tokens, output_tokens) in enumerate(requests):
        emulation.submit(Request(request_id, arrival_s, input_tokens, output_tokens))


def completions(events: Iterable[object]) -> dict[int, Completion]:
    """Return the finished requests by number, and check that each finished once."""
    finished = [event for event in events if isinstance(event, Completion)]
    by_id = {completion.request.request_id: completion for completion in finished}
    assert len(by_id) == len(finished)
    return by_id
