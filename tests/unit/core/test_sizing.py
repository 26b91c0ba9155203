import math
from dataclasses import replace

import pytest

from pdscaler.core.decision import Binding, Limit
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodeProfile
from pdscaler.core.sizing import NextChange, next_changes, predict, size
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import Constraints, PoolLimits, Ratio, SizingModel
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError
from support.core_cases import PAPER_RATE_RPS, paper_spec, paper_workload, points_spec


def limits(prefill: tuple[int, int], decode: tuple[int, int]) -> PerPool[PoolLimits]:
    return PerPool(PoolLimits(*prefill, gpus_per_replica=8), PoolLimits(*decode, gpus_per_replica=8))


class TestAnswer:
    def test_predictions_and_neighbours(self) -> None:
        answer = size(paper_spec(), paper_workload())
        assert [(n.prefill, n.decode, n.gpus, n.feasible) for n in answer.what_if] == [
            (3, 4, 56, False),
            (5, 4, 72, True),
            (4, 3, 56, False),
            (4, 5, 72, True),
        ]
        for neighbour in answer.what_if:
            assert neighbour.predicted == predict(
                paper_spec(), paper_workload(), PerPool(neighbour.prefill, neighbour.decode)
            )
        assert answer.predicted.ttft_s.mean is not None
        assert answer.predicted.ttft_s.mean < 2.0
        assert answer.predicted.tpot_s.p99 == answer.predicted.tpot_s.mean

    def test_neighbours_of_one_replica_stay_positive(self) -> None:
        answer = size(paper_spec(), paper_workload(0.1))
        assert answer.label == "1P1D"
        assert [(n.prefill, n.decode) for n in answer.what_if] == [(2, 1), (1, 2)]

    def test_explanations(self) -> None:
        answer = size(paper_spec(), paper_workload())
        assert answer.pools.prefill.explanation == "queueing: 1 fewer gives 2.4s"
        assert answer.pools.decode.explanation == "batch 34.3 at 20ms: 1 fewer gives 24.4ms"

    def test_auto_knows_that_lengths_vary_and_the_formula_does_not(self) -> None:
        formula, auto = paper_spec(), replace(paper_spec(), model=SizingModel.AUTO)
        varied = replace(paper_workload(), isl=LengthStats(6144.0, 2.0))
        assert size(formula, varied).pools == size(formula, paper_workload()).pools
        assert size(auto, varied).pools.prefill.required > size(auto, paper_workload()).pools.prefill.required + 0.1

    def test_utilization_is_required_over_replicas(self) -> None:
        answer = size(paper_spec(), paper_workload())
        assert answer.pools.decode.utilization == pytest.approx(answer.pools.decode.required / 4)

    def test_exact_multiple_of_the_capacity_needs_no_more(self) -> None:
        capacity = size(paper_spec(), paper_workload()).pools.decode.capacity_rps
        answer = size(paper_spec(), paper_workload(7 * capacity))
        assert answer.pools.decode.recommended == 7
        assert answer.predicted.tpot_s.mean == pytest.approx(0.020)
        assert size(paper_spec(), paper_workload(7.001 * capacity)).pools.decode.recommended == 8

    def test_prefix_cache_spares_prefill_only(self) -> None:
        plain = size(paper_spec(), paper_workload())
        cached = size(paper_spec(), replace(paper_workload(), prefix_hit_ratio=0.5))
        assert cached.pools.prefill.required < plain.pools.prefill.required / 2
        assert cached.pools.decode == plain.pools.decode

    def test_derate_of_the_paper_needs_five(self) -> None:
        answer = size(replace(paper_spec(), decode_derate=0.905), paper_workload())
        assert answer.pools.decode.required == pytest.approx(3.739 / 0.905, abs=0.001)
        assert answer.label == "4P5D"

    def test_kv_memory_binds(self) -> None:
        spec = paper_spec()
        profile = replace(spec.decode_profile, kv_capacity_tokens=20 * 6400.0)
        answer = size(replace(spec, decode_profile=profile), paper_workload())
        assert answer.pools.decode.binding is Binding.KV_MEMORY
        assert answer.pools.decode.capacity_rps == pytest.approx(20 / 0.0164 / 512)
        assert answer.pools.decode.explanation.startswith("KV memory holds batch 20 at 16.4ms")

    def test_slots_bind(self) -> None:
        spec = paper_spec()
        answer = size(replace(spec, decode_profile=replace(spec.decode_profile, max_batch=20)), paper_workload())
        assert answer.pools.decode.binding is Binding.BATCH_SLOTS


