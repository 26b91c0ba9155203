"""What a replica stands for election with, and what it says."""

import logging
from pathlib import Path

import pytest
from aiohttp import web

from pdscaler.api.config import OperatorConfig
from pdscaler.controller.candidate import identity_of_process, stand
from pdscaler.controller.logs import FIELDS
from pdscaler.errors import InvalidInputError
from support.fake_api_server import fake_api_server, status


def test_no_two_processes_have_the_same_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTNAME", "pdscaler-7d9f-x2x4q" + "x" * 300)
    first, second = identity_of_process(), identity_of_process()
    assert first != second
    assert first.startswith("pdscaler-7d9f-x2x4q")
    assert len(first) <= 253


async def test_outside_of_a_pod_the_namespace_must_be_named() -> None:
    with pytest.raises(InvalidInputError, match="leaseNamespace"):
        await stand(OperatorConfig(leader_election=True))


async def test_it_gets_the_lease_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response(status(404, "NotFound", "no such lease"), status=404)
        document = await request.json()
        document["metadata"]["resourceVersion"] = "7"
        return web.json_response(document)

    changes: list[None] = []
    async with fake_api_server(answer) as server:
        config = OperatorConfig(
            leader_election=True, lease_namespace="operators", kubeconfig=str(server.kubeconfig(tmp_path))
        )
        candidate = await stand(config)
        with caplog.at_level(logging.INFO):
            await candidate.election(lambda: changes.append(None)).step()
        await candidate.close()
        _, created = server.requests
        assert created.path == "/apis/coordination.k8s.io/v1/namespaces/operators/leases"
        body = await created.json()
    assert body["spec"]["holderIdentity"] == candidate.identity
    assert (body["spec"]["leaseDurationSeconds"], body["spec"]["leaseTransitions"]) == (15, 0)
    assert candidate.fence.open
    assert changes == [None]
    (record,) = [record for record in caplog.records if record.getMessage() == "leading"]
    assert getattr(record, FIELDS)["lease"] == "operators/pdscaler-leader"
