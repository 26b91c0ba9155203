"""Targets: what a Prometheus answers, as bytes to the reader and as samples to what makes telemetry of them."""

import asyncio
import io
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import requests
import urllib3
from hypothesis import strategies as st

from fuzz.mutation import NASTY_NUMBERS, NASTY_TEXTS, Draw, as_json, documents, mangled
from fuzz.target import READ, REFUSED, SECRET, Target, harmless
from pdscaler.core.slo import Statistic
from pdscaler.core.workload import NoData, Telemetry
from pdscaler.forecast import History
from pdscaler.telemetry.assemble import assemble
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.past import PastReader, Want
from pdscaler.telemetry.presets import Preset, load_presets
from pdscaler.telemetry.queries import SERIES_LABEL, Kind, Query, build_queries
from pdscaler.telemetry.reader import Reader, ReadError, Sample, Series
from pdscaler.telemetry.snapshot import Snapshot, build_table
from pdscaler.telemetry.values import MIN_LATENCY_S, possible
from support.subjects import subject

_AT_S = 1_795_262_400.0
_METRIC = {"namespace": "serving", "pod": "p0", "model_name": "m", SERIES_LABEL: "vllm:request_success_total/rate"}


def _answer(kind: str, result: Any, **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}, **more}


_ANSWERS = (
    _answer("scalar", [_AT_S, str(_AT_S)]),
    _answer("vector", [{"metric": _METRIC, "value": [_AT_S, "2.5"]}, {"metric": {}, "value": [_AT_S, "NaN"]}]),
    _answer("matrix", [{"metric": _METRIC, "values": [[_AT_S - 15, "1"], [_AT_S, "+Inf"]]}]),
    _answer("vector", [], warnings=[SECRET], infos=["PromQL info: x"]),
    {"status": "error", "errorType": "execution", "error": SECRET},
)


@dataclass(frozen=True)
class Response:
    """An HTTP answer."""

    status: int
    encoding: str
    body: bytes
    location: str = ""


@st.composite
def _responses(draw: Draw) -> Response:
    body: bytes = draw(documents(_ANSWERS).map(as_json) | mangled([*map(as_json, _ANSWERS)]) | st.binary(max_size=60))
    return Response(
        status=draw(st.sampled_from((200,) * 6 + (204, 301, 302, 307, 400, 401, 403, 404, 422, 429, 500, 503, 599))),
        encoding=draw(st.sampled_from(("",) * 6 + ("gzip", "deflate", "identity", "br", SECRET))),
        body=body,
        location=draw(st.sampled_from(("", "http://127.0.0.1:1/", "//evil.com", "\x00", SECRET))),
    )


@contextmanager
def _network(response: Response) -> Iterator[None]:
    """Answer every HTTP request with one response, below the library that sends them."""

    def send(self: Any, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        headers = {"Content-Encoding": response.encoding} if response.encoding else {}
        headers |= {"Location": response.location} if response.location else {}
        raw = urllib3.HTTPResponse(io.BytesIO(response.body), headers, response.status, preload_content=False)
        made = requests.Response()
        made.status_code = response.status
        made.headers.update(headers)
        made.raw, made.url, made.request = raw, str(request.url), request
        return made

    with mock.patch.object(requests.adapters.HTTPAdapter, "send", send):
        yield


_QUESTIONS: tuple[Callable[[Reader], Any], ...] = (
    lambda reader: reader.time_s(5.0),
    lambda reader: list(reader.query("up", _AT_S, 5.0)),
    lambda reader: list(reader.query_range("up", _AT_S - 60, _AT_S, 15.0, 5.0)),
)


def _read(response: Response) -> str:
    """Ask for a time, a vector and a matrix: each is a value of its type, or a refusal that echoes nothing."""
    reader = Reader(Endpoint("default", "http://prometheus.invalid:9090"))
    ended, told = REFUSED, []
    with _network(response):
        for question in _QUESTIONS:
            try:
                found = question(reader)
            except ReadError as error:
                harmless(error.problem)
                told.append(str(error))
                continue
            ended = READ
            if isinstance(found, float):
                assert math.isfinite(found)
                continue
            for element in found:
                assert isinstance(element, Sample | Series)
                assert all(isinstance(text, str) for pair in element.labels.items() for text in pair)
    reader.close()
    assert SECRET not in "".join(told)
    return ended


_PRESETS = load_presets(None)
_NAMES = ("namespace", "pod", "model_name", "target_model_name", "job", "le", SERIES_LABEL)


def _samples(query: Query, preset: Preset) -> list[Sample]:
    """Return what a healthy deployment answers to a query."""
    own = {"namespace": "serving", "job": "engines", **dict.fromkeys(preset.labels.model, "m")}
    metric = query.names.metrics[0]
    values: Mapping[str, float] = {
        Kind.RATE: {"rate": 2.5},
        Kind.MEAN: {"sum": 500.0, "count": 2.5},
        Kind.BUCKETS: {"bucket": 2.5},
        Kind.NOW: {"now": 0.5},
        Kind.GROWTH: {"growth": 1.0},
        Kind.SAMPLES: {"last": _AT_S - 1, "first": _AT_S - 179, "count": 180.0},
    }[query.kind]
    bounds = ("100", "500", "+Inf") if query.kind is Kind.BUCKETS else ("",)
    return [
        Sample({**own, "pod": pod, SERIES_LABEL: f"{metric}/{part}"} | ({"le": bound} if bound else {}), value)
        for pod in ("p0", "d0")
        for part, value in values.items()
        for bound in bounds
    ]


_QUERIES = {
    name: build_queries(_PRESETS[name], 180.0, _AT_S, (), frozenset()) for name in ("VLLM", "LLMD") if name in _PRESETS
}
_HEALTHY = {
    (name, place): _samples(query, _PRESETS[name])
    for name, queries in _QUERIES.items()
    for place, query in enumerate(queries)
}
_VALUES = (st.sampled_from([n for n in NASTY_NUMBERS if isinstance(n, float)]) | st.floats()).map(possible)
_LABELS = st.sampled_from(NASTY_TEXTS) | st.sampled_from(("p0", "d0", "m", "serving", "other", "0", "-1", "1e-400"))


@st.composite
def _answers(draw: Draw) -> dict[tuple[str, int], list[Sample]]:
    """Return healthy answers with some samples changed, doubled or left out."""
    answers = dict(_HEALTHY)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.sampled_from(sorted(answers)))
        samples = list(answers[place])
        change = draw(st.sampled_from(("value", "value", "label", "all", "double", "empty")))
        at = draw(st.integers(0, max(0, len(samples) - 1)))
        if change == "empty" or not samples:
            samples = []
        elif change == "value":
            samples[at] = Sample(samples[at].labels, draw(_VALUES))
        elif change == "all":
            value = draw(_VALUES)
            samples = [Sample(sample.labels, value) for sample in samples]
        elif change == "label":
            name = draw(st.sampled_from(_NAMES))
            samples[at] = Sample({**samples[at].labels, name: draw(_LABELS)}, samples[at].value)
        else:
            samples += samples
        answers[place] = samples
    return answers


