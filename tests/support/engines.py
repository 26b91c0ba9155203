"""Engines whose metrics a test dictates: one vLLM exposition per pod and an llm-d front door, over real HTTP.

Unlike the emulator these engines have no queues: the test says what arrives, and may make them fall silent or lie.
"""

import json
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, Self

from localplane.plane import ControlPlane
from localplane.serving import Answer, Serving
from support.plane import administrator

TOKEN_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)
SECOND_BOUNDS = (0.001, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ScriptedEngines:
    """Serves ``/sd`` and one exposition per Ready pod of two Deployments; a ``with`` block ends it.

    Parameters
    ----------
    plane
        The control plane whose pods are followed.
    namespace
        Where the Deployments are.
    prefill, decode
        Names of the Deployments, which their pods carry as the label ``app``.
    model
        Value of ``model_name``.
    """

    def __init__(self, plane: ControlPlane, namespace: str, prefill: str, decode: str, model: str = "tiny") -> None:
        self._plane = plane
        self._namespace = namespace
        self._roles = {prefill: "prefill", decode: "decode"}
        self.model = model
        self.rate_rps = 0.0
        self.input_tokens = 1000.0
        self.output_tokens = 100.0
        self.ttft_s = 0.05
        self.tpot_s = 0.01
        self.silent = False
        """No target at all in the service discovery: the series end."""
        self.not_a_number = False
        """The sums of the lengths are NaN."""
        self.silent_roles: frozenset[str] = frozenset()
        """Roles (``prefill``, ``decode``) whose pods expose nothing."""
        self._lock = threading.Lock()
        self._counted_at = time.monotonic()
        self._course: Callable[[float], float] | None = None
        self._front = 0.0
        self._done: dict[str, float] = defaultdict(float)
        self._sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._pods: dict[str, str] = {}
        self._stop = threading.Event()
        self._serving = Serving(self._answer)
        self._follower = threading.Thread(target=self._follow, daemon=True)

    @property
    def sd_url(self) -> str:
        """URL of the HTTP service discovery."""
        return f"http://127.0.0.1:{self._serving.port}/sd"

    def __enter__(self) -> Self:
        self._serving.__enter__()
        self._follower.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._serving.__exit__()
        self._follower.join()

    def set_load(self, rate_rps: float, input_tokens: float | None = None, output_tokens: float | None = None) -> None:
        """Let another load arrive from now on."""
        with self._lock:
            self._count()
            self._course = None
            self.rate_rps = rate_rps
            self.input_tokens = self.input_tokens if input_tokens is None else input_tokens
            self.output_tokens = self.output_tokens if output_tokens is None else output_tokens

    def follow_course(self, rate_at: Callable[[float], float]) -> None:
        """Let the load follow a function of the time (seconds since the epoch) from now on."""
        with self._lock:
            self._count()
            self._course = rate_at

    def _answer(self, path: str) -> Answer | None:
        body = self.respond(path)
        kind = "application/json" if path == "/sd" else "text/plain; version=0.0.4"
        return None if body is None else Answer(body, kind)

    def respond(self, path: str) -> str | None:
        """Return the body for a path; None where there is nothing."""
        with self._lock:
            self._count()
            if path == "/sd":
                return json.dumps(self._targets())
            if path == "/frontdoor/metrics":
                return self._front_door()
            name = path.removeprefix("/pods/").removesuffix("/metrics")
            role = self._pods.get(name)
            return None if role is None else "" if role in self.silent_roles else self._pod(name, role)

    def _follow(self) -> None:
        while not self._stop.wait(0.7):
            try:
                listed = administrator(self._plane).get(f"/api/v1/namespaces/{self._namespace}/pods")["items"]
            except (OSError, HTTPException, ValueError):
                continue  # the API server is away, or went away in the middle of its answer
            pods = {
                pod["metadata"]["name"]: role
                for pod in listed
                if (role := self._roles.get(pod["metadata"]["labels"].get("app", ""))) and _ready(pod)
            }
            with self._lock:
                self._count()
                self._pods = pods

    def _count(self) -> None:
        """Add what has arrived since the last call; called with the lock held."""
        now = time.monotonic()
        passed_s, self._counted_at = now - self._counted_at, now
        if self._course is not None:
            self.rate_rps = self._course(time.time() - passed_s / 2)
        arrived = self.rate_rps * passed_s
        self._add("front", arrived)
        for role in ("prefill", "decode"):
            names = [name for name, its in self._pods.items() if its == role]
            for name in names:
                self._add(name, arrived / len(names))

    def _add(self, name: str, requests: float) -> None:
        self._done[name] += requests
        self._sums[name]["in"] += requests * self.input_tokens
        self._sums[name]["out"] += requests * self.output_tokens
        self._sums[name]["ttft"] += requests * self.ttft_s
        self._sums[name]["tpot"] += requests * self.tpot_s

    def _targets(self) -> list[dict[str, Any]]:
        if self.silent:
            return []
        host = f"127.0.0.1:{self._serving.port}"
        common = {"namespace": self._namespace}
        pods = [
            {
                "targets": [host],
                "labels": {
                    "__metrics_path__": f"/pods/{name}/metrics", "pod": name, "instance": name, "job": role, **common,
                },
            }
            for name, role in self._pods.items()
        ]  # fmt: skip
        front = {"__metrics_path__": "/frontdoor/metrics", "instance": "front", "job": "front", **common}
        return [*pods, {"targets": [host], "labels": {**front, "pod": "front-door-0"}}]

    def _front_door(self) -> str:
        labels = f'model_name="{self.model}",target_model_name="{self.model}"'
        lines = [f"llm_d_epp_request_total{{{labels}}} {self._done['front']}"]
        for metric, key, value, bounds in (
            ("llm_d_epp_request_input_tokens", "in", self.input_tokens, TOKEN_BOUNDS),
            ("llm_d_epp_request_output_tokens", "out", self.output_tokens, TOKEN_BOUNDS),
            ("llm_d_epp_request_ttft_seconds", "ttft", self.ttft_s, SECOND_BOUNDS),
            ("llm_d_epp_request_streaming_tpot_seconds", "tpot", self.tpot_s, SECOND_BOUNDS),
        ):
            lines += self._histogram(metric, labels, "front", key, value, bounds)
        return "\n".join(lines) + "\n"

    def _pod(self, name: str, role: str) -> str:
        labels = f'model_name="{self.model}",engine="0"'
        lines = [
            f'vllm:request_success_total{{{labels},finished_reason="length"}} {self._done[name]}',
            f"vllm:num_requests_waiting{{{labels}}} 0",
            f"vllm:num_requests_running{{{labels}}} 1",
            f"vllm:kv_cache_usage_perc{{{labels}}} 0.1",
        ]
        for metric, key, value, bounds in (
            ("vllm:request_prompt_tokens", "in", self.input_tokens, TOKEN_BOUNDS),
            ("vllm:request_generation_tokens", "out", self.output_tokens, TOKEN_BOUNDS),
            ("vllm:time_to_first_token_seconds", "ttft", self.ttft_s, SECOND_BOUNDS),
            ("vllm:request_time_per_output_token_seconds", "tpot", self.tpot_s, SECOND_BOUNDS),
        ):
            lines += self._histogram(metric, labels, name, key, value, bounds)
        return "\n".join(lines) + "\n"

    def _histogram(
        self, metric: str, labels: str, name: str, key: str, value: float, bounds: tuple[float, ...]
    ) -> list[str]:
        count = self._done[name]
        total = math.nan if self.not_a_number and key in {"in", "out"} else self._sums[name][key]
        lines = [f'{metric}_bucket{{{labels},le="{bound}"}} {count if value <= bound else 0}' for bound in bounds]
        return [
            *lines,
            f'{metric}_bucket{{{labels},le="+Inf"}} {count}',
            f"{metric}_sum{{{labels}}} {'NaN' if math.isnan(total) else total}",
            f"{metric}_count{{{labels}}} {count}",
        ]


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
