"""The prefill pool event by event, compiled. May import only numpy, numba and this package.

Events of one instant happen in the order of :mod:`pdscaler.core.emulation.deployment`: ends of passes, the older
replica first; arrivals; changes of the replicas. Replicas are numbered in the order in which they become ready; the row
behind the last one holds the queue of ``Routing.CENTRAL``.

State is kept in arrays of records, a row for each replica and each request: few arrays to hand on, and what belongs
together lies together. All that is compiled for this pool stands in this one file: numba recompiles a cached function
only when its own file changes.
"""
# ruff: noqa: C901, PLR0912, PLR0915, PLR0917  (an event loop is one loop; compiled functions take arrays one by one)

from typing import Any

import numpy as np

from pdscaler.core.simulation.compiled import compiled
from pdscaler.core.simulation.tournament import Integers, Reals, Rows

LAST_S = 1e300
"""Nothing happens later: what is infinite never happens."""

JOIN_SHORTEST_QUEUE, ROUND_ROBIN, RANDOM, CENTRAL = range(4)

ARRIVED, CHANGED, STARTED, READY, ROUTED, FINISHED = range(6)
"""Places in the counts."""


@compiled
def choice(seed: int, number: int, count: int) -> Any:
    """Return the random choice of 0 … count - 1 that belongs to a number (SplitMix64)."""
    z = np.uint64(seed) + np.uint64(number + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.int64(np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0) * count)


@compiled
def _set_key(index: int, key: float, keys: Reals, tree: Integers) -> None:
    """Change one key and play its matches again, up to the root."""
    keys[index] = key
    node = (index + len(keys)) >> 1
    while node > 0:
        left, right = tree[2 * node], tree[2 * node + 1]
        tree[node] = left if keys[left] <= keys[right] else right
        node >>= 1


@compiled
def _pass_time_s(tokens: float, knots: Reals, values: Reals, tail_slope: float) -> Any:
    """Return the seconds of a pass: linear between the knots, level below them, the tail's slope beyond."""
    low = 0
    high = len(knots) - 1
    if tokens < knots[0]:
        return values[0]
    if tokens >= knots[high]:
        return values[high] + tail_slope * (tokens - knots[high])
    while high - low > 1:
        middle = (low + high) >> 1
        if knots[middle] <= tokens:
            low = middle
        else:
            high = middle
    return values[low] + (values[high] - values[low]) * ((tokens - knots[low]) / (knots[high] - knots[low]))


@compiled
def _append(row: Any, request: int, requests: Rows) -> None:
    """Put a request at the end of a queue."""
    requests[request].following = -1
    if row.tail < 0:
        row.head = request
    else:
        requests[row.tail].following = request
    row.tail = request


@compiled
def _take_pass(row: Any, queue: Any, budget: int, requests: Rows) -> None:
    """Move from a queue to a replica's pass what one pass holds: whole prompts, in order, within the budget."""
    request = queue.head
    row.running = request
    tokens = 0
    count = 0
    while request >= 0:
        uncached = requests[request].uncached_tokens
        if count > 0 and tokens + uncached > budget:
            break
        tokens += uncached
        count += 1
        request = requests[request].following
    queue.head = request
    if request < 0:
        queue.tail = -1
    row.running_count = count
    row.running_tokens = tokens


@compiled
def _give_first_tokens(
    row: Any, now_s: float, fixed_s: float, per_token_s: float, requests: Rows, finished: Integers, done: int
) -> Any:
    """End a replica's pass; return how many requests have got their first token by now."""
    request = row.running
    for _ in range(row.running_count):
        requests[request].first_token_s = now_s + (fixed_s + per_token_s * requests[request].input_tokens)
        finished[done] = request
        done += 1
        request = requests[request].following
    row.unfinished -= row.running_tokens
    row.running_count = 0
    row.running_tokens = 0
    return done


@compiled
def _begin(
    counts: Integers,
    ready: Integers,
    loads: Reals,
    load_tree: Integers,
    replicas: Rows,
) -> None:
    """Let the next replica become ready."""
    replica = counts[STARTED]
    replicas[replica].is_ready = 1
    ready[counts[READY]] = replica
    _set_key(replica, 0.0, loads, load_tree)
    counts[STARTED] += 1
    counts[READY] += 1


