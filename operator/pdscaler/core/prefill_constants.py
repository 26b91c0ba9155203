"""Exponents and factors of the prefill law, fitted to simulations. Imports the standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constants:
    """Constants of :mod:`pdscaler.core.prefill_law` for one kind of pool.

    Parameters
    ----------
    sharpness, sharpness_pool, sharpness_growth, sharpness_bursts, sharpness_pooling, sharpness_lengths
        Exponent of the smooth maximum of prompts in a pass: of one replica, what more replicas add and how fast,
        what bursts and uneven lengths take off.
    wait_bursts, wait_lengths, wait_pool, wait_pooling
        Exponent of the utilisation in the probability of a wait.
    residual, residual_pool, residual_growth, residual_lengths
        Share of a running pass that a request waits for: of one replica, what a pool adds.
    burst, burst_pooling
        Prompts that bursts (arrival scv above 1) add to the pass one shares.
    queue_power, queue_kappa, queue_pooling, queue_budget, queue_pool, queue_pool_budget
        Exponent of the load in the queueing term.
    queue_factor, queue_share
        Factor of the queueing term, and the power of the replicas it is divided by.
    full_weight
        How fast the throughput that counts moves from that of full passes to the greatest one as budgets grow.
    bounded, bounded_pooling, bounded_budget, bounded_bursts, bounded_shape
        Greatest wait for passes against the mean, and the shape towards it.
    wait_power
        Power of the probability of a wait in percentiles.
    tail, tail_kappa, tail_lengths, tail_pool, tail_power, heavy
        Scale of the queueing term's exponential tail; how much longer it gets far out where lengths are heavy-tailed.
    spread_power
        How the excesses of own length and delay over their means add: 1 directly, 2 as independent spreads.
    half_shape, half_sharing, half_queueing, half_power, half_gap
        The median's weights of both parts of the delay, and its share of the gap between mean and median length.
    """

    sharpness: float
    sharpness_pool: float
    sharpness_growth: float
    sharpness_bursts: float
    sharpness_pooling: float
    sharpness_lengths: float
    wait_bursts: float
    wait_lengths: float
    wait_pool: float
    wait_pooling: float
    residual: float
    residual_pool: float
    residual_growth: float
    residual_lengths: float
    burst: float
    burst_pooling: float
    queue_power: float
    queue_kappa: float
    queue_pooling: float
    queue_budget: float
    queue_pool: float
    queue_pool_budget: float
    queue_factor: float
    queue_share: float
    full_weight: float
    bounded: float
    bounded_pooling: float
    bounded_budget: float
    bounded_bursts: float
    bounded_shape: float
    wait_power: float
    tail: float
    tail_kappa: float
    tail_lengths: float
    tail_pool: float
    tail_power: float
    heavy: float
    spread_power: float
    half_shape: float
    half_sharing: float
    half_queueing: float
    half_power: float
    half_gap: float


SINGLE = Constants(
    sharpness=2.5,
    sharpness_pool=0.0,
    sharpness_growth=1.0,
    sharpness_bursts=0.008981,
    sharpness_pooling=0.0,
    sharpness_lengths=0.05368,
    wait_bursts=0.8315,
    wait_lengths=0.239,
    wait_pool=0.0,
    wait_pooling=0.0,
    residual=0.4912,
    residual_pool=0.0,
    residual_growth=1.0,
    residual_lengths=0.0,
    burst=1.085,
    burst_pooling=0.0,
    queue_power=0.4028,
    queue_kappa=1.139,
    queue_pooling=0.0,
    queue_budget=-0.098,
    queue_pool=0.0,
    queue_pool_budget=0.0,
    queue_factor=1.019,
    queue_share=1.0,
    full_weight=0.3247,
    bounded=1.039,
    bounded_pooling=0.01167,
    bounded_budget=-0.08634,
    bounded_bursts=0.0155,
    bounded_shape=2.003,
    wait_power=0.9344,
    tail=1.183,
    tail_kappa=1.842e-16,
    tail_lengths=-0.08801,
    tail_pool=-1.797e-19,
    tail_power=0.5936,
    heavy=0.6778,
    spread_power=1.307,
    half_shape=0.2126,
    half_sharing=0.9823,
    half_queueing=0.5867,
    half_power=0.8995,
    half_gap=0.1309,
)
"""One replica, and every replica of a pool under round robin or random routing."""

JOIN_SHORTEST_QUEUE = Constants(
    sharpness=2.5,
    sharpness_pool=0.8601,
    sharpness_growth=0.5654,
    sharpness_bursts=0.008981,
    sharpness_pooling=0.608,
    sharpness_lengths=0.05368,
    wait_bursts=0.8315,
    wait_lengths=0.239,
    wait_pool=2.067,
    wait_pooling=0.119,
    residual=0.4912,
    residual_pool=1.026,
    residual_growth=0.3993,
    residual_lengths=0.5559,
    burst=1.085,
    burst_pooling=1.207,
    queue_power=0.4028,
    queue_kappa=1.139,
    queue_pooling=0.4663,
    queue_budget=-0.098,
    queue_pool=2.665,
    queue_pool_budget=-0.2786,
    queue_factor=1.019,
    queue_share=0.999,
    full_weight=0.3247,
    bounded=0.8271,
    bounded_pooling=0.2656,
    bounded_budget=-0.03137,
    bounded_bursts=0.1205,
    bounded_shape=1.059,
    wait_power=0.9686,
    tail=1.464,
    tail_kappa=1.216e-24,
    tail_lengths=0.06684,
    tail_pool=-0.1122,
    tail_power=0.5457,
    heavy=0.2411,
    spread_power=1.802,
    half_shape=0.9391,
    half_sharing=1.044,
    half_queueing=0.6681,
    half_power=0.9,
    half_gap=0.6203,
)
"""Pools of two replicas and more."""

CENTRAL = Constants(
    sharpness=2.5,
    sharpness_pool=0.000795,
    sharpness_growth=2.0,
    sharpness_bursts=0.008981,
    sharpness_pooling=2.721e-15,
    sharpness_lengths=0.05368,
    wait_bursts=0.8315,
    wait_lengths=0.239,
    wait_pool=1.764,
    wait_pooling=0.1516,
    residual=0.4912,
    residual_pool=0.6229,
    residual_growth=0.05,
    residual_lengths=2.0,
    burst=1.085,
    burst_pooling=0.1072,
    queue_power=0.4028,
    queue_kappa=1.139,
    queue_pooling=5.22e-22,
    queue_budget=-0.098,
    queue_pool=3.806,
    queue_pool_budget=-0.8105,
    queue_factor=1.019,
    queue_share=0.8372,
    full_weight=0.3247,
    bounded=0.6746,
    bounded_pooling=2.737e-14,
    bounded_budget=0.2585,
    bounded_bursts=4.394e-12,
    bounded_shape=2.445,
    wait_power=0.8545,
    tail=1.313,
    tail_kappa=1.763e-18,
    tail_lengths=-0.03827,
    tail_pool=-0.1218,
    tail_power=0.8584,
    heavy=1.925e-15,
    spread_power=1.825,
    half_shape=1.258,
    half_sharing=0.8576,
    half_queueing=0.7335,
    half_power=0.9,
    half_gap=0.5457,
)
"""Pools of two replicas and more with one queue for all."""
