"""The clairvoyant schedule: what policies are measured against (docs/oracle.md). May import numpy, core, errors.

It knows every request. Of each window of 5 to 15 minutes it finds the least xPyD that gives the requests which arrive
in it the attainment, with all that other windows leave behind; what a window needs is ordered one start-up ahead and
given up at its end. Nothing proves that no schedule is cheaper: it is an upper bound of the least.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.simulation.changes import Order
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.simulation.run import (
    checked,
    deployment_of,
    simulate,
    simulate_decode,
    simulate_prefill,
    tpot_s,
)
from pdscaler.core.spec import SizingSpec
from pdscaler.errors import InvalidInputError
from pdscaler.simulator.bound import ATTAINMENT
from pdscaler.simulator.bound_work import alone_s, decode_work_s, prefill_work_s
from pdscaler.simulator.ledger import OrderMade, ordered_gpu_hours
from pdscaler.simulator.oracle_pool import Late, PoolTrials
from pdscaler.simulator.oracle_search import settle
from pdscaler.simulator.oracle_windows import Integers, Windows, merged, steps_of, windows_of
from pdscaler.simulator.result import Attained, attained

Bools = NDArray[np.bool_]
Reals = NDArray[np.float64]

WINDOWS_S = (300.0, 600.0, 900.0)
"""Lengths of the windows that are tried."""

_LEAST_MARGIN_S = 10.0
_BUSY = PerPool(0.75, 0.8)
"""Where the search begins: this share of the replicas' time in work that cannot be done in less."""


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Replicas over time that serve all requests as asked.

    Parameters
    ----------
    window_s
        Length of the windows.
    orders
        What is ordered; the first one is what the run begins with.
    gpu_hours
        Of the orders, from the begin of the measurement to the last arrival.
    attainment
        Shares of the measured requests within their targets, in the event simulation of the whole schedule.
    reached
        Whether the attainment is what was asked for, as far as it can be reached at all.
    simulated
        Requests simulated in the search, in both pools.
    """

    window_s: float
    orders: tuple[Order, ...]
    gpu_hours: float
    attainment: Attained
    reached: bool
    simulated: int

    @property
    def initial(self) -> PerPool[int]:
        """What the run begins with."""
        return self.orders[0].replicas


def clairvoyant(
    spec: SizingSpec,
    requests: RequestTable,
    *,
    measured_from_s: float,
    attainment: float = ATTAINMENT,
    windows_s: Sequence[float] = WINDOWS_S,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Schedule:
    """Return the cheapest clairvoyant schedule over several lengths of the windows.

    Parameters
    ----------
    spec
        Targets, profiles, routing, bounds, start-up times. Budget and ratio of the pools are not applied.
    requests
        What arrives.
    measured_from_s
        Requests that arrive from here on count, and GPU-hours between here and the last arrival.
    attainment
        Share of each window's requests that meet both targets, in (0, 1].
    windows_s
        Lengths to try, seconds, > 0.
    seed
        Of random routing.
    progress
        Told the share of the search that is done, now and then.

    Raises
    ------
    InvalidInputError
        If the requests, the attainment or the windows make no sense.
    """
    return min(
        schedules(
            spec,
            requests,
            measured_from_s=measured_from_s,
            attainment=attainment,
            windows_s=windows_s,
            seed=seed,
            progress=progress,
        ),
        key=lambda schedule: (not schedule.reached, schedule.gpu_hours),
    )


def schedules(
    spec: SizingSpec,
    requests: RequestTable,
    *,
    measured_from_s: float,
    attainment: float = ATTAINMENT,
    windows_s: Sequence[float] = WINDOWS_S,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> tuple[Schedule, ...]:
    """Return the clairvoyant schedule of each length of the windows; see :func:`clairvoyant`."""
    checked(requests)
    if not 0 < attainment <= 1:
        raise InvalidInputError("attainment", f"must be a share above 0 and at most 1, found {attainment}")
    if not windows_s or not all(0 < each < np.inf for each in windows_s):
        raise InvalidInputError("windows", f"must be lengths above 0, found {tuple(windows_s)}")
    if requests.arrival_s[-1] < measured_from_s:
        raise InvalidInputError("--measure-from", "leaves nothing to measure: the last request arrives before it")
    search = _Search(spec, requests, measured_from_s, attainment, seed)
    found = []
    for window_s in windows_s:
        found.append(search.schedule(window_s))
        if progress is not None:
            progress(len(found) / len(windows_s))
    return tuple(found)


class _Search:
    """The search, and what it keeps from one length of the windows to the next."""

    def __init__(
        self, spec: SizingSpec, requests: RequestTable, measured_from_s: float, attainment: float, seed: int
    ) -> None:
        self._spec = spec
        self._requests = requests
        self._measured_from_s = measured_from_s
        self._attainment = attainment
        self._seed = seed
        self._deployment = deployment_of(spec)
        slo = spec.slo
        self._ttft_s = np.inf if slo.ttft is None else slo.ttft.target_s
        self._tpot_s = np.inf if slo.tpot is None else slo.tpot.target_s
        self._work = PerPool(
            np.zeros(len(requests)) if slo.ttft is None else prefill_work_s(self._deployment, requests, self._ttft_s),
            np.zeros(len(requests)) if slo.tpot is None else decode_work_s(self._deployment, requests, self._tpot_s),
        )
        self._hopeless = self._alone()
        self._found: list[tuple[Windows, PerPool[Integers]]] = []

    def _alone(self) -> Bools:
        """Return who misses a target with replicas without number."""
        requests = self._requests
        late = alone_s(self._deployment, requests) > self._ttft_s + 1e-9
        if self._tpot_s < np.inf:
            from pdscaler.core.verify_source import decode_alone

            late |= decode_alone(self._deployment, requests) > self._tpot_s + 1e-9
        return np.asarray(late)

    def schedule(self, window_s: float) -> Schedule:
        """Return the schedule for one length of the windows."""
        requests, spec = self._requests, self._spec
        windows = windows_of(requests.arrival_s, self._measured_from_s, window_s)
        first = self._trials(windows, Pool.PREFILL, self._late_prefill)
        prefill = self._settled(windows, first, self._hopeless)
        steps = steps_of(prefill, windows, spec.limits.prefill.startup_s)
        first_token_s = simulate_prefill(
            self._deployment,
            requests,
            steps[0][1],
            seed=self._seed,
            orders=[Order(at_s, PerPool(count, count)) for at_s, count in steps[1:]],
            startup_s=spec.limits.prefill.startup_s,
        )
        late = self._hopeless | (first_token_s - requests.arrival_s > self._ttft_s)

        def late_decode(part: slice, replicas: int, orders: Sequence[Order]) -> Bools:
            few, begin_s = _cut(requests, part), first_token_s[part]
            finished_s = simulate_decode(self._deployment, few, begin_s, replicas, orders=orders, startup_s=0.0)
            slow = tpot_s(few, begin_s, finished_s) > self._tpot_s
            return np.asarray(slow | late[part])

        second = self._trials(windows, Pool.DECODE, late_decode)
        decode = self._settled(windows, second, late)
        self._found.append((windows, PerPool(prefill, decode)))
        simulated = first.simulated + second.simulated
        return self._judged(windows, window_s, PerPool(prefill, decode), simulated)

    def _late_prefill(self, part: slice, replicas: int, orders: Sequence[Order]) -> Bools:
        few = _cut(self._requests, part)
        first_s = simulate_prefill(self._deployment, few, replicas, seed=self._seed, orders=orders, startup_s=0.0)
        return np.asarray((first_s - few.arrival_s > self._ttft_s) | self._hopeless[part])

    def _trials(self, windows: Windows, pool: Pool, late: Late) -> PoolTrials:
        margin_s = _LEAST_MARGIN_S
        if pool is Pool.DECODE:
            stays_s = np.quantile(self._requests.output_tokens, 0.999) * min(self._tpot_s, 1.0)
            margin_s += 2 * float(stays_s)
        return PoolTrials(pool, windows, late, self._spec.limits[pool].startup_s, margin_s, self._requests.arrival_s)

    def _settled(self, windows: Windows, trials: PoolTrials, hopeless: Bools) -> Integers:
        """Return the least counts of one pool."""
        limits = self._spec.limits[trials.pool]
        allowed = windows.allowance(self._attainment, windows.count(hopeless))
        bounds = (limits.min_replicas, limits.max_replicas)
        return settle(self._start(windows, trials.pool), bounds, allowed, trials.misses)

    def _start(self, windows: Windows, pool: Pool) -> Integers:
        """Return where to begin: what shorter windows needed at most, or what the work says."""
        if self._found:
            known, needs = self._found[0]
            begins = np.searchsorted(known.edges_s, windows.edges_s[:-1], side="right") - 1
            ends = np.searchsorted(known.edges_s[:-1], windows.edges_s[1:], side="left")
            spans = zip(begins.tolist(), ends.tolist(), strict=True)
            return np.array([needs[pool][begin : max(end, begin + 1)].max() for begin, end in spans], np.int64)
        work = np.concatenate(([0.0], np.cumsum(self._work[pool])))
        busy = np.diff(work[windows.first]) / np.diff(windows.edges_s)
        return np.ceil(busy / _BUSY[pool]).astype(np.int64) + 1

    def _judged(self, windows: Windows, window_s: float, needs: PerPool[Integers], simulated: int) -> Schedule:
        """Simulate the whole schedule."""
        spec, requests = self._spec, self._requests
        steps = PerPool(*(steps_of(needs[pool], windows, limits.startup_s) for pool, limits in spec.limits.items()))
        orders = merged(steps)
        startup_s = spec.limits.map(lambda limits: limits.startup_s)
        records = simulate(
            self._deployment, requests, orders[0].replicas, seed=self._seed, orders=orders[1:], startup_s=startup_s
        )
        measured = slice(int(np.searchsorted(requests.arrival_s, self._measured_from_s)), None)
        reached = attained(records, spec.slo, measured)
        hopeless = float(self._hopeless[measured].mean())
        wanted = self._attainment if hopeless <= 1 - self._attainment else self._attainment * (1 - hopeless)
        return Schedule(
            window_s=window_s,
            orders=orders,
            gpu_hours=ordered_gpu_hours(
                [OrderMade(order.at_s, order.replicas) for order in orders],
                spec.limits.map(lambda limits: limits.gpus_per_replica),
                self._measured_from_s,
                float(requests.arrival_s[-1]),
            ),
            attainment=reached,
            reached=reached.joint >= wanted - 1e-9,
            simulated=simulated,
        )


def _cut(requests: RequestTable, part: slice) -> RequestTable:
    return RequestTable(
        requests.arrival_s[part],
        requests.input_tokens[part],
        requests.output_tokens[part],
        requests.prefix_hit_tokens[part],
    )
