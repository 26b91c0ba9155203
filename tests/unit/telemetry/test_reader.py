"""Answers of another form than Prometheus gives: refusals of ours, whatever they hold."""

import gzip
import io
import json
import math
from typing import Any
from unittest import mock

import pytest
import requests
import urllib3

from pdscaler.core.workload import NoDataReason
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.reader import Reader, ReadError
from pdscaler.telemetry.values import MAX_VALUE, possible


def ask(body: bytes, kind: str, *, encoding: str = "", status: int = 200, most: int = 2**20) -> Any:
    """Ask a question of a kind; the body answers it."""

    def send(self: Any, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        headers = {"Content-Encoding": encoding} if encoding else {}
        made = requests.Response()
        made.status_code = status
        made.headers.update(headers)
        made.raw = urllib3.HTTPResponse(io.BytesIO(body), headers, status, preload_content=False)
        made.url, made.request = str(request.url), request
        return made

    reader = Reader(Endpoint("default", "http://prometheus.invalid"), most)
    with mock.patch.object(requests.adapters.HTTPAdapter, "send", send):
        if kind == "scalar":
            return reader.time_s(5.0)
        return list(reader.query("up", 1e9, 5.0) if kind == "vector" else reader.query_range("up", 0, 60, 15, 5.0))


def answer(kind: str, result: Any, **more: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more}).encode()


ODD = [
    ("scalar", [0, "NaN"]),
    ("scalar", [0, "1e300"]),
    ("scalar", [0, "-1"]),
    ("scalar", [0, 10**400]),
    ("scalar", []),
    ("vector", ["text"]),
    ("vector", [{"metric": ["a"], "value": [0, "1"]}]),
    ("vector", [{"metric": {"pod": ["a"]}, "value": [0, "1"]}]),
    ("vector", [{"metric": {"pod": None}, "value": [0, "1"]}]),
    ("vector", [{"metric": {}, "value": [0, 10**400]}]),
    ("vector", [{"metric": {}, "value": {}}]),
    ("matrix", [{"metric": {}, "values": 5}]),
    ("matrix", [{"metric": {}, "values": [[0]]}]),
    ("matrix", [["metric", "values"]]),
]


@pytest.mark.parametrize(("kind", "result"), ODD)
def test_another_form_is_refused(kind: str, result: Any) -> None:
    with pytest.raises(ReadError) as caught:
        ask(answer(kind, result), kind)
    assert caught.value.reason is NoDataReason.QUERY_FAILED


@pytest.mark.parametrize("warnings", [5, True, "partial", {"a": 1}])
def test_warnings_of_another_form_are_no_reason_to_believe(warnings: Any) -> None:
    with pytest.raises(ReadError):
        ask(answer("vector", [], warnings=warnings), "vector")


def test_an_error_type_of_another_form() -> None:
    with pytest.raises(ReadError, match="HTTP 500"):
        ask(b'{"status": "error", "errorType": ["execution"]}', "vector", status=500)


def test_a_figure_that_cannot_be_is_not_finite() -> None:
    (sample,) = ask(answer("vector", [{"metric": {}, "value": [0, "1e300"]}]), "vector")
    assert sample.value == math.inf
    assert possible(-MAX_VALUE) == -MAX_VALUE
    assert math.isnan(possible(math.nan))


def test_a_small_answer_that_unpacks_to_a_large_one_is_cut_off() -> None:
    bomb = gzip.compress(bytes(64 * 2**20), 9)
    assert len(bomb) < 2**17
    with pytest.raises(ReadError, match="more than 1 MiB"):
        ask(bomb, "vector", encoding="gzip")
