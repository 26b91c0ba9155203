"""The forecast of a live operator: from Prometheus's history, and the same after a restart."""

from typing import Any

from localplane.waiting import wait_for
from support.stage import Stage


def forecast_of(stage: Stage) -> dict[str, Any] | None:
    """Return the forecast of the status once nothing is missing for it."""
    found: dict[str, Any] = stage.status().get("forecast", {})
    return found if "rate" in found and "waiting" not in found and "fallback" not in found else None


def steady_replicas(stage: Stage) -> tuple[int, int]:
    """Return the replicas once they have stayed the same for some seconds."""
    seen = [stage.replicas()]

    def same() -> bool:
        seen.append(stage.replicas())
        return seen[-1] == seen[-2]

    wait_for("replicas that stay", same, every_s=6.0)
    return seen[-1]


def test_a_restart_reads_the_history_back_and_changes_nothing(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    stage.wait_full_window()
    stage.start_operator()
    stage.apply(forecast={"method": "Auto"})
    said = wait_for("a forecast", lambda: forecast_of(stage))
    assert said["rate"] > 65.0
    assert 0.5 <= said["quantile"] < 1
    assert said["horizon"] == "2s"
    assert "% of the peaks of the next 2 s by" in said["reason"]
    wait_for("replicas for the load", lambda: stage.replicas()[1] >= 4)
    settled = steady_replicas(stage)

    stage.stop_operators()
    stage.start_operator()
    stage.never("the restart changed replicas", lambda: stage.replicas() != settled, seconds=8)
    wait_for("the forecast of the new process", lambda: forecast_of(stage))
    assert stage.replicas() == settled
    log = stage.operators[-1].log.read_text(encoding="utf-8")
    assert "could not be read" not in log
    assert "Traceback" not in log
