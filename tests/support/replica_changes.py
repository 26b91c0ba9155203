"""Every change of the targets' replicas, in order, and who made it: a watch of the API server. Imports the launcher."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from localplane.administrator import Administrator


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one target's ``spec.replicas``.

    Parameters
    ----------
    at_s
        When it was seen, by the monotonic clock.
    name
        The Deployment.
    before, after
        Replicas.
    by
        Field manager that owns them now.
    total_gpus
        GPUs that both targets asked for together after it.
    """

    at_s: float
    name: str
    before: int
    after: int
    by: str
    total_gpus: int


class Orders:
    """Follows the Deployments of a namespace; a ``with`` block ends it.

    Parameters
    ----------
    administrator
        Asks the API server, directly.
    namespace
        Where the targets are.
    gpus
        GPUs of one replica by Deployment.
    seen
        Called with every change, in a thread of its own.
    """

    def __init__(
        self, administrator: Administrator, namespace: str, gpus: dict[str, int], seen: Callable[[Change], None]
    ) -> None:
        self._administrator = administrator
        self._path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self._gpus = gpus
        self._seen = seen
        self._replicas: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    @property
    def replicas(self) -> dict[str, int]:
        """What each target asks for now."""
        return dict(self._replicas)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                listed = self._administrator.get(self._path)
                for item in listed["items"]:
                    self._take(item)
                version = listed["metadata"]["resourceVersion"]
                where = f"{self._path}?watch=1&resourceVersion={version}&timeoutSeconds=10"
                for line in self._administrator.lines(where):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        break
                    self._take(event["object"])
                    if self._stop.is_set():
                        return
            except OSError:  # the API server is down: that is one of the faults
                time.sleep(0.2)

    def _take(self, deployment: dict[str, Any]) -> None:
        name, after = deployment["metadata"]["name"], int(deployment["spec"].get("replicas", 1))
        before = self._replicas.get(name)
        self._replicas[name] = after
        if before is not None and before != after and name in self._gpus:
            total = sum(self._gpus[each] * count for each, count in self._replicas.items() if each in self._gpus)
            self._seen(Change(time.monotonic(), name, before, after, _owner(deployment), total))


def _owner(deployment: dict[str, Any]) -> str:
    """Return the field manager that owns the replicas; the newest, where several do."""
    owners = [
        (entry.get("time", ""), entry["manager"])
        for entry in deployment["metadata"].get("managedFields", ())
        if "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
    ]
    return max(owners)[1] if owners else ""