class TestLimits:
    def test_minimum(self) -> None:
        answer = size(paper_spec(limits=limits((1, 16), (6, 32))), paper_workload())
        assert answer.label == "4P6D"
        assert answer.limited_by == (Limit.MIN_REPLICAS,)
        assert answer.pools.decode.recommended == 4
        assert answer.pools.decode.binding is Binding.MIN_REPLICAS
        assert answer.pools.decode.explanation == "minReplicas asks 6: 4 would meet the target"
        assert answer.feasible

    def test_maximum_leaves_the_other_pool_alone(self) -> None:
        answer = size(paper_spec(limits=limits((1, 2), (1, 32))), paper_workload())
        assert answer.label == "2P4D"
        assert not answer.feasible
        assert answer.limited_by == (Limit.MAX_REPLICAS,)
        assert answer.pools.prefill.recommended == 4
        assert answer.pools.decode == size(paper_spec(), paper_workload()).pools.decode
        assert answer.infeasible_reason == (
            "prefill needs 3.07 replicas and maxReplicas is 2, which cannot keep up; "
            "2P4D serves 8.16 of 12.5 requests/s within the targets"
        )
        assert answer.served_rps == pytest.approx(2 * answer.pools.prefill.capacity_rps)

    def test_budget(self) -> None:
        answer = size(paper_spec(constraints=Constraints(max_gpus=56)), paper_workload())
        assert (answer.label, answer.gpus, answer.feasible) == ("3P4D", 56, False)
        assert answer.limited_by == (Limit.MAX_GPUS,)
        assert (answer.pools.prefill.recommended, answer.pools.decode.recommended) == (4, 4)
        assert answer.infeasible_reason == (
            "4P4D with 64 GPUs is needed and maxGPUs 56 forbids it; 3P4D serves 12.2 of 12.5 requests/s "
            "within the targets"
        )

    def test_bounds_and_budget_are_not_said_to_suffice_where_they_do_not(self) -> None:
        answer = size(
            paper_spec(limits=limits((1, 3), (1, 32)), constraints=Constraints(max_gpus=40)), paper_workload()
        )
        assert "3P4D with 56 GPUs comes nearest and maxGPUs 40 forbids it" in answer.infeasible_reason

    def test_ratio_changes_replicas_only(self) -> None:
        answer = size(paper_spec(constraints=Constraints(max_ratio=Ratio(1, 2))), paper_workload())
        assert answer.label == "4P8D"
        assert answer.feasible
        assert answer.limited_by == (Limit.RATIO,)
        assert answer.pools.decode.recommended == 4


class TestInfeasible:
    def test_tpot(self) -> None:
        answer = size(paper_spec(tpot_s=0.005), paper_workload())
        assert answer.label == "4P8D"
        assert not answer.feasible
        assert answer.limited_by == (Limit.SERVICE_TIME_EXCEEDS_SLO,)
        assert answer.pools.decode.required == math.inf
        assert answer.pools.decode.capacity_rps == 0
        assert answer.predicted.tpot_s.mean is not None
        assert answer.predicted.tpot_s.mean <= 1.02 * 0.0128
        fewer = predict(paper_spec(tpot_s=0.005), paper_workload(), PerPool(4, 7))
        assert fewer.tpot_s.mean is not None
        assert fewer.tpot_s.mean > 1.02 * 0.0128
        assert answer.infeasible_reason == (
            "TPOT 5ms cannot be met: one request alone decodes at 12.8ms/token on this engine. Best possible: 12.9ms"
        )

    def test_a_target_just_out_of_reach_reads_differently_from_what_is_reached(self) -> None:
        answer = size(paper_spec(tpot_s=0.01279), paper_workload())
        assert answer.infeasible_reason.startswith(
            "TPOT 12.79ms cannot be met: one request alone decodes at 12.8ms/token on this engine."
        )

    def test_the_best_possible_is_not_claimed_where_constraints_forbid_it(self) -> None:
        answer = size(paper_spec(tpot_s=0.005, constraints=Constraints(max_gpus=72)), paper_workload())
        assert answer.label == "3P6D"
        assert "6 replicas give 1" in answer.infeasible_reason
        assert "Best possible" not in answer.infeasible_reason

    def test_one_replica_that_cannot_keep_up(self) -> None:
        answer = size(paper_spec(ttft_s=0.05, constraints=Constraints(max_gpus=16)), paper_workload())
        assert "1 replica cannot keep up" in answer.infeasible_reason

    def test_several_limits_are_a_plural(self) -> None:
        answer = size(
            paper_spec(limits=limits((1, 2), (1, 32)), constraints=Constraints(40, min_ratio=Ratio(1, 4))),
            paper_workload(1000),
        )
        assert "the ratio and maxGPUs 40 forbid it" in answer.infeasible_reason
        assert "maxReplicas and the ratio and maxGPUs allow 3, which" in answer.pools.decode.explanation

    def test_tightening_tpot_never_takes_replicas_away(self) -> None:
        counts = [
            size(points_spec(tpot_s=target_ms / 1000), paper_workload(20)).pools.decode.recommended
            for target_ms in (25, 20, 12, 10, 8, 6, 5, 4, 3, 1)
        ]
        assert counts == sorted(counts)
        assert counts[-1] < 200

    def test_ttft(self) -> None:
        answer = size(paper_spec(ttft_s=0.2), paper_workload())
        assert answer.label == "6P4D"
        assert not answer.feasible
        assert answer.pools.prefill.required == math.inf
        assert answer.predicted.ttft_s.mean is not None
        assert answer.predicted.ttft_s.mean <= 0.1 + 2 * 6144 / 28309
        assert answer.infeasible_reason == (
            "TTFT 200ms cannot be met: one prompt alone takes 217ms and 100ms overhead. 6 replicas give 497ms"
        )

    def test_infeasibility_of_one_pool_leaves_the_other_alone(self) -> None:
        plain = size(paper_spec(), paper_workload())
        assert size(paper_spec(tpot_s=0.005), paper_workload()).pools.prefill == plain.pools.prefill
        assert size(paper_spec(ttft_s=0.2), paper_workload()).pools.decode == plain.pools.decode


