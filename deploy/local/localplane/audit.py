"""The API server's audit log: who asked what, exactly. Imports the standard library only.

The policy is level Metadata for every request, written as the request is answered, so an absent line proves that a
request was never made. Writes of scales and Leases are logged with their bodies: who ordered how many, who led when.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/metrics"]
  - level: Metadata
    namespaces: [kube-node-lease]
  - level: Request
    resources:
      - {group: apps, resources: [deployments/scale]}
      - {group: coordination.k8s.io, resources: [leases]}
  - level: Metadata
"""
"""Audit policy of the local API server."""

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
"""Verbs that change something."""


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """One request to the API server.

    Parameters
    ----------
    at
        When it arrived, RFC 3339 with microseconds.
    user
        User name, such as ``system:serviceaccount:pdscaler:pdscaler``.
    resource
        Plural, with the subresource after a slash: ``deployments/scale``.
    code
        HTTP status; 0 where the log has none.
    done_at
        When it was answered, as ``at``.
    pod
        Pod that the user's token is bound to; empty where it is bound to none.
    body
        What was sent; None where the policy does not log it.
    """

    at: str
    user: str
    user_agent: str
    verb: str
    api_group: str
    resource: str
    namespace: str
    name: str
    code: int
    uri: str
    done_at: str = ""
    pod: str = ""
    body: dict[str, Any] | None = field(default=None, compare=False)

    @property
    def arrived_s(self) -> float:
        """When it arrived, seconds since the epoch."""
        return datetime.fromisoformat(self.at).timestamp()

    @property
    def answered_s(self) -> float:
        """When it was answered, seconds since the epoch."""
        return datetime.fromisoformat(self.done_at).timestamp()


class AuditLog:
    """Reads an audit log while it grows.

    Parameters
    ----------
    path
        The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def mark(self) -> int:
        """Return the present end, for ``since`` of :meth:`requests`."""
        return self.path.stat().st_size if self.path.exists() else 0

    def requests(
        self,
        *,
        user: str | None = None,
        user_agent: str | None = None,
        verb: str | None = None,
        resource: str | None = None,
        namespace: str | None = None,
        name: str | None = None,
        since: int = 0,
    ) -> list[AuditRequest]:
        """Return the requests that match everything given, oldest first.

        Parameters
        ----------
        user_agent
            Any part of it.
        verb
            A verb, or ``write`` for every verb that changes something.
        resource
            As in :class:`AuditRequest`: ``deployments/scale``, ``pods``.
        since
            A :meth:`mark`: only what was logged after it.
        """
        found = []
        for request in self._read(since):
            if user is not None and request.user != user:
                continue
            if user_agent is not None and user_agent not in request.user_agent:
                continue
            if verb is not None and request.verb != verb and not (verb == "write" and request.verb in WRITES):
                continue
            wanted = ((resource, request.resource), (namespace, request.namespace), (name, request.name))
            if all(expected is None or expected == actual for expected, actual in wanted):
                found.append(request)
        return found

    def _read(self, since: int) -> Iterator[AuditRequest]:
        if not self.path.exists():
            return
        seen: set[str] = set()
        with self.path.open("rb") as file:
            file.seek(since)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                event = json.loads(line)
                # A watch is logged when its answer begins and when it ends.
                if event["auditID"] not in seen:
                    seen.add(event["auditID"])
                    yield _request(event)


def _request(event: dict[str, Any]) -> AuditRequest:
    target = event.get("objectRef", {})
    subresource = target.get("subresource", "")
    return AuditRequest(
        at=event["requestReceivedTimestamp"],
        user=event["user"].get("username", ""),
        user_agent=event.get("userAgent", ""),
        verb=event["verb"],
        api_group=target.get("apiGroup", ""),
        resource=target.get("resource", "") + (f"/{subresource}" if subresource else ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        uri=event["requestURI"],
        done_at=event["stageTimestamp"],
        pod=(event["user"].get("extra", {}).get("authentication.kubernetes.io/pod-name") or [""])[0],
        body=event.get("requestObject"),
    )
