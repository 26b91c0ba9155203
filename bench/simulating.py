"""How long the event simulation takes, beside the plain-Python one of the same rules. Imports pdscaler's core."""

import time
from collections.abc import Callable, Iterator

from bench.figure import Figure

from pdscaler.core.emulation import Emulation, Request
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, DecodeProfile, PrefillPoint, PrefillProfile
from pdscaler.core.simulation import Deployment, RequestTable, draw_requests, simulate
from pdscaler.core.workload import LengthStats, WorkloadStats

MILLION = 1_000_000
SIDE_BY_SIDE = 20_000
"""Requests that both simulate."""

REPLICAS = PerPool(10, 10)
DEPLOYMENT = Deployment(
    PrefillProfile(tuple(PrefillPoint(float(tokens), 0.015 + tokens * 1.8e-5) for tokens in range(100, 16_500, 1000))),
    DecodeProfile(
        tuple(
            DecodePoint(float(context), float(batch), 0.0044 + batch * (4e-5 + context * 3e-8))
            for context in (350, 3000, 5600, 8300, 11_000)
            for batch in (1, 50, 100, 150, 200, 250, 300)
        ),
        kv_capacity_tokens=945_000.0,
    ),
)
WORKLOAD = WorkloadStats(120.0, LengthStats(3000.0, 0.5), LengthStats(150.0, 0.5))


def figures(quick: bool = False) -> Iterator[Figure]:
    """Measure a million requests on 10P10D (``quick``: fewer, scaled up), and fewer side by side with plain Python."""
    count = 100_000 if quick else MILLION
    requests = draw_requests(WORKLOAD, count, seed=1)
    simulate(DEPLOYMENT, requests.first(1000), REPLICAS)  # compiles, or reads what was compiled
    best_s = min(_seconds(lambda: simulate(DEPLOYMENT, requests, REPLICAS)) for _ in range(3))
    yield Figure("simulate_million_requests", best_s * MILLION / count, "s", 1.5)
    few = requests.first(2000 if quick else SIDE_BY_SIDE)
    ours_s = min(_seconds(lambda: simulate(DEPLOYMENT, few, REPLICAS)) for _ in range(5))
    plain_s = _seconds(lambda: _plain(few))
    microseconds = 1e6 / len(few)
    yield Figure("simulate_one_request", ours_s * microseconds, "us", 1.5, plain_s * microseconds)


def _plain(requests: RequestTable) -> None:
    emulation = Emulation(DEPLOYMENT.prefill, DEPLOYMENT.decode)
    for pool, count in REPLICAS.items():
        emulation.set_replicas(pool, [f"{pool.value}-{number}" for number in range(count)], 0.0)
    columns = (requests.arrival_s, requests.input_tokens, requests.output_tokens)
    for number, values in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        emulation.submit(Request(number, *values))
    emulation.advance(1e9)


def _seconds(call: Callable[[], object]) -> float:
    """Return the processor time of a call: what others do on the machine does not count."""
    begin_ns = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - begin_ns) / 1e9
