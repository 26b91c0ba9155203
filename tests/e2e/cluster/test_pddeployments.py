import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from localplane.plane import ControlPlane
from pdscaler.api.crd import crd_document
from pdscaler.cluster.connection import Connection, connect
from pdscaler.cluster.errors import ClusterError
from pdscaler.cluster.events import EventType, EventWriter, ObjectIdentity
from pdscaler.cluster.fence import NotLeadingError
from pdscaler.cluster.resources import PDDeployments
from pdscaler.cluster.status import StatusWriter
from support.plane import apply_in

PREFILL = {"points": [{"inputTokens": 1000, "latency": "50ms"}, {"inputTokens": 8000, "latency": "400ms"}]}
DECODE = {
    "points": [{"contextTokens": 1000, "batch": 1, "tpot": "8ms"}, {"contextTokens": 1000, "batch": 64, "tpot": "16ms"}]
}


def resource(name: str = "llama") -> dict[str, Any]:
    def pool(role: str, profile: dict[str, Any]) -> dict[str, Any]:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{name}-{role}"}
        return {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 4, "profile": profile}

    return {
        "apiVersion": "pdscaler.io/v1alpha1",
        "kind": "PDDeployment",
        "metadata": {"name": name},
        "spec": {
            "model": name,
            "slo": {"ttft": {"target": "2s"}, "tpot": {"target": "20ms"}},
            "prefill": pool("prefill", PREFILL),
            "decode": pool("decode", DECODE),
            "metrics": {"prometheus": {"endpointRef": "default"}},
        },
    }


def about(document: dict[str, Any]) -> ObjectIdentity:
    metadata = document["metadata"]
    return ObjectIdentity(
        *("pdscaler.io/v1alpha1", "PDDeployment", metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
    )


@pytest.fixture
def applied(control_plane: ControlPlane, namespace: str) -> str:
    """A namespace with one PDDeployment."""
    control_plane.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(crd_document()))
    control_plane.wait_served("pddeployments.pdscaler.io")
    apply_in(control_plane, namespace, resource())
    return namespace


async def test_a_status_replaces_the_one_before_and_leaves_the_spec_alone(api: Connection, applied: str) -> None:
    writer, resources = StatusWriter(api), PDDeployments(api)
    before = await resources.get(applied, "llama")
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Evaluated",
        "message": "",
        "lastTransitionTime": "2026-11-21T12:00:00Z",
    }
    first = about(before)
    version = await writer.write(
        first, {"conditions": [condition], "prefill": {"current": 1, "ready": 1}, "observedGeneration": 1}
    )
    version = await writer.write(
        replace(first, resource_version=version), {"conditions": [], "prefill": {"current": 2}}
    )
    after = await resources.get(applied, "llama")
    assert after["metadata"]["resourceVersion"] == version
    assert after["status"] == {"conditions": [], "prefill": {"current": 2}}
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert "annotations" not in after["metadata"] or set(after["metadata"]["annotations"]) == {
        "kubectl.kubernetes.io/last-applied-configuration"
    }
    assert "finalizers" not in after["metadata"]
    with pytest.raises(ClusterError) as caught:
        await writer.write(replace(first, name="nope"), {})
    assert caught.value.reason == "NotFound"


async def test_a_status_is_written_again_where_a_user_has_changed_the_resource(api: Connection, applied: str) -> None:
    writer, resources = StatusWriter(api), PDDeployments(api)
    seen = about(await resources.get(applied, "llama"))
    await resources.patch_annotations(applied, "llama", {"team": "inference"})
    await writer.write(seen, {"observedGeneration": 1})
    after = await resources.get(applied, "llama")
    assert after["status"] == {"observedGeneration": 1}
    assert after["metadata"]["annotations"]["team"] == "inference"
    with pytest.raises(ClusterError) as caught:
        await writer.write(replace(seen, uid="another"), {"observedGeneration": 2})
    assert caught.value.reason == "NotFound", "a new one of the same name is not given an old status"


class ShutAfter:
    """Lets so many writes begin, and no more."""

    least_allowance_s = 5.0

    def __init__(self, writes: int) -> None:
        self.left = writes

    def allowance_s(self) -> float:
        self.left -= 1
        if self.left < 0:
            raise NotLeadingError
        return 5.0


