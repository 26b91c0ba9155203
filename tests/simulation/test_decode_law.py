"""The analytic decode model against the event simulation, on cases of every kind."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pdscaler.core.decision import Binding
from pdscaler.core.decode_law import decode_law
from pdscaler.core.profile import DecodePoint, DecodeProfile, MaxThroughput, PrefillProfile
from pdscaler.core.simulation.requests import draw_requests
from pdscaler.core.simulation.run import Deployment, simulate_decode, tpot_s
from pdscaler.core.slo import Statistic
from pdscaler.core.workload import LengthStats, WorkloadStats

INSTANT = PrefillProfile(max_throughput=MaxThroughput(1000, 1e9))
"""Decode alone is simulated: a request arrives there when it arrives."""

DEEPSEEK = DecodeProfile(
    tuple(
        DecodePoint(6400, batch, tpot_s)
        for batch, tpot_s in ((10, 0.0128), (20, 0.0164), (30, 0.0188), (40, 0.0216), (50, 0.0239), (60, 0.0262))
    ),
    max_batch=256,
    kv_capacity_tokens=900_000,
)
"""MODEL section 1: eight H200, DeepSeek-V3.1."""


def small_model(max_batch: int = 512, kv_capacity_tokens: float | None = 945_000) -> DecodeProfile:
    """Return a surface such as an 8-billion-parameter model has on one H200: memory traffic makes most of a step."""
    return DecodeProfile(
        tuple(
            DecodePoint(context, batch, 0.0043 + 4e-5 * batch + 2.3e-8 * batch * context)
            for context in (350, 3000, 8000, 14000)
            for batch in (1, 16, 64, 256)
        ),
        max_batch,
        kv_capacity_tokens,
    )


def lengths(mean: float, scv: float = 0.0) -> LengthStats:
    return LengthStats(mean, scv)


CASES = {
    "light": (small_model(), 1, WorkloadStats(3, lengths(3000, 0.5), lengths(150, 0.5)), 0.01, 0.02),
    "one": (small_model(), 1, WorkloadStats(30, lengths(3000), lengths(150)), 0.01, 0.04),
    "few": (small_model(), 4, WorkloadStats(100, lengths(3000, 0.5), lengths(150, 0.5)), 0.01, 0.02),
    "bursty": (small_model(), 3, WorkloadStats(60, lengths(2000, 1), lengths(200, 0.5), 4.0), 0.01, 0.02),
    "many": (small_model(), 32, WorkloadStats(500, lengths(3000, 1), lengths(150, 1)), 0.01, 0.02),
    "long prompts": (small_model(), 5, WorkloadStats(15, lengths(12000), lengths(500)), 0.01, 0.03),
    "heavy tails": (small_model(), 8, WorkloadStats(30, lengths(6000, 2), lengths(600, 2)), 0.01, 0.04),
    "the paper's": (DEEPSEEK, 4, WorkloadStats(12.5, lengths(6144, 0.3), lengths(512, 0.3)), 0.01, 0.02),
    "slots": (small_model(48, None), 2, WorkloadStats(71, lengths(2000), lengths(150, 0.5)), 0.03, 0.06),
    "memory": (small_model(256, 150_000), 4, WorkloadStats(123, lengths(3000), lengths(150)), 0.02, 0.06),
}
"""Profile, replicas, workload; how near the mean and P50 must be, and P90 to P99."""


def simulated_tpot_s(profile: DecodeProfile, replicas: int, workload: WorkloadStats) -> NDArray[np.float64]:
    """Return the TPOT of the requests of one run, the run-in and those of one output token left out."""
    requests = draw_requests(workload, 40_000, seed=1)
    finished_s = simulate_decode(Deployment(INSTANT, profile), requests, requests.arrival_s, replicas)
    values_s = tpot_s(requests, requests.arrival_s, finished_s)[10_000:]
    return values_s[~np.isnan(values_s)]


def statistic_of(values_s: NDArray[np.float64], statistic: Statistic) -> float:
    return float(values_s.mean() if statistic.quantile is None else np.quantile(values_s, statistic.quantile))


@pytest.mark.parametrize("case", CASES)
def test_statistics_agree(case: str) -> None:
    profile, replicas, workload, near, near_tail = CASES[case]
    values_s = simulated_tpot_s(profile, replicas, workload)
    law = decode_law(profile, workload)
    errors = {
        statistic: law.value_s(replicas, workload.arrival_rate_rps, statistic) / statistic_of(values_s, statistic) - 1
        for statistic in Statistic
    }
    assert abs(errors[Statistic.MEAN]) < near, errors
    assert abs(errors[Statistic.P50]) < near, errors
    assert all(abs(errors[statistic]) < near_tail for statistic in (Statistic.P90, Statistic.P95, Statistic.P99)), (
        errors
    )


@pytest.mark.parametrize(
    ("statistic", "target_s"),
    [
        (Statistic.MEAN, 0.0100),
        (Statistic.MEAN, 0.0080),
        (Statistic.MEAN, 0.0062),
        (Statistic.P95, 0.0100),
        (Statistic.P95, 0.0075),
        (Statistic.P99, 0.0100),
    ],
)
def test_the_least_count_is_the_simulated_one(statistic: Statistic, target_s: float) -> None:
    workload = WorkloadStats(100, lengths(3000, 0.5), lengths(150, 0.5))
    law = decode_law(small_model(), workload)
    least = next(count for count in range(1, 40) if law.value_s(count, 100, statistic) <= target_s)
    assert statistic_of(simulated_tpot_s(small_model(), least, workload), statistic) <= target_s
    assert statistic_of(simulated_tpot_s(small_model(), least - 1, workload), statistic) > target_s


@pytest.mark.parametrize("case", ["slots", "memory"])
def test_beyond_saturation_the_queue_grows(case: str) -> None:
    profile, replicas, workload, *_ = CASES[case]
    law = decode_law(profile, workload)
    saturation_rps = law.saturation_rps(replicas)
    later = []
    for share in (0.9, 1.1):
        values_s = simulated_tpot_s(profile, replicas, replace(workload, arrival_rate_rps=share * saturation_rps))
        halves = np.array_split(values_s, 2)
        later.append(halves[1].mean() / halves[0].mean())
    assert later[0] < 1.05
    assert later[1] > 1.5


def test_the_limit_that_binds_is_named() -> None:
    for case, limit in (("slots", Binding.BATCH_SLOTS), ("memory", Binding.KV_MEMORY)):
        profile, replicas, workload, *_ = CASES[case]
        law = decode_law(profile, workload)
        assert law.binding(replicas, 1.05 * law.saturation_rps(replicas)) is limit
        assert law.binding(replicas, 0.995 * law.saturation_rps(replicas)) is limit
        assert law.binding(replicas, 0.5 * law.saturation_rps(replicas)) is Binding.TPOT


def test_throughput_that_falls_with_the_batch_ends_where_it_is_highest() -> None:
    points = tuple(DecodePoint(1000, batch, tpot_s) for batch, tpot_s in ((1, 0.01), (32, 0.02), (64, 0.06)))
    law = decode_law(DecodeProfile(points, max_batch=64), WorkloadStats(1, lengths(1000), lengths(101)))
    assert law.saturation_rps(1) == pytest.approx(32 / 0.02 / 100, rel=0.1)
    assert law.binding(1, 2 * law.saturation_rps(1)) is Binding.TPOT


def test_requests_of_one_output_token_never_decode() -> None:
    law = decode_law(DEEPSEEK, WorkloadStats(5, lengths(6144), lengths(1)))
    assert law.saturation_rps(1) == float("inf")
    assert law.value_s(1, 1e9, Statistic.P99) == law.idle_s(Statistic.P99) == pytest.approx(0.0128)
