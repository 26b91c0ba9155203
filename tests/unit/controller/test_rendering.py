"""Events, metrics, logs, HTTP endpoints: renderings of evaluations."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from pdscaler.controller import logs
from pdscaler.controller.metrics import Metrics
from pdscaler.controller.servers import Heartbeat, Servers, split_address
from pdscaler.errors import InvalidInputError
from support.world import PERIOD_S, World, load, no_data, ready_world


async def test_events_come_on_transitions_only() -> None:
    world = ready_world()
    await world.run(3)
    world.source.default = no_data()
    await world.run(10)
    world.source.default = load(12.5)
    await world.run(20)
    assert world.event_reasons() == ["NoData", "FallbackHold", "MetricsFound", "MetricsDecide"]
    assert [kind for _, kind, _, _ in world.server.events] == ["Warning", "Warning", "Normal", "Normal"]


async def test_an_order_is_an_event_that_says_why() -> None:
    world = ready_world(3, 4)
    await world.step()
    assert world.server.events == [
        ("deepseek", "Normal", "ScaledUp", f"prefill 3→4: {world.status()['prefill']['reason']}")
    ]
    assert "12.5 requests/s need 3.06" in world.server.events[0][3]


async def test_the_load_alone_makes_no_event() -> None:
    world = ready_world()
    for rate in (12.5, 11.0, 12.0, 10.0, 12.5):
        world.source.default = load(rate)
        await world.run(2)
    assert world.server.events == []
    assert world.condition("ScalingLimited") == ("False", "DesiredWithinRange")


def value(world: World, metric: str, /, **labels: str) -> float | None:
    return world.metrics.registry.get_sample_value(metric, labels)


async def test_the_metrics_show_replicas_predictions_and_counts() -> None:
    world = ready_world(1, 4)
    await world.step()
    own = {"namespace": "serving", "name": "deepseek"}
    for kind, expected in (("current", 4), ("recommended", 4), ("desired", 4)):
        assert value(world, "pdscaler_replicas", **own, pool="prefill", kind=kind) == expected
    assert world.status()["prediction"]["ttft"]["mean"] == "775ms"
    assert value(world, "pdscaler_predicted_ttft_seconds", **own, statistic="Mean") == pytest.approx(0.775, abs=5e-4)
    assert value(world, "pdscaler_predicted_tpot_seconds", **own, statistic="Mean") is not None
    assert value(world, "pdscaler_slo_attainable", **own) == 1
    assert value(world, "pdscaler_evaluations_total", outcome="Planned") == 1
    assert value(world, "pdscaler_evaluation_duration_seconds_count") == 1
    assert value(world, "pdscaler_scale_writes_total", pool="prefill", result="written") == 1
    assert value(world, "pdscaler_telemetry_failures_total", reason="StaleData") == 0
    planned_at_s = value(world, "pdscaler_last_plan_timestamp_seconds", **own)
    assert planned_at_s is not None
    await world.step(PERIOD_S)
    assert value(world, "pdscaler_last_plan_timestamp_seconds", **own) == planned_at_s + PERIOD_S


async def test_what_is_not_known_has_no_sample() -> None:
    world = ready_world()
    await world.step()
    own = {"namespace": "serving", "name": "deepseek"}
    planned_at_s = value(world, "pdscaler_last_plan_timestamp_seconds", **own)
    world.source.default = no_data()
    await world.step(PERIOD_S)
    assert value(world, "pdscaler_replicas", **own, pool="prefill", kind="current") == 4
    # When it was last planned is known as before.
    assert value(world, "pdscaler_last_plan_timestamp_seconds", **own) == planned_at_s
    assert value(world, "pdscaler_replicas", **own, pool="prefill", kind="recommended") is None
    assert value(world, "pdscaler_predicted_ttft_seconds", **own, statistic="Mean") is None
    assert value(world, "pdscaler_slo_attainable", **own) is None
    assert value(world, "pdscaler_telemetry_failures_total", reason="NoData") == 1


@pytest.fixture
def lines() -> Iterator[Any]:
    """Configure logging into a text and give it back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    names = [*logs.LIBRARIES, "pdscaler", "urllib3.connectionpool"]
    levels = {name: logging.getLogger(name).level for name in names}
    stream = io.StringIO()

    def configure(log_format: str) -> io.StringIO:
        logs.configure(log_format, stream)
        return stream

    yield configure
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


