"""How long telemetry has answered or failed, and when the fallback holds. Imports core only."""

import math
from dataclasses import dataclass, replace

from pdscaler.core.decision import PlanState
from pdscaler.core.spec import Fallback
from pdscaler.core.workload import LengthStats, NoData, NoDataReason, Telemetry, WorkloadStats


@dataclass(frozen=True, slots=True)
class Reading:
    """What the evaluation may rely on: a workload, or why there is none."""

    workload: WorkloadStats | None
    missing: NoData | None


def read(telemetry: Telemetry | NoData, state: PlanState) -> Reading:
    """Return the workload that was read, or why nothing can be said.

    Where nothing arrives there are no lengths to measure: the last known ones are carried forward. Where something
    arrives, a length that is missing or not a positive number is no data.
    """
    if isinstance(telemetry, NoData):
        return Reading(None, telemetry)
    workload = telemetry.workload
    rate = workload.arrival_rate_rps
    if not math.isfinite(rate) or rate < 0:
        return Reading(None, NoData(NoDataReason.NON_FINITE, f"the arrival rate is {rate}"))
    lengths = {"input": workload.isl, "output": workload.osl}
    if rate == 0:
        last = state.last_workload
        isl, osl = (length if _usable(length) else None for length in lengths.values())
        if isl is None or osl is None:
            isl = isl or (last.isl if last else None)
            osl = osl or (last.osl if last else None)
        return Reading(replace(workload, isl=isl, osl=osl), None)
    for name, length in lengths.items():
        if length is None:
            message = f"requests arrive at {rate:.3g}/s, but no {name} length has been measured"
            return Reading(None, NoData(NoDataReason.NO_DATA, message))
        if not _usable(length):
            return Reading(
                None, NoData(NoDataReason.NON_FINITE, f"the mean {name} length is {length.mean_tokens} tokens")
            )
    return Reading(workload, None)


def _usable(length: LengthStats | None) -> bool:
    return length is not None and math.isfinite(length.mean_tokens) and length.mean_tokens > 0


def after_data(state: PlanState, workload: WorkloadStats, window_s: float, now_s: float) -> PlanState:
    """Return the state after a reading: the fallback ends only once a full window has been fresh."""
    healthy_since_s = now_s if state.healthy_since_s is None else min(state.healthy_since_s, now_s)
    known = workload.isl is not None and workload.osl is not None
    return replace(
        state,
        telemetry_failures=0,
        healthy_since_s=healthy_since_s,
        fallback_active=state.fallback_active and now_s < healthy_since_s + window_s,
        last_workload=workload if known else state.last_workload,
    )


def after_failure(state: PlanState, fallback: Fallback) -> PlanState:
    """Return the state after an evaluation without data."""
    failures = state.telemetry_failures + 1
    active = state.fallback_active or failures >= fallback.failure_threshold
    return replace(state, telemetry_failures=failures, healthy_since_s=None, fallback_active=active)
