"""Prefill, rule by rule (DESIGN section 6). One token takes one millisecond, the budget is 1000 tokens."""

import numpy as np
import pytest

from pdscaler.core.emulation import Emulation, Prefilled, Request, Routing
from pdscaler.core.pools import Pool
from pdscaler.core.profile import Overhead
from support.emulation import completions, deployment, level, prefill, submit


def ttfts(emulation: Emulation) -> list[float]:
    done = completions(emulation.advance(1e6))
    return [round(done[request_id].ttft_s, 9) for request_id in sorted(done)]


def test_one_prompt_takes_the_time_of_its_pass() -> None:
    emulation = deployment(prefill(), level())
    submit(emulation, (2.0, 500, 1))
    assert ttfts(emulation) == [0.5]


def test_prompts_that_wait_share_the_next_pass() -> None:
    emulation = deployment(prefill(), level())
    submit(emulation, (0.0, 500, 1), (0.1, 300, 1), (0.2, 400, 1))
    # The second pass has 700 tokens: from 0.5 to 1.2.
    assert ttfts(emulation) == [0.5, 1.1, 1.0]


def test_the_budget_ends_a_pass_and_nobody_overtakes() -> None:
    emulation = deployment(prefill(), level())
    submit(emulation, (0.0, 500, 1), (0.1, 300, 1), (0.2, 800, 1), (0.3, 100, 1))
    # 300 + 800 is over 1000: 300 goes alone (0.5 to 0.8), though 100 would have fitted; then 800 + 100 (to 1.7).
    assert ttfts(emulation) == [0.5, 0.7, 1.5, 1.4]


def test_exactly_the_budget_fits() -> None:
    emulation = deployment(prefill(), level())
    submit(emulation, (0.0, 10, 1), (0.001, 400, 1), (0.002, 600, 1))
    assert ttfts(emulation) == [0.01, 1.009, 1.008]


def test_a_prompt_longer_than_the_budget_goes_alone() -> None:
    emulation = deployment(prefill(), level())
    submit(emulation, (0.0, 10, 1), (0.001, 1500, 1), (0.002, 100, 1))
    assert ttfts(emulation) == [0.01, 1.509, 1.608]


def test_cached_tokens_cost_no_pass_time_but_their_transfer() -> None:
    emulation = deployment(prefill(overhead=Overhead(fixed_s=0.1, per_thousand_tokens_s=0.2)), level())
    emulation.submit(Request(0, 0.0, input_tokens=500, output_tokens=1, prefix_hit_tokens=200))
    # 300 uncached tokens, 0.1 s fixed, 0.2 s per thousand of all 500.
    assert ttfts(emulation) == [0.5]


def test_the_budget_counts_uncached_tokens() -> None:
    emulation = deployment(prefill(), level())
    emulation.submit(Request(0, 0.0, 100, 1))
    emulation.submit(Request(1, 0.01, 900, 1, prefix_hit_tokens=400))
    emulation.submit(Request(2, 0.02, 500, 1))
    assert ttfts(emulation) == [0.1, 1.09, 1.08]


def test_the_shortest_queue_counts_the_running_pass() -> None:
    emulation = deployment(prefill(), level(), (2, 1))
    submit(emulation, (0.0, 500, 1), (0.1, 100, 1), (0.15, 50, 1), (0.16, 450, 1))
    # p0: 500 running. Then p1: 100, and 50 behind it (100 + 50 < 500), and 450 too (150 < 500): 50 + 450 in one pass.
    assert ttfts(emulation) == [0.5, 0.1, 0.55, 0.54]


def test_equal_queues_go_to_the_oldest_replica() -> None:
    emulation = deployment(prefill(), level(), (3, 1))
    submit(emulation, (0.0, 500, 1), (1.0, 500, 1))
    assert {done.prefill.replica for done in completions(emulation.advance(10)).values()} == {"p0"}


def test_round_robin_takes_turns() -> None:
    emulation = deployment(prefill(), level(), (2, 1), Routing.ROUND_ROBIN)
    submit(emulation, *((i * 10.0, 100 * (i + 1), 1) for i in range(4)))
    done = completions(emulation.advance(100))
    assert [done[i].prefill.replica for i in range(4)] == ["p0", "p1", "p0", "p1"]


def test_central_has_one_queue() -> None:
    emulation = deployment(prefill(), level(), (2, 1), Routing.CENTRAL)
    submit(emulation, (0.0, 800, 1), (0.0, 300, 1), (0.1, 900, 1), (0.2, 50, 1))
    emulation.advance(0.25)
    assert emulation.held.prefill == 2
    # p1 is free first, at 0.3: 900 + 50 fit its pass.
    assert ttfts(emulation) == [0.8, 0.3, 1.15, 1.05]


def test_random_needs_a_generator_and_spreads() -> None:
    with pytest.raises(ValueError, match="generator"):
        Emulation(prefill(), level(), Routing.RANDOM)
    emulation = Emulation(prefill(), level(), Routing.RANDOM, np.random.default_rng(1))
    emulation.set_replicas(Pool.PREFILL, ["p0", "p1"], 0.0)
    submit(emulation, *((float(i), 10, 1) for i in range(400)))
    chosen = [event.replica for event in emulation.advance(1e4) if isinstance(event, Prefilled)]
    assert 150 < chosen.count("p0") < 250


@pytest.mark.parametrize(
    "request_", [Request(0, 0.0, 0, 1), Request(0, 0.0, 1, 0), Request(0, 0.0, 5, 1, 6), Request(0, -1.0, 5, 1)]
)
def test_requests_that_make_no_sense_are_refused(request_: Request) -> None:
    with pytest.raises(ValueError, match="request 0"):
        deployment(prefill(), level()).submit(request_)


def test_time_does_not_go_back() -> None:
    emulation = deployment(prefill(), level())
    emulation.advance(5.0)
    with pytest.raises(ValueError, match="back"):
        emulation.advance(4.0)
