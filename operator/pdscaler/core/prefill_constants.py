"""Exponents and factors of the prefill law, fitted to simulations. Imports the standard library only.

Fitted by least squares (soft L1 loss) of the relative error in the load at which a statistic is reached, to simulations
of 2560 random pools, each at eight loads from 0.33 to 0.97 of saturation and 150 000 requests: 1 to 64 replicas; mean
prompts of 100 to 20 000 tokens with an scv of 0 to 4; budgets of 2048 to 32768 tokens; arrivals of scv 0.5 to 4; an
H200's measured passes, straight lines through zero, and curves with large and small constant parts. SINGLE was fitted
to single replicas, round robin and random routing together, the pools' further terms to two replicas and more.

What remains, as the error in the load at which a target is reached (median / 90th percentile of its size):

================== =========== =========== =========== =========== ===========
routing            Mean        P50         P90         P95         P99
================== =========== =========== =========== =========== ===========
JoinShortestQueue  2.0 / 7 %   2.8 / 9 %   2.6 / 9 %   3.1 / 11 %  3.8 / 13 %
RoundRobin         1.8 / 8 %   2.6 / 11 %  2.7 / 12 %  3.2 / 13 %  4.0 / 17 %
Random             2.2 / 8 %   3.1 / 10 %  3.5 / 13 %  4.2 / 15 %  4.7 / 16 %
Central            3.3 / 12 %  3.3 / 12 %  6.1 / 25 %  7.2 / 28 %  8.5 / 35 %
================== =========== =========== =========== =========== ===========

Percentiles under a central queue are the weak spot where prompts are short: whoever is free takes all that wait, so a
few passes are full and the others short, and percentiles come out too low there.

Least counts in 850 fresh cases (84 % of them under join-shortest-queue, none under a central queue; all statistics;
targets 1.3 to 20 times TTFT without load; up to 80 replicas): 80 % equal the simulated one (93 % up to four replicas,
78 % up to sixteen, 45 % beyond), 97 % are within one replica or 5 % of it; 8 % are below and 12 % above.
"""

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
    bounded, bounded_pooling, bounded_range, bounded_pool_range, bounded_bursts, bounded_pool_bursts
        Greatest wait for passes against the mean: how it falls with replicas, grows with the range of pass times and
        with bursts.
    bounded_shape, bounded_shape_pooling
        How the wait for passes rises towards its greatest value.
    wait_power, wait_pool_power
        Power of the probability of a wait in percentiles.
    tail, tail_lengths, tail_pooling, tail_load, tail_pool_load, heavy
        Scale of the queueing term's exponential tail; how much longer it gets far out where lengths are heavy-tailed.
    spread_power, spread_pool_power
        How the excesses of own length and delay over their means add: 1 directly, 2 as independent spreads.
    half_shape, half_pool_shape, half_sharing, half_pool_sharing, half_queueing, half_pool_queueing,
    half_power, half_gap, half_pool_gap
        The median's weights of both parts of the delay, and its share of the gap between mean and median length.

    Notes
    -----
    Terms named ``pool`` count by 1 − 1 / c or c^x − 1, those named ``pooling`` are powers of c: at one replica all
    pools are the same.
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
    bounded_range: float
    bounded_pool_range: float
    bounded_bursts: float
    bounded_pool_bursts: float
    bounded_shape: float
    bounded_shape_pooling: float
    wait_power: float
    wait_pool_power: float
    tail: float
    tail_lengths: float
    tail_pooling: float
    tail_load: float
    tail_pool_load: float
    heavy: float
    spread_power: float
    spread_pool_power: float
    half_shape: float
    half_pool_shape: float
    half_sharing: float
    half_pool_sharing: float
    half_queueing: float
    half_pool_queueing: float
    half_power: float
    half_gap: float
    half_pool_gap: float


