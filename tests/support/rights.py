"""The rights that the chart and the kustomizations grant, one by one, so that a test can take each of them away."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from localplane.audit import AuditRequest
from support.manifests import Document, of_kind


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource, as a rule of a role grants it.

    Parameters
    ----------
    group, resource, verb
        API group (empty: the core), plural with its subresource (``deployments/scale``), verb.
    names
        The only objects it is for; empty: all.
    """

    group: str
    resource: str
    verb: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        only = f" named {', '.join(self.names)}" if self.names else ""
        return f"{self.verb} {self.resource}{'.' + self.group if self.group else ''}{only}"

    def covers(self, request: AuditRequest) -> bool:
        """Whether this right is what a request needs."""
        return (self.group, self.resource, self.verb) == (request.api_group, request.resource, request.verb) and (
            not self.names or request.name in self.names
        )


def rights_in(rules: Iterable[Document]) -> Iterator[Right]:
    """Take rules apart: every verb on every resource of every group."""
    for rule in rules:
        assert "nonResourceURLs" not in rule
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield Right(group, resource, verb, tuple(rule.get("resourceNames", ())))


def rights_of(objects: Sequence[Document]) -> dict[str, tuple[Right, ...]]:
    """Return the rights of every role among some objects, by kind and name, in their order."""
    roles = [*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")]
    return {f"{role['kind']} {role['metadata']['name']}": tuple(rights_in(role["rules"])) for role in roles}


def rules_for(rights: Iterable[Right]) -> list[dict[str, Any]]:
    """Write rights as rules, one for each."""
    return [
        {
            "apiGroups": [right.group],
            "resources": [right.resource],
            "verbs": [right.verb],
            **({"resourceNames": list(right.names)} if right.names else {}),
        }
        for right in rights
    ]


def without(objects: Sequence[Document], right: Right | None) -> list[Document]:
    """Return the accounts, roles and bindings among some objects, with one right taken away from every role."""
    kinds = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    kept = [copy.deepcopy(document) for document in objects if document["kind"] in kinds]
    for document in kept:
        if "rules" in document:
            document["rules"] = rules_for(found for found in rights_in(document["rules"]) if found != right)
    return kept
