"""A run that is stopped, looked at and given orders on the way is the run with the same orders given at once."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodeProfile
from pdscaler.core.simulation import Deployment, Order, RequestTable, deployment_of, draw_requests, simulate
from pdscaler.core.simulation.live import LiveDeployment
from pdscaler.core.spec import Routing
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError
from support.core_cases import points_spec

STEP_S = 2.5
WORKLOAD = WorkloadStats(60.0, LengthStats(1500.0, 0.7), LengthStats(12.0, 1.0))
COUNTS = st.builds(PerPool, st.integers(1, 9), st.integers(1, 9))


def deployment(routing: Routing, max_batch: int = 256) -> Deployment:
    whole = deployment_of(points_spec())
    decode = DecodeProfile(whole.decode.points, max_batch, 90_000)
    return replace(whole, routing=routing, decode=decode)


@given(
    st.sampled_from(Routing),
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(1, 40), COUNTS), max_size=25),
    COUNTS,
    st.sampled_from((PerPool(7.0, 11.0), PerPool(0.0, 2.5), PerPool(100.0, 1.0))),
)
@settings(max_examples=60, deadline=None)
def test_a_run_in_steps_is_the_run_at_once(
    routing: Routing, seed: int, steps: list[tuple[int, PerPool[int]]], initial: PerPool[int], startup_s: PerPool[float]
) -> None:
    requests = draw_requests(WORKLOAD, 3000, seed)
    orders = [Order(step * STEP_S, counts) for step, counts in sorted(steps, key=lambda each: each[0])]
    whole = simulate(deployment(routing), requests, initial, orders=orders, startup_s=startup_s, seed=seed)
    live = LiveDeployment(deployment(routing), requests, initial, startup_s, seed=seed)
    told_first, told_last = [], []
    waiting = list(orders)
    for now_s in [*np.arange(STEP_S, 41 * STEP_S, STEP_S).tolist(), np.inf]:
        first, last = live.advance(now_s)
        told_first.append(first)
        told_last.append(last)
        assert (live.first_token_s[first] <= now_s).all()
        assert (live.finished_s[last] <= now_s).all()
        while waiting and waiting[0].at_s == now_s:
            live.order(waiting.pop(0).replicas)
    assert not waiting
    records = live.records()
    for name in ("first_token_s", "decode_started_s", "finished_s", "ttft_s", "tpot_s"):
        np.testing.assert_array_equal(getattr(records, name), getattr(whole, name))
    for pool, lives in whole.lives.items():
        for name in ("ordered_s", "left_s", "gone_s"):
            np.testing.assert_array_equal(getattr(records.lives[pool], name), getattr(lives, name))
        assert records.lives[pool].cancelled_s == lives.cancelled_s
    assert records.prefill_busy_s == pytest.approx(whole.prefill_busy_s)
    for told in (told_first, told_last):  # every request, once
        assert sorted(np.concatenate(told).tolist()) == list(range(len(requests)))


def test_what_is_inside_adds_up() -> None:
    """Counted from the records afterwards, what was inside at each look is what the look said."""
    requests = draw_requests(replace(WORKLOAD, osl=LengthStats(60.0, 1.0)), 3000, 5)
    live = LiveDeployment(deployment(Routing.CENTRAL, max_batch=8), requests, PerPool(3, 2), PerPool(5.0, 5.0))
    looks = []
    for step in range(1, 30):
        now_s = step * STEP_S
        live.advance(now_s)
        resident = float(live.decode.resident_tokens(now_s).sum())
        prefill, decode = live.prefill, live.decode
        looks.append((
            now_s,
            (prefill.waiting, prefill.running, prefill.waiting_tokens, prefill.busy_s(now_s)),
            (decode.waiting, decode.running, decode.waiting_tokens, resident, decode.decoded_tokens(resident)),
        ))  # fmt: skip
        if step == 6:
            live.order(PerPool(1, 4))
        if step == 12:
            live.order(PerPool(6, 1))
    live.advance(np.inf)
    records = live.records()
    several = requests.output_tokens > 1
    for now_s, (waiting, running, waiting_tokens, busy_s), decoding in looks:
        in_prefill = (records.arrival_s <= now_s) & (records.first_token_s > now_s)
        assert waiting + running == in_prefill.sum()  # this engine has no overhead: first tokens come with the pass
        assert 0 <= waiting_tokens <= requests.input_tokens[in_prefill].sum()
        assert 0 <= busy_s <= 6 * now_s
        there = several & (records.first_token_s <= now_s) & (records.finished_s > now_s)
        started = there & (records.decode_started_s <= now_s)
        assert decoding[1] == started.sum()
        assert decoding[0] == (there & ~started).sum()
        assert decoding[2] == requests.input_tokens[there & ~started].sum()
        # Resident: the prompts and what has been decoded; that is less than all there is to decode.
        assert decoding[3] == pytest.approx(requests.input_tokens[started].sum() + decoding[4])
        assert 0 <= decoding[4] <= (requests.output_tokens[started] - 1).sum()
    assert max(look[2][0] for look in looks) > 0 < max(look[1][0] for look in looks)  # both pools did queue
    assert records.prefill_busy_s > 0


def test_impossible_counts_are_refused() -> None:
    one = RequestTable(np.array([0.0]), np.array([10]), np.array([5]), np.array([0]))
    with pytest.raises(InvalidInputError, match="prefill replicas: must be at least 1"):
        LiveDeployment(deployment(Routing.CENTRAL), one, PerPool(0, 1), PerPool(1.0, 1.0))
    with pytest.raises(InvalidInputError, match="startup"):
        LiveDeployment(deployment(Routing.CENTRAL), one, PerPool(1, 1), PerPool(1.0, -1.0))
    live = LiveDeployment(deployment(Routing.CENTRAL), one, PerPool(1, 1), PerPool(1.0, 1.0))
    live.advance(1.0)
    with pytest.raises(InvalidInputError, match="decode replicas: must be at least 1"):
        live.order(PerPool(1, 0))
