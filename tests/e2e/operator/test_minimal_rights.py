"""The roles are minimal: each right is taken away from an operator of its own, and something that it did fails.

Many operators run side by side in this process, each in a namespace of its own and as an account of its own: one with
all rights of the chart, and for each right one without it. What the API server's audit log says is checked too.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from localplane.audit import AuditRequest
from localplane.plane import ControlPlane
from localplane.ports import free_port
from localplane.toolset import Tools
from localplane.waiting import PATIENCE_S, wait_for
from pdscaler.api.config import load_config
from pdscaler.controller.application import Application
from support.manifests import ROOT, Document, config_of, documents, helm_template, kustomize
from support.plane import deployment, install_scaled_objects
from support.rights import Right, rights_of, without
from support.world import resource

SHORT_LEASE = {"leaseDuration": "3s", "renewDeadline": "2s"}
"""Of the operator that cannot renew it. The others keep the chart's, which a busy machine does not make them lose."""
PLACE = "rights-under-test"
"""Stands for the namespace in what the chart renders."""


@dataclass(frozen=True)
class Seen:
    """What one operator has done, as the API server has it.

    Parameters
    ----------
    first, late
        Status of the PDDeployment that was there from the start, and of one that came later.
    ordered
        Replicas of the first one's prefill target, which must have 2.
    events
        Events about the first one: (reason, count, message).
    """

    first: dict[str, Any]
    late: dict[str, Any]
    ordered: int
    events: tuple[tuple[str, int, str], ...]

    @cached_property
    def said(self) -> str:
        """Everything that it tells a person."""
        messages = [entry["message"] for entry in self.first.get("conditions", ())]
        return "\n".join([*messages, *(message for _, _, message in self.events)])

    @property
    def orders_counted(self) -> int:
        """How often it says that it ordered the second replica."""
        return max((count for reason, count, _ in self.events if reason == "ScaledUp"), default=0)


@dataclass(frozen=True)
class Proof:
    """What fails without a right.

    Parameters
    ----------
    behaviour
        What works with it, in words.
    fails
        Whether that has failed.
    """

    behaviour: str
    fails: Callable[[Seen], bool]


def refused(verb: str, resources: str) -> Callable[[Seen], bool]:
    """Return a check that people are told what is not allowed."""
    return lambda seen: f'cannot {verb} resource "{resources}"' in seen.said


PROOFS = {
    ("pdscaler.io", "pddeployments", "get"): Proof(
        "an order is written only for a PDDeployment that still exists", refused("get", "pddeployments")
    ),
    ("pdscaler.io", "pddeployments", "list"): Proof("PDDeployments are evaluated", lambda seen: not seen.first),
    ("pdscaler.io", "pddeployments", "watch"): Proof("a new PDDeployment is noticed", lambda seen: not seen.late),
    ("pdscaler.io", "pddeployments/status", "patch"): Proof(
        "the answer is written", lambda seen: seen.ordered == 2 and not seen.first
    ),
    ("", "pods", "list"): Proof("ready pods are counted", refused("list", "pods")),
    ("", "pods", "watch"): Proof("ready pods are followed", refused("watch", "pods")),
    ("", "events", "create"): Proof("an order is told in an Event", lambda seen: not seen.events),
    ("", "events", "patch"): Proof("an Event that happens again is counted", lambda seen: seen.orders_counted == 1),
    ("apps", "deployments", "list"): Proof("targets are found", refused("list", "deployments")),
    ("apps", "deployments", "watch"): Proof("targets are followed", refused("watch", "deployments")),
    ("apps", "deployments/scale", "get"): Proof(
        "the scale is read before a write", refused("get", "deployments/scale")
    ),
    ("apps", "deployments/scale", "patch"): Proof("replicas are ordered", refused("patch", "deployments/scale")),
    ("autoscaling", "horizontalpodautoscalers", "list"): Proof(
        "other autoscalers are found", refused("list", "horizontalpodautoscalers")
    ),
    ("autoscaling", "horizontalpodautoscalers", "watch"): Proof(
        "other autoscalers are followed", refused("watch", "horizontalpodautoscalers")
    ),
    ("keda.sh", "scaledobjects", "list"): Proof("KEDA's autoscalers are found", refused("list", "scaledobjects")),
    ("keda.sh", "scaledobjects", "watch"): Proof("KEDA's autoscalers are followed", refused("watch", "scaledobjects")),
    ("coordination.k8s.io", "leases", "get"): Proof("a replica takes the lead", lambda seen: not seen.first),
    ("coordination.k8s.io", "leases", "create"): Proof("the first replica takes the lead", lambda seen: not seen.first),
    ("coordination.k8s.io", "leases", "patch"): Proof("the lead is kept", lambda seen: not seen.late),
}
"""Group, resource and verb of every right that a role may grant -> what fails without it."""


