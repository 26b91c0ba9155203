"""Histories from answers in memory: queries, owners, gaps, failures; with a real Prometheus: tests/contract."""

import asyncio
import math
import re
import threading
from collections.abc import Callable

import numpy as np
import pytest

from pdscaler.core.pools import PerPool
from pdscaler.core.workload import NoDataReason
from pdscaler.forecast import History
from pdscaler.forecast.history import Row
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.past import POINTS_AT_ONCE, PastReader, Want
from pdscaler.telemetry.past_queries import owner_of, past_queries
from pdscaler.telemetry.past_table import Grid, PastSource, build_past_table
from pdscaler.telemetry.presets import Preset, Quantity, find_preset, load_presets
from pdscaler.telemetry.reader import ReadError, Sample, Series
from pdscaler.telemetry.subject import Subject
from support.subjects import subject

PRESETS = load_presets(None)
NOW_S = 1_795_262_407.0
VLLM = find_preset(PRESETS, "VLLM", "")
COMPLETIONS = VLLM.quantities[Quantity.COMPLETIONS]

Answer = Callable[[str, float], float | None]
"""From the text of a query and a time to a value; None: no sample."""


class Server:
    """Answers range queries with one series for each alternative that a function knows."""

    def __init__(self, answer: Answer, labels: dict[str, str]) -> None:
        self.answer = answer
        self.labels = labels
        self.asked: list[tuple[str, float, float, float]] = []
        self.made = 0
        self.closed = 0
        self._lock = threading.Lock()

    def labels_of(self, name: str) -> dict[str, str]:
        return self.labels

    def make(self, endpoint: Endpoint) -> "ServerReader":
        self.made += 1
        return ServerReader(self)


class ServerReader:
    def __init__(self, server: Server) -> None:
        self._server = server

    def time_s(self, timeout_s: float) -> float:
        return NOW_S

    def query(self, text: str, at_s: float, timeout_s: float) -> list[Sample]:
        raise AssertionError("the past is asked by ranges")

    def query_range(self, text: str, start_s: float, end_s: float, step_s: float, timeout_s: float) -> list[Series]:
        server = self._server
        with server._lock:
            server.asked.append((text, start_s, end_s, step_s))
        found = []
        for name in re.findall(r'"pdscaler_series", "([^"]*)"', text):
            at_s = np.arange(start_s, end_s + 1e-6, step_s).tolist()
            values = tuple((at, value) for at in at_s if (value := server.answer(name, at)) is not None)
            found.append(Series({**server.labels_of(name), "pdscaler_series": name}, values))
        return found

    def close(self) -> None:
        self._server.closed += 1


def pool(name: str) -> dict[str, str]:
    return {"namespace": "ns", "pdscaler_owner": name, "model_name": "m", "job": "engines"}


def want(of: Subject | None = None, span_s: float = 3600.0, **changes: float) -> Want:
    fields = {"since_s": -math.inf, "window_s": 60.0, "step_s": 15.0, **changes}
    return Want(of or subject("http://a", "ns"), span_s, fields["since_s"], fields["window_s"], fields["step_s"])


async def read(server: Server, *wants: Want) -> list[History | str]:
    reader = PastReader(PRESETS, server.make)
    found = await reader.read(wants, 5.0)
    reader.close()
    return [found[each.subject.key] for each in wants]


def counting(name: str, at_s: float) -> float | None:
    return {"rate": 2.0, "sum": 600.0, "count": 2.0}[name.rpartition("/")[2]]


async def test_ten_hours_are_read_in_pieces_on_the_grid() -> None:
    server = Server(counting, pool("llm-prefill"))
    (found,) = await read(server, want(span_s=10 * 3600.0))
    assert isinstance(found, History)
    assert (len(found), found.end_s % 15.0, found.step_s, found.window_s) == (2400, 0.0, 15.0, 60.0)
    assert NOW_S - 15.0 < found.end_s <= NOW_S
    assert found.rate_rps.tolist() == [2.0] * 2400
    assert set(found.values[1]) == {300.0}
    ranges = {(start_s, end_s) for _, start_s, end_s, _ in server.asked}
    assert len(ranges) == math.ceil(2404 / POINTS_AT_ONCE)
    assert all((end_s - start_s) / 15.0 < POINTS_AT_ONCE for start_s, end_s in ranges)
    assert all(start_s % 15.0 == 0 for start_s, _ in ranges)
    assert len(server.asked) == len(ranges) * 3
    assert server.made == server.closed == 2


