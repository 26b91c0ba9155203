"""Decode, rule by rule (DESIGN section 6); prefill takes next to no time."""

import pytest

from pdscaler.core.curves import decode_surface
from pdscaler.core.emulation import Admitted
from pdscaler.core.emulation.decode import BatchClock, BatchClocks
from pdscaler.core.pools import Pool
from pdscaler.core.profile import DecodePoint, DecodeProfile
from support.emulation import INSTANT, completions, deployment, level, prefill, shared, submit

approx = pytest.approx


def test_one_request_takes_a_step_for_each_token_after_the_first() -> None:
    emulation = deployment(prefill(), level(0.01))
    submit(emulation, (0.0, 500, 101))
    done = completions(emulation.advance(10))[0]
    assert (done.ttft_s, done.tpot_s, done.e2e_s) == approx((0.5, 0.01, 1.5))
    assert done.decode_replica == "d0"


def test_an_answer_of_one_token_ends_after_prefill() -> None:
    emulation = deployment(prefill(), level())
    submit(emulation, (0.0, 500, 1))
    done = completions(emulation.advance(10))[0]
    assert done.tpot_s is None
    assert done.decode_replica is None
    assert done.e2e_s == approx(0.5)


def test_a_join_and_a_departure_change_the_speed_at_once() -> None:
    emulation = deployment(INSTANT, shared(0.01))
    submit(emulation, (0.0, 100, 101), (0.5, 100, 101))
    done = completions(emulation.advance(10))
    # Alone 100 tokens/s until 0.5 (50 done), then 50 tokens/s each: the first ends at 1.5; the second has 50 left: 2.0.
    assert done[0].at_s == approx(1.5)
    assert done[1].at_s == approx(2.0)
    assert done[1].tpot_s == approx(0.015)


def test_the_context_grows_with_every_token() -> None:
    profile = DecodeProfile(
        (DecodePoint(100, 1, 0.01), DecodePoint(100, 2, 0.01), DecodePoint(200, 1, 0.02), DecodePoint(200, 2, 0.02))
    )
    emulation = deployment(INSTANT, profile, (1, 2))
    submit(emulation, (0.0, 100, 101), (0.0, 150, 101))
    done = completions(emulation.advance(10))
    # From 100 to 200 tokens of context the step grows from 10 to 20 ms: 15 ms on average.
    assert done[0].e2e_s == approx(1.5)
    # From 150 to 200: 50 × 17.5 ms; from 200 to 250 it is held: 50 × 20 ms.
    assert done[1].e2e_s == approx(0.875 + 1.0)


def test_the_context_is_resident_tokens_over_batch() -> None:
    points = [DecodePoint(context, batch, context * 1e-4) for context in (100, 300) for batch in (1, 4)]
    emulation = deployment(INSTANT, DecodeProfile(tuple(points)))
    submit(emulation, (0.0, 100, 11), (0.0, 200, 11))
    # Mean context 150 to 160 over ten tokens: 15.5 ms a token.
    assert completions(emulation.advance(10))[1].e2e_s == approx(0.155)


def test_a_wait_for_a_slot_counts_in_tpot() -> None:
    emulation = deployment(INSTANT, level(0.01, max_batch=1))
    submit(emulation, (0.0, 100, 101), (0.0, 100, 101))
    emulation.advance(0.5)
    state = emulation.replicas(Pool.DECODE)[0]
    assert (state.running, state.waiting) == (1, 1)
    assert (state.kv_tokens, state.decoded_tokens) == approx((150, 50))
    done = completions(emulation.advance(10))
    assert done[1].decode_started_s == approx(1.0)
    assert done[1].tpot_s == approx(0.02)


def test_memory_admits_against_what_is_resident_now() -> None:
    emulation = deployment(INSTANT, level(0.01, kv_capacity_tokens=1000))
    # 500 + 400 + 50 fits at once, though the first will grow to 600.
    submit(emulation, (0.0, 500, 101), (0.0, 400, 50))
    starts = [event.at_s for event in emulation.advance(10) if isinstance(event, Admitted)]
    assert starts == approx([0.0, 0.0])


