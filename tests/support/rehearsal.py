"""The demo's closed loop without a cluster and without waiting: its phases, the emulation, the real ``plan``.

Telemetry is what Prometheus would answer: counters sampled once a second, rates over the window. Where it foresees,
the forecast is kept as the controller keeps it, from the days before and from what was sampled since.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from localplane.demo_history import days_before
from pdscaler.api.convert import to_forecast_settings
from pdscaler.api.pddeployment import PDDeployment
from pdscaler.controller.past import rate_window_s, with_spread
from pdscaler.core.decision import PlanInputs, PlanState, PoolState, TargetUnknown
from pdscaler.core.emulation import Completion, Emulation, Milestone, Prefilled, Request
from pdscaler.core.plan import Forecaster, plan
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.spec import ScalingSpec
from pdscaler.core.workload import LengthStats, NoData, NoDataReason, Telemetry, WorkloadStats
from pdscaler.forecast import ForecastState, History, aligned, forecast, observe, sized_for, start
from pdscaler.forecast.last_value import last_value
from pdscaler.simulator.workload import Phase, phase_requests
from support.core_cases import telemetry


@dataclass
class Rehearsal:
    """What a rehearsal saw: replicas once a second, and every finished request."""

    ready: list[PerPool[int]] = field(default_factory=list)
    ordered: list[PerPool[int]] = field(default_factory=list)
    forecast_rps: list[float | None] = field(default_factory=list)
    done: list[Completion] = field(default_factory=list)


@dataclass(frozen=True)
class Foresight:
    """From when on a rehearsal forecasts, seconds; of what resource; and how late its load begins, seconds."""

    resource: PDDeployment
    from_s: float
    late_s: float = 0.0


_EPOCH_S = 1_800_000_000.0
_STEP_S = 5.0
_DAYS = 30
_FIRST = PerPool(3, 2)
"""The replicas of deploy/samples/targets.yaml."""


class _Counters:
    """Monotonic counters, sampled once a second."""

    def __init__(self) -> None:
        self.now = np.zeros(7)  # arrivals; prompts: count, sum, squares; answers: count, sum, squares
        self.samples: list[np.ndarray] = [self.now.copy()]

    def rates(self, window_s: int) -> np.ndarray:
        window = self.samples[-(window_s + 1) :]
        rates: np.ndarray = (window[-1] - window[0]) / (len(window) - 1)
        return rates


class _Foreseen:
    """The forecast, from the days before and from the counters, as the controller keeps it."""

    def __init__(
        self, foresight: Foresight, counters: _Counters, phases: tuple[Phase, ...], spec: ScalingSpec, period_s: float
    ) -> None:
        self._past = days_before(phases, np.random.default_rng(99), _DAYS)
        self._late_s = foresight.late_s
        self._counters = counters
        self._window_s = round(rate_window_s(1.0, spec.window_s))
        settings = to_forecast_settings(foresight.resource, period_s)
        assert settings is not None
        self._settings = replace(settings, rate_window_s=float(self._window_s))
        self._state: ForecastState | None = None

    def forecaster(self, now_s: float, workload: WorkloadStats) -> tuple[Forecaster, float | None]:
        newest_s = aligned(_EPOCH_S + now_s, _STEP_S) - _EPOCH_S
        if self._state is None:
            first_s = aligned(float(self._past.times_s[0]) + _EPOCH_S, _STEP_S) - _EPOCH_S + 2 * self._window_s
            self._state = start(self._settings, self._history(first_s, newest_s, workload))
        else:
            since_s = self._state.history.end_s - _EPOCH_S
            if newest_s > since_s:
                self._state = observe(self._state, self._history(since_s, newest_s, workload))
        found = forecast(self._state)
        return lambda now, _horizon_s: sized_for(now, found), found.rate_rps

    def _history(self, after_s: float, to_s: float, workload: WorkloadStats) -> History:
        ends = np.arange(after_s + _STEP_S, to_s + 1e-6, _STEP_S)
        columns = np.array([self._rates(float(at_s)) for at_s in ends]).T
        rate, total_in, total_out = columns
        history = History.of(
            _STEP_S, _EPOCH_S + to_s, rate, isl_mean=total_in / rate, osl_mean=total_out / rate,
            window_s=float(self._window_s),
        )  # fmt: skip
        return with_spread(history, workload)

    def _rates(self, at_s: float) -> np.ndarray:
        """Requests and tokens per second over the window before; NaN where it is not filled."""
        begin_s = at_s - self._window_s
        if begin_s >= 0:
            samples = self._counters.samples
            seen: np.ndarray = samples[round(at_s)] - samples[round(begin_s)]
            return seen[[0, 2, 5]] / self._window_s
        past, shift = self._past, round(-self._past.times_s[0] + self._late_s)
        last, first = round(at_s) + shift, round(begin_s) + shift
        if last >= past.counters.shape[1]:
            return np.full(3, np.nan)
        before: np.ndarray = past.counters[:, last] - past.counters[:, first]
        return before / self._window_s


def rehearse(
    spec: ScalingSpec,
    phases: tuple[Phase, ...],
    seed: int,
    *,
    period_s: int = 2,
    startup_s: float = 6.0,
    foresight: Foresight | None = None,
) -> Rehearsal:
    """Play ``phases`` once; pods serve ``startup_s`` after their order, and stop serving 1 s after theirs."""
    rng = np.random.default_rng(seed)
    emulation = Emulation(spec.sizing.prefill_profile, spec.sizing.decode_profile)
    born: PerPool[list[tuple[str, float]]] = PerPool(
        *([(f"{pool}-{number}", 0.0) for number in range(_FIRST[pool])] for pool in Pool)
    )
    for pool in Pool:
        emulation.set_replicas(pool, [name for name, _ in born[pool]], 0.0)
    counters, state, seen, number = _Counters(), PlanState(), Rehearsal(), 1
    foreseen = None if foresight is None else _Foreseen(foresight, counters, phases, spec, float(period_s))
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
            forecaster: Forecaster = last_value
            forecast_rps = None
            if foreseen is not None and foresight is not None and now_s >= foresight.from_s:
                assert isinstance(telemetry, Telemetry)
                forecaster, forecast_rps = foreseen.forecaster(float(now_s), telemetry.workload)
            decision = plan(spec, PlanInputs(telemetry, targets), state, float(now_s), forecaster)
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
        seen.forecast_rps.append(
            forecast_rps if now_s % period_s == 0 else seen.forecast_rps[-1:][0] if seen.forecast_rps else None
        )
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
