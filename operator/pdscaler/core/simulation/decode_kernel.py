"""The decode pool event by event, compiled. May import only numpy, numba and this package.

Events of one instant happen in the order of :mod:`pdscaler.core.emulation.deployment`: departures, the older replica
first; arrivals; changes of the replicas. The arithmetic is that of :mod:`pdscaler.core.emulation.decode`, step by step,
so that both agree to the last bit.

Between two events of its own a replica holds still. Its resident tokens only grow meanwhile, so what they were at its
last event is a lower bound: the router computes the progress of those replicas only whose bound does not rule them out.

State is kept in arrays of records, a row for each replica and each request: few arrays to hand on, and what belongs
together lies together. All that is compiled for this pool stands in this one file: numba recompiles a cached function
only when its own file changes.
"""
# ruff: noqa: C901, PLR0912, PLR0915, PLR0917  (an event loop is one loop; compiled functions take arrays one by one)

from typing import Any

import numpy as np

from pdscaler.core.simulation.compiled import compiled
from pdscaler.core.simulation.tournament import Integers, Reals, Rows

ARRIVED, CHANGED, STARTED, READY, ADMITTED, FINISHED = range(6)
"""Places in the counts."""

LAST_S = 1e300
"""Nothing happens later: what is infinite never happens."""

STEP, ELAPSED, SLOPE = range(3)
"""Places in a batch's clock: step time at each context, its integral, and its slope up to the next context."""


@compiled
def _set_next(replica: int, at_s: float, next_s: Reals, tree: Integers) -> None:
    """Change a replica's next departure and play its matches again, up to the root."""
    next_s[replica] = at_s
    node = (replica + len(next_s)) >> 1
    while node > 0:
        left, right = tree[2 * node], tree[2 * node + 1]
        tree[node] = left if next_s[left] <= next_s[right] else right
        node >>= 1


@compiled
def _elapsed_s(at: float, batch: int, contexts: Reals, clocks: Reals) -> Any:
    """Return the integral of a batch's step time up to a context."""
    count = len(contexts)
    i = 0
    while i < count and contexts[i] <= at:
        i += 1
    if i == 0:
        return (at - contexts[0]) * clocks[batch, STEP, 0]
    i -= 1
    u = at - contexts[i]
    if i == count - 1:
        return clocks[batch, ELAPSED, i] + u * clocks[batch, STEP, i]
    return clocks[batch, ELAPSED, i] + u * (clocks[batch, STEP, i] + clocks[batch, SLOPE, i] * u / 2)


@compiled
def _context_at(target_s: float, batch: int, contexts: Reals, clocks: Reals) -> Any:
    """Return the context at which the integral of the step time reaches a target: the inverse of the above."""
    count = len(contexts)
    i = 0
    while i < count and clocks[batch, ELAPSED, i] <= target_s:
        i += 1
    if i == 0:
        return contexts[0] + target_s / clocks[batch, STEP, 0]
    i -= 1
    rest = target_s - clocks[batch, ELAPSED, i]
    step = clocks[batch, STEP, i]
    if i == count - 1:
        return contexts[i] + rest / step
    # The stable root of step·u + slope·u²/2 = rest: no cancellation where the slope is small.
    return contexts[i] + 2 * rest / (step + np.sqrt(step * step + 2 * clocks[batch, SLOPE, i] * rest))


@compiled
def _advanced(row: Any, first_ends_at: float, now_s: float, contexts: Reals, clocks: Reals) -> Any:
    """Return the tokens that every running request of a replica has advanced since the replica's last event."""
    if row.batch == 0 or now_s <= row.at_s:
        return 0.0
    tokens = _context_at(row.elapsed_s + (now_s - row.at_s), row.batch, contexts, clocks) - row.context
    # Rounding must not carry the state past the next departure, which has an event of its own.
    return min(max(tokens, 0.0), first_ends_at - row.progress)


@compiled
def _load(
    replica: int,
    now_s: float,
    replicas: Rows,
    heaps: Rows,
    contexts: Reals,
    clocks: Reals,
) -> Any:
    """Return the resident KV tokens with the prompts that wait."""
    row = replicas[replica]
    tokens = row.batch * _advanced(row, heaps[replica, 0].ends_at, now_s, contexts, clocks)
    return row.resident + tokens + row.waiting_tokens


@compiled
def _least_loaded(
    now_s: float,
    count: int,
    ready: Integers,
    bounds: Reals,
    replicas: Rows,
    heaps: Rows,
    contexts: Reals,
    clocks: Reals,
) -> Any:
    """Return the ready replica with the fewest resident tokens, the older one among equals."""
    best = ready[0]
    if count == 1:
        return best
    for place in range(1, count):
        if bounds[ready[place]] < bounds[best]:
            best = ready[place]
    first = best
    least = _load(best, now_s, replicas, heaps, contexts, clocks)
    for place in range(count):
        replica = ready[place]
        if bounds[replica] <= least and replica != first:
            load = _load(replica, now_s, replicas, heaps, contexts, clocks)
            if load < least or (load == least and replica < best):
                best, least = replica, load
    return best


