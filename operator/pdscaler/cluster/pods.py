"""Pods as an autoscaler sees them: ready, pending, terminating, in trouble. May import cluster, core and errors."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pdscaler.cluster.connection import Json
from pdscaler.core.decision import Trouble

_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CRASH_REASONS = frozenset(
    {
        "CrashLoopBackOff",
        "RunContainerError",
        "CreateContainerError",
        "CreateContainerConfigError",
        "PostStartHookError",
    }
)
_SHORT_RUN_S = 600.0
"""A container that ended within this time of its start, and not for the first time, is in a crash loop, seconds: twice
the longest back-off of the kubelet, so the answer does not change between two attempts."""


@dataclass(frozen=True, slots=True)
class PodInfo:
    """What is kept of a pod.

    Parameters
    ----------
    namespace, name, uid
        Its identity.
    labels
        Its labels; shared between pods, not to be changed.
    ready
        Its condition Ready is True; a terminating pod may still be ready while it drains.
    terminating
        Its deletion has begun.
    finished
        It has succeeded or failed for good (evicted, say): it serves nothing and never will.
    created_at_s
        Creation time, seconds since the epoch.
    trouble
        What keeps it from becoming ready; None where nothing is known to.
    gone_at_s
        When it was seen to be gone, seconds since the epoch; None while it exists.
    """

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    ready: bool
    terminating: bool
    finished: bool
    created_at_s: float
    trouble: Trouble | None = None
    gone_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class PodCounts:
    """How many pods of a target are in which state; finished pods do not count."""

    ready: int
    pending: int
    terminating: int
    trouble: Trouble | None


def parse_pod(document: Json) -> PodInfo:
    """Keep what is needed of a pod."""
    metadata: Mapping[str, Any] = document["metadata"]
    status: Mapping[str, Any] = document.get("status") or {}
    conditions = {str(item.get("type")): item for item in status.get("conditions") or []}
    ready = conditions.get("Ready", {}).get("status") == "True"
    labels = metadata.get("labels") or {}
    return PodInfo(
        namespace=sys.intern(str(metadata["namespace"])),
        name=str(metadata["name"]),
        uid=str(metadata.get("uid") or ""),
        labels={sys.intern(str(key)): sys.intern(str(value)) for key, value in labels.items()},
        ready=ready,
        terminating=metadata.get("deletionTimestamp") is not None,
        finished=status.get("phase") in ("Succeeded", "Failed"),
        created_at_s=_time_s(metadata.get("creationTimestamp")) or 0.0,
        trouble=None if ready else _trouble(conditions, status),
    )


def count_pods(pods: Iterable[PodInfo], missing: int = 0) -> PodCounts:
    """Count the pods of one target.

    Parameters
    ----------
    pods
        Its pods.
    missing
        Replicas that a quota keeps from being created at all.

    Returns
    -------
    PodCounts
        ``trouble`` is the one that most of its replicas are in.
    """
    ready = pending = terminating = 0
    troubles: Counter[Trouble] = Counter()
    for pod in pods:
        if pod.finished:
            continue
        if pod.terminating:
            terminating += 1
        elif pod.ready:
            ready += 1
        else:
            pending += 1
            if pod.trouble is not None:
                troubles[pod.trouble] += 1
    if missing > 0:
        troubles[Trouble.QUOTA_EXCEEDED] += missing
    order = list(Trouble)
    most = min(troubles, key=lambda trouble: (-troubles[trouble], order.index(trouble)), default=None)
    return PodCounts(ready, pending, terminating, most)


def _trouble(conditions: Mapping[str, Mapping[str, Any]], status: Mapping[str, Any]) -> Trouble | None:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Trouble.UNSCHEDULABLE
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    waiting = {str(((item.get("state") or {}).get("waiting") or {}).get("reason")) for item in containers}
    if waiting & _IMAGE_REASONS:
        return Trouble.IMAGE_PULL
    if waiting & _CRASH_REASONS or any(_crashes(item) for item in containers):
        return Trouble.CRASH_LOOP
    return None


def _crashes(container: Mapping[str, Any]) -> bool:
    """Whether a container has just failed, or runs again after having failed soon after its start, and not only once.

    Between two attempts of a crash loop the container runs for a while: that must not look like health.
    """
    ended = (container.get("state") or {}).get("terminated") or {}
    if int(ended.get("exitCode") or 0) != 0:
        return True
    last = (container.get("lastState") or {}).get("terminated") or {}
    if container.get("ready") or int(container.get("restartCount") or 0) < 2 or int(last.get("exitCode") or 0) == 0:
        return False
    started, finished = _time_s(last.get("startedAt")), _time_s(last.get("finishedAt"))
    return started is not None and finished is not None and finished - started < _SHORT_RUN_S


def _time_s(text: object) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None where there is none."""
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
