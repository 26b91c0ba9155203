"""The replica counts that NVIDIA Dynamo's planner would choose, by the two rules it has had. May import core, scipy.

Sources (both Apache-2.0, read for their rules; this code is our own):

- classic, releases up to 0.9: docs.nvidia.com/dynamo/v-0-9-0/design-docs/planner-design, "Step 4: Replica Calculation";
  ``components/src/dynamo/planner/core/throughput/interpolation.py`` (``find_best_throughput_per_gpu``: a grid of 100
  steps of KV usage, searched from the full end);
- current, releases 1.x: ``components/src/dynamo/planner/core/throughput_scaling.py`` (replicas = ceil(demand / engine
  rps), prefix hits shorten the prompt), ``core/perf_model/engine_query.py`` (the batch of most requests/s among those
  within the target, of at most 128 candidates; the batch of most requests/s at all, where none is within it) over
  ``core/perf_model/base.py`` (linear regression: pass time against tokens, step time against batch and KV tokens).

Both plan for means and for service times: they know no queue, no spread of lengths, no statistic. The percentile asked
for changes nothing in them. Correction factors are 1 as long as nothing has been observed.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodeProfile, PrefillProfile
from pdscaler.core.slo import LatencyTarget
from pdscaler.core.spec import SizingSpec
from pdscaler.core.workload import LengthStats, WorkloadStats

Floats = npt.NDArray[np.float64]

GRID = 100
"""Steps of KV usage in the classic search (``resolution``)."""

CANDIDATES = 128
"""Batches that the current search looks at (``MAX_CAPACITY_SEARCH_CANDIDATES``)."""

MAX_PREFILL_SEQUENCES = 512
"""Prompts of one prefill pass where the engine tells no limit (``DEFAULT_MAX_NUM_SEQS``)."""

LEAST_PASS_S = 1e-6
"""What a regression that predicts nothing or less is taken to say."""


def classic(spec: SizingSpec, workload: WorkloadStats, correction: PerPool[float] | None = None) -> PerPool[int]:
    """Return the counts of the classic rule.

    P = ceil(rate · ISL · min(1, correction) / throughput(ISL)); D = ceil(rate · OSL / throughput of the fullest KV
    memory whose inter-token latency is within the target over the correction). Where none is, the throughput of the
    emptiest. Prefix hits only enter by the correction factor, once they have been observed.

    Parameters
    ----------
    spec, workload
        What to size, for what.
    correction
        Observed over expected TTFT (prefill) and inter-token latency (decode); 1 where it is left out.
    """
    correction = correction or PerPool(1.0, 1.0)
    isl, osl = _lengths(workload)
    rate = workload.arrival_rate_rps
    prefill = rate * isl.mean_tokens / _prefill_throughput(spec.prefill_profile, isl.mean_tokens)
    prefill *= min(1.0, correction.prefill)
    context = isl.mean_tokens + osl.mean_tokens / 2
    target_s = _target_s(spec.slo.tpot) / correction.decode
    decode = rate * osl.mean_tokens / _decode_throughput(spec.decode_profile, context, target_s)
    return PerPool(max(1, math.ceil(prefill)), max(1, math.ceil(decode)))


def _prefill_throughput(profile: PrefillProfile, tokens: float) -> float:
    """Interpolate tokens/s between the points by a cubic spline, held beyond the ends (``PrefillInterpolator``)."""
    if profile.max_throughput is not None:
        return profile.max_throughput.tokens_per_second
    points = sorted(profile.points, key=lambda point: point.input_tokens)
    knots = np.array([point.input_tokens for point in points])
    rates = knots / np.array([point.latency_s for point in points])
    at = min(max(tokens, knots[0]), knots[-1])
    if len(points) < 4:
        return float(np.interp(at, knots, rates))
    from scipy.interpolate import CubicSpline

    return float(CubicSpline(knots, rates)(at))


def _decode_throughput(profile: DecodeProfile, context: float, target_s: float) -> float:
    """Search the grid of KV usage from its full end for a latency within the target (``DecodeInterpolator``).

    Cubic interpolation over (KV usage, context), the nearest point outside of the points. A profile of one context
    leaves a line, along which the nearest is linear interpolation.
    """
    capacity = profile.kv_capacity_tokens or max(point.batch * point.context_tokens for point in profile.points)
    batches, contexts, steps_s = np.array([(p.batch, p.context_tokens, p.tpot_s) for p in profile.points]).T
    usage, rates = batches * contexts / capacity, batches / steps_s
    grid = np.linspace(0, 1, GRID)
    if len(set(contexts)) == 1:
        order = np.argsort(usage)
        latency, throughput = (np.interp(grid, usage[order], values[order]) for values in (steps_s, rates))
    else:
        rows = np.linspace(0, contexts.max(), GRID)
        row = rows[int(np.clip(np.round(context / rows[1]), 0, GRID - 1))]
        latency, throughput = (_interpolated(usage, contexts, values, grid, row) for values in (steps_s, rates))
    within = np.flatnonzero(latency <= target_s)
    return float(throughput[within[-1] if len(within) else 0])


def _interpolated(usage: Floats, contexts: Floats, values: Floats, grid: Floats, context: float) -> Floats:
    from scipy.interpolate import griddata

    at = (grid, np.full(len(grid), context))
    smooth = griddata((usage, contexts), values, at, method="cubic")
    nearest = griddata((usage, contexts), values, at, method="nearest")
    return np.asarray(np.where(np.isnan(smooth), nearest, smooth), dtype=np.float64)


def current(spec: SizingSpec, workload: WorkloadStats) -> PerPool[int] | None:
    """Return the counts of the current rule; None where its regression is refused (more load, less time)."""
    isl, osl = _lengths(workload)
    rate = workload.arrival_rate_rps
    uncached = max(1, math.ceil(isl.mean_tokens * (1 - workload.prefix_hit_ratio)))
    prefill = _prefill_capacity(spec.prefill_profile, uncached, _target_s(spec.slo.ttft))
    decode = _decode_capacity(spec.decode_profile, isl.mean_tokens, osl.mean_tokens, _target_s(spec.slo.tpot))
    if prefill is None or decode is None:
        return None
    floor = 1 if prefill.within else math.ceil(prefill.latency_s / _target_s(spec.slo.ttft))
    return PerPool(max(math.ceil(rate / prefill.rps), floor), max(math.ceil(rate / decode.rps), 1))


@dataclass(frozen=True, slots=True)
class _Capacity:
    rps: float
    latency_s: float
    within: bool


def _prefill_capacity(profile: PrefillProfile, isl: int, target_s: float) -> _Capacity | None:
    regression = prefill_regression(profile)
    if regression[1] < 0:
        return None
    budget = profile.max_batched_tokens
    most = 1 if isl > budget else min(MAX_PREFILL_SEQUENCES, budget // isl)
    return _best(
        [
            _Capacity(
                batch / (latency_s := pass_time_s(profile, regression, isl * batch)), latency_s, latency_s <= target_s
            )
            for batch in _candidates(most)
        ]
    )


def prefill_regression(profile: PrefillProfile) -> tuple[float, float]:
    """Fit (fixed, per token) to the passes of at most the token budget: an engine runs, and reports, no longer ones."""
    if profile.max_throughput is not None:
        return 0.0, 1 / profile.max_throughput.tokens_per_second
    points = [point for point in profile.points if point.input_tokens <= profile.max_batched_tokens]
    if len(points) < 2:
        points = sorted(profile.points, key=lambda point: point.input_tokens)[:2]
    fixed, slope = _regression([[point.input_tokens] for point in points], [point.latency_s for point in points])
    return fixed, float(slope[0])


def _decode_capacity(profile: DecodeProfile, isl: float, osl: float, target_s: float) -> _Capacity | None:
    fixed_s, per_request_s, per_kv_token_s = decode_regression(profile)
    if per_kv_token_s < 0:
        return None
    context = max(1, round(isl) + round(osl) // 2)
    most = profile.max_batch
    if profile.kv_capacity_tokens is not None:
        most = min(most, int(profile.kv_capacity_tokens // context))
    found = []
    for batch in _candidates(most):
        step_s = max(LEAST_PASS_S, fixed_s + per_request_s * batch + per_kv_token_s * batch * context)
        found.append(_Capacity(batch / (osl * step_s), step_s, step_s <= target_s))
    return _best(found)


def decode_regression(profile: DecodeProfile) -> tuple[float, float, float]:
    """Fit (fixed, per request, per KV token) to the steps; a request's own share is never below 0."""
    points = profile.points
    fixed_s, slopes = _regression(
        [[point.batch, point.batch * point.context_tokens] for point in points], [point.tpot_s for point in points]
    )
    return fixed_s, max(0.0, float(slopes[0])), float(slopes[1])