@dataclass
class Trial:
    """One operator, in a namespace of its own, without one right (None: with all)."""

    plane: ControlPlane
    right: Right | None
    namespace: str
    mark: int

    def requests(self) -> list[AuditRequest]:
        """Return what the operator asked, oldest first."""
        user = f"system:serviceaccount:{self.namespace}:pdscaler"
        return self.plane.audit_log.requests(user=user, since=self.mark)

    def denied(self) -> set[tuple[str, str, str]]:
        """Return what it was refused."""
        return {(found.api_group, found.resource, found.verb) for found in self.requests() if found.code == 403}

    def seen(self) -> Seen:
        """Return what it has done so far."""
        found = self.plane.get("pdd,deployments,events", "-n", self.namespace)["items"]
        objects = {(item["kind"], item["metadata"]["name"]): item for item in found}
        events = [item for item in found if item.get("involvedObject", {}).get("name") == "deepseek"]
        return Seen(
            first=objects["PDDeployment", "deepseek"].get("status", {}),
            late=objects.get(("PDDeployment", "late"), {}).get("status", {}),
            ordered=objects["Deployment", "deepseek-prefill"]["spec"]["replicas"],
            events=tuple((item["reason"], item["count"], item["message"]) for item in events),
        )

    def application(self, config: str, folder: Path) -> Application:
        """Return the operator with the chart's configuration, as this account."""
        settings = yaml.safe_load(config)
        nobody = f"http://127.0.0.1:{free_port()}"
        settings |= {"evaluationPeriod": "500ms", "metricsAddress": "", "healthAddress": "", "verifyPlans": False}
        settings |= {"prometheus": {"endpoints": {"default": {"url": nobody}}}, "namespaces": [self.namespace]}
        settings |= {"leaseNamespace": self.namespace, "retryPeriod": "500ms"}
        if self.right is not None and (self.right.resource, self.right.verb) == ("leases", "patch"):
            settings |= SHORT_LEASE
        settings |= {"kubeconfig": str(self.plane.service_account_kubeconfig(self.namespace, "pdscaler"))}
        file = folder / f"{self.namespace}.yaml"
        file.write_text(yaml.safe_dump(settings))
        return Application(load_config(file, {}, {}))


def moved(objects: Sequence[Document], namespace: str) -> list[Document]:
    """Return what was rendered for :data:`PLACE` as if for another namespace."""
    found: list[Document] = json.loads(json.dumps(list(objects)).replace(PLACE, namespace))
    return found


def placed(namespace: str, *objects: Document) -> list[Document]:
    return [{**found, "metadata": {**found["metadata"], "namespace": namespace}} for found in objects]


def targets(namespace: str) -> list[Document]:
    """Return a PDDeployment that needs two prefill replicas, and its targets, which have one each."""
    spec = resource()["spec"]
    wanted = resource(prefill={**spec["prefill"], "minReplicas": 2})
    return placed(namespace, deployment("deepseek-prefill"), deployment("deepseek-decode"), wanted)


@pytest.fixture
def objects(control_plane: ControlPlane, tools: Tools) -> list[Document]:
    """What the chart renders for one namespace."""
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-k", ROOT / "crds")
    install_scaled_objects(control_plane)
    return documents(helm_template(tools, {"namespaces": [PLACE]}, namespace=PLACE))


@pytest.fixture
def trials(control_plane: ControlPlane, objects: list[Document]) -> Iterator[list[Trial]]:
    """Every operator that is to run, with all that it needs in the cluster."""
    rights = [right for role in rights_of(objects).values() for right in role]
    mark, batch = control_plane.audit_log.mark(), uuid.uuid4().hex[:8]
    made = [
        Trial(control_plane, right, f"rights-{batch}-{number}", mark) for number, right in enumerate((None, *rights))
    ]
    spaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": trial.namespace}} for trial in made]
    own = [
        found
        for trial in made
        for found in [*without(moved(objects, trial.namespace), trial.right), *targets(trial.namespace)]
    ]
    control_plane.apply(*spaces, *own)
    yield made
    names = [trial.namespace for trial in made]
    control_plane.kubectl("delete", "namespace", "--wait=false", *names, check=False)


