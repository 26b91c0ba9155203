"""The objects of one kind that may be targets. May import cluster modules only."""

from collections.abc import Callable
from typing import TypeAlias

from pdscaler.cluster.connection import Json
from pdscaler.cluster.targets import KindRef, TargetObject, TargetRef, parse_target

TargetKey: TypeAlias = tuple[str, str]
"""Namespace and name of a target."""


class TargetStore:
    """The objects of one kind that reflectors have read.

    Parameters
    ----------
    kind
        The kind.
    changed
        Told of every object that is new, changed or gone.
    replaced
        Told of every object that changed: its last two versions.
    """

    def __init__(
        self,
        kind: KindRef,
        changed: Callable[[TargetRef], None],
        replaced: Callable[[TargetRef, TargetObject, TargetObject], None],
    ) -> None:
        self._kind = kind
        self._changed = changed
        self._replaced = replaced
        self._objects: dict[TargetKey, TargetObject] = {}

    def get(self, ref: TargetRef) -> TargetObject | None:
        """Return what is kept of an object; None where it does not exist."""
        return self._objects.get((ref.namespace, ref.name))

    def key(self, document: Json) -> TargetKey:
        """Namespace and name of an object."""
        return str(document["metadata"]["namespace"]), str(document["metadata"]["name"])

    def keys(self, namespace: str | None) -> set[TargetKey]:
        """Keys of all objects, of one namespace or (None) of all."""
        return {key for key in self._objects if namespace is None or key[0] == namespace}

    def put(self, document: Json) -> TargetKey:
        """Keep an object, new or changed."""
        key = self.key(document)
        before = self._objects.get(key)
        after = self._objects[key] = parse_target(document, self._kind, before)
        if before is None or before.resource_version != after.resource_version:
            self._changed(self._ref(key))
        if before is not None:
            self._replaced(self._ref(key), before, after)
        return key

    def drop(self, key: TargetKey) -> None:
        """Forget an object that is gone."""
        if self._objects.pop(key, None) is not None:
            self._changed(self._ref(key))

    def _ref(self, key: TargetKey) -> TargetRef:
        return TargetRef(key[0], self._kind.api_version, self._kind.kind, key[1])
