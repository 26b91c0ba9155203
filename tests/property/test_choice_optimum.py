"""The search against brute force over all pairs."""

from hypothesis import assume, given
from hypothesis import strategies as st

from pdscaler.core.choice import choose, space_of
from pdscaler.core.decision import Limit
from pdscaler.core.pools import PerPool
from pdscaler.core.spec import Constraints, PoolLimits
from pdscaler.errors import InvalidInputError
from support.strategies import constraints, pool_limits


@given(
    st.builds(PerPool, pool_limits(), pool_limits()),
    constraints,
    st.builds(PerPool, st.integers(1, 16), st.integers(1, 16)),
    st.builds(PerPool, st.floats(0.1, 10), st.floats(0.1, 10)),
)
def test_the_chosen_pair_is_optimal(
    limits: PerPool[PoolLimits], joint: Constraints, wanted: PerPool[int], capacity: PerPool[float]
) -> None:
    try:
        space = space_of(limits, joint)
    except InvalidInputError:
        assume(False)
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
    choice = choose(space, wanted, capacity)
    assert choice.replicas in allowed
    assert choice.serves_all == bool(enough)
    if enough:
        assert space.cost(choice.replicas) == min(space.cost(pair) for pair in enough)
    else:
        best = max(_served(pair, capacity) for pair in allowed)
        assert _served(choice.replicas, capacity) == best
        equals = [space.cost(pair) for pair in allowed if _served(pair, capacity) == best]
        assert space.cost(choice.replicas) == min(equals)
    for pool, limited in choice.limited_by.items():
        joint_limits = {Limit.RATIO, Limit.MAX_GPUS} & set(limited)
        assert bool(joint_limits) == (choice.replicas[pool] != asked[pool])


def _ratio_holds(pair: PerPool[int], joint: Constraints) -> bool:
    low, high = joint.min_ratio, joint.max_ratio
    return (low is None or pair.prefill * low.decode >= pair.decode * low.prefill) and (
        high is None or pair.prefill * high.decode <= pair.decode * high.prefill
    )


def _served(pair: PerPool[int], capacity: PerPool[float]) -> float:
    return min(pair.prefill * capacity.prefill, pair.decode * capacity.decode)
