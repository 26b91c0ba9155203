"""The objects of the scale benchmark: PDDeployments, their Deployments, and those that are broken. No I/O.

Broken ones are broken in ways that the CRD's schema cannot see, so that the operator has to live with them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

PER_NAMESPACE = 50
LABEL = "scale-benchmark"
PUBLISHED = "PaperMM1"
"""The sizing model whose counts :func:`replicas_of` knows, so that nothing is to be done once all are read."""


class Fault(StrEnum):
    """How a PDDeployment is broken."""

    NO_TARGET = "its decode Deployment is missing"
    NO_METRICS = "no series carry its model"
    TARGET_AT_ZERO = "somebody set its decode Deployment to 0"
    SAME_TARGET = "another one, older, has its targets"
    BAD_PROFILE = "its profile has one point only"
    UNKNOWN_ENDPOINT = "it names a Prometheus that nobody defined"
    UNKNOWN_PRESET = "it names an engine that nobody knows"
    BAD_BOUNDS = "minReplicas is above maxReplicas"
    BAD_RATIO = "its ratio cannot be met within its bounds"
    BAD_FALLBACK = "its fallback has no replicas"


@dataclass(frozen=True, slots=True)
class Member:
    """One PDDeployment of the fleet.

    Parameters
    ----------
    number
        From 0 on.
    fault
        What is wrong with it; None: it is healthy.
    sizing
        The sizing model that it asks for.
    window_s
        The window of its rates, seconds.
    """

    number: int
    fault: Fault | None = None
    sizing: str = PUBLISHED
    window_s: float = 60.0

    @property
    def namespace(self) -> str:
        """Fifty share one."""
        return f"fleet-{self.number // PER_NAMESPACE}"

    @property
    def name(self) -> str:
        """Name of the PDDeployment, its model, and the stem of its Deployments' names."""
        return f"model-{self.number}"

    @property
    def rate_rps(self) -> float:
        """What arrives: constant, so that there is nothing to do once all are settled."""
        return 5.5 + self.number % 50


def fleet(count: int, broken: int, sizing: str = PUBLISHED, window_s: float = 60.0) -> list[Member]:
    """Return a fleet whose broken members are spread evenly, in all ways in turn."""
    faults = list(Fault)
    places = {round((place + 0.5) * count / broken): place for place in range(broken)} if broken else {}
    return [
        Member(number, faults[places[number] % len(faults)] if number in places else None, sizing, window_s)
        for number in range(count)
    ]


def namespaces(members: list[Member]) -> list[dict[str, Any]]:
    """Return the namespaces of a fleet."""
    names = dict.fromkeys(member.namespace for member in members)
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]


def deployments(member: Member) -> Iterator[dict[str, Any]]:
    """Yield the Deployments of a member, as many replicas as its load needs (so nothing is to be done)."""
    for role, replicas in replicas_of(member).items():
        if role == "decode" and member.fault is Fault.NO_TARGET:
            continue
        name = f"{member.name}-{role}"
        yield {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": member.namespace, "labels": {LABEL: role}},
            "spec": {
                "replicas": 0 if role == "decode" and member.fault is Fault.TARGET_AT_ZERO else replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{"name": "engine", "image": "registry.invalid/engine:1"}]},
                },
            },
        }


def replicas_of(member: Member) -> Mapping[str, int]:
    """Return what the load needs by the published formulas: one prefill replica serves 80 requests/s, decode 20."""
    return {"prefill": 1, "decode": int(member.rate_rps // 20) + 1}


def pddeployment(member: Member) -> dict[str, Any]:
    """Return the PDDeployment of a member."""
    owner = f"model-{member.number - 1}" if member.fault is Fault.SAME_TARGET else member.name
    spec: dict[str, Any] = {
        "model": "nobody" if member.fault is Fault.NO_METRICS else member.name,
        "slo": {"ttft": {"target": "50ms"}, "tpot": {"target": "10ms"}},
        "prefill": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{owner}-prefill"},
            "maxReplicas": 8,
            "startup": "30s",
            "profile": {"maxThroughput": {"inputTokens": 1000, "tokensPerSecond": 100000}},
        },
        "decode": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{owner}-decode"},
            "maxReplicas": 20,
            "startup": "30s",
            "profile": {
                "points": [
                    {"contextTokens": 1050, "batch": 1, "tpot": "5ms"},
                    {"contextTokens": 1050, "batch": 20, "tpot": "10ms"},
                ],
            },
        },
        "sizing": {"model": member.sizing},
        "metrics": {"frontDoor": {"preset": "LLMD"}, "window": f"{member.window_s:g}s"},
    }
    _break(spec, member.fault)
    return {
        "apiVersion": "pdscaler.io/v1alpha1",
        "kind": "PDDeployment",
        "metadata": {"name": member.name, "namespace": member.namespace},
        "spec": spec,
    }


def _break(spec: dict[str, Any], fault: Fault | None) -> None:
    if fault is Fault.BAD_PROFILE:
        points = [{"inputTokens": 100, "latency": "8ms"}]
        spec["prefill"]["profile"] = {"points": points}
    elif fault is Fault.UNKNOWN_ENDPOINT:
        spec["metrics"]["prometheus"] = {"endpointRef": "nowhere"}
    elif fault is Fault.UNKNOWN_PRESET:
        spec["metrics"]["engine"] = "NoSuchEngine"
    elif fault is Fault.BAD_BOUNDS:
        spec["decode"]["minReplicas"] = 19
        spec["decode"]["maxReplicas"] = 3
    elif fault is Fault.BAD_RATIO:
        spec["constraints"] = {"ratio": {"min": {"prefill": 9, "decode": 1}}}
    elif fault is Fault.BAD_FALLBACK:
        spec["fallback"] = {"behavior": "Static"}
