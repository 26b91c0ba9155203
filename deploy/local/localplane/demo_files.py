"""The files of a demo run: the emulator's records, ``timeline.csv``, ``summary.json``. Imports the demo's types."""

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from localplane.demo_types import Observation, PhaseResult, Served, StepResult
from pdscaler.core.pools import Pool


def read_records(path: Path) -> list[Served]:
    """Read the emulator's records, in order of arrival."""
    with path.open(newline="", encoding="utf-8") as file:
        served = [
            Served(
                arrival_s=float(row["arrival_s"]),
                input_tokens=float(row["input_tokens"]),
                output_tokens=float(row["output_tokens"]),
                ttft_s=float(row["ttft_s"]),
                tpot_s=float(row["tpot_s"]) if row["tpot_s"] else None,
                e2e_s=float(row["e2e_s"]),
                met_ttft=row["met_ttft"] == "1",
                met_tpot=row["met_tpot"] == "1",
            )
            for row in csv.DictReader(file)
        ]
    return sorted(served, key=lambda request: request.arrival_s)


def summary(results: Sequence[PhaseResult], writes: int, seconds: float, *, ok: bool) -> dict[str, Any]:
    """Return the document of ``summary.json``."""
    phases = [
        {
            "name": result.plan.name,
            "arrival_rate_rps": round(result.plan.arrival_rate_rps, 3),
            "arrival_rate_end_rps": _rounded(result.plan.arrival_rate_end_rps, 3),
            "input_tokens": round(result.plan.input_tokens, 1),
            "output_tokens": round(result.plan.output_tokens, 1),
            "planned": asdict(result.plan.planned),
            "observed": asdict(result.observed),
            "attainment": None
            if result.attainment is None
            else {name: round(share, 4) for name, share in asdict(result.attainment).items()},
            "settled_s": _rounded(result.settled_s, 1),
            "steps": [_step_document(each) for each in result.steps],
        }
        for result in results
    ]
    return {"ok": ok, "phases": phases, "writes": writes, "seconds": round(seconds, 1)}


def _step_document(result: StepResult) -> dict[str, Any]:
    step = result.step
    return {
        "pool": step.pool.value,
        "replicas": step.replicas,
        "needed_s": round(step.needed_s, 1),
        "ordered_s": _rounded(result.ordered_s, 1),
        "ready_s": _rounded(result.ready_s, 1),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def write_timeline(path: Path, observations: Sequence[Observation]) -> None:
    """Write what was seen at each look."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        pools = [f"{pool.value}_{what}" for what in ("ordered", "ready", "recommended") for pool in Pool]
        rows.writerow(["time_s", *pools, "arrival_rate_rps", "forecast_rps", "ttft_s", "tpot_s"])
        for look in observations:
            counts = [values[pool] for values in (look.ordered, look.ready, look.recommended) for pool in Pool]
            rates = (look.arrival_rate_rps, look.forecast_rps)
            rows.writerow([f"{look.at_s:.1f}", *counts, *rates, look.ttft_s, look.tpot_s])