SINGLE = Constants(
    sharpness=2.5,
    sharpness_pool=0.0,
    sharpness_growth=1.0,
    sharpness_bursts=0.009374,
    sharpness_pooling=0.0,
    sharpness_lengths=0.02496,
    wait_bursts=0.8276,
    wait_lengths=0.2485,
    wait_pool=0.0,
    wait_pooling=0.0,
    residual=0.4892,
    residual_pool=0.0,
    residual_growth=1.0,
    residual_lengths=0.0,
    burst=1.06,
    burst_pooling=0.0,
    queue_power=0.3937,
    queue_kappa=1.176,
    queue_pooling=0.0,
    queue_budget=-0.1038,
    queue_pool=0.0,
    queue_pool_budget=0.0,
    queue_factor=1.016,
    queue_share=1.0,
    full_weight=0.3232,
    bounded=0.6656,
    bounded_pooling=0.0,
    bounded_range=0.04182,
    bounded_pool_range=0.0,
    bounded_bursts=6.597e-24,
    bounded_pool_bursts=0.0,
    bounded_shape=2.747,
    bounded_shape_pooling=0.0,
    wait_power=0.7171,
    wait_pool_power=0.0,
    tail=1.002,
    tail_lengths=-0.006603,
    tail_pooling=0.0,
    tail_load=0.5815,
    tail_pool_load=0.0,
    heavy=0.534,
    spread_power=1.225,
    spread_pool_power=0.0,
    half_shape=0.1511,
    half_pool_shape=0.0,
    half_sharing=0.981,
    half_pool_sharing=0.0,
    half_queueing=0.6265,
    half_pool_queueing=0.0,
    half_power=1.295,
    half_gap=0.1929,
    half_pool_gap=0.0,
)
"""One replica, and every replica of a pool under round robin or random routing."""

JOIN_SHORTEST_QUEUE = Constants(
    sharpness=2.5,
    sharpness_pool=1.343,
    sharpness_growth=0.5129,
    sharpness_bursts=0.009374,
    sharpness_pooling=0.4512,
    sharpness_lengths=0.02496,
    wait_bursts=0.8276,
    wait_lengths=0.2485,
    wait_pool=2.021,
    wait_pooling=0.1147,
    residual=0.4892,
    residual_pool=1.2,
    residual_growth=0.2038,
    residual_lengths=0.5082,
    burst=1.06,
    burst_pooling=1.02,
    queue_power=0.3937,
    queue_kappa=1.176,
    queue_pooling=0.3706,
    queue_budget=-0.1038,
    queue_pool=2.478,
    queue_pool_budget=-0.3062,
    queue_factor=1.016,
    queue_share=0.9984,
    full_weight=0.3232,
    bounded=0.6656,
    bounded_pooling=0.2179,
    bounded_range=0.04182,
    bounded_pool_range=0.02881,
    bounded_bursts=6.597e-24,
    bounded_pool_bursts=0.02348,
    bounded_shape=2.747,
    bounded_shape_pooling=0.305,
    wait_power=0.7171,
    wait_pool_power=0.2228,
    tail=1.002,
    tail_lengths=-0.006603,
    tail_pooling=-0.08435,
    tail_load=0.5815,
    tail_pool_load=0.3073,
    heavy=0.534,
    spread_power=1.225,
    spread_pool_power=1.145,
    half_shape=0.1511,
    half_pool_shape=1.005,
    half_sharing=0.981,
    half_pool_sharing=0.0,
    half_queueing=0.6265,
    half_pool_queueing=0.3221,
    half_power=1.295,
    half_gap=0.1929,
    half_pool_gap=0.5785,
)
"""Pools of two replicas and more."""

CENTRAL = Constants(
    sharpness=2.5,
    sharpness_pool=0.2601,
    sharpness_growth=0.5,
    sharpness_bursts=0.009374,
    sharpness_pooling=0.4923,
    sharpness_lengths=0.02496,
    wait_bursts=0.8276,
    wait_lengths=0.2485,
    wait_pool=1.804,
    wait_pooling=0.1439,
    residual=0.4892,
    residual_pool=0.05142,
    residual_growth=0.5184,
    residual_lengths=2.0,
    burst=1.06,
    burst_pooling=0.08152,
    queue_power=0.3937,
    queue_kappa=1.176,
    queue_pooling=2.058e-15,
    queue_budget=-0.1038,
    queue_pool=4.211,
    queue_pool_budget=-0.849,
    queue_factor=1.016,
    queue_share=0.8209,
    full_weight=0.3232,
    bounded=0.6656,
    bounded_pooling=1.246e-18,
    bounded_range=0.04182,
    bounded_pool_range=0.0,
    bounded_bursts=6.597e-24,
    bounded_pool_bursts=0.0,
    bounded_shape=2.747,
    bounded_shape_pooling=0.0,
    wait_power=0.7171,
    wait_pool_power=0.0762,
    tail=1.002,
    tail_lengths=-0.006603,
    tail_pooling=-1.155e-14,
    tail_load=0.5815,
    tail_pool_load=0.1062,
    heavy=0.534,
    spread_power=1.225,
    spread_pool_power=1.051,
    half_shape=0.1511,
    half_pool_shape=1.548,
    half_sharing=0.981,
    half_pool_sharing=0.0,
    half_queueing=0.6265,
    half_pool_queueing=0.03147,
    half_power=1.295,
    half_gap=0.1929,
    half_pool_gap=0.4546,
)
"""Pools of two replicas and more with one queue for all."""
