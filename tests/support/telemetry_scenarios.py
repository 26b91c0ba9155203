"""The scenarios of the telemetry's contract tests, one namespace each: what engines and front doors exposed."""

import math
from collections.abc import Callable

from support.history import (
    ALWAYS,
    BEGIN_S,
    EPP_TOKENS,
    EPP_TTFT,
    VLLM_TOKENS,
    Curve,
    History,
    Life,
    Pod,
    add_decode,
    add_prefill,
    level,
    steady,
)

EPP_NAMES = ("llm_d_epp_request_total", "inference_objective_request_total")


def _decode(history: History, namespace: str, rate: float = 2.5, model: str = "m") -> None:
    for name in ("d0", "d1"):
        add_decode(history, Pod(namespace, name, model), steady(rate))


def _prefill(history: History, namespace: str, waiting: Curve | None = None, model: str = "m") -> None:
    add_prefill(history, Pod(namespace, "p0", model), steady(2.0), waiting=waiting)
    add_prefill(history, Pod(namespace, "p1", model), steady(3.0))


def _steady(history: History) -> None:
    lengths = {1500.0: 0.5, 4500.0: 0.5}
    for name, rate in (("p0", 2.0), ("p1", 3.0)):
        add_prefill(history, Pod("steady", name), steady(rate), isl=lengths, hits=0.25)
    for name, kv in (("d0", 0.4), ("d1", 0.6)):
        add_decode(history, Pod("steady", name), steady(2.5), osl={100.0: 0.5, 700.0: 0.5}, kv=kv)
    # The same pods and model in another namespace, with another load.
    _prefill(history, "elsewhere")
    _decode(history, "elsewhere", 40.0)


def _queues(history: History) -> None:
    _prefill(history, "growing", waiting=lambda t: 900 + 0.5 * t)
    _decode(history, "growing")
    _prefill(history, "draining", waiting=lambda t: 900 - 0.5 * t)
    _decode(history, "draining")
    for name in ("p0", "p1"):
        add_prefill(history, Pod("stuck", name), level(500.0), waiting=level(7.0))
    _decode(history, "stuck", 0.0)


def _counters(history: History) -> None:
    # p0 restarts 62 s ago, and counts from 0 again.
    restart = -62.0
    add_prefill(history, Pod("reset", "p0"), lambda t: 2.0 * (t - BEGIN_S) if t < restart else 2.0 * (t - restart))
    add_prefill(history, Pod("reset", "p1"), steady(3.0))
    _decode(history, "reset")
    # p0 leaves and p2 takes over its 2 requests/s.
    add_prefill(history, Pod("moved", "p0", life=Life(until_s=-90)), steady(2.0))
    add_prefill(history, Pod("moved", "p2", life=Life(since_s=-90)), steady(2.0, -90.0))
    add_prefill(history, Pod("moved", "p1"), steady(3.0))
    _decode(history, "moved")
    # Two jobs scrape the same pods.
    for job in ("podmonitor", "annotations"):
        add_prefill(history, Pod("twice", "p0", job=job), steady(2.0))
        add_prefill(history, Pod("twice", "p1", job=job), steady(3.0))
        for name in ("d0", "d1"):
            add_decode(history, Pod("twice", name, job=job), steady(2.5))


def _young(history: History) -> None:
    for namespace, age in (("young", 80.0), ("newborn", 15.0)):
        life = Life(since_s=-age)
        for name, rate in (("p0", 2.0), ("p1", 3.0)):
            # An old counter, new to Prometheus: its value says nothing of the window.
            add_prefill(history, Pod(namespace, name, life=life), steady(rate, base=1e6))
        for name in ("d0", "d1"):
            add_decode(history, Pod(namespace, name, life=life), steady(2.5, base=1e6))


def _idle(history: History) -> None:
    for name in ("p0", "p1"):
        add_prefill(history, Pod("idle", name), level(500.0), waiting=level(0.0))
        add_prefill(history, Pod("idle-nan", name), level(500.0), waiting=level(0.0))
    for name in ("d0", "d1"):
        add_decode(history, Pod("idle", name), level(500.0))
        pod = Pod("idle-nan", name)
        labels = {**pod.labels, "engine": "0"}
        for part in ("sum", "count"):
            history.series(f"vllm:request_generation_tokens_{part}", labels, level(math.nan))


def _broken(history: History) -> None:
    _prefill(history, "no-decode")
    _decode(history, "no-prefill")
    _prefill(history, "not-finite")
    for name in ("d0", "d1"):
        labels = {**Pod("not-finite", name).labels, "engine": "0"}
        history.histogram("vllm:request_generation_tokens", labels, VLLM_TOKENS, {400.0: 1.0}, steady(2.5))
    history.series("vllm:request_generation_tokens_sum", Pod("not-finite", "d2").labels, level(math.nan))
    history.series("vllm:request_generation_tokens_count", Pod("not-finite", "d2").labels, steady(1.0))
    _prefill(history, "unfinished")
    for name in ("d0", "d1"):
        add_decode(history, Pod("unfinished", name), level(0.0))
    for name in ("p0", "p1"):
        add_prefill(history, Pod("stale", name, life=Life(until_s=-150)), steady(2.5))
    _decode(history, "stale")
    for name in ("p0", "p1"):
        add_prefill(history, Pod("silenced", name, life=Life(until_s=-90)), steady(2.5))
    for name in ("d0", "d1"):
        add_decode(history, Pod("silenced", name, life=Life(until_s=-90)), steady(2.5))
    hostile = 'x"} or vector(1)\n\x1b[31m' + "y" * 200
    for number, model in enumerate((hostile, "llama-a", "llama-b", "llama-c", "llama-d", "llama-e", "llama-f")):
        _prefill(history, "models", model=model) if number == 0 else add_prefill(
            history, Pod("models", "p0", model, job=f"job-{number}"), steady(1.0)
        )
    _decode(history, "models", model="llama-a")


