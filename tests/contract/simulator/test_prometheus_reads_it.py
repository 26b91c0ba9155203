"""A real Prometheus and its promtool against the emulator's expositions and service discovery."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from localplane.prom import Prometheus
from localplane.toolset import Tools
from localplane.waiting import wait_for
from pdscaler.simulator.exposition import EngineMetrics, FrontDoorMetrics
from support.documents import pddeployment
from support.emulator import EmulatorProcess

STEADY = {
    "name": "steady",
    "duration": "120s",
    "arrivalRate": 40,
    "inputTokens": {"mean": 400, "scv": 0.5},
    "outputTokens": {"mean": 20, "scv": 0.5},
}
NAMES_THAT_ARE_THEIRS = ("metric names should not contain ':'", "metric names should not contain abbreviated units")
"""promtool dislikes vLLM's colon and llm-d's "d" (it reads it as days); it may dislike nothing else."""


@pytest.mark.prometheus
@pytest.mark.parametrize("text", [EngineMetrics("m", 1000.0).render(), FrontDoorMetrics("m").render()])
def test_promtool_accepts_the_expositions(tools: Tools, text: bytes) -> None:
    result = subprocess.run(
        [str(tools["promtool"]), "check", "metrics"], input=text, capture_output=True, check=False, timeout=60
    )
    complaints = (result.stdout + result.stderr).decode().splitlines()
    assert result.returncode in {0, 3}, complaints  # 3: linted; 1: it cannot be parsed
    assert [line for line in complaints if not line.endswith(NAMES_THAT_ARE_THEIRS)] == []


def test_prometheus_finds_and_reads_every_engine(prometheus: Callable[..., Prometheus], tmp_path: Path) -> None:
    document = pddeployment(name="tiny", namespace="serving")
    with EmulatorProcess(tmp_path, document, [STEADY], "--static", "2P3D") as emulator:
        server = prometheus(sd_urls=[f"{emulator.url}/sd"])
        wait_for("six targets to be up", lambda: len(server.query("up == 1")) == 6)
        by_pod = {row["metric"].get("pod"): row["metric"] for row in server.query("up == 1")}
        assert set(by_pod) == {"prefill-0", "prefill-1", "decode-0", "decode-1", "decode-2", None}
        assert {labels["namespace"] for labels in by_pod.values()} == {"serving"}
        assert by_pod[None]["job"] == "frontdoor"

        def rate() -> float:
            arrivals = 'llm_d_epp_request_total{model_name="llama-3.1-8b",namespace="serving"}'
            rows = server.query(f"sum(rate({arrivals}[10s]))")
            return float(rows[0]["value"][1]) if rows else 0.0

        wait_for("the rate of arrivals", lambda: 25 < rate() < 55)
        prompt = (
            'sum(rate(vllm:request_prompt_tokens_sum{pod=~"prefill.*"}[10s]))'
            ' / sum(rate(vllm:request_prompt_tokens_count{pod=~"prefill.*"}[10s]))'
        )
        assert 300 < float(server.query(prompt)[0]["value"][1]) < 500
        once = 'sum(vllm:request_generation_tokens_sum{pod=~"prefill.*"})'
        count = 'sum(vllm:request_generation_tokens_count{pod=~"prefill.*"})'
        assert server.query(f"{once} == {count}")  # one token of each request
        assert server.query("histogram_quantile(0.9, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[10s])))")
