"""Before kopf runs: waiting for the CRD, and being told to stop meanwhile."""

import asyncio
import logging
from collections import deque
from typing import Any, cast

import pytest

from pdscaler.api.config import OperatorConfig
from pdscaler.cluster.errors import ClusterError
from pdscaler.cluster.resources import PDDeployments
from pdscaler.controller import application
from pdscaler.controller.application import Application
from pdscaler.controller.logs import FIELDS


class Listing:
    """Refuses to list so many times."""

    def __init__(self, *errors: ClusterError) -> None:
        self.errors = deque(errors)
        self.asked: list[str | None] = []

    async def list(self, namespace: str | None = None) -> list[dict[str, Any]]:
        self.asked.append(namespace)
        if self.errors:
            raise self.errors.popleft()
        return []


MISSING = ClusterError("NotFound", "the server could not find the requested resource", 404)


async def test_it_waits_for_the_crd_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(application, "_CRD_RETRY_S", 0.001)
    listing = Listing(MISSING, MISSING, ClusterError("Forbidden", "no"), ClusterError("Forbidden", "no"))
    with caplog.at_level(logging.WARNING):
        assert await Application(OperatorConfig())._wait_for_crd(cast("PDDeployments", listing))
    reasons = [getattr(record, FIELDS)["reason"] for record in caplog.records]
    assert len(reasons) == 2
    assert "pdscaler crd | kubectl apply" in reasons[0]
    assert "Forbidden" in reasons[1]
    assert listing.asked == [None] * 5


async def test_it_ends_at_once_while_it_waits() -> None:
    operator = Application(OperatorConfig(namespaces=("serving",)))
    listing = Listing(*[MISSING] * 100)
    waiting = asyncio.create_task(operator._wait_for_crd(cast("PDDeployments", listing)))
    await asyncio.sleep(0)
    operator.stop()
    assert await waiting is False
    assert listing.asked == ["serving"]


async def test_a_stop_is_heard_before_anything_has_begun() -> None:
    operator = Application(OperatorConfig())
    operator.stop()
    assert await operator._wait_for_crd(cast("PDDeployments", Listing())) is False
