"""The prefill pool event by event, compiled. May import only numpy, numba and this package.

Events of one instant happen in the order of :mod:`pdscaler.core.emulation.deployment`: ends of passes, the older
replica first; arrivals; changes of the replicas. Replicas are numbered by the order in which they become ready. The
state lives in arrays that the caller owns, so that a run can stop at an instant and go on later with more requests.

Everything that is compiled for this pool stands in this one file: numba recompiles a cached function only when its own
file changes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.simulation.compiled import compiled

JOIN_SHORTEST_QUEUE, ROUND_ROBIN, RANDOM, CENTRAL = range(4)

# Places in PrefillState.counts
ARRIVED, CHANGED, STARTED, READY, ROUTED, FINISHED = range(6)


class PrefillState(NamedTuple):
    """State of the pool. Rows of replicas are one longer than their number: the last is the queue before all of them.

    Parameters
    ----------
    counts
        Requests arrived, changes made, replicas started, replicas ready, requests routed, requests finished.
    ready
        The ready replicas, oldest first.
    is_ready
        Whether a replica is ready.
    head, tail
        First and last request of each queue; -1 where it is empty.
    running, running_count
        First request of the running pass and how many follow it in the queue's links; 0 requests: idle.
    unfinished
        Uncached tokens in queue and pass.
    running_tokens
        Those of the pass.
    load, load_tree
        What routing compares, infinite where a replica is not ready; and the tournament over it.
    ends_s, end_tree
        End of the running pass, infinite where none runs; and the tournament over it.
    left_s, gone_s
        When the replica was told to leave, and when its last pass ended.
    busy_s
        Seconds in passes.
    """

    counts: NDArray[np.int64]
    ready: NDArray[np.int64]
    is_ready: NDArray[np.bool_]
    head: NDArray[np.int64]
    tail: NDArray[np.int64]
    running: NDArray[np.int64]
    running_count: NDArray[np.int64]
    unfinished: NDArray[np.float64]
    running_tokens: NDArray[np.float64]
    load: NDArray[np.float64]
    load_tree: NDArray[np.int64]
    ends_s: NDArray[np.float64]
    end_tree: NDArray[np.int64]
    left_s: NDArray[np.float64]
    gone_s: NDArray[np.float64]
    busy_s: NDArray[np.float64]


class PrefillRequests(NamedTuple):
    """The requests of a run, as columns; ``following`` links the queues, the last three are written by the run."""

    arrival_s: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    hit_tokens: NDArray[np.int64]
    following: NDArray[np.int64]
    first_token_s: NDArray[np.float64]
    finished: NDArray[np.int64]


def prefill_state(most: int, initial: int) -> PrefillState:
    """Return an idle pool with ``initial`` ready replicas, with room for ``most`` in all."""
    width = 1 << max(1, (most - 1).bit_length())
    load = np.full(width, np.inf)
    load[:initial] = 0.0
    is_ready = np.zeros(most, np.bool_)
    is_ready[:initial] = True
    ready = np.zeros(most, np.int64)
    ready[:initial] = np.arange(initial)
    ends_s = np.full(width, np.inf)
    return PrefillState(
        counts=np.array([0, 0, initial, initial, 0, 0], np.int64),
        ready=ready,
        is_ready=is_ready,
        head=np.full(most + 1, -1, np.int64),
        tail=np.full(most + 1, -1, np.int64),
        running=np.full(most, -1, np.int64),
        running_count=np.zeros(most, np.int64),
        unfinished=np.zeros(most),
        running_tokens=np.zeros(most),
        load=load,
        load_tree=_tournament(load),
        ends_s=ends_s,
        end_tree=_tournament(ends_s),
        left_s=np.full(most, np.inf),
        gone_s=np.full(most, np.inf),
        busy_s=np.zeros(most),
    )


def _tournament(keys: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the winners' tree: leaves behind, the root at 1; the least key wins, the lower index among equals."""
    width = len(keys)
    tree = np.arange(-width, width, dtype=np.int64)
    for node in range(width - 1, 0, -1):
        left, right = tree[2 * node], tree[2 * node + 1]
        tree[node] = left if keys[left] <= keys[right] else right
    return tree


@compiled
def choice(seed: int, number: int, count: int) -> int:
    """Return the random choice of 0 … count − 1 that belongs to a number (SplitMix64)."""
    z = np.uint64(seed) + np.uint64(number + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.int64(np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0) * count)


