"""Every way in which a Prometheus can fail: each ends as "no data" with its reason, on time, and echoes nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from pdscaler.core.workload import NoData, NoDataReason, Telemetry
from pdscaler.telemetry.collector import Collector
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.presets import load_presets
from pdscaler.telemetry.reader import Reader
from support.faulty_proxy import SECRET, Fault, FaultyProxy, cut, drip, elsewhere, hang, huge, status
from support.subjects import subject

pytestmark = pytest.mark.prometheus
ASKED = ("steady",)


@pytest.fixture
async def proxy(history_url: str) -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(history_url) as running:
        yield running


async def read(collector: Collector, url: str, timeout_s: float = 10.0) -> Telemetry | NoData:
    wanted = subject(url, "steady", timeout_s=timeout_s)
    return (await collector.collect([wanted]))[wanted.key]


def _document(kind: str, **more: object) -> dict[str, object]:
    return {"status": "success", "data": {"resultType": kind, "result": []}, **more}


@pytest.mark.parametrize("only", ["", "vllm:request_generation_tokens_bucket"], ids=["at once", "in the middle"])
@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        (status(503), NoDataReason.QUERY_FAILED, "HTTP 503"),
        (status(422, {"status": "error", "errorType": "execution", "error": SECRET}), NoDataReason.QUERY_FAILED, "ion"),
        (status(400, {"status": "error", "errorType": SECRET}), NoDataReason.QUERY_FAILED, "HTTP 400"),
        (status(401), NoDataReason.AUTH_FAILED, "HTTP 401"),
        (status(403), NoDataReason.AUTH_FAILED, "HTTP 403"),
        (status(200), NoDataReason.QUERY_FAILED, "no JSON"),
        (status(200, [SECRET]), NoDataReason.QUERY_FAILED, "Prometheus's form"),
        (status(200, {"status": "success", "data": SECRET}), NoDataReason.QUERY_FAILED, "Prometheus's form"),
        (status(200, _document("matrix")), NoDataReason.QUERY_FAILED, "result type"),
        (hang, NoDataReason.PROMETHEUS_UNREACHABLE, "did not answer within 2s"),
        (drip, NoDataReason.PROMETHEUS_UNREACHABLE, "did not answer within 2s"),
        (cut, NoDataReason.PROMETHEUS_UNREACHABLE, "cut the connection"),
    ],
)
async def test_faults_end_as_no_data(
    collector: Collector, proxy: FaultyProxy, fault: Fault, reason: NoDataReason, words: str, only: str
) -> None:
    proxy.fault, proxy.only = fault, only
    # Long enough for the questions that meet no fault, on a busy machine.
    limit_s = 2.0 if fault in {hang, drip} else 10.0
    found = await read(collector, proxy.url, limit_s)

    assert isinstance(found, NoData)
    assert found.reason is reason
    assert words in found.message
    assert 'endpoint "default"' in found.message
    assert SECRET not in found.message
    assert ("asked for osl (vllm:request_generation_tokens)" in found.message) == bool(only)

    proxy.fault = None
    for _ in range(3):  # at once, but for sessions whose thread still waits for its timeout
        found = await read(collector, proxy.url, limit_s)
        if isinstance(found, Telemetry):
            break
    assert isinstance(found, Telemetry), found


async def test_redirects_are_not_followed(collector: Collector, proxy: FaultyProxy, history_url: str) -> None:
    proxy.fault = elsewhere(f"{history_url}/api/v1/query?query=time()")
    found = await read(collector, proxy.url)
    assert isinstance(found, NoData)
    assert found.reason is NoDataReason.QUERY_FAILED
    assert "redirects (HTTP 302), which is not followed" in found.message
    assert len(proxy.headers) == 1


async def test_a_huge_answer_is_cut_off(proxy: FaultyProxy) -> None:
    make = partial(Reader, max_answer_bytes=2**20)
    collector = Collector(load_presets(None), time.time, make_reader=make)
    proxy.fault, proxy.only = huge, "vllm"
    found = await read(collector, proxy.url, timeout_s=5.0)
    assert isinstance(found, NoData)
    assert found.reason is NoDataReason.QUERY_FAILED
    assert "more than 1 MiB" in found.message
    await collector.close()


async def test_warnings_mean_a_partial_answer(collector: Collector, proxy: FaultyProxy) -> None:
    proxy.edit = lambda document: document.update(warnings=[SECRET, "No StoreAPIs matched for this query"])
    found = await read(collector, proxy.url)
    assert isinstance(found, NoData)
    assert found.reason is NoDataReason.PARTIAL_RESPONSE
    assert SECRET not in found.message

    proxy.edit = lambda document: document.update(warnings=["PromQL info: metric might not be a counter"])
    assert isinstance(await read(collector, proxy.url), Telemetry)


async def test_nobody_listens(collector: Collector, unused_tcp_port: int) -> None:
    found = await read(collector, f"http://127.0.0.1:{unused_tcp_port}")
    assert isinstance(found, NoData)
    assert found.reason is NoDataReason.PROMETHEUS_UNREACHABLE
    assert "cannot be reached" in found.message


async def test_one_endpoint_delays_no_other(proxy: FaultyProxy, history_url: str) -> None:
    proxy.fault = hang
    collector = Collector(load_presets(None), time.time, deadline_s=5.0)
    hanging = [
        subject(f"{proxy.url}/{n}", "steady", name=f"bad-{n}", window_s=60.0 + n, timeout_s=60.0) for n in range(20)
    ]
    good = subject(history_url, "steady", name="good")
    found = await collector.collect([*hanging, good])

    assert isinstance(found[good.key], Telemetry)
    for one in hanging:
        reading = found[one.key]
        assert isinstance(reading, NoData)
        assert reading.reason is NoDataReason.PROMETHEUS_UNREACHABLE
    await collector.close()


async def test_a_busy_endpoint_is_not_asked_more(proxy: FaultyProxy) -> None:
    """Sessions that still hang are not joined by others: four threads per endpoint are the most."""
    proxy.fault = hang
    collector = Collector(load_presets(None), time.time, deadline_s=0.3)
    for _ in range(8):
        found = await read(collector, proxy.url, timeout_s=30.0)
        assert isinstance(found, NoData)
    # A question that ends with its collection's deadline gives its thread back soon after.
    assert len(proxy.headers) <= 8
    await collector.close()


async def test_tokens_are_read_again_and_stay_with_their_endpoint(
    collector: Collector, proxy: FaultyProxy, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    endpoint = Endpoint("secure", proxy.url, bearer_token_file=str(token))
    wanted = subject(proxy.url, "steady", endpoint=endpoint)
    assert isinstance((await collector.collect([wanted]))[wanted.key], Telemetry)
    assert {headers.get("Authorization") for headers in proxy.headers} == {"Bearer one"}

    proxy.headers.clear()
    token.write_text("two")
    await collector.collect([wanted])
    assert {headers.get("Authorization") for headers in proxy.headers} == {"Bearer two"}

    proxy.headers.clear()
    await read(collector, proxy.url)
    assert {headers.get("Authorization") for headers in proxy.headers} == {None}

    for broken in ("", "a\nb", "gone"):
        token.unlink() if broken == "gone" else token.write_text(broken)
        found = (await collector.collect([wanted]))[wanted.key]
        assert isinstance(found, NoData)
        assert found.reason is NoDataReason.AUTH_FAILED
        assert "token" in found.message


async def test_cookies_and_the_environment_are_left_alone(
    collector: Collector, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, history_url: str
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def with_cookie(request: web.Request) -> web.StreamResponse:
        response = web.json_response({"status": "success", "data": {"resultType": "scalar", "result": [0, "1"]}})
        response.set_cookie("session", "x")
        return response

    proxy.fault, proxy.only = with_cookie, "time()"
    await read(collector, proxy.url)
    await asyncio.sleep(0)
    await read(collector, proxy.url)
    assert len(proxy.headers) > 2
    assert not any("Cookie" in headers or "Authorization" in headers for headers in proxy.headers)