@asynccontextmanager
async def running(applications: Sequence[Application]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(application.run()) for application in applications]
    try:
        yield
    finally:
        for application in applications:
            application.stop()
        async with asyncio.timeout(PATIENCE_S):
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        # The watches that end here say their TLS farewell in the background, which aiohttp does not wait for.
        await asyncio.sleep(0.25)
    assert [outcome for outcome in ended if outcome is not None] == []


async def until(what: str, probe: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_for, what, probe, every_s=0.5)


def test_every_right_has_a_proof(tools: Tools) -> None:
    """Every rule of every role, of the chart and of the kustomizations, cluster-wide and confined."""
    granted = {
        "chart": rights_of(documents(helm_template(tools, {}))),
        "chart, confined": rights_of(documents(helm_template(tools, {"namespaces": ["serving"]}))),
        "deploy/base": rights_of(documents(kustomize(tools, "deploy/base"))),
        "deploy/overlays/namespaced": rights_of(documents(kustomize(tools, "deploy/overlays/namespaced"))),
    }
    for place, roles in granted.items():
        flat = [right for role in roles.values() for right in role]
        assert len(flat) == len(set(flat)), f"{place} grants a right twice"
        assert not [right for right in flat if "*" in (right.group, right.resource, right.verb)], place
        unproved = [str(right) for right in flat if (right.group, right.resource, right.verb) not in PROOFS]
        assert unproved == [], f"{place} grants what no proof in PROOFS says is needed: {', '.join(unproved)}"
        known = {(right.group, right.resource, right.verb) for right in flat}
        assert set(PROOFS) - known == set(), f"{place} does not grant what PROOFS say is needed"
    assert len({frozenset(right for role in roles.values() for right in role) for roles in granted.values()}) == 1


@pytest.mark.long
async def test_without_any_one_right_something_fails_and_with_all_nothing_is_denied(
    control_plane: ControlPlane, objects: list[Document], trials: list[Trial], tmp_path: Path
) -> None:
    config = config_of(moved(objects, "serving"))
    whole, *lacking = trials
    applications = await asyncio.gather(*(asyncio.to_thread(trial.application, config, tmp_path) for trial in trials))
    async with running(applications):
        await until("the order", lambda: whole.seen().orders_counted >= 1 and whole.seen().ordered == 2)
        await asyncio.sleep(6.0)  # who cannot renew its lease has lost it by now
        # Somebody takes the replica away again, and a second PDDeployment comes.
        for trial in trials:
            if trial.right is None or trial.right.resource == "events":
                scale = ("scale", "deployment", "deepseek-prefill", "--replicas=1", "-n", trial.namespace)
                await asyncio.to_thread(control_plane.kubectl, *scale)
        late = [found for trial in trials for found in placed(trial.namespace, resource("late"))]
        await asyncio.to_thread(control_plane.apply, *late)
        await until(
            "all that must work with all rights", lambda: whole.seen().orders_counted >= 2 and bool(whole.seen().late)
        )
        for trial in lacking:
            assert trial.right is not None
            right = (trial.right.group, trial.right.resource, trial.right.verb)
            assert right in PROOFS, f"no proof in PROOFS that {trial.right} is needed"
            proof = PROOFS[right]
            await until(
                f"without {trial.right}: this to fail: {proof.behaviour}",
                lambda trial=trial, proof=proof, right=right: (  # type: ignore[misc]
                    proof.fails(trial.seen()) and trial.denied() == {right}
                ),
            )
            assert not proof.fails(whole.seen()), f"fails with all rights: {proof.behaviour}"
    assert whole.denied() == set()
    granted = [right for role in rights_of(moved(objects, whole.namespace)).values() for right in role]
    unused = [str(right) for right in granted if not any(right.covers(request) for request in whole.requests())]
    assert unused == [], f"granted and never used in a normal run: {', '.join(unused)}"
