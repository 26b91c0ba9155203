"""Whether a rise was met ahead: steps of a nominal load, how early each was, what is missed."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from localplane.demo_ahead import judge_foreseen, nominal_plan, step_text, steps_of
from localplane.demo_scenario import scenario_of_phases
from localplane.demo_types import Observation, PhasePlan, Served, Step, StepResult
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.slo import LatencyTarget, Slo
from pdscaler.core.workload import LengthStats
from pdscaler.simulator.workload import Phase

SLO = Slo(LatencyTarget(0.2), LatencyTarget(0.015))
STEPS = (Step(Pool.PREFILL, 2, 105.0), Step(Pool.DECODE, 2, 120.0), Step(Pool.PREFILL, 3, 125.0))
PLAN = PhasePlan("morning", 100.0, 140.0, 12.0, 900.0, 110.0, PerPool(3, 2), 60.0, STEPS, True)
FLAT = replace(PLAN, name="noon", arrival_rate_end_rps=None, steps=())


def looks(prefill: Sequence[tuple[int, int]], decode: Sequence[tuple[int, int]]) -> list[Observation]:
    """One look a second from 90 on; each pool: (time, replicas ordered from then on), ready 5 s later."""

    def count(orders: Sequence[tuple[int, int]], at_s: float) -> int:
        return max([1, *(replicas for since, replicas in orders if since <= at_s)])

    return [
        Observation(
            float(at_s),
            PerPool(count(prefill, at_s), count(decode, at_s)),
            PerPool(count(prefill, at_s - 5), count(decode, at_s - 5)),
            PerPool(1, 1),
            12.0,
            0.1,
            0.014,
        )
        for at_s in range(90, 141)
    ]


def requests(ttft_s: float = 0.1) -> list[Served]:
    return [Served(90 + part / 4, 900, 110, ttft_s, 0.014, 2.0, ttft_s <= 0.2, True) for part in range(250)]


AHEAD = looks([(95, 2), (112, 3)], [(110, 2)])


def test_each_step_tells_how_early_it_was() -> None:
    result = judge_foreseen(PLAN, AHEAD, requests(), SLO)
    assert result.problems == ()
    assert [(each.ordered_s, each.ready_s) for each in result.steps] == [(95, 100), (110, 115), (112, 117)]
    assert [step_text(each) for each in result.steps] == [
        "prefill 2 was ordered 10 s before the load needed it, ready 5 s before",
        "decode 2 was ordered 10 s before the load needed it, ready 5 s before",
        "prefill 3 was ordered 13 s before the load needed it, ready 8 s before",
    ]
    assert result.attainment is not None
    assert result.attainment.joint == 1.0
    assert result.observed == PerPool(3, 2)


def test_a_step_that_is_ready_late_fails() -> None:
    result = judge_foreseen(PLAN, looks([(95, 2), (128, 3)], [(118, 2)]), requests(), SLO)
    assert result.problems == (
        "not met ahead: decode 2 was ordered 2 s before the load needed it, ready 3 s after",
        "not met ahead: prefill 3 was ordered 3 s after the load needed it, ready 8 s after",
    )


def test_a_step_that_never_comes_fails() -> None:
    result = judge_foreseen(PLAN, looks([(95, 2)], [(137, 2)]), requests(), SLO)
    assert result.problems == (
        "not met ahead: decode 2 was ordered 17 s after the load needed it, not ready in this phase",
        "not met ahead: prefill 3 was not ordered",
    )


def test_a_count_that_falls_again_was_not_ahead() -> None:
    dropped = [
        replace(look, ready=PerPool(1, 2), ordered=PerPool(1, 2)) if look.at_s == 130 else look for look in AHEAD
    ]
    result = judge_foreseen(PLAN, dropped, requests(), SLO)
    assert [each.ready_s for each in result.steps] == [131, 115, 131]
    assert len(result.problems) == 2


def test_the_objectives_hold_for_every_request_of_the_phase() -> None:
    late = [replace(each, ttft_s=4.0) if 100 <= each.arrival_s < 103 else each for each in requests()]
    assert judge_foreseen(PLAN, AHEAD, late, SLO).problems == ("TTFT Mean 392ms misses 200ms",)
    few = [each for each in requests() if each.arrival_s < 110]
    assert judge_foreseen(PLAN, AHEAD, few, SLO).problems == ("only 40 requests arrived: too few to judge",)
    assert judge_foreseen(PLAN, [], requests(), SLO).problems == ("was never observed",)


def test_a_level_phase_has_its_replicas_from_its_begin() -> None:
    assert judge_foreseen(FLAT, looks([(90, 3)], [(90, 2)]), requests(), SLO).problems == ()
    assert judge_foreseen(FLAT, looks([(90, 3)], [(97, 2)]), requests(), SLO).problems == (
        "had only 3P1D ready after 0 s, the model plans 3P2D",
    )


def test_one_replica_may_be_spare_and_no_more() -> None:
    assert judge_foreseen(PLAN, looks([(90, 4)], [(90, 3)]), requests(), SLO).problems == ()
    assert judge_foreseen(PLAN, looks([(90, 5)], [(90, 3)]), requests(), SLO).problems == (
        "held 5 prefill replicas at its end, the model plans 3 at most",
    )
    before_more = replace(PLAN, ahead=PerPool(5, 1))
    assert judge_foreseen(before_more, looks([(90, 5)], [(90, 3)]), requests(), SLO).problems == ()


def test_steps_are_where_the_model_needs_one_more() -> None:
    spec = scenario_of_phases().spec.sizing
    rising = Phase("r", 100.0, 10.0, LengthStats(900.0, 0.25), LengthStats(110.0, 0.25), 1.0, 60.0)
    steps = steps_of(spec, rising, 1000.0)
    # One prefill replica serves 20.09 requests/s of these lengths, one decode replica 36.0: half a second for 0.25/s.
    assert [(step.pool, step.replicas) for step in steps] == [
        (Pool.PREFILL, 2), (Pool.DECODE, 2), (Pool.PREFILL, 3),
    ]  # fmt: skip
    assert [step.needed_s for step in steps] == pytest.approx([1020.2, 1052.0, 1060.4], abs=0.6)
    falling = replace(rising, arrival_rate_rps=60.0, arrival_rate_end_rps=10.0)
    assert steps_of(spec, falling, 0.0) == ()


def test_the_plan_over_time_rises_step_by_step() -> None:
    before = PhasePlan("dawn", 90.0, 100.0, 12.0, 900.0, 110.0, PerPool(1, 1))
    assert nominal_plan([before, PLAN]) == [
        (90.0, PerPool(1, 1)),
        (100.0, PerPool(1, 1)),
        (100.0, PerPool(1, 1)),
        (105.0, PerPool(2, 1)),
        (120.0, PerPool(2, 2)),
        (125.0, PerPool(3, 2)),
        (140.0, PerPool(3, 2)),
    ]


def test_what_was_not_ordered_is_said() -> None:
    assert step_text(StepResult(STEPS[0], None, None)) == "prefill 2 was not ordered"
