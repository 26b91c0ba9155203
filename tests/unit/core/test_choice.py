import pytest

from pdscaler.core.choice import Bounds, Choice, Space, choose, decode_interval, space_of
from pdscaler.core.decision import Limit
from pdscaler.core.pools import PerPool
from pdscaler.core.spec import Constraints, PoolLimits, Ratio
from pdscaler.errors import InvalidInputError


def space(
    prefill: tuple[int, int] = (1, 16),
    decode: tuple[int, int] = (1, 16),
    gpus: tuple[int, int] = (1, 1),
    constraints: Constraints | None = None,
) -> Space:
    return Space(PerPool(Bounds(*prefill), Bounds(*decode)), PerPool(*gpus), constraints or Constraints())


def pick(where: Space, wanted: tuple[int, int], capacity: tuple[float, float] = (1.0, 1.0)) -> Choice:
    return choose(where, PerPool(*wanted), PerPool(*capacity).map(lambda each: lambda count: count * each))


def test_nothing_binds() -> None:
    choice = pick(space(), (3, 4))
    assert choice.replicas == PerPool(3, 4)
    assert choice.limited_by == PerPool((), ())
    assert choice.serves_all


def test_own_bounds_leave_the_other_pool_alone() -> None:
    choice = pick(space(prefill=(1, 2), decode=(6, 16)), (9, 4))
    assert choice.replicas == PerPool(2, 6)
    assert choice.limited_by == PerPool((Limit.MAX_REPLICAS,), (Limit.MIN_REPLICAS,))


def test_ratio_raises_the_pool_that_lags() -> None:
    between = Constraints(min_ratio=Ratio(1, 2), max_ratio=Ratio(2, 1))
    assert pick(space(constraints=between), (2, 9)).replicas == PerPool(5, 9)
    raised = pick(space(constraints=between), (9, 2))
    assert raised.replicas == PerPool(9, 5)
    assert raised.limited_by == PerPool((), (Limit.RATIO,))
    assert raised.serves_all


def test_budget_gives_the_largest_load_within_both() -> None:
    # 8 + 8 replicas are wanted for 8 requests/s each; 10 GPUs serve 5 requests/s, not a cut in proportion to cost.
    choice = pick(space(constraints=Constraints(max_gpus=10)), (8, 8))
    assert choice.replicas == PerPool(5, 5)
    assert choice.limited_by == PerPool((Limit.MAX_GPUS,), (Limit.MAX_GPUS,))
    assert not choice.serves_all


def test_budget_takes_the_fewest_gpus_among_equals() -> None:
    # 3P1D and 4P1D both serve 3 requests/s, as one decode replica serves 3; 3P2D serves no more.
    choice = pick(space(prefill=(1, 4), constraints=Constraints(max_gpus=5)), (4, 2), (1.0, 3.0))
    assert choice.replicas == PerPool(3, 1)


def test_ratio_and_budget_together_name_both() -> None:
    choice = pick(space(gpus=(8, 8), constraints=Constraints(56, Ratio(1, 4), Ratio(1, 2))), (4, 4))
    assert choice.limited_by.prefill == (Limit.RATIO, Limit.MAX_GPUS)


@pytest.mark.parametrize(("prefill", "interval"), [(1, (1, 4)), (2, (1, 8)), (3, (2, 12)), (8, (4, 32))])
def test_decode_interval_of_a_ratio_between_1_to_4_and_2_to_1(prefill: int, interval: tuple[int, int]) -> None:
    assert decode_interval(prefill, Constraints(min_ratio=Ratio(1, 4), max_ratio=Ratio(2, 1))) == interval


@pytest.mark.parametrize(
    ("prefill", "decode", "constraints", "field"),
    [
        (PoolLimits(0, 4), PoolLimits(), Constraints(), "spec.prefill.minReplicas"),
        (PoolLimits(), PoolLimits(5, 4), Constraints(), "spec.decode.maxReplicas"),
        (PoolLimits(), PoolLimits(1, 4, 0), Constraints(), "spec.decode.gpusPerReplica"),
        (PoolLimits(2, 4, 8), PoolLimits(1, 4, 8), Constraints(23), "spec.constraints.maxGPUs"),
        (PoolLimits(1, 2), PoolLimits(9, 9), Constraints(min_ratio=Ratio(1, 4)), "spec.constraints.ratio"),
        (PoolLimits(), PoolLimits(), Constraints(min_ratio=Ratio(0, 4)), "spec.constraints.ratio.min"),
    ],
)
def test_contradictions_name_the_field(
    prefill: PoolLimits, decode: PoolLimits, constraints: Constraints, field: str
) -> None:
    with pytest.raises(InvalidInputError) as error:
        space_of(PerPool(prefill, decode), constraints)
    assert error.value.field == field


def test_least_pair_that_does_not_fit_is_named() -> None:
    with pytest.raises(InvalidInputError, match="2P1D, 24 GPUs"):
        space_of(PerPool(PoolLimits(2, 4, 8), PoolLimits(1, 4, 8)), Constraints(23))