@compiled
def _push(heap: Rows, size: int, ends_at: float, request: int) -> None:
    """Put a request into a heap of ``size``; it is the last admitted, so of equals it stays behind."""
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if heap[parent].ends_at <= ends_at:
            break
        heap[place].ends_at = heap[parent].ends_at
        heap[place].request = heap[parent].request
        place = parent
    heap[place].ends_at = ends_at
    heap[place].request = request


@compiled
def _pop(heap: Rows, size: int, requests: Rows) -> None:
    """Take the first of ``size`` requests out of a heap."""
    last = size - 1
    ends_at = heap[last].ends_at
    request = heap[last].request
    admission = requests[request].admission
    place = 0
    while True:
        child = 2 * place + 1
        if child >= last:
            break
        key = heap[child].ends_at
        if child + 1 < last:
            other = heap[child + 1].ends_at
            if other < key or (
                other == key and requests[heap[child + 1].request].admission < requests[heap[child].request].admission
            ):
                child += 1
                key = other
        if ends_at < key or (ends_at == key and admission < requests[heap[child].request].admission):
            break
        heap[place].ends_at = key
        heap[place].request = heap[child].request
        place = child
    heap[place].ends_at = ends_at
    heap[place].request = request


@compiled
def _append(row: Any, request: int, requests: Rows) -> None:
    """Put a request at the end of a replica's queue."""
    requests[request].following = -1
    if row.tail < 0:
        row.head = request
    else:
        requests[row.tail].following = request
    row.tail = request
    row.waiting_tokens += requests[request].input_tokens


@compiled
def _depart(row: Any, now_s: float, heap: Rows, requests: Rows) -> Any:
    """Let those go who have all their tokens; return how many."""
    before = batch = row.batch
    progress = heap[0].ends_at
    resident = row.resident + batch * (progress - row.progress)
    while batch > 0 and heap[0].ends_at <= progress:
        request = heap[0].request
        _pop(heap, batch, requests)
        batch -= 1
        resident -= requests[request].input_tokens + requests[request].output_tokens - 1
        requests[request].finished_s = now_s
    if batch == 0:  # rounding does not outlive an idle instant
        progress = 0.0
        resident = 0.0
    row.batch = batch
    row.progress = progress
    row.resident = resident
    row.at_s = now_s
    return before - batch


@compiled
def _admit(
    row: Any, now_s: float, heap: Rows, requests: Rows, counts: Integers, max_batch: int, capacity: float
) -> None:
    """Let in, in order, those for whom there is a slot and memory, as far as the heap has room."""
    while row.head >= 0 and row.batch < min(max_batch, len(heap)):
        request = row.head
        prompt = requests[request].input_tokens
        output = requests[request].output_tokens
        if row.batch > 0 and row.resident + prompt + output > capacity:
            break
        row.head = requests[request].following
        if row.head < 0:
            row.tail = -1
        row.waiting_tokens -= prompt
        requests[request].started_s = now_s
        requests[request].admission = counts[ADMITTED]
        counts[ADMITTED] += 1
        _push(heap, row.batch, row.progress + (output - 1), request)
        row.batch += 1
        row.resident += prompt


@compiled
def _begin(counts: Integers, ready: Integers, replicas: Rows) -> None:
    """Let the next replica become ready."""
    ready[counts[READY]] = counts[STARTED]
    replicas[counts[STARTED]].is_ready = 1
    counts[STARTED] += 1
    counts[READY] += 1


@compiled
def _leave(
    change: int,
    now_s: float,
    counts: Integers,
    ready: Integers,
    replicas: Rows,
    heaps: Rows,
    requests: Rows,
    contexts: Reals,
    clocks: Reals,
) -> Any:
    """Let the least loaded ready replicas leave, the younger ones of equals; return who waited there, in order."""
    loads = np.empty(len(replicas))
    for place in range(counts[READY]):
        loads[ready[place]] = _load(ready[place], now_s, replicas, heaps, contexts, clocks)
    moved = np.empty(len(requests), np.int64)
    size = 0
    for _ in range(change):
        count = counts[READY]
        place = count - 1
        for other in range(count - 2, -1, -1):
            if loads[ready[other]] < loads[ready[place]]:
                place = other
        row = replicas[ready[place]]
        for other in range(place, count - 1):
            ready[other] = ready[other + 1]
        counts[READY] = count - 1
        row.is_ready = 0
        row.left_s = now_s
        if row.batch == 0:
            row.gone_s = now_s
        while row.head >= 0:
            moved[size] = row.head
            size += 1
            row.head = requests[row.head].following
        row.tail = -1
        row.waiting_tokens = 0.0
    moved = np.sort(moved[:size])
    # Rows are in order of first tokens; those of one instant move in order of arrival at the front door.
    for end in range(1, size):
        request = moved[end]
        place = end
        while (
            place > 0
            and requests[moved[place - 1]].first_token_s == requests[request].first_token_s
            and requests[moved[place - 1]].number > requests[request].number
        ):
            moved[place] = moved[place - 1]
            place -= 1
        moved[place] = request
    return moved


