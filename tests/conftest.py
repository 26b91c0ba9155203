"""Fixtures with the real parts: control plane, Prometheus, tools. Nothing starts before a test asks for it.

Tests under ``tests/e2e`` carry the marker ``e2e``, those under ``tests/browser`` ``browser``; what uses only a real
Prometheus carries ``prometheus``.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from localplane.plane import ControlPlane
from localplane.progress import Console
from localplane.prom import Prometheus
from localplane.tools import ensure_tools
from localplane.toolset import Tools
from support.plane import Namespace, PrometheusFactory, fresh_namespace

# The same examples in every run, and no deadlines, as tests assert no times. `make test-long` looks deeper.
settings.register_profile("pdscaler", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("deep", settings.get_profile("pdscaler"), max_examples=500)
settings.load_profile("pdscaler")

HERE = Path(__file__).parent
_FIRST = ("e2e/operator", "e2e/local", "packaging", "e2e", "contract", "property", "simulation")
"""Folders, those of the longest files first: a file is one worker's, and all wait for the one that ends last."""
_MARKED_BY_FIXTURE = {"control_plane": "e2e", "prometheus": "prometheus"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what makes a short test a long one (`make soak-kills`, `make soak-takeovers`)."""
    group = parser.getgroup("pdscaler")
    group.addoption("--kills", type=int, default=5, help="how often the operator is killed")
    group.addoption("--takeovers", type=int, default=3, help="how often a leader is forced out, by each way in turn")
    group.addoption("--lease-duration", type=float, default=9.0, help="of the Lease in that test, seconds")
    group.addoption("--soak-seed", type=int, default=20261121, help="seed of what chance decides")
    group.addoption("--soak-report", type=Path, default=None, help="folder for the figures")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs real parts, by folder and by fixture; begin with what takes longest."""
    items.sort(key=_turn)
    for item in items:
        for folder in ("e2e", "browser"):
            if item.path.is_relative_to(HERE / folder):
                item.add_marker(folder)
        for fixture, marker in _MARKED_BY_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


def _turn(item: pytest.Item) -> int:
    return next((turn for turn, folder in enumerate(_FIRST) if item.path.is_relative_to(HERE / folder)), len(_FIRST))


@pytest.fixture(scope="session")
def tools() -> Tools:
    """Every tool, compiled where needed (`make test` has done that before)."""
    return ensure_tools(Console())


@pytest.fixture(scope="session")
def control_plane(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One control plane for the whole session, with 4 nodes of 8 GPUs; tests keep to their own namespaces."""
    with ControlPlane(tmp_path_factory.mktemp("plane"), tools) as plane:
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace, deleted afterwards with all its pods."""
    with fresh_namespace(control_plane) as name:
        yield name


@pytest.fixture
def make_namespace(control_plane: ControlPlane) -> Iterator[Callable[[], str]]:
    """A function that makes further fresh namespaces, deleted afterwards."""
    made: list[Namespace] = []

    def make() -> str:
        namespace = fresh_namespace(control_plane)
        made.append(namespace)
        return namespace.__enter__()

    yield make
    for namespace in made:
        namespace.__exit__(None, None, None)


@pytest.fixture
def prometheus(tools: Tools, tmp_path: Path) -> Iterator[Callable[..., Prometheus]]:
    """A function ``prometheus(sd_urls=…, static_targets=…)`` that starts one; ended after the test."""
    factory = PrometheusFactory(tmp_path, tools)
    yield factory
    factory.close()
