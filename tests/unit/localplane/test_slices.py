"""Following a trace: the band of counts that following the model allows, and slices judged against it."""

from dataclasses import replace

from localplane.demo_scenario import scenario_of_phases
from localplane.demo_slices import measured_workload, plan_bands, planned_at, slices_of_trace
from localplane.demo_types import Observation, Run, Served
from pdscaler.core.pools import PerPool

SCENARIO = replace(scenario_of_phases(), phases=(), duration_s=120.0)


def served(rate: int, begin_s: int, end_s: int) -> list[Served]:
    return [
        Served(second + part / rate, 900, 110, 0.1, 0.014, 1.6, True, True)
        for second in range(begin_s, end_s)
        for part in range(rate)
    ]


STEP = served(29, 0, 60) + served(87, 60, 120)


def test_the_measured_workload_is_that_of_the_window() -> None:
    workload = measured_workload(STEP, 30.0, 45.0)
    assert workload is not None
    assert workload.arrival_rate_rps == 29
    assert workload.isl is not None
    assert workload.isl.mean_tokens == 900
    assert measured_workload(STEP, -15.0, 0.0) is None
    half = measured_workload(STEP, -5.0, 10.0)
    assert half is not None
    assert half.arrival_rate_rps == 29


def test_the_model_plans_for_what_was_measured() -> None:
    assert planned_at(SCENARIO.spec, STEP, 50.0) == PerPool(2, 1)
    assert planned_at(SCENARIO.spec, STEP, 80.0) == PerPool(5, 3)


def test_the_band_rises_at_once_and_falls_after_the_stabilisation() -> None:
    bands = plan_bands(SCENARIO.spec, STEP, 120.0)
    assert bands[50] == PerPool((2, 2), (1, 1))
    assert bands[90] == PerPool((5, 5), (3, 3))
    assert bands[70].prefill[0] < bands[70].prefill[1]
    falling = plan_bands(SCENARIO.spec, served(87, 0, 60) + served(29, 60, 120), 120.0)
    assert falling[76].prefill[1] >= 4
    assert falling[95] == PerPool((2, 2), (1, 1))


def test_slices_are_judged_against_the_band() -> None:
    asked = [planned_at(SCENARIO.spec, STEP, max(5.0, second - 3.0)) for second in range(120)]
    good = [_look(second, plan) for second, plan in enumerate(asked) if plan is not None]
    plans, results = slices_of_trace(SCENARIO, Run(good, STEP, PerPool(1, 1), "", 0))
    assert [plan.name for plan in plans] == ["slice 1", "slice 2"]
    assert [result.problems for result in results] == [(), ()]
    assert results[1].observed == results[1].plan.planned == PerPool(5, 3)
    late = [_look(second, PerPool(5, 3) if second >= 119 else PerPool(2, 1)) for second in range(120)]
    _, lagging = slices_of_trace(SCENARIO, Run(late, STEP, PerPool(1, 1), "", 0))
    assert lagging[1].problems == ("followed the model for only 12 % of the time",)
    assert not lagging[1].judged


def test_a_slice_that_still_scales_at_its_end_is_not_judged() -> None:
    growing = served(29, 0, 100) + served(87, 100, 120)
    asked = [planned_at(SCENARIO.spec, growing, max(5.0, second - 3.0)) for second in range(120)]
    ordered = [_look(second, plan) for second, plan in enumerate(asked) if plan is not None]
    loading = [look if look.at_s < 100 else replace(look, ready=PerPool(2, 1)) for look in ordered]
    _, results = slices_of_trace(SCENARIO, Run(loading, growing, PerPool(1, 1), "", 0))
    assert [result.judged for result in results] == [True, False]
    assert [result.problems for result in results] == [(), ()]
    assert results[1].notes[-1] == "still scaling at its end: objectives not judged"


def test_at_least_one_slice_must_be_judged() -> None:
    never = [replace(_look(second, PerPool(2, 1)), ready=PerPool(0, 0)) for second in range(120)]
    _, results = slices_of_trace(SCENARIO, Run(never, served(29, 0, 120), PerPool(1, 1), "", 0))
    assert results[-1].problems == ("no slice settled for long enough to judge the objectives",)


def _look(second: int, counts: PerPool[int]) -> Observation:
    return Observation(float(second), counts, counts, PerPool(None, None), None, None, None)
