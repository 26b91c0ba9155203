"""The published rules by hand, on an engine whose figures can be worked out."""

import math
from dataclasses import replace

import pytest

from pdscaler.core.decision import PoolState
from pdscaler.core.pools import PerPool
from pdscaler.core.spec import PoolLimits
from pdscaler.simulator.policies import POLICIES, make_policy
from pdscaler.simulator.policies.blitzscale import step
from pdscaler.simulator.policies.capacity import Capacity
from pdscaler.simulator.policies.horizontal import DEFAULT, Horizontal, by_average_value, by_utilization
from pdscaler.simulator.policies.llmd_tokens import LlmdTokens
from pdscaler.simulator.policies.parts import Every, count
from pdscaler.simulator.policies.series import forecast
from pdscaler.simulator.policies.wva import Wva
from support.observations import engine, pools, seen

STEP_S = 0.005 + 71 * 7e-5
DECODE_RPS = 71 / (STEP_S * 199)
PREFILL_RPS = 1 / 0.028
PEAK = 8192 / (0.01 + 2e-5 * 8192)


def wanted(name: str, observation_of: PerPool[PoolState], **load: float) -> tuple[int, int]:
    found = make_policy(name, engine()).decide(seen(observation_of, **load), 1200.0).replicas
    return found.prefill, found.decode


class TestCapacity:
    def test_the_engine_is_what_the_tests_say(self) -> None:
        capacity = Capacity(engine().spec.sizing)
        assert capacity.batch(900, 200) == 71
        assert capacity.step_s(71, 1000) == pytest.approx(STEP_S)
        assert capacity.decode_rps(900, 200) == pytest.approx(DECODE_RPS)
        assert capacity.prefill_rps(900) == pytest.approx(PREFILL_RPS)
        assert capacity.peak_prefill_tokens_per_s == pytest.approx(PEAK)

    def test_slots_and_memory_bound_the_batch(self) -> None:
        sizing = engine().spec.sizing
        loose = replace(sizing, slo=replace(sizing.slo, tpot=None))
        assert Capacity(loose).batch(900, 200) == 200  # slots
        assert Capacity(loose).batch(7900, 200) == 50  # 400 000 tokens / 8000

    def test_rounding_up_forgives_the_last_digit(self) -> None:
        assert [count(need) for need in (0.0, 0.3, 2.0000000001, 2.1)] == [1, 1, 2, 3]

    def test_an_interval_begins_when_it_is_used(self) -> None:
        every = Every(180.0)
        assert [every.due(at_s) for at_s in (30.0, 45.0, 195.0, 210.0, 225.0)] == [True, False, False, True, False]


class TestHorizontal:
    def test_a_utilisation_above_the_tolerance_is_followed(self) -> None:
        assert by_utilization(PoolState(4, 4), 0.9, 0.8) == 5  # 1.125 · 4
        assert by_utilization(PoolState(4, 4), 0.87, 0.8) == 4  # within 10 %
        assert by_utilization(PoolState(4, 4), 0.3, 0.8) == 2  # 1.5

    def test_pods_that_start_damp_a_scale_up(self) -> None:
        state = PoolState(8, 4, pending_replicas=4)
        assert by_utilization(state, 1.0, 0.8) == 8  # 0.625 with the idle ones: not more after all
        assert by_utilization(PoolState(5, 4, pending_replicas=1), 1.0, 0.6) == 7  # 1.33 · 5
        assert by_utilization(state, 0.4, 0.8) == 2  # down: only the ready ones count

    def test_an_average_value_divides_the_total(self) -> None:
        assert by_average_value(PoolState(2, 2), 4.2, 1.5) == 3
        assert by_average_value(PoolState(2, 2), 3.2, 1.5) == 2  # 1.07: within the tolerance

    def test_up_at_once_by_four_or_double_down_after_five_minutes(self) -> None:
        limits = PoolLimits(1, 100)
        assert Horizontal(limits).next(PoolState(2, 2), 30, 0.0) == 6
        assert Horizontal(limits).next(PoolState(9, 9), 30, 0.0) == 18
        down = Horizontal(limits)
        assert [down.next(PoolState(8, 8), 3, at_s) for at_s in (0.0, 150.0, 285.0, 300.0)] == [8, 8, 8, 3]
        assert DEFAULT.scale_down.stabilization_window_s == 300.0


class TestHpa:
    def test_busy_engines(self) -> None:
        assert wanted("hpa", pools(4, 4), prefill_busy_s=3.6, decode_busy_replicas=4) == (5, 5)
        assert wanted("hpa", pools(4, 4), prefill_busy_s=3.4, decode_busy_replicas=3.3) == (4, 4)

    def test_full_batches(self) -> None:
        # 300 requests on four replicas of 71: 1.056 of 0.8, so 1.32 · 4.
        assert wanted("hpa-batch", pools(4, 4), prefill_busy_s=3.2, decode_running=290, decode_waiting=10) == (4, 6)


