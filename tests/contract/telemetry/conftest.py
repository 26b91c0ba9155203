"""A real Prometheus with a prepared past, shared by a module's tests; each scenario is a namespace of its own."""

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from localplane.progress import Console
from localplane.prom import Prometheus
from localplane.tools import ensure_tools
from localplane.toolset import Tools
from pdscaler.telemetry.collector import Collector
from pdscaler.telemetry.presets import load_presets
from support.history import History
from support.telemetry_scenarios import SCENARIOS


@pytest.fixture(scope="session")
def prometheus_tools() -> Tools:
    """Prometheus and promtool only: these tests need no control plane, and must not build one."""
    return ensure_tools(Console(), ("prometheus", "promtool"))


@pytest.fixture(scope="module")
def history_url(
    request: pytest.FixtureRequest, prometheus_tools: Tools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """URL of a Prometheus that holds the scenarios that the module's ``ASKED`` names; all where it names none."""
    folder = tmp_path_factory.mktemp("history")
    history = History(int(time.time()))
    for name in getattr(request.module, "ASKED", SCENARIOS):
        SCENARIOS[name](history)
    history.write(prometheus_tools["promtool"], folder / "data")
    with Prometheus(folder, prometheus_tools) as server:
        yield server.url


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector with the package's presets."""
    made = Collector(load_presets(None), time.time)
    yield made
    await made.close()