@compiled
def _leave(
    change: int,
    now_s: float,
    counts: Integers,
    ready: Integers,
    loads: Reals,
    load_tree: Integers,
    replicas: Rows,
    requests: Rows,
) -> Any:
    """Let the least loaded ready replicas leave, the younger ones of equals; return who waited there, in order."""
    moved = np.empty(len(requests), np.int64)
    size = 0
    for _ in range(change):
        count = counts[READY]
        place = count - 1
        for other in range(count - 2, -1, -1):
            if replicas[ready[other]].unfinished < replicas[ready[place]].unfinished:
                place = other
        replica = ready[place]
        for other in range(place, count - 1):
            ready[other] = ready[other + 1]
        counts[READY] = count - 1
        _set_key(replica, np.inf, loads, load_tree)
        row = replicas[replica]
        row.is_ready = 0
        row.left_s = now_s
        if row.running_count == 0:
            row.gone_s = now_s
        while row.head >= 0:
            moved[size] = row.head
            size += 1
            row.head = requests[row.head].following
        row.tail = -1
        row.unfinished = row.running_tokens
    return np.sort(moved[:size])


@compiled
def advance_prefill(
    until_s: float,
    routing: int,
    seed: int,
    counts: Integers,
    ready: Integers,
    loads: Reals,
    load_tree: Integers,
    ends_s: Reals,
    end_tree: Integers,
    replicas: Rows,
    requests: Rows,
    finished: Integers,
    knots: Reals,
    values: Reals,
    tail_slope: float,
    fixed_s: float,
    per_token_s: float,
    budget: int,
    change_s: Reals,
    change_ready: Integers,
) -> None:
    """Let time pass up to and including ``until_s``; ``finished`` gets the requests in the order of their passes' ends.

    Each turn of the loop is one event of one replica: the end of a pass, or a request that enters. At its end the
    replica starts a pass if it is idle and there is something to do.
    """
    total = len(requests)
    common = len(replicas) - 1
    central = routing == CENTRAL
    moved = np.empty(0, np.int64)  # those who enter again, at the instant of a change
    next_moved = 0
    now_s = -np.inf
    stop_s = min(until_s, LAST_S)
    while True:
        end_s = ends_s[end_tree[1]]
        arrival_s = requests[counts[ARRIVED]].arrival_s if counts[ARRIVED] < total else np.inf
        next_change_s = change_s[counts[CHANGED]] if counts[CHANGED] < len(change_s) else np.inf
        entering = -1
        if next_moved < len(moved):
            entering = moved[next_moved]
            next_moved += 1
        elif not min(end_s, arrival_s, next_change_s) <= stop_s:
            break
        elif end_s <= arrival_s and end_s <= next_change_s:
            now_s = end_s
            replica = end_tree[1]
            row = replicas[replica]
            done = _give_first_tokens(row, now_s, fixed_s, per_token_s, requests, finished, counts[FINISHED])
            counts[FINISHED] = done
            if row.is_ready == 1 and (central or routing == JOIN_SHORTEST_QUEUE):
                _set_key(replica, 0.0 if central else float(row.unfinished), loads, load_tree)
        elif arrival_s <= next_change_s:
            now_s = arrival_s
            entering = counts[ARRIVED]
            counts[ARRIVED] += 1
        else:
            now_s = next_change_s
            change = change_ready[counts[CHANGED]]
            counts[CHANGED] += 1
            if change < 0:
                moved = _leave(-change, now_s, counts, ready, loads, load_tree, replicas, requests)
                next_moved = 0
                continue
            _begin(counts, ready, loads, load_tree, replicas)
            if not central:
                continue
            replica = load_tree[1]  # what waits in the common queue is for the new one

        if entering >= 0:
            if central or routing == JOIN_SHORTEST_QUEUE:
                replica = load_tree[1]
            elif routing == ROUND_ROBIN:
                turn = counts[ROUTED] % counts[READY]
                counts[ROUTED] = turn + 1
                replica = ready[turn]
            else:
                replica = ready[choice(seed, counts[ROUTED], counts[READY])]
                counts[ROUTED] += 1
            row = replicas[replica]
            if central:
                _append(replicas[common], entering, requests)
            else:
                _append(row, entering, requests)
                row.unfinished += requests[entering].uncached_tokens
                if routing == JOIN_SHORTEST_QUEUE:
                    _set_key(replica, float(row.unfinished), loads, load_tree)

        # Start the replica's next pass.
        row = replicas[replica]
        if row.running_count > 0:
            continue
        if central and replicas[common].head >= 0 and row.is_ready == 1:
            _take_pass(row, replicas[common], budget, requests)
            row.unfinished = row.running_tokens
            _set_key(replica, 1.0, loads, load_tree)
        elif row.head >= 0:
            _take_pass(row, row, budget, requests)
        if row.running_count > 0:
            time_s = _pass_time_s(float(row.running_tokens), knots, values, tail_slope)
            row.busy_s += time_s
            _set_key(replica, now_s + time_s, ends_s, end_tree)
        else:
            _set_key(replica, np.inf, ends_s, end_tree)
            if row.is_ready == 0:
                row.gone_s = now_s
