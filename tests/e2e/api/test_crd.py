"""The CRD on a real API server: accepted, with its defaults, and refusing what the operator would refuse."""

import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from localplane.plane import ControlPlane
from pdscaler.api.crd import CRD_NAME, crd_yaml
from pdscaler.api.parse import parse_pddeployment
from pdscaler.api.status import (
    Condition,
    DecisionStatus,
    EngineLoad,
    EventMemory,
    LatencyStatus,
    LengthStatus,
    MemoryStatus,
    ObservedStatus,
    PDDeploymentStatus,
    PoolMemoryStatus,
    PoolStatus,
    PredictionStatus,
    RecommendationMemory,
    StepStatus,
    Summary,
    WorkloadMemory,
    WorkloadStatus,
)
from support.documents import INVALID, Invalid, changed, pddeployment

TIME = "2026-11-21T12:00:00Z"


@pytest.fixture(scope="module")
def crd(control_plane: ControlPlane) -> ControlPlane:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=crd_yaml())
    control_plane.wait_served(CRD_NAME)
    return control_plane


@pytest.fixture(scope="module")
def namespace(crd: ControlPlane) -> Iterator[str]:
    name = f"crd-{uuid.uuid4().hex[:8]}"
    crd.kubectl("create", "namespace", name)
    yield name
    crd.kubectl("delete", "namespace", name, "--wait=false", check=False)


def apply(plane: ControlPlane, document: dict[str, Any], *flags: str) -> "subprocess.CompletedProcess[str]":
    return plane.kubectl("apply", *flags, "-f", "-", input=json.dumps(document), check=False)


def placed(document: dict[str, Any], namespace: str, name: str = "llama") -> dict[str, Any]:
    return changed(document, {"metadata.namespace": namespace, "metadata.name": name})


