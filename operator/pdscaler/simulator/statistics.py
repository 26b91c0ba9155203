"""Latencies against the objectives: over the last seconds, and over each segment. May import core and numpy.

A request meets an objective when its own latency is within the target; one-token answers meet the TPOT objective and
are left out of its statistics (DESIGN section 6). What nothing was observed of is None, never 0.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pdscaler.core.emulation import Completion, Prefilled
from pdscaler.core.slo import LatencyTarget, Slo, Statistic


@dataclass(frozen=True, slots=True)
class Met:
    """Whether one request met its objectives."""

    ttft: bool
    tpot: bool


def met(completion: Completion, slo: Slo) -> Met:
    """Compare a finished request with the objectives; an objective that is not given is met."""
    tpot_s = completion.tpot_s
    return Met(
        ttft=slo.ttft is None or completion.ttft_s <= slo.ttft.target_s,
        tpot=slo.tpot is None or tpot_s is None or tpot_s <= slo.tpot.target_s,
    )


@dataclass(frozen=True, slots=True)
class Attainment:
    """Shares of the finished requests that met the objectives."""

    ttft: float
    tpot: float
    joint: float


def attainment(outcomes: Sequence[Met]) -> Attainment | None:
    """Return the shares; None where nothing finished."""
    if not outcomes:
        return None
    total = len(outcomes)
    return Attainment(
        ttft=sum(outcome.ttft for outcome in outcomes) / total,
        tpot=sum(outcome.tpot for outcome in outcomes) / total,
        joint=sum(outcome.ttft and outcome.tpot for outcome in outcomes) / total,
    )


def statistic_of(values: Sequence[float], statistic: Statistic) -> float | None:
    """Return the mean or a percentile; None of nothing."""
    if not values:
        return None
    if statistic.quantile is None:
        return float(np.mean(values))
    return float(np.quantile(values, statistic.quantile))


def bound_statistic(target: LatencyTarget | None) -> Statistic:
    """Return which statistic an objective binds; the mean where there is none."""
    return Statistic.MEAN if target is None else target.statistic


@dataclass(slots=True)
class Sample:
    """What was observed in some stretch of time."""

    arrivals: int = 0
    ttft_s: list[float] = field(default_factory=list)
    tpot_s: list[float] = field(default_factory=list)
    outcomes: list[Met] = field(default_factory=list)


class RecentSample:
    """What was observed in the last ``window_s`` seconds.

    Times to first token count when the token comes, the rest when the request finishes.
    """

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self._arrivals: deque[float] = deque()
        self._first_tokens: deque[tuple[float, float]] = deque()
        self._completions: deque[tuple[float, float | None, Met]] = deque()

    def arrived(self, at_s: float) -> None:
        """Count an arrival."""
        self._arrivals.append(at_s)

    def prefilled(self, event: Prefilled) -> None:
        """Observe a time to first token."""
        self._first_tokens.append((event.at_s, event.ttft_s))

    def completed(self, event: Completion, outcome: Met) -> None:
        """Observe a finished request."""
        self._completions.append((event.at_s, event.tpot_s, outcome))

    def sample(self, now_s: float) -> Sample:
        """Return the last seconds, and forget what is older."""
        since_s = now_s - self.window_s
        while self._arrivals and self._arrivals[0] <= since_s:
            self._arrivals.popleft()
        while self._first_tokens and self._first_tokens[0][0] <= since_s:
            self._first_tokens.popleft()
        while self._completions and self._completions[0][0] <= since_s:
            self._completions.popleft()
        return Sample(
            arrivals=len(self._arrivals),
            ttft_s=[ttft_s for _, ttft_s in self._first_tokens],
            tpot_s=[tpot_s for _, tpot_s, _ in self._completions if tpot_s is not None],
            outcomes=[outcome for _, _, outcome in self._completions],
        )
