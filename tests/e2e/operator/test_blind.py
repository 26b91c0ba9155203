"""Unknown is not zero: whatever telemetry does, the replicas stay, and the condition names what is missing."""

from localplane.waiting import wait_for
from support.stage import Stage


def settled(stage: Stage, rate_rps: float = 70.0, **spec: object) -> None:
    """Bring the stage to 1P4D under load."""
    stage.apply_targets()
    stage.engines.set_load(rate_rps)
    stage.start_operator()
    stage.apply(**spec)
    stage.wait_replicas(1, 4)


def test_prometheus_killed_and_back(stage: Stage) -> None:
    settled(stage)
    stage.prometheus.kill()
    condition = stage.wait_condition("MetricsAvailable", "False", "PrometheusUnreachable")
    assert "hold" in condition["message"]
    stage.engines.set_load(130.0)
    stage.never("scaled while blind", lambda: stage.replicas() != (1, 4), seconds=8)
    stage.prometheus.start()
    stage.wait_condition("MetricsAvailable", "True", "MetricsFound")
    stage.wait_replicas(2, 7)


def test_empty_answers_hold_and_name_the_query(stage: Stage) -> None:
    stage.engines.silent = True
    stage.apply_targets(prefill=2, decode=3)
    stage.start_operator()
    stage.apply()
    condition = stage.wait_condition("MetricsAvailable", "False", "NoData")
    assert "llm_d_epp_request_total" in condition["message"] or "vllm:request_success" in condition["message"]
    assert '"tiny"' in condition["message"]
    stage.never("scaled on an empty answer", lambda: stage.replicas() != (2, 3), seconds=6)
    stage.engines.set_load(70.0)
    stage.engines.silent = False
    stage.wait_condition("MetricsAvailable", "True", "MetricsFound")
    stage.wait_replicas(1, 4)


def test_series_that_end_are_stale_and_hold(stage: Stage) -> None:
    # A minute of stabilisation, still far below the default: what the emptying window reads until the samples are
    # stale is no reason to shrink.
    settled(stage, behavior={"scaleDown": {"stabilizationWindowSeconds": 60}})
    stage.wait_full_window()
    stage.engines.silent = True
    stage.wait_condition("MetricsAvailable", "False", "StaleData")
    stage.never("scaled on old samples", lambda: stage.replicas() != (1, 4), seconds=6)
    stage.engines.silent = False
    stage.wait_condition("MetricsAvailable", "True", "MetricsFound")


def test_another_models_series_are_named(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    stage.start_operator()
    stage.apply(model="tiny-v2")

    def both_named() -> bool:
        condition = stage.condition("MetricsAvailable")
        message = condition.get("message", "")
        return condition.get("reason") == "NoData" and '"tiny-v2"' in message and '"tiny"' in message

    wait_for("both models in the condition", both_named)
    assert stage.replicas() == (1, 1)


def test_not_a_number_holds_and_names_the_query(stage: Stage) -> None:
    settled(stage)
    stage.engines.not_a_number = True
    condition = stage.wait_condition("MetricsAvailable", "False", "NonFinite")
    assert "isl (llm_d_epp_request_input_tokens" in condition["message"]
    stage.never("scaled on NaN", lambda: stage.replicas() != (1, 4), seconds=6)


def test_one_silent_role_freezes_both_pools(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    stage.start_operator()
    # No front door: arrivals come from the prefill pool, output lengths from the decode pool.
    stage.apply(metrics={"frontDoor": None})
    stage.wait_replicas(1, 4)
    status = stage.wait_status("the status of the order", lambda status: status.get("workload"))
    assert status["workload"]["arrivalSource"] == "PrefillCompletions"
    stage.engines.silent_roles = frozenset({"decode"})

    def blind() -> dict[str, str] | None:
        condition = stage.condition("MetricsAvailable")
        return condition if condition.get("status") == "False" else None

    # Series that have ended are stale as long as Prometheus finds their last sample, and missing afterwards.
    condition = wait_for("a condition that misses decode's metrics", blind)
    assert condition["reason"] in {"StaleData", "NoData"}
    assert "decode" in condition["message"] or "osl" in condition["message"]
    stage.engines.set_load(130.0)
    stage.never("scaled half blind", lambda: stage.replicas() != (1, 4), seconds=8)


def test_idle_is_a_measured_zero_and_scales_down(stage: Stage) -> None:
    settled(stage)
    stage.engines.set_load(0.0)
    stage.wait_replicas(1, 1)
    assert stage.condition("MetricsAvailable")["status"] == "True"
