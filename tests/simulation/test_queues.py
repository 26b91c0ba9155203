"""The event simulation against queueing theory: mean waits within confidence intervals of batch means."""

import numpy as np
import pytest
from scipy import stats

from pdscaler.core.emulation import Completion, Emulation, Request, Routing
from pdscaler.core.profile import MaxThroughput, PrefillProfile
from support.emulation import INSTANT, completions, deployment, level, prefill, shared

BATCHES = 25
WARM_UP = 0.1


def poisson(rate_rps: float, input_tokens: np.ndarray, output_tokens: np.ndarray, seed: int) -> list[Request]:
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(1 / rate_rps, len(input_tokens)))
    columns = (arrivals.tolist(), input_tokens.tolist(), output_tokens.tolist())
    return [Request(number, *values) for number, values in enumerate(zip(*columns, strict=True))]


def play(emulation: Emulation, requests: list[Request]) -> list[Completion]:
    for request in requests:
        emulation.submit(request)
    done = completions(emulation.advance(1e12))
    return [done[number] for number in sorted(done)]


def interval(values: np.ndarray) -> tuple[float, float]:
    """99 % confidence interval of the mean of a correlated series, by batch means, the run-in dropped."""
    steady = values[int(len(values) * WARM_UP) :]
    means = np.array([batch.mean() for batch in np.array_split(steady, BATCHES)])
    half = stats.t.ppf(0.995, BATCHES - 1) * means.std(ddof=1) / np.sqrt(BATCHES)
    return float(means.mean() - half), float(means.mean() + half)


def assert_mean(values: np.ndarray, expected: float, within: float) -> None:
    low, high = interval(values)
    assert low <= expected <= high
    assert high - low < within * expected  # an interval too wide proves nothing


@pytest.mark.parametrize("load", [0.5, 0.7])
def test_fixed_lengths_wait_as_in_m_d_1(load: float) -> None:
    count = 100_000
    lengths = np.full(count, 1000)
    # A budget of one prompt: each goes alone and takes 1 s.
    done = play(deployment(prefill(budget=1000), level()), poisson(load, lengths, np.ones(count, int), seed=1))
    waits = np.array([completion.ttft_s - 1.0 for completion in done])
    assert_mean(waits, load / (2 * (1 - load)), within=0.15)


def test_exponential_lengths_wait_as_in_m_m_1() -> None:
    count, load = 150_000, 0.7
    lengths = np.maximum(1, np.random.default_rng(2).exponential(1e6, count).astype(int))
    profile = PrefillProfile(max_throughput=MaxThroughput(1e6, 1e6), max_batched_tokens=1)  # alone, 1 s on average
    done = play(deployment(profile, level()), poisson(load, lengths, np.ones(count, int), seed=3))
    assert_mean(np.array([completion.ttft_s for completion in done]), 1 / (1 - load), within=0.2)


def test_two_servers_with_one_queue_wait_as_in_m_m_2() -> None:
    count, load = 100_000, 0.75
    lengths = np.maximum(1, np.random.default_rng(4).exponential(1e6, count).astype(int))
    profile = PrefillProfile(max_throughput=MaxThroughput(1e6, 1e6), max_batched_tokens=1)
    emulation = deployment(profile, level(), (2, 1), Routing.CENTRAL)
    done = play(emulation, poisson(2 * load, lengths, np.ones(count, int), seed=5))
    # M/M/2: mean time in system 1 / (1 - rho²).
    assert_mean(np.array([completion.ttft_s for completion in done]), 1 / (1 - load**2), within=0.15)


@pytest.mark.parametrize("answers", ["fixed", "geometric"])
def test_a_shared_decode_replica_is_processor_sharing(answers: str) -> None:
    # M/G/1-PS: mean time in system S / (1 - rho), whatever the distribution.
    count, load, mean_tokens, step_s = 60_000, 0.6, 100, 0.01
    rng = np.random.default_rng(6)
    tokens = np.full(count, mean_tokens) if answers == "fixed" else rng.geometric(1 / mean_tokens, count)
    requests = poisson(load / (mean_tokens * step_s), np.full(count, 10), tokens + 1, seed=7)
    done = play(deployment(INSTANT, shared(step_s, max_batch=10_000)), requests)
    assert_mean(np.array([completion.e2e_s for completion in done]), mean_tokens * step_s / (1 - load), within=0.15)


def test_littles_law() -> None:
    rng = np.random.default_rng(8)
    count, rate_rps = 20_000, 8.0
    emulation = deployment(prefill(budget=4000), shared(0.002), (2, 3))
    requests = poisson(rate_rps, rng.integers(20, 400, count), rng.integers(1, 120, count), seed=9)
    for request in requests:
        emulation.submit(request)
    in_system: list[int] = []
    done: list[Completion] = []
    end_s = requests[-1].arrival_s
    for at_s in np.sort(rng.uniform(0, end_s, 20_000)):  # seen at random instants
        done += [event for event in emulation.advance(float(at_s)) if isinstance(event, Completion)]
        in_system.append(emulation.in_flight)
    mean_stay_s = np.mean([completion.e2e_s for completion in done])
    assert np.mean(in_system) == pytest.approx(count / end_s * mean_stay_s, rel=0.02)
