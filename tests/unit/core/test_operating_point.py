"""Operating points: what the profile promises of them, which are kept, and what the decode points say."""

from dataclasses import replace

import pytest

from pdscaler.core.corrections import EngineCorrection, corrected
from pdscaler.core.decode_calibration import calibrate_decode, derate_of
from pdscaler.core.operating_point import (
    HALF_LIFE_S,
    KEEP_S,
    MOST_POINTS,
    NEWEST_PER_BIN,
    Engine,
    PoolPoint,
    remember,
    thinned,
)
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.sizing import predict
from pdscaler.core.workload import LengthStats, WorkloadStats
from support.calibrating import BEGIN_S, auto_spec, measured, point


@pytest.mark.parametrize("correction", [EngineCorrection(), EngineCorrection(0.8, 0.05), EngineCorrection(1.3, 0.0)])
@pytest.mark.parametrize("load", [0.05, 0.4, 0.6])
def test_it_promises_what_the_plan_predicts_of_the_corrected_profile(correction: EngineCorrection, load: float) -> None:
    for pool in Pool:
        engine = Engine(replace(point(pool, load), prefix_hit_ratio=0.2), pool, auto_spec())
        asked = engine.point
        workload = WorkloadStats(asked.rate_rps, asked.isl, asked.osl, prefix_hit_ratio=0.2)
        spec = corrected(auto_spec(), PerPool(correction, correction))
        said = predict(spec, workload, PerPool(asked.replicas, asked.replicas))
        predicted = said.ttft_s.mean if pool is Pool.PREFILL else said.tpot_s.mean
        extra_s = correction.extra_s if pool is Pool.PREFILL else 0.0
        assert engine.latency_s(correction.derate, extra_s) == pytest.approx(predicted, rel=1e-6)


def test_the_newest_of_each_load_are_kept() -> None:
    points: tuple[PoolPoint, ...] = ()
    for number in range(60):
        for load in (0.15, 0.35, 0.55):
            points = remember(points, point(Pool.DECODE, load, at_s=BEGIN_S + 200.0 * number), auto_spec(), Pool.DECODE)
    assert len(points) == 3 * NEWEST_PER_BIN
    assert [each.at_s for each in points] == sorted(each.at_s for each in points)
    assert min(each.at_s for each in points) == BEGIN_S + 200.0 * (60 - NEWEST_PER_BIN)


def test_a_quiet_night_does_not_push_the_busy_day_out() -> None:
    busy = point(Pool.DECODE, 0.75, at_s=BEGIN_S)
    points = remember((), busy, auto_spec(), Pool.DECODE)
    for number in range(1, 200):
        points = remember(points, point(Pool.DECODE, 0.1, at_s=BEGIN_S + 200.0 * number), auto_spec(), Pool.DECODE)
    assert busy in points
    late = remember(points, point(Pool.DECODE, 0.1, at_s=BEGIN_S + KEEP_S + 1), auto_spec(), Pool.DECODE)
    assert busy not in late


def test_there_are_never_more_than_so_many() -> None:
    many = [point(Pool.PREFILL, 0.02 + 0.012 * number, at_s=BEGIN_S + number) for number in range(72)]
    assert len(thinned(many, auto_spec(), Pool.PREFILL, BEGIN_S + 100.0)) == MOST_POINTS
    assert thinned(many, auto_spec(), Pool.PREFILL, BEGIN_S - 1.0) == (), "from a clock that was put back"


def test_old_points_count_less() -> None:
    known = point(Pool.DECODE, 0.5)
    assert known.weight(BEGIN_S) == 1.0
    assert known.weight(BEGIN_S + HALF_LIFE_S) == 0.5


def test_what_is_kept_is_what_was_reckoned_with() -> None:
    exact = replace(point(Pool.DECODE, 0.5), rate_rps=123.456789, isl=LengthStats(1234.5678, 0.123456), at_s=7.9)
    short = exact.rounded
    assert (short.rate_rps, short.isl, short.at_s) == (123.46, LengthStats(1234.6, 0.12346), 7.0)
    assert short.rounded == short


@pytest.mark.parametrize("derate", [0.55, 0.8, 1.0, 1.25, 1.9])
@pytest.mark.parametrize("load", [0.1, 0.45])
def test_each_decode_point_has_one_derate(derate: float, load: float) -> None:
    assert derate_of(measured(Pool.DECODE, load, EngineCorrection(derate))) == pytest.approx(derate, rel=1e-3)


def test_decode_points_that_agree_tell_the_derate() -> None:
    engines = [measured(Pool.DECODE, 0.4, EngineCorrection(0.8)) for _ in range(3)]
    found = calibrate_decode(engines, BEGIN_S)
    assert found.derate == pytest.approx(0.8, rel=0.01)
    assert found.derate is not None
    assert found.derate > 0.8, "the profile draws"
    assert found.note == ""


def test_an_outlier_among_decode_points_pulls_little() -> None:
    engines = [measured(Pool.DECODE, 0.4, EngineCorrection(0.8)) for _ in range(6)]
    wild = Engine(replace(engines[0].point, latency_s=10 * engines[0].point.latency_s), Pool.DECODE, auto_spec())
    found = calibrate_decode([*engines, wild], BEGIN_S)
    assert found.derate == pytest.approx(0.8, rel=0.03)


def test_decode_points_that_disagree_or_are_few_tell_nothing() -> None:
    apart = [measured(Pool.DECODE, 0.4, EngineCorrection(derate)) for derate in (0.6, 0.8, 1.1, 1.4)]
    assert calibrate_decode(apart, BEGIN_S).derate is None
    assert "disagree" in calibrate_decode(apart, BEGIN_S).note
    few = calibrate_decode(apart[:2], BEGIN_S)
    assert (few.derate, few.note) == (None, "2 operating points of decode, at least 3 are needed")
