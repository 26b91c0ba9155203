"""The exact integration of decode progress against a plain one in small time steps, under memory pressure."""

import numpy as np
import pytest

from pdscaler.core.curves import DecodeSurface, decode_surface
from pdscaler.core.emulation import Request
from pdscaler.core.pools import Pool
from pdscaler.core.profile import DecodePoint, DecodeProfile
from support.emulation import INSTANT, completions, deployment

PROFILE = DecodeProfile(
    points=tuple(
        DecodePoint(context, batch, 0.004 + 0.0004 * batch + 3e-8 * batch * context)
        for context in (200, 500, 1500)
        for batch in (1, 4, 16)
    ),
    max_batch=6,
    kv_capacity_tokens=3000,
)


def in_small_steps(requests: list[Request], surface: DecodeSurface, dt_s: float) -> dict[int, float]:
    """When each request finishes, by Euler's method: the rules of DESIGN section 6 written down once more."""
    waiting = list(requests)
    queue: list[Request] = []
    running: dict[int, tuple[Request, float]] = {}
    finished: dict[int, float] = {}
    now_s = 0.0
    while len(finished) < len(requests):
        while waiting and waiting[0].arrival_s <= now_s:
            queue.append(waiting.pop(0))
        resident = sum(request.input_tokens + tokens for request, tokens in running.values())
        while queue and len(running) < PROFILE.max_batch:
            head = queue[0]
            if running and resident + head.input_tokens + head.output_tokens > 3000:
                break
            running[head.request_id] = (queue.pop(0), 0.0)
            resident += head.input_tokens
        now_s += dt_s
        if not running:
            continue
        step_s = surface.step_time_s(len(running), resident)
        for request_id, (request, tokens) in list(running.items()):
            if tokens + dt_s / step_s >= request.output_tokens - 1:
                finished[request_id] = now_s
                del running[request_id]
            else:
                running[request_id] = (request, tokens + dt_s / step_s)
    return finished


def test_exact_integration_agrees_with_small_steps() -> None:
    rng = np.random.default_rng(11)
    arrivals = np.cumsum(rng.exponential(0.12, 60))
    requests = [
        Request(number, float(at_s), int(rng.integers(50, 900)), int(rng.integers(2, 120)))
        for number, at_s in enumerate(arrivals)
    ]
    emulation = deployment(INSTANT, PROFILE)
    for request in requests:
        emulation.submit(request)
    exact = {number: done.at_s for number, done in completions(emulation.advance(1e6)).items()}
    dt_s = 1e-4
    rough = in_small_steps(requests, decode_surface(PROFILE), dt_s)
    assert exact.keys() == rough.keys()
    worst = max(abs(exact[number] - rough[number]) for number in exact)
    # Each departure is late by up to one step in the small-step run, and those behind it inherit that.
    assert worst < 60 * dt_s


@pytest.mark.parametrize("memory", [2000.0, 5000.0])
def test_memory_bounds_what_is_admitted(memory: float) -> None:
    rng = np.random.default_rng(12)
    profile = DecodeProfile(PROFILE.points, max_batch=64, kv_capacity_tokens=memory)
    emulation = deployment(INSTANT, profile)
    longest = 900 + 120
    for number, at_s in enumerate(np.cumsum(rng.exponential(0.01, 400))):
        emulation.submit(Request(number, float(at_s), int(rng.integers(50, 900)), int(rng.integers(2, 120))))
    seen = []
    while emulation.next_event_s < float("inf"):
        emulation.advance(emulation.next_event_s)
        state = emulation.replicas(Pool.DECODE)[0]
        seen.append(state.kv_tokens)
        # What runs may grow past the capacity, but by no more than what it has still to say.
        assert state.kv_tokens <= memory + 120 * state.running
    assert max(seen) > memory - longest
