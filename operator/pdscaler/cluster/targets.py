"""What may be scaled: references, where a kind is served, and what is kept of a target object.

May import cluster, core and errors.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pdscaler.cluster.connection import Connection, Json, collection_path, group_path, segments
from pdscaler.cluster.errors import NOT_FOUND, ClusterError
from pdscaler.cluster.managers import scaled_by
from pdscaler.cluster.selectors import Selector, selector_from_spec
from pdscaler.core.decision import TargetUnknown

FAILED_GET_SCALE = "FailedGetScale"
INVALID_SELECTOR = "InvalidSelector"
NOT_SCALABLE = "NotScalable"
"""Reason of a :class:`ClusterError`: the kind is not served, or has no scale subresource."""


TargetIdentity: TypeAlias = tuple[str, str, str, str]
"""Namespace, API group, kind and name."""


@dataclass(frozen=True, slots=True)
class KindRef:
    """A kind of objects, as ``scaleTargetRef`` names it."""

    api_version: str
    kind: str

    @property
    def self_describing(self) -> bool:
        """Whether the objects themselves say replicas and selector; of other kinds only ``/scale`` knows."""
        return self.api_version == "apps/v1" and self.kind in ("Deployment", "StatefulSet", "ReplicaSet")

    def __str__(self) -> str:
        return f"{self.kind} of {self.api_version}"


@dataclass(frozen=True, slots=True)
class TargetRef:
    """A reference to an object that may be scaled."""

    namespace: str
    api_version: str
    kind: str
    name: str

    @property
    def of_kind(self) -> KindRef:
        """The kind alone."""
        return KindRef(self.api_version, self.kind)

    @property
    def identity(self) -> TargetIdentity:
        """What tells it from other objects: two versions of one kind are the same object."""
        group, slash, _ = self.api_version.partition("/")
        return self.namespace, group if slash else "", self.kind, self.name

    @property
    def short(self) -> str:
        """Kind and name, ``Deployment/chat-decode``."""
        return f"{self.kind}/{self.name}"

    def __str__(self) -> str:
        return f'{self.kind} "{self.name}" in "{self.namespace}"'


@dataclass(frozen=True, slots=True)
class RestMapping:
    """Where the API server serves a kind."""

    api_version: str
    plural: str

    def collection(self, namespace: str | None) -> str:
        """Path of the objects in one namespace, or (None) in all."""
        return collection_path(self.api_version, self.plural, namespace)

    def scale(self, namespace: str, name: str) -> str:
        """Path of one object's ``/scale``."""
        return self.collection(namespace) + segments(name, "scale")


@dataclass(frozen=True, slots=True)
class TargetObject:
    """What is kept of a target: a few words instead of its whole template.

    Parameters
    ----------
    resource_version
        Version of the object.
    replicas, selector
        What it asks for and which pods are its own; None where only ``/scale`` knows.
    rollout
        A new template is being rolled out.
    quota_message
        Why the quota refuses more pods; empty where it does not.
    template
        Fingerprint of the pod template; 0 where there is none.
    asked
        ``spec.replicas``, for what it changed to; of kinds that only ``/scale`` describes it is no more than likely.
    scaled_by
        Field managers that own ``spec.replicas``, the latest first; empty where that is not known.
    """

    resource_version: str
    replicas: int | None = None
    selector: Selector | None = None
    rollout: bool = False
    quota_message: str = ""
    template: int = 0
    asked: int | None = None
    scaled_by: tuple[str, ...] = ()


async def find_mapping(connection: Connection, kind: KindRef) -> RestMapping:
    """Ask the API server where it serves a kind.

    Raises
    ------
    ClusterError
        ``NotScalable`` if the kind is not served or has no ``/scale``; otherwise as the server says.
    """
    try:
        served = await connection.get(group_path(kind.api_version))
    except ClusterError as error:
        if error.reason == NOT_FOUND:
            raise ClusterError(NOT_SCALABLE, f"the cluster does not serve {kind.api_version}", error.status) from None
        raise
    return mapping_of(served.get("resources") or [], kind)


def mapping_of(resources: Sequence[Json], kind: KindRef) -> RestMapping:
    """Find a kind in an ``APIResourceList``; raises as :func:`find_mapping` where it cannot be a target."""
    names = {str(entry["name"]) for entry in resources}
    for entry in resources:
        plural = str(entry["name"])
        if entry.get("kind") != kind.kind or "/" in plural:
            continue
        if not entry.get("namespaced"):
            raise ClusterError(NOT_SCALABLE, f"{kind} has no namespace: it cannot be a target")
        if f"{plural}/scale" not in names:
            raise ClusterError(NOT_SCALABLE, f"{kind} has no scale subresource: it cannot be scaled")
        return RestMapping(kind.api_version, plural)
    raise ClusterError(NOT_SCALABLE, f'the cluster serves no kind "{kind.kind}" in {kind.api_version}')


def parse_target(document: Json, kind: KindRef, before: TargetObject | None) -> TargetObject:
    """Keep what is needed of a target.

    Parameters
    ----------
    document
        The object as the API server sends it.
    kind
        Its kind.
    before
        What was kept of its previous version; None where it is new to us.
    """
    version = str(document["metadata"]["resourceVersion"])
    managers = scaled_by(document["metadata"])
    spec: Mapping[str, Any] = document.get("spec") or {}
    if not kind.self_describing:
        asked = spec.get("replicas")
        return TargetObject(version, asked=asked if isinstance(asked, int) else None, scaled_by=managers)
    status: Mapping[str, Any] = document.get("status") or {}
    template = zlib.crc32(json.dumps(spec.get("template"), sort_keys=True).encode())
    replicas = int(spec.get("replicas", 1))
    return TargetObject(
        resource_version=version,
        replicas=replicas,
        selector=selector_from_spec(spec.get("selector") or {}),
        rollout=_rollout(document, kind, template, before),
        quota_message=_quota_message(status),
        template=template,
        asked=replicas,
        scaled_by=managers,
    )


def _rollout(document: Json, kind: KindRef, template: int, before: TargetObject | None) -> bool:
    """Whether pods of an older template are being replaced.

    A change of ``replicas`` raises the generation too. So while the controller has not observed the generation yet, the
    template itself decides: otherwise each of our own writes would look like a rollout for a moment.
    """
    spec: Mapping[str, Any] = document.get("spec") or {}
    status: Mapping[str, Any] = document.get("status") or {}
    if kind.kind == "ReplicaSet":
        return False
    if int(status.get("observedGeneration", 0)) < int(document["metadata"].get("generation", 0)):
        return before is None or before.rollout or before.template != template
    updated, replicas = int(status.get("updatedReplicas", 0)), int(status.get("replicas", 0))
    if kind.kind == "Deployment":
        return updated < replicas
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete" or status.get("updateRevision") == status.get("currentRevision"):
        return False
    kept_back = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    return updated < replicas - kept_back


def _quota_message(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            message = str(condition.get("message") or "")
            if "exceeded quota" in message:
                return message
    return ""


def unknown(ref: TargetRef, error: ClusterError) -> TargetUnknown:
    """Say why a target, or its scale, cannot be read."""
    if error.reason == NOT_FOUND:
        problem = f'{ref.kind} "{ref.name}" not found in "{ref.namespace}"'
    elif error.reason == NOT_SCALABLE:
        problem = f"{ref}: {error.message}"
    else:
        problem = f"{ref} cannot be read: {error}"
    return TargetUnknown(FAILED_GET_SCALE, problem)
