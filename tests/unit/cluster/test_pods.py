from typing import Any

import pytest

from pdscaler.cluster.pods import PodCounts, count_pods, parse_pod
from pdscaler.core.decision import Trouble


def pod(name: str = "p-0", *, ready: bool = False, deleting: bool = False, **status: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "serving",
        "uid": f"uid-{name}",
        "labels": {"app": "decode"},
        "creationTimestamp": "2026-11-21T12:00:00Z",
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-11-21T12:05:00Z"
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}, *status.pop("conditions", [])]
    return {"metadata": metadata, "spec": {"containers": [{}] * 3}, "status": {"conditions": conditions, **status}}


def waiting(reason: str) -> dict[str, Any]:
    return {"ready": False, "restartCount": 0, "state": {"waiting": {"reason": reason}}}


def restarted(times: int, ran_s: int, exit_code: int = 1) -> dict[str, Any]:
    ended = f"2026-11-21T12:{ran_s // 60:02d}:{ran_s % 60:02d}Z"
    last = {"exitCode": exit_code, "startedAt": "2026-11-21T12:00:00Z", "finishedAt": ended}
    return {"ready": False, "restartCount": times, "state": {"running": {}}, "lastState": {"terminated": last}}


def test_only_the_fields_in_use_are_kept() -> None:
    kept = parse_pod(pod(ready=True))
    assert (kept.namespace, kept.name, kept.uid, kept.labels) == ("serving", "p-0", "uid-p-0", {"app": "decode"})
    assert kept.ready
    assert not kept.terminating
    assert not kept.finished
    assert kept.created_at_s == 1795262400.0
    assert kept.trouble is None


def test_a_pod_without_status_is_pending() -> None:
    kept = parse_pod({"metadata": {"name": "p", "namespace": "serving"}})
    assert count_pods([kept]) == PodCounts(ready=0, pending=1, terminating=0, trouble=None)


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}


@pytest.mark.parametrize(
    ("document", "trouble"),
    [
        (pod(conditions=[UNSCHEDULABLE]), Trouble.UNSCHEDULABLE),
        (pod(conditions=[GATED]), None),
        (pod(containerStatuses=[waiting("ContainerCreating")]), None),
        (pod(containerStatuses=[waiting("ErrImagePull")]), Trouble.IMAGE_PULL),
        (pod(containerStatuses=[waiting("ImagePullBackOff")]), Trouble.IMAGE_PULL),
        (pod(initContainerStatuses=[waiting("ImagePullBackOff")]), Trouble.IMAGE_PULL),
        (pod(containerStatuses=[waiting("CrashLoopBackOff")]), Trouble.CRASH_LOOP),
        (pod(initContainerStatuses=[waiting("CrashLoopBackOff")]), Trouble.CRASH_LOOP),
        (pod(containerStatuses=[waiting("CreateContainerConfigError")]), Trouble.CRASH_LOOP),
        (pod(containerStatuses=[{"state": {"terminated": {"exitCode": 137}}}]), Trouble.CRASH_LOOP),
        (pod(initContainerStatuses=[{"state": {"terminated": {"exitCode": 0}}}]), None),
        (pod(containerStatuses=[restarted(2, ran_s=40)]), Trouble.CRASH_LOOP),
        (pod(containerStatuses=[restarted(1, ran_s=40)]), None),
        (pod(containerStatuses=[restarted(5, ran_s=3000)]), None),
        (pod(containerStatuses=[restarted(5, ran_s=40, exit_code=0)]), None),
        (pod(ready=True, containerStatuses=[restarted(5, ran_s=40)]), None),
    ],
)
def test_what_keeps_a_pod_from_becoming_ready(document: dict[str, Any], trouble: Trouble | None) -> None:
    assert parse_pod(document).trouble is trouble


def test_terminating_pods_are_neither_ready_nor_pending_and_finished_ones_do_not_count() -> None:
    pods = [
        parse_pod(pod("a", ready=True)),
        parse_pod(pod("b")),
        parse_pod(pod("c", ready=True, deleting=True)),
        parse_pod(pod("d", deleting=True, containerStatuses=[waiting("CrashLoopBackOff")])),
        parse_pod(pod("e", phase="Failed")),
        parse_pod(pod("f", phase="Succeeded")),
    ]
    assert count_pods(pods) == PodCounts(ready=1, pending=1, terminating=2, trouble=None)


def test_the_trouble_of_a_pool_is_the_one_most_of_its_replicas_are_in() -> None:
    stuck = [parse_pod(pod(f"u{n}", conditions=[UNSCHEDULABLE])) for n in range(2)]
    crashing = [parse_pod(pod("c", containerStatuses=[waiting("CrashLoopBackOff")]))]
    assert count_pods(stuck + crashing).trouble is Trouble.UNSCHEDULABLE
    assert count_pods(crashing).trouble is Trouble.CRASH_LOOP
    assert count_pods(stuck + crashing, missing=3).trouble is Trouble.QUOTA_EXCEEDED
    assert count_pods([], missing=1) == PodCounts(0, 0, 0, Trouble.QUOTA_EXCEEDED)