class TestLlmd:
    def test_tokens_that_wait_and_memory_in_use(self) -> None:
        # 4.24 s of backlog of 1.5 each; 4 replicas' memory at 0.8 each; one pod more at a time.
        load = {"prefill_waiting_tokens": 4.24 * PEAK, "kv_tokens": 1_600_000}
        assert wanted("llm-d-tokens", pools(2, 4), **load) == (3, 5)
        free = LlmdTokens(engine(), behavior=DEFAULT).decide(
            seen(pools(1, 1), prefill_waiting_tokens=4.24 * PEAK, kv_tokens=1_600_000), 1200.0
        )
        assert free.replicas == PerPool(3, 5)

    def test_running_passes_count_as_queued(self) -> None:
        # 200 requests of 900 tokens in passes: 3.8 s.
        load = {"prefill_running": 200.0, "kv_tokens": 300_000}
        assert wanted("llm-d-tokens", pools(2, 1), **load) == (math.ceil(200 * 900 / PEAK / 1.5), 1)

    def test_at_most_one_pod_in_three_minutes(self) -> None:
        policy = LlmdTokens(engine())
        counts = []
        replicas = 2
        for now_s in (1200.0, 1215.0, 1365.0, 1395.0):
            load = seen(pools(replicas, 1), now_s=now_s, prefill_waiting_tokens=30 * PEAK, kv_tokens=1.0)
            replicas = policy.decide(load, now_s).replicas.prefill
            counts.append(replicas)
        assert counts == [3, 3, 3, 4]


class TestWva:
    def test_demand_over_capacity(self) -> None:
        # A decode replica computes min(8192 · 200 / 1100, 200) · 1000 = 200 000 tokens, less than 80 % of its memory;
        # 800 000 / 0.85 − 400 000 are 2.7 replicas more. Prefill: 8192 · 1 / 901 · 900.5 tokens; 16 000 are in use.
        policy = Wva(engine(), behavior=DEFAULT)
        load = seen(pools(1, 2), kv_tokens=800_000, prefill_running=16_000 / 900)
        capacity = 8192 / 901 * 900.5
        assert policy.decide(load, 1200.0).replicas == PerPool(1 + math.ceil((16_000 / 0.85 - capacity) / capacity), 5)

    def test_what_is_spare_is_given_up_by_whole_replicas(self) -> None:
        # 10 · 200 000 − 700 000 / 0.7 are five replicas.
        policy = Wva(engine(), behavior=replace(DEFAULT, scale_down=replace(DEFAULT.scale_up, policies=())))
        assert policy.decide(seen(pools(1, 10), kv_tokens=700_000), 1200.0).replicas.decode == 5

    def test_a_full_queue_tells_what_a_replica_holds(self) -> None:
        # 5 wait at each of two replicas that hold 50 000 tokens each: 100 000 + 10 · 900 over 0.85 needs 2.56.
        policy = Wva(engine(), behavior=DEFAULT)
        load = seen(pools(1, 2), kv_tokens=100_000, decode_waiting=10)
        assert policy.decide(load, 1200.0).replicas.decode == 3
        # What was learned stays: the same tokens without a queue are 2.35 replicas' worth.
        assert policy.decide(seen(pools(1, 2), now_s=1260.0, kv_tokens=100_000), 1260.0).replicas.decode == 3

    def test_the_chart_waits_four_minutes(self) -> None:
        policy = make_policy("wva", engine())
        found = [
            policy.decide(seen(pools(1, 2), now_s=now_s, kv_tokens=800_000), now_s).replicas.decode
            for now_s in (1200.0, 1260.0, 1425.0, 1440.0)
        ]
        assert found == [2, 2, 2, 5]


class TestBlitzScale:
    def test_below_the_least_to_the_midpoint_above_the_most_one_down(self) -> None:
        # Two seconds of tokens: from 2 / 0.8 to 2 / 0.5 replicas. 1.25 replicas' memory: two in any case.
        load = {"prefill_waiting_tokens": 2 * PEAK, "kv_tokens": 400_000, "decode_waiting_tokens": 100_000}
        assert wanted("blitzscale", pools(2, 4), **load) == (4, 3)
        assert wanted("blitzscale", pools(3, 2), **load) == (3, 2)

    def test_never_none(self) -> None:
        assert step(1, 0.0, (0.5, 0.8)) == 1


