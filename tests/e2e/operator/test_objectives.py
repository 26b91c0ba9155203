"""The whole path: emulated engines under load miss their objectives until the operator has scaled both pools."""

import csv
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from localplane.prom import Prometheus
from localplane.waiting import wait_for
from support.emulator import EmulatorProcess
from support.plane import wait_ready
from support.stage import DECODE, PREFILL, Stage, resource

TTFT_S, TPOT_S = 0.050, 0.010
LOAD = {
    "name": "load",
    "duration": "120s",
    # 0.85 prefill and 3.4 decode replicas of the stage's resource.
    "arrivalRate": 68,
    "inputTokens": {"mean": 1000, "scv": 0},
    "outputTokens": {"mean": 100, "scv": 0.2},
}


def means(records: Path, since: float) -> tuple[float, float, int]:
    """Return the mean TTFT and TPOT of the requests that arrived since a time, and their number."""
    with records.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if float(row["arrival_unix_s"]) >= since and row["tpot_s"]]
    return fmean(float(row["ttft_s"]) for row in rows), fmean(float(row["tpot_s"]) for row in rows), len(rows)


def test_applied_scaled_and_objectives_met(stage: Stage, prometheus: Callable[..., Prometheus], tmp_path: Path) -> None:
    plane, namespace = stage.plane, stage.namespace
    # Long enough that the noise of the arrivals changes no count.
    metrics = {"window": "20s"}
    document = resource(metrics=metrics)
    document["metadata"]["namespace"] = namespace
    with EmulatorProcess(tmp_path, document, [LOAD], "--kubeconfig", str(plane.kubeconfig)) as emulator:
        stage.prometheus = prometheus(sd_urls=[emulator.url + "/sd"])
        stage.apply_targets()
        # One decode replica has 68 × 100 tokens/s to serve and yields 2000 within the objective.
        wait_for("missed objectives", lambda: attainment(emulator) < 0.1, every_s=0.5)
        stage.start_operator()
        stage.apply(metrics=metrics)
        stage.wait_replicas(1, 4)
        wait_ready(plane, namespace, PREFILL, 1)
        wait_ready(plane, namespace, DECODE, 4)
        wait_for("the backlog to be worked off", lambda: caught_up(emulator), every_s=0.5)
        settled = time.time()
        time.sleep(10)
        assert stage.replicas() == (1, 4)
    ttft_s, tpot_s, requests = means(emulator.records, settled)
    assert requests > 300
    assert ttft_s <= TTFT_S
    assert tpot_s <= TPOT_S


def attainment(emulator: EmulatorProcess) -> float:
    """Return the share of the last seconds' requests that met both objectives; 1 while none has finished."""
    shares = emulator.stats()["recent"]["attainment"]
    return 1.0 if shares is None else float(shares["joint"])


def caught_up(emulator: EmulatorProcess) -> bool:
    """Whether hardly anyone waits any more."""
    stats = emulator.stats()
    return bool(sum(stats["waiting"].values()) < 5 and stats["in_flight"] < 150)