@pytest.mark.parametrize("rate_rps", [5e-324, 1e-300])
def test_a_load_next_to_nothing(rate_rps: float) -> None:
    spec, workload = paper_spec(), paper_workload(rate_rps)
    answer = size(spec, workload)
    assert (answer.label, answer.feasible) == ("1P1D", True)
    changes = next_changes(spec, workload, answer)
    assert changes.prefill.down_rps is None
    assert changes.decode.down_rps is None


class TestObjectives:
    def test_only_ttft(self) -> None:
        answer = size(paper_spec(tpot_s=None), paper_workload())
        assert answer.pools.prefill.recommended == 4
        assert answer.pools.decode.binding is Binding.BATCH_SLOTS
        assert answer.feasible
        assert answer.predicted.tpot_s.mean is not None
        assert math.isfinite(answer.predicted.tpot_s.mean)

    def test_only_tpot(self) -> None:
        answer = size(paper_spec(ttft_s=None), paper_workload())
        assert answer.pools.decode.recommended == 4
        assert answer.pools.prefill.required == pytest.approx(PAPER_RATE_RPS * 6144 / 28309 / 0.9)
        assert answer.feasible
        assert "no TTFT target" in answer.pools.prefill.explanation

    def test_neither(self) -> None:
        with pytest.raises(InvalidInputError) as error:
            size(replace(paper_spec(), slo=Slo(None, None)), paper_workload())
        assert error.value.field == "spec.slo"


class TestIdle:
    @pytest.mark.parametrize(
        "workload", [paper_workload(0.0), WorkloadStats(0.0, None, None), WorkloadStats(0.0, LengthStats(9.0), None)]
    )
    def test_minimums(self, workload: WorkloadStats) -> None:
        answer = size(paper_spec(limits=limits((2, 16), (3, 32))), workload)
        assert answer.label == "2P3D"
        assert answer.feasible
        assert answer.infeasible_reason == ""
        assert answer.pools.decode.required == 0
        assert answer.pools.decode.binding is Binding.MIN_REPLICAS

    def test_even_where_the_targets_are_infeasible(self) -> None:
        answer = size(paper_spec(ttft_s=0.2, tpot_s=0.005), paper_workload(0.0))
        assert (answer.label, answer.feasible, answer.limited_by) == ("1P1D", True, ())

    def test_unknown_lengths_predict_nothing(self) -> None:
        answer = size(paper_spec(), WorkloadStats(0.0, None, None))
        assert answer.predicted.ttft_s.mean is None
        assert predict(paper_spec(), WorkloadStats(0.0, None, None), PerPool(1, 1)).tpot_s.p99 is None


