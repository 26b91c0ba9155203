"""The decode pool event by event, compiled. May import only numpy, numba and this package.

Events of one instant happen in the order of :mod:`pdscaler.core.emulation.deployment`: departures, the older replica
first; arrivals; changes of the replicas. The arithmetic is that of :mod:`pdscaler.core.emulation.decode`, step by step,
so that both agree to the last bits.

Between two events of its own a replica holds still. Its resident tokens only grow meanwhile, so what they were at its
last event is a lower bound: the router computes the progress of those replicas only whose bound does not rule them out.

Everything that is compiled for this pool stands in this one file: numba recompiles a cached function only when its own
file changes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.simulation.compiled import compiled

# Places in DecodeState.counts
ARRIVED, CHANGED, STARTED, READY, ADMITTED, FINISHED = range(6)


class DecodeState(NamedTuple):
    """State of the pool, by replica.

    Parameters
    ----------
    counts
        Requests arrived, changes made, replicas started, replicas ready, requests admitted, requests finished.
    ready, is_ready
        The ready replicas, oldest first; whether a replica is ready.
    head, tail, waiting_tokens
        First and last request of each queue (-1 where it is empty), and the prompts that wait in it, tokens.
    batch
        Running requests.
    at_s
        The instant that the following are of.
    progress
        Tokens that a request running since the replica was last idle would have decoded.
    resident
        KV tokens of the running requests.
    context, elapsed_s
        Resident tokens by running request, and the batch's clock there (see ``DecodeTable.elapsed_s``).
    next_s, next_tree
        The next departure, infinite where none runs; and the tournament over it.
    least_load
        Resident tokens at ``at_s`` and the prompts that wait: a lower bound of the load.
    left_s, gone_s
        When the replica was told to leave, and when its last request finished.
    """

    counts: NDArray[np.int64]
    ready: NDArray[np.int64]
    is_ready: NDArray[np.bool_]
    head: NDArray[np.int64]
    tail: NDArray[np.int64]
    waiting_tokens: NDArray[np.float64]
    batch: NDArray[np.int64]
    at_s: NDArray[np.float64]
    progress: NDArray[np.float64]
    resident: NDArray[np.float64]
    context: NDArray[np.float64]
    elapsed_s: NDArray[np.float64]
    next_s: NDArray[np.float64]
    next_tree: NDArray[np.int64]
    least_load: NDArray[np.float64]
    left_s: NDArray[np.float64]
    gone_s: NDArray[np.float64]


class DecodeRequests(NamedTuple):
    """The requests of a run in order of their first tokens; ``following`` links the queues, the rest the run writes.

    ``admission`` counts admissions: among requests that end at the same progress, the one admitted first goes first.
    """

    first_token_s: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    following: NDArray[np.int64]
    admission: NDArray[np.int64]
    started_s: NDArray[np.float64]
    finished_s: NDArray[np.float64]


class Heaps(NamedTuple):
    """The running requests of every replica: binary heaps by the progress at which each ends, a row for each."""

    ends_at: NDArray[np.float64]
    request: NDArray[np.int64]


def decode_state(most: int, initial: int) -> DecodeState:
    """Return an idle pool with ``initial`` ready replicas, with room for ``most`` in all."""
    width = 1 << max(1, (most - 1).bit_length())
    is_ready = np.zeros(most, np.bool_)
    is_ready[:initial] = True
    ready = np.zeros(most, np.int64)
    ready[:initial] = np.arange(initial)
    tree = np.arange(-width, width, dtype=np.int64)
    for node in range(width - 1, 0, -1):
        tree[node] = tree[2 * node]
    return DecodeState(
        counts=np.array([0, 0, initial, initial, 0, 0], np.int64),
        ready=ready,
        is_ready=is_ready,
        head=np.full(most, -1, np.int64),
        tail=np.full(most, -1, np.int64),
        waiting_tokens=np.zeros(most),
        batch=np.zeros(most, np.int64),
        at_s=np.zeros(most),
        progress=np.zeros(most),
        resident=np.zeros(most),
        context=np.zeros(most),
        elapsed_s=np.zeros(most),
        next_s=np.full(width, np.inf),
        next_tree=tree,
        least_load=np.zeros(most),
        left_s=np.full(most, np.inf),
        gone_s=np.full(most, np.inf),
    )


def heaps(most: int, room: int) -> Heaps:
    """Return empty heaps with room for ``room`` requests each."""
    return Heaps(np.empty((most, room)), np.empty((most, room), np.int64))


@compiled
def _set_next(state: DecodeState, replica: int, at_s: float) -> None:
    """Change a replica's next departure and play its matches again, up to the root."""
    keys, tree = state.next_s, state.next_tree
    keys[replica] = at_s
    node = (replica + len(keys)) >> 1
    while node > 0:
        left, right = tree[2 * node], tree[2 * node + 1]
        tree[node] = left if keys[left] <= keys[right] else right
        node >>= 1