class TestHeteroScale:
    LOAD = {"generated_tokens": 10_000.0}  # noqa: RUF012 - never changed

    def test_tokens_over_the_target_and_the_ratio(self) -> None:
        need = 10_000 / (0.8 * 71 / STEP_S)
        decode = math.ceil(need)
        assert decode == 2
        assert wanted("heteroscale", pools(1, 1), **self.LOAD) == (math.ceil(2 * DECODE_RPS / PREFILL_RPS), 2)

    def test_within_ten_percent_nothing_happens(self) -> None:
        assert wanted("heteroscale", pools(3, 2), **self.LOAD) == (3, 2)
        assert wanted("heteroscale", pools(17, 14), generated_tokens=90_000.0) == (17, 14)  # wanted: 17P16D

    def test_cooling_down(self) -> None:
        policy = make_policy("heteroscale", engine())
        found = []
        for now_s, tokens in ((1200.0, 10_000), (1215.0, 50_000), (1365.0, 50_000), (1380.0, 50_000)):
            load = seen(pools(1, 1), now_s=now_s, generated_tokens=tokens)
            found.append(policy.decide(load, now_s).replicas.decode)
        assert found == [2, 1, 1, math.ceil(50_000 / (0.8 * 71 / STEP_S))]


class TestTokenScale:
    def test_rates_over_velocities(self) -> None:
        velocity = 71 * 1100 / (200 * STEP_S)
        expected = (math.ceil(100 * 900 / PEAK), math.ceil(100 * 1100 / velocity))
        assert expected == (2, 3)
        assert wanted("tokenscale", pools(1, 1)) == expected

    def test_cached_tokens_are_no_prefill(self) -> None:
        assert wanted("tokenscale", pools(1, 1), cached_tokens=60_000.0)[0] == math.ceil(30_000 / PEAK)


class TestDopd:
    def test_concurrency_and_the_ratio(self) -> None:
        batches = 100 * 200 * STEP_S / 71
        ratio = 71 * 0.028 / (200 * STEP_S)
        assert (math.ceil(batches), math.ceil(3 * ratio)) == (3, 3)
        assert wanted("dopd", pools(1, 1)) == (3, 3)

    def test_long_prompts_move_the_ratio(self) -> None:
        capacity = Capacity(engine().spec.sizing)
        batch = capacity.batch(4000, 100)
        step_s = capacity.step_s(batch, 4050)
        decode = math.ceil(20 * 100 * step_s / batch)
        prefill = math.ceil(decode * batch * 0.09 / (100 * step_s))
        assert wanted("dopd", pools(1, 1), rate=20.0, isl=4000.0, osl=100.0) == (prefill, decode)


class TestChiron:
    def test_up_to_the_threshold_down_by_one(self) -> None:
        # 3 of 4 busy: 5 are needed for 60 %. 100 requests fill 1.41 of 4: 3 are enough, too.
        assert wanted("chiron", pools(4, 4), prefill_busy_s=3.0, decode_running=100) == (5, 3)
        assert wanted("chiron", pools(4, 4), prefill_busy_s=2.0, decode_running=150) == (4, 4)

    def test_nothing_while_instances_start(self) -> None:
        starting = pools(4, 4, starting=(1, 1))
        assert wanted("chiron", starting, prefill_busy_s=4.0, decode_running=10) == (5, 5)


class TestSageServe:
    def test_the_plan_of_the_hour_is_approached_one_at_a_time(self) -> None:
        # 110 requests/s: four of each; prefill is busy, decode's memory is not.
        assert (math.ceil(110 / PREFILL_RPS), math.ceil(110 / DECODE_RPS)) == (4, 4)
        assert wanted("sageserve", pools(2, 2), prefill_busy_s=1.9, kv_tokens=100_000) == (3, 2)
        assert wanted("sageserve", pools(9, 9), prefill_busy_s=1.9, kv_tokens=100_000) == (8, 8)
        assert wanted("sageserve", pools(4, 4), prefill_busy_s=3.9, kv_tokens=1_500_000) == (5, 5)  # beyond 90 %
        assert wanted("sageserve", pools(2, 2, starting=(1, 1)), prefill_busy_s=1.9, kv_tokens=790_000) == (3, 3)

    def test_nothing_before_the_first_window_is_full(self) -> None:
        policy = make_policy("sageserve", engine())
        assert policy.decide(seen(pools(2, 2), now_s=90.0, prefill_busy_s=2.0), 90.0).replicas == PerPool(2, 2)


