"""The report of a replay, read back from its page: figures, curves, decisions, names that would be markup."""

import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.simulation.requests import RequestTable
from pdscaler.core.slo import LatencyTarget, Slo
from pdscaler.simulator.ledger import OrderMade
from pdscaler.simulator.replayed import Replayed
from pdscaler.simulator.report.panels import panels_of
from pdscaler.simulator.report.scales import time_scale
from pdscaler.simulator.result import Series
from pdscaler.units import format_number, format_share
from support.replays import spec_of
from support.reports import COMMAND, Node, hostile, page_of, parsed, replayed, silent_for

HOSTILE = '</script><script>hostile=1</script><img src=x onerror="hostile=1">&amp;\'"\x1b\ud800'


@pytest.fixture(scope="module")
def made() -> Replayed:
    return replayed()


@pytest.fixture(scope="module")
def document(made: Replayed) -> Node:
    return parsed(page_of(made))


def rows(table: Node) -> list[list[str]]:
    return [[cell.text for cell in row.all("th") + row.all("td")] for row in table.one("tbody").all("tr")]


def table(document: Node, caption: str) -> Node:
    (found,) = [each for each in document.all("table") if each.one("caption").text == caption]
    return found


def points(path: str) -> list[tuple[float, float]]:
    """The corners of a path of M, L, H and V."""
    found: list[tuple[float, float]] = []
    x = y = 0.0
    for letter, text in re.findall(r"([MLHV])([-\d. ]+)", path):
        numbers = [float(number) for number in text.split()]
        if letter in "ML":
            x, y = numbers
        elif letter == "H":
            (x,) = numbers
        else:
            (y,) = numbers
        found.append((x, y))
    return found


def path_of(document: Node, key: str) -> str:
    (drawn,) = [path for chart in document.all("div", "plot") for path in chart.all("path", f"line {key}")]
    written = drawn.attributes["d"]
    assert written is not None
    return written


def test_the_page_needs_nothing_else(document: Node, made: Replayed) -> None:
    page = page_of(made)
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"(?:src|href|url)\s*[=(]", page)
    assert "://" not in page
    assert not [node for node in document.walk() if node.tag in {"link", "img", "iframe", "object", "base"}]
    (policy,) = [node.attributes["content"] for node in document.all("meta") if "http-equiv" in node.attributes]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert document.one("html").attributes["lang"] == "en"
    assert page == page_of(made)  # no clock, no chance in it
    assert len(page) < 100_000


def test_the_head_says_what_it_came_to(document: Node, made: Replayed) -> None:
    result = made.result
    assert document.one("h1").text == document.one("head").one("title").text
    lead = document.one("p", "lead").text
    assert lead.startswith(f"{format_share(result.attainment.joint)} of ")
    assert f"{format_number(result.gpu_hours, 4)} GPU-hours" in lead
    tiles = {tile.one("dt").text: [node.text for node in tile.all("dd")] for tile in document.one("dl").all("div")}
    assert tiles["Within both targets"][0] == format_share(result.attainment.joint)
    assert result.oracle_gpu_hours is not None
    assert tiles["Against hindsight"][0] == f"{format_number(result.gpu_hours / result.oracle_gpu_hours)}×"
    assert tiles["Scale operations"] == [str(result.scale_operations), f"most GPUs at once: {result.max_gpus}"]
    p95 = result.ttft_s.p95
    assert p95 is not None
    assert tiles["TTFT P95"][1] == f"target 300ms, {'met' if p95 <= 0.3 else 'missed'}"
    costs = {row[0]: row[1] for row in rows(table(document, "GPU-hours"))}
    assert costs["this run, orders"] == format_number(result.gpu_hours, 4)
    assert costs["this run, with drain"] == format_number(result.gpu_hours_with_drain, 4)
    assert costs["clairvoyant schedule"] == format_number(result.oracle_gpu_hours, 4)
    assert costs["lower bound"] == format_number(result.bound_gpu_hours, 4)
    latencies = rows(table(document, "Latencies of all requests that count"))
    assert [row[0] for row in latencies] == ["TTFT", "TPOT"]
    assert latencies[0][-2:] == ["300ms (P95)", format_share(result.attainment.ttft)]


