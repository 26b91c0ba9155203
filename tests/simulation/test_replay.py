"""The closed loop: semantics of orders, no look into the future, conservation, constant load, steps."""

from dataclasses import replace

import numpy as np
import pytest

from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.simulation import Order, RequestTable, deployment_of, simulate
from pdscaler.core.spec import Constraints
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.policies import POLICIES, Setting, make_policy
from pdscaler.simulator.policies.expectation import LearnedExpectation
from pdscaler.simulator.policies.ours import Ours
from pdscaler.simulator.replay import ReplaySettings, replay
from pdscaler.simulator.result import ReplayResult
from support.replays import Scripted, clock, spec_of, stream

INITIAL = PerPool(2, 2)
WAVES = [(240, 15.0), (240, 50.0), (240, 10.0)]


def run(name: str, requests: RequestTable, settings: ReplaySettings | None = None) -> ReplayResult:
    spec = spec_of(startup_s=60.0)
    return replay(spec, requests, make_policy(name, Setting(spec, INITIAL)), INITIAL, settings=settings)


@pytest.mark.parametrize("name", [*POLICIES, "learned"])
def test_the_future_changes_no_decision(name: str) -> None:
    """Two streams that agree up to an instant get the same orders up to then."""
    waves = [(240, 15.0), (500, 60.0), (360, 10.0)]
    one, other = stream(waves, osl=300), stream([(1200, 120.0)], seed=9, osl=300)
    same_s = 640.0
    keep, take = one.arrival_s <= same_s, other.arrival_s > same_s
    changed = RequestTable(
        *(
            np.concatenate((getattr(one, column)[keep], getattr(other, column)[take]))
            for column in ("arrival_s", "input_tokens", "output_tokens", "prefix_hit_tokens")
        )
    )
    spec = spec_of(startup_s=60.0)
    setting = Setting(spec, INITIAL)
    results = [
        replay(
            spec,
            requests,
            Ours(setting, LearnedExpectation) if name == "learned" else make_policy(name, setting),
            INITIAL,
        )
        for requests in (one, changed)
    ]
    # What arrived by 640 is scraped at 640 and seen at 645: until then all is alike.
    before = [[order for order in result.orders if order.at_s <= same_s + 5] for result in results]
    assert before[0] == before[1]
    if name != "static":
        assert len(before[0]) > 1
        assert results[0].orders != results[1].orders


def test_orders_have_the_semantics_of_the_simulation() -> None:
    """The closed loop with the orders it came to is the open simulation given these orders at once."""
    requests = stream(WAVES)
    result = run("pdscaler", requests)
    assert len(result.orders) > 3
    orders = [Order(order.at_s, order.replicas) for order in result.orders[1:]]
    whole = simulate(deployment_of(spec_of().sizing), requests, INITIAL, orders=orders, startup_s=60.0)
    np.testing.assert_array_equal(result.records.finished_s, whole.finished_s)
    np.testing.assert_array_equal(result.records.ttft_s, whole.ttft_s)
    for pool, lives in whole.lives.items():
        np.testing.assert_array_equal(result.records.lives[pool].gone_s, lives.gone_s)


@pytest.mark.parametrize("name", POLICIES)
def test_every_request_is_served_once_and_the_same_seed_repeats(name: str) -> None:
    requests = stream(WAVES)
    result, again = run(name, requests), run(name, requests)
    records = result.records
    assert len(records) == result.requests == len(requests)
    assert (records.first_token_s > records.arrival_s).all()
    assert (records.finished_s >= records.first_token_s).all()
    assert np.isfinite(records.finished_s).all()
    assert np.isnan(records.tpot_s).sum() == (requests.output_tokens == 1).sum()
    assert result.orders == again.orders
    np.testing.assert_array_equal(records.finished_s, again.records.finished_s)
    assert result.gpu_hours == again.gpu_hours


