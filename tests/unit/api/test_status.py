"""The status models: what they write, clip and tolerate."""

import pytest
from pydantic import ValidationError

from pdscaler.api.status import (
    MAX_DECISIONS,
    Condition,
    DecisionStatus,
    EventMemory,
    MemoryStatus,
    PDDeploymentStatus,
    PoolMemoryStatus,
    PoolStatus,
    StepStatus,
    Summary,
    WorkloadStatus,
)

TIME = "2026-11-21T12:00:00Z"


def test_document_is_camel_case_without_what_is_unknown() -> None:
    status = PDDeploymentStatus(
        observed_generation=3,
        summary=Summary(prefill="3→4", limited_by="Ratio"),
        prefill=PoolStatus(current=3, required=3.31, limited_by=("Ratio",)),
        decisions=(DecisionStatus(time=TIME, prefill=StepStatus(from_=3, to=4)),),
        memory=MemoryStatus(prefill=PoolMemoryStatus(events=(EventMemory(time=TIME, change=-2),))),
    )
    document = status.to_document()
    assert document["observedGeneration"] == 3
    assert document["summary"]["prefill"] == "3→4"
    assert document["summary"]["limitedBy"] == "Ratio"
    assert document["summary"]["lastChange"] == "–"
    assert document["prefill"] == {"current": 3, "required": 3.31, "limitedBy": ["Ratio"]}
    assert document["decisions"] == [{"time": TIME, "prefill": {"from": 3, "to": 4}}]
    assert document["memory"]["prefill"]["events"] == [{"time": TIME, "change": -2}]
    assert "workload" not in document
    assert PDDeploymentStatus.model_validate(document) == status


def test_what_is_too_long_is_clipped_instead_of_costing_the_status() -> None:
    condition = Condition(type="Ready", status="True", reason="R" * 99, message="m" * 9999, last_transition_time=TIME)
    assert len(condition.reason) == 64
    assert len(condition.message) == 4096
    assert condition.message.endswith("…")
    status = PDDeploymentStatus(
        decisions=tuple(DecisionStatus(time=TIME, arrival_rate=float(n)) for n in range(30)),
        limited_by=tuple(f"Limit{n}" for n in range(99)),
        workload=WorkloadStatus(alternatives={f"query{n}": "x" * 600 for n in range(99)}),
    )
    assert [entry.arrival_rate for entry in status.decisions] == [float(n) for n in range(MAX_DECISIONS)]
    assert len(status.limited_by) == 16
    assert status.workload is not None
    assert len(status.workload.alternatives) == 32
    assert {len(value) for value in status.workload.alternatives.values()} == {512}


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_is_not_known(value: float) -> None:
    assert PoolStatus(required=value).required is None
    assert "required" not in PDDeploymentStatus(prefill=PoolStatus(required=value)).to_document()["prefill"]


def test_fields_of_another_release_are_passed_over() -> None:
    status = PDDeploymentStatus.model_validate({"observedGeneration": 1, "later": {"x": 1}, "prefill": {"newer": 2}})
    assert status.observed_generation == 1
    assert status.prefill == PoolStatus()


def test_garbage_is_a_validation_error() -> None:
    with pytest.raises(ValidationError):
        PDDeploymentStatus.model_validate({"prefill": {"current": "many"}})