@compiled
def _elapsed_s(
    contexts: NDArray[np.float64], step: NDArray[np.float64], elapsed: NDArray[np.float64], at: float
) -> float:
    """Return the integral of the step time up to a context."""
    count = len(contexts)
    i = 0
    while i < count and contexts[i] <= at:
        i += 1
    if i == 0:
        return (at - contexts[0]) * step[0]
    if i == count:
        return elapsed[count - 1] + (at - contexts[count - 1]) * step[count - 1]
    u = at - contexts[i - 1]
    slope = (step[i] - step[i - 1]) / (contexts[i] - contexts[i - 1])
    return elapsed[i - 1] + u * (step[i - 1] + slope * u / 2)


@compiled
def _context_at(
    contexts: NDArray[np.float64], step: NDArray[np.float64], elapsed: NDArray[np.float64], target: float
) -> float:
    """Return the context at which the integral of the step time reaches a target: the inverse of the above."""
    count = len(contexts)
    i = 0
    while i < count and elapsed[i] <= target:
        i += 1
    if i == 0:
        return contexts[0] + target / step[0]
    if i == count:
        return contexts[count - 1] + (target - elapsed[count - 1]) / step[count - 1]
    rest = target - elapsed[i - 1]
    slope = (step[i] - step[i - 1]) / (contexts[i] - contexts[i - 1])
    # The stable root of step·u + slope·u²/2 = rest: no cancellation where the slope is small.
    return contexts[i - 1] + 2 * rest / (step[i - 1] + np.sqrt(step[i - 1] ** 2 + 2 * slope * rest))


@compiled
def _advanced(replica: int, now_s: float, state: DecodeState, running: Heaps, table: tuple) -> float:
    """Return the tokens that every running request has advanced since the replica's last event."""
    batch = state.batch[replica]
    if batch == 0 or now_s <= state.at_s[replica]:
        return 0.0
    contexts, steps, elapsed, _, _ = table
    target = state.elapsed_s[replica] + (now_s - state.at_s[replica])
    tokens = _context_at(contexts, steps[batch], elapsed[batch], target) - state.context[replica]
    # Rounding must not carry the state past the next departure, which has an event of its own.
    return min(max(tokens, 0.0), running.ends_at[replica, 0] - state.progress[replica])


@compiled
def _load(replica: int, now_s: float, state: DecodeState, running: Heaps, table: tuple) -> float:
    """Return the resident KV tokens with the prompts that wait."""
    tokens = state.batch[replica] * _advanced(replica, now_s, state, running, table)
    return state.resident[replica] + tokens + state.waiting_tokens[replica]


@compiled
def _least_loaded(now_s: float, state: DecodeState, running: Heaps, table: tuple) -> int:
    """Return the ready replica with the fewest resident tokens, the older one among equals."""
    count = state.counts[READY]
    best = state.ready[0]
    if count == 1:
        return best
    for place in range(1, count):
        replica = state.ready[place]
        if state.least_load[replica] < state.least_load[best]:
            best = replica
    seed = best
    least = _load(best, now_s, state, running, table)
    for place in range(count):
        replica = state.ready[place]
        if state.least_load[replica] <= least and replica != seed:
            load = _load(replica, now_s, state, running, table)
            if load < least or (load == least and replica < best):
                best, least = replica, load
    return best


@compiled
def _before(running: Heaps, requests: DecodeRequests, replica: int, a: int, b: int) -> bool:
    ends_at = running.ends_at
    if ends_at[replica, a] != ends_at[replica, b]:
        return ends_at[replica, a] < ends_at[replica, b]
    return requests.admission[running.request[replica, a]] < requests.admission[running.request[replica, b]]