@compiled
def advance_decode(
    until_s: float,
    counts: Integers,
    ready: Integers,
    bounds: Reals,
    next_s: Reals,
    tree: Integers,
    replicas: Rows,
    heaps: Rows,
    requests: Rows,
    contexts: Reals,
    clocks: Reals,
    max_batch: int,
    capacity: float,
    change_s: Reals,
    change_ready: Integers,
) -> Rows:
    """Let time pass up to and including ``until_s``; return the heaps, which may have got more room.

    Each turn of the loop is one event of one replica: a departure, or a request that enters. At its end the replica
    admits whom it can.
    """
    total = len(requests)
    moved = np.empty(0, np.int64)  # those who enter again, at the instant of a change
    next_moved = 0
    now_s = -np.inf
    end_s = min(until_s, LAST_S)
    while True:
        departure_s = next_s[tree[1]]
        arrival_s = requests[counts[ARRIVED]].first_token_s if counts[ARRIVED] < total else np.inf
        next_change_s = change_s[counts[CHANGED]] if counts[CHANGED] < len(change_s) else np.inf
        departs = False
        if next_moved < len(moved):
            entering = moved[next_moved]
            next_moved += 1
        elif not min(departure_s, arrival_s, next_change_s) <= end_s:
            break
        elif departure_s <= arrival_s and departure_s <= next_change_s:
            now_s = departure_s
            departs = True
        elif arrival_s <= next_change_s:
            now_s = arrival_s
            entering = counts[ARRIVED]
            counts[ARRIVED] += 1
        else:
            now_s = next_change_s
            change = change_ready[counts[CHANGED]]
            counts[CHANGED] += 1
            if change > 0:
                _begin(counts, ready, replicas)
            else:
                moved = _leave(-change, now_s, counts, ready, replicas, heaps, requests, contexts, clocks)
                next_moved = 0
            continue
        if departs:
            replica = tree[1]
            row = replicas[replica]
            counts[FINISHED] += _depart(row, now_s, heaps[replica], requests)
        else:
            replica = _least_loaded(now_s, counts[READY], ready, bounds, replicas, heaps, contexts, clocks)
            row = replicas[replica]
            _append(row, entering, requests)

        before = row.batch
        moves = departs
        if row.head >= 0 and before < max_batch:
            if not departs:
                tokens = _advanced(row, heaps[replica, 0].ends_at, now_s, contexts, clocks)
                row.progress += tokens
                row.resident += before * tokens
                row.at_s = now_s
                moves = True
            _admit(row, now_s, heaps[replica], requests, counts, max_batch, capacity)
            while row.head >= 0 and row.batch == heaps.shape[1] < max_batch:  # more room for all
                wider = np.empty((heaps.shape[0], 2 * heaps.shape[1]), heaps.dtype)
                wider[:, : heaps.shape[1]] = heaps
                heaps = wider
                _admit(row, now_s, heaps[replica], requests, counts, max_batch, capacity)
        bounds[replica] = row.resident + row.waiting_tokens
        if moves and row.batch > 0:
            row.context = row.resident / row.batch
            row.elapsed_s = _elapsed_s(row.context, row.batch, contexts, clocks)
            if departs or row.batch > before:
                then = row.context + (heaps[replica, 0].ends_at - row.progress)
                wait_s = _elapsed_s(then, row.batch, contexts, clocks) - row.elapsed_s
                _set_next(replica, row.at_s + wait_s, next_s, tree)
        elif moves:
            _set_next(replica, np.inf, next_s, tree)
            if row.is_ready == 0:
                row.gone_s = now_s
    return heaps


@compiled
def resident_tokens(now_s: float, replicas: Rows, heaps: Rows, contexts: Reals, clocks: Reals) -> Any:
    """Return the KV tokens of each replica's running requests at an instant not before its last event."""
    tokens = np.zeros(len(replicas))
    for replica in range(len(replicas)):
        row = replicas[replica]
        if row.batch > 0:
            ahead = _advanced(row, heaps[replica, 0].ends_at, now_s, contexts, clocks)
            tokens[replica] = row.resident + row.batch * ahead
    return tokens
