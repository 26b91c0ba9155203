"""The analytic prefill model: what is known exactly, and the pieces it is made of."""

import math

import numpy as np
import pytest

from pdscaler.core.curves import prefill_curve
from pdscaler.core.decision import Binding
from pdscaler.core.prefill_law import PrefillLaw, prefill_law
from pdscaler.core.prefill_lengths import prompt_lengths
from pdscaler.core.prefill_passes import full_pass, least_full_pass
from pdscaler.core.profile import MaxThroughput, Overhead, PrefillPoint, PrefillProfile
from pdscaler.core.slo import Statistic
from pdscaler.core.spec import Routing
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError

ALONE = PrefillProfile(max_throughput=MaxThroughput(1000, 10_000.0), max_batched_tokens=1)
"""Each prompt goes alone and takes a tenth of a millisecond a token: a queue of the textbooks."""

ENGINE = PrefillProfile(
    tuple(
        PrefillPoint(tokens, 0.015 + 18e-6 * tokens + 1e-10 * tokens**2) for tokens in (100, 1000, 3000, 8000, 16000)
    ),
    overhead=Overhead(0.02, 0.003),
)
VARIED = LengthStats(2000.0, 1.0)


def law(
    profile: PrefillProfile = ENGINE,
    isl: LengthStats | None = VARIED,
    *,
    arrival_scv: float = 1.0,
    hits: float = 0.0,
    routing: Routing = Routing.JOIN_SHORTEST_QUEUE,
) -> PrefillLaw:
    return prefill_law(profile, WorkloadStats(1.0, isl, LengthStats(100.0), arrival_scv, hits), routing)


