"""The pods of a cluster, found by selector without looking at each, and for a while those that are gone.

May import cluster modules only.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from pdscaler.cluster.connection import Json
from pdscaler.cluster.pods import PodInfo, parse_pod
from pdscaler.cluster.selectors import Selector

PodKey: TypeAlias = tuple[str, str]
"""Namespace and name of a pod."""

REMEMBER_GONE_S = 3600.0
"""How long a pod that is gone is remembered, seconds: longer than any rate window."""
MOST_GONE = 20_000
"""How many pods that are gone are remembered at most."""


class PodStore:
    """The pods that a reflector has read.

    Labels that selectors ask for are indexed per namespace, from the first such question on: a thousand targets in one
    namespace do not each look at every pod.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pods: dict[str, dict[str, PodInfo]] = {}
        self._index: dict[str, dict[str, dict[str, dict[str, None]]]] = {}
        """Namespace → label → value → names, in order of arrival."""
        self._gone: deque[tuple[float, PodKey]] = deque()

    def key(self, document: Json) -> PodKey:
        """Namespace and name of a pod."""
        return str(document["metadata"]["namespace"]), str(document["metadata"]["name"])

    def keys(self, namespace: str | None) -> set[PodKey]:
        """Keys of the pods that exist, in one namespace or (None) in all."""
        chosen = self._pods if namespace is None else {namespace: self._pods.get(namespace, {})}
        return {(space, name) for space, pods in chosen.items() for name, pod in pods.items() if pod.gone_at_s is None}

    def put(self, document: Json) -> PodKey:
        """Keep a pod, new or changed."""
        self._set(parse_pod(document))
        return self.key(document)

    def drop(self, key: PodKey) -> None:
        """Mark a pod as gone; it is forgotten later."""
        namespace, name = key
        pod = self._pods.get(namespace, {}).get(name)
        if pod is None or pod.gone_at_s is not None:
            return
        now_s = self._clock()
        self._set(replace(pod, ready=False, gone_at_s=now_s))
        self._gone.append((now_s, key))
        while self._gone and (len(self._gone) > MOST_GONE or self._gone[0][0] < now_s - REMEMBER_GONE_S):
            self._forget(*self._gone.popleft())

    def select(self, namespace: str, selector: Selector) -> Iterator[PodInfo]:
        """Yield the pods of a namespace that a selector chooses, those that are gone too."""
        pods = self._pods.get(namespace, {})
        index = self._index.setdefault(namespace, {})
        buckets = []
        for label, value in selector.pairs:
            if label not in index:
                index[label] = {}
                for pod in pods.values():
                    _add(index[label], label, pod)
            buckets.append(index[label].get(value, {}))
        names = min(buckets, key=len) if buckets else pods
        for name in names:
            if selector.matches(pods[name].labels):
                yield pods[name]

    def _set(self, pod: PodInfo) -> None:
        pods = self._pods.setdefault(pod.namespace, {})
        before = pods.get(pod.name)
        pods[pod.name] = pod
        for label, values in self._index.get(pod.namespace, {}).items():
            if before is not None and before.labels.get(label) != pod.labels.get(label):
                _remove(values, label, before)
            _add(values, label, pod)

    def _forget(self, gone_at_s: float, key: PodKey) -> None:
        namespace, name = key
        pods = self._pods[namespace]
        pod = pods.get(name)
        # A pod of the same name may have come since, as in a StatefulSet.
        if pod is None or pod.gone_at_s != gone_at_s:
            return
        del pods[name]
        for label, values in self._index.get(namespace, {}).items():
            _remove(values, label, pod)
        if not pods:
            del self._pods[namespace]
            self._index.pop(namespace, None)


def _add(values: dict[str, dict[str, None]], label: str, pod: PodInfo) -> None:
    value = pod.labels.get(label)
    if value is not None:
        values.setdefault(value, {})[pod.name] = None


def _remove(values: dict[str, dict[str, None]], label: str, pod: PodInfo) -> None:
    value = pod.labels.get(label)
    if value is None or value not in values:
        return
    values[value].pop(pod.name, None)
    if not values[value]:
        del values[value]
