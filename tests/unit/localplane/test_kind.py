"""Which clusters may be borrowed: named, made by kind, on loopback; never the current context by default."""

from typing import Any

import pytest

from localplane.errors import LocalPlaneError
from localplane.kind import choose, context_name

CONFIG: dict[str, Any] = {
    "current-context": "prod",
    "contexts": [
        {"name": "prod", "context": {"cluster": "prod", "user": "me"}},
        {"name": "kind-pdscaler", "context": {"cluster": "kind-pdscaler", "user": "kind-pdscaler"}},
        {"name": "kind-far", "context": {"cluster": "prod", "user": "me"}},
    ],
    "clusters": [
        {"name": "prod", "cluster": {"server": "https://prod.example:6443"}},
        {"name": "kind-pdscaler", "cluster": {"server": "https://127.0.0.1:40001"}},
    ],
}


@pytest.mark.parametrize(("cluster", "context"), [("kind", "kind-pdscaler"), ("kind-other", "kind-other")])
def test_the_context_is_named(cluster: str, context: str) -> None:
    assert context_name(cluster) == context


@pytest.mark.parametrize("cluster", ["prod", "kind-", "", "minikube", "current"])
def test_no_other_context_is_allowed(cluster: str) -> None:
    with pytest.raises(LocalPlaneError, match="is not allowed: write CLUSTER=local, CLUSTER=kind"):
        context_name(cluster)


def test_a_kind_cluster_on_loopback_is_taken() -> None:
    assert choose(CONFIG, "kind-pdscaler", {}) == "https://127.0.0.1:40001"


def test_a_context_that_leads_elsewhere_is_refused() -> None:
    with pytest.raises(
        LocalPlaneError, match=r'"kind-far" leads to https://prod.example:6443, which is not on loopback'
    ):
        choose(CONFIG, "kind-far", {})


def test_a_missing_context_says_how_to_make_it(tmp_path: Any) -> None:
    with pytest.raises(
        LocalPlaneError, match=r"there are kind-far, kind-pdscaler\. Install docker and kind, then: kind"
    ):
        choose(CONFIG, "kind-absent", {"PATH": str(tmp_path)})
    for name in ("docker", "kind"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(LocalPlaneError, match=r"Make it: kind create cluster --name absent"):
        choose({}, "kind-absent", {"PATH": str(tmp_path)})
