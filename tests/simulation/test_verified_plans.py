"""Verified plans against longer simulations with other random numbers, and a trace against every pair of counts."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pdscaler.core.choice import space_of
from pdscaler.core.lawpool import LawPool
from pdscaler.core.model import build_models
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.simulation.requests import RequestTable, draw_requests
from pdscaler.core.simulation.run import deployment_of, simulate
from pdscaler.core.sizing import size
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import Constraints, PoolLimits, Routing, SizingModel, SizingSpec
from pdscaler.core.verify import verify
from pdscaler.core.verify_settle import settle
from pdscaler.core.verify_source import Blocks, DecodeSource, PrefillSource
from pdscaler.core.verify_trace import verify_trace
from pdscaler.core.verify_trial import PoolTrials, one_of
from pdscaler.core.workload import LengthStats, WorkloadStats
from support.core_cases import paper_spec, points_spec

WIDE = PerPool(PoolLimits(max_replicas=300), PoolLimits(max_replicas=300))
SLACK = 0.02
"""What sampling may take on either side."""


def spec(
    ttft_s: float, tpot_s: float, statistic: Statistic, routing: Routing = Routing.JOIN_SHORTEST_QUEUE
) -> SizingSpec:
    slo = Slo(LatencyTarget(ttft_s, statistic), LatencyTarget(tpot_s, statistic))
    return replace(points_spec(), slo=slo, limits=WIDE, routing=routing, model=SizingModel.AUTO)


def mix(rate: float, isl: float, osl: float, *spreads: float) -> WorkloadStats:
    isl_scv, osl_scv, arrival_scv = spreads or (0.0, 0.0, 1.0)
    return WorkloadStats(rate, LengthStats(isl, isl_scv), LengthStats(osl, osl_scv), arrival_scv)


FREE = spec(0.3, 0.02, Statistic.MEAN)
CASES = {
    "constant lengths, mean": (spec(0.2, 0.012, Statistic.MEAN), mix(60, 3000, 150)),
    "short prompts share passes, P95": (spec(0.2, 0.010, Statistic.P95), mix(200, 500, 100, 0.5, 0.5, 1.0)),
    "heavy tails, P99": (spec(1.5, 0.02, Statistic.P99), mix(30, 2000, 200, 2.0, 1.0, 1.0)),
    "bursts, P90": (spec(0.5, 0.012, Statistic.P90), mix(40, 3000, 150, 0.0, 1.0, 4.0)),
    "random routing, P50": (spec(0.2, 0.009, Statistic.P50, Routing.RANDOM), mix(40, 3000, 150, 1.0, 0.0, 1.0)),
}


def latencies(sizing: SizingSpec, workload: WorkloadStats, replicas: PerPool[int], seed: int) -> tuple[float, float]:
    """The statistics of a long run at the counts, as shares of the targets."""
    assert sizing.slo.ttft is not None
    assert sizing.slo.tpot is not None
    records = simulate(deployment_of(sizing), draw_requests(workload, 150_000, seed), replicas, seed=seed)
    steady = slice(15_000, -3_000)
    return (
        one_of(records.ttft_s[steady], sizing.slo.ttft.statistic) / sizing.slo.ttft.target_s,
        one_of(records.tpot_s[steady], sizing.slo.tpot.statistic) / sizing.slo.tpot.target_s,
    )


@pytest.mark.parametrize("name", CASES)
def test_the_counts_meet_the_targets_and_one_fewer_of_either_does_not(name: str) -> None:
    sizing, workload = CASES[name]
    result = verify(sizing, workload)
    assert result.verification is not None
    assert result.verification.verified, result.verification.note
    replicas = result.pools.map(lambda pool: pool.replicas)
    assert replicas == result.pools.map(lambda pool: pool.recommended)
    assert max(latencies(sizing, workload, replicas, seed=901)) <= 1 + SLACK
    for index, pool in enumerate(Pool):
        if replicas[pool] > 1:
            fewer = latencies(sizing, workload, replicas.replace(pool, replicas[pool] - 1), seed=902)
            assert fewer[index] > 1 - SLACK, pool


def test_what_is_predicted_is_what_was_simulated() -> None:
    sizing, workload = CASES["constant lengths, mean"]
    result = verify(sizing, workload)
    assert result.verification is not None
    predicted = PerPool(result.predicted.ttft_s.mean, result.predicted.tpot_s.mean)
    margins = result.verification.margins
    for pool, target_s in ((Pool.PREFILL, 0.2), (Pool.DECODE, 0.012)):
        value, margin = predicted[pool], margins[pool]
        assert value is not None
        assert margin is not None
        assert value == pytest.approx(target_s * (1 - margin))
    simulated = {(trial.pool, trial.replicas) for trial in result.verification.trials}
    for other in result.what_if:
        assert (Pool.PREFILL, other.prefill) in simulated
        assert (Pool.DECODE, other.decode) in simulated
        assert other.feasible == (
            other.prefill >= result.pools.prefill.replicas and other.decode >= result.pools.decode.replicas
        )


def test_equal_arguments_give_equal_answers() -> None:
    sizing, workload = CASES["bursts, P90"]
    assert verify(sizing, workload).verification == verify(sizing, workload).verification


def test_the_corrections_alone_give_the_settled_counts() -> None:
    for sizing, workload in CASES.values():
        result = verify(sizing, workload)
        assert result.verification is not None
        corrected = size(sizing, workload, None, result.verification.corrections)
        assert corrected.pools.map(lambda pool: pool.recommended) == result.pools.map(lambda pool: pool.recommended)
        assert [round(pool.required, 9) for _, pool in corrected.pools.items()] == [
            round(pool.required, 9) for _, pool in result.pools.items()
        ]


@pytest.mark.parametrize("start", [1, 3, 40, 200])
def test_a_bad_start_costs_trials_but_not_the_answer(start: int) -> None:
    sizing, workload = CASES["short prompts share passes, P95"]
    answer = verify(sizing, workload).pools.map(lambda pool: pool.recommended)
    models = build_models(sizing, workload)
    assert models is not None
    queue_law, batch_law = models.pools.prefill, models.pools.decode
    assert isinstance(queue_law, LawPool)
    assert isinstance(batch_law, LawPool)
    blocks = Blocks(workload, 0)
    queue = PrefillSource(sizing, workload, blocks, queue_law.law.saturation_rps, seed=0)
    prefill = settle(PoolTrials(Pool.PREFILL, sizing.slo.ttft, queue), start, 300, 2_000_000)
    assert (prefill.least, prefill.decided) == (answer.prefill, True)
    source = DecodeSource(
        sizing,
        workload,
        blocks,
        batch_law.law.saturation_rps,
        first_tokens=lambda block, count: queue.first_tokens(block, count, answer.prefill),
    )
    decode = settle(PoolTrials(Pool.DECODE, sizing.slo.tpot, source), start, 300, 2_000_000)
    assert (decode.least, decode.decided) == (answer.decode, True)


def test_a_small_budget_is_kept_and_said() -> None:
    sizing, workload = CASES["heavy tails, P99"]
    result = verify(sizing, workload, budget_requests=20_000)
    assert result.verification is not None
    assert not result.verification.verified
    assert "not settled" in result.verification.note
    full = verify(sizing, workload)
    assert result.verification.requests < full.verification.requests if full.verification else False


def test_what_needs_no_simulation_is_not_simulated() -> None:
    paper = replace(paper_spec(), model=SizingModel.PAPER_MM1)
    for sizing, workload, verified in (
        (paper, mix(12, 6144, 512), False),
        (FREE, WorkloadStats(0.0, None, None), True),
        (FREE, mix(0, 3000, 150), True),
    ):
        result = verify(sizing, workload)
        assert result.verification is not None
        assert (result.verification.verified, result.verification.requests) == (verified, 0)
        assert result == replace(size(sizing, workload), verification=result.verification)
    unlimited = verify(FREE, mix(30, 3000, 150), budget_requests=0)
    assert unlimited.verification is not None
    assert (unlimited.verification.verified, unlimited.verification.requests) == (False, 0)


def test_a_target_that_no_count_meets_is_verified_as_such() -> None:
    sizing = spec(0.05, 0.012, Statistic.MEAN)
    result = verify(sizing, mix(30, 3000, 150))
    assert result.verification is not None
    assert result.verification.verified
    assert not result.feasible
    assert "no count meets the TTFT target" in result.verification.note
    assert math.isinf(result.pools.prefill.required)
    alone = verify(spec(0.2, 0.012, Statistic.MEAN), mix(30, 3000, 150))
    assert result.pools.decode.recommended == alone.pools.decode.recommended


def test_a_bound_below_the_need_is_verified_as_too_low() -> None:
    sizing, workload = CASES["constant lengths, mean"]
    free = verify(sizing, workload).pools
    low = replace(
        sizing, limits=PerPool(PoolLimits(max_replicas=free.prefill.recommended - 1), PoolLimits(max_replicas=300))
    )
    result = verify(low, workload)
    assert result.verification is not None
    assert result.verification.verified
    assert not result.feasible
    assert result.pools.prefill.replicas == free.prefill.recommended - 1
    assert result.pools.prefill.recommended > result.pools.prefill.replicas
    assert result.pools.decode.recommended == free.decode.recommended
    assert result.verification.margins.prefill is not None
    assert result.verification.margins.prefill < 0


def test_answers_of_one_token_need_no_decode() -> None:
    result = verify(spec(0.2, 0.012, Statistic.MEAN), mix(60, 3000, 1))
    assert result.verification is not None
    assert result.verification.verified
    assert result.pools.decode.recommended == 1


def test_a_trace_gets_the_least_pair_of_all() -> None:
    """Against every pair up to the answer, each simulated on its own."""
    rng = np.random.default_rng(5)
    calm, busy = (
        draw_requests(mix(20, 2000, 150, 1.0, 1.0, 1.0), 3000, 1),
        draw_requests(mix(60, 2000, 150, 1.0, 1.0, 1.0), 3000, 2),
    )
    arrival_s = np.concatenate([calm.arrival_s, calm.arrival_s[-1] + busy.arrival_s])
    trace = RequestTable(
        arrival_s,
        np.concatenate([calm.input_tokens, busy.input_tokens]),
        np.concatenate([calm.output_tokens, busy.output_tokens]),
        rng.integers(0, 20, len(arrival_s)) * 0,
    )
    sizing = spec(0.4, 0.009, Statistic.P90)
    result = verify_trace(sizing, mix(60, 2000, 150, 1.0, 1.0, 1.0), trace)
    assert result.verification is not None
    assert result.verification.verified
    pair = result.pools.map(lambda pool: pool.replicas)
    assert pair.prefill > 1
    assert pair.decode > 1

    def met(replicas: PerPool[int]) -> tuple[bool, bool]:
        records = simulate(deployment_of(sizing), trace, replicas)
        return bool(np.quantile(records.ttft_s, 0.9) <= 0.4), bool(np.nanquantile(records.tpot_s, 0.9) <= 0.009)

    assert met(pair) == (True, True)
    assert not any(met(PerPool(fewer, 1))[0] for fewer in range(1, pair.prefill))
    assert not any(met(PerPool(pair.prefill, fewer))[1] for fewer in range(1, pair.decode))
    records = simulate(deployment_of(sizing), trace, pair)
    assert result.predicted.ttft_s.p90 == pytest.approx(float(np.quantile(records.ttft_s, 0.9)))
    assert result.predicted.tpot_s.p99 == pytest.approx(float(np.nanquantile(records.tpot_s, 0.99)))


def test_a_trace_under_a_budget_gets_what_the_budget_holds() -> None:
    trace = draw_requests(mix(60, 2000, 150), 4000, 1)
    sizing = spec(0.2, 0.009, Statistic.MEAN)
    free = verify_trace(sizing, mix(60, 2000, 150), trace)
    tight = replace(sizing, constraints=Constraints(max_gpus=free.gpus - 1))
    result = verify_trace(tight, mix(60, 2000, 150), trace)
    assert not result.feasible
    assert result.gpus <= free.gpus - 1
    assert result.pools.map(lambda pool: pool.recommended) == free.pools.map(lambda pool: pool.recommended)
    assert build_models(tight, mix(60, 2000, 150)) is not None
    assert space_of(tight.limits, tight.constraints).within_budget(result.pools.map(lambda pool: pool.replicas))
