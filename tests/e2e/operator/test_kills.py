"""kill -9 at every step of an evaluation, under load: `make soak-kills` does it 200 times."""

import json
from pathlib import Path

import pytest

from support.kills import STEPS, Massacre, kills_spec, report
from support.stage import NAME, Stage

SERIES = 25
"""Kills after which the load rests until the counts are right."""


def test_a_kill_at_any_step_neither_loses_nor_doubles_nor_bursts(stage: Stage, request: pytest.FixtureRequest) -> None:
    kills, seed = request.config.getoption("--kills"), request.config.getoption("--soak-seed")
    stage.apply_targets()
    stage.apply(**kills_spec())
    outcome = Massacre(stage, seed).run(kills, SERIES)
    print(f"\n{report(outcome)}")
    folder: Path | None = request.config.getoption("--soak-report")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        found = {
            "kills": dict(outcome.kills),
            "orders": len(outcome.orders),
            "loads": len(outcome.phases),
            "brokenRules": outcome.broken,
            "settled_s": outcome.settled_s,
            "seconds": outcome.seconds,
            "seed": seed,
        }
        (folder / "kills.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    assert outcome.broken == []
    assert sum(outcome.kills.values()) == kills
    assert kills < len(STEPS) or set(outcome.kills) == {step.name for step in STEPS}
    assert len(outcome.orders) > 0

    # Nothing is said twice of one order, nothing was refused, and nothing is left behind.
    events = stage.plane.get("events", "-n", stage.namespace)["items"]
    told = sum(event["count"] for event in events if event["reason"] in {"ScaledUp", "ScaledDown"})
    assert told <= len(outcome.orders)
    assert [asked for asked in stage.requests() if asked.code in {401, 403}] == []
    metadata = stage.get()["metadata"]
    assert "finalizers" not in metadata
    assert set(metadata.get("annotations", {})) <= {"kubectl.kubernetes.io/last-applied-configuration"}
    stage.plane.kubectl("delete", "pdd", NAME, "-n", stage.namespace, "--timeout=60s")
    left = stage.plane.kubectl("get", "all,configmaps,leases,secrets", "-n", stage.namespace, "-o", "name").stdout
    assert "pdscaler" not in left
    assert "kopf" not in left
