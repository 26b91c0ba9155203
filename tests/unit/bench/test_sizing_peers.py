"""The rules of the planners that ours is compared with, on profiles whose right answer can be worked out by hand."""

import math

import pytest
from bench.sizing.llmd import Parameters, Replica, decode_parameters, llmd, prefill_parameters

from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, DecodeProfile, MaxThroughput, Overhead, PrefillPoint, PrefillProfile
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import PoolLimits, SizingSpec
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.simulator.policies import dynamo_rules as dynamo

# A pass takes 10 ms and 20 us a token; a step 5 ms, 50 us a request and 20 ns a KV token.
PREFILL = PrefillProfile(tuple(PrefillPoint(float(n), 0.01 + 2e-5 * n) for n in (500, 1000, 2000, 4000, 8000)))
CONTEXTS, BATCHES = (500.0, 1000.0, 2000.0, 4000.0), (1.0, 10.0, 50.0, 100.0, 200.0)
DECODE = DecodeProfile(
    tuple(DecodePoint(c, b, 0.005 + b * (5e-5 + 2e-8 * c)) for c in CONTEXTS for b in BATCHES),
    max_batch=200,
    kv_capacity_tokens=400_000,
)


def question(
    rate: float = 100.0,
    isl: float = 1000.0,
    osl: float = 200.0,
    ttft_s: float = 0.2,
    tpot_s: float = 0.01,
    *,
    hits: float = 0.0,
    prefill: PrefillProfile = PREFILL,
    decode: DecodeProfile = DECODE,
    statistic: Statistic = Statistic.MEAN,
) -> tuple[SizingSpec, WorkloadStats]:
    limits = PoolLimits(1, 1000)
    slo = Slo(LatencyTarget(ttft_s, statistic), LatencyTarget(tpot_s, statistic))
    spec = SizingSpec("peers", slo, prefill, decode, PerPool(limits, limits))
    return spec, WorkloadStats(rate, LengthStats(isl), LengthStats(osl), prefix_hit_ratio=hits)


def step_s(batch: float, context: float) -> float:
    return 0.005 + batch * (5e-5 + 2e-8 * context)


class TestDynamoClassic:
    def test_prefill_is_load_over_the_throughput_of_one_prompt_at_a_time(self) -> None:
        assert dynamo.classic(*question()).prefill == math.ceil(100 * 0.03)
        assert dynamo.classic(*question(rate=101.0)).prefill == 4

    def test_decode_takes_the_fullest_memory_within_the_target(self) -> None:
        # At a context of 1100, 10 ms are a batch of 69.4: the grid has 400 000 / 1100 / 99 = 3.67 requests to a step.
        step = 400_000 / 1100 / 99
        batch = math.floor(0.005 / (5e-5 + 2e-8 * 1100) / step) * step
        expected = math.ceil(100 * 200 / (batch / step_s(batch, 1100)))
        assert abs(dynamo.classic(*question()).decode - expected) <= 1

    def test_where_no_batch_is_within_the_target_the_emptiest_memory_counts(self) -> None:
        # One request at the nearest context that was measured.
        assert dynamo.classic(*question(tpot_s=0.004)).decode == math.ceil(100 * 200 * step_s(1, 1000))

    def test_it_knows_no_prefix_hits_and_no_percentile(self) -> None:
        assert dynamo.classic(*question(hits=0.5)) == dynamo.classic(*question())
        assert dynamo.classic(*question(statistic=Statistic.P99)) == dynamo.classic(*question())

    def test_one_context_is_a_line(self) -> None:
        points = tuple(point for point in DECODE.points if point.context_tokens == 1000.0)
        one = DecodeProfile(points, max_batch=200, kv_capacity_tokens=200_000)
        assert abs(dynamo.classic(*question(decode=one)).decode - dynamo.classic(*question()).decode) <= 1

    def test_max_throughput_needs_no_points(self) -> None:
        prefill = PrefillProfile(max_throughput=MaxThroughput(1000, 20_000))
        assert dynamo.classic(*question(rate=61.0, prefill=prefill)).prefill == 4


