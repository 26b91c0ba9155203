"""The least replica time that a request costs, if it meets its targets. May import numpy, scipy (late) and core.

Prefill
-------
A pass over S tokens takes f(S) and is shared by prompts of n_1 + n_2 + … = S tokens. Charge each of them
``n · min f(T) / T`` over n ≤ T ≤ c, where c is the largest pass that it may be in: the token budget, or itself where it
is longer, and nothing so long that the target is missed by the pass alone. S is in that range for each of them, so
together they are charged at most ``Σ n_i · f(S) / S = f(S)``: what the pass took.

Decode
------
While B requests run with R resident tokens, a step takes σ(B, R), and every one of them advances by one token. Charge a
request with k resident tokens, for each token, ``s = α + β k − μ h`` with ``h = min(σ, τ + α/μ) − τ`` (0 where μ is 0).

- It is never negative: μ h ≤ α.
- If for all B and R that can be ``αB + βR − μB(σ − τ) ≤ σ`` and ``βR ≤ σ``, then all who run are charged at most σ
  together, whichever term of h is the smaller one; and any part of them is charged no more, as no charge is negative.
- A request that meets its TPOT target τ has spent (OSL − 1) τ at most, so that its steps, token by token, sum to no
  more: Σ (σ − τ) ≤ 0, and Σ h ≤ 0 with it. Over its stay it is charged at least ``Σ (α + β k)``, which is
  ``α (OSL − 1) + β (ISL (OSL − 1) + (OSL − 1)² / 2)``: progress is fluid.

Any such α, β, μ ≥ 0 prove a charge. The constraints are linear in them, and so is the total over all requests: the
greatest total is a linear programme in three variables. For one B both constraints are linear in R between the
measured contexts, so it is enough that they hold there and at both ends. What a solver's tolerance left over is made
good by dividing all three by the worst ratio: the constraints are homogeneous in them.
"""

import numpy as np
from numpy.typing import NDArray

from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.simulation.run import Deployment
from pdscaler.core.simulation.tables import decode_table

Reals = NDArray[np.float64]

_STEP = 0
"""Place of the step times in a decode table's clocks."""

_ROUNDING = 1e-9
"""Relative slack in favour of the request, for the rounding of times."""

_FIRST_BATCHES = 48
_MOST_ROUNDS = 20


def alone_s(deployment: Deployment, requests: RequestTable) -> Reals:
    """Return the least TTFT of each request, seconds: its own pass, and its overhead."""
    curve = prefill_curve(deployment.prefill)
    uncached, where = np.unique(requests.input_tokens - requests.prefix_hit_tokens, return_inverse=True)
    passes_s = np.array([curve.time_s(float(tokens)) for tokens in uncached])
    overhead_s = curve.fixed_overhead_s + curve.overhead_per_token_s * requests.input_tokens
    return np.asarray(passes_s[where] + overhead_s, np.float64)


def least_step_s(deployment: Deployment) -> float:
    """Return the shortest decode step there is, seconds."""
    return min(line(1.0) for line in decode_surface(deployment.decode).lines) / deployment.decode_derate


def prefill_work_s(deployment: Deployment, requests: RequestTable, ttft_s: float) -> Reals:
    """Return the least replica time of each request that meets a TTFT target, seconds; see the module's proof.

    Examples
    --------
    >>> from pdscaler.core.profile import DecodeProfile, PrefillPoint, PrefillProfile
    >>> points = (PrefillPoint(100, 0.02), PrefillPoint(1000, 0.05))
    >>> deployment = Deployment(PrefillProfile(points, max_batched_tokens=1000), DecodeProfile(()))
    >>> one = RequestTable(*map(np.array, ([0.0], [100], [1], [0])))
    >>> prefill_work_s(deployment, one, 1.0).round(3).tolist(), prefill_work_s(deployment, one, 0.02).round(3).tolist()
    ([0.005], [0.02])
    """
    curve = prefill_curve(deployment.prefill)
    line = curve.line
    knots, values = np.array(line.knots), np.array(line.values)

    def time_s(tokens: Reals) -> Reals:
        beyond = np.maximum(tokens - knots[-1], 0.0) * line.tail_slope
        return np.asarray(np.interp(tokens, knots, values) + beyond)

    tokens = (requests.input_tokens - requests.prefix_hit_tokens).astype(np.float64)
    overhead_s = curve.fixed_overhead_s + curve.overhead_per_token_s * requests.input_tokens
    longest_s = np.maximum(ttft_s * (1 + _ROUNDING) - overhead_s, 0.0)
    largest = np.maximum(np.minimum(_largest(longest_s, knots, values, line.tail_slope), _budget(deployment)), tokens)
    safe = np.maximum(tokens, 1.0)
    least = np.minimum(time_s(safe) / safe, time_s(np.maximum(largest, safe)) / np.maximum(largest, safe))
    for knot, value in zip(knots.tolist(), values.tolist(), strict=True):
        within = (safe <= knot) & (knot <= largest)
        if knot > 0:
            least[within] = np.minimum(least[within], value / knot)
    return np.asarray(tokens * least * (1 - _ROUNDING))


