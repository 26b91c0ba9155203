"""What is said of a pool on a general latency law; what PaperMM1 says stands in test_sizing."""

import math
from dataclasses import dataclass, replace

import pytest

from pdscaler.core.choice import Bounds, Choice, Space
from pdscaler.core.decision import Binding, Limit
from pdscaler.core.explain import explain, infeasible_reason, served_rps
from pdscaler.core.lawpool import LawPool
from pdscaler.core.need import PoolModel
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.sizing import next_changes, size
from pdscaler.core.slo import LatencyTarget, Statistic
from pdscaler.core.spec import Constraints, SizingModel
from support.core_cases import paper_spec, paper_workload
from support.laws import ErlangLaw

SPACE = Space(PerPool(Bounds(1, 16), Bounds(1, 16)), PerPool(1, 1), Constraints())


@dataclass(frozen=True, slots=True)
class BoundLaw(ErlangLaw):
    """An Erlang law that names something as what binds."""

    bound_by: Binding = Binding.TPOT

    def binding(self, replicas: int, rate_rps: float) -> Binding:
        return self.bound_by


def pool(
    role: Pool = Pool.PREFILL,
    target_s: float | None = 0.4,
    rate_rps: float = 20.0,
    statistic: Statistic = Statistic.MEAN,
    bound_by: Binding = Binding.TTFT,
) -> LawPool:
    target = None if target_s is None else LatencyTarget(target_s, statistic)
    return LawPool(role, BoundLaw(0.2, bound_by=bound_by), rate_rps, target)


def said(role: Pool, model: LawPool, replicas: int | None = None, limited: tuple[Limit, ...] = ()) -> str:
    need = model.need()
    return explain(role, model, need, need.recommended if replicas is None else replicas, limited)


@pytest.mark.parametrize(
    ("role", "binding", "words"),
    [
        (Pool.PREFILL, Binding.TTFT, "queueing"),
        (Pool.DECODE, Binding.TPOT, "decode speed"),
        (Pool.DECODE, Binding.KV_MEMORY, "KV memory"),
        (Pool.DECODE, Binding.BATCH_SLOTS, "batch slots"),
    ],
)
def test_what_binds_and_what_one_fewer_gives(role: Pool, binding: Binding, words: str) -> None:
    assert said(role, pool(role, bound_by=binding)) == f"{words}: 1 fewer cannot keep up"
    # Four servers of 0.2 s stand behind 20 requests/s: with a tight target one fewer still keeps up.
    tight = pool(role, 0.205, bound_by=binding)
    fewer = tight.value_s(tight.need().recommended - 1)
    assert 0.205 < fewer < 0.23
    assert said(role, tight) == f"{words}: 1 fewer gives {fewer * 1000:.0f}ms"


def test_one_replica_is_the_least() -> None:
    assert said(Pool.PREFILL, pool(rate_rps=0.5)) == "queueing: 1 is the least"


def test_nothing_arrives() -> None:
    assert said(Pool.PREFILL, pool(rate_rps=0.0)) == "nothing arrives: the minimum"


@pytest.mark.parametrize(("role", "name"), [(Pool.PREFILL, "TTFT"), (Pool.DECODE, "TPOT")])
def test_a_pool_without_a_target_is_kept_off_saturation(role: Pool, name: str) -> None:
    model = pool(role, None)
    assert model.need().recommended == math.ceil(20 * 0.2 / 0.9)
    assert said(role, model).startswith(f"no {name} target, load at most 90%: ")


def test_limits_are_named_with_what_they_give() -> None:
    model = pool()
    assert said(Pool.PREFILL, model, 9, (Limit.RATIO,)) == "the ratio asks 9: 5 would meet the target"
    assert said(Pool.PREFILL, model, 2, (Limit.MAX_REPLICAS,)) == (
        f"needs {model.need().required:.2f}, maxReplicas allows 2, which cannot keep up"
    )


@pytest.mark.parametrize(
    ("role", "statistic", "words"),
    [
        (Pool.PREFILL, Statistic.MEAN, "one request alone takes 200ms to its first token"),
        (Pool.PREFILL, Statistic.P95, "one request alone takes 599ms to its first token (P95)"),
        (Pool.DECODE, Statistic.MEAN, "one request alone decodes at 200ms/token on this engine"),
        (Pool.DECODE, Statistic.P95, "one request alone decodes at 599ms/token (P95) on this engine"),
    ],
)
def test_a_target_that_no_count_meets(role: Pool, statistic: Statistic, words: str) -> None:
    model = pool(role, 0.1, statistic=statistic)
    other = pool(role.other)
    text = said(role, model)
    assert text.startswith(f"{words}: no count meets the target; 1 fewer ")
    models: PerPool[PoolModel] = PerPool(model, other) if role is Pool.PREFILL else PerPool(other, model)
    needs = models.map(lambda each: each.need())
    pair = needs.map(lambda need: need.recommended)
    reason = infeasible_reason(models, SPACE, needs, Choice(pair, PerPool((), ()), serves_all=True))
    name = "TTFT" if role is Pool.PREFILL else "TPOT"
    suffix = "" if statistic is Statistic.MEAN else f" ({statistic})"
    assert reason.startswith(f"{name} 100ms{suffix} cannot be met: {words}. ")
    assert served_rps(models, pair) == 0


def test_a_bound_that_binds_names_the_load_that_is_served() -> None:
    models: PerPool[PoolModel] = PerPool(pool(), pool(Pool.DECODE))
    needs = models.map(lambda each: each.need())
    space = replace(SPACE, bounds=PerPool(Bounds(1, 3), Bounds(1, 16)))
    choice = Choice(PerPool(3, needs.decode.recommended), PerPool((Limit.MAX_REPLICAS,), ()), serves_all=True)
    reason = infeasible_reason(models, space, needs, choice)
    load_rps = models.prefill.largest_load(3)
    assert 10 < load_rps < 15
    assert reason.endswith(
        f"; {choice.replicas.prefill}P{choice.replicas.decode}D serves {load_rps:.1f} of 20 "
        "requests/s within the targets"
    )


def test_the_answer_of_auto_changes_exactly_where_it_says() -> None:
    spec, workload = replace(paper_spec(), model=SizingModel.AUTO), paper_workload()
    answer = size(spec, workload)
    for role, change in next_changes(spec, workload, answer).items():
        assert change.up_rps is not None
        assert change.down_rps is not None
        before = answer.pools[role].replicas
        for rate_rps, replicas in (
            (change.up_rps * (1 - 1e-5), before),
            (change.up_rps * (1 + 1e-5), change.up_replicas),
            (change.down_rps * (1 + 1e-5), before),
            (change.down_rps * (1 - 1e-5), change.down_replicas),
        ):
            assert size(spec, paper_workload(rate_rps)).pools[role].replicas == replicas
