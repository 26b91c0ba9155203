"""The prefill law's exponents and factors at a count of replicas. Imports the standard library and core only.

They depend on neither load nor statistic, so a law computes them once for each count that it is asked about.
"""

import math
from dataclasses import dataclass

from pdscaler.core.prefill_constants import Constants

BLUNTEST, SHARPEST = 1.05, 40.0
"""Bounds of the exponents of smooth maxima: beyond the upper there is no difference, and powers would overflow."""

LEAST_EXPONENT, MOST_EXPONENT = 0.3, 200.0
"""Bounds of the exponent of the load in the queueing term."""

FLAT_FROM = 0.7
"""Flatness of passes from which the load counts beside the replicas, see ``flat``."""

MOST_RELIEF = 0.9
"""Greatest share of the queueing term's exponent that its tail is spared: those who wait wait longer than all do."""


@dataclass(frozen=True, slots=True)
class PoolFactors:
    """What the formulas of :mod:`pdscaler.core.prefill_law` need of one count of replicas.

    Parameters
    ----------
    sharpness, busy_sharpness
        Exponents of the smooth maxima for prompts in a pass and for the utilisation.
    wait_exponent
        Probability of a wait = utilisation to this power.
    residual, residual_gain, residual_power
        Share of a running pass that a request waits for: residual + gain (1 − c^−power), for equal lengths.
    residual_spread
        Factor of the gain where lengths vary.
    burst
        Prompts that bursts add to the pass one shares.
    full_weight
        Weight of full passes' throughput against the greatest one.
    queue_exponent, queue_factor
        Power of the load in the queueing term, and its factor.
    bounded_factor, bounded_shape
        Greatest wait for passes against the mean, and how it is approached.
    wait_power, tail_factor, tail_exponent, heavy
        The exponential tail, and the power of the load in it.
    spread_power
        How excesses of length and delay add up.
    half_sharing, half_shape, half_queueing, half_power, half_gap
        The median.
    flat
        0 in general, up to 1 where passes take about as long whatever they hold. Adding replicas to a loaded pool then
        lengthens the wait under join-shortest-queue: all arrivals go to replicas that have just begun. A law must not
        rise with replicas, so the wait goes by what the load fills instead: (1 + 2 erlangs)^flat c^(1 − flat) for c.
    """

    sharpness: float
    busy_sharpness: float
    wait_exponent: float
    residual: float
    residual_gain: float
    residual_power: float
    residual_spread: float
    burst: float
    full_weight: float
    queue_exponent: float
    queue_factor: float
    bounded_factor: float
    bounded_shape: float
    wait_power: float
    tail_factor: float
    tail_exponent: float
    heavy: float
    spread_power: float
    half_sharing: float
    half_shape: float
    half_queueing: float
    half_power: float
    half_gap: float
    flat: float


@dataclass(frozen=True, slots=True)
class Variation:
    """How prompts vary, as far as the factors need it.

    Parameters
    ----------
    budget
        Token budget over mean prompt, at least 1.
    pass_range
        Time of a pass that fills the budget over that of one mean prompt, at least 1.
    scv
        Squared coefficient of variation of the lengths.
    demand_scv
        That of the work a prompt brings.
    flatness
        1 where a longer pass takes no longer, 0 where it takes longer in proportion.
    """

    budget: float
    pass_range: float
    scv: float
    demand_scv: float
    flatness: float


def pool_factors(q: Constants, c: float, arrivals: float, prompts: Variation) -> PoolFactors:
    """Return the factors.

    Parameters
    ----------
    q
        Constants of the kind of pool.
    c
        Replicas that serve one stream of arrivals, >= 1 (1 where each replica is a queue of its own).
    arrivals
        Squared coefficient of variation of that stream's inter-arrival times, > 0.
    prompts
        How prompts vary.
    """
    budget, demand_scv = prompts.budget, prompts.demand_scv
    pool = 1.0 - 1.0 / c
    # Sakasegawa's exponent of utilisation for c servers is sqrt(2 (c + 1)) − 1: 1 for one.
    root = math.sqrt(2.0 * (c + 1.0)) - 2.0
    kappa = (arrivals + demand_scv) / 2.0
    excess = max(0.0, arrivals - 1.0)
    uneven = 1.0 + prompts.scv
    flat = max(0.0, (prompts.flatness - FLAT_FROM) / (1.0 - FLAT_FROM))

    base = q.sharpness + q.sharpness_pool * (c**q.sharpness_growth - 1.0)
    bursts = arrivals ** (-q.sharpness_bursts * c**-q.sharpness_pooling)
    regularity = arrivals
    if arrivals < 1.0:
        regularity = (arrivals + q.wait_lengths * demand_scv) / (1.0 + q.wait_lengths * demand_scv)
    queue_exponent = (1.0 + q.queue_power * kappa**-q.queue_kappa * c**-q.queue_pooling) * budget**q.queue_budget
    queue_exponent += q.queue_pool * root * (1.0 + q.queue_pool_budget * (1.0 - 1.0 / budget)) * kappa**-q.queue_pooling
    queue_exponent = min(MOST_EXPONENT, max(LEAST_EXPONENT, queue_exponent))
    bounded = q.bounded * c**-q.bounded_pooling * prompts.pass_range ** (q.bounded_range + q.bounded_pool_range * pool)
    bounded *= 1.0 + (q.bounded_bursts + q.bounded_pool_bursts * pool * (1.0 - flat)) * excess
    return PoolFactors(
        sharpness=min(SHARPEST, max(BLUNTEST, 1.0 + base * bursts * uneven**-q.sharpness_lengths)),
        busy_sharpness=min(SHARPEST, 1.0 + base),
        wait_exponent=(1.0 + q.wait_pool * root) * regularity ** (-q.wait_bursts * c**-q.wait_pooling),
        residual=q.residual,
        residual_gain=0.5 * q.residual_pool,
        residual_power=-q.residual_growth,
        residual_spread=uneven**-q.residual_lengths,
        burst=q.burst * c**-q.burst_pooling * excess,
        full_weight=budget**-q.full_weight,
        queue_exponent=queue_exponent,
        queue_factor=q.queue_factor * kappa / c**q.queue_share,
        bounded_factor=1.0 + bounded,
        bounded_shape=q.bounded_shape * c ** (-q.bounded_shape_pooling * (1.0 - flat)),
        wait_power=q.wait_power + q.wait_pool_power * pool,
        tail_factor=q.tail * (1.0 + demand_scv) ** q.tail_lengths * c**q.tail_pooling,
        tail_exponent=queue_exponent * (1.0 - min(MOST_RELIEF, q.tail_load + q.tail_pool_load * pool)),
        heavy=q.heavy * demand_scv / (1.0 + demand_scv) / math.log(100.0),
        spread_power=q.spread_power + q.spread_pool_power * pool,
        half_sharing=min(1.0, q.half_sharing + q.half_pool_sharing * pool),
        half_shape=1.0 + q.half_shape + q.half_pool_shape * pool,
        half_queueing=q.half_queueing + q.half_pool_queueing * pool,
        half_power=q.half_power,
        half_gap=q.half_gap + q.half_pool_gap * pool * (1.0 - flat),
        flat=flat,
    )
