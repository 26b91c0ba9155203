"""The emulator on a clock that the test holds: arrivals, replicas, records, HTTP documents, the summary."""

import asyncio
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from pdscaler.core.emulation import Request
from pdscaler.core.pools import PerPool
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.emulator import EmulatedModel, Emulator, run
from pdscaler.simulator.http import stats, targets
from pdscaler.simulator.load import Load, Segment
from pdscaler.simulator.records import COLUMNS, RecordsWriter
from pdscaler.simulator.statistics import attainment, statistic_of
from pdscaler.simulator.summary import summary
from support.emulation import level, prefill

SLO = Slo(LatencyTarget(0.55), LatencyTarget(0.012, Statistic.P95))
SEGMENTS = (Segment("quiet", 0.0, 10.0, 1.0, 500.0, 101.0), Segment("surge", 10.0, 20.0, 2.0, 500.0, 101.0))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Clock:
    """Time that passes only when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def emulator(
    clock: Clock,
    arrivals: Sequence[float] = (),
    records: RecordsWriter | None = None,
    *,
    output_tokens: int = 101,
    pool_label: str = "",
) -> Emulator:
    requests: Iterator[Request] = iter(
        [Request(number, at_s, 500, output_tokens) for number, at_s in enumerate(arrivals)]
    )
    model = EmulatedModel("m", "ns", prefill(), level(0.01), SLO, pool_label=pool_label)
    return Emulator(
        model,
        Load(requests, SEGMENTS),
        np.random.default_rng(0),
        clock=clock,
        unix_clock=lambda: 1_700_000_000.0,
        records=records,
    )


def test_requests_arrive_at_their_own_time(tmp_path: Path) -> None:
    clock = Clock()
    with RecordsWriter(tmp_path / "deep" / "records.csv") as records:
        engines = emulator(clock, [1.0, 11.0, 11.1], records)
        engines.set_ready(PerPool(["p0"], ["d0"]))
        engines.start()
        clock.now_s += 5.0  # late: the request still arrived at 1.0
        engines.advance()
        rows = read(tmp_path / "deep" / "records.csv")  # seen while it is written
        assert len(rows) == 1
        clock.now_s += 30.0
        engines.advance()
    rows = read(tmp_path / "deep" / "records.csv")
    assert tuple(rows[0]) == COLUMNS
    assert rows[0] == {
        "request_id": "0",
        "phase": "quiet",
        "arrival_s": "1.000000",
        "arrival_unix_s": "1700000001.000000",
        "input_tokens": "500",
        "output_tokens": "101",
        "ttft_s": "0.500000",
        "tpot_s": "0.01000000",
        "e2e_s": "1.500000",
        "prefill_pod": "p0",
        "decode_pod": "d0",
        "met_ttft": "1",
        "met_tpot": "1",
    }
    # The third waits for the pass of the second: 0.4 + 0.5.
    assert [(row["phase"], row["ttft_s"], row["met_ttft"]) for row in rows[1:]] == [
        ("surge", "0.500000", "1"),
        ("surge", "0.900000", "0"),
    ]
    assert engines.drained


def test_an_answer_of_one_token_has_empty_cells_and_meets_tpot(tmp_path: Path) -> None:
    clock = Clock()
    with RecordsWriter(tmp_path / "records.csv") as records:
        engines = emulator(clock, [1.0], records, output_tokens=1)
        engines.set_ready(PerPool(["p0"], ["d0"]))
        engines.start()
        clock.now_s += 5.0
        engines.advance()
    row = read(tmp_path / "records.csv")[0]
    assert (row["tpot_s"], row["decode_pod"], row["met_tpot"]) == ("", "", "1")


def test_records_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="--records: cannot be written: Is a directory"):
        RecordsWriter(tmp_path)


def test_replicas_change_after_what_arrived_before() -> None:
    clock = Clock()
    engines = emulator(clock, [1.0, 1.1])
    engines.set_ready(PerPool(["p0"], ["d0"]))
    engines.start()
    clock.now_s += 1.9375  # nobody has asked since: both requests belong to p0
    engines.set_ready(PerPool(["p1"], ["d0", "d1"]))
    assert {name for name, _ in engines.engines} == {"p0", "p1", "d0", "d1"}
    finished = b'vllm:request_prompt_tokens_count{engine="0",model_name="m"} 1.0'
    assert finished in (engines.render_engine("p0") or b"")
    running = b'vllm:num_requests_running{engine="0",model_name="m"} '
    assert running + b"1.0" in (engines.render_engine("p0") or b"")
    assert running + b"0.0" in (engines.render_engine("p1") or b"")
    clock.now_s += 0.125
    engines.advance()
    assert engines.render_engine("p0") is None  # it has drained
    assert engines.render_engine("p1") is not None


def test_nothing_happens_before_the_start() -> None:
    clock = Clock()
    engines = emulator(clock, [0.0])
    clock.now_s += 100.0
    engines.advance()
    assert (engines.in_flight, engines.elapsed_s, engines.segment, engines.drained) == (0, 0.0, None, False)
    document = stats(engines)
    assert (document["started"], document["finished"], document["phase"]) == (False, False, None)
    assert document["recent"] == {
        "arrival_rate_rps": None,
        "completed": 0,
        "ttft_s": {"mean": None, "statistic": None},
        "tpot_s": {"mean": None, "statistic": None},
        "attainment": None,
    }
    json.dumps(document, allow_nan=False)


def test_too_few_replicas_show_as_queues_and_missed_objectives() -> None:
    clock = Clock()
    engines = emulator(clock, [number * 0.25 for number in range(80)])  # 4/s against 2/s
    engines.set_ready(PerPool(["p0"], ["d0"]))
    engines.start()
    for _ in range(320):
        clock.now_s += 0.0625
        engines.advance()
    document = stats(engines)
    assert (document["elapsed_s"], document["finished"], document["phase"]) == (pytest.approx(20), True, None)
    waiting = document["waiting"]
    assert isinstance(waiting, dict)
    assert waiting["prefill"] > 35
    recent = document["recent"]
    assert isinstance(recent, dict)
    assert recent["attainment"]["ttft"] == 0
    assert recent["attainment"]["tpot"] == 1
    assert recent["arrival_rate_rps"] == pytest.approx(4, abs=0.1)
    assert recent["ttft_s"]["mean"] > 3
    assert recent["tpot_s"]["statistic"] == pytest.approx(0.01)


def test_stats_name_the_phase_and_its_nominal_load() -> None:
    clock = Clock()
    engines = emulator(clock, [1.0])
    engines.set_ready(PerPool(["p0"], ["d0", "d1"]))
    engines.start()
    clock.now_s += 1.2
    engines.advance()
    document = stats(engines)
    assert document["phase"] == "quiet"
    assert document["nominal"] == {"arrival_rate_rps": 1.0, "input_tokens": 500.0, "output_tokens": 101.0}
    assert document["running"] == {"prefill": 1, "decode": 0}
    assert document["replicas"] == {"prefill": 1, "decode": 2}
    assert document["in_flight"] == 1
    assert document["objectives"] == {
        "ttft": {"target_s": 0.55, "statistic": "Mean"},
        "tpot": {"target_s": 0.012, "statistic": "P95"},
    }
    clock.now_s += 10
    engines.advance()
    assert stats(engines)["phase"] == "surge"


def test_the_recent_window_forgets() -> None:
    clock = Clock()
    engines = emulator(clock, [1.0])
    engines.set_ready(PerPool(["p0"], ["d0"]))
    engines.start()
    clock.now_s += 10.0
    engines.advance()
    assert len(engines.recent().outcomes) == 1
    clock.now_s += 10.0
    engines.advance()
    sample = engines.recent()
    assert (sample.arrivals, sample.ttft_s, sample.tpot_s, sample.outcomes) == (0, [], [], [])


def test_targets_for_prometheus() -> None:
    engines = emulator(Clock(), pool_label="role")
    engines.set_ready(PerPool(["p0"], ["d0"]))
    labels = {"__metrics_path__": "/pods/p0/metrics", "namespace": "ns", "pod": "p0", "role": "prefill"}
    front_door = {"__metrics_path__": "/frontdoor/metrics", "namespace": "ns", "job": "frontdoor"}
    found = targets(engines, "h:1")
    assert found[0] == {"targets": ["h:1"], "labels": labels}
    assert found[-1] == {"targets": ["h:1"], "labels": front_door}
    assert len(found) == 3


def test_the_front_door_holds_what_no_replica_takes() -> None:
    clock = Clock()
    engines = emulator(clock, [1.0])
    engines.set_ready(PerPool(["p0"], ["d0"]))
    engines.start()
    engines.set_ready(PerPool([], ["d0"]))
    clock.now_s += 3.0
    engines.advance()
    text = engines.render_front_door().decode()
    assert 'priority="0",target_model_name="m"} 1.0' in text
    assert 'llm_d_epp_request_running{model_name="m",target_model_name="m"} 0.0' in text
    assert engines.held == PerPool(1, 0)


def test_the_summary() -> None:
    clock = Clock()
    engines = emulator(clock, [1.0, 2.0, 11.0, 11.1])
    engines.set_ready(PerPool(["p0"], ["d0"]))
    engines.start()
    clock.now_s += 30.0
    engines.advance()
    assert summary(engines) == (
        "4 requests in 20s, 4 finished, 0 in flight",
        [
            ("phase", "arrivals", "finished", "TTFT Mean", "TPOT P95", "SLO met"),
            ("quiet", "2", "2", "500ms/550ms", "10ms/12ms", "100.0 %"),
            ("surge", "2", "2", "700ms/550ms", "10ms/12ms", "50.0 %"),
        ],
    )


def test_statistics_of_nothing_are_unknown() -> None:
    assert attainment([]) is None
    assert statistic_of([], Statistic.MEAN) is None
    assert statistic_of([1.0, 2.0, 4.0], Statistic.P50) == 2.0


async def test_run_waits_for_both_pools_plays_and_ends() -> None:
    clock = Clock()
    engines = emulator(clock, [1.0])
    asked = 0
    seen: list[str | None] = []

    def note(segment: Segment | None) -> None:
        seen.append(None if segment is None else segment.name)

    async def ready() -> PerPool[Sequence[str]]:
        nonlocal asked
        asked += 1
        clock.now_s += 2.0
        return PerPool(["p0"], ["d0"] if asked > 3 else [])

    await run(
        engines, ready, asyncio.Event(), on_segment=lambda segment: seen.append(segment.name if segment else None)
    )
    assert seen == ["quiet", "surge", None]
    assert engines.drained
    assert asked == 4 + 10


async def test_run_lingers_until_it_is_stopped() -> None:
    clock = Clock()
    engines = emulator(clock, [1.0])
    stop = asyncio.Event()
    asked = 0

    async def ready() -> PerPool[Sequence[str]]:
        nonlocal asked
        asked += 1
        clock.now_s += 10.0
        if asked == 8:
            stop.set()
        return PerPool(["p0"], ["d0"])

    await run(engines, ready, stop, linger=True)
    assert asked == 8
    assert engines.drained
