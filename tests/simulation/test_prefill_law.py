"""The analytic prefill model against the event simulation, on cases of every kind."""

import numpy as np
import pytest

from pdscaler.core.prefill_law import prefill_law
from pdscaler.core.profile import DecodePoint, DecodeProfile, MaxThroughput, Overhead, PrefillPoint, PrefillProfile
from pdscaler.core.simulation.requests import draw_requests
from pdscaler.core.simulation.run import Deployment, simulate_prefill
from pdscaler.core.simulation.statistics import run_in
from pdscaler.core.slo import Statistic
from pdscaler.core.spec import Routing
from pdscaler.core.workload import LengthStats, WorkloadStats

DECODE = DecodeProfile((DecodePoint(1000, 1, 0.01), DecodePoint(1000, 2, 0.01)))
"""Not used: prefill alone is simulated."""

JSQ, ROUND_ROBIN, RANDOM, CENTRAL = (
    Routing.JOIN_SHORTEST_QUEUE, Routing.ROUND_ROBIN, Routing.RANDOM, Routing.CENTRAL,
)  # fmt: skip


def engine(constant_s: float = 0.016, budget: int = 8192, overhead: Overhead = Overhead()) -> PrefillProfile:  # noqa: B008
    """Return passes as an 8-billion-parameter model has them on one H200, or with another constant part."""
    points = tuple(
        PrefillPoint(size, constant_s + 16e-6 * size + 3.5e-10 * size**2)
        for size in (100, 1000, 2000, 3000, 5000, 8000, 12000, 16000)
    )
    return PrefillProfile(points, max_batched_tokens=budget, overhead=overhead)


PAPER = PrefillProfile(max_throughput=MaxThroughput(6144, 28_309), overhead=Overhead(0.1))


def mix(tokens: float, scv: float = 0.0, arrival_scv: float = 1.0, hits: float = 0.0) -> WorkloadStats:
    return WorkloadStats(1.0, LengthStats(tokens, scv), LengthStats(100.0), arrival_scv, hits)


CASES = {
    "one, long prompts": (engine(), mix(12000), 1, JSQ, 0.8),
    "one, short prompts": (engine(), mix(300, 0.5), 1, JSQ, 0.7),
    "few": (engine(), mix(3000), 4, JSQ, 0.85),
    "few, heavy tails": (engine(), mix(3000, 4), 4, JSQ, 0.7),
    "many": (engine(), mix(3000, 1), 24, JSQ, 0.93),
    "many, short prompts": (engine(), mix(1000, 0.5), 16, JSQ, 0.8),
    "bursty": (engine(), mix(2000, 1, 4.0), 6, JSQ, 0.75),
    "regular": (engine(), mix(4000, 0.25, 0.5), 3, JSQ, 0.85),
    "prefix hits and overhead": (engine(overhead=Overhead(0.03, 0.004)), mix(6000, 1, hits=0.5), 5, JSQ, 0.8),
    "small budget": (engine(budget=2048), mix(1500, 0.5), 4, JSQ, 0.85),
    "large constant part": (engine(0.06, 32768), mix(800, 1), 4, JSQ, 0.6),
    "the paper's": (PAPER, mix(6144, 0.3), 3, JSQ, 0.8),
    "in turn": (engine(), mix(2500, 0.5), 4, ROUND_ROBIN, 0.8),
    "at random": (engine(), mix(2500, 0.5), 4, RANDOM, 0.7),
    "one queue": (engine(), mix(6000, 0.5), 4, CENTRAL, 0.85),
}
"""Profile, mix, replicas, routing, share of saturation."""

ALLOWED = {Statistic.MEAN: 0.06, Statistic.P50: 0.1, Statistic.P90: 0.1, Statistic.P95: 0.1, Statistic.P99: 0.14}
"""How far the load at which a statistic is reached may lie off, relative."""


@pytest.mark.parametrize("name", CASES)
def test_simulated_latencies_are_predicted_at_nearly_the_same_load(name: str) -> None:
    profile, workload, replicas, routing, share = CASES[name]
    law = prefill_law(profile, workload, routing)
    rate_rps = share * law.saturation_rps(replicas)
    stats = WorkloadStats(rate_rps, workload.isl, workload.osl, workload.arrival_scv, workload.prefix_hit_ratio)
    requests = draw_requests(stats, 120_000, seed=3)
    first_token_s = simulate_prefill(Deployment(profile, DECODE, routing), requests, replicas, seed=4)
    stay_s = first_token_s - requests.arrival_s
    overhead_s = profile.overhead.fixed_s + profile.overhead.per_thousand_tokens_s / 1000 * requests.input_tokens
    assert (stay_s >= overhead_s - 1e-9).all()  # the first token comes after the overhead
    ttft_s = stay_s[max(1000, run_in(requests.arrival_s, stay_s)) :]
    for statistic, allowed in ALLOWED.items():
        quantile = statistic.quantile
        simulated_s = float(ttft_s.mean() if quantile is None else np.quantile(ttft_s, quantile))
        slower_s = law.value_s(replicas, rate_rps * (1 + allowed), statistic)
        faster_s = law.value_s(replicas, rate_rps * (1 - allowed), statistic)
        assert faster_s <= simulated_s <= slower_s, f"{statistic}: {law.value_s(replicas, rate_rps, statistic)}"


@pytest.mark.parametrize("name", CASES)
def test_full_passes_are_all_that_is_served(name: str) -> None:
    """At 3 % more than saturation the queue grows with the time, at 3 % less it does not."""
    profile, workload, _, routing, _ = CASES[name]
    waits_s = []
    for share in (0.97, 1.03):
        rate_rps = share * prefill_law(profile, workload, routing).saturation_rps(1)
        stats = WorkloadStats(rate_rps, workload.isl, workload.osl, workload.arrival_scv, workload.prefix_hit_ratio)
        requests = draw_requests(stats, 100_000, seed=5)
        first_token_s = simulate_prefill(Deployment(profile, DECODE, routing), requests, 1, seed=6)
        waits_s.append(float((first_token_s - requests.arrival_s)[-1000:].mean()))
        horizon_s = float(requests.arrival_s[-1])
    assert waits_s[0] < 0.012 * horizon_s
    assert waits_s[1] > 0.012 * horizon_s
