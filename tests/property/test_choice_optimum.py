"""The search against brute force over all pairs, for loads that grow with the count in any way."""

import math
from collections.abc import Callable
from itertools import accumulate

from hypothesis import assume, given
from hypothesis import strategies as st

from pdscaler.core.choice import Loads, choose, space_of
from pdscaler.core.decision import Limit
from pdscaler.core.pools import PerPool
from pdscaler.core.spec import Constraints, PoolLimits
from pdscaler.errors import InvalidInputError
from support.strategies import constraints, pool_limits

steps = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 4.0]) | st.floats(0.01, 10), min_size=13, max_size=13)
"""What each further replica adds to the load that a pool serves; some add nothing."""


@given(
    st.builds(PerPool, pool_limits(), pool_limits()),
    constraints,
    st.builds(PerPool, st.integers(1, 16), st.integers(1, 16)),
    st.builds(PerPool, steps, steps),
)
def test_the_chosen_pair_is_optimal(
    limits: PerPool[PoolLimits], joint: Constraints, wanted: PerPool[int], added: PerPool[list[float]]
) -> None:
    try:
        space = space_of(limits, joint)
    except InvalidInputError:
        assume(False)
    loads: Loads = added.map(lambda each: [0.0, *accumulate(each)].__getitem__)
    allowed = [
        pair
        for pair in (
            PerPool(prefill, decode)
            for prefill in range(limits.prefill.min_replicas, limits.prefill.max_replicas + 1)
            for decode in range(limits.decode.min_replicas, limits.decode.max_replicas + 1)
        )
        if _ratio_holds(pair, joint) and (joint.max_gpus is None or space.cost(pair) <= joint.max_gpus)
    ]
    asked = PerPool(space.bounds.prefill.clamp(wanted.prefill), space.bounds.decode.clamp(wanted.decode))
    enough = [pair for pair in allowed if pair.prefill >= asked.prefill and pair.decode >= asked.decode]
    choice = choose(space, wanted, loads)
    assert choice.replicas in allowed
    assert choice.serves_all == bool(enough)
    best = enough
    if not enough:
        most = max(_served(pair, loads) for pair in allowed)
        best = [pair for pair in allowed if _served(pair, loads) == most]
    fewest = min(space.cost(pair) for pair in best)
    # No other pair costs as little: changes against the present counts have nothing to decide.
    assert [pair for pair in best if space.cost(pair) == fewest] == [choice.replicas]
    for pool, limited in choice.limited_by.items():
        joint_limits = {Limit.RATIO, Limit.MAX_GPUS} & set(limited)
        assert bool(joint_limits) == (choice.replicas[pool] != asked[pool])


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    constraints,
    st.builds(PerPool, st.integers(1, 300), st.integers(1, 300)),
    st.builds(PerPool, st.floats(0.5, 1.5), st.floats(0.5, 1.5)),
)
def test_few_loads_are_asked_for(
    most_prefill: int, most_decode: int, joint: Constraints, wanted: PerPool[int], power: PerPool[float]
) -> None:
    limits = PerPool(PoolLimits(1, most_prefill, 3), PoolLimits(1, most_decode, 2))
    try:
        space = space_of(limits, joint)
    except InvalidInputError:
        assume(False)
    asked: list[int] = []

    def counted(exponent: float) -> Callable[[int], float]:
        def load(count: int) -> float:
            asked.append(count)
            return math.pow(count, exponent)

        return load

    choose(space, wanted, power.map(counted))
    assert len(asked) <= 60


def _ratio_holds(pair: PerPool[int], joint: Constraints) -> bool:
    low, high = joint.min_ratio, joint.max_ratio
    return (low is None or pair.prefill * low.decode >= pair.decode * low.prefill) and (
        high is None or pair.prefill * high.decode <= pair.decode * high.prefill
    )


def _served(pair: PerPool[int], loads: Loads) -> float:
    return min(loads.prefill(pair.prefill), loads.decode(pair.decode))
