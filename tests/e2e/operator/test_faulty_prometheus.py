"""Every way in which a real Prometheus can fail, seen by the operator: both pools hold, and the condition says why."""

from collections.abc import Callable
from typing import Any

from localplane.waiting import wait_for
from support.faulty_proxy import SECRET, Fault, FaultyProxy, cut, elsewhere, faulty_proxy, hang, huge, status
from support.stage import QUICK, Stage

# Neighbours differ in their reason, so that each is seen to arrive.
FAULTS: list[tuple[Fault, str, str]] = [
    (status(503), "QueryFailed", "HTTP 503"),
    (status(401), "AuthFailed", "HTTP 401"),
    (cut, "PrometheusUnreachable", "cut the connection"),
    (status(200, {"status": "success", "data": {"resultType": "matrix", "result": []}}), "QueryFailed", "result type"),
    (hang, "PrometheusUnreachable", "within 1s"),
    (elsewhere("http://127.0.0.1:9/api/v1/query"), "QueryFailed", "is not followed"),
]


LEAST_TIME_S = 1e9
"""Values from here on are seconds since the epoch."""


def value_of(change: Callable[[str], str]) -> Callable[[dict[str, Any]], None]:
    """Change each value of an answer; times of samples are left alone: a series without one does not exist."""

    def edit(document: dict[str, Any]) -> None:
        data = document.get("data")
        for series in data["result"] if isinstance(data, dict) and data.get("resultType") == "vector" else ():
            if float(series["value"][1]) < LEAST_TIME_S:
                series["value"][1] = change(series["value"][1])

    return edit


def said_of_a_huge_answer(stage: Stage) -> bool:
    message = stage.condition("MetricsAvailable")["message"]
    return "MiB" in message or "within 1s" in message


def partial(document: dict[str, Any]) -> None:
    document["warnings"] = ["No StoreAPIs matched for this query"]


def test_every_fault_holds_both_pools_and_is_named(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    with faulty_proxy(stage.prometheus.url) as proxy:
        stage.start_operator(prometheus_url=proxy.url)
        stage.apply(**QUICK)
        stage.wait_replicas(1, 4)
        written = len(stage.writes())
        for number, (fault, reason, words) in enumerate(FAULTS):
            proxy.fault = fault
            message = stage.wait_condition("MetricsAvailable", "False", reason)["message"]
            assert words in message
            assert 'endpoint "default"' in message
            assert SECRET not in message
            if number == 0:
                # What arrives meanwhile is not known: neither more of it nor less moves a pool.
                stage.engines.set_load(130.0)
        # Cut off by its size or, on a slow machine, by its time.
        proxy.fault = huge
        wait_for("a huge answer", lambda: said_of_a_huge_answer(stage))
        proxy.fault = None
        proxy.edit = partial
        stage.wait_condition("MetricsAvailable", "False", "PartialResponse")
        proxy.edit = value_of(lambda _: "NaN")
        stage.wait_condition("MetricsAvailable", "False", "NonFinite")
        assert len(stage.writes()) == written
        assert stage.replicas() == (1, 4)
        for reason in {reason for _, reason, _ in FAULTS} | {"PartialResponse", "NonFinite"}:
            assert stage.metric("pdscaler_telemetry_failures_total", reason=reason) > 0
        proxy.edit = None
        stage.wait_replicas(2, 7)
        stage.stop_operators()


def test_blind_the_bounds_hold_and_the_fallback_comes_and_goes_as_a_whole(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    with faulty_proxy(stage.prometheus.url) as proxy:
        stage.start_operator(prometheus_url=proxy.url)
        stage.apply(**QUICK)
        stage.wait_replicas(1, 4)
        proxy.fault = status(503)
        stage.wait_condition("FallbackActive", "True", "FallbackHold")
        assert stage.replicas() == (1, 4)
        stage.apply(**QUICK, decode={"minReplicas": 6})
        stage.wait_replicas(1, 6)
        static = {"behavior": "Static", "replicas": {"prefill": 3, "decode": 8}}
        stage.apply(**QUICK, decode={"minReplicas": 6}, fallback=static)
        stage.wait_replicas(3, 8)
        # Both at once: one decision, and no half of it.
        stage.wait_status(
            "the decision",
            lambda seen: [seen["decisions"][0][pool]["to"] for pool in ("prefill", "decode")] == [3, 8],
        )
        back(stage, proxy)
        stage.stop_operators()


def back(stage: Stage, proxy: FaultyProxy) -> None:
    """Let the metrics come back: no pool shrinks before a full fresh window."""
    proxy.fault = None

    def healthy_since() -> str | None:
        memory = stage.status().get("memory", {})
        since: str | None = memory.get("healthySince") if memory.get("fallbackActive") else None
        return since

    since = wait_for("fresh data", healthy_since)
    stage.wait_condition("FallbackActive", "False", "MetricsDecide")
    stage.wait_replicas(1, 6)
    told = stage.wait_status("the decision", lambda seen: seen["decisions"][0]["time"] >= since)
    shrunk = next(step["time"] for step in reversed(told["decisions"]) if step["time"] >= since)
    assert seconds(shrunk) - seconds(since) >= 4.0  # the window is 5 s, and times of decisions are whole seconds


def seconds(time: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(time).timestamp()