async def test_a_write_that_was_held_up_until_another_leader_had_written_is_refused(
    control_plane: ControlPlane, api: Connection, applied: str
) -> None:
    seen = about(await PDDeployments(api).get(applied, "llama"))
    mark = control_plane.audit_log.mark()
    await StatusWriter(api).write(seen, {"observedGeneration": 1, "summary": {"state": "Steady"}})
    async with await connect(str(control_plane.kubeconfig), guard=ShutAfter(1)) as late:
        with pytest.raises(NotLeadingError):
            await StatusWriter(late).write(seen, {"observedGeneration": 1, "summary": {"state": "Late"}})
    assert (await PDDeployments(api).get(applied, "llama"))["status"]["summary"]["state"] == "Steady"
    codes = [
        request.code
        for request in control_plane.audit_log.requests(namespace=applied, verb="write", since=mark)
        if request.resource == "pddeployments/status"
    ]
    assert codes == [200, 409]


async def test_events_show_in_kubectl_describe_and_repeats_are_counted(
    control_plane: ControlPlane, api: Connection, applied: str
) -> None:
    document = await PDDeployments(api).get(applied, "llama")
    about = ObjectIdentity("pdscaler.io/v1alpha1", "PDDeployment", applied, "llama", document["metadata"]["uid"])
    writer = EventWriter(api, "pdscaler", time.time)
    for _ in range(3):
        await writer.emit(about, EventType.NORMAL, "ScaledUp", "prefill 3→4: forecast 13.4 requests/s needs 3.31")
    await writer.emit(about, EventType.WARNING, "TargetConflict", "hostile\n\x1b[31m" + "å" * 2000)

    events = control_plane.get("events", "-n", applied, "--field-selector=involvedObject.name=llama")["items"]
    by_reason = {event["reason"]: event for event in events}
    assert len(events) == 2
    assert (by_reason["ScaledUp"]["count"], by_reason["ScaledUp"]["type"]) == (3, "Normal")
    assert by_reason["ScaledUp"]["reportingComponent"] == "pdscaler"
    long = by_reason["TargetConflict"]["message"]
    assert long.startswith("hostile [31må")
    assert len(long.encode()) <= 1024

    shown = control_plane.kubectl("describe", "pdd", "llama", "-n", applied).stdout
    assert "prefill 3→4: forecast 13.4 requests/s needs 3.31" in shown
    assert "(x3 over" in shown


async def test_an_event_that_was_deleted_is_posted_anew(
    control_plane: ControlPlane, api: Connection, applied: str
) -> None:
    about = ObjectIdentity("pdscaler.io/v1alpha1", "PDDeployment", applied, "llama", "some-uid")
    writer = EventWriter(api, "pdscaler", time.time)
    await writer.emit(about, "Normal", "ScaledUp", "once")
    control_plane.kubectl("delete", "events", "--all", "-n", applied)
    await writer.emit(about, "Normal", "ScaledUp", "once")
    (event,) = control_plane.get("events", "-n", applied, "--field-selector=reason=ScaledUp")["items"]
    assert event["count"] == 1


async def test_an_event_that_cannot_be_posted_stops_nothing(
    api: Connection, applied: str, caplog: pytest.LogCaptureFixture
) -> None:
    about = ObjectIdentity("pdscaler.io/v1alpha1", "PDDeployment", "no-such-namespace", "llama", "some-uid")
    await EventWriter(api, "pdscaler", time.time).emit(about, "Normal", "ScaledUp", "message")
    assert "was not posted" in caplog.text


async def test_pddeployments_are_listed_annotated_and_watched(
    control_plane: ControlPlane, api: Connection, applied: str
) -> None:
    resources = PDDeployments(api)
    assert [item["metadata"]["name"] for item in await resources.list(applied)] == ["llama"]
    assert (applied, "llama") in {
        (item["metadata"]["namespace"], item["metadata"]["name"]) for item in await resources.list()
    }
    changes = resources.watch(applied, "llama")
    kind, document = await anext(changes)
    assert (kind, document["metadata"]["name"]) == ("ADDED", "llama")
    following = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0.2)

    await resources.patch_annotations(applied, "llama", {"pdscaler.io/paused": "true"})

    kind, document = await asyncio.wait_for(following, 20)
    assert kind == "MODIFIED"
    assert document["metadata"]["annotations"]["pdscaler.io/paused"] == "true"
    changed = await resources.patch_annotations(applied, "llama", {"pdscaler.io/paused": None})
    assert "pdscaler.io/paused" not in changed["metadata"].get("annotations", {})
    await changes.aclose()
    with pytest.raises(ClusterError) as caught:
        await resources.get(applied, "nope")
    assert caught.value.reason == "NotFound"