def pass_time_s(profile: PrefillProfile, regression: tuple[float, float], tokens: float) -> float:
    """Return the time of ``tokens`` prompt tokens by the regression, in passes of at most the token budget, seconds."""
    budget = profile.max_batched_tokens
    full, rest = divmod(tokens, budget)
    fixed_s, per_token_s = regression
    chunks = [float(budget)] * int(full) + ([rest] if rest else [])
    return math.fsum(max(LEAST_PASS_S, fixed_s + per_token_s * chunk) for chunk in chunks)


def _regression(rows: list[list[float]], values: list[float]) -> tuple[float, Floats]:
    """Return (intercept, slopes) of ordinary least squares; the least slopes where points do not tell them apart."""
    x, y = np.asarray(rows, dtype=float), np.asarray(values, dtype=float)
    slopes = np.linalg.lstsq(x - x.mean(axis=0), y - y.mean(), rcond=None)[0]
    return float(y.mean() - x.mean(axis=0) @ slopes), slopes


def _candidates(most: int) -> list[int]:
    if most <= CANDIDATES:
        return list(range(1, most + 1))
    return [1 + index * (most - 1) // (CANDIDATES - 1) for index in range(CANDIDATES)]


def _best(found: list[_Capacity]) -> _Capacity | None:
    """Return the one of most requests/s among those within the target; among all, where none is within it."""
    return max([one for one in found if one.within] or found, key=lambda one: one.rps, default=None)


def _lengths(workload: WorkloadStats) -> tuple[LengthStats, LengthStats]:
    assert workload.isl is not None
    assert workload.osl is not None
    return workload.isl, workload.osl


def _target_s(target: LatencyTarget | None) -> float:
    return math.inf if target is None else target.target_s