@compiled
def _swap(running: Heaps, replica: int, a: int, b: int) -> None:
    ends_at, request = running
    ends_at[replica, a], ends_at[replica, b] = ends_at[replica, b], ends_at[replica, a]
    request[replica, a], request[replica, b] = request[replica, b], request[replica, a]


@compiled
def _push(running: Heaps, requests: DecodeRequests, replica: int, size: int, ends_at: float, request: int) -> None:
    running.ends_at[replica, size] = ends_at
    running.request[replica, size] = request
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if not _before(running, requests, replica, place, parent):
            break
        _swap(running, replica, place, parent)
        place = parent


@compiled
def _pop(running: Heaps, requests: DecodeRequests, replica: int, size: int) -> None:
    """Take out the first of ``size`` requests."""
    last = size - 1
    running.ends_at[replica, 0] = running.ends_at[replica, last]
    running.request[replica, 0] = running.request[replica, last]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= last:
            break
        if child + 1 < last and _before(running, requests, replica, child + 1, child):
            child += 1
        if not _before(running, requests, replica, child, place):
            break
        _swap(running, replica, child, place)
        place = child


@compiled
def _settle(replica: int, state: DecodeState, running: Heaps, table: tuple, foresee: bool) -> None:
    """Set what follows from batch and resident tokens; foresee the next departure where the batch changed."""
    batch = state.batch[replica]
    resident = state.resident[replica]
    state.least_load[replica] = resident + state.waiting_tokens[replica]
    if batch == 0:
        _set_next(state, replica, np.inf)
        return
    contexts, steps, elapsed, _, _ = table
    context = resident / batch
    state.context[replica] = context
    now = _elapsed_s(contexts, steps[batch], elapsed[batch], context)
    state.elapsed_s[replica] = now
    if foresee:
        tokens = running.ends_at[replica, 0] - state.progress[replica]
        then = _elapsed_s(contexts, steps[batch], elapsed[batch], context + tokens)
        _set_next(state, replica, state.at_s[replica] + (then - now))


@compiled
def _admit(
    replica: int, now_s: float, state: DecodeState, requests: DecodeRequests, running: Heaps, table: tuple, left: bool
) -> Heaps:
    """Let in, in order, those for whom there is a slot and memory. ``left``: the batch has just changed at ``now_s``."""
    max_batch, capacity = table[3], table[4]
    moved = left
    admitted = False
    while state.head[replica] >= 0 and state.batch[replica] < max_batch:
        batch = state.batch[replica]
        if not moved:
            tokens = _advanced(replica, now_s, state, running, table)
            state.progress[replica] += tokens
            state.resident[replica] += batch * tokens
            moved = True
        state.at_s[replica] = now_s
        request = state.head[replica]
        prompt = requests.input_tokens[request]
        output = requests.output_tokens[request]
        if batch > 0 and state.resident[replica] + prompt + output > capacity:
            break
        state.head[replica] = requests.following[request]
        if state.head[replica] < 0:
            state.tail[replica] = -1
        state.waiting_tokens[replica] -= prompt
        requests.started_s[request] = now_s
        requests.admission[request] = state.counts[ADMITTED]
        state.counts[ADMITTED] += 1
        room = running.request.shape[1]
        if batch == room:  # more room for all
            wider = Heaps(np.empty((len(state.batch), 2 * room)), np.empty((len(state.batch), 2 * room), np.int64))
            wider.ends_at[:, :room] = running.ends_at
            wider.request[:, :room] = running.request
            running = wider
        _push(running, requests, replica, batch, state.progress[replica] + (output - 1), request)
        state.batch[replica] = batch + 1
        state.resident[replica] += prompt
        admitted = True
    if moved:
        _settle(replica, state, running, table, admitted or left)
    return running


@compiled
def _enter(
    request: int, now_s: float, state: DecodeState, requests: DecodeRequests, running: Heaps, table: tuple
) -> Heaps:
    """Route a request to a ready replica, and admit it if it can be."""
    replica = _least_loaded(now_s, state, running, table)
    requests.following[request] = -1
    if state.tail[replica] < 0:
        state.head[replica] = request
    else:
        requests.following[state.tail[replica]] = request
    state.tail[replica] = request
    state.waiting_tokens[replica] += requests.input_tokens[request]
    state.least_load[replica] = state.resident[replica] + state.waiting_tokens[replica]
    return _admit(replica, now_s, state, requests, running, table, False)