def _budget(deployment: Deployment) -> float:
    return float(deployment.prefill.max_batched_tokens)


def _largest(longest_s: Reals, knots: Reals, values: Reals, tail_slope: float) -> Reals:
    """Return the most tokens of a pass that takes so long."""
    right = np.searchsorted(values, longest_s, side="right")
    left = np.clip(right - 1, 0, len(knots) - 1)
    inner = np.clip(right, 0, len(knots) - 1)
    rise = values[inner] - values[left]
    share = np.where(rise > 0, (longest_s - values[left]) / np.where(rise > 0, rise, 1.0), 0.0)
    between = knots[left] + share * (knots[inner] - knots[left])
    over_s = np.maximum(longest_s - values[-1], 0.0)
    beyond = np.inf if tail_slope <= 0 else knots[-1] + over_s / tail_slope
    return np.asarray(np.where(right == 0, 0.0, np.where(right == len(knots), beyond, between)))


def decode_work_s(deployment: Deployment, requests: RequestTable, tpot_s: float) -> Reals:
    """Return the least replica time of each request that meets a TPOT target, seconds; see the module's proof.

    Answers of one token cost nothing. ``requests`` are all of the run: whoever may share a batch with those in time.
    """
    tokens = (requests.output_tokens - 1).astype(np.float64)
    resident = requests.input_tokens * tokens + tokens * tokens / 2
    per_token, per_resident, _ = decode_prices(deployment, requests, tpot_s)
    return np.asarray((per_token * tokens + per_resident * resident) * (1 - _ROUNDING))


def decode_prices(deployment: Deployment, requests: RequestTable, tpot_s: float) -> tuple[float, float, float]:
    """Return α, seconds per token, β, seconds per token and resident token, and μ of the module's proof.

    They charge all requests together the most; 0 where no step is within the target, so that nobody meets it.
    """
    tokens = (requests.output_tokens - 1).astype(np.float64)
    several = tokens > 0
    if not several.any() or tpot_s * (1 + _ROUNDING) < least_step_s(deployment):
        return 0.0, 0.0, 0.0
    resident = requests.input_tokens * tokens + tokens * tokens / 2
    states = _states(deployment, requests, several)
    return _prices(states, tpot_s * (1 + _ROUNDING), float(tokens.sum()), float(resident.sum()))


def _states(deployment: Deployment, requests: RequestTable, several: NDArray[np.bool_]) -> tuple[Reals, Reals, Reals]:
    """Return batch, context and step time of all states at which the constraints are to hold."""
    inputs, outputs = requests.input_tokens[several], requests.output_tokens[several]
    table = decode_table(deployment.decode, deployment.decode_derate, int(several.sum()))
    batches = np.arange(1, min(table.max_batch, len(table.clocks) - 1) + 1)  # no batch is larger than all requests
    lowest, highest = float(inputs.min()), float((inputs + outputs).max())
    # One is admitted where it fits with what is there at that time; those who run grow on.
    memory = np.maximum(table.kv_capacity_tokens + batches * float(outputs.max()), highest)
    top = np.maximum(np.minimum(highest, memory / batches), lowest)
    contexts = np.clip(np.concatenate(([lowest], table.contexts, [np.inf]))[None, :], lowest, top[:, None])
    step_s = np.stack([np.interp(contexts[i], table.contexts, table.clocks[b, _STEP]) for i, b in enumerate(batches)])
    batch = np.broadcast_to(batches[:, None].astype(np.float64), contexts.shape)
    return batch.ravel(), contexts.ravel(), step_s.ravel()


def _prices(
    states: tuple[Reals, Reals, Reals], target_s: float, tokens: float, resident: float
) -> tuple[float, float, float]:
    """Return α, β and μ of the greatest total."""
    from scipy.optimize import linprog

    batch, context, step_s = states
    mean = resident / tokens
    share_s = step_s / batch
    unit_s = float(share_s.min())
    # In units of about 1: α of the least share, β of that over the mean context, μ of the share over the target.
    rows = np.concatenate(
        (
            np.column_stack((np.ones_like(context), context / mean, -(step_s - target_s) / target_s)),
            np.column_stack((np.zeros_like(context), context / mean, np.zeros_like(context))),
        )
    )
    limits = np.concatenate((share_s, share_s)) / unit_s
    sizes = np.unique(np.geomspace(1, batch.max(), _FIRST_BATCHES).astype(int))
    used = np.concatenate((np.isin(batch, sizes), np.isin(batch, sizes)))
    found = np.zeros(3)
    for _ in range(_MOST_ROUNDS):
        answer = linprog([-1.0, -1.0, 0.0], rows[used], limits[used], bounds=(0, None), method="highs")
        if answer.x is None:
            return 0.0, 0.0, 0.0
        found = np.maximum(answer.x, 0.0)
        over = rows @ found - limits
        if over.max() <= 1e-9:
            break
        used |= over >= np.partition(over, -100)[-100:].min() if len(over) > 100 else over > 0
    worst = max(1.0, float((rows @ found / limits).max()))
    found *= unit_s / worst
    return float(found[0]), float(found[1] / mean), float(found[2] / target_s)
