"""A deployment simulated: every request on its way through both pools. May import only numpy, numba (late) and core.

Decode depends on prefill only through the first tokens, so the pools are simulated one after the other, and a search
over one pool's replicas simulates that pool only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.profile import DecodeProfile, PrefillProfile
from pdscaler.core.simulation.changes import Changes, Order, changes_of
from pdscaler.core.simulation.decode_arrays import DECODE_REQUEST, DecodePool
from pdscaler.core.simulation.prefill_arrays import PREFILL_REQUEST, PrefillPool
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.simulation.tables import decode_table, prefill_table
from pdscaler.core.spec import Routing, SizingSpec
from pdscaler.errors import InvalidInputError

ROUTINGS = (Routing.JOIN_SHORTEST_QUEUE, Routing.ROUND_ROBIN, Routing.RANDOM, Routing.CENTRAL)
"""Routings by their number in the kernel."""

DEFAULT_STARTUP_S = 180.0
HEAP_ROOM = 64
"""Running requests that a replica has room for at first; the kernel makes more where needed."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is simulated.

    Parameters
    ----------
    prefill, decode
        Engine profiles.
    routing
        How prefill requests are spread.
    decode_derate
        Decode throughput against the profile's, > 0: step times are divided by it.
    """

    prefill: PrefillProfile
    decode: DecodeProfile
    routing: Routing = Routing.JOIN_SHORTEST_QUEUE
    decode_derate: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Lives:
    """When the replicas of one pool were ordered, told to leave, and gone; by rank, seconds, infinite where never.

    ``ordered_s`` is minus infinity for those that were there from the start. ``cancelled_s`` holds (order,
    cancellation) of those that were never ready.
    """

    ordered_s: NDArray[np.float64]
    left_s: NDArray[np.float64]
    gone_s: NDArray[np.float64]
    cancelled_s: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """What happened to the requests, in their order of arrival; seconds.

    Parameters
    ----------
    arrival_s, first_token_s, decode_started_s, finished_s
        Points of time. ``decode_started_s`` is the admission to a batch, NaN where the answer has one token.
    ttft_s
        Time to first token.
    tpot_s
        Time per output token, NaN where the answer has one token.
    lives
        The replicas' comings and goings.
    prefill_busy_s
        Seconds that the prefill replicas spent in passes, together.
    """

    arrival_s: NDArray[np.float64]
    first_token_s: NDArray[np.float64]
    decode_started_s: NDArray[np.float64]
    finished_s: NDArray[np.float64]
    ttft_s: NDArray[np.float64]
    tpot_s: NDArray[np.float64]
    lives: PerPool[Lives]
    prefill_busy_s: float

    def __len__(self) -> int:
        return len(self.arrival_s)


def deployment_of(spec: SizingSpec) -> Deployment:
    """Return what a sizing problem is about."""
    return Deployment(spec.prefill_profile, spec.decode_profile, spec.routing, spec.decode_derate)


def simulate(
    deployment: Deployment,
    requests: RequestTable,
    replicas: PerPool[int],
    *,
    seed: int = 0,
    orders: Sequence[Order] = (),
    startup_s: float | PerPool[float] = DEFAULT_STARTUP_S,
) -> Records:
    """Simulate all requests through both pools, to the end of the last one.

    Parameters
    ----------
    deployment
        Profiles and routing.
    requests
        What arrives.
    replicas
        Replicas that are ready from the start, at least 1 of each.
    seed
        Seed of ``Routing.RANDOM``.
    orders
        Later counts, in order of time; between them counts hold.
    startup_s
        Seconds from an order to the first request served; one value for each pool, or one for both.

    Raises
    ------
    InvalidInputError
        If counts, orders or requests make no sense.

    Examples
    --------
    >>> from pdscaler.core.profile import DecodePoint, MaxThroughput
    >>> deployment = Deployment(
    ...     PrefillProfile(max_throughput=MaxThroughput(1000, 1000)),
    ...     DecodeProfile((DecodePoint(900, 1, 0.01), DecodePoint(900, 9, 0.02))),
    ... )
    >>> one = RequestTable(np.array([0.0]), np.array([500]), np.array([101]), np.array([0]))
    >>> records = simulate(deployment, one, PerPool(1, 1))
    >>> float(records.ttft_s[0]), round(float(records.tpot_s[0]), 6)
    (0.5, 0.01)
    """
    starts = startup_s if isinstance(startup_s, PerPool) else PerPool(startup_s, startup_s)
    changes = PerPool(
        changes_of(Pool.PREFILL, replicas.prefill, orders, starts.prefill),
        changes_of(Pool.DECODE, replicas.decode, orders, starts.decode),
    )
    first = _prefill(deployment, requests, changes.prefill, seed)
    later = _decode(deployment, requests, first.first_token_s, first.finished, changes.decode)
    return Records(
        arrival_s=requests.arrival_s,
        first_token_s=first.first_token_s,
        decode_started_s=later.started_s,
        finished_s=later.finished_s,
        ttft_s=first.first_token_s - requests.arrival_s,
        tpot_s=tpot_s(requests, first.first_token_s, later.finished_s),
        lives=PerPool(first.lives, later.lives),
        prefill_busy_s=first.busy_s,
    )


def simulate_prefill(
    deployment: Deployment,
    requests: RequestTable,
    replicas: int,
    *,
    seed: int = 0,
    orders: Sequence[Order] = (),
    startup_s: float = DEFAULT_STARTUP_S,
) -> NDArray[np.float64]:
    """Simulate the prefill pool alone; return when each request's first token is there, seconds.

    Orders count for their prefill part.

    Examples
    --------
    >>> from pdscaler.core.profile import DecodePoint, MaxThroughput
    >>> deployment = Deployment(PrefillProfile(max_throughput=MaxThroughput(1000, 1000)), DecodeProfile(()))
    >>> two = RequestTable(np.array([0.0, 0.1]), np.array([500, 500]), np.array([9, 9]), np.array([0, 100]))
    >>> simulate_prefill(deployment, two, 1).tolist()
    [0.5, 0.9]
    """
    changes = changes_of(Pool.PREFILL, replicas, orders, startup_s)
    return _prefill(deployment, requests, changes, seed).first_token_s


def simulate_decode(
    deployment: Deployment,
    requests: RequestTable,
    first_token_s: NDArray[np.float64],
    replicas: int,
    *,
    orders: Sequence[Order] = (),
    startup_s: float = DEFAULT_STARTUP_S,
) -> NDArray[np.float64]:
    """Simulate the decode pool alone, whose arrivals are the first tokens; return when each request ends, seconds.

    Requests with the same instant of first token are taken in their order of arrival. Orders count for their decode
    part.
    """
    changes = changes_of(Pool.DECODE, replicas, orders, startup_s)
    return _decode(deployment, requests, first_token_s, None, changes).finished_s


def tpot_s(
    requests: RequestTable, first_token_s: NDArray[np.float64], finished_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the time per output token of every request, seconds; NaN where the answer has one token."""
    tokens = requests.output_tokens - 1
    with np.errstate(invalid="ignore"):
        return np.asarray((finished_s - first_token_s) / np.where(tokens > 0, tokens, np.nan))