async def test_the_first_window_after_a_gap_is_unknown_too() -> None:
    def answer(name: str, at_s: float) -> float | None:
        return None if NOW_S - 1800 < at_s <= NOW_S - 1200 else counting(name, at_s)

    (found,) = await read(Server(answer, pool("llm-prefill")), want())
    assert isinstance(found, History)
    gap = np.flatnonzero(np.isnan(found.rate_rps))
    assert gap.size == 600 / 15 + 60 / 15
    assert gap[-1] - gap[0] == gap.size - 1, "one gap"


async def test_not_a_number_is_a_gap_and_no_requests_are_no_lengths() -> None:
    def answer(name: str, at_s: float) -> float | None:
        return {"rate": math.inf, "sum": 0.0, "count": 0.0}[name.rpartition("/")[2]]

    (found,) = await read(Server(answer, pool("llm-prefill")), want())
    assert isinstance(found, History)
    assert np.isnan(found.values).all()


async def test_only_what_is_new_is_asked_with_the_window_before_it() -> None:
    server = Server(counting, pool("llm-prefill"))
    since_s = NOW_S - 7.0 - 45.0
    (found,) = await read(server, want(since_s=since_s))
    assert isinstance(found, History)
    assert (len(found), found.rate_rps.tolist()) == (3, [2.0] * 3)
    assert {(start_s, end_s) for _, start_s, end_s, _ in server.asked} == {(since_s - 45.0, since_s + 45.0)}
    (nothing,) = await read(server, want(since_s=NOW_S + 100.0))
    assert isinstance(nothing, History)
    assert len(nothing) == 0


async def test_subjects_share_the_queries_and_get_what_is_their_own() -> None:
    server = Server(counting, pool("llm-prefill"))
    mine = subject("http://a", "ns")
    pods = {
        "gone": {"prefill": (), "targets": PerPool("llm-prefill", "llm-decode")},
        "other": {"prefill": ("other-0",), "targets": PerPool("other", "llm-decode")},
        "renamed": {"prefill": ("llm-prefill-1",), "targets": PerPool("scaled-by-another-name", "d")},
    }
    more = [subject("http://a", "ns", name=name, **fields) for name, fields in pods.items()]  # type: ignore[arg-type]
    elsewhere = subject("http://a", "elsewhere")
    another_model = subject("http://a", "ns", name="model", model="m2")
    wants = [want(each) for each in (mine, *more, elsewhere, another_model)]
    found = [isinstance(each, History) and each.coverage(600.0) for each in await read(server, *wants)]
    assert found == [True, True, False, True, False, False]
    assert len(server.asked) == 3


async def test_a_failing_query_is_named_and_an_unknown_preset_too() -> None:
    def answer(name: str, at_s: float) -> float | None:
        if "generation" in name:
            raise ReadError(NoDataReason.QUERY_FAILED, "answered with HTTP 422, execution")
        return 1.0

    unknown = subject("http://b", "ns", name="unknown", engine="NoSuch")
    found = await read(Server(answer, pool("llm-prefill")), want(), want(unknown))
    assert found[0] == (
        'endpoint "default", asked for the history of osl (vllm:request_generation_tokens), '
        "answered with HTTP 422, execution"
    )
    assert isinstance(found[1], str)
    assert 'no preset "NoSuch"' in found[1]


async def test_it_ends_in_time() -> None:
    server = Server(counting, pool("llm-prefill"))
    reader = PastReader(PRESETS, server.make)
    found = await asyncio.wait_for(reader.read([want(span_s=36000.0)], 0.0), 5.0)
    assert all(isinstance(answer, str) for answer in found.values())
    reader.close()


@pytest.mark.parametrize(
    ("pod", "owner"),
    [
        ("chat-decode-7d9f8b6c5-x2x4z", "chat-decode"),
        ("chat-7d9f8b6c5-x2x4z", "chat"),
        ("chat-decode-0", "chat-decode"),
        ("decode-70-12", "decode-70"),
        ("grove-0-prefill-x2x4z", "grove-0-prefill"),
        ("chat-prefill", "chat-prefill"),
        ("p0", "p0"),
        ("", ""),
    ],
)
def test_owners(pod: str, owner: str) -> None:
    assert owner_of(pod) == owner


def test_texts() -> None:
    by_quantity = {query.quantity: query.text for query in past_queries(VLLM, 60.0, ("role",), lengths=True)}
    assert set(by_quantity) == {Quantity.COMPLETIONS, Quantity.ISL, Quantity.OSL}
    text = by_quantity[Quantity.COMPLETIONS]
    assert "sum by (namespace, pdscaler_owner, model_name, job, role) (label_replace(" in text
    assert "rate(vllm:request_success_total" in text
    assert "[60000ms])" in text
    door = past_queries(find_preset(PRESETS, "LLMD", ""), 60.0, (), lengths=False)
    assert [query.quantity for query in door] == [Quantity.ARRIVALS]
    assert "bcdfgh" not in door[0].text, "the pods of a front door stay apart"
    for preset in PRESETS.values():
        for query in past_queries(preset, 60.0, (), lengths=True):
            assert len(query.text) < 4000, "it must fit into an address"


