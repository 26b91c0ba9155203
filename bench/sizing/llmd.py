"""The replica counts of llm-d's workload variant autoscaler, by its queue analyzer's recipe. Imports pdscaler's core.

Sources (Apache-2.0, read for their rules; this code is our own): llm-d/llm-d-workload-variant-autoscaler,
``docs/developer-guide/slo-queuemodel.md`` (sections 4.3, 8 and 9) and ``pkg/analyzer`` (also published as
llm-inferno/queue-analysis): ``README.md`` (the scenarios), ``queueanalyzer.go`` (``BuildModel``, ``Size``).

One iteration of n requests takes T(n) = alpha + n·(beta·(in + out)/(out + 1) + gamma·(in + out/2)); a request's
prefill takes T(n) + (beta + gamma)·in, one token T(n) + beta + gamma·(in + out/2). A replica is a birth–death queue
with service rate n / (prefill + out·token) up to the batch limit, and room for 100 more that wait. A bisection finds
the largest rate whose mean TTFT and ITL are within the targets, and replicas = ceil(rate / that). The scenarios of
its README for one stage are "prefill only", out = 1, and "decode only", in = 0: the latter drops the prompt's KV reads.

Its parameters come from a Kalman filter over live traffic. Before any traffic they are fitted here to the profile of
the pool, by least squares of the relative error, none below 0: the best that the filter could learn. Where one context
was measured, beta and gamma cannot be told apart, and take the ratio of the filter's own defaults. Means only: the
percentile asked for changes nothing.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pdscaler.core.curves import prefill_curve
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodeProfile, PrefillProfile
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import WorkloadStats

MAX_BATCH = 256
"""Requests of one prefill iteration where the engine tells no limit (``DefaultMaxBatchSize``)."""

MAX_WAITING = 100
"""Requests that may wait at one replica (``DefaultMaxQueueSize``)."""

EPSILON = 0.001
"""Rates are looked for between this share of the slowest service rate and all but this share of the fastest."""

BETA_OVER_GAMMA = 1000.0
"""``DefaultBeta`` over ``DefaultGamma``."""

STEPS = 60
"""Bisections: beyond the accuracy of a double."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Seconds of an iteration: fixed, per token computed, per KV token read."""

    alpha: float
    beta: float
    gamma: float

    def iteration_s(self, input_tokens: float, output_tokens: float, batch: float) -> float:
        """Return T(n)."""
        compute = (input_tokens + output_tokens) / (output_tokens + 1)
        memory = input_tokens + output_tokens / 2
        return self.alpha + batch * (self.beta * compute + self.gamma * memory)

    def prefill_s(self, input_tokens: float, output_tokens: float, batch: float) -> float:
        """Return the time of a request's prefill, none without a prompt."""
        if input_tokens == 0:
            return 0.0
        return self.iteration_s(input_tokens, output_tokens, batch) + (self.beta + self.gamma) * input_tokens

    def token_s(self, input_tokens: float, output_tokens: float, batch: float) -> float:
        """Return the time of one token of a request."""
        own = self.beta + self.gamma * (input_tokens + output_tokens / 2)
        return self.iteration_s(input_tokens, output_tokens, batch) + own


@dataclass(frozen=True, slots=True)
class Analysis:
    """Mean latencies of one replica, seconds."""

    ttft_s: float
    itl_s: float


def llmd(spec: SizingSpec, workload: WorkloadStats) -> PerPool[int] | None:
    """Return the counts of the recipe; None where it refuses a target as below what its model can reach."""
    assert workload.isl is not None
    assert workload.osl is not None
    uncached = workload.isl.mean_tokens * (1 - workload.prefix_hit_ratio)
    prefill = Replica(prefill_parameters(spec.prefill_profile), MAX_BATCH, uncached, 1.0)
    decode = Replica(
        decode_parameters(spec.decode_profile), spec.decode_profile.max_batch, 0.0, workload.osl.mean_tokens
    )
    rate, counts = workload.arrival_rate_rps, []
    for replica, target, name in ((prefill, spec.slo.ttft, "ttft_s"), (decode, spec.slo.tpot, "itl_s")):
        overhead_s = (
            prefill_curve(spec.prefill_profile).overhead_s(workload.isl.mean_tokens) if name == "ttft_s" else 0.0
        )
        most = replica.largest_rate(math.inf if target is None else target.target_s - overhead_s, name)
        if most is None:
            return None
        counts.append(max(1, math.ceil(rate / most)))
    return PerPool(*counts)


