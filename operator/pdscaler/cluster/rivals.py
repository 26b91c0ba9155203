"""Other autoscalers and what they scale: HorizontalPodAutoscalers, and KEDA's ScaledObjects where there are any.

May import cluster modules only. One list and watch per kind (and namespace, where the operator is confined to some).
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pdscaler.cluster.connection import Connection, Json, collection_path, group_path
from pdscaler.cluster.errors import NOT_FOUND, ClusterError, one_line
from pdscaler.cluster.reflector import Backoff, Reflector
from pdscaler.cluster.targets import TargetIdentity, TargetRef

RivalKey: TypeAlias = tuple[str, str]
"""Namespace and name of an autoscaler."""

LOOK_AGAIN_S = 45.0
"""A kind that may never be installed is looked for this often, for all namespaces together, seconds."""
_ABSENT_BACKOFF = Backoff(most_s=60.0)


@dataclass(frozen=True, slots=True)
class RivalKind:
    """A kind of autoscaler: where it is served, and what its ``scaleTargetRef`` means where it is silent.

    Parameters
    ----------
    api_version, kind, plural
        Where it is served.
    target_api_version, target_kind
        Defaults of ``scaleTargetRef``.
    optional
        Its API may be missing from a cluster.
    """

    api_version: str
    kind: str
    plural: str
    target_api_version: str = ""
    target_kind: str = ""
    optional: bool = False


KINDS = (
    RivalKind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    RivalKind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects", "apps/v1", "Deployment", optional=True),
)
"""What is looked for. The HorizontalPodAutoscaler that KEDA makes of a ScaledObject counts as well."""


class RivalStore:
    """The autoscalers of one kind, found by what they scale.

    Parameters
    ----------
    kind
        The kind.
    """

    def __init__(self, kind: RivalKind) -> None:
        self._kind = kind
        self._targets: dict[RivalKey, TargetIdentity] = {}
        self._rivals: dict[TargetIdentity, dict[RivalKey, str]] = {}

    def of(self, target: TargetIdentity) -> str:
        """Name who scales a target, the first by name where there are several; empty where nobody does."""
        found = self._rivals.get(target)
        return found[min(found)] if found else ""

    def key(self, document: Json) -> RivalKey:
        """Namespace and name of an autoscaler."""
        return str(document["metadata"]["namespace"]), str(document["metadata"]["name"])

    def keys(self, namespace: str | None) -> set[RivalKey]:
        """Keys of all of one namespace, or (None) of all."""
        return {key for key in self._targets if namespace is None or key[0] == namespace}

    def put(self, document: Json) -> RivalKey:
        """Keep what an autoscaler scales, new or changed."""
        key = self.key(document)
        self.drop(key)
        ref: Mapping[str, Any] = (document.get("spec") or {}).get("scaleTargetRef") or {}
        target = TargetRef(
            namespace=key[0],
            api_version=str(ref.get("apiVersion") or self._kind.target_api_version),
            kind=str(ref.get("kind") or self._kind.target_kind),
            name=str(ref.get("name") or ""),
        ).identity
        self._targets[key] = target
        self._rivals.setdefault(target, {})[key] = self._called(document)
        return key

    def drop(self, key: RivalKey) -> None:
        """Forget an autoscaler that is gone."""
        target = self._targets.pop(key, None)
        if target is None:
            return
        self._rivals[target].pop(key)
        if not self._rivals[target]:
            del self._rivals[target]

    def _called(self, document: Json) -> str:
        namespace, name = self.key(document)
        called = f"{self._kind.kind} {namespace}/{name}"
        for owner in document["metadata"].get("ownerReferences") or ():
            if owner.get("controller"):
                # Deleting what somebody else's controller made does not help: name its maker too.
                return one_line(f"{called} (of {owner.get('kind')} {owner.get('name')})")
        return called


@dataclass(frozen=True, slots=True)
class Followed:
    """One kind of autoscaler that is followed.

    Parameters
    ----------
    kind, store
        The kind, and who is known.
    reflectors
        What keeps the store current, by namespace (None: the whole cluster).
    """

    kind: RivalKind
    store: RivalStore
    reflectors: Mapping[str | None, Reflector[RivalKey]]


def follow(
    connection: Connection, scopes: Sequence[str | None], clock: Callable[[], float], rng: random.Random
) -> tuple[Followed, ...]:
    """Make what follows each kind; the caller runs the reflectors.

    Parameters
    ----------
    connection
        The API server.
    scopes
        Namespaces, or None for the whole cluster.
    clock
        Seconds since the epoch.
    rng
        For the jitter of retries.
    """
    return tuple(_follow(kind, connection, scopes, clock, rng) for kind in KINDS)


def _follow(
    kind: RivalKind,
    connection: Connection,
    scopes: Sequence[str | None],
    clock: Callable[[], float],
    rng: random.Random,
) -> Followed:
    absent_at_s = -math.inf

    async def locate(scope: str | None) -> str:
        nonlocal absent_at_s
        absent = ClusterError(NOT_FOUND, f"the cluster does not serve {kind.plural} of {kind.api_version}", 404)
        if 0 <= clock() - absent_at_s < LOOK_AGAIN_S:
            raise absent
        # Without the right to list, an API server forbids what it does not serve: discovery tells the two apart.
        try:
            served = await connection.get(group_path(kind.api_version))
        except ClusterError as error:
            if error.reason != NOT_FOUND:
                raise
            served = {}
        if not any(entry.get("name") == kind.plural for entry in served.get("resources") or ()):
            absent_at_s = clock()
            raise absent
        return collection_path(kind.api_version, kind.plural, scope)

    store = RivalStore(kind)
    backoff = _ABSENT_BACKOFF if kind.optional else Backoff()
    reflectors = {
        scope: Reflector(connection, locate, store, scope, clock=clock, rng=rng, backoff=backoff) for scope in scopes
    }
    return Followed(kind, store, reflectors)
