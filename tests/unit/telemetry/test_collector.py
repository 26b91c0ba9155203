"""The collector with readers in memory; with a real Prometheus: tests/contract/telemetry."""

import asyncio
import re
import threading
import time
from collections.abc import Callable

import pytest

from pdscaler.core.workload import NoData, NoDataReason, Telemetry
from pdscaler.telemetry.collector import Collector
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.presets import load_presets
from pdscaler.telemetry.reader import ReadError, Sample, Series
from support.subjects import subject

PRESETS = load_presets(None)


class Book:
    """What the readers were asked, and what they answer."""

    def __init__(self, answer: Callable[[str], list[Sample]] = lambda text: []) -> None:
        self.asked: list[str] = []
        self.closed = 0
        self.together = 0
        self.most_together = 0
        self.answer = answer
        self._lock = threading.Lock()

    def make(self, endpoint: Endpoint) -> "BookReader":
        return BookReader(self)

    def take(self, text: str) -> list[Sample]:
        with self._lock:
            self.asked.append(text)
            self.together += 1
            self.most_together = max(self.most_together, self.together)
        try:
            return self.answer(text)
        finally:
            with self._lock:
                self.together -= 1


class BookReader:
    def __init__(self, book: Book) -> None:
        self._book = book

    def time_s(self, timeout_s: float) -> float:
        self._book.take("time()")
        return 1000.0

    def query(self, text: str, at_s: float, timeout_s: float) -> list[Sample]:
        assert at_s == 1000.0
        assert timeout_s > 0
        return self._book.take(text)

    def query_range(self, text: str, start_s: float, end_s: float, step_s: float, timeout_s: float) -> list[Series]:
        raise AssertionError("the present is asked at one time")

    def close(self) -> None:
        self._book.closed += 1


def clock() -> float:
    return 5000.0


async def test_nothing_to_collect() -> None:
    book = Book()
    collector = Collector(PRESETS, clock, make_reader=book.make)
    assert await collector.collect([]) == {}
    assert collector.queries_sent == 0


async def test_snapshots_are_shared_per_endpoint_preset_and_window() -> None:
    book = Book()
    collector = Collector(PRESETS, clock, make_reader=book.make)
    await collector.collect([subject("http://a", "ns", name=f"n{number}") for number in range(30)])
    once = len(book.asked)
    assert collector.queries_sent == once
    await collector.collect([subject("http://a", "ns"), subject("http://a", "ns2", name="x", front_door_preset="LLMD")])
    door = len(book.asked) - 2 * once
    assert door == 10  # the front door's own queries; the time is shared
    await collector.collect([subject("http://a", "ns"), subject("http://b", "ns", name="x")])
    assert len(book.asked) == once + (once + door) + 2 * once
    assert book.most_together <= 8
    await collector.close()
    assert book.closed == 8


async def test_a_failure_ends_its_endpoint_only() -> None:
    def answer(text: str) -> list[Sample]:
        if "num_requests_running" in text:
            raise ReadError(NoDataReason.QUERY_FAILED, "answered with HTTP 500")
        return []

    book = Book(answer)
    collector = Collector(PRESETS, clock, make_reader=book.make)
    found = await collector.collect([subject("http://a", "ns")])
    reading = found[("ns", "llm")]
    assert reading == NoData(
        NoDataReason.QUERY_FAILED,
        'endpoint "default", asked for running (vllm:num_requests_running), answered with HTTP 500',
    )
    await collector.close()


async def test_an_endpoint_that_dies_is_asked_no_more() -> None:
    def answer(text: str) -> list[Sample]:
        if text != "time()":
            raise ReadError(NoDataReason.PROMETHEUS_UNREACHABLE, "cannot be reached")
        return []

    book = Book(answer)
    collector = Collector(PRESETS, clock, make_reader=book.make)
    many = [subject("http://a", "ns", name=f"n{number}", window_s=60.0 + number) for number in range(20)]
    found = await collector.collect(many)
    assert {type(reading) for reading in found.values()} == {NoData}
    assert len(book.asked) < 20
    await collector.close()


