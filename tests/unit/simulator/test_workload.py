"""Synthetic workloads: the phases file, the distributions, the segments of a load."""

from pathlib import Path

import numpy as np
import pytest

from pdscaler.core.simulation.requests import draw_lengths
from pdscaler.core.workload import LengthStats
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.load import load_of_phases, load_of_trace
from pdscaler.simulator.traces import Trace
from pdscaler.simulator.workload import Phase, parse_phases, phase_requests, read_phases

PHASES = """
phases:
- {name: quiet, duration: 50s, arrivalRate: 4, inputTokens: {mean: 2000, scv: 0.5}, outputTokens: {mean: 150}}
- {name: surge, duration: 1m30s, arrivalRate: 12.5, inputTokens: {mean: 100}, outputTokens: {mean: 9, scv: 1},
   arrivalScv: 0}
- {name: morning, duration: 40s, arrivalRate: 2, arrivalRateEnd: 10, inputTokens: {mean: 9}, outputTokens: {mean: 9}}
"""


def phase(name: str = "p", duration_s: float = 1000.0, rate_rps: float = 20.0, scv: float = 1.0) -> Phase:
    return Phase(name, duration_s, rate_rps, LengthStats(1500.0, 0.8), LengthStats(120.0, 0.3), scv)


def test_the_phases_file(tmp_path: Path) -> None:
    path = tmp_path / "phases.yaml"
    path.write_text(PHASES)
    assert read_phases(path) == (
        Phase("quiet", 50.0, 4.0, LengthStats(2000.0, 0.5), LengthStats(150.0, 0.0)),
        Phase("surge", 90.0, 12.5, LengthStats(100.0), LengthStats(9.0, 1.0), 0.0),
        Phase("morning", 40.0, 2.0, LengthStats(9.0), LengthStats(9.0), 1.0, 10.0),
    )