def test_every_order_stands_in_the_table_with_its_reason(document: Node, made: Replayed) -> None:
    listed = rows(table(document, "Orders"))
    changes = list(pairwise(made.result.orders))
    assert len(changes) > 3
    assert len(listed) == len(changes)
    for (at, prefill, decode, why), (before, after) in zip(listed, changes, strict=True):
        hours, minutes, seconds = map(int, at.split(":"))
        assert 3600 * hours + 60 * minutes + seconds == after.at_s
        for pool, cell in ((Pool.PREFILL, prefill), (Pool.DECODE, decode)):
            old, new = before.replicas[pool], after.replicas[pool]
            assert cell == (str(new) if old == new else f"{old} → {new}")
            if old != new:
                assert f"{pool.value}: {after.reasons[pool]}" in why


@pytest.mark.parametrize("pool", list(Pool))
def test_the_step_curves_are_what_was_ordered_and_ready(document: Node, made: Replayed, pool: Pool) -> None:
    result = made.result
    time = time_scale(result.begin_s, result.end_s)
    (panel,) = [each for each in panels_of(made) if each.key == f"replicas-{pool.value}"]
    drawn = points(path_of(document, f"ordered-{pool.value}"))
    for order, until in zip(result.orders, [*result.orders[1:], OrderMade(result.end_s, result.initial)], strict=True):
        middle = 1000 * float(time.place(np.array([(order.at_s + until.at_s) / 2]))[0])
        held = [y for x, y in drawn if x <= middle][-1]
        assert held == pytest.approx(200 * (1 - float(panel.scale.place(np.array([order.replicas[pool]]))[0])), abs=0.1)
    # Ready is ordered, one start-up later: it never exceeds it, and reaches it in the end.
    curves = {curve.key: curve for curve in panel.curves}
    ready, ordered = curves[f"ready-{pool.value}"], curves[f"ordered-{pool.value}"]
    assert ready.values[0] == ordered.values[0] == result.initial[pool]
    assert ready.values[-1] <= ordered.values[-1]
    rises = [after.at_s for before, after in pairwise(result.orders) if after.replicas[pool] > before.replicas[pool]]
    grown_s = ready.at_s[1:][np.diff(ready.values) > 0]
    assert set(grown_s.tolist()) <= {at_s + 60.0 for at_s in rises}
    assert len(grown_s)
    assert made.schedule is not None
    assert f"clairvoyant-{pool.value}" in curves


@pytest.mark.parametrize(
    ("key", "name"),
    [("ttft-p50", "ttft_p50_s"), ("ttft-p99", "ttft_p99_s"), ("ttft-p95", "ttft_bound_s"), ("tpot-p99", "tpot_p99_s")],
)
def test_the_latency_curves_are_the_series(document: Node, made: Replayed, key: str, name: str) -> None:
    values_s = getattr(made.result.series, name)
    (panel,) = [each for each in panels_of(made) if each.key == key[:4]]
    drawn = points(path_of(document, key))
    assert len(drawn) == len(values_s)
    assert [y for _, y in drawn] == pytest.approx((200 * (1 - panel.scale.place(values_s))).tolist(), abs=0.06)
    # The axis names what lies on it.
    ticks = {tick.text: tick.place for tick in panel.scale.ticks}
    assert len(ticks) >= 3
    assert panel.level is not None
    assert 0 < panel.scale.place(np.array([panel.level.value]))[0] <= 1


def test_the_readings_are_the_windows_values(document: Node, made: Replayed) -> None:
    (text,) = [node.text for node in document.all("script") if node.attributes.get("type") == "application/json"]
    readings = json.loads(text)
    series = made.result.series
    assert len(readings["windows"]) == len(series)
    assert readings["windows"][1] == "0:01:00 to 0:02:00"
    assert len(readings["edges"]) == len(series) + 1
    assert readings["edges"][0] == 0
    assert readings["edges"][-1] == 1
    assert readings["series"]["within"] == [format_share(share) for share in series.attainment.tolist()]
    assert {node.attributes["data-series"] for node in document.all("output") if "data-series" in node.attributes} == (
        set(readings["series"])
    )


def test_charts_and_tables_speak_to_a_screen_reader(document: Node) -> None:
    charts = document.all("figure")
    assert len(charts) == 6
    for chart in charts:
        drawn = chart.one("div", "plot").one("svg")
        assert drawn.attributes["role"] == "img"
        assert drawn.one("title").text
        assert drawn.one("desc").text.endswith(".")
        names = {node.attributes.get("id") for node in chart.all("h3")}
        assert chart.attributes["aria-labelledby"] in names
    for each in document.all("table"):
        assert each.one("caption").text
        assert all(head.attributes.get("scope") in {"col", "row"} for head in each.all("th"))
    assert len({node.attributes["id"] for node in document.walk() if "id" in node.attributes}) == sum(
        "id" in node.attributes for node in document.walk()
    )