class Replica:
    """One replica as a birth–death queue whose service rate depends on how many it serves.

    Parameters
    ----------
    parameters
        Of the iteration time.
    max_batch
        Requests served at once.
    input_tokens, output_tokens
        Means of a request.
    """

    def __init__(self, parameters: Parameters, max_batch: int, input_tokens: float, output_tokens: float) -> None:
        self._parameters = parameters
        self._max_batch = max_batch
        self._input, self._output = input_tokens, output_tokens
        batches = np.arange(1, max_batch + 1)
        service = [
            parameters.prefill_s(input_tokens, output_tokens, n)
            + output_tokens * parameters.token_s(input_tokens, output_tokens, n)
            for n in range(1, max_batch + 1)
        ]
        self._rates = batches / np.array(service)
        self._log_rates = np.log(np.concatenate([self._rates, np.full(MAX_WAITING, self._rates[-1])]))

    @property
    def rates_rps(self) -> tuple[float, float]:
        """The least and the largest rate that is looked at."""
        return float(self._rates[0]) * EPSILON, float(self._rates[-1]) * (1 - EPSILON)

    def analyse(self, rate_rps: float) -> Analysis:
        """Return the mean latencies at a rate."""
        log_weights = np.concatenate([[0.0], np.cumsum(math.log(rate_rps) - self._log_rates)])
        weights = np.exp(log_weights - log_weights.max())
        shares = weights / weights.sum()
        states = np.arange(len(shares))
        throughput = rate_rps * (1 - shares[-1])
        in_system = float(shares @ states)
        in_service = float(shares @ np.minimum(states, self._max_batch))
        service_s = in_service / throughput
        wait_s = max(0.0, in_system / throughput - service_s)
        prefill_s = self._parameters.prefill_s(self._input, self._output, in_service)
        itl_s = (service_s - prefill_s) / self._output
        return Analysis(wait_s + prefill_s + itl_s, itl_s)

    def largest_rate(self, target_s: float, latency: str) -> float | None:
        """Return the largest rate whose ``latency`` (ttft_s or itl_s) is within the target; None where none is."""
        low, high = self.rates_rps
        if getattr(self.analyse(low), latency) > target_s:
            return None
        if getattr(self.analyse(high), latency) <= target_s:
            return high
        for _ in range(STEPS):
            middle = (low + high) / 2
            if getattr(self.analyse(middle), latency) <= target_s:
                low = middle
            else:
                high = middle
        return low


@lru_cache(maxsize=64)
def prefill_parameters(profile: PrefillProfile) -> Parameters:
    """Fit pass = alpha + beta·tokens; a pass alone tells beta + gamma only, and compute is what it is bound by."""
    if profile.max_throughput is not None:
        return Parameters(0.0, 1 / profile.max_throughput.tokens_per_second, 0.0)
    alpha, beta = _fit([[1.0, p.input_tokens] for p in profile.points], [p.latency_s for p in profile.points])
    return Parameters(alpha, beta, 0.0)


@lru_cache(maxsize=64)
def decode_parameters(profile: DecodeProfile) -> Parameters:
    """Fit step = alpha + beta·batch + gamma·batch·context."""
    points = profile.points
    steps_s = [p.tpot_s for p in points]
    if len({p.context_tokens for p in points}) > 1:
        return Parameters(*_fit([[1.0, p.batch, p.batch * p.context_tokens] for p in points], steps_s))
    context = points[0].context_tokens
    alpha, per_request = _fit([[1.0, p.batch] for p in points], steps_s)
    gamma = per_request / (BETA_OVER_GAMMA + context)
    return Parameters(alpha, BETA_OVER_GAMMA * gamma, gamma)


def _fit(rows: list[list[float]], values: list[float]) -> tuple[float, ...]:
    """Return the coefficients, none below 0, that make the squares of the relative errors least."""
    from scipy.optimize import nnls

    weights = 1 / np.array(values)
    scale = np.abs(np.array(rows)).max(axis=0)
    found, _ = nnls(np.array(rows) / scale * weights[:, None], np.ones(len(values)))
    return tuple(float(value) for value in found / scale)