@pytest.mark.parametrize("scv", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("utilization", [0.5, 0.7, 0.8, 0.9, 0.95])
def test_one_prompt_a_pass_gives_the_pollaczek_khinchine_mean(scv: float, utilization: float) -> None:
    value_s = law(ALONE, LengthStats(1000.0, scv)).value_s(1, 10 * utilization, Statistic.MEAN)
    expected_s = 0.1 + utilization * 0.1 * (1 + scv) / 2 / (1 - utilization)
    assert value_s == pytest.approx(expected_s, rel=0.05)


@pytest.mark.parametrize("statistic", Statistic)
def test_without_load_a_request_takes_its_own_pass_and_overhead(statistic: Statistic) -> None:
    rng = np.random.default_rng(1)
    tokens = np.exp(math.log(2000) - math.log(2) / 2 + math.sqrt(math.log(2)) * rng.standard_normal(400_000))
    curve = prefill_curve(ENGINE)
    alone_s = np.array([curve.time_s(0.6 * x) + curve.overhead_s(x) for x in tokens[:100_000]])
    quantile = statistic.quantile
    expected_s = alone_s.mean() if quantile is None else np.quantile(alone_s, quantile)
    model = law(hits=0.4)
    assert model.idle_s(statistic) == pytest.approx(expected_s, rel=0.015)
    assert model.value_s(3, 0.0, statistic) == model.idle_s(statistic) == model.at(3, 0.0).of(statistic)
    assert model.value_s(3, 1e-9, statistic) == pytest.approx(model.idle_s(statistic), rel=1e-6)


def test_moments_of_a_pass_are_those_of_the_distribution() -> None:
    curve = prefill_curve(ENGINE)
    levels = (np.arange(200_000) + 0.5) / 200_000
    from scipy.stats import norm

    tokens = np.exp(math.log(2000) - math.log(3) / 2 + math.sqrt(math.log(3)) * norm.ppf(levels))
    passes_s = np.array([curve.time_s(x) for x in tokens])
    lengths = prompt_lengths(curve, LengthStats(2000.0, 2.0), 0.0)
    assert lengths.pass_s == pytest.approx(passes_s.mean(), rel=1e-3)
    assert lengths.pass_scv == pytest.approx(passes_s.var() / passes_s.mean() ** 2, rel=0.02)
    assert lengths.convex_pass_s >= lengths.pass_s


def test_measured_lengths_are_used_as_they_are() -> None:
    atoms = ((500.0, 0.6), (4000.0, 0.38), (9000.0, 0.02))
    mean = sum(tokens * share for tokens, share in atoms)
    second = sum(tokens * tokens * share for tokens, share in atoms)
    model = law(isl=LengthStats(mean, second / mean**2 - 1, atoms))
    curve = prefill_curve(ENGINE)
    for statistic, tokens in ((Statistic.P50, 500.0), (Statistic.P90, 4000.0), (Statistic.P99, 9000.0)):
        assert model.idle_s(statistic) == pytest.approx(curve.time_s(tokens) + curve.overhead_s(tokens))
    same = law(isl=LengthStats(2000.0, 0.0, ((2000.0, 1.0),)))
    assert same.at(4, 60.0) == law(isl=LengthStats(2000.0)).at(4, 60.0)


def test_saturation_is_the_throughput_of_full_passes() -> None:
    model = law(isl=LengthStats(2000.0))
    full_s = prefill_curve(ENGINE).time_s(4 * 2000)  # four of 2000 fit 8192
    assert model.saturation_rps(3) == pytest.approx(3 * 4 / full_s)
    assert math.isinf(model.value_s(3, model.saturation_rps(3), Statistic.P50))
    assert model.at(3, 3.01 * 4 / full_s).mean == math.inf
    assert math.isfinite(model.value_s(3, 0.999 * model.saturation_rps(3), Statistic.P99))
    assert model.binding(3, 1.0) is Binding.TTFT


def test_batching_short_prompts_raises_the_load_that_is_served() -> None:
    """MODEL section 3: one prompt at a time over-sizes short prompts."""
    batched, alone = (
        law(isl=LengthStats(500.0)),
        law(PrefillProfile(ENGINE.points, max_batched_tokens=500, overhead=ENGINE.overhead), LengthStats(500.0)),
    )
    assert batched.saturation_rps(1) > 1.8 * alone.saturation_rps(1)
    assert batched.value_s(1, alone.saturation_rps(1), Statistic.P95) < 0.25


@pytest.mark.parametrize("statistic", Statistic)
def test_one_replica_is_the_same_under_any_routing(statistic: Statistic) -> None:
    values_s = {law(routing=routing, arrival_scv=2.0).value_s(1, 12.0, statistic) for routing in Routing}
    assert len(values_s) == 1


def test_routings_rank_as_they_should() -> None:
    values_s = [
        law(ALONE, LengthStats(1000.0, 1.0), routing=routing).value_s(8, 68.0, Statistic.MEAN)
        for routing in (Routing.CENTRAL, Routing.JOIN_SHORTEST_QUEUE, Routing.ROUND_ROBIN, Routing.RANDOM)
    ]
    assert values_s == sorted(values_s)
    assert values_s[0] < 0.5 * values_s[-1]


@pytest.mark.parametrize("scv", [0.05, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("budget", [0.6, 1.4, 2.7, 6.0, 30.0, 90.0])
def test_full_passes_hold_what_packing_in_order_gives(scv: float, budget: float) -> None:
    sigma = math.sqrt(math.log1p(scv))
    lengths = np.exp(sigma * np.random.default_rng(7).standard_normal(60_000) - sigma * sigma / 2)
    passes, filled = 1, 0.0
    for length in (lengths / lengths.mean()).tolist():
        if filled and filled + length > budget:
            passes, filled = passes + 1, 0.0
        filled += length
    assert full_pass(budget, scv) == pytest.approx(len(lengths) / passes, rel=0.04)
    assert least_full_pass(budget, scv) <= full_pass(budget, scv)


def test_lengths_must_be_known() -> None:
    with pytest.raises(InvalidInputError, match="inputTokens"):
        law(isl=None)