def test_names_that_would_be_markup_are_text() -> None:
    document = parsed(page_of(hostile(HOSTILE), text=HOSTILE))
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\ud800", "\\ud800")
    assert len(document.all("script")) == 2
    assert not document.all("img")
    assert document.one("h1").text == f"{shown}: policy {shown} on {shown}"
    assert document.one("details").one("code").text == shown
    assert f"prefill: {shown}" in document.text
    page_of(hostile(HOSTILE)).encode("utf-8")


def test_one_target_is_no_two() -> None:
    spec = spec_of(startup_s=60.0)
    only = replace(spec, sizing=replace(spec.sizing, slo=Slo(None, LatencyTarget(0.015))))
    document = parsed(page_of(replayed(only)))
    assert "were within the TPOT target" in document.one("p", "lead").text
    ttft, _tpot = rows(table(document, "Latencies of all requests that count"))
    assert ttft[-2:] == ["–", "–"]
    names = [node.text for node in document.all("dt")]
    assert "TPOT mean" in names
    assert not [name for name in names if name.startswith("TTFT")]
    assert "tpot-mean" in {node.attributes.get("data-series") for node in document.all("output")}


def test_a_silence_is_a_gap_and_not_zero() -> None:
    made = replayed(requests=silent_for(1200.0), oracle=False)
    document = parsed(page_of(made))
    assert np.isnan(made.result.series.ttft_p99_s).sum() >= 15
    path = path_of(document, "ttft-p99")
    assert path.count("M") == 2
    known = (~np.isnan(made.result.series.ttft_p99_s)).sum()
    assert len(points(path)) == known
    assert path_of(document, "within").count("M") == 2
    (text,) = [node.text for node in document.all("script") if node.attributes.get("type") == "application/json"]
    assert json.loads(text)["series"]["ttft-p99"][10] == "–"


def test_one_request_makes_a_page() -> None:
    one = RequestTable(np.array([40.0]), np.array([10]), np.array([1]), np.array([0]))
    made = replayed(requests=one, oracle=False, measure_from_s=0.0)
    document = parsed(page_of(made))
    assert document.one("p", "lead").text.startswith("100 % of 1 request in ")
    assert "Nothing was changed." in document.text
    assert "nan" not in document.text.lower()
    assert "inf" not in document.text.lower()
    assert [row[1] for row in rows(table(document, "Latencies of all requests that count"))][1] == "–"


def test_a_hindsight_that_falls_short_is_no_measure(made: Replayed) -> None:
    assert made.schedule is not None
    short = replace(made, schedule=replace(made.schedule, reached=False))
    document = parsed(page_of(short))
    tiles = {tile.one("dt").text: [node.text for node in tile.all("dd")] for tile in document.one("dl").all("div")}
    assert tiles["Against hindsight"][0] == "–"
    assert "no measure here" in tiles["Against hindsight"][1]
    assert "knows every request" not in document.one("p", "lead").text


def test_a_day_stays_small_and_long_lists_are_cut_with_a_word(made: Replayed) -> None:
    """1440 windows and twelve thousand orders: what a policy that flaps at every evaluation of two days makes."""
    why = PerPool("12.5 requests/s need 3.31 replicas; TTFT at 3 would be 2.3s", "")
    orders = tuple(OrderMade(0.05 * number, PerPool(2 + number % 2, 2), why) for number in range(12_000))
    repeats = 96
    series = made.result.series
    long = Series(
        window_s=series.window_s,
        begin_s=np.arange(len(series) * repeats) * made.result.end_s / (len(series) * repeats),
        ordered=series.ordered.map(lambda each: np.tile(each, repeats)),
        ready=series.ready.map(lambda each: np.tile(each, repeats)),
        attainment=np.tile(series.attainment, repeats),
        load_rps=np.tile(series.load_rps, repeats),
        ttft_p50_s=np.tile(series.ttft_p50_s, repeats),
        ttft_p99_s=np.tile(series.ttft_p99_s, repeats),
        ttft_bound_s=np.tile(series.ttft_bound_s, repeats),
        tpot_p50_s=np.tile(series.tpot_p50_s, repeats),
        tpot_p99_s=np.tile(series.tpot_p99_s, repeats),
        tpot_bound_s=np.tile(series.tpot_bound_s, repeats),
    )
    assert len(long) == 1440
    page = page_of(replace(made, result=replace(made.result, series=long, orders=orders)))
    document = parsed(page)
    assert len(rows(table(document, "Orders"))) == 10_000
    assert "The first 10000 are listed; --decisions writes all of them." in document.text
    assert len(page.encode()) < 3_000_000
    assert COMMAND in document.text
