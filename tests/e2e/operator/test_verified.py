"""The default model on real parts: changes are settled by simulation beside the loop, and the status says so."""

from pdscaler.api.convert import to_sizing_spec
from pdscaler.api.parse import parse_pddeployment
from pdscaler.core.verify import verify
from pdscaler.core.workload import LengthStats, WorkloadStats
from support.stage import Stage, resource

AUTO = {"model": "Auto", "calibration": "Off"}
"""The scripted engines say the same latency under any load, as no engine of the profile does."""


def settled(rate_rps: float) -> tuple[int, int]:
    """What a simulation here settles; it also leaves the compiled kernels where the operator finds them."""
    spec = to_sizing_spec(parse_pddeployment(resource(sizing=AUTO)))
    result = verify(spec, WorkloadStats(rate_rps, LengthStats(1000.0), LengthStats(100.0)))
    assert result.verification is not None
    assert result.verification.verified
    return result.pools.prefill.replicas, result.pools.decode.replicas


def test_what_simulation_settles_is_ordered_and_said(stage: Stage) -> None:
    few, many = settled(30.0), settled(130.0)
    assert few < many
    stage.apply_targets()
    stage.engines.set_load(130.0)
    stage.start_operator()
    stage.apply(sizing=AUTO)
    stage.wait_replicas(*many)
    stage.engines.set_load(30.0)
    stage.wait_replicas(*few)

    stage.wait_status(
        "a decision that says verified",
        lambda seen: any("(verified)" in entry["decode"]["reason"] for entry in seen["decisions"]),
    )
    assert {request.code for request in stage.writes()} <= {200, 409}