def test_memory_holds_back_the_head_and_those_behind_it() -> None:
    emulation = deployment(INSTANT, level(0.01, kv_capacity_tokens=1000))
    # At 0.6 s the first has 560 resident: 560 + 450 is too much; the third would fit but does not overtake.
    submit(emulation, (0.0, 500, 101), (0.6, 400, 50), (0.7, 10, 10))
    starts = {event.request.request_id: event.at_s for event in emulation.advance(10) if isinstance(event, Admitted)}
    assert starts == approx({0: 0.0, 1: 1.0, 2: 1.0})


def test_exactly_the_capacity_fits() -> None:
    emulation = deployment(INSTANT, level(0.01, kv_capacity_tokens=1000))
    submit(emulation, (0.0, 500, 101), (0.0, 400, 100))
    starts = [event.at_s for event in emulation.advance(10) if isinstance(event, Admitted)]
    assert starts == approx([0.0, 0.0])


def test_an_empty_replica_takes_what_can_never_fit() -> None:
    emulation = deployment(INSTANT, level(0.01, kv_capacity_tokens=100))
    submit(emulation, (0.0, 500, 101))
    assert completions(emulation.advance(10))[0].e2e_s == approx(1.0)


def test_routing_counts_resident_tokens_and_waiting_prompts() -> None:
    emulation = deployment(INSTANT, level(0.01, max_batch=1), (1, 2))
    submit(emulation, (0.0, 500, 1001), (0.1, 100, 1001), (0.2, 600, 11), (0.3, 50, 11), (0.4, 10, 11))
    done = completions(emulation.advance(100))
    # d0 has 500, d1 100 and then 600 waiting: the fourth goes to d0 (530 < 720), the fifth too (590 < 730).
    assert [done[i].decode_replica for i in range(5)] == ["d0", "d1", "d1", "d0", "d0"]


def test_equal_loads_go_to_the_oldest_replica() -> None:
    emulation = deployment(INSTANT, level(), (1, 3))
    submit(emulation, (0.0, 500, 11), (5.0, 500, 11))
    assert {done.decode_replica for done in completions(emulation.advance(10)).values()} == {"d0"}


def test_requests_that_end_together_leave_together() -> None:
    emulation = deployment(INSTANT, shared(0.01))
    submit(emulation, (0.0, 100, 51), (0.0, 100, 51))
    done = completions(emulation.advance(10))
    assert done[0].at_s == done[1].at_s == approx(1.0)
    assert emulation.replicas(Pool.DECODE)[0].kv_tokens == 0


def test_an_idle_replica_forgets_rounding() -> None:
    emulation = deployment(INSTANT, shared(0.0123))
    submit(emulation, *((0.37 * i, 97 + i, 13 + i) for i in range(50)))
    emulation.advance(1e5)
    assert emulation.replicas(Pool.DECODE)[0].kv_tokens == 0


CLOCK = BatchClock((100.0, 200.0, 400.0), (0.01, 0.03, 0.02))


@pytest.mark.parametrize("context", [0.0, 50.0, 100.0, 130.0, 200.0, 399.0, 400.0, 1000.0])
@pytest.mark.parametrize("tokens", [0.0, 0.5, 60.0, 150.0, 1234.5])
def test_progress_inverts_time(context: float, tokens: float) -> None:
    assert CLOCK.tokens(context, CLOCK.time_s(context, tokens)) == approx(tokens, abs=1e-9)


def test_time_is_the_integral_of_the_step() -> None:
    # 50 below the first context, 100 up the slope, 200 down, 100 beyond.
    assert CLOCK.time_s(50.0, 450.0) == approx(50 * 0.01 + 100 * 0.02 + 200 * 0.025 + 100 * 0.02)


def test_clocks_follow_the_surface() -> None:
    profile = DecodeProfile(
        tuple(DecodePoint(c, b, 0.005 + c * b * 1e-7) for c in (500, 2000, 9000) for b in (1, 8, 64))
    )
    surface = decode_surface(profile)
    clock = BatchClocks(surface)[20]
    for context in (100, 500, 777, 2000, 6000, 20000):
        step_s = clock.time_s(context, 1e-3) / 1e-3
        assert step_s == approx(surface.step_time_s(20, 20 * (context + 5e-4)), rel=1e-6)