@compiled
def _depart(
    replica: int, now_s: float, state: DecodeState, requests: DecodeRequests, running: Heaps, table: tuple
) -> Heaps:
    """Let those go who have all their tokens, and admit those who wait."""
    batch = state.batch[replica]
    progress = running.ends_at[replica, 0]
    resident = state.resident[replica] + batch * (progress - state.progress[replica])
    while batch > 0 and running.ends_at[replica, 0] <= progress:
        request = running.request[replica, 0]
        _pop(running, requests, replica, batch)
        batch -= 1
        resident -= requests.input_tokens[request] + requests.output_tokens[request] - 1
        requests.finished_s[request] = now_s
        state.counts[FINISHED] += 1
    if batch == 0:
        progress = resident = 0.0  # rounding does not outlive an idle instant
    state.batch[replica] = batch
    state.progress[replica] = progress
    state.resident[replica] = resident
    state.at_s[replica] = now_s
    running = _admit(replica, now_s, state, requests, running, table, True)
    if not state.is_ready[replica] and state.batch[replica] == 0:
        state.gone_s[replica] = now_s
    return running


@compiled
def _change(
    ready: int, now_s: float, state: DecodeState, requests: DecodeRequests, running: Heaps, table: tuple
) -> Heaps:
    """Let replicas become ready, or let the least loaded leave and hand over their queues, in order of first tokens."""
    if ready > 0:
        for _ in range(ready):
            replica = state.counts[STARTED]
            state.counts[STARTED] += 1
            state.is_ready[replica] = True
            state.ready[state.counts[READY]] = replica
            state.counts[READY] += 1
        return running
    loads = np.full(len(state.batch), np.inf)
    for place in range(state.counts[READY]):
        loads[state.ready[place]] = _load(state.ready[place], now_s, state, running, table)
    moved = np.empty(len(requests.first_token_s), np.int64)
    size = 0
    for _ in range(-ready):
        count = state.counts[READY]
        place = count - 1  # the youngest of equals
        for other in range(count - 2, -1, -1):
            if loads[state.ready[other]] < loads[state.ready[place]]:
                place = other
        replica = state.ready[place]
        for other in range(place, count - 1):
            state.ready[other] = state.ready[other + 1]
        state.counts[READY] = count - 1
        state.is_ready[replica] = False
        state.left_s[replica] = now_s
        request = state.head[replica]
        while request >= 0:
            moved[size] = request
            size += 1
            request = requests.following[request]
        state.head[replica] = state.tail[replica] = -1
        state.waiting_tokens[replica] = 0.0
        if state.batch[replica] == 0:
            state.gone_s[replica] = now_s
    for request in np.sort(moved[:size]):
        running = _enter(request, now_s, state, requests, running, table)
    return running


@compiled
def advance_decode(
    until_s: float,
    state: DecodeState,
    requests: DecodeRequests,
    running: Heaps,
    table: tuple,
    change_s: NDArray[np.float64],
    change_ready: NDArray[np.int64],
) -> Heaps:
    """Let time pass up to and including ``until_s``; return the heaps, which may have got more room."""
    total = len(requests.first_token_s)
    arrived = state.counts[ARRIVED]
    changed = state.counts[CHANGED]
    while True:
        replica = state.next_tree[1]
        departure_s = state.next_s[replica]
        arrival_s = requests.first_token_s[arrived] if arrived < total else np.inf
        next_change_s = change_s[changed] if changed < len(change_s) else np.inf
        if departure_s <= arrival_s and departure_s <= next_change_s:
            if departure_s > until_s or departure_s == np.inf:
                break
            running = _depart(replica, departure_s, state, requests, running, table)
        elif arrival_s <= next_change_s:
            if arrival_s > until_s:
                break
            running = _enter(arrived, arrival_s, state, requests, running, table)
            arrived += 1
        else:
            if next_change_s > until_s:
                break
            running = _change(change_ready[changed], next_change_s, state, requests, running, table)
            changed += 1
    state.counts[ARRIVED] = arrived
    state.counts[CHANGED] = changed
    return running
