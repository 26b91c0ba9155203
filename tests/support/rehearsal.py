"""The demo's closed loop without a cluster and without waiting: its phases, the emulation, the real ``plan``.

Telemetry is what Prometheus would answer: counters sampled once a second, rates over the window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pdscaler.core.decision import PlanInputs, PlanState, PoolState, TargetUnknown
from pdscaler.core.emulation import Completion, Emulation, Milestone, Prefilled, Request
from pdscaler.core.plan import plan
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.spec import ScalingSpec
from pdscaler.core.workload import LengthStats, NoData, NoDataReason, Telemetry, WorkloadStats
from pdscaler.forecast.last_value import last_value
from pdscaler.simulator.workload import Phase, phase_requests
from support.core_cases import telemetry


@dataclass
class Rehearsal:
    """What a rehearsal saw: replicas once a second, and every finished request."""

    ready: list[PerPool[int]] = field(default_factory=list)
    ordered: list[PerPool[int]] = field(default_factory=list)
    done: list[Completion] = field(default_factory=list)


class _Counters:
    """Monotonic counters, sampled once a second."""

    def __init__(self) -> None:
        self.now = np.zeros(7)  # arrivals; prompts: count, sum, squares; answers: count, sum, squares
        self.samples: list[np.ndarray] = [self.now.copy()]

    def rates(self, window_s: int) -> np.ndarray:
        window = self.samples[-(window_s + 1) :]
        rates: np.ndarray = (window[-1] - window[0]) / (len(window) - 1)
        return rates


def rehearse(
    spec: ScalingSpec, phases: tuple[Phase, ...], seed: int, *, period_s: int = 2, startup_s: float = 6.0
) -> Rehearsal:
    """Play ``phases`` once; pods serve ``startup_s`` after their order, and stop serving 1 s after theirs."""
    rng = np.random.default_rng(seed)
    emulation = Emulation(spec.sizing.prefill_profile, spec.sizing.decode_profile)
    born: PerPool[list[tuple[str, float]]] = PerPool([("p0", 0.0)], [("d0", 0.0)])
    for pool in Pool:
        emulation.set_replicas(pool, [name for name, _ in born[pool]], 0.0)
    counters, state, seen, number = _Counters(), PlanState(), Rehearsal(), 1
    requests = phase_requests(phases, rng)
    upcoming: Request | None = next(requests, None)
    for now_s in range(1, int(sum(phase.duration_s for phase in phases)) + 1):
        while upcoming is not None and upcoming.arrival_s <= now_s:
            emulation.submit(upcoming)
            counters.now[0] += 1
            upcoming = next(requests, None)
        _count(counters, emulation.advance(float(now_s)), seen)
        counters.samples.append(counters.now.copy())
        if now_s % period_s == 0:
            ready = born.map(lambda pods, at_s=now_s: sum(ready_s <= at_s for _, ready_s in pods))  # type: ignore[misc]
            targets: PerPool[PoolState | TargetUnknown] = PerPool(
                PoolState(len(born.prefill), ready.prefill), PoolState(len(born.decode), ready.decode)
            )
            telemetry = _telemetry(counters, int(spec.window_s), float(now_s))
            decision = plan(spec, PlanInputs(telemetry, targets), state, float(now_s), last_value)
            state = decision.state
            for pool, ordered in decision.pools.items():
                for _ in range(max(0, ordered.change)):
                    born[pool].append((f"{pool}{number}", now_s + startup_s))
                    number += 1
                del born[pool][len(born[pool]) + min(0, ordered.change) :]
        for pool in Pool:
            emulation.set_replicas(pool, [name for name, ready_s in born[pool] if ready_s <= now_s], float(now_s))
        seen.ready.append(born.map(lambda pods, at_s=now_s: sum(ready_s <= at_s for _, ready_s in pods)))  # type: ignore[misc]
        seen.ordered.append(born.map(len))
    seen.done += [event for event in emulation.advance(1e9) if isinstance(event, Completion)]
    return seen


def _count(counters: _Counters, events: Sequence[Milestone], seen: Rehearsal) -> None:
    for event in events:
        if isinstance(event, Prefilled):
            tokens = event.request.input_tokens
            counters.now[1:4] += (1, tokens, tokens**2)
        elif isinstance(event, Completion):
            tokens = event.request.output_tokens
            counters.now[4:7] += (1, tokens, tokens**2)
            seen.done.append(event)


def _telemetry(counters: _Counters, window_s: int, now_s: float) -> Telemetry | NoData:
    rates = counters.rates(window_s)
    if rates[1] == 0 or rates[4] == 0:
        return NoData(NoDataReason.NO_DATA, "nothing has finished yet")
    lengths = []
    for count, total, squares in (rates[1:4], rates[4:7]):
        mean = total / count
        lengths.append(LengthStats(mean, max(0.0, squares / count / mean**2 - 1)))
    reading = telemetry(WorkloadStats(float(rates[0]), lengths[0], lengths[1]))
    return replace(reading, window_s=float(window_s), observed_at_s=now_s)