_SUBJECTS = tuple(
    subject("http://p", "serving", ("p0",), ("d0",), statistic=statistic, front_door_preset=door)
    for statistic in (Statistic.MEAN, Statistic.P95)
    for door in (None, "LLMD")
)


def _telemetry(case: tuple[int, dict[tuple[str, int], list[Sample]]]) -> str:
    """Make telemetry of samples: figures that can be counted on, or a reason why there are none."""
    which, answers = case
    asking = _SUBJECTS[which]
    snapshots = {}
    for name, queries in _QUERIES.items():
        preset = _PRESETS[name]
        tables = {
            query.key: build_table(answers[name, place], query.names, preset, query.kind)
            for place, query in enumerate(queries)
        }
        snapshots[name] = Snapshot(preset, _AT_S, 180.0, tables)
    front = snapshots["LLMD"] if asking.front_door_preset else None
    found = assemble(asking, snapshots["VLLM"], front, _AT_S + 1)
    if isinstance(found, NoData):
        harmless(found.message)
        return f"no data: {found.reason.value}"
    _is_sound(found)
    return READ


def _is_sound(found: Telemetry) -> None:
    workload = found.workload
    assert 0 <= workload.arrival_rate_rps < math.inf
    assert 0 <= workload.prefix_hit_ratio <= 1
    for lengths in (workload.isl, workload.osl):
        if lengths is not None:
            assert 0 < lengths.mean_tokens < math.inf
            assert 0 <= lengths.scv < math.inf
    for latency in (found.ttft_mean_s, found.tpot_mean_s):
        assert latency is None or MIN_LATENCY_S <= latency < math.inf
    for load in (found.prefill, found.decode):
        for figure in (load.waiting_requests, load.running_requests, load.kv_usage_ratio):
            assert figure is None or math.isfinite(figure)
    assert found.observed_at_s <= _AT_S + 1


class _Past:
    """A reader that answers every range query with the same series."""

    def __init__(self, answer: list[Series]) -> None:
        self._answer = answer

    def time_s(self, timeout_s: float) -> float:
        return _AT_S

    def query(self, text: str, at_s: float, timeout_s: float) -> list[Sample]:
        raise AssertionError("the past is asked in ranges")

    def query_range(self, text: str, start_s: float, end_s: float, step_s: float, timeout_s: float) -> list[Series]:
        return self._answer

    def close(self) -> None:
        pass


_POINTS = st.tuples(st.sampled_from((_AT_S, _AT_S - 15, _AT_S - 30, _AT_S + 1e9, 0.0)) | st.floats(), _VALUES)
_SERIES = st.builds(
    lambda metric, changed, points: Series({**metric, **changed}, tuple(points)),
    st.sampled_from(
        [
            {"namespace": "serving", "pdscaler_owner": "llm-prefill", "model_name": "m", SERIES_LABEL: name}
            for name in (
                "vllm:request_success_total/rate",
                "vllm:request_prompt_tokens/sum",
                "vllm:request_prompt_tokens/count",
                "llm_d_epp_request_total/rate",
            )
        ]
    ),
    st.dictionaries(st.sampled_from(_NAMES), _LABELS, max_size=1),
    st.lists(_POINTS, max_size=6),
)


def _past(answer: list[Series]) -> str:
    """Make a history of series: finite figures and gaps."""
    reader = PastReader(_PRESETS, lambda endpoint: _Past(answer))
    want = Want(_SUBJECTS[0], span_s=600.0, since_s=0.0, window_s=60.0, step_s=15.0)

    async def read() -> dict[tuple[str, str], History | str]:
        return await reader.read([want], 5.0)

    found = asyncio.run(read())[want.subject.key]
    reader.close()
    if isinstance(found, str):
        harmless(found)
        return REFUSED
    return READ


TARGETS = (
    Target("Prometheus: any answer over HTTP", _responses(), _read),
    Target("Prometheus: any samples", st.tuples(st.integers(0, len(_SUBJECTS) - 1), _answers()), _telemetry),
    Target("Prometheus: any history", st.lists(_SERIES, max_size=5), _past),
)
