"""A lower bound of the GPU-hours of any policy that reaches an attainment (docs/oracle.md). May import numpy and core.

Two relaxations, each proved where it is computed: what a request costs at least (:mod:`pdscaler.simulator.bound_work`),
and what replicas cost that do such work in time (:mod:`pdscaler.simulator.bound_holding`). The pools are bounded apart:
each may miss all the requests that the attainment lets it miss, so the sum of both is a bound of both together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import PerPool
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.simulation.run import checked, deployment_of
from pdscaler.core.spec import SizingSpec
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.bound_holding import Holding, Items, least_replica_s
from pdscaler.simulator.bound_work import alone_s, decode_work_s, least_step_s, prefill_work_s

Bools = NDArray[np.bool_]

HOUR_S = 3600.0

ATTAINMENT = 0.99
"""Share of the requests that must meet both targets."""

MOST_WINDOWS = 1000
"""Windows of one linear programme; it takes half a second then."""

_ROUNDING = 1e-9
"""Relative slack of the targets, in favour of the policies: for the rounding of times."""

_PREFILL_WINDOWS = (5.0, 20.0)
"""Lengths tried, in TTFT targets: short ones see bursts, in long ones less work crosses a boundary."""

_DECODE_WINDOWS = (0.5, 1.0)
"""Lengths tried, in stays of the longest request that is counted."""

_COUNTED = (0.9, 1.0)
"""Decode counts requests up to these quantiles of the longest stays: the shorter the drain, the dearer is a rise. Where
all stays are short beside a start-up, only the last one is tried."""


@dataclass(frozen=True, slots=True)
class Bound:
    """No run costs less that reaches the attainment.

    Parameters
    ----------
    gpu_hours
        Of the orders of both pools, from the begin of the measurement to the last arrival.
    pools
        The share of each pool.
    misses
        Requests that may miss a target.
    hopeless
        Requests that miss a target whatever the replicas. Where they alone are more than the attainment lets
        miss, the attainment is asked of the others.
    """

    gpu_hours: float
    pools: PerPool[float]
    misses: int
    hopeless: int


def bound(spec: SizingSpec, requests: RequestTable, *, measured_from_s: float, attainment: float = ATTAINMENT) -> Bound:
    """Return a lower bound of the GPU-hours of all runs that reach an attainment.

    Parameters
    ----------
    spec
        Targets, profiles, least replicas, GPUs of a replica, start-up times.
    requests
        What arrives.
    measured_from_s
        Requests that arrive from here on count, and GPU-hours between here and the last arrival.
    attainment
        Share of these requests that meet both targets, in (0, 1].

    Raises
    ------
    InvalidInputError
        If the requests or the attainment make no sense.

    Notes
    -----
    It holds for every run of DESIGN section 6 whose scale-ups serve a start-up after their order, whatever it knows and
    decides, from whatever count at the begin. Without a target nothing must be done by any time, so that pool's bound
    is its least count. A start-up of 0 leaves no more either: orders alone are counted, and what drains costs nothing.
    """
    checked(requests)
    if not 0 < attainment <= 1:
        raise InvalidInputError("attainment", f"must be a share above 0 and at most 1, found {attainment}")
    deployment, slo = deployment_of(spec), spec.slo
    end_s = float(requests.arrival_s[-1])
    spans = spec.limits.map(lambda limit: max(0.0, end_s - measured_from_s) * limit.min_replicas)
    counted = requests.arrival_s >= measured_from_s
    total = int(counted.sum())
    replica_s, misses, hopeless = spans, 0, 0
    if total and slo.ttft is not None:
        ttft_s = slo.ttft.target_s * (1 + _ROUNDING)
        least_s = alone_s(deployment, requests)
        served = counted & (least_s <= ttft_s)
        if slo.tpot is not None and slo.tpot.target_s * (1 + _ROUNDING) < least_step_s(deployment):
            served &= requests.output_tokens == 1
        hopeless = total - int(served.sum())
        allowed = int(np.floor((1 - attainment) * total + 1e-9))
        misses = allowed - hopeless
        if misses < 0:
            misses = int(np.floor((1 - attainment) * (total - hopeless) + 1e-9))
        span_s = (measured_from_s, end_s)
        if served.any():
            prefill = _prefill(spec, requests, served, span_s, misses)
            decode = spans.decode if slo.tpot is None else _decode(spec, requests, served, span_s, misses)
            replica_s = PerPool(max(prefill, spans.prefill), max(decode, spans.decode))
    hours = PerPool(*(seconds * spec.limits[pool].gpus_per_replica / HOUR_S for pool, seconds in replica_s.items()))
    return Bound(hours.prefill + hours.decode, hours, misses, hopeless)


def _prefill(
    spec: SizingSpec, requests: RequestTable, served: Bools, span_s: tuple[float, float], misses: int
) -> float:
    """Return the prefill pool's replica seconds: a pass that serves a request in time ends within its target."""
    assert spec.slo.ttft is not None
    limits, ttft_s = spec.limits.prefill, spec.slo.ttft.target_s * (1 + _ROUNDING)
    work_s = prefill_work_s(deployment_of(spec), requests, ttft_s)
    items = Items(requests.arrival_s, requests.arrival_s + ttft_s, work_s).of(served)
    holding = Holding(*span_s, limits.min_replicas, limits.startup_s, ttft_s)
    return _best(items, holding, misses, [ttft_s * each for each in _PREFILL_WINDOWS])


def _decode(spec: SizingSpec, requests: RequestTable, served: Bools, span_s: tuple[float, float], misses: int) -> float:
    """Return the decode pool's replica seconds: a request that meets TPOT stays no longer than its tokens allow."""
    assert spec.slo.ttft is not None
    assert spec.slo.tpot is not None
    limits, deployment = spec.limits.decode, deployment_of(spec)
    ttft_s, tpot_s = spec.slo.ttft.target_s * (1 + _ROUNDING), spec.slo.tpot.target_s * (1 + _ROUNDING)
    work_s = decode_work_s(deployment, requests, tpot_s)
    stay_s = (requests.output_tokens - 1) * tpot_s
    release_s = requests.arrival_s + alone_s(deployment, requests)
    items = Items(release_s, requests.arrival_s + ttft_s + stay_s, work_s).of(served)
    stay_s = stay_s[served]
    best = 0.0
    counted = _COUNTED if stay_s.max() > limits.startup_s / 4 else _COUNTED[-1:]
    for drain_s in sorted({float(np.quantile(stay_s, quantile)) for quantile in counted}):
        if drain_s <= 0:
            continue
        holding = Holding(*span_s, limits.min_replicas, limits.startup_s, drain_s)
        part = items.of(stay_s <= drain_s)
        lengths_s = [(drain_s + ttft_s) * each for each in _DECODE_WINDOWS]
        best = max(best, _best(part, holding, misses, lengths_s))
    return best


def _best(items: Items, holding: Holding, misses: int, lengths_s: list[float]) -> float:
    """Return the greatest of the bounds by windows of some lengths, none so short that there are too many."""
    shortest_s = max((holding.end_s - holding.begin_s) / MOST_WINDOWS, 1e-6)
    return max(
        least_replica_s(items, holding, misses, window_s)
        for window_s in sorted({max(each, shortest_s) for each in lengths_s})
    )
