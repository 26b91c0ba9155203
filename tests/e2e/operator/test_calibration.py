"""Calibration of a live operator: an engine slower than its profile is found, said, and known after a restart."""

import json
from typing import Any

from localplane.waiting import wait_for
from support.stage import NAME, Stage

RATE_RPS = 40.0
REPLICAS = 4


def decode_of(stage: Stage) -> dict[str, Any]:
    """Return what status says of the decode engines."""
    found: dict[str, Any] = stage.status().get("calibration", {}).get("decode", {})
    return found


def test_a_slower_engine_is_found_said_and_remembered(stage: Stage) -> None:
    stage.apply_targets(prefill=2, decode=REPLICAS)
    # By the profile a step takes 6.5 ms at this load, and a first token 10.3 ms; these engines decode slower.
    stage.engines.tpot_s, stage.engines.ttft_s = 0.0090, 0.0103
    stage.engines.set_load(RATE_RPS)
    stage.wait_full_window()
    stage.start_operator()
    least = {"minReplicas": REPLICAS, "maxReplicas": REPLICAS}
    stage.apply(sizing={"model": "Auto"}, prefill={"minReplicas": 2, "maxReplicas": 2}, decode=least)
    said = wait_for("a corrected derate", lambda: found if (found := decode_of(stage)).get("lastFit") else None)
    assert 0.5 <= said["derate"] < 0.95
    assert said["offProfile"]
    assert said["drift"] > 0.2
    assert said["meanError"] < said["priorError"]
    warned = wait_for("the warning", lambda: events(stage))
    assert warned[0]["type"] == "Warning"
    assert warned[0]["message"].startswith("decode: mean TPOT is ")

    stage.stop_operators()
    before = decode_of(stage)
    stage.start_operator()
    stage.never("the restart forgot what was learnt", lambda: decode_of(stage).get("derate", 1.0) >= 0.95, seconds=8)
    assert decode_of(stage)["lastFit"] >= before["lastFit"]
    assert len(events(stage)) == 1, "it is no news to the new process"
    log = stage.operators[-1].log.read_text(encoding="utf-8")
    assert "Traceback" not in log


def events(stage: Stage) -> list[dict[str, Any]]:
    """Return the events that tell of drift."""
    listed = json.loads(stage.plane.kubectl("get", "events", "-n", stage.namespace, "-o", "json").stdout)["items"]
    return [item for item in listed if item["reason"] == "ProfileDrift" and item["involvedObject"]["name"] == NAME]