def _epp(history: History, namespace: str, arrivals: Curve, names: tuple[str, ...], pod: str = "epp-0") -> None:
    labels = {"namespace": namespace, "pod": pod, "job": "epp", "model_name": "chat", "target_model_name": "m"}
    for name in names:
        for priority, share in (("0", 0.75), ("1", 0.25)):
            history.series(name, {**labels, "priority": priority}, lambda t, s=share: arrivals(t) * s)  # type: ignore[misc]


def _front_doors(history: History) -> None:
    for namespace in ("door", "door-both", "door-mixed", "door-silent", "door-idle"):
        waiting = level(0.0) if namespace == "door-idle" else None
        _prefill(history, namespace, waiting)
        _decode(history, namespace)
    _epp(history, "door", steady(8.0), EPP_NAMES[:1])
    labels = {"namespace": "door", "pod": "epp-0", "job": "epp", "model_name": "chat", "target_model_name": "m"}
    count = steady(5.0)
    history.histogram("llm_d_epp_request_input_tokens", labels, EPP_TOKENS, {3200.0: 1.0}, count)
    history.histogram("llm_d_epp_request_output_tokens", labels, EPP_TOKENS, {420.0: 1.0}, count)
    streams = {**labels, "streaming": "true"}
    history.histogram("llm_d_epp_request_ttft_seconds", streams, EPP_TTFT, {0.5: 1.0}, count)
    history.histogram("llm_d_epp_request_ttft_seconds", {**labels, "streaming": "false"}, EPP_TTFT, {40.0: 1.0}, count)
    # A release that writes both names, and a door of two replicas in the middle of its update.
    _epp(history, "door-both", steady(8.0), EPP_NAMES)
    _epp(history, "door-mixed", steady(3.0), EPP_NAMES[:1])
    _epp(history, "door-mixed", steady(5.0), EPP_NAMES[1:], "epp-1")
    _epp(history, "door-idle", level(1234.0), EPP_NAMES[:1])


def _others(history: History) -> None:
    # One door for two pools of the same model: only matchLabels tells them apart. And one of a shared namespace.
    for pool, rate in (("blue", 6.0), ("green", 9.0)):
        history.series(
            "llm_d_epp_request_total",
            {
                "namespace": "steady",
                "pod": f"epp-{pool}",
                "job": "epp",
                "target_model_name": "m",
                "inference_pool": pool,
            },
            steady(rate),
        )
    history.series(
        "llm_d_epp_request_total",
        {"namespace": "gateway", "pod": "epp", "job": "epp", "target_model_name": "m", "tenant": "steady"},
        steady(11.0),
    )


def _labels(history: History) -> None:
    # Series without a pod label, told apart by a label of their own.
    for role, add in (("prefill", add_prefill), ("decode", add_decode)):
        pod = Pod("labelled", "")
        shifted = _Relabelled(history, {"role": role})
        add(shifted, pod, steady(5.0))


def _pasts(history: History) -> None:
    # Pods come and go, at ever the same rate; two jobs scrape the later ones.
    old, new = "llm-prefill-7d9f8b6c5-x2x4z", "llm-prefill-84bc6b79b-k8k9k"
    add_prefill(history, Pod("past", old, life=Life(until_s=-400)), steady(5.0))
    add_prefill(history, Pod("past", new, life=Life(since_s=-395)), steady(5.0, since_s=-395))
    add_prefill(history, Pod("past", new, job="twice", life=Life(since_s=-395)), steady(5.0, since_s=-395))
    add_prefill(history, Pod("past", "llm-prefill-large-7d9f8b6c5-x2x4z"), steady(90.0))
    add_decode(history, Pod("past", "llm-decode-0"), steady(5.0))
    # Prometheus was down for five minutes, and the front door went on counting.
    for life in (Life(until_s=-600), Life(since_s=-300)):
        labels = {"namespace": "past-gap", "pod": "epp-0", "job": "epp", "target_model_name": "m"}
        history.series("llm_d_epp_request_total", labels, steady(8.0), life)
        lengths = (("llm_d_epp_request_input_tokens", 3200.0), ("llm_d_epp_request_output_tokens", 420.0))
        for name, tokens in lengths:
            history.histogram(name, labels, EPP_TOKENS, {tokens: 1.0}, steady(5.0), life)


class _Relabelled(History):
    """Adds labels to all series of another history."""

    def __init__(self, history: History, labels: dict[str, str]) -> None:
        super().__init__(history.now_s, history.lines)
        self._labels = labels

    def series(self, name: str, labels: object, curve: Curve, life: Life = ALWAYS) -> None:
        super().series(name, {**labels, **self._labels}, curve, life)  # type: ignore[dict-item]


SCENARIOS: dict[str, Callable[[History], None]] = {
    "steady": _steady,
    "queues": _queues,
    "counters": _counters,
    "young": _young,
    "idle": _idle,
    "broken": _broken,
    "front doors": _front_doors,
    "others": _others,
    "labels": _labels,
    "pasts": _pasts,
}
"""What adds each group of scenarios to a history, by the group's name."""
