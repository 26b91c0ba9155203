from dataclasses import replace

import pytest

from pdscaler.core.decision import PlanState
from pdscaler.core.order import write_order
from pdscaler.core.plan import plan
from pdscaler.core.pools import PerPool, Pool
from pdscaler.forecast.last_value import last_value
from support.core_cases import inputs, paper_workload, scaling


@pytest.mark.parametrize(
    ("current", "desired", "order"),
    [
        ((4, 4), (4, 4), ()),
        ((4, 4), (4, 5), (Pool.DECODE,)),
        ((2, 6), (4, 4), (Pool.DECODE, Pool.PREFILL)),
        ((6, 2), (4, 4), (Pool.PREFILL, Pool.DECODE)),
        ((2, 2), (4, 4), (Pool.PREFILL, Pool.DECODE)),
        ((6, 6), (4, 4), (Pool.PREFILL, Pool.DECODE)),
        ((6, 6), (None, 4), (Pool.DECODE,)),
    ],
)
def test_what_shrinks_is_written_first(
    current: tuple[int, int], desired: tuple[int | None, int | None], order: tuple[Pool, ...]
) -> None:
    decision = plan(scaling(), inputs(paper_workload(), *current), PlanState(), 0.0, last_value)
    pools = PerPool(
        replace(decision.pools.prefill, desired=desired[0]), replace(decision.pools.decode, desired=desired[1])
    )
    assert write_order(replace(decision, pools=pools)) == order