@dataclass(frozen=True, slots=True, eq=False)
class _FirstTokens:
    first_token_s: NDArray[np.float64]
    finished: NDArray[np.int64]
    lives: Lives
    busy_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    started_s: NDArray[np.float64]
    finished_s: NDArray[np.float64]
    lives: Lives


def _prefill(deployment: Deployment, requests: RequestTable, changes: Changes, seed: int) -> _FirstTokens:
    from pdscaler.core.simulation.prefill_kernel import advance_prefill

    count = checked(requests)
    pool = PrefillPool(changes.most, changes.initial)
    rows = np.empty(count, PREFILL_REQUEST)
    rows["arrival_s"] = requests.arrival_s
    rows["input_tokens"] = requests.input_tokens
    rows["uncached_tokens"] = requests.input_tokens - requests.prefix_hit_tokens
    finished = np.empty(count, np.int64)
    advance_prefill(
        np.inf,
        ROUTINGS.index(deployment.routing),
        seed,
        *pool.arrays,
        rows,
        finished,
        *prefill_table(deployment.prefill),
        changes.at_s,
        changes.ready,
    )
    replicas = pool.replicas[:-1]
    lives = Lives(changes.ordered_s, replicas["left_s"], replicas["gone_s"], changes.cancelled_s)
    return _FirstTokens(rows["first_token_s"].copy(), finished, lives, float(replicas["busy_s"].sum()))


