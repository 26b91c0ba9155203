"""Who changed the replicas: by managedFields where they tell, else by the orders of this process."""

from typing import Any

import pytest

from pdscaler.cluster.changes import ChangeLog
from pdscaler.cluster.managers import scaled_by
from pdscaler.cluster.targets import KindRef, TargetRef
from pdscaler.cluster.targetstore import TargetStore

DEPLOYMENT = KindRef("apps/v1", "Deployment")
REF = TargetRef("serving", "apps/v1", "Deployment", "chat-decode")


def entry(manager: str, *fields: str, time: str = "2026-11-21T12:00:00Z") -> dict[str, Any]:
    return {"manager": manager, "time": time, "fieldsV1": {"f:spec": {f"f:{field}": {} for field in fields}}}


class Watched:
    """One Deployment as its watch tells it."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.log = ChangeLog(lambda: self.now_s)
        self.store = TargetStore(DEPLOYMENT, lambda ref: None, self.log.saw)
        self.version = 0

    def is_now(self, replicas: int, *managers: str) -> None:
        self.version += 1
        self.store.put(
            {
                "metadata": {
                    "namespace": REF.namespace,
                    "name": REF.name,
                    "resourceVersion": str(self.version),
                    "managedFields": [entry(manager, "replicas") for manager in managers],
                },
                "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "x"}}},
            }
        )

    def seen(self) -> list[tuple[int, int, str, bool]]:
        return [(change.before, change.after, change.by, change.overrode) for change in self.log.of(REF)]


def test_our_own_orders_are_nobody_elses_also_after_a_restart() -> None:
    watched = Watched()
    watched.is_now(1, "kubectl-client-side-apply")
    watched.is_now(4, "pdscaler")
    watched.is_now(7, "pdscaler")
    assert watched.seen() == []


def test_a_change_of_an_order_names_who_did_it() -> None:
    watched = Watched()
    watched.is_now(4, "pdscaler")
    watched.is_now(2, "argocd-controller")
    (change,) = watched.log.of(REF)
    assert (change.target, change.at_s, change.version) == ("Deployment/chat-decode", 100.0, "2")
    assert watched.seen() == [(4, 2, "argocd-controller", True)]
    # Nothing of ours is replaced by the next one.
    watched.is_now(3, "kubectl")
    assert watched.seen()[1:] == [(2, 3, "kubectl", False)]


def test_what_leaves_the_replicas_as_they_are_is_no_change() -> None:
    watched = Watched()
    watched.is_now(4, "pdscaler")
    watched.is_now(4, "argocd-controller", "pdscaler")
    watched.is_now(4, "argocd-controller")
    assert watched.seen() == []


def test_of_a_field_with_two_owners_our_order_was_replaced() -> None:
    watched = Watched()
    watched.is_now(4, "argocd-controller", "pdscaler")
    watched.is_now(2, "argocd-controller")
    assert watched.seen() == [(4, 2, "argocd-controller", True)]


def test_without_managed_fields_the_last_order_decides_and_nobody_is_named() -> None:
    watched = Watched()
    watched.is_now(1)
    watched.log.ordered(REF, 4)
    watched.is_now(4)
    assert watched.seen() == []
    watched.is_now(2)
    assert watched.seen() == [(4, 2, "", True)]


def test_without_managed_fields_and_orders_nothing_was_ours() -> None:
    watched = Watched()
    watched.is_now(4)
    watched.is_now(2)
    assert watched.seen() == [(4, 2, "", False)]


def test_a_target_that_was_deleted_and_made_anew_was_not_changed() -> None:
    watched = Watched()
    watched.is_now(4, "pdscaler")
    watched.store.drop((REF.namespace, REF.name))
    watched.is_now(1, "kubectl")
    assert watched.seen() == []


def test_only_what_is_a_target_and_only_the_last_changes_are_remembered() -> None:
    watched = Watched()
    for step in range(40):
        watched.is_now(step % 2 + 1, "kubectl")
    assert len(watched.seen()) == 16
    watched.log.retain([REF])
    assert len(watched.seen()) == 16
    watched.log.retain([])
    assert watched.seen() == []


@pytest.mark.parametrize(
    ("fields", "managers"),
    [
        ([], ()),
        ([entry("kubectl", "template")], ()),
        ([entry("kubectl", "replicas"), entry("argo", "template")], ("kubectl",)),
        ([entry("old", "replicas", time="2026-11-21T11:00:00Z"), entry("new", "replicas")], ("new", "old")),
        ([{"manager": "kubectl"}, {"manager": "x", "fieldsV1": {"f:spec": "?"}}], ()),
        ([{**entry("two\nlines\x1b[31m", "replicas")}], ("two lines [31m",)),
        (None, ()),
    ],
)
def test_the_owners_of_the_replicas(fields: list[dict[str, Any]] | None, managers: tuple[str, ...]) -> None:
    assert scaled_by({"managedFields": fields}) == managers