GRID = Grid(0.0, 15.0, 3)


def series(labels: dict[str, str], name: str, *values: float) -> Series:
    points = tuple((15.0 * place, value) for place, value in enumerate(values) if not math.isnan(value))
    return Series({**labels, "pdscaler_series": name}, points)


def column(answer: list[Series], of: Subject, preset: Preset = VLLM) -> list[float]:
    names = preset.quantities[Quantity.COMPLETIONS]
    tables = {("VLLM", quantity): build_past_table([], names, preset, GRID) for quantity in Quantity}
    labels = (of.pool_label,) if of.pool_label else ()
    tables["VLLM", Quantity.COMPLETIONS] = build_past_table(answer, names, preset, GRID, labels)
    return [round(value, 6) for value in PastSource(of, preset, None).column(tables, GRID.count).rate_rps.tolist()]


def test_a_renamed_metric_leaves_no_gap_and_two_jobs_count_once() -> None:
    new, old = (f"{metric}/rate" for metric in COMPLETIONS.metrics[:2])
    mine = pool("llm-prefill")
    renamed = [series(mine, old, 5.0, 5.0, math.nan), series(mine, new, math.nan, 6.0, 6.0)]
    assert column(renamed, subject("http://a", "ns")) == [5.0, 6.0, 6.0]
    jobs = [series({**mine, "job": job}, new, rate, rate, rate) for job, rate in (("a", 4.0), ("b", 5.0))]
    assert column(jobs, subject("http://a", "ns")) == [5.0, 5.0, 5.0]
    assert column([series(mine, "evil/rate", 9.0, 9.0, 9.0)], subject("http://a", "ns"), VLLM)[0] != 9.0


def test_pools_told_by_a_label() -> None:
    name = f"{COMPLETIONS.metrics[0]}/rate"
    role = {"namespace": "ns", "model_name": "m", "job": "engines"}
    answer = [
        series({**role, "role": "prefill"}, name, 3.0, 3.0, 3.0),
        series({**role, "role": "decode"}, name, 70.0, 70.0, 70.0),
        series({**role, "role": "prefill", "job": "others"}, name, 1.0, math.nan, 1.0),
    ]
    assert column(answer, subject("http://a", "ns", pool_label="role")) == [4.0, 3.0, 4.0]


class Served(Server):
    """Answers for a front door and the engines behind it, each with its own labels."""

    def labels_of(self, name: str) -> dict[str, str]:
        if not name.startswith("vllm"):
            return pool("router")
        return pool("llm-decode" if "generation" in name else "llm-prefill")

    @property
    def engines_asked(self) -> set[str]:
        return {name for text, *_ in self.asked for name in re.findall(r'"(vllm:[^"/]*)/', text)}


@pytest.mark.parametrize(
    ("lengths", "asked", "means"),
    [
        pytest.param(lambda at_s: True, False, {200.0}, id="a front door that says all"),
        pytest.param(lambda at_s: at_s < NOW_S - 600, True, {200.0, 300.0}, id="one that fell silent"),
        pytest.param(lambda at_s: False, True, {300.0}, id="one that never said"),
    ],
)
async def test_engines_are_asked_for_lengths_only_where_the_front_door_says_none(
    lengths: Callable[[float], bool], asked: bool, means: set[float]
) -> None:
    def answer(name: str, at_s: float) -> float | None:
        part = name.rpartition("/")[2]
        if name.startswith("vllm"):
            return {"rate": 9.0, "sum": 600.0, "count": 2.0}[part]
        if part == "rate":
            return 5.0
        return {"sum": 400.0, "count": 2.0}[part] if lengths(at_s) else None

    server = Served(answer, {})
    (found,) = await read(server, want(subject("http://a", "ns", front_door_preset="LLMD")))
    assert isinstance(found, History)
    assert set(found.rate_rps.tolist()) == {5.0}, "completions never stand in for arrivals that are counted"
    assert set(found.values[Row.ISL_MEAN].tolist()) == set(found.values[Row.OSL_MEAN].tolist()) == means
    names = {"vllm:request_prompt_tokens", "vllm:request_generation_tokens"} if asked else set()
    assert server.engines_asked == names


async def test_nobody_is_asked_for_the_lengths_of_nothing() -> None:
    server = Served(lambda name, at_s: 0.0, {})
    (found,) = await read(server, want(subject("http://a", "ns", front_door_preset="LLMD")))
    assert isinstance(found, History)
    assert set(found.rate_rps.tolist()) == {0.0}
    assert server.engines_asked == set()
