"""The parts of the compiled simulation: drawing, orders, estimates, overload, streaming, compiling without a cache."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.profile import DecodePoint, DecodeProfile, MaxThroughput, Overhead, PrefillProfile
from pdscaler.core.simulation import (
    Deployment,
    Estimate,
    Order,
    RequestTable,
    draw_requests,
    estimate,
    run_in,
    simulate,
    simulate_stream,
    steady,
    summary,
)
from pdscaler.core.simulation.changes import changes_of
from pdscaler.core.simulation.compiled import compiled
from pdscaler.core.simulation.growth import overloaded
from pdscaler.core.simulation.requests import Draw
from pdscaler.core.simulation.statistics import BATCHES, T_975
from pdscaler.core.simulation.stream import PARTS, RELATIVE_ERROR
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import Routing
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError

PREFILL = PrefillProfile(max_throughput=MaxThroughput(1000, 50_000), overhead=Overhead(0.01, 0.02))
DECODE = DecodeProfile(
    tuple(DecodePoint(c, b, 0.004 + 2e-4 * b + 1e-8 * b * c) for c in (500, 4000) for b in (1, 64)), max_batch=64
)
DEPLOYMENT = Deployment(PREFILL, DECODE)
WORKLOAD = WorkloadStats(50.0, LengthStats(2000, 0.5), LengthStats(100, 1.0), prefix_hit_ratio=0.2)
SLO = Slo(LatencyTarget(0.2, Statistic.P95), LatencyTarget(0.010))


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_drawn_requests_have_the_statistics_asked_for() -> None:
    workload = WorkloadStats(20.0, LengthStats(3000, 0.5), LengthStats(150, 4.0), arrival_scv=3.0)
    table = draw_requests(workload, 200_000, seed=1)
    gaps = np.diff(table.arrival_s)
    assert gaps.mean() == pytest.approx(1 / 20, rel=0.02)
    assert gaps.var() / gaps.mean() ** 2 == pytest.approx(3.0, rel=0.03)
    for tokens, stats_of in ((table.input_tokens, workload.isl), (table.output_tokens, workload.osl)):
        assert stats_of is not None
        assert tokens.min() >= 1
        assert tokens.mean() == pytest.approx(stats_of.mean_tokens, rel=0.02)
        assert tokens.var() / tokens.mean() ** 2 == pytest.approx(stats_of.scv, rel=0.1)


def test_atoms_are_drawn_by_their_shares() -> None:
    atoms = ((10.0, 0.25), (400.0, 0.5), (7000.0, 0.25))
    workload = WorkloadStats(1.0, LengthStats(1952.5, 1.0, atoms), LengthStats(5))
    tokens, counts = np.unique(draw_requests(workload, 100_000, seed=2).input_tokens, return_counts=True)
    assert tokens.tolist() == [10, 400, 7000]
    np.testing.assert_allclose(counts / 100_000, [0.25, 0.5, 0.25], atol=0.01)


def test_common_random_numbers() -> None:
    one = draw_requests(WORKLOAD, 1000, seed=3)
    faster = draw_requests(WorkloadStats(100.0, WORKLOAD.isl, LengthStats(30)), 1000, seed=3)
    np.testing.assert_allclose(faster.arrival_s, one.arrival_s / 2)
    np.testing.assert_array_equal(faster.input_tokens, one.input_tokens)
    assert set(faster.output_tokens) == {30}
    assert faster.prefix_hit_tokens.sum() == 0
    np.testing.assert_array_equal(one.prefix_hit_tokens, np.floor(one.input_tokens * 0.2))


def test_pieces_are_the_same_as_one_draw() -> None:
    whole = draw_requests(WORKLOAD, 1000, seed=4)
    draw = Draw(WORKLOAD, 4)
    pieces = [draw.next(count) for count in (1, 399, 600)]
    np.testing.assert_array_equal(np.concatenate([piece.arrival_s for piece in pieces]), whole.arrival_s)
    np.testing.assert_array_equal(np.concatenate([piece.output_tokens for piece in pieces]), whole.output_tokens)
    np.testing.assert_array_equal(draw_requests(WORKLOAD, 100, seed=4).arrival_s, whole.first(100).arrival_s)


@pytest.mark.parametrize(
    ("workload", "count", "field"),
    [
        (WORKLOAD, 0, "requests"),
        (WorkloadStats(0.0, WORKLOAD.isl, WORKLOAD.osl), 1, "arrival_rate"),
        (WorkloadStats(1.0, None, None), 1, "arrival_rate"),
        (WorkloadStats(math.nan, WORKLOAD.isl, WORKLOAD.osl), 1, "arrival_rate"),
        (WorkloadStats(1.0, LengthStats(-1), WORKLOAD.osl), 1, "input_tokens"),
        (WorkloadStats(1.0, WORKLOAD.isl, LengthStats(5, math.nan)), 1, "output_tokens"),
        (WorkloadStats(1.0, WORKLOAD.isl, LengthStats(5, 0, ((5.0, -1.0),))), 1, "output_tokens"),
        (WorkloadStats(1.0, WORKLOAD.isl, WORKLOAD.osl, arrival_scv=-1), 1, "arrival_scv"),
        (WorkloadStats(1.0, WORKLOAD.isl, WORKLOAD.osl, prefix_hit_ratio=2), 1, "prefix_hit_ratio"),
    ],
)
def test_what_cannot_be_drawn_names_the_field(workload: WorkloadStats, count: int, field: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        draw_requests(workload, count, seed=0)
    assert raised.value.field == field


# --- orders -----------------------------------------------------------------------------------------------------------


def test_orders_start_cancel_and_remove() -> None:
    orders = [Order(10.0, PerPool(4, 1)), Order(15.0, PerPool(3, 1)), Order(100.0, PerPool(1, 1))]
    changes = changes_of(Pool.PREFILL, 2, orders, startup_s=60.0)
    # Two are ordered at 10; the younger is cancelled at 15; the other serves from 70; at 100 two of three leave.
    assert list(zip(changes.at_s, changes.ready, strict=True)) == [(70.0, 1), (100.0, -2)]
    assert changes.cancelled_s == ((10.0, 15.0),)
    assert changes.ordered_s.tolist() == [-math.inf, -math.inf, 10.0]


def test_the_lives_of_replicas_are_told() -> None:
    requests = draw_requests(WORKLOAD, 5000, seed=5)
    orders = (Order(20.0, PerPool(4, 4)), Order(60.0, PerPool(2, 2)))
    lives = simulate(DEPLOYMENT, requests, PerPool(3, 3), orders=orders, startup_s=5.0).lives
    for pool in Pool:
        assert lives[pool].ordered_s.tolist() == [-math.inf] * 3 + [20.0]
        left, gone = lives[pool].left_s, lives[pool].gone_s
        assert sorted(left.tolist()) == [60.0, 60.0, math.inf, math.inf]
        assert (gone[left == 60.0] >= 60.0).all()
        assert (gone[left == 60.0] < 70.0).all()
        assert np.isinf(gone[np.isinf(left)]).all()


@pytest.mark.parametrize(
    ("replicas", "orders", "startup_s", "words"),
    [
        (PerPool(0, 1), (), 0.0, "prefill replicas: must be at least 1"),
        (PerPool(1, 1), (Order(0.0, PerPool(1, 0)),), 0.0, "decode replicas: must be at least 1"),
        (PerPool(1, 1), (Order(5.0, PerPool(1, 1)), Order(4.0, PerPool(1, 1))), 0.0, "orders: must be in order"),
        (PerPool(1, 1), (), -1.0, "startup: must be a duration"),
    ],
)
def test_orders_that_make_no_sense(
    replicas: PerPool[int], orders: tuple[Order, ...], startup_s: float, words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        simulate(DEPLOYMENT, draw_requests(WORKLOAD, 2, 0), replicas, orders=orders, startup_s=startup_s)


def columns(**changed: list[float]) -> RequestTable:
    values: dict[str, list[float]] = {"arrival_s": [0, 1], "input_tokens": [5, 5], "output_tokens": [5, 5]}
    values |= {"prefix_hit_tokens": [0.0, 0.0], **changed}
    return RequestTable(**{name: np.array(column) for name, column in values.items()})


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        (columns(arrival_s=[1, 0]), "ascending"),
        (columns(arrival_s=[0, math.nan]), "finite"),
        (columns(input_tokens=[0, 1]), "at least 1 input"),
        (columns(output_tokens=[1, 0]), "at least 1 input and 1 output"),
        (columns(prefix_hit_tokens=[0, 6]), "at most the input tokens"),
        (columns(input_tokens=[5]), "different lengths"),
        (RequestTable(*(np.empty(0, kind) for kind in (float, int, int, int))), "there are none"),
    ],
)
def test_requests_that_make_no_sense(requests: RequestTable, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        simulate(DEPLOYMENT, requests, PerPool(1, 1))


def test_a_derate_must_be_above_0() -> None:
    with pytest.raises(InvalidInputError, match="decodeDerate"):
        simulate(Deployment(PREFILL, DECODE, decode_derate=0.0), columns(), PerPool(1, 1))


# --- estimates --------------------------------------------------------------------------------------------------------


def test_students_quantiles() -> None:
    np.testing.assert_allclose(T_975, stats.t.ppf(0.975, np.arange(1, len(T_975) + 1)), atol=5e-4)
    assert len(T_975) == BATCHES - 1


@pytest.mark.parametrize("statistic", list(Statistic))
def test_intervals_hold_the_truth_as_often_as_they_say(statistic: Statistic) -> None:
    # An autoregressive series whose neighbours are alike over some 20 places, its law normal.
    rng = np.random.default_rng(6)
    runs, alike = 300, 0.9
    noise = rng.standard_normal((runs, 4000)) * math.sqrt(1 - alike**2)
    series = np.empty_like(noise)
    series[:, 0] = rng.standard_normal(runs)
    for place in range(1, noise.shape[1]):
        series[:, place] = alike * series[:, place - 1] + noise[:, place]
    truth = 10 + (0.0 if statistic.quantile is None else float(stats.norm.ppf(statistic.quantile)))
    found = [estimate(10 + run, statistic) for run in series]
    share = np.mean([each.low <= truth <= each.high for each in found])
    assert 0.91 <= share <= 0.995


def test_estimates_of_little() -> None:
    assert math.isnan(estimate(np.array([math.nan]), Statistic.MEAN).value)
    few = estimate(np.arange(10.0), Statistic.P50)
    assert few.value == 4.5
    assert math.isnan(few.half_width)
    assert estimate(np.append(np.ones(100), math.nan), Statistic.P99) == Estimate(1.0, 0.0)


def test_the_run_in_is_several_stays_and_some_of_the_run() -> None:
    arrival_s = np.arange(1000.0)
    assert run_in(arrival_s, np.full(1000, 2.0)) == 50  # 5 %
    assert run_in(arrival_s, np.full(1000, 20.0)) == 200  # ten stays
    assert run_in(arrival_s, np.full(1000, 400.0)) == 500  # at most half
    assert steady(arrival_s, np.full(1000, 20.0)) == slice(200, 940)
    assert steady(arrival_s, np.full(1000, 400.0)) == slice(500, 750)
    assert steady(arrival_s, np.full(1000, 0.5), 0.0).start == 5


def test_the_summary_against_the_targets() -> None:
    records = simulate(DEPLOYMENT, draw_requests(WORKLOAD, 20_000, seed=7), PerPool(3, 2))
    found = summary(records, SLO)
    part = steady(records.arrival_s, records.finished_s - records.arrival_s)
    ttft_s, tpot_s = records.ttft_s[part], records.tpot_s[part]
    assert found.ttft_s.p95.value == pytest.approx(np.quantile(ttft_s, 0.95))
    assert found.tpot_s.mean.value == pytest.approx(np.nanmean(tpot_s))
    assert found.ttft_s.values.p99 == found.ttft_s.p99.value
    met = (ttft_s <= 0.2) & ~(tpot_s > 0.010)
    assert found.attainment.joint.value == pytest.approx(met.mean())
    assert found.goodput_rps.value == pytest.approx(met.mean() * found.rate_rps)
    assert found.rate_rps == pytest.approx(50, rel=0.03)
    assert 0 < found.attainment.joint.value < found.attainment.tpot.value < 1
    assert found.prefill_busy == pytest.approx(50 * 2000 * 0.8 / 50_000 / 3, rel=0.05)
    free = summary(records, Slo(None, None))
    assert free.attainment.joint == Estimate(1.0, 0.0)


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [(PerPool(3, 4), ()), (PerPool(1, 4), (Pool.PREFILL,)), (PerPool(3, 2), (Pool.DECODE,))],
)
def test_overload_is_told(replicas: PerPool[int], expected: tuple[Pool, ...]) -> None:
    workload = WorkloadStats(75.0, LengthStats(1000), LengthStats(130))
    records = simulate(DEPLOYMENT, draw_requests(workload, 20_000, seed=8), replicas)
    assert overloaded(records) == expected


def test_a_handful_of_requests_is_no_overload() -> None:
    assert overloaded(simulate(DEPLOYMENT, draw_requests(WORKLOAD, 20, seed=9), PerPool(1, 1))) == ()


# --- streaming --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("routing", list(Routing))
def test_streaming_finds_what_a_whole_run_finds(routing: Routing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdscaler.core.simulation.stream.LARGEST_PIECE", 777)
    deployment = Deployment(PREFILL, DECODE, routing)
    told: list[int] = []
    count = 20_000
    found = simulate_stream(deployment, WORKLOAD, count, PerPool(3, 2), SLO, seed=10, progress=told.append)
    assert told[-1] == count
    assert len(told) > 20
    records = simulate(deployment, draw_requests(WORKLOAD, count, seed=10), PerPool(3, 2), seed=10)
    # The same requests, cut at the same places: what differs is the histogram.
    part = slice(found.run_in, found.run_in + found.requests)
    assert found.run_in % (count // PARTS) == 0
    ttft_s, tpot_s = records.ttft_s[part], records.tpot_s[part]
    assert found.ttft_s.mean.value == pytest.approx(ttft_s.mean(), rel=1e-9)
    assert found.tpot_s.mean.value == pytest.approx(np.nanmean(tpot_s), rel=1e-9)
    for statistic in (Statistic.P50, Statistic.P90, Statistic.P95, Statistic.P99):
        assert statistic.quantile is not None
        exact = np.quantile(ttft_s, statistic.quantile), np.nanquantile(tpot_s, statistic.quantile)
        # Between two observations any value is a quantile: the tail of few observations needs some room.
        room = 2 * RELATIVE_ERROR
        assert found.ttft_s.of(statistic).value == pytest.approx(exact[0], rel=room)
        assert found.tpot_s.of(statistic).value == pytest.approx(exact[1], rel=room)
    met = (ttft_s <= 0.2) & ~(tpot_s > 0.010)
    assert found.attainment.joint.value == pytest.approx(met.mean(), rel=1e-9)
    whole = summary(records, SLO)
    assert found.prefill_busy == pytest.approx(whole.prefill_busy, rel=1e-9)
    assert found.decode_batch == pytest.approx(whole.decode_batch, rel=1e-9)
    assert found.overloaded == whole.overloaded == ()
    assert found.ttft_s.mean.half_width == pytest.approx(whole.ttft_s.mean.half_width, rel=0.7)


@pytest.mark.parametrize(("replicas", "expected"), [(PerPool(1, 4), (Pool.PREFILL,)), (PerPool(3, 2), (Pool.DECODE,))])
def test_streaming_tells_overload(replicas: PerPool[int], expected: tuple[Pool, ...]) -> None:
    workload = WorkloadStats(75.0, LengthStats(1000), LengthStats(130))
    assert simulate_stream(DEPLOYMENT, workload, 20_000, replicas, SLO).overloaded == expected


def test_too_few_to_be_streamed() -> None:
    with pytest.raises(InvalidInputError, match="at least 10000"):
        simulate_stream(DEPLOYMENT, WORKLOAD, 100, PerPool(1, 1), SLO)


# --- compiling --------------------------------------------------------------------------------------------------------


def test_without_a_place_for_the_cache_it_compiles_all_the_same() -> None:
    # A function without a file has no place beside its source either.
    space: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x\n", space)
    twice = compiled(space["twice"])
    assert twice(21) == 42
    assert type(twice).__module__.startswith("numba")


def test_importing_the_package_does_not_import_the_compiler() -> None:
    code = "import sys, pdscaler.core.simulation, pdscaler.core.simulation.stream; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