async def test_a_defect_is_not_an_outage() -> None:
    def answer(text: str) -> list[Sample]:
        raise AssertionError("a defect")

    collector = Collector(PRESETS, clock, make_reader=Book(answer).make)
    with pytest.raises(AssertionError, match="a defect"):
        await collector.collect([subject("http://a", "ns")])
    await collector.close()


async def test_what_hangs_ends_at_the_deadline() -> None:
    released = threading.Event()

    def answer(text: str) -> list[Sample]:
        released.wait(60)
        return []

    book = Book(answer)
    collector = Collector(PRESETS, clock, deadline_s=0.2, make_reader=book.make)
    for _ in range(6):
        found = await collector.collect([subject("http://a", "ns")])
        reading = found[("ns", "llm")]
        assert isinstance(reading, NoData)
        assert reading.reason is NoDataReason.PROMETHEUS_UNREACHABLE
    # Four threads hang; the fifth and sixth collections found no free session.
    assert len(book.asked) == 4
    assert isinstance(reading, NoData)
    assert "busy" in reading.message or "within 200ms" in reading.message
    await collector.close()
    released.set()


async def test_endpoints_not_used_make_room() -> None:
    book = Book()
    collector = Collector(PRESETS, clock, make_reader=book.make)
    for number in range(70):
        await collector.collect([subject(f"http://a/{number}", "ns")])
    assert book.closed == 6 * 4
    sent = len(book.asked)
    assert collector.queries_sent == sent
    await collector.close()
    assert book.closed == 70 * 4


async def test_endpoints_in_use_make_no_room() -> None:
    def answer(text: str) -> list[Sample]:
        time.sleep(0.002)
        return []

    book = Book(answer)
    collector = Collector(PRESETS, clock, deadline_s=60.0, make_reader=book.make)
    many = [subject(f"http://a/{number}", "ns", name=f"n{number}") for number in range(70)]
    found = await asyncio.gather(*(collector.collect([one]) for one in many))
    found.append(await collector.collect(many))
    reasons = {getattr(reading, "reason", None) for readings in found for reading in readings.values()}
    assert reasons == {NoDataReason.NO_DATA}, "every endpoint has answered, with nothing"
    assert len(collector._lanes) == 64
    await collector.close()


@pytest.mark.parametrize("bounds", [("-5", "10", "+Inf"), ("0", "1e308", "+Inf")])
async def test_nonsense_of_one_namespace_costs_the_others_nothing(bounds: tuple[str, ...]) -> None:
    def answer(text: str) -> list[Sample]:
        return [sample for namespace in ("good", "evil") for sample in exposition(text, namespace)]

    def exposition(text: str, namespace: str) -> list[Sample]:
        samples = []
        for pod in ("p0", "p1", "d0", "d1"):
            labels = {"namespace": namespace, "pod": pod, "model_name": "m"}
            for series, value in re.findall(r'"pdscaler_series", "([^"]*/([^"]*))"', text):
                value_of = {"sum": 400.0, "count": 2.0, "rate": 2.0, "last": 1000.0, "first": 800.0}.get(value, 1.0)
                own = bounds if namespace == "evil" else ("100", "500", "+Inf")
                for place, bound in enumerate(own if value == "buckets" else ("",)):
                    les = {"le": bound} if bound else {}
                    number = float(place + 1) if bound else value_of
                    samples.append(Sample({**labels, **les, "pdscaler_series": series}, number))
        return samples

    collector = Collector(PRESETS, clock, make_reader=Book(answer).make)
    found = await collector.collect([subject("http://a", "evil"), subject("http://a", "good")])
    assert isinstance(found[("good", "llm")], Telemetry)
    evil = found[("evil", "llm")]
    assert isinstance(evil, NoData)
    assert evil.reason is NoDataReason.NON_FINITE
    assert '"m"' in evil.message
    await collector.close()


_ENGINES = ("p0", "p1", "d0", "d1")
_PUT_OFF = re.compile(r"(?:rate|delta|count_over_time)\(vllm:(?!prefix|gpu_prefix)")
"""Rates of the engines and the samples behind them, but for what no front door names."""


