"""What the demo shows: the live table, the lines of a log, the summary."""

import io
from dataclasses import replace
from typing import Any

from rich.console import Console

from localplane.demo_files import summary
from localplane.demo_scenario import scenario_of_phases
from localplane.demo_show import Frame, Screen, plain_line, summary_lines
from localplane.demo_types import Observation, PhaseResult, Shares, Step, StepResult
from pdscaler.core.pools import PerPool, Pool

SCENARIO = scenario_of_phases()
DOCUMENT: dict[str, Any] = {
    "metadata": {"name": "chat", "namespace": "demo", "generation": 1},
    "spec": {},
    "status": {
        "observedGeneration": 1,
        "summary": {"state": "ScalingUp", "gpus": "16/32"},
        "prefill": {"current": 2, "ready": 2, "required": 4.3, "recommended": 5, "desired": 5},
        "decode": {"current": 3, "ready": 3, "required": 2.4, "recommended": 3, "desired": 3},
        "workload": {"arrivalRate": 60.0, "inputTokens": {"mean": 900}, "outputTokens": {"mean": 110}},
        "conditions": [
            {
                "type": "MetricsAvailable",
                "status": "False",
                "reason": "NoData",
                "message": "nothing there",
                "lastTransitionTime": "2026-11-21T12:00:00Z",
            }
        ],
        "decisions": [
            {"time": "2026-11-21T12:00:00Z", "prefill": {"from": 2, "to": 5, "reason": "87 requests/s need 4.3"}}
        ],
    },
}
STATS: dict[str, Any] = {
    "started": True,
    "finished": False,
    "elapsed_s": 47.0,
    "phase": "surge",
    "recent": {
        "arrival_rate_rps": 86.6,
        "ttft_s": {"mean": 1.5, "statistic": 1.5},
        "tpot_s": {"mean": 0.018, "statistic": 0.018},
        "attainment": {"ttft": 0.4, "tpot": 0.8, "joint": 0.37},
    },
}
SEEN = Observation(47.0, PerPool(5, 3), PerPool(2, 3), PerPool(5, 3), 86.6, 1.5, 0.018)
FRAME = Frame(DOCUMENT, STATS, SEEN)
NOW_S = 1795262460.0


def shown(terminal: bool, *frames: Frame) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=118, force_terminal=terminal, color_system=None, highlight=False)
    with Screen(SCENARIO, "API server 1.36", console) as screen:
        for frame in frames:
            screen.show(frame, NOW_S)
    return stream.getvalue()


def test_the_table_shows_the_present_and_why() -> None:
    text = shown(True, FRAME)
    assert "phase 2/7 surge   00:47 elapsed, about 02:43 left" in text
    assert "sized for the load seen now" in text
    assert "86.6 requests/s × (900 in + 110 out)" in text
    prefill = next(line for line in text.splitlines() if line.lstrip().startswith("prefill"))
    assert prefill.split()[1:6] == ["2", "5", "4.3", "5", "5"]
    assert "TTFT 1.5s" in prefill
    assert "40 %" in prefill
    assert "prefill 2→5: 87 requests/s need 4.3" in text


def test_a_log_gets_each_decision_and_trouble_once() -> None:
    later = replace(FRAME, seen=replace(SEEN, at_s=49.0))
    text = shown(False, FRAME, later, replace(FRAME, seen=replace(SEEN, at_s=52.5)))
    assert text.count("87 requests/s need 4.3") == 1
    assert text.count("! MetricsAvailable=False, NoData: nothing there") == 1
    assert text.count("pdscaler demo   phase 2/7 surge") == 1
    assert text.count("SLO met 37 %") == 2


def test_lines_are_aligned_and_unknown_is_a_dash() -> None:
    recent = {
        "arrival_rate_rps": None,
        "ttft_s": {"mean": None, "statistic": None},
        "tpot_s": {"mean": None, "statistic": None},
        "attainment": None,
    }
    blank = Frame(DOCUMENT, {**STATS, "recent": recent}, replace(SEEN, recommended=PerPool(None, None)))
    known, unknown = plain_line(FRAME, SCENARIO), plain_line(blank, SCENARIO)
    assert known.index("SLO met") == unknown.index("SLO met")
    assert "86.6/s" in known
    assert "TTFT 1.5s/200ms" in known
    assert "TTFT –/200ms" in unknown
    assert unknown.endswith("SLO met –")


def results() -> list[PhaseResult]:
    good = [
        PhaseResult(plan, plan.planned, 12.34, 0.0745, 0.0141, Shares(0.99, 0.98, 0.97), ()) for plan in SCENARIO.phases
    ]
    bad = PhaseResult(SCENARIO.phases[1], PerPool(4, 3), None, None, None, None, ("ended at 4P3D",))
    steps = (StepResult(Step(Pool.DECODE, 2, 179.4), 165.0, 170.2),)
    good[5] = replace(good[5], settled_s=None, steps=steps)
    return [good[0], bad, *good[2:]]


def test_the_summary_has_a_line_for_each_phase() -> None:
    lines = summary_lines(SCENARIO, results())
    names = ["phase", "quiet", "surge", "mix", "night", "dawn", "morning", "noon"]
    assert [line.split()[0] for line in lines[:8]] == names
    assert lines[1].split()[-7:] == ["3P2D", "12", "s", "74.5ms/200ms", "14.1ms/15ms", "97.0", "%"]
    assert lines[6].split()[1:10] == ["12", "to", "90/s", "×", "(900", "in", "+", "110", "out)"]
    assert lines[8:10] == [
        "  ! surge: ended at 4P3D",
        "  morning: decode 2 was ordered 14 s before the load needed it, ready 9 s before",
    ]
    assert lines[11].startswith("  dawn, morning, noon: every request of the phase")


def test_a_forecast_is_shown_beside_the_load() -> None:
    ahead = replace(FRAME, seen=replace(SEEN, forecast_rps=103.4))
    assert "sized for the forecast, 103 requests/s, now 86.6" in shown(True, ahead)
    assert plain_line(ahead, SCENARIO).endswith("SLO met 37 %  forecast 103/s")


def test_a_line_of_its_own_is_written_as_it_is() -> None:
    stream = io.StringIO()
    with Screen(SCENARIO, "here", Console(file=stream, width=40, color_system=None)) as screen:
        screen.say("kubectl patch pdd chat -n demo --type merge -p '{\"spec\": {}}'")
    assert stream.getvalue() == "kubectl patch pdd chat -n demo --type merge -p '{\"spec\": {}}'\n"


def test_the_summary_document_has_the_contracts_keys() -> None:
    document = summary(results(), 15, 200.04, ok=False)
    assert list(document) == ["ok", "phases", "writes", "seconds"]
    first, second = document["phases"][:2]
    assert first == {
        "name": "quiet",
        "arrival_rate_rps": 46.0,
        "arrival_rate_end_rps": None,
        "input_tokens": 900.0,
        "output_tokens": 110.0,
        "planned": {"prefill": 3, "decode": 2},
        "observed": {"prefill": 3, "decode": 2},
        "attainment": {"ttft": 0.99, "tpot": 0.98, "joint": 0.97},
        "settled_s": 12.3,
        "steps": [],
    }
    morning = document["phases"][5]
    assert morning["arrival_rate_end_rps"] == 90.0
    assert morning["steps"] == [
        {"pool": "decode", "replicas": 2, "needed_s": 179.4, "ordered_s": 165.0, "ready_s": 170.2}
    ]
    assert (second["settled_s"], second["attainment"]) == (None, None)
    assert (document["ok"], document["writes"], document["seconds"]) == (False, 15, 200.0)