class TestDynamoClassic:
    def test_load_over_throughput(self) -> None:
        # Prefill: 100 · 28 ms. The decode grid's fullest memory within 10 ms is near the batch of 71.
        prefill, decode = wanted("dynamo-classic", pools(1, 1))
        assert prefill == 3
        assert abs(decode - math.ceil(100 * 200 / (71 / STEP_S))) <= 1

    def test_the_corrections(self) -> None:
        assert wanted("dynamo-classic", pools(1, 1), ttft_s=0.014)[0] == 2  # half the time observed
        assert wanted("dynamo-classic", pools(1, 1), ttft_s=0.28)[0] == 3  # a queue asks for no more
        running = 100 * 0.008 * 199 / 3
        expected_s = 0.005 + running * 7e-5
        slow = wanted("dynamo-classic", pools(3, 3), tpot_s=0.008)[1]
        assert expected_s * 1.2 > 0.008
        assert wanted("dynamo-classic", pools(3, 3), tpot_s=0.016)[1] > slow

    def test_it_acts_every_three_minutes(self) -> None:
        policy = make_policy("dynamo-classic", engine())
        found = [
            policy.decide(seen(pools(1, 1), now_s=now_s, rate=rate), now_s).replicas.prefill
            for now_s, rate in ((1200.0, 100.0), (1365.0, 200.0), (1380.0, 200.0))
        ]
        assert found == [3, 1, 6]


class TestDynamoCurrent:
    def test_throughput_is_a_floor(self) -> None:
        # Batches of 9 prompts of 900 tokens: 9 / 172 ms; the batch of 71 has 35.6 requests/s.
        prefill = math.ceil(100 / max(n / (0.01 + 2e-5 * 900 * n) for n in range(1, 10)))
        decode = math.ceil(100 / (71 / (200 * STEP_S)))
        assert wanted("dynamo-current", pools(1, 1)) == (prefill, decode)

    def test_a_queue_asks_for_one_more(self) -> None:
        # 10 000 tokens wait at each of four: two passes of 8192 and 2708 tokens take 238 ms.
        load = {"rate": 1.0, "prefill_waiting_tokens": 40_000.0, "decode_running": 280.0, "kv_tokens": 280_000.0}
        found = wanted("dynamo-current", pools(4, 4), **load)
        assert found == (5, 4)
        # One request more at each, of 1000 tokens: 75 of them take 10.25 ms.
        assert wanted("dynamo-current", pools(4, 4), **{**load, "decode_running": 296.0, "kv_tokens": 296e3})[1] == 5

    def test_one_fewer_where_the_others_bear_it(self) -> None:
        # 30 at each of four, 40 at each of three: 31 · 50 us + 41 000 · 20 ns + 5 ms < 8 ms.
        load = {"rate": 1.0, "decode_running": 120.0, "kv_tokens": 120_000.0}
        assert wanted("dynamo-current", pools(4, 4), **load) == (3, 3)
        assert wanted("dynamo-current", pools(4, 4, starting=(1, 0)), **load) == (5, 4)  # looks on


class TestForecast:
    def test_a_change_fades_by_its_memory(self) -> None:
        assert forecast([8.0, 4.0, 6.0, 5.0, 5.5], 2) == [5.25, 5.375]

    def test_few_or_equal_numbers_are_repeated(self) -> None:
        assert forecast([3.0, 9.0], 2) == [9.0, 9.0]
        assert forecast([4.0] * 9) == [4.0]

    def test_it_is_never_below_zero(self) -> None:
        assert min(forecast([100.0, 80.0, 60.0, 40.0, 20.0, 1.0], 20)) == 0.0


@pytest.mark.parametrize("name", POLICIES)
def test_every_rule_says_where_it_comes_from(name: str) -> None:
    entry = POLICIES[name]
    assert len(entry.text) > 20
    assert entry.source
    if entry.knob is not None:
        default = make_policy(name, engine())
        tuned = [make_policy(name, engine(), **{entry.knob.name: value}) for value in entry.knob.values]
        assert {type(policy) for policy in tuned} == {type(default)}
        assert list(entry.knob.values) == sorted(entry.knob.values)


@pytest.mark.parametrize("name", [name for name in POLICIES if POLICIES[name].knob is not None])
def test_the_default_is_one_of_the_tuned_values(name: str) -> None:
    """Tuning never has less to choose from than the default."""
    knob = POLICIES[name].knob
    assert knob is not None
    load = seen(
        pools(3, 3), prefill_busy_s=2.0, decode_running=200, decode_busy_replicas=3, generated_tokens=20_000,
        kv_tokens=300_000, prefill_waiting_tokens=60_000,
    )  # fmt: skip
    default = make_policy(name, engine()).decide(load, 1200.0)
    assert default in [make_policy(name, engine(), **{knob.name: value}).decide(load, 1200.0) for value in knob.values]
