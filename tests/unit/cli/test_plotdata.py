"""What the pictures of a plan show, before anything is drawn."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from pdscaler.cli.plotdata import MOST_BEYOND, PlanMap, PlanPicture, Region, plan_picture
from pdscaler.core.decision import Prediction, SizingResult
from pdscaler.core.pools import PerPool
from pdscaler.core.sizing import predict, size
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import Constraints, PoolLimits, Ratio, SizingModel, SizingSpec
from pdscaler.core.workload import LengthStats, WorkloadStats
from support.core_cases import PAPER_RATE_RPS, paper_spec, paper_workload, points_spec

PAPER = replace(paper_spec(), model=SizingModel.PAPER_MM1)


def picture(spec: SizingSpec = PAPER, workload: WorkloadStats | None = None) -> tuple[PlanPicture, SizingResult]:
    workload = workload or paper_workload()
    result = size(spec, workload)
    return plan_picture(spec, workload, result), result


def bounded(prefill: int, decode: int, gpus: int = 1) -> PerPool[PoolLimits]:
    return PerPool(
        PoolLimits(max_replicas=prefill, gpus_per_replica=gpus), PoolLimits(max_replicas=decode, gpus_per_replica=gpus)
    )


class TestCurves:
    @pytest.mark.parametrize("model", list(SizingModel))
    def test_a_curve_is_what_predict_says(self, model: SizingModel) -> None:
        spec = replace(PAPER, model=model)
        shown, result = picture(spec)
        chosen = result.pools.map(lambda pool: pool.replicas)
        for panel in shown.panels:
            full, fewer = panel.curves
            assert (full.replicas, fewer.replicas) == (chosen[panel.pool], chosen[panel.pool] - 1)
            for index in (0, 60, 120):
                load = full.loads_rps[index]
                predicted = predict(spec, paper_workload(load), chosen)
                latency = predicted.ttft_s if panel.name.startswith("TTFT") else predicted.tpot_s
                assert full.values_s[index] == pytest.approx(latency.mean)

    def test_curves_rise_and_fewer_replicas_are_never_faster(self) -> None:
        for panel in picture()[0].panels:
            full, fewer = panel.curves
            assert list(full.values_s) == sorted(full.values_s)
            assert all(less >= more for less, more in zip(fewer.values_s, full.values_s, strict=True))

    def test_the_axis_holds_the_load_and_some_room_beyond(self) -> None:
        shown, _ = picture()
        assert shown.rate_rps == PAPER_RATE_RPS
        assert 1.3 * PAPER_RATE_RPS < shown.last_rps <= MOST_BEYOND * PAPER_RATE_RPS
        assert shown.panels[0].curves[0].loads_rps[-1] == pytest.approx(shown.last_rps)

    def test_the_statistic_of_the_target_is_shown(self) -> None:
        spec = replace(paper_spec(statistic=Statistic.P95), model=SizingModel.PAPER_MM1)
        shown, result = picture(spec)
        ttft, tpot = shown.panels
        assert (ttft.name, tpot.name) == ("TTFT P95", "TPOT mean")
        assert ttft.at_plan_s == result.predicted.ttft_s.p95
        assert (ttft.target, tpot.target) == (spec.slo.ttft, spec.slo.tpot)

    def test_a_simulated_operating_point_lies_on_its_curve(self) -> None:
        result = size(PAPER, paper_workload())
        ttft_s, tpot_s = result.predicted.ttft_s, result.predicted.tpot_s
        assert ttft_s.mean is not None
        simulated = Prediction(replace(ttft_s, mean=1.1 * ttft_s.mean), tpot_s)
        shown = plan_picture(PAPER, paper_workload(), replace(result, predicted=simulated))
        ttft, tpot = shown.panels
        for panel, expected in ((ttft, simulated.ttft_s.mean), (tpot, simulated.tpot_s.mean)):
            curve = panel.curves[0]
            assert curve.values_s[curve.loads_rps.index(PAPER_RATE_RPS)] == pytest.approx(expected, rel=1e-3)

    def test_one_replica_has_no_fewer(self) -> None:
        shown, result = picture(replace(points_spec(), model=SizingModel.PAPER_MM1), paper_workload(0.5))
        assert result.label == "1P1D"
        assert [len(panel.curves) for panel in shown.panels] == [1, 1]

    def test_nothing_arrives(self) -> None:
        shown, _ = picture(workload=paper_workload(0.0))
        assert shown.last_rps > 0
        assert all(panel.curves for panel in shown.panels)
        assert shown.panels[0].at_plan_s == pytest.approx(0.1 + 6144 / 28309)

    def test_nothing_is_known(self) -> None:
        shown, _ = picture(workload=WorkloadStats(0.0, None, None))
        assert all(panel.curves == () and panel.at_plan_s is None for panel in shown.panels)
        assert shown.subtitle == "0 requests/s"

    def test_what_cannot_keep_up_is_infinite(self) -> None:
        shown, result = picture(replace(PAPER, limits=bounded(1, 1)))
        assert result.label == "1P1D"
        assert shown.panels[0].at_plan_s == math.inf
        assert shown.panels[0].curves[0].values_s[-1] == math.inf
        assert shown.title == "deepseek-v31: 1P1D, 2 GPUs (objectives not met)"


class TestWords:
    def test_title_and_load(self) -> None:
        shown, _ = picture()
        assert shown.title == "deepseek-v31: 4P4D, 64 GPUs"
        assert shown.subtitle == "12.5 requests/s × (6144 in + 512 out tokens)"

    def test_all_that_is_special_about_the_load(self) -> None:
        workload = WorkloadStats(2.0, LengthStats(1000.0, 0.5), LengthStats(50.0), 2.0, 0.3)
        assert picture(workload=workload)[0].subtitle == (
            "2 requests/s × (1000 in (scv 0.5) + 50 out tokens), arrivals scv 2, 30% of the input cached"
        )


class TestMap:
    def test_regions_follow_the_needs(self) -> None:
        plan = picture()[0].plan_map
        assert plan.needed == PerPool(4, 4)
        assert plan.region(PerPool(4, 4)) is Region.BOTH_MET
        assert plan.region(PerPool(3, 9)) is Region.TTFT_MISSED
        assert plan.region(PerPool(9, 3)) is Region.TPOT_MISSED
        assert plan.region(PerPool(1, 1)) is Region.BOTH_MISSED

    def test_what_no_count_meets_is_missed_everywhere(self) -> None:
        spec = replace(PAPER, slo=Slo(LatencyTarget(2.0), LatencyTarget(0.005)))
        plan = picture(spec)[0].plan_map
        assert plan.needed == PerPool(4, None)
        assert plan.region(PerPool(100, 100)) is Region.TPOT_MISSED

    def test_the_chosen_pair_is_in_sight_with_room_around_it(self) -> None:
        for spec, rate in ((PAPER, 1.0), (PAPER, 12.0), (replace(PAPER, limits=bounded(300, 300)), 1000.0)):
            plan = picture(spec, paper_workload(rate))[0].plan_map
            for counts, chosen in (
                (plan.counts.prefill, plan.chosen.prefill),
                (plan.counts.decode, plan.chosen.decode),
            ):
                assert counts[0] == 1
                assert chosen < counts[-1] <= max(5, 2 * chosen + 1)

    def test_a_need_far_beyond_the_bounds_does_not_dwarf_the_plan(self) -> None:
        plan = picture(replace(PAPER, limits=bounded(2, 2)), paper_workload(1000.0))[0].plan_map
        assert plan.chosen == PerPool(2, 2)
        assert len(plan.counts.prefill) < 25

    def test_what_is_allowed_is_what_the_choice_allows(self) -> None:
        constraints = Constraints(9, Ratio(1, 2), Ratio(2, 1))
        spec = replace(PAPER, limits=bounded(4, 6), constraints=constraints)
        plan = picture(spec)[0].plan_map
        for prefill, row in zip(plan.counts.prefill, plan.allowed, strict=True):
            for decode in range(1, 12):
                allowed = prefill <= 4 and decode <= 6 and prefill + decode <= 9 and decode <= 2 * prefill <= 4 * decode
                assert (row is not None and row[0] <= decode <= row[1]) == allowed, (prefill, decode)

    def test_cost_levels_are_round_and_cross_the_map(self) -> None:
        for rate in (1.0, 12.0, 50.0):
            plan = picture(workload=paper_workload(rate))[0].plan_map
            levels = plan.cost_levels()
            assert 1 <= len(levels) <= 6
            first, last = PerPool(1, 1), PerPool(plan.counts.prefill[-1], plan.counts.decode[-1])
            assert plan.cost(first) < levels[0] < levels[-1] < plan.cost(last)
            steps = {right - left for left, right in pairwise(levels)}
            assert all(str(step).rstrip("0") in ("1", "2", "5") for step in steps)
            assert len(steps) <= 1

    def test_a_pool_without_target_is_overloaded_not_missed(self) -> None:
        spec = replace(PAPER, slo=Slo(LatencyTarget(2.0), None))
        plan: PlanMap = picture(spec)[0].plan_map
        assert [plan.words(region) for region in Region] == [
            "both met",
            "TTFT missed",
            "decode overloaded",
            "both too few",
        ]
        assert picture()[0].plan_map.words(Region.BOTH_MISSED) == "both missed"
