"""Metrics with a past: series as functions of time, written into a real Prometheus's storage before it starts.

A window of three minutes needs no three minutes of waiting, and each series is exactly what its function says. Times
count from :attr:`History.now_s`; series reach far beyond it, so that they still grow while tests run, on a slow machine
too. Such series never end by themselves (no staleness markers): a vanishing target is tested on live scrapes.
"""

import math
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STEP_S = 5
BEGIN_S, END_S = -900, 600

VLLM_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
"""vLLM's bounds of token histograms for a model of 32 768 tokens."""
_VLLM_SECONDS = (0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
VLLM_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, *_VLLM_SECONDS, 160.0, 640.0, 2560.0)
VLLM_TPOT = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
EPP_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32778, 65536, 131072)
EPP_TTFT = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 120)

Curve = Callable[[float], float]


def steady(rate: float, since_s: float = BEGIN_S, base: float = 0.0) -> Curve:
    """A counter that grows by ``rate`` per second from ``since_s`` on."""
    return lambda t: base + rate * (t - since_s)


def level(value: float) -> Curve:
    """A gauge that stays."""
    return lambda t: value


@dataclass(frozen=True)
class Life:
    """When a target is scraped."""

    since_s: float = BEGIN_S
    until_s: float = END_S


ALWAYS = Life()


@dataclass
class History:
    """Collects series, then becomes a Prometheus data folder."""

    now_s: int
    lines: list[str] = field(default_factory=list)

    def series(self, name: str, labels: Mapping[str, str], curve: Curve, life: Life = ALWAYS) -> None:
        """Add one series."""
        written = ",".join(f"{key}={_quoted(value)}" for key, value in labels.items())
        for t in range(BEGIN_S, END_S + 1, STEP_S):
            if life.since_s <= t <= life.until_s:
                self.lines.append(f"{name}{{{written}}} {_number(curve(t))} {self.now_s + t}")

    def histogram(
        self,
        name: str,
        labels: Mapping[str, str],
        bounds: Sequence[float],
        shares: Mapping[float, float],
        count: Curve,
        life: Life = ALWAYS,
    ) -> None:
        """Add a histogram whose observations are the keys of ``shares``, in these proportions."""
        mean = sum(value * share for value, share in shares.items())
        for bound in (*bounds, math.inf):
            below = sum(share for value, share in shares.items() if value <= bound)
            self.series(name + "_bucket", {**labels, "le": _le(bound)}, lambda t, b=below: count(t) * b, life)  # type: ignore[misc]
        self.series(name + "_count", labels, count, life)
        self.series(name + "_sum", labels, lambda t: count(t) * mean, life)

    def write(self, promtool: Path, folder: Path) -> None:
        """Write Prometheus's storage into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        source = folder.parent / "history.txt"
        source.write_text("\n".join(self.lines) + "\n# EOF\n", encoding="utf-8")
        command = [str(promtool), "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(source), str(folder)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)


@dataclass(frozen=True)
class Pod:
    """A pod to be: its labels, and when it is scraped."""

    namespace: str
    name: str
    model: str = "m"
    job: str = "engines"
    life: Life = ALWAYS

    @property
    def labels(self) -> dict[str, str]:
        named = {"namespace": self.namespace, "pod": self.name, "model_name": self.model, "job": self.job}
        return {key: value for key, value in named.items() if value}


def add_prefill(
    history: History,
    pod: Pod,
    completions: Curve,
    *,
    isl: Mapping[float, float] | None = None,
    waiting: Curve | None = None,
    hits: float = 0.0,
) -> None:
    """Add a vLLM prefill pod: one token generated per request, as in P/D mode."""
    lengths = isl or {3000.0: 1.0}
    labels, life = {**pod.labels, "engine": "0"}, pod.life
    for reason, share in (("length", 1.0), ("stop", 0.0), ("abort", 0.0)):
        history.series(
            "vllm:request_success_total",
            {**labels, "finished_reason": reason},
            lambda t, s=share: completions(t) * s,  # type: ignore[misc]
            life,
        )
    history.histogram("vllm:request_prompt_tokens", labels, VLLM_TOKENS, lengths, completions, life)
    history.histogram("vllm:request_generation_tokens", labels, VLLM_TOKENS, {1.0: 1.0}, completions, life)
    ttft = {0.3: 0.9, 3.0: 0.1}
    history.histogram("vllm:time_to_first_token_seconds", labels, VLLM_TTFT, ttft, completions, life)
    _gauges(history, labels, life, waiting or level(1.0))
    mean = sum(value * share for value, share in lengths.items())
    history.series("vllm:prefix_cache_queries_total", labels, lambda t: completions(t) * mean, life)
    history.series("vllm:prefix_cache_hits_total", labels, lambda t: completions(t) * mean * hits, life)


def add_decode(
    history: History, pod: Pod, completions: Curve, *, osl: Mapping[float, float] | None = None, kv: float = 0.5
) -> None:
    """Add a vLLM decode pod: it sees each request again, prompt included."""
    labels, life = {**pod.labels, "engine": "0"}, pod.life
    history.series("vllm:request_success_total", {**labels, "finished_reason": "stop"}, completions, life)
    history.histogram("vllm:request_prompt_tokens", labels, VLLM_TOKENS, {3000.0: 1.0}, completions, life)
    lengths = osl or {400.0: 1.0}
    history.histogram("vllm:request_generation_tokens", labels, VLLM_TOKENS, lengths, completions, life)
    history.histogram("vllm:time_to_first_token_seconds", labels, VLLM_TTFT, {0.02: 1.0}, completions, life)
    tpot = {0.012: 0.5, 0.022: 0.5}
    history.histogram("vllm:request_time_per_output_token_seconds", labels, VLLM_TPOT, tpot, completions, life)
    _gauges(history, labels, life, level(2.0), kv)


def _gauges(history: History, labels: Mapping[str, str], life: Life, waiting: Curve, kv: float = 0.5) -> None:
    history.series("vllm:num_requests_waiting", labels, waiting, life)
    history.series("vllm:num_requests_running", labels, level(4.0), life)
    history.series("vllm:kv_cache_usage_perc", labels, level(kv), life)


def _le(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else str(float(bound))


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else repr(float(value)).replace("inf", "Inf")


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
