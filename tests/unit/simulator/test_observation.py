"""What a policy sees is what happened up to the last scrape, counted again from the requests one by one."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from pdscaler.core.histogram import quantile_interval
from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.simulation.run import Records
from pdscaler.simulator.observation import Observation
from pdscaler.simulator.replay import ReplaySettings, replay
from pdscaler.simulator.scrapes import BOUNDS
from support.replays import Scripted, spec_of, stream

DELAY_S = 5.0
WINDOW_S = 180.0


def script(now_s: float) -> PerPool[int]:
    """Up and down, so that replicas start, wait and drain."""
    step = int(now_s // 90) % 4
    return (PerPool(2, 2), PerPool(5, 4), PerPool(1, 1), PerPool(3, 1))[step]


@pytest.fixture(scope="module")
def run() -> tuple[RequestTable, Scripted, Records]:
    requests = stream([(300, 30.0), (200, 5.0), (250, 45.0)], osl=500)
    policy = Scripted(script)
    result = replay(spec_of(startup_s=40.0), requests, policy, PerPool(3, 2))
    assert result.attainment.joint < 0.9  # queues there were
    return requests, policy, result.records


def between(times_s: NDArray[np.float64], after_s: float, until_s: float) -> NDArray[np.bool_]:
    return np.asarray((times_s > after_s) & (times_s <= until_s))


def test_windows_are_the_sums_over_the_requests(run: tuple[RequestTable, Scripted, Records]) -> None:
    requests, policy, records = run
    assert policy.seen[0].window(WINDOW_S) is None  # one scrape is no window
    for seen in policy.seen[1:]:
        until_s = seen.now_s - DELAY_S
        assert seen.scraped_s == until_s
        # The oldest scrape within the window; the first of all is 10 s after the begin.
        after_s = max(10.0, until_s - 15.0 * math.floor((WINDOW_S - DELAY_S - 1e-9) / 15.0))
        window = seen.window(WINDOW_S)
        assert window is not None
        assert window.span_s == pytest.approx(until_s - after_s)
        arrived = between(records.arrival_s, after_s, until_s)
        first = between(records.first_token_s, after_s, until_s)
        finished = between(records.finished_s, after_s, until_s)
        assert window.rate_rps * window.span_s == pytest.approx(arrived.sum())
        assert window.isl_mean == pytest.approx(requests.input_tokens[arrived].mean())
        assert window.ttft_mean_s == pytest.approx(records.ttft_s[first].mean())
        assert window.rate("finished") * window.span_s == pytest.approx(finished.sum())
        assert window.osl_mean == pytest.approx(requests.output_tokens[finished].mean())
        assert window.tpot_mean_s == pytest.approx(np.nanmean(records.tpot_s[finished]))
        hits = requests.prefix_hit_tokens[arrived].sum() / requests.input_tokens[arrived].sum()
        assert window.prefix_hit_ratio == pytest.approx(hits)
        for name, values in (
            ("isl", requests.input_tokens[arrived]),
            ("osl", requests.output_tokens[finished]),
            ("ttft", records.ttft_s[first]),
            ("tpot", records.tpot_s[finished & ~np.isnan(records.tpot_s)]),
        ):
            edges = [-np.inf, *BOUNDS[name], np.inf]  # buckets hold their upper bound
            counts = np.histogram(-values.astype(float), -np.array(edges)[::-1])[0][::-1]
            told = {(each.lower, each.upper): each.weight for each in window.buckets(name)}
            expected = {
                (max(0.0, low), high): count
                for low, high, count in zip(edges, edges[1:], counts, strict=False)
                if count
            }
            assert told == expected
        interval = quantile_interval(window.buckets("ttft"), 0.95)
        assert interval is not None
        exact = float(np.quantile(records.ttft_s[first], 0.95, method="inverted_cdf"))
        assert interval[0] <= exact <= interval[1]
        lengths = window.lengths("isl")
        assert lengths is not None
        assert lengths.mean_tokens == window.isl_mean
        assert lengths.scv == pytest.approx(1.0, abs=0.45)  # geometric, read off the buckets of a window


def test_gauges_are_those_of_the_last_scrape(run: tuple[RequestTable, Scripted, Records]) -> None:
    requests, policy, records = run
    several = requests.output_tokens > 1
    queued = 0.0
    for seen in policy.seen:
        at_s = seen.scraped_s
        assert at_s is not None
        prefill, decode = seen.load("prefill"), seen.load("decode")
        assert prefill.waiting_requests is not None
        assert prefill.running_requests is not None
        queued = max(queued, prefill.waiting_requests)
        inside = (records.arrival_s <= at_s) & (records.first_token_s > at_s)
        assert prefill.waiting_requests + prefill.running_requests == inside.sum()
        there = several & (records.first_token_s <= at_s) & (records.finished_s > at_s)
        running = there & (records.decode_started_s <= at_s)
        assert decode.running_requests == running.sum()
        assert decode.waiting_requests == (there & ~running).sum()
        assert decode.kv_usage_ratio is not None
        assert 0 <= decode.kv_usage_ratio <= 1
        tokens = seen.gauge("kv_tokens")
        prompts, all_of = (requests.input_tokens[running].sum(), requests.output_tokens[running].sum())
        assert prompts - 1e-6 <= (tokens or 0.0) <= prompts + all_of
    assert queued > 10
    generated = policy.seen[-1].recent("generated_tokens", 1e9)
    assert (np.diff(generated) >= -1e-6).all()  # a counter never falls
    assert len(generated) == len(policy.seen)


def test_replicas_are_those_of_now(run: tuple[RequestTable, Scripted, Records]) -> None:
    _, policy, records = run
    pending = draining = 0
    for before, seen in zip(policy.seen, policy.seen[1:], strict=False):
        for pool, state in seen.pools.items():
            assert state.spec_replicas == script(before.now_s)[pool]
            assert state.ready_replicas + state.pending_replicas == state.spec_replicas
            lives = records.lives[pool]
            assert state.terminating_replicas == ((lives.left_s < seen.now_s) & (lives.gone_s > seen.now_s)).sum()
            pending, draining = pending + state.pending_replicas, draining + state.terminating_replicas
    assert pending > 0 < draining


def test_a_window_that_has_just_begun_is_covered_in_part() -> None:
    policy = Scripted(lambda _: PerPool(2, 2))
    replay(spec_of(), stream([(400, 10.0)]), policy, PerPool(2, 2))
    assert [policy.seen[place].covered_s(WINDOW_S) for place in (0, 1, 2)] == [0.0, 27.5, 42.5]
    assert policy.seen[12].covered_s(WINDOW_S) == WINDOW_S
    assert policy.seen[12].covered_s(60.0) == 60.0


@pytest.mark.parametrize(("interval_s", "delay_s"), [(15.0, 0.0), (15.0, 40.0), (30.0, 7.0), (10.0, 3.0)])
def test_nothing_newer_than_the_delay_is_seen(interval_s: float, delay_s: float) -> None:
    policy = Scripted(lambda _: PerPool(2, 2))
    settings = ReplaySettings(scrape_interval_s=interval_s, observation_delay_s=delay_s)
    replay(spec_of(), stream([(300, 10.0)]), policy, PerPool(2, 2), settings=settings)
    ages_s = [seen.now_s - seen.scraped_s for seen in policy.seen if seen.scraped_s is not None]
    assert len(ages_s) >= len(policy.seen) - 3
    assert all(delay_s <= age_s < delay_s + interval_s for age_s in ages_s)


def test_an_observation_stays_what_it_was(run: tuple[RequestTable, Scripted, Records]) -> None:
    """Kept and asked later, it still knows nothing newer."""
    _, policy, _ = run
    early: Observation = policy.seen[5]
    assert early.scraped_s == early.now_s - DELAY_S
    assert early.recent("at_s", 1e9)[-1] == early.scraped_s