@compiled
def _set_key(tree: NDArray[np.int64], keys: NDArray[np.float64], index: int, key: float) -> None:
    """Change one key and play its matches again, up to the root."""
    keys[index] = key
    node = (index + len(keys)) >> 1
    while node > 0:
        left, right = tree[2 * node], tree[2 * node + 1]
        tree[node] = left if keys[left] <= keys[right] else right
        node >>= 1


@compiled
def _pass_time_s(knots: NDArray[np.float64], values: NDArray[np.float64], tail_slope: float, tokens: float) -> float:
    """Return the seconds of a pass: linear between the knots, level below them, the tail's slope beyond."""
    last = len(knots) - 1
    if tokens < knots[0]:
        return values[0]
    if tokens >= knots[last]:
        return values[last] + tail_slope * (tokens - knots[last])
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) >> 1
        if knots[middle] <= tokens:
            low = middle
        else:
            high = middle
    return values[low] + (values[high] - values[low]) * ((tokens - knots[low]) / (knots[high] - knots[low]))


@compiled
def _start_pass(
    replica: int, queue: int, now_s: float, state: PrefillState, requests: PrefillRequests, table: tuple
) -> None:
    """Let an idle replica take from a queue what one pass holds: whole prompts, in order, within the budget."""
    knots, values, tail_slope, _, _, budget = table
    request = state.head[queue]
    state.running[replica] = request
    tokens = 0
    count = 0
    while request >= 0:
        uncached = requests.input_tokens[request] - requests.hit_tokens[request]
        if count > 0 and tokens + uncached > budget:
            break
        tokens += uncached
        count += 1
        request = requests.following[request]
    state.head[queue] = request
    if request < 0:
        state.tail[queue] = -1
    state.running_count[replica] = count
    state.running_tokens[replica] = tokens
    time_s = _pass_time_s(knots, values, tail_slope, float(tokens))
    state.busy_s[replica] += time_s
    _set_key(state.end_tree, state.ends_s, replica, now_s + time_s)


@compiled
def _append(queue: int, request: int, state: PrefillState, requests: PrefillRequests) -> None:
    requests.following[request] = -1
    if state.tail[queue] < 0:
        state.head[queue] = request
    else:
        requests.following[state.tail[queue]] = request
    state.tail[queue] = request


@compiled
def _serve_central(now_s: float, state: PrefillState, requests: PrefillRequests, table: tuple) -> None:
    """Let idle ready replicas take from the common queue, the oldest replica first."""
    common = len(state.head) - 1
    while state.head[common] >= 0:
        replica = state.load_tree[1]
        if state.load[replica] > 0.0:  # all are busy
            return
        _set_key(state.load_tree, state.load, replica, 1.0)
        _start_pass(replica, common, now_s, state, requests, table)
        state.unfinished[replica] = state.running_tokens[replica]


@compiled
def _enter(
    request: int, now_s: float, routing: int, seed: int, state: PrefillState, requests: PrefillRequests, table: tuple
) -> None:
    """Route a request to a ready replica."""
    if routing == CENTRAL:
        _append(len(state.head) - 1, request, state, requests)
        _serve_central(now_s, state, requests, table)
        return
    if routing == JOIN_SHORTEST_QUEUE:
        replica = state.load_tree[1]
    elif routing == ROUND_ROBIN:
        state.counts[ROUTED] = state.counts[ROUTED] % state.counts[READY]
        replica = state.ready[state.counts[ROUTED]]
        state.counts[ROUTED] += 1
    else:
        replica = state.ready[choice(seed, state.counts[ROUTED], state.counts[READY])]
        state.counts[ROUTED] += 1
    state.unfinished[replica] += requests.input_tokens[request] - requests.hit_tokens[request]
    if routing == JOIN_SHORTEST_QUEUE:
        _set_key(state.load_tree, state.load, replica, state.unfinished[replica])
    _append(replica, request, state, requests)
    if state.running_count[replica] == 0:
        _start_pass(replica, replica, now_s, state, requests, table)


