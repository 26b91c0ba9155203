"""Live scrapes: a Prometheus that dies and comes back, targets that vanish, and a window that fills."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from localplane.prom import Prometheus
from localplane.toolset import Tools
from pdscaler.core.workload import NoData, NoDataReason, Telemetry
from pdscaler.telemetry.collector import Collector
from support.history import VLLM_TOKENS, VLLM_TPOT, VLLM_TTFT, History, Pod, add_decode, add_prefill, steady
from support.subjects import subject

pytestmark = pytest.mark.prometheus

RATE_RPS = 10.0


class Engines:
    """Serves one prefill and one decode exposition, growing with the wall clock, in vLLM's names."""

    def __init__(self) -> None:
        self.began_s = time.time()
        self.down = False
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        application = web.Application()
        application.router.add_get("/{role}/metrics", self._metrics)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        if self.down:
            raise web.HTTPInternalServerError
        # The same series as in the prepared past, at one time: now.
        book = _Now(time.time() - self.began_s)
        pod = Pod("", "", job="")
        if request.match_info["role"] == "prefill":
            add_prefill(book, pod, steady(RATE_RPS, 0.0))
        else:
            add_decode(book, pod, steady(RATE_RPS, 0.0))
        return web.Response(text="\n".join(book.lines) + "\n", content_type="text/plain")


class _Now(History):
    """Writes each series once, without a time."""

    def __init__(self, now_s: float) -> None:
        super().__init__(0)
        self._at_s = now_s

    def series(self, name: str, labels: object, curve: Callable[[float], float], life: object = None) -> None:
        assert isinstance(labels, dict)
        written = ",".join(f'{key}="{value}"' for key, value in labels.items())
        self.lines.append(f"{name}{{{written}}} {curve(self._at_s)}")


@pytest.fixture
async def engines() -> AsyncIterator[tuple[Engines, int]]:
    running = Engines()
    port = await running.start()
    yield running, port
    await running.close()


@pytest.fixture
async def server(prometheus_tools: Tools, tmp_path: Path, engines: tuple[Engines, int]) -> AsyncIterator[Prometheus]:
    made = Prometheus(tmp_path / "prometheus", prometheus_tools)
    targets = [
        {
            "targets": [f"127.0.0.1:{engines[1]}"],
            "labels": {"__metrics_path__": f"/{role}/metrics", "namespace": "live", "pod": pod},
        }
        for role, pod in (("prefill", "p0"), ("decode", "d0"))
    ]
    made.file_sd.write_text(json.dumps(targets))
    await asyncio.to_thread(made.start)
    yield made
    await asyncio.to_thread(made.close)


async def until(
    ask: Callable[[], Awaitable[Telemetry | NoData]], wanted: Callable[[Telemetry | NoData], bool]
) -> Telemetry | NoData:
    """Ask until the answer is the wanted one; fail with the last one after a minute."""
    ends_s = time.monotonic() + 60
    while True:
        found = await ask()
        if wanted(found):
            return found
        assert time.monotonic() < ends_s, found
        await asyncio.sleep(0.3)


def _is(reason: NoDataReason) -> Callable[[Telemetry | NoData], bool]:
    return lambda found: isinstance(found, NoData) and found.reason is reason


def _rate_is_right(found: Telemetry | NoData) -> bool:
    return isinstance(found, Telemetry) and abs(found.workload.arrival_rate_rps / RATE_RPS - 1) < 0.1


async def test_killed_vanished_and_back(collector: Collector, server: Prometheus, engines: tuple[Engines, int]) -> None:
    wanted = subject(server.url, "live", ["p0"], ["d0"], window_s=20.0, max_staleness_s=4.0)

    async def ask() -> Telemetry | NoData:
        return (await collector.collect([wanted]))[wanted.key]

    # The first samples fill a quarter of the window, and from then on the rate is right, not a quarter of it.
    await until(ask, _is(NoDataReason.NO_DATA))
    found = await until(ask, lambda found: isinstance(found, Telemetry))
    assert isinstance(found, Telemetry)
    assert found.workload.arrival_rate_rps == pytest.approx(RATE_RPS, rel=0.25)
    assert found.workload.isl is not None
    assert found.workload.isl.mean_tokens == pytest.approx(3000)

    # Killed: unreachable at once. Back: with its data, and right again.
    await asyncio.to_thread(server.kill)
    assert _is(NoDataReason.PROMETHEUS_UNREACHABLE)(await ask())
    await asyncio.to_thread(server.start)
    await until(ask, _rate_is_right)

    # The scrapes fail: rate() goes on answering, the samples grow old.
    engines[0].down = True
    stale = await until(ask, _is(NoDataReason.STALE_DATA))
    assert isinstance(stale, NoData)
    assert stale.age_s is not None
    assert 4.0 < stale.age_s < 30.0
    engines[0].down = False
    await until(ask, _rate_is_right)


def test_the_fixtures_have_vllms_bounds() -> None:
    """The bounds of vllm/v1/metrics/loggers.py for a model of 32 768 tokens."""
    assert (len(VLLM_TOKENS), len(VLLM_TTFT), len(VLLM_TPOT)) == (14, 22, 19)
    assert (VLLM_TTFT[0], VLLM_TTFT[-1]) == (0.001, 2560.0)
    assert VLLM_TPOT[:2] == (0.01, 0.025)
