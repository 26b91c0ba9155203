"""Unknown is not zero: whatever telemetry does, the replicas stay, and the condition names what is missing."""

from support.stage import Stage


def settled(stage: Stage, rate_rps: float = 70.0) -> None:
    """Bring the stage to 1P4D under load."""
    stage.apply_targets()
    stage.engines.set_load(rate_rps)
    stage.start_operator()
    stage.apply()
    stage.wait_replicas(1, 4)


def test_prometheus_killed_and_back(stage: Stage) -> None:
    settled(stage)
    stage.prometheus.kill()
    condition = stage.wait_condition("MetricsAvailable", "False", "PrometheusUnreachable")
    assert "hold" in condition["message"]
    stage.engines.set_load(130.0)
    stage.never("scaled while blind", lambda: stage.replicas() != (1, 4), seconds=8)
    stage.prometheus.start()
    stage.wait_condition("MetricsAvailable", "True", "Available")
    stage.wait_replicas(2, 7)


def test_empty_answers_hold_and_name_the_query(stage: Stage) -> None:
    settled(stage)
    stage.engines.silent = True
    condition = stage.wait_condition("MetricsAvailable", "False", "NoData", timeout_s=60)
    assert '"arrivals"' in condition["message"]
    assert "tiny" in condition["message"]
    stage.never("scaled on an empty answer", lambda: stage.replicas() != (1, 4), seconds=6)
    stage.engines.silent = False
    stage.wait_condition("MetricsAvailable", "True", "Available")


def test_another_models_series_are_named(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    stage.start_operator()
    stage.apply(model="tiny-v2")
    condition = stage.wait_condition("MetricsAvailable", "False", "NoData")
    assert "tiny-v2" in condition["message"]
    assert '"tiny"' in condition["message"]
    assert stage.replicas() == (1, 1)


def test_not_a_number_holds_and_names_the_query(stage: Stage) -> None:
    settled(stage)
    stage.engines.not_a_number = True
    condition = stage.wait_condition("MetricsAvailable", "False", "NonFinite")
    assert '"isl"' in condition["message"]
    stage.never("scaled on NaN", lambda: stage.replicas() != (1, 4), seconds=6)


def test_one_silent_role_freezes_both_pools(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    stage.start_operator()
    # No front door: arrivals come from the prefill pool, output lengths from the decode pool.
    stage.apply(metrics={"frontDoor": None})
    stage.wait_replicas(1, 4)
    assert stage.status()["workload"]["arrivalSource"] == "PrefillCompletions"
    stage.engines.silent_roles = frozenset({"decode"})
    condition = stage.wait_condition("MetricsAvailable", "False", "NoData", timeout_s=60)
    assert "decode" in condition["message"]
    stage.engines.set_load(130.0)
    stage.never("scaled half blind", lambda: stage.replicas() != (1, 4), seconds=8)


def test_idle_is_a_measured_zero_and_scales_down(stage: Stage) -> None:
    settled(stage)
    stage.engines.set_load(0.0)
    stage.wait_replicas(1, 1)
    assert stage.condition("MetricsAvailable")["status"] == "True"