def _exposition(text: str, door: dict[str, float]) -> list[Sample]:
    """Answer a query for two pods of each pool, and for a front door with some values of its own."""
    samples = []
    for series, metric, part in re.findall(r'"pdscaler_series", "(([^"]*)/([^"]*))"', text):
        at_door = not metric.startswith("vllm")
        values = {"sum": 800.0, "count": 2.0, "rate": 2.0, "last": 1000.0, "first": 800.0}
        values |= door if at_door else {"sum": 400.0}
        if at_door and not door:
            continue
        for pod in ("router",) if at_door else _ENGINES:
            for bound in ("100", "500", "+Inf") if part == "buckets" else ("",):
                labels = {"namespace": "ns", "pod": pod, "model_name": "m", "pdscaler_series": series}
                samples.append(Sample(labels | ({"le": bound} if bound else {}), values.get(part, 1.0)))
    return samples


@pytest.mark.parametrize(
    ("door", "asked", "isl"),
    [
        pytest.param({"sum": 800.0}, False, 400.0, id="a front door that speaks"),
        pytest.param({"rate": 0.0, "sum": 0.0, "count": 0.0}, False, None, id="an idle one"),
        pytest.param({"sum": 0.0, "count": 0.0}, True, 200.0, id="one that counts arrivals only"),
    ],
)
async def test_engines_are_asked_only_for_what_the_front_door_does_not_say(
    door: dict[str, float], asked: bool, isl: float | None
) -> None:
    book = Book(lambda text: _exposition(text, door))
    collector = Collector(PRESETS, clock, make_reader=book.make)
    found = (await collector.collect([subject("http://a", "ns", front_door_preset="LLMD")]))[("ns", "llm")]
    assert isinstance(found, Telemetry)
    lengths = found.workload.isl
    assert (None if lengths is None else lengths.mean_tokens) == isl
    assert any(_PUT_OFF.search(text) for text in book.asked) is asked
    assert len(book.asked) == len(set(book.asked))
    # Somebody without a front door needs them at once.
    book.asked.clear()
    both = [subject("http://a", "ns", front_door_preset="LLMD"), subject("http://a", "ns", name="bare")]
    assert (await collector.collect(both))[("ns", "llm")] == found
    assert any(_PUT_OFF.search(text) for text in book.asked)
    await collector.close()


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        pytest.param(600.0, NoDataReason.STALE_DATA, id="engines that say nothing new"),
        pytest.param(None, NoDataReason.NO_DATA, id="engines without metrics"),
    ],
)
async def test_a_front_door_does_not_speak_for_missing_engines(last: float | None, reason: NoDataReason) -> None:
    def answer(text: str) -> list[Sample]:
        return [
            each._replace(value=last) if each.labels["pdscaler_series"].endswith("/last") and last else each
            for each in _exposition(text, {"sum": 800.0})
            if each.labels["pod"] == "router" or last
        ]

    book = Book(answer)
    collector = Collector(PRESETS, clock, make_reader=book.make)
    found = (await collector.collect([subject("http://a", "ns", front_door_preset="LLMD")]))[("ns", "llm")]
    assert isinstance(found, NoData)
    assert found.reason is reason
    # One PDDeployment whose engines are silent does not make the others' reading dear.
    assert not any(_PUT_OFF.search(text) for text in book.asked)
    await collector.close()


async def test_what_was_put_off_and_fails_costs_only_those_who_need_it() -> None:
    def answer(text: str) -> list[Sample]:
        if _PUT_OFF.search(text):
            raise ReadError(NoDataReason.QUERY_FAILED, "answered with HTTP 500")
        samples = _exposition(text, {"sum": 800.0})
        silent = [each._replace(labels={**each.labels, "namespace": "silent"}) for each in samples]
        return samples + [each for each in silent if "token" not in text or each.labels["pod"] != "router"]

    collector = Collector(PRESETS, clock, make_reader=Book(answer).make)
    two = [subject("http://a", namespace, front_door_preset="LLMD") for namespace in ("ns", "silent")]
    found = await collector.collect(two)
    assert isinstance(found[("ns", "llm")], Telemetry)
    silent = found[("silent", "llm")]
    assert isinstance(silent, NoData)
    assert silent.reason is NoDataReason.QUERY_FAILED
    assert "vllm:" in silent.message
    await collector.close()