async def test_one_structured_line_for_what_changed_and_none_for_what_did_not(lines: Any) -> None:
    stream = lines("json")
    world = ready_world(1, 4)
    await world.step()
    world.cluster.set("deepseek-prefill", 4)
    await world.run(10)
    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    reason = line.pop("reason")
    assert "12.5 requests/s need 3.06" in reason
    del line["ts"]
    assert line == {
        "level": "info",
        "event": "evaluated",
        "namespace": "serving",
        "name": "deepseek",
        "outcome": "Planned",
        "arrival_rate_rps": 12.5,
        "current": {"prefill": 4, "decode": 4},
        "recommended": {"prefill": 4, "decode": 4},
        "desired": {"prefill": 4, "decode": 4},
        "written": [{"pool": "prefill", "from": 1, "to": 4, "result": "written"}],
        "limited_by": [],
        "verified": False,
        "duration_ms": 0.0,
    }


async def test_a_failure_is_a_line_each_time(lines: Any) -> None:
    stream = lines("json")
    world = ready_world()
    world.source.default = no_data()
    await world.run(3)
    found = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert [line["level"] for line in found] == ["warning"] * 3
    assert found[0]["reason"].startswith('NoData: query "arrivals" returned nothing')
    assert found[0]["arrival_rate_rps"] is None


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_nothing_breaks_a_line_or_colours_a_terminal(lines: Any, log_format: str) -> None:
    stream = lines(log_format)
    logger = logging.getLogger("pdscaler.test")
    logs.event(logger, logging.INFO, "evaluated", {"name": "a\nb\x1b[31m\x9b\u2028", "reason": "x y"})
    logger.warning("two\nlines \x1b[2J")
    logger.error("failed", exc_info=ValueError("in\nside"))
    text = stream.getvalue()
    assert len(text.splitlines()) == text.count("\n") == 3
    assert all(character == "\n" or character.isprintable() for character in text)
    if log_format == "json":
        first, second, third = map(json.loads, text.splitlines())
        assert first["name"] == "a\nb\x1b[31m\x9b\u2028"
        assert second == {**second, "event": "log", "logger": "pdscaler.test", "message": "two\nlines \x1b[2J"}
        assert "ValueError: in\nside" in third["traceback"]


def test_libraries_speak_from_warning_on_in_the_same_format(lines: Any) -> None:
    stream = lines("json")
    logging.getLogger("kopf.objects").info("handled")
    logging.getLogger("kopf.objects").warning("odd", extra={"k8s_ref": {"namespace": "serving", "name": "deepseek"}})
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["logger"], line["namespace"], line["name"]) == ("kopf.objects", "serving", "deepseek")


async def test_metrics_and_health_are_served() -> None:
    now_s = 0.0
    heartbeat = Heartbeat(lambda: now_s, 70.0)
    servers = Servers()
    await servers.serve_metrics("127.0.0.1:0", Metrics())
    await servers.serve_health("127.0.0.1:0", heartbeat)
    await servers.serve_health("", heartbeat)
    metrics = f"http://127.0.0.1:{servers.ports['metricsAddress']}/metrics"
    health = f"http://127.0.0.1:{servers.ports['healthAddress']}/healthz"
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(metrics) as answer:
                assert answer.headers["Content-Type"].startswith("text/plain")
                assert "# TYPE pdscaler_replicas gauge" in await answer.text()
            async with session.get(health) as answer:
                assert (answer.status, await answer.text()) == (200, "last finished evaluation 0s ago (limit 210s)\n")
            now_s = 211.0
            async with session.get(health) as answer:
                assert answer.status == 500
            heartbeat.beat()
            async with session.get(health) as answer:
                assert answer.status == 200
    finally:
        await servers.close()


async def test_an_address_in_use_is_told_in_one_line() -> None:
    first, second = Servers(), Servers()
    await first.serve_metrics("127.0.0.1:0", Metrics())
    try:
        with pytest.raises(InvalidInputError, match=r"^metricsAddress: cannot listen on 127\.0\.0\.1:"):
            await second.serve_metrics(f"127.0.0.1:{first.ports['metricsAddress']}", Metrics())
    finally:
        await first.close()
        await second.close()


def test_the_limit_is_three_periods_and_a_minute_at_least() -> None:
    assert Heartbeat(lambda: 0.0, 15.0).limit_s == 180.0
    assert Heartbeat(lambda: 0.0, 100.0).limit_s == 300.0


def test_addresses() -> None:
    assert split_address("[::1]:8080", "metricsAddress") == ("::1", 8080)
    with pytest.raises(InvalidInputError, match="metricsAddress"):
        split_address("8080", "metricsAddress")


async def test_an_invalid_spec_is_one_line_however_long_it_lasts(lines: Any) -> None:
    stream = lines("json")
    world = ready_world(slo={})
    await world.run(5)
    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert (line["level"], line["outcome"]) == ("warning", "InvalidSpec")
    assert "spec.slo" in line["reason"]