class TestDynamoCurrent:
    def test_prefill_takes_the_best_batch_within_the_target(self) -> None:
        # Eight prompts of 1000 tokens fit the budget of 8192: 170 ms, within 200 ms, 47.06 requests/s.
        assert current(*question()).prefill == math.ceil(100 / (8 / 0.17))
        # Within 100 ms, four: 44.4 requests/s.
        assert current(*question(rate=140.0, ttft_s=0.1)).prefill == math.ceil(140 / (4 / 0.09))

    def test_decode_takes_the_largest_batch_within_the_target(self) -> None:
        batch = math.floor(0.005 / (5e-5 + 2e-8 * 1100))
        assert current(*question()).decode == math.ceil(100 * 200 * step_s(batch, 1100) / batch)

    def test_below_the_step_of_one_request_it_falls_to_the_batch_of_most_requests(self) -> None:
        counts = [current(*question(tpot_s=tpot_s)).decode for tpot_s in (0.012, 0.008, 0.006, 0.0052, 0.005)]
        assert counts[:4] == sorted(counts[:4])
        assert counts[4] < counts[0]
        most = 200
        assert counts[4] == math.ceil(100 * 200 * step_s(most, 1100) / most)

    def test_prefix_hits_shorten_the_prompt(self) -> None:
        assert current(*question(hits=0.5)).prefill == math.ceil(100 / (16 / 0.17))

    def test_memory_limits_the_batch(self) -> None:
        little = DecodeProfile(DECODE.points, max_batch=200, kv_capacity_tokens=22_000)
        assert current(*question(decode=little)).decode == math.ceil(100 * 200 * step_s(20, 1100) / 20)

    def test_a_pass_that_is_longer_than_the_target_sets_a_floor(self) -> None:
        assert current(*question(rate=1.0, isl=6000.0, ttft_s=0.05)).prefill == math.ceil(0.13 / 0.05)

    def test_the_regression_leaves_out_passes_beyond_the_token_budget(self) -> None:
        bent = PrefillProfile((*PREFILL.points, PrefillPoint(16_000.0, 3.0)))
        assert current(*question(prefill=bent)) == current(*question())

    def test_it_looks_at_128_batches_at_most(self) -> None:
        assert dynamo._candidates(3) == [1, 2, 3]
        many = dynamo._candidates(1000)
        assert (len(many), many[0], many[-1]) == (128, 1, 1000)

    def test_more_kv_and_less_time_is_refused(self) -> None:
        falling = DecodeProfile(
            tuple(DecodePoint(c, b, 0.02 + 1e-4 * b - 1e-8 * b * c) for c in CONTEXTS for b in BATCHES), max_batch=200
        )
        assert dynamo.current(*question(decode=falling)) is None


def current(spec: SizingSpec, workload: WorkloadStats) -> PerPool[int]:
    found = dynamo.current(spec, workload)
    assert found is not None
    return found


class TestLlmD:
    def test_parameters_are_those_of_an_exact_profile(self) -> None:
        prefill, decode = prefill_parameters(PREFILL), decode_parameters(DECODE)
        assert (prefill.alpha, prefill.beta, prefill.gamma) == pytest.approx((0.01, 2e-5, 0.0), rel=1e-6)
        assert (decode.alpha, decode.beta, decode.gamma) == pytest.approx((0.005, 5e-5, 2e-8), rel=1e-6)

    def test_one_context_splits_the_slope_by_the_defaults(self) -> None:
        points = tuple(point for point in DECODE.points if point.context_tokens == 1000.0)
        found = decode_parameters(DecodeProfile(points))
        assert found.beta == pytest.approx(1000 * found.gamma)
        assert found.beta + 1000 * found.gamma == pytest.approx(5e-5 + 2e-8 * 1000)

    def test_one_request_at_a_time_is_the_mm1_queue(self) -> None:
        parameters = Parameters(0.005, 5e-5, 0.0)
        replica = Replica(parameters, 1, 0.0, 100.0)
        service_rps = 1 / (100 * parameters.token_s(0.0, 100.0, 1))
        rate = 0.6 * service_rps
        found = replica.analyse(rate)
        assert found.itl_s == pytest.approx(1 / service_rps / 100)
        assert found.ttft_s - found.itl_s == pytest.approx(0.6 / (service_rps - rate), rel=1e-6)

    def test_the_largest_rate_is_where_the_target_is_reached(self) -> None:
        replica = Replica(decode_parameters(DECODE), 200, 0.0, 200.0)
        rate = replica.largest_rate(0.01, "itl_s")
        assert rate is not None
        assert replica.analyse(rate).itl_s == pytest.approx(0.01, rel=1e-9)

    def test_a_loose_target_leaves_the_fastest_service(self) -> None:
        replica = Replica(decode_parameters(DECODE), 200, 0.0, 200.0)
        assert replica.largest_rate(10.0, "itl_s") == replica.rates_rps[1]

    def test_a_target_below_an_idle_replica_is_refused(self) -> None:
        assert llmd(*question(tpot_s=0.004)) is None
        assert llmd(*question(ttft_s=0.03)) is None

    def test_decode_drops_the_kv_reads_of_the_prompt(self) -> None:
        few, many = llmd(*question(isl=500.0, ttft_s=2.0)), llmd(*question(isl=4000.0, ttft_s=2.0))
        assert few is not None
        assert many is not None
        assert few.decode == many.decode

    def test_the_overhead_comes_off_the_target(self) -> None:
        slow = PrefillProfile(PREFILL.points, overhead=Overhead(0.19))
        plain = llmd(*question(ttft_s=0.2))
        assert plain is not None
        assert llmd(*question(ttft_s=0.39, prefill=slow)) == plain