def test_constant_load_changes_nothing_after_settling() -> None:
    """An hour of the same load: dynamo#9294 flapped between 2 and 1."""
    spec = spec_of()
    policy = make_policy("pdscaler", Setting(spec, PerPool(9, 9)))
    result = replay(spec, clock([(3600, 30.0)]), policy, PerPool(9, 9), settings=ReplaySettings(measure_from_s=900.0))
    assert result.scale_operations == 0
    settled = result.orders[-1]
    assert settled.replicas.prefill < 9
    assert settled.at_s <= 400.0
    assert result.attainment.joint == 1.0


@pytest.mark.parametrize(("rate_rps", "seed"), [(22.0, 1), (35.0, 2), (60.0, 3)])
def test_poisson_arrivals_of_a_constant_rate_change_nothing_after_settling(rate_rps: float, seed: int) -> None:
    """Means, queues and batches fluctuate for an hour; the counts do not."""
    spec = spec_of()
    policy = make_policy("pdscaler", Setting(spec, PerPool(9, 9)))
    requests = stream([(4500, rate_rps)], seed)
    result = replay(spec, requests, policy, PerPool(9, 9), settings=ReplaySettings(measure_from_s=900.0))
    assert result.scale_operations == 0
    assert result.orders[-1].replicas.prefill < 9
    assert result.attainment.joint > 0.95  # two targets on P95


def test_answers_that_get_longer_are_seen_before_they_have_finished() -> None:
    """The rate stays; answers grow from 60 to 240 tokens: the resident requests tell at once, the mean OSL later."""
    short, long = clock([(900, 60.0)]), clock([(900, 60.0)], osl=240)
    mixed = RequestTable(
        np.concatenate((short.arrival_s, long.arrival_s + 900.0)),
        *(
            np.concatenate((getattr(short, column), getattr(long, column)))
            for column in ("input_tokens", "output_tokens", "prefix_hit_tokens")
        ),
    )
    spec = spec_of()
    result = replay(spec, mixed, make_policy("pdscaler", Setting(spec, INITIAL)), INITIAL)
    grown = next(order for order in result.orders if order.at_s > 900.0)
    assert grown.at_s == 915.0
    assert grown.replicas.decode > 1
    assert "resident requests count as a load" in grown.reasons.decode


def test_a_step_is_followed_within_window_and_startup() -> None:
    spec = spec_of(startup_s=120.0)
    policy = make_policy("pdscaler", Setting(spec, INITIAL))
    result = replay(spec, clock([(900, 15.0), (1500, 60.0)]), policy, INITIAL)
    after = [order for order in result.orders if order.at_s > 900.0]
    assert after[0].at_s <= 960.0  # the mean over the window has doubled by then
    # A queue that the step made is drained by more than it needs in the end.
    grown = [order.at_s for order in after if all(order.replicas[pool] >= after[-1].replicas[pool] for pool in Pool)]
    assert grown[0] <= 900.0 + spec.window_s + 2 * 15.0
    served_s = grown[0] + 120.0
    late = result.records.arrival_s > served_s + 120.0
    assert (result.records.ttft_s[late] <= 0.3).mean() > 0.99
    series = result.series
    ready_s = series.begin_s[(series.begin_s > 900.0) & (series.ready.prefill >= after[-1].replicas.prefill)][0]
    assert served_s - 60.0 <= ready_s <= served_s + 60.0


def test_the_budget_holds_at_every_instant_whatever_a_policy_wants() -> None:
    spec = spec_of(startup_s=30.0, constraints=Constraints(max_gpus=14))
    greedy = Scripted(lambda now_s: PerPool(9, 1) if now_s % 300 < 150 else PerPool(1, 40))
    result = replay(spec, stream([(900, 20.0)]), greedy, INITIAL)
    assert 12 <= result.max_gpus <= 14
    assert {order.replicas.decode for order in result.orders} >= {1}
    # Growth waits until what drains is gone: used GPUs stay within the budget, too.
    lives, gpus = result.records.lives, PerPool(2, 1)
    instants = np.concatenate([each.ordered_s[np.isfinite(each.ordered_s)] for _, each in lives.items()])
    for at_s in instants:
        used = sum(
            gpus[pool] * int(((each.ordered_s <= at_s) & (each.gone_s > at_s)).sum()) for pool, each in lives.items()
        )
        assert used <= 14