def _decode(
    deployment: Deployment,
    requests: RequestTable,
    first_token_s: NDArray[np.float64],
    finished: NDArray[np.int64] | None,
    changes: Changes,
) -> _Ends:
    """Simulate decode; ``finished`` is the order in which prefill finished the requests, the order of equal times."""
    from pdscaler.core.simulation.decode_kernel import advance_decode

    derate = deployment.decode_derate
    if not 0 < derate < np.inf:
        raise InvalidInputError("spec.sizing.decodeDerate", f"must be a finite number above 0, found {derate}")
    order = _by_first_token(first_token_s, finished)
    order = order[requests.output_tokens[order] > 1]
    count = len(order)
    started_s = np.full(len(requests), np.nan)
    finished_s = first_token_s.copy()
    table = decode_table(deployment.decode, derate, max(count, 1))
    pool = DecodePool(changes.most, changes.initial, min(table.max_batch, HEAP_ROOM))
    if count:
        rows = np.empty(count, DECODE_REQUEST)
        rows["number"] = order
        rows["first_token_s"] = first_token_s[order]
        rows["input_tokens"] = requests.input_tokens[order]
        rows["output_tokens"] = requests.output_tokens[order]
        advance_decode(
            np.inf,
            *pool.arrays,
            rows,
            *table,
            changes.at_s,
            changes.ready,
        )
        started_s[order] = rows["started_s"]
        finished_s[order] = rows["finished_s"]
    lives = Lives(changes.ordered_s, pool.replicas["left_s"], pool.replicas["gone_s"], changes.cancelled_s)
    return _Ends(started_s, finished_s, lives)


def _by_first_token(first_token_s: NDArray[np.float64], finished: NDArray[np.int64] | None) -> NDArray[np.int64]:
    order = np.arange(len(first_token_s), dtype=np.int64) if finished is None else finished
    times = first_token_s[order]
    return order if bool((times[1:] >= times[:-1]).all()) else order[np.argsort(times, kind="stable")]


def checked(requests: RequestTable) -> int:
    """Check what would make the kernel run forever or read beyond its arrays; return the number of requests."""
    arrival_s, hits = requests.arrival_s, requests.prefix_hit_tokens
    inputs, outputs = requests.input_tokens, requests.output_tokens
    if not len(arrival_s) == len(inputs) == len(outputs) == len(hits):
        raise InvalidInputError("requests", "the columns have different lengths")
    if len(arrival_s) == 0:
        raise InvalidInputError("requests", "there are none: nothing can be simulated")
    if not np.isfinite(arrival_s).all() or (np.diff(arrival_s) < 0).any():
        raise InvalidInputError("arrival_s", "must be finite and ascending")
    if inputs.min() < 1 or outputs.min() < 1:
        raise InvalidInputError("requests", "every request needs at least 1 input and 1 output token")
    if hits.min() < 0 or (hits > inputs).any():
        raise InvalidInputError("prefix_hit_tokens", "must be at least 0 and at most the input tokens")
    return len(arrival_s)