GOOD = {"name": "a", "duration": "1s", "arrivalRate": 1, "inputTokens": {"mean": 5}, "outputTokens": {"mean": 5}}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (None, "expected a mapping with phases"),
        ({}, "phases: is missing"),
        ({"phases": []}, "phases: expected a list of at least one phase"),
        ({"phases": [1]}, r"phases\[0\]: expected a mapping"),
        ({"phases": [GOOD], "seed": 1}, r"seed: unknown field \(known: phases\)"),
        ({"phases": [GOOD, {**GOOD, "rate": 3}]}, r"phases\[1\].rate: unknown field"),
        ({"phases": [{**GOOD, "duration": "fast"}]}, r'phases\[0\].duration: "fast" is not a duration'),
        ({"phases": [{**GOOD, "duration": "0s"}]}, r"phases\[0\].duration: expected a duration above 0"),
        ({"phases": [{**GOOD, "arrivalRate": -1}]}, r"phases\[0\].arrivalRate: is -1, expected a number from 0"),
        ({"phases": [{**GOOD, "arrivalRate": float("nan")}]}, r"phases\[0\].arrivalRate: is nan"),
        ({"phases": [{**GOOD, "arrivalRate": "3"}]}, r"phases\[0\].arrivalRate: is '3'"),
        ({"phases": [{**GOOD, "arrivalRateEnd": -2}]}, r"phases\[0\].arrivalRateEnd: is -2, expected a number from 0"),
        ({"phases": [{**GOOD, "arrivalRateEnd": None}]}, r"phases\[0\].arrivalRateEnd: is None, expected a number"),
        ({"phases": [{**GOOD, "inputTokens": {"mean": 0}}]}, r"phases\[0\].inputTokens.mean: is 0"),
        ({"phases": [{**GOOD, "inputTokens": 5}]}, r"phases\[0\].inputTokens: expected a mapping with mean"),
        ({"phases": [{**GOOD, "outputTokens": {"mean": 5, "cv": 1}}]}, r"outputTokens.cv: unknown field"),
        ({"phases": [{**GOOD, "name": ""}]}, r"phases\[0\].name: expected a name"),
    ],
)
def test_a_bad_phases_file_names_the_field(document: object, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        parse_phases(document)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_phases(tmp_path / "none.yaml")
    path = tmp_path / "phases.yaml"
    path.write_text("phases: [")
    with pytest.raises(InvalidInputError, match=r"phases\.yaml: line 1: not YAML"):
        read_phases(path)
    path.write_text("phases: 2023-99-99")
    with pytest.raises(InvalidInputError, match=r"phases\.yaml: phases: expected a list"):
        read_phases(path)
    path.write_text("")
    with pytest.raises(InvalidInputError, match=r"phases\.yaml: expected a mapping with phases"):
        read_phases(path)
    path.write_text("phases: []\n---\nphases: []\n")
    with pytest.raises(InvalidInputError, match=r"phases\.yaml: 2 YAML documents found, expected one"):
        read_phases(path)
    path.write_text("phases: []")
    with pytest.raises(InvalidInputError, match=r"phases\.yaml: phases: expected a list"):
        read_phases(path)


@pytest.mark.parametrize("scv", [0.25, 1.0, 4.0])
def test_inter_arrival_times_are_gamma(scv: float) -> None:
    requests = list(phase_requests([phase(duration_s=4000.0, scv=scv)], np.random.default_rng(1)))
    gaps = np.diff([request.arrival_s for request in requests])
    assert 1 / gaps.mean() == pytest.approx(20, rel=0.03)
    assert gaps.var() / gaps.mean() ** 2 == pytest.approx(scv, rel=0.08)


def test_no_variation_is_a_clock() -> None:
    requests = list(phase_requests([phase(duration_s=1.0, rate_rps=4.0, scv=0.0)], np.random.default_rng(1)))
    assert [request.arrival_s for request in requests] == [0.25, 0.5, 0.75]


@pytest.mark.parametrize("scv", [0.0, 0.5, 3.0])
def test_lengths_are_log_normal(scv: float) -> None:
    drawn = draw_lengths(LengthStats(1000.0, scv), np.random.default_rng(2), 400_000)
    assert drawn.min() >= 1
    assert drawn.mean() == pytest.approx(1000, rel=0.01)
    assert drawn.var() / drawn.mean() ** 2 == pytest.approx(scv, rel=0.06, abs=1e-9)
    if scv:
        assert np.log(drawn).std() == pytest.approx(np.sqrt(np.log1p(scv)), rel=0.02)


def test_phases_follow_each_other_and_do_not_disturb_each_other() -> None:
    def second(first_rate_rps: float) -> list[tuple[float, int, int]]:
        phases = [phase("a", 10.0, first_rate_rps), phase("b", 10.0)]
        requests = list(phase_requests(phases, np.random.default_rng(3)))
        assert [request.request_id for request in requests] == list(range(len(requests)))
        arrivals = [request.arrival_s for request in requests]
        assert arrivals == sorted(arrivals)
        return [(r.arrival_s, r.input_tokens, r.output_tokens) for r in requests if r.arrival_s >= 10.0]

    assert second(1.0) == second(50.0)
    assert len(second(0.0)) > 100


@pytest.mark.parametrize(("begin_rps", "end_rps"), [(5.0, 45.0), (45.0, 5.0), (0.0, 50.0), (50.0, 0.0)])
def test_a_rate_that_goes_in_a_straight_line(begin_rps: float, end_rps: float) -> None:
    rising = Phase("r", 4000.0, begin_rps, LengthStats(9.0), LengthStats(9.0), 1.0, end_rps)
    arrivals = [request.arrival_s for request in phase_requests([rising], np.random.default_rng(5))]
    counts, edges = np.histogram(arrivals, bins=20, range=(0.0, 4000.0))
    expected = np.array([rising.expected(edge) for edge in edges])
    # 25 requests/s over 4 000 s; a Poisson count is off by four of its standard deviations once in 16 000.
    assert expected[-1] == pytest.approx(100_000.0)
    assert (np.abs(counts - np.diff(expected)) < 4.0 * np.sqrt(np.diff(expected))).all()
    assert [rising.rate_at(at_s) for at_s in (-1.0, 0.0, 2000.0, 4000.0, 9e9)] == pytest.approx(
        [begin_rps, begin_rps, 25.0, end_rps, end_rps]
    )


def test_the_segment_of_a_rising_phase_has_its_mean_rate() -> None:
    rising = Phase("r", 40.0, 10.0, LengthStats(9.0), LengthStats(9.0), 1.0, 90.0)
    whole = load_of_phases([rising], np.random.default_rng(0)).segments
    cut = load_of_phases([rising], np.random.default_rng(0), 20.0).segments
    assert [segment.arrival_rate_rps for segment in (*whole, *cut)] == pytest.approx([50.0, 30.0])


def test_segments_of_phases() -> None:
    load = load_of_phases([phase("a", 10.0), phase("b", 20.0), phase("c", 5.0)], np.random.default_rng(4), 25.0)
    assert [(segment.name, segment.begin_s, segment.end_s) for segment in load.segments] == [
        ("a", 0.0, 10.0),
        ("b", 10.0, 25.0),
    ]
    assert load.duration_s == 25.0
    assert [load.segment_index(at_s) for at_s in (0.0, 9.9, 10.0, 24.0, 99.0)] == [0, 0, 1, 1, 1]
    arrivals = [request.arrival_s for request in load.requests]
    assert 20 < max(arrivals) < 25


def test_a_trace_of_one_instant_has_no_rate_without_a_duration() -> None:
    instant = Trace(np.zeros(2), np.array([5, 5]), np.array([3, 3]), np.zeros(2, dtype=np.int64), "t.csv")
    with pytest.raises(InvalidInputError, match=r"t\.csv: --duration: is needed where every request arrives at once"):
        load_of_trace(instant)
    assert load_of_trace(instant, 4.0).segments[0].arrival_rate_rps == 0.5


def test_the_segment_of_a_trace() -> None:
    trace = Trace(
        arrival_s=np.array([0.0, 1.0, 4.0, 9.0]),
        input_tokens=np.array([100, 200, 300, 400]),
        output_tokens=np.array([1, 2, 3, 4]),
        prefix_hit_tokens=np.array([0, 0, 7, 0]),
        source="t.csv",
    )
    load = load_of_trace(trace, 5.0)
    (segment,) = load.segments
    assert (segment.name, segment.end_s, segment.input_tokens) == ("trace", 5.0, 200.0)
    assert segment.arrival_rate_rps == pytest.approx(0.6)
    assert [(r.request_id, r.arrival_s, r.prefix_hit_tokens) for r in load.requests] == [
        (0, 0.0, 0),
        (1, 1.0, 0),
        (2, 4.0, 7),
    ]
    assert len(list(load_of_trace(trace).requests)) == 4
    assert load_of_trace(trace).duration_s == pytest.approx(9.0)
    with pytest.raises(InvalidInputError, match=r"t\.csv: --duration: no request arrives"):
        load_of_trace(trace, 0.0)
