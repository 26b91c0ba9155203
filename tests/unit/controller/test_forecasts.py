"""Forecasts in the operator: begun from history, kept up, and never a reason for fewer replicas where they fail."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pdscaler.api.convert import to_forecast_settings
from pdscaler.api.parse import parse_pddeployment
from pdscaler.controller import forecasts
from pdscaler.controller.past import gate_s, rate_window_s
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.forecast import Method
from support.world import PERIOD_S, START_S, World, load, ready_world, resource

AUTO: dict[str, Any] = {"forecast": {"method": "Auto"}}
HOUR_S = 3600.0


def world_of(rate_rps: Callable[[float], float], prefill: int = 4, decode: int = 4, **spec: Any) -> World:
    """Return a world whose load, past and present, is a function of time."""
    world = ready_world(prefill, decode, **{**AUTO, **spec})
    world.past.rate_rps = rate_rps
    world.source.default = lambda: load(rate_rps(world.now_s), world.now_s)
    return world


def steady(at_s: float) -> float:
    return 12.5


def surge(at_s: float) -> float:
    """Return a load that doubles within ten minutes, again and again."""
    since_s = (at_s - START_S) % (2 * HOUR_S)
    wave = 1.5 * math.sin(at_s / 47.0)
    return 8.0 + 16.0 * min(1.0, max(0.0, since_s - 300.0) / 600.0) + wave


async def orders(world: World, rounds: int, restart_at: frozenset[int] = frozenset()) -> list[tuple[int, int]]:
    """Let time pass; targets follow at once."""
    found = []
    for number in range(rounds):
        if number in restart_at:
            await world.forecasts.close()
            world.restart()
        await world.step(PERIOD_S)
        for name in ("deepseek-prefill", "deepseek-decode"):
            world.cluster.set(name, world.cluster.replicas(name))
        found.append((world.cluster.replicas("deepseek-prefill"), world.cluster.replicas("deepseek-decode")))
    return found


async def test_a_restart_in_the_middle_of_a_surge_changes_no_decision() -> None:
    through = await orders(world_of(surge), 80)
    again = await orders(world_of(surge), 80, frozenset({25, 33, 47}))
    assert len(set(through)) > 3, "the load must move the replicas"
    assert again == through


async def test_it_is_ahead_of_a_load_that_rises_every_two_hours() -> None:
    foreseen = await orders(world_of(surge), 80)
    followed = await orders(world_of(surge, forecast={"method": "LastValue"}), 80)
    most = max(decode for _, decode in followed)
    reached = [next(n for n, (_, decode) in enumerate(found) if decode >= most) for found in (foreseen, followed)]
    assert reached[0] < reached[1]


async def test_status_and_metrics_say_what_is_expected() -> None:
    world = world_of(steady, 1, 1)
    await world.run(3)
    said = world.status()["forecast"]
    assert 0.5 <= said["quantile"] < 1
    assert said["horizon"] == "195s"
    assert said["method"] in {"LastValue", "HoltWinters", "Seasonal", "ARIMA"}
    assert 12.5 <= said["rate"] <= 15.0
    assert said["expectedRate"] <= said["rate"]
    assert said["inputTokens"]["mean"] == 6144.0
    assert said["reason"].startswith(
        f"{said['rate']:g} requests/s hold {said['quantile'] * 100:g} % of the peaks of the next 195 s by "
    )
    assert {"fallback", "waiting"}.isdisjoint(said)
    assert world.status()["summary"]["rate"] == "12.5/s"
    assert world.status()["summary"]["forecast"] == f"{said['rate']:g}/s"
    own = {"namespace": "serving", "name": "deepseek"}
    sample = world.metrics.registry.get_sample_value
    quantile = sample("pdscaler_forecast_requests_per_second", {**own, "kind": "quantile"})
    assert quantile == pytest.approx(said["rate"], rel=0.01)
    assert sample("pdscaler_forecast_fallbacks_total") == 0
    decision = world.status()["decisions"][0]
    assert decision["expectedFrom"] == f"P{said['quantile'] * 100:g}, {said['method']}"
    assert decision["expectedBy"].startswith("2026-11-21T12:03:")
    world.delete("deepseek")
    await world.step(PERIOD_S)
    assert sample("pdscaler_forecast_requests_per_second", {**own, "kind": "quantile"}) is None


async def test_the_last_value_asks_for_no_history() -> None:
    world = ready_world()
    await world.run(3)
    assert world.past.reads == []
    assert "forecast" not in world.status()


async def test_until_the_history_has_come_the_last_value_counts_and_nothing_shrinks() -> None:
    world = world_of(steady, 9, 9, behavior={"scaleDown": {"stabilizationWindowSeconds": 0}})
    world.past.hold = asyncio.Event()
    world.forecasts._patience_s = 0.01
    await world.run(4)
    assert world.cluster.writes == []
    assert world.status()["forecast"] == {"waiting": "its history is being read"}
    assert world.status()["decode"]["recommended"] == 4
    assert "ForecastUnavailable" in world.status()["decode"]["limitedBy"]
    assert "its history is being read" in world.status()["decode"]["reason"]
    world.source.default = load(40.0)
    await world.step(PERIOD_S)
    assert world.cluster.replicas("deepseek-decode") > 9, "more replicas wait for nothing"
    world.source.default = load(12.5)
    world.past.hold.set()
    await world.run(20)
    assert world.cluster.replicas("deepseek-decode") < 9


async def test_a_gap_is_no_reason_for_fewer_until_the_window_is_full_again() -> None:
    def with_gap(at_s: float) -> float:
        return math.nan if START_S - HOUR_S < at_s <= START_S else 12.5

    world = world_of(with_gap, 9, 9, behavior={"scaleDown": {"stabilizationWindowSeconds": 0}})
    world.source.default = load(12.5)
    for _ in range(40):
        filled = (world.now_s - START_S) / 180.0
        await world.step(PERIOD_S)
        if filled < 0.7:
            assert world.cluster.writes == []
            assert "waiting" in world.status()["forecast"]
    assert world.cluster.replicas("deepseek-decode") < 9
    assert "waiting" not in world.status()["forecast"]


async def test_a_forecast_that_fails_is_the_last_value_and_lowers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(state: object) -> object:
        raise FloatingPointError("overflow")

    monkeypatch.setattr(forecasts, "forecast", fails)
    world = world_of(steady, 9, 3, behavior={"scaleDown": {"stabilizationWindowSeconds": 0}})
    await world.run(5)
    assert world.cluster.replicas("deepseek-decode") == 4, "the last value"
    assert world.cluster.replicas("deepseek-prefill") == 9
    failed = "the forecast failed (FloatingPointError)"
    assert world.status()["forecast"] == {"fallback": failed, "waiting": failed}
    assert failed in world.status()["prefill"]["reason"]
    assert world.metrics.registry.get_sample_value("pdscaler_forecast_fallbacks_total") == 5
    monkeypatch.undo()
    await world.run(41)
    await asyncio.gather(*world.forecasts._reads.values())
    await world.run(5)
    assert world.status()["forecast"]["method"] in {"LastValue", "HoltWinters", "Seasonal", "ARIMA"}
    assert world.cluster.replicas("deepseek-prefill") < 9


async def test_a_history_that_cannot_be_read_holds_says_so_and_is_asked_for_again() -> None:
    world = world_of(steady, 9, 9, behavior={"scaleDown": {"stabilizationWindowSeconds": 0}})
    world.past.problem = 'endpoint "default" did not answer within 5s'
    await world.run(30)
    assert world.cluster.writes == []
    assert "its history could not be read for" in world.status()["forecast"]["fallback"]
    assert "did not answer within 5s" in world.status()["forecast"]["fallback"]
    long_reads = [read for read in world.past.reads if read[0].span_s > forecasts.CATCH_UP_S]
    assert 2 <= len(long_reads) <= 8, "again, but not in every period"
    world.past.problem = ""
    await world.run(50)
    assert "fallback" not in world.status()["forecast"]
    assert world.cluster.replicas("deepseek-decode") < 9


async def test_all_are_read_together_and_what_is_gone_is_forgotten() -> None:
    world = world_of(steady)
    for number in range(5):
        name = f"other-{number}"
        for pool in ("prefill", "decode"):
            world.cluster.set(f"{name}-{pool}", 4)
        world.apply(resource(name, **AUTO))
    await world.step()
    assert [len(read) for read in world.past.reads] == [6, 6], "one read of the hours, one of the weeks"
    hours, weeks = world.past.reads
    assert {(want.step_s, want.window_s, want.lengths) for want in hours} == {(15.0, 60.0, True)}
    assert {(want.step_s, want.window_s, want.lengths) for want in weeks} == {(300.0, 300.0, False)}
    await world.step(PERIOD_S)
    assert [len(read) for read in world.past.reads[2:]] == [6], "then what is new, together"
    assert {want.since_s for want in world.past.reads[2]} == {START_S}
    world.delete("other-3")
    await world.step(PERIOD_S)
    assert len(world.past.reads[-1]) == 5
    assert len(world.forecasts._known) == 5


async def test_a_changed_spec_keeps_its_history() -> None:
    world = world_of(steady)
    await world.run(2)
    reads = len(world.past.reads)
    prefill = resource()["spec"]["prefill"]
    world.apply(resource(forecast={"method": "HoltWinters"}, prefill={**prefill, "startup": "10m"}))
    await world.step()
    said = world.status()["forecast"]
    assert (said["method"], said["horizon"]) == ("HoltWinters", "615s")
    assert len(world.past.reads) == reads, "nothing is read again"
    world.apply(resource(model="another", **AUTO))
    await world.step(PERIOD_S)
    assert any(want.span_s > forecasts.CATCH_UP_S for want in world.past.reads[reads]), (
        "another model's past is another"
    )


async def test_the_spread_of_lengths_is_that_of_the_readings() -> None:
    world = world_of(steady)
    reading = load(12.5)
    spread = WorkloadStats(12.5, LengthStats(6144.0, 0.9), LengthStats(512.0, 0.6))
    world.source.default = replace(reading, workload=spread)
    await world.step()
    assert world.status()["forecast"]["inputTokens"]["scv"] == pytest.approx(0.9, rel=0.01)
    assert world.status()["forecast"]["outputTokens"]["scv"] == pytest.approx(0.6, rel=0.01)


@pytest.mark.parametrize(
    ("scraped_s", "window_s", "expected_s"),
    [(15.0, 180.0, 60.0), (15.04, 180.0, 60.0), (30.0, 180.0, 120.0), (None, 180.0, 60.0), (1.0, 10.0, 10.0)],
)
def test_rates_span_four_scrapes_and_at_most_a_minute_where_they_can(
    scraped_s: float | None, window_s: float, expected_s: float
) -> None:
    assert rate_window_s(scraped_s, window_s) == expected_s


@pytest.mark.parametrize("method", ["Auto", "HoltWinters", "Seasonal", "ARIMA"])
def test_settings_of_a_spec(method: str) -> None:
    made = parse_pddeployment(resource(forecast={"method": method}))
    settings = to_forecast_settings(made, 15.0)
    assert settings is not None
    assert settings.method is Method(method)
    assert settings.horizon_s == 195.0
    other = to_forecast_settings(parse_pddeployment(resource("other", **AUTO)), 15.0)
    assert other is not None
    assert other.offset_s != settings.offset_s, "not all fitted at the same time"
    assert to_forecast_settings(parse_pddeployment(resource()), 15.0) is None


async def test_how_much_must_be_known_is_what_scaling_down_looks_back_on() -> None:
    world = world_of(steady)
    prepared = world.loop._preparer.prepare(next(iter(world.server.documents.values())))
    assert gate_s(prepared.spec) == 300.0  # type: ignore[union-attr]
