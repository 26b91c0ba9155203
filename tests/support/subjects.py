"""Subjects for the telemetry's tests."""

from collections.abc import Iterable
from typing import Any

from pdscaler.core.pools import PerPool
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.subject import Subject


def subject(
    url: str,
    namespace: str,
    prefill: Iterable[str] = ("p0", "p1"),
    decode: Iterable[str] = ("d0", "d1"),
    *,
    statistic: Statistic = Statistic.MEAN,
    timeout_s: float = 5.0,
    **changes: Any,
) -> Subject:
    """Return a subject that reads ``namespace`` at ``url`` for the model ``m``; ``changes`` are Subject's fields."""
    fields: dict[str, Any] = {
        "namespace": namespace,
        "name": "llm",
        "model": "m",
        "engine": "VLLM",
        "front_door_preset": None,
        "front_door_labels": (),
        "endpoint": Endpoint("default", url, timeout_s=timeout_s),
        "pool_label": "",
        "pods": PerPool(frozenset(prefill), frozenset(decode)),
        "targets": PerPool("llm-prefill", "llm-decode"),
        "window_s": 180.0,
        "max_staleness_s": 120.0,
        "slo": Slo(LatencyTarget(2.0, statistic), LatencyTarget(0.02, statistic)),
    }
    return Subject(**{**fields, **changes})