class TestWarnings:
    def test_none_where_everything_was_measured(self) -> None:
        assert size(paper_spec(), paper_workload()).warnings == ()

    def test_batch_beyond_the_measured(self) -> None:
        (warning,) = size(paper_spec(tpot_s=0.030), paper_workload()).warnings
        assert warning.startswith("decode profile: batch 76.5 lies beyond the measured 10–60")

    def test_context_and_prompt_beyond_the_measured(self) -> None:
        workload = WorkloadStats(1.0, LengthStats(20_000.0), LengthStats(100.0))
        text = " ".join(size(points_spec(), workload).warnings)
        assert "20000 uncached tokens lie beyond the last point, 8000: extrapolated" in text
        assert "a mean context of 20050 tokens lies outside the measured 1000–8000" in text

    def test_repairs_of_the_profile(self) -> None:
        spec = paper_spec()
        points = (*spec.decode_profile.points, replace(spec.decode_profile.points[-1], batch=70, tpot_s=0.0250))
        (warning,) = size(replace(spec, decode_profile=DecodeProfile(points)), paper_workload()).warnings
        assert "TPOT falls as the batch grows" in warning


class TestBadInput:
    @pytest.mark.parametrize(
        ("workload", "field"),
        [
            (WorkloadStats(math.nan, LengthStats(1), LengthStats(1)), "arrivalRate"),
            (WorkloadStats(-1.0, LengthStats(1), LengthStats(1)), "arrivalRate"),
            (WorkloadStats(1.0, None, LengthStats(1)), "inputTokens"),
            (WorkloadStats(1.0, LengthStats(1), LengthStats(0)), "outputTokens"),
            (WorkloadStats(1.0, LengthStats(math.inf), LengthStats(1)), "inputTokens"),
            (WorkloadStats(1.0, LengthStats(1), LengthStats(1), prefix_hit_ratio=1.0), "prefixHitRatio"),
        ],
    )
    def test_workload(self, workload: WorkloadStats, field: str) -> None:
        with pytest.raises(InvalidInputError) as error:
            size(paper_spec(), workload)
        assert error.value.field == field

    def test_targets_and_derate(self) -> None:
        for spec, field in (
            (paper_spec(ttft_s=0.0), "spec.slo.ttft.target"),
            (paper_spec(tpot_s=math.nan), "spec.slo.tpot.target"),
            (replace(paper_spec(), decode_derate=0.0), "spec.sizing.decodeDerate"),
        ):
            with pytest.raises(InvalidInputError) as error:
                size(spec, paper_workload())
            assert error.value.field == field

    def test_prediction_of_no_replicas(self) -> None:
        with pytest.raises(InvalidInputError):
            predict(paper_spec(), paper_workload(), PerPool(0, 1))

    def test_a_target_at_the_very_edge_is_bounded(self) -> None:
        answer = size(paper_spec(ttft_s=0.1 + 6144 / 28309 * (1 + 1e-15)), paper_workload(1e9))
        assert answer.pools.prefill.replicas == 16


class TestNextChanges:
    @pytest.mark.parametrize("statistic", list(Statistic))
    def test_the_answer_changes_exactly_there(self, statistic: Statistic) -> None:
        spec = paper_spec(statistic=statistic)
        answer = size(spec, paper_workload())
        for pool, change in next_changes(spec, paper_workload(), answer).items():
            assert change.up_rps is not None
            assert change.down_rps is not None
            before = answer.pools[pool].replicas
            for rate, replicas in (
                (change.up_rps * 0.9999, before),
                (change.up_rps * 1.0001, change.up_replicas),
                (change.down_rps * 1.0001, before),
                (change.down_rps * 0.9999, change.down_replicas),
            ):
                assert size(spec, paper_workload(rate)).pools[pool].replicas == replicas

    def test_a_pool_that_the_ratio_raised_changes_when_the_other_does(self) -> None:
        spec = paper_spec(constraints=Constraints(max_ratio=Ratio(1, 2)))
        answer = size(spec, paper_workload())
        changes = next_changes(spec, paper_workload(), answer)
        assert changes.decode.up_rps == changes.prefill.up_rps
        assert (changes.prefill.up_replicas, changes.decode.up_replicas) == (5, 10)

    def test_none_at_the_bounds_and_without_load(self) -> None:
        spec = paper_spec(limits=limits((4, 4), (4, 4)))
        changes = next_changes(spec, paper_workload(), size(spec, paper_workload()))
        assert changes == PerPool(NextChange(), NextChange())
        idle = paper_workload(0.0)
        assert next_changes(spec, idle, size(spec, idle)).prefill.up_rps is None


def test_objective_of_a_percentile_is_of_ttft_only() -> None:
    spec = replace(paper_spec(), slo=Slo(LatencyTarget(2.0), LatencyTarget(0.02, Statistic.P99)))
    assert size(spec, paper_workload()).pools == size(paper_spec(), paper_workload()).pools
