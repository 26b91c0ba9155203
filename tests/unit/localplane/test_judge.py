"""The demo's verdict: what counts as settled, as met, as scaled."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from localplane.demo_judge import exactly, judge_phase, label, write_problems
from localplane.demo_types import Observation, PhasePlan, Run, Served
from localplane.demo_writes import writes_of_exposition
from pdscaler.core.pools import PerPool
from pdscaler.core.slo import LatencyTarget, Slo, Statistic

SLO = Slo(LatencyTarget(0.2), LatencyTarget(0.015))
PLAN = PhasePlan("surge", 100.0, 150.0, 87.0, 900.0, 110.0, PerPool(5, 3))


def look(at_s: float, ready: tuple[int, int] = (5, 3), ordered: tuple[int, int] = (5, 3)) -> Observation:
    return Observation(at_s, PerPool(*ordered), PerPool(*ready), PerPool(5, 3), 87.0, 0.1, 0.014)


def request(arrival_s: float, ttft_s: float = 0.1, tpot_s: float | None = 0.014) -> Served:
    return Served(arrival_s, 900, 110, ttft_s, tpot_s, 2.0, ttft_s <= 0.2, tpot_s is None or tpot_s <= 0.015)


def requests(begin_s: int, end_s: int, ttft_s: float = 0.1, tpot_s: float = 0.014) -> list[Served]:
    return [request(second + part / 10, ttft_s, tpot_s) for second in range(begin_s, end_s) for part in range(10)]


def looks(settled_s: float) -> list[Observation]:
    before = [look(float(second), (2, 1), (5, 3)) for second in range(100, int(settled_s))]
    return [look(99.0), *before, *(look(float(second)) for second in range(int(settled_s), 150)), look(150.0, (2, 5))]


def test_a_phase_settles_when_ready_replicas_are_as_planned_to_its_end() -> None:
    result = judge_phase(PLAN, looks(121), requests(95, 160), SLO)
    assert result.observed == PerPool(5, 3)
    assert result.settled_s == pytest.approx(21.0)
    assert result.problems == ()
    assert result.attainment is not None
    assert result.attainment.joint == 1.0
    assert result.ttft_s == pytest.approx(0.1)


def test_the_backlog_of_before_must_be_worked_off() -> None:
    served = sorted([*requests(95, 160), request(110.0, ttft_s=15.5)], key=lambda item: item.arrival_s)
    assert judge_phase(PLAN, looks(121), served, SLO).settled_s == pytest.approx(25.5)


def test_what_arrived_before_settling_does_not_count() -> None:
    served = [*requests(100, 120, ttft_s=0.9), *requests(121, 150)]
    result = judge_phase(PLAN, looks(121), served, SLO)
    assert result.problems == ()
    assert result.ttft_s == pytest.approx(0.1)


def test_a_change_just_before_the_end_unsettles() -> None:
    result = judge_phase(PLAN, [*looks(121)[:-2], look(149.5, (4, 3), (4, 3))], requests(100, 150), SLO)
    assert result.settled_s is None
    assert result.observed == PerPool(4, 3)
    assert result.problems == (
        "ended at 4P3D (prefill 4 ready of 4 ordered, decode 3 ready of 3 ordered), the model plans 5P3D",
    )


def test_settling_late_proves_nothing() -> None:
    result = judge_phase(PLAN, looks(142), requests(100, 150), SLO)
    assert result.problems == ("had settled only 8 s before its end: too late to judge",)


def test_ordered_but_not_ready_is_not_there() -> None:
    assert not exactly(look(1.0, ready=(4, 3)), PLAN)
    assert not exactly(look(1.0, ordered=(6, 3)), PLAN)
    assert exactly(look(1.0), PLAN)


@pytest.mark.parametrize(
    ("served", "slo", "problem"),
    [
        (requests(100, 150, ttft_s=0.25), SLO, "TTFT Mean 250ms misses 200ms"),
        (requests(100, 150, tpot_s=0.016), SLO, "TPOT Mean 16ms misses 15ms"),
        (
            requests(100, 140) + requests(140, 150, ttft_s=0.3),
            Slo(LatencyTarget(0.2, Statistic.P95), None),
            "TTFT P95 300ms misses 200ms",
        ),
        (requests(100, 125), SLO, "only 40 requests arrived after it had settled: too few to judge"),
    ],
)
def test_missed_objectives_are_named(served: Sequence[Served], slo: Slo, problem: str) -> None:
    assert judge_phase(PLAN, looks(121), served, slo).problems == (problem,)


def test_one_token_answers_are_left_out_of_tpot() -> None:
    served = [replace(item, tpot_s=None) for item in requests(100, 150)]
    result = judge_phase(PLAN, looks(121), served, SLO)
    assert result.tpot_s is None
    assert result.problems == ()


def test_a_phase_that_was_never_seen_fails() -> None:
    assert judge_phase(PLAN, [], requests(100, 150), SLO).problems == ("was never observed",)


def test_both_pools_must_be_scaled_by_the_operator_alone() -> None:
    names = PerPool("p", "d")
    run = Run([], [], PerPool(3, 2), "by the audit log", 0)
    assert write_problems(run, names) == []
    assert write_problems(replace(run, writes=PerPool(3, 0)), names) == [
        "the operator never scaled d (by the audit log)"
    ]
    assert write_problems(replace(run, foreign_writes=1), names) == [
        "1 writes to the targets' scale were not the operator's"
    ]


def test_label() -> None:
    assert label(PerPool(3, 4)) == "3P4D"


def test_the_operators_own_counter_is_read() -> None:
    text = (
        "# TYPE pdscaler_scale_writes_total counter\n"
        'pdscaler_scale_writes_total{pool="prefill",result="written"} 3.0\n'
        'pdscaler_scale_writes_total{pool="prefill",result="conflict"} 2.0\n'
        'pdscaler_scale_writes_total{pool="decode",result="written"} 1.0\n'
    )
    assert writes_of_exposition(text) == PerPool(3, 1)
    assert writes_of_exposition("") == PerPool(0, 0)
