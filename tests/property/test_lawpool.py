"""Counts and loads of a pool on any latency law: two inverses of one another."""

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pdscaler.core.law import LatencyLaw
from pdscaler.core.lawpool import LawPool
from pdscaler.core.model import build_models
from pdscaler.core.paper import PrefillModel
from pdscaler.core.paperpool import PaperPool
from pdscaler.core.pools import Pool
from pdscaler.core.slo import LatencyTarget, Statistic
from pdscaler.core.spec import SizingModel, SizingSpec
from pdscaler.core.workload import WorkloadStats
from support.laws import ErlangLaw, PaperDecodeLaw, PaperPrefillLaw
from support.strategies import specs, statistics, workloads

erlang_laws = st.builds(ErlangLaw, st.floats(0.01, 1.0), st.floats(0.0, 0.5))
margins = st.floats(1.001, 20.0)
"""Target over the latency without load."""


def pool_of(
    law: LatencyLaw, margin: float, statistic: Statistic, rate_rps: float = 1.0, pool: Pool = Pool.PREFILL
) -> LawPool:
    return LawPool(pool, law, rate_rps, LatencyTarget(margin * law.idle_s(statistic), statistic))


@given(erlang_laws, margins, statistics, st.floats(0.01, 100.0))
def test_the_least_count_serves_and_one_fewer_does_not(
    law: ErlangLaw, margin: float, statistic: Statistic, load: float
) -> None:
    rate_rps = load / law.service_s
    model = pool_of(law, margin, statistic, rate_rps)
    assert model.target is not None
    count = model.least_replicas(rate_rps)
    assert law.value_s(count, rate_rps, statistic) <= model.target.target_s
    assert count == 1 or law.value_s(count - 1, rate_rps, statistic) > model.target.target_s


@given(erlang_laws, margins, statistics, st.integers(1, 60))
def test_the_largest_load_is_the_inverse_of_the_least_count(
    law: ErlangLaw, margin: float, statistic: Statistic, replicas: int
) -> None:
    model = pool_of(law, margin, statistic)
    load_rps = model.largest_load(replicas)
    assert model.least_replicas(load_rps) <= replicas
    assert model.least_replicas(load_rps * (1 + 1e-6)) > replicas


@given(erlang_laws, margins, statistics, st.floats(0.05, 60.0))
def test_the_need_lies_between_one_fewer_and_the_count_and_follows_the_load(
    law: ErlangLaw, margin: float, statistic: Statistic, load: float
) -> None:
    model = pool_of(law, margin, statistic, load / law.service_s)
    need = model.need()
    assert need.recommended - 1 < need.required <= need.recommended
    below, enough = model.largest_load(need.recommended - 1), model.largest_load(need.recommended)
    share = need.required - (need.recommended - 1)
    assert below + share * (enough - below) == pytest.approx(model.rate_rps, rel=1e-5)
    more = replace(model, rate_rps=model.rate_rps * 1.01).need()
    assert more.required >= need.required


@given(erlang_laws, st.none() | margins, st.floats(0.0, 100.0), st.floats(0.2, 5.0))
def test_a_correction_multiplies_the_load_that_the_law_sees(
    law: ErlangLaw, margin: float | None, load: float, correction: float
) -> None:
    target = None if margin is None else LatencyTarget(margin * law.idle_s(Statistic.P90), Statistic.P90)
    rate_rps = load / law.service_s
    corrected = LawPool(Pool.PREFILL, law, rate_rps, target, correction)
    plain = LawPool(Pool.PREFILL, law, rate_rps * correction, target)
    assert corrected.need().recommended == plain.need().recommended
    assert corrected.largest_load(7) * correction == pytest.approx(plain.largest_load(7))
    assert corrected.statistics(200) == plain.statistics(200)


@given(erlang_laws, statistics, st.floats(0.5, 100.0), st.floats(0.01, 0.999), st.sampled_from(Pool))
def test_a_target_that_no_count_meets_is_bounded(
    law: ErlangLaw, statistic: Statistic, load: float, margin: float, pool: Pool
) -> None:
    model = pool_of(law, margin, statistic, load / law.service_s, pool)
    need = model.need()
    assert not model.attainable
    assert math.isinf(need.required)
    assert need.recommended - 1 < need.wanted <= need.recommended
    best = pool_of(law, 2.0 if pool is Pool.PREFILL else 1.02, statistic, load / law.service_s, pool)
    assert need.recommended == best.need().recommended


@given(specs(constrained=False), workloads())
def test_the_papers_formulas_as_a_law_ask_for_the_same(spec: SizingSpec, workload: WorkloadStats) -> None:
    models = build_models(replace(spec, model=SizingModel.PAPER_MM1), workload)
    assert models is not None
    for pool, formula in models.pools.items():
        assert isinstance(formula, PaperPool)
        law: LatencyLaw
        if isinstance(formula.model, PrefillModel):
            law = PaperPrefillLaw(formula.model)
        else:
            law = PaperDecodeLaw(formula.model)
            if formula.target is None:
                continue  # the formula then runs decode at its limits, a law at 90 % of them
        model = LawPool(pool, law, formula.rate_rps, formula.target)
        assert model.attainable == formula.attainable
        if pool is Pool.PREFILL and not formula.attainable:
            # Half utilisation and twice the TTFT without load are the same only where there is no overhead.
            assert model.need().recommended <= formula.need().recommended
            continue
        expected, found = formula.need(), model.need()
        assume(expected.recommended < 10**5)
        near = abs(expected.wanted - round(expected.wanted)) < 1e-5 * expected.wanted
        assert near or found.recommended == expected.recommended
        assert found.wanted == pytest.approx(expected.wanted, rel=1e-5)
        assert model.largest_load(5) == pytest.approx(formula.largest_load(5), rel=1e-5)


def test_the_search_asks_the_law_a_few_times() -> None:
    asked = 0

    class Counted(ErlangLaw):
        def value_s(self, replicas: int, rate_rps: float, statistic: Statistic) -> float:
            nonlocal asked
            asked += 1
            return ErlangLaw.value_s(self, replicas, rate_rps, statistic)

    for rate_rps in (1.0, 30.0, 100.0, 300.0, 1000.0):
        for margin in (1.01, 1.5, 5.0):
            asked = 0
            pool_of(Counted(0.2), margin, Statistic.P95, rate_rps).need()
            assert asked <= 25, (rate_rps, margin)
