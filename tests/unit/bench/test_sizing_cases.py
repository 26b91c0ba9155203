"""The cases of the sizing benchmark are seeded, varied, and attainable."""

from itertools import product

from bench.sizing.cases import MOST_EXPECTED, case, cases
from bench.sizing.engines import ENGINES

from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.slo import Statistic

DRAWN = cases(ENGINES, 125, seed=7)


def test_a_case_depends_on_its_index_and_the_seed_alone() -> None:
    assert case(ENGINES, 31, 7) == DRAWN[31]
    assert case(ENGINES, 31, 8) != DRAWN[31]
    assert case(ENGINES, 31, 8).fingerprint != DRAWN[31].fingerprint


def test_every_engine_meets_every_pair_of_statistics() -> None:
    slos = [(one.engine, one.spec.slo.ttft, one.spec.slo.tpot) for one in DRAWN]
    asked = {(name, ttft.statistic, tpot.statistic) for name, ttft, tpot in slos if ttft and tpot}
    assert asked == set(product((engine.name for engine in ENGINES), Statistic, Statistic))


def test_lengths_and_arrivals_spread_from_constant_to_heavy_tailed() -> None:
    loads = [one.workload for one in DRAWN]
    for lengths in ([load.isl for load in loads], [load.osl for load in loads]):
        scvs = {length.scv for length in lengths if length}
        assert {0.0, 4.0} <= scvs
    assert {load.arrival_scv for load in loads} >= {1.0, 4.0}
    assert 0.15 < sum(load.prefix_hit_ratio > 0 for load in loads) / len(loads) < 0.45


def test_loads_are_from_one_replica_to_dozens() -> None:
    busy = []
    for one in DRAWN:
        load = one.workload
        assert load.isl is not None
        pass_s = prefill_curve(one.spec.prefill_profile).time_s(load.isl.mean_tokens * (1 - load.prefix_hit_ratio))
        busy.append(load.arrival_rate_rps * pass_s)
    assert min(busy) < 1
    assert 20 < max(busy) <= MOST_EXPECTED * 1.001


def test_targets_lie_above_what_an_idle_deployment_takes() -> None:
    for one in DRAWN:
        load, slo = one.workload, one.spec.slo
        if load.isl is None or load.osl is None or load.isl.scv or load.osl.scv:
            continue
        assert slo.ttft is not None
        assert slo.tpot is not None
        curve, surface = prefill_curve(one.spec.prefill_profile), decode_surface(one.spec.decode_profile)
        tokens = load.isl.mean_tokens
        idle_s = curve.time_s(tokens * (1 - load.prefix_hit_ratio)) + curve.overhead_s(tokens)
        assert slo.ttft.target_s > 1.1 * idle_s
        assert slo.tpot.target_s > 1.07 * surface.at_context(1, tokens + load.osl.mean_tokens / 2)
