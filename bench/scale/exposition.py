"""The engines' and routers' metrics of a whole fleet over HTTP, at constant load. Imports the launcher's server.

One target for each namespace. Counters are the rate times the time that has passed; all else stands in a template that
is made once, so that serving a thousand models costs little beside what is measured.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from bench.scale.fleet import Fault, Member

from localplane.serving import Answer, Serving

INPUT_TOKENS, OUTPUT_TOKENS = 1000.0, 100.0
TTFT_S, TPOT_S = 0.03, 0.008
_TOKEN_BOUNDS = (1, 10, 100, 200, 500, 1000, 2000, 5000, 10000, 100000)
_SECOND_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FRONT = "llm_d_epp_request"
_HISTOGRAMS = (
    (f"{_FRONT}_input_tokens", "vllm:request_prompt_tokens", INPUT_TOKENS, _TOKEN_BOUNDS),
    (f"{_FRONT}_output_tokens", "vllm:request_generation_tokens", OUTPUT_TOKENS, _TOKEN_BOUNDS),
    (f"{_FRONT}_ttft_seconds", "vllm:time_to_first_token_seconds", TTFT_S, _SECOND_BOUNDS),
    (f"{_FRONT}_streaming_tpot_seconds", "vllm:request_time_per_output_token_seconds", TPOT_S, _SECOND_BOUNDS),
)


class FleetMetrics:
    """Serves ``/NAMESPACE/metrics`` for every namespace of a fleet; a ``with`` block ends it.

    Parameters
    ----------
    members
        The fleet.
    pods
        Names of the pods of each Deployment, by namespace and name.
    """

    def __init__(self, members: Iterable[Member], pods: Mapping[tuple[str, str], Sequence[str]]) -> None:
        self._begin_s = time.monotonic()
        self._lines: dict[str, list[tuple[str, float]]] = {}
        for member in members:
            if member.fault is not Fault.SAME_TARGET:
                self._lines.setdefault(member.namespace, []).extend(_lines(member, pods))
        self._serving = Serving(self._answer)

    @property
    def targets(self) -> dict[str, dict[str, str]]:
        """Scrape targets, ``host:port/path`` with their labels."""
        host = f"127.0.0.1:{self._serving.port}"
        return {f"{host}/{namespace}/metrics": {"namespace": namespace} for namespace in self._lines}

    def body(self, path: str) -> str | None:
        """Return the exposition for a path; None where there is nothing."""
        lines = self._lines.get(path.strip("/").removesuffix("/metrics"))
        if lines is None:
            return None
        passed_s = time.monotonic() - self._begin_s
        return "".join([f"{text} {each * passed_s:.3f}\n" for text, each in lines])

    def __enter__(self) -> Self:
        self._serving.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.__exit__()

    def _answer(self, path: str) -> Answer | None:
        body = self.body(path)
        return None if body is None else Answer(body, "text/plain; version=0.0.4")


def _lines(member: Member, pods: Mapping[tuple[str, str], Sequence[str]]) -> list[tuple[str, float]]:
    """Return each series of a member with its increase per second."""
    rate = member.rate_rps
    model = f'model_name="{member.name}"'
    front = f'{model},target_model_name="{member.name}",pod="router-0"'
    lines = [(f"{_FRONT}_total{{{front}}}", rate)]
    for metric, _, value, bounds in _HISTOGRAMS:
        lines += _histogram(metric, front, rate, value, bounds)
    for role in ("prefill", "decode"):
        names = pods.get((member.namespace, f"{member.name}-{role}"), ())
        for pod in names:
            labels, own = f'{model},engine="0",pod="{pod}"', rate / len(names)
            lines.append((f'vllm:request_success_total{{{labels},finished_reason="length"}}', own))
            lines += [(f"vllm:num_requests_{state}{{{labels}}}", 0.0) for state in ("waiting", "running")]
            lines.append((f"vllm:kv_cache_usage_perc{{{labels}}}", 0.0))
            for _, metric, value, bounds in _HISTOGRAMS:
                lines += _histogram(metric, labels, own, value, bounds)
    return lines


def _histogram(
    metric: str, labels: str, rate: float, value: float, bounds: tuple[float, ...]
) -> list[tuple[str, float]]:
    return [
        *((f'{metric}_bucket{{{labels},le="{bound}"}}', rate if value <= bound else 0.0) for bound in bounds),
        (f'{metric}_bucket{{{labels},le="+Inf"}}', rate),
        (f"{metric}_sum{{{labels}}}", rate * value),
        (f"{metric}_count{{{labels}}}", rate),
    ]