def test_the_schema_is_structural_and_names_are_accepted(crd: ControlPlane) -> None:
    conditions = {entry["type"]: entry["status"] for entry in crd.get("crd", CRD_NAME)["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions


def test_server_and_parser_fill_in_the_same_defaults(crd: ControlPlane, namespace: str) -> None:
    document = placed(pddeployment(), namespace, "defaults")
    done = apply(crd, document)
    assert done.returncode == 0, done.stderr
    stored = crd.get("pdd", "defaults", "-n", namespace)
    assert stored["spec"]["prefill"]["startup"] == "3m"
    assert stored["spec"]["fallback"] == {"behavior": "Hold", "failureThreshold": 3}
    assert parse_pddeployment(stored).spec == parse_pddeployment(document).spec


def test_a_url_is_not_joined_by_a_default_endpoint(crd: ControlPlane, namespace: str) -> None:
    document = changed(pddeployment(), {"spec.metrics.prometheus": {"url": "http://prometheus.monitoring:9090"}})
    done = apply(crd, placed(document, namespace, "url"))
    assert done.returncode == 0, done.stderr
    spec = parse_pddeployment(crd.get("pdd", "url", "-n", namespace)).spec
    assert (spec.metrics.prometheus.url, spec.metrics.prometheus.endpoint_ref) == (
        "http://prometheus.monitoring:9090",
        None,
    )


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.name)
def test_invalid_resources(crd: ControlPlane, namespace: str, case: Invalid) -> None:
    done = apply(crd, placed(case.document, namespace, "invalid"), "--dry-run=server")
    if not case.server_words:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode != 0, "the API server accepted it"
    for words in case.server_words:
        assert words in done.stderr


def full_status() -> PDDeploymentStatus:
    """Return a status in which every field is set."""
    pool = PoolStatus(
        current=3,
        ready=3,
        required=3.31,
        recommended=4,
        desired=4,
        utilization=0.83,
        binding="TTFT",
        limited_by=("Ratio",),
        reason="13.4 requests/s need 3.31 replicas",
    )
    length = LengthStatus(mean=6144.0, scv=0.9)
    latency = LatencyStatus(mean="1.62s", p50="1.1s", p90="3s", p95="4s", p99="6s")
    step = StepStatus(from_=3, to=4, reason="forecast")
    pool_memory = PoolMemoryStatus(
        recommendations=(RecommendationMemory(time=TIME, replicas=4),), events=(EventMemory(time=TIME, change=-1),)
    )
    load = EngineLoad(waiting=1.0, running=30.5, kv_usage=0.4)
    return PDDeploymentStatus(
        observed_generation=1,
        conditions=(
            Condition(
                type="Ready",
                status="True",
                reason="Valid",
                message="m",
                last_transition_time=TIME,
                observed_generation=1,
            ),
        ),
        summary=Summary(
            prefill="3→4",
            decode="4",
            rate="12.5/s",
            ttft="1.62s/2s",
            tpot="18.9ms/20ms",
            state="ScalingUp",
            limited_by="Ratio",
            forecast="13.4/s",
            gpus="64/128",
            last_change=TIME,
        ),
        prefill=pool,
        decode=pool,
        workload=WorkloadStatus(
            arrival_rate=12.5,
            arrival_source="FrontDoor",
            input_tokens=length,
            output_tokens=length,
            prefix_hit_ratio=0.1,
            window="3m",
            observed_at=TIME,
            alternatives={"arrivals": "llm_d_epp_request_total"},
        ),
        observed=ObservedStatus(ttft="1.62s", tpot="18.9ms", prefill=load, decode=load),
        prediction=PredictionStatus(ttft=latency, tpot=latency),
        limited_by=("Ratio",),
        decisions=(
            DecisionStatus(
                time=TIME, prefill=step, decode=step, arrival_rate=12.5, input_tokens=1.0, output_tokens=2.0
            ),
        ),
        memory=MemoryStatus(
            prefill=pool_memory,
            decode=pool_memory,
            telemetry_failures=2,
            fallback_active=True,
            healthy_since="2026-11-21T12:00:00.123Z",
            last_workload=WorkloadMemory(
                arrival_rate=1.0, input_tokens=length, output_tokens=length, arrival_scv=1.0, prefix_hit_ratio=0.0
            ),
        ),
    )


def test_nothing_of_a_status_is_pruned(crd: ControlPlane, namespace: str) -> None:
    apply(crd, placed(pddeployment(), namespace, "status"))
    status = full_status().to_document()
    crd.kubectl(
        *("patch", "pdd", "status", "-n", namespace, "--subresource=status", "--type=merge"),
        *("-p", json.dumps({"status": status})),
    )
    stored = crd.get("pdd", "status", "-n", namespace)["status"]
    assert stored == status
    assert PDDeploymentStatus.model_validate(stored) == full_status()


def test_columns_answer_first(crd: ControlPlane, namespace: str) -> None:
    apply(crd, placed(pddeployment(), namespace, "columns"))
    patch = json.dumps({"status": full_status().to_document()})
    crd.kubectl("patch", "pdd", "columns", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    header, line = crd.kubectl("get", "pdd", "columns", "-n", namespace).stdout.splitlines()
    assert header.split() == ["NAME", "MODE", "PREFILL", "DECODE", "RATE", "TTFT", "TPOT", "STATE", "AGE"]
    assert line.split()[:-1] == ["columns", "Auto", "3→4", "4", "12.5/s", "1.62s/2s", "18.9ms/20ms", "ScalingUp"]
    wide = crd.kubectl("get", "pdd", "columns", "-n", namespace, "-o", "wide").stdout.splitlines()
    assert wide[0].split()[-4:] == ["LIMITED-BY", "FORECAST", "GPUS", "LAST-CHANGE"]
    assert wide[1].split()[-4:-1] == ["Ratio", "13.4/s", "64/128"]
    assert re.fullmatch(r"(\d+[dhms])+", wide[1].split()[-1]), "the last change is shown as the time since"


def test_a_change_of_the_spec_leaves_the_status_and_counts_the_generation(crd: ControlPlane, namespace: str) -> None:
    document = placed(pddeployment(), namespace, "generation")
    apply(crd, document)
    patch = json.dumps({"status": {"observedGeneration": 1}})
    crd.kubectl("patch", "pdd", "generation", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    assert crd.get("pdd", "generation", "-n", namespace)["metadata"]["generation"] == 1
    apply(crd, changed(document, {"spec.mode": "RecommendOnly", "status": {"observedGeneration": 9}}))
    stored = crd.get("pdd", "generation", "-n", namespace)
    assert stored["metadata"]["generation"] == 2
    assert stored["status"] == {"observedGeneration": 1}
