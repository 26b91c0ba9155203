"""A lower bound of the GPU-hours of any policy that reaches an attainment (docs/oracle.md). May import numpy and core.

Two relaxations, each proved where it is computed: what a request costs at least (:mod:`pdscaler.simulator.bound_work`),
and what replicas cost that do such work in time (:mod:`pdscaler.simulator.bound_holding`). The pools are bounded apart:
each may miss all the requests that the attainment lets it miss, so their sum is a bound of both together.
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
from pdscaler.simulator.bound_work import alone_s, decode_work_s, prefill_work_s

Reals = NDArray[np.float64]

HOUR_S = 3600.0

ATTAINMENT = 0.99
"""Share of the requests that must meet both targets."""

MOST_WINDOWS = 1500
"""Windows of one linear programme; it takes about a second then."""

_PREFILL_WINDOWS = (5.0, 15.0, 50.0)
"""Lengths tried, in TTFT targets: short ones see bursts, in long ones less work crosses a boundary."""

_DECODE_WINDOWS = (0.5, 1.0, 3.0)
"""Lengths tried, in stays of the longest request that is counted."""

_COUNTED = (0.9, 1.0)
"""Decode counts requests up to this quantile of the longest stays: the shorter the drain, the dearer is a rise."""


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
        Requests that miss the TTFT target whatever the replicas. Where they alone are more than the attainment lets
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
        requests = _part(requests, counted)
        ttft_s = slo.ttft.target_s * (1 + 1e-9)
        least_s = alone_s(deployment, requests)
        served = least_s <= ttft_s
        hopeless = int((~served).sum())
        allowed = int(np.floor((1 - attainment) * total + 1e-9))
        misses = allowed - hopeless
        if misses < 0:
            misses = int(np.floor((1 - attainment) * (total - hopeless) + 1e-9))
        requests, least_s = _part(requests, served), least_s[served]
        span_s = (measured_from_s, end_s)
        if len(requests):
            prefill = _prefill(spec, requests, ttft_s, span_s, misses)
            decode = spans.decode if slo.tpot is None else _decode(spec, requests, least_s, span_s, misses)
            replica_s = PerPool(max(prefill, spans.prefill), max(decode, spans.decode))
    hours = PerPool(*(seconds * spec.limits[pool].gpus_per_replica / HOUR_S for pool, seconds in replica_s.items()))
    return Bound(hours.prefill + hours.decode, hours, misses, hopeless)


def _prefill(
    spec: SizingSpec, requests: RequestTable, ttft_s: float, span_s: tuple[float, float], misses: int
) -> float:
    """Return the prefill pool's replica seconds: a pass that serves a request in time ends within its target."""
    limits = spec.limits.prefill
    work_s = prefill_work_s(deployment_of(spec), requests, ttft_s)
    items = Items(requests.arrival_s, requests.arrival_s + ttft_s, work_s)
    holding = Holding(*span_s, limits.min_replicas, limits.startup_s, ttft_s)
    return max(
        least_replica_s(items, holding, misses, window_s)
        for window_s in _lengths([ttft_s * each for each in _PREFILL_WINDOWS], span_s)
    )


def _decode(
    spec: SizingSpec, requests: RequestTable, least_s: Reals, span_s: tuple[float, float], misses: int
) -> float:
    """Return the decode pool's replica seconds: a request that meets TPOT stays no longer than its tokens allow."""
    assert spec.slo.ttft is not None
    assert spec.slo.tpot is not None
    limits, ttft_s, tpot_s = spec.limits.decode, spec.slo.ttft.target_s, spec.slo.tpot.target_s * (1 + 1e-9)
    work_s = decode_work_s(deployment_of(spec), requests, tpot_s)
    stay_s = (requests.output_tokens - 1) * tpot_s
    items = Items(requests.arrival_s + least_s, requests.arrival_s + ttft_s * (1 + 1e-9) + stay_s, work_s)
    best = 0.0
    for quantile in _COUNTED:
        drain_s = float(np.quantile(stay_s, quantile))
        if drain_s <= 0:
            continue
        holding = Holding(*span_s, limits.min_replicas, limits.startup_s, drain_s)
        lengths_s = _lengths([(drain_s + ttft_s) * each for each in _DECODE_WINDOWS], span_s)
        part = items.of(stay_s <= drain_s)
        best = max(best, *(least_replica_s(part, holding, misses, window_s) for window_s in lengths_s))
    return best


def _lengths(wanted_s: list[float], span_s: tuple[float, float]) -> list[float]:
    """Return the lengths to try: none so short that there are too many windows, and each once."""
    shortest_s = max((span_s[1] - span_s[0]) / MOST_WINDOWS, 1e-6)
    return sorted({max(each, shortest_s) for each in wanted_s})


def _part(requests: RequestTable, which: NDArray[np.bool_]) -> RequestTable:
    return RequestTable(
        requests.arrival_s[which],
        requests.input_tokens[which],
        requests.output_tokens[which],
        requests.prefix_hit_tokens[which],
    )
