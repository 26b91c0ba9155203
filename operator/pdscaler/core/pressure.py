"""What is seen now and cannot wait for a forecast: queues, resident requests, targets missed. Imports core only.

Arrivals say what is coming, not what has piled up. Each pool's pile is turned into load beyond the arrivals, so that
the one sizing rule sees all of it. Laws: pressure never lowers a need; what a metric does not tell adds nothing; one
pool's pile never moves the other pool.
"""

import math
from dataclasses import dataclass

from pdscaler.core.pools import PerPool
from pdscaler.core.slo import LatencyTarget, Statistic
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import LengthStats, PoolLoad, Telemetry, WorkloadStats
from pdscaler.units import format_duration, format_number

DRAIN_S = 60.0
"""A prefill queue shall be gone after so long. Shorter asks for more replicas, which serve it only once started."""

MOST_PRESSURE = 4.0
"""With what has piled up, the load is at most so many times what arrives: a gauge may be wrong, and a pile passes."""

NOISE = 4.0
"""Standard deviations of a Poisson number that a gauge may lie above what is expected: a load that is constant shows
more than that once in five days."""

MISSED_BY = 0.05
"""A mean counts as missed where it is above its target by more than this share: the mean of a window's requests is
known no better, and a pool that is sized to the least count runs near its target."""

STEP_SHARE = 0.1
"""Where a target is missed although the model says that all is well: so much more than it says, at least 1 replica."""


@dataclass(frozen=True, slots=True)
class PoolPressure:
    """What one pool shows now.

    Parameters
    ----------
    factor
        On the load that its model sees, in [1, :data:`MOST_PRESSURE`].
    missed
        How its target is missed in what was measured, for people; empty where it is met or nothing is known.
    text
        What has piled up, for people; empty where the factor is 1.
    """

    factor: float = 1.0
    missed: str = ""
    text: str = ""


def pressure_of(spec: SizingSpec, telemetry: Telemetry, workload: WorkloadStats) -> PerPool[PoolPressure]:
    """Return what both pools show beyond the load that is sized for.

    Parameters
    ----------
    spec
        Targets and the KV memory of a replica.
    telemetry
        What was read.
    workload
        The load that is sized for: the forecast.

    Notes
    -----
    Prefill: requests that wait beyond rate × target (Little's law: so many wait where everyone waits as long as the
    target allows) are to be drained within :data:`DRAIN_S`, beside what arrives.

    Decode follows tokens, not requests: by Little's law, N resident requests that stay (OSL − 1)·TPOT are a load of
    N / ((OSL − 1)·TPOT), with the TPOT observed, but at most the target: where a step takes longer there are too few
    replicas, not less load. Answers that get longer are resident before any has finished, so they count here first.

    Of both only what chance does not explain counts (:data:`NOISE`).
    """
    ttft, tpot = spec.slo.ttft, spec.slo.tpot
    queue = _queue(telemetry, workload, ttft)
    resident = _resident(telemetry, workload, tpot)
    return PerPool(
        PoolPressure(queue[0], _missed("TTFT", telemetry.ttft_mean_s, telemetry.ttft_surely_s, ttft), queue[1]),
        PoolPressure(resident[0], _missed("TPOT", telemetry.tpot_mean_s, telemetry.tpot_surely_s, tpot), resident[1]),
    )


def step_up(recommended: int) -> int:
    """Return what to have where the target is missed and the model says that ``recommended`` suffice.

    Examples
    --------
    >>> step_up(1), step_up(10), step_up(11)
    (2, 11, 13)
    """
    return recommended + max(1, math.ceil(STEP_SHARE * recommended))


def _queue(telemetry: Telemetry, workload: WorkloadStats, target: LatencyTarget | None) -> tuple[float, str]:
    waiting, rate_rps = telemetry.prefill.waiting_requests, workload.arrival_rate_rps
    if not _positive(waiting) or target is None or not rate_rps > 0:
        return 1.0, ""
    assert waiting is not None
    too_many = waiting - _plausible(telemetry.workload.arrival_rate_rps * target.target_s)
    if too_many <= 0:
        return 1.0, ""
    factor = min(MOST_PRESSURE, 1.0 + too_many / DRAIN_S / rate_rps)
    return factor, f"{format_number(waiting)} requests wait, to be drained within {DRAIN_S:g} s"


def _resident(telemetry: Telemetry, workload: WorkloadStats, target: LatencyTarget | None) -> tuple[float, str]:
    requests, rate_rps = _requests(telemetry.decode), workload.arrival_rate_rps
    stay_s = _stay_s(workload.osl, telemetry.tpot_mean_s, target)
    if requests is None or stay_s is None or not rate_rps > 0:
        return 1.0, ""
    expected = rate_rps * stay_s
    too_many = requests - _plausible(expected)
    if too_many <= 0:
        return 1.0, ""
    load_rps = min(MOST_PRESSURE * rate_rps, (expected + too_many) / stay_s)
    text = f"{format_number(requests)} resident requests count as a load of {format_number(load_rps)} requests/s"
    return min(MOST_PRESSURE, max(1.0, load_rps / rate_rps)), text


def _plausible(expected: float) -> float:
    """Return what a Poisson number of this mean may come to."""
    return expected + NOISE * math.sqrt(expected)


def _requests(load: PoolLoad) -> float | None:
    counts = [count for count in (load.running_requests, load.waiting_requests) if _positive(count) and count]
    return math.fsum(counts) if counts else None


def _stay_s(osl: LengthStats | None, observed_s: float | None, target: LatencyTarget | None) -> float | None:
    """Return how long a request is resident where TPOT is what is seen, at most the target; None where unknown."""
    known = [target.target_s] if target is not None else []
    if observed_s is not None and _positive(observed_s):
        known.append(observed_s)
    if osl is None or osl.mean_tokens <= 1 or not known:
        return None
    return (osl.mean_tokens - 1.0) * min(known)


def _missed(name: str, mean_s: float | None, surely_s: float | None, target: LatencyTarget | None) -> str:
    """Say how a target is missed: a percentile beyond chance, or the mean; P50 says nothing of a mean."""
    if target is None:
        return ""
    aimed = f"target {format_duration(target.target_s)}"
    if surely_s is not None and surely_s >= target.target_s:
        return f"observed {target.statistic} {name} is above {format_duration(surely_s)}, {aimed}"
    most_s = (1 + MISSED_BY) * target.target_s
    if mean_s is not None and target.statistic is not Statistic.P50 and most_s < mean_s < math.inf:
        return f"observed mean {name} is {format_duration(mean_s)}, {aimed}"
    return ""


def _positive(value: float | None) -> bool:
    return value is not None and 0 < value < math.inf
