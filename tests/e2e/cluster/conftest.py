"""The cluster package against a real API server."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from localplane.plane import ControlPlane
from pdscaler.cluster.cache import ClusterCache
from pdscaler.cluster.connection import Connection, connect


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[Connection]:
    """A connection as the administrator."""
    async with await connect(str(control_plane.kubeconfig)) as connection:
        yield connection
    # Requests that a test cut short say their TLS farewell in the background, which aiohttp does not wait for.
    await asyncio.sleep(0.25)


@pytest.fixture
async def cache(api: Connection, namespace: str) -> AsyncIterator[ClusterCache]:
    """A cache that follows the test's namespace."""
    following = ClusterCache(api, [namespace])
    await following.start()
    yield following
    await following.stop()


@pytest.fixture
async def cluster_wide(api: Connection) -> AsyncIterator[ClusterCache]:
    """A cache that follows every namespace."""
    following = ClusterCache(api)
    await following.start()
    yield following
    await following.stop()