@compiled
def _end_pass(
    replica: int, now_s: float, routing: int, state: PrefillState, requests: PrefillRequests, table: tuple
) -> None:
    """Give the first tokens of a pass, and start the next one."""
    request = state.running[replica]
    done = state.counts[FINISHED]
    for _ in range(state.running_count[replica]):
        overhead_s = table[3] + table[4] * requests.input_tokens[request]
        requests.first_token_s[request] = now_s + overhead_s
        requests.finished[done] = request
        done += 1
        request = requests.following[request]
    state.counts[FINISHED] = done
    state.running_count[replica] = 0
    state.unfinished[replica] -= state.running_tokens[replica]
    state.running_tokens[replica] = 0.0
    if routing == CENTRAL:
        _set_key(state.end_tree, state.ends_s, replica, np.inf)
        if state.is_ready[replica]:
            _set_key(state.load_tree, state.load, replica, 0.0)
            _serve_central(now_s, state, requests, table)
    else:
        if routing == JOIN_SHORTEST_QUEUE and state.is_ready[replica]:
            _set_key(state.load_tree, state.load, replica, state.unfinished[replica])
        if state.head[replica] >= 0:
            _start_pass(replica, replica, now_s, state, requests, table)
        else:
            _set_key(state.end_tree, state.ends_s, replica, np.inf)
    if not state.is_ready[replica] and state.running_count[replica] == 0:
        state.gone_s[replica] = now_s


@compiled
def _remove_least_loaded(now_s: float, state: PrefillState, requests: PrefillRequests, moved: NDArray[np.int64]) -> int:
    """Let the ready replica with the fewest unfinished tokens leave, the youngest of equals; return the moved count."""
    count = state.counts[READY]
    place = count - 1
    for other in range(count - 2, -1, -1):
        if state.unfinished[state.ready[other]] < state.unfinished[state.ready[place]]:
            place = other
    replica = state.ready[place]
    for other in range(place, count - 1):
        state.ready[other] = state.ready[other + 1]
    state.counts[READY] = count - 1
    state.is_ready[replica] = False
    state.left_s[replica] = now_s
    _set_key(state.load_tree, state.load, replica, np.inf)
    size = 0
    request = state.head[replica]
    while request >= 0:
        moved[size] = request
        size += 1
        request = requests.following[request]
    state.head[replica] = state.tail[replica] = -1
    state.unfinished[replica] = state.running_tokens[replica]
    if state.running_count[replica] == 0:
        state.gone_s[replica] = now_s
    return size


@compiled
def _change(
    ready: int, now_s: float, routing: int, seed: int, state: PrefillState, requests: PrefillRequests, table: tuple
) -> None:
    """Let replicas become ready, or leave and hand over their queues, in order of arrival."""
    if ready > 0:
        for _ in range(ready):
            replica = state.counts[STARTED]
            state.counts[STARTED] += 1
            state.is_ready[replica] = True
            state.ready[state.counts[READY]] = replica
            state.counts[READY] += 1
            _set_key(state.load_tree, state.load, replica, 0.0)
        if routing == CENTRAL:
            _serve_central(now_s, state, requests, table)
        return
    moved = np.empty(len(requests.arrival_s), np.int64)
    size = 0
    for _ in range(-ready):
        size += _remove_least_loaded(now_s, state, requests, moved[size:])
    for request in np.sort(moved[:size]):
        _enter(request, now_s, routing, seed, state, requests, table)


@compiled
def advance_prefill(
    until_s: float,
    routing: int,
    seed: int,
    state: PrefillState,
    requests: PrefillRequests,
    table: tuple,
    change_s: NDArray[np.float64],
    change_ready: NDArray[np.int64],
) -> None:
    """Let time pass up to and including ``until_s``."""
    total = len(requests.arrival_s)
    arrived = state.counts[ARRIVED]
    changed = state.counts[CHANGED]
    while True:
        replica = state.end_tree[1]
        end_s = state.ends_s[replica]
        arrival_s = requests.arrival_s[arrived] if arrived < total else np.inf
        next_change_s = change_s[changed] if changed < len(change_s) else np.inf
        if end_s <= arrival_s and end_s <= next_change_s:
            if end_s > until_s or end_s == np.inf:
                break
            _end_pass(replica, end_s, routing, state, requests, table)
        elif arrival_s <= next_change_s:
            if arrival_s > until_s:
                break
            _enter(arrived, arrival_s, routing, seed, state, requests, table)
            arrived += 1
        else:
            if next_change_s > until_s:
                break
            _change(change_ready[changed], next_change_s, routing, seed, state, requests, table)
            changed += 1
    state.counts[ARRIVED] = arrived
    state.counts[CHANGED] = changed