def test_bounds_hold_whatever_a_policy_wants() -> None:
    result = replay(spec_of(), stream([(120, 5.0)]), Scripted(lambda _: PerPool(0, 10**6)), INITIAL)
    assert result.orders[-1].replicas == PerPool(1, 60)
    with pytest.raises(InvalidInputError, match="--initial: 61 decode replicas are out of bounds"):
        replay(spec_of(), stream([(120, 5.0)]), Scripted(lambda _: INITIAL), PerPool(1, 61))


def test_measured_is_what_arrives_later_and_costs_later() -> None:
    requests = stream(WAVES)
    script = Scripted(lambda now_s: PerPool(6, 3) if now_s >= 240.0 else INITIAL)
    whole = replay(spec_of(), requests, script, INITIAL)
    late = replay(spec_of(), requests, script, INITIAL, settings=ReplaySettings(measure_from_s=300.0))
    assert late.requests == (requests.arrival_s >= 300.0).sum()
    end_s = float(requests.arrival_s[-1])
    assert whole.gpu_hours == pytest.approx((240 * (2 * 2 + 2) + (end_s - 240) * (6 * 2 + 3)) / 3600)
    assert late.gpu_hours == pytest.approx((end_s - 300) * 15 / 3600)
    assert (whole.scale_operations, late.scale_operations) == (2, 0)
    assert whole.orders == late.orders
    ttft = (late.records.ttft_s <= 0.3)[requests.arrival_s >= 300.0]
    tpot = ~(late.records.tpot_s > 0.015)[requests.arrival_s >= 300.0]
    assert late.attainment.ttft == ttft.mean()
    assert late.attainment.tpot == tpot.mean()
    assert late.attainment.joint == (ttft & tpot).mean()
    with pytest.raises(InvalidInputError, match="leaves nothing to measure: the last request arrives after 7"):
        replay(spec_of(), requests, script, INITIAL, settings=ReplaySettings(measure_from_s=721.0))


def test_the_drain_is_counted_beside_the_orders() -> None:
    """Answers of 3000 tokens run for many seconds after their replica was told to leave."""
    down = Scripted(lambda now_s: PerPool(2, 1) if now_s >= 120.0 else PerPool(2, 4))
    result = replay(spec_of(), clock([(240, 1.0)], osl=3000), down, PerPool(2, 4))
    drained_s = 0.0
    lives_of = result.records.lives
    for lives in (lives_of.prefill, lives_of.decode):
        told = np.isfinite(lives.left_s)
        drained_s += float((lives.gone_s[told] - lives.left_s[told]).sum())
    assert drained_s > 10
    assert result.gpu_hours_with_drain - result.gpu_hours == pytest.approx(drained_s / 3600)


def test_the_series_adds_up() -> None:
    requests = stream(WAVES)
    result = run("last-minute", requests, ReplaySettings(series_window_s=60.0))
    series = result.series
    assert len(series) == 12
    assert series.begin_s.tolist() == [60.0 * place for place in range(12)]
    spans_s = np.minimum(60.0, result.end_s - series.begin_s)
    assert (series.load_rps * spans_s).sum() == pytest.approx(len(requests))
    counts = np.round(series.load_rps * spans_s)
    assert (series.attainment * counts).sum() / counts.sum() == pytest.approx(result.attainment.joint)
    assert (series.ttft_p50_s <= series.ttft_p99_s).all()
    assert (series.tpot_p50_s <= series.tpot_p99_s).all()
    for pool, ready in series.ready.items():
        assert (ready <= series.ordered[pool]).all()
        assert ready[-1] == result.orders[-1].replicas[pool]
    assert (series.ordered.prefill > series.ready.prefill).any()  # start-ups take a minute


def test_a_trace_that_begins_late_begins_with_its_first_period() -> None:
    requests = clock([(300, 5.0)])
    shifted = replace(requests, arrival_s=requests.arrival_s + 86_407.0)
    result = replay(spec_of(), shifted, Scripted(lambda _: INITIAL), INITIAL)
    assert result.begin_s == 86_400.0
    assert result.evaluations == 20
