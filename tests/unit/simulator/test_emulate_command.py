"""``pdscaler emulate`` as a user starts it: a process, HTTP, signals, the clear error."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pdscaler.cli.emulate import emulate
from pdscaler.errors import PdscalerError

PDD = """
apiVersion: pdscaler.io/v1alpha1
kind: PDDeployment
metadata: {name: tiny, namespace: serving}
spec:
  model: tiny-model
  slo: {ttft: {target: 400ms}, tpot: {target: 15ms}}
  prefill:
    scaleTargetRef: {name: tiny-prefill}
    maxReplicas: 4
    profile: {maxThroughput: {inputTokens: 1000, tokensPerSecond: 50000}, overhead: {fixed: 5ms}}
  decode:
    scaleTargetRef: {name: tiny-decode}
    maxReplicas: 4
    profile:
      points:
      - {contextTokens: 500, batch: 1, tpot: 2ms}
      - {contextTokens: 500, batch: 32, tpot: 4ms}
      kvCapacityTokens: 100000
"""
PHASES = """
phases:
- {name: first, duration: 1s, arrivalRate: 40, inputTokens: {mean: 500, scv: 0.5}, outputTokens: {mean: 20, scv: 0.5}}
- {name: second, duration: 1s, arrivalRate: 80, inputTokens: {mean: 300, scv: 0.5}, outputTokens: {mean: 30, scv: 0.5}}
"""
Start = Callable[..., subprocess.Popen[str]]
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the command in a folder with pdd.yaml and phases.yaml; killed after the test."""
    (tmp_path / "pdd.yaml").write_text(PDD)
    (tmp_path / "phases.yaml").write_text(PHASES)
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pdscaler", "emulate", "-f", "pdd.yaml", "--listen", "127.0.0.1:0", *arguments]
        environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def address(process: subprocess.Popen[str]) -> str:
    """Where the emulator listens, as its first line says."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("emulated engines of tiny at http://127.0.0.1:"), line
    return line.split(" at ")[1].split()[0]


def get(url: str) -> str:
    with DIRECT.open(url, timeout=10) as answer:
        return str(answer.read().decode())


def samples(text: str) -> dict[str, float]:
    """Sums over the series of each sample name, without buckets."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.endswith("_bucket"):
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def test_a_run_over_http(start: Start, tmp_path: Path) -> None:
    process = start("--static", "2P1D", "--phases", "phases.yaml", "--records", "records.csv", "--linger")
    base = address(process)
    assert get(f"{base}/healthz") == "ok\n"
    document: dict[str, Any] = {}
    deadline = time.monotonic() + 30
    while not document.get("finished") or document["in_flight"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        document = json.loads(get(f"{base}/stats"))
    assert document["replicas"] == {"prefill": 2, "decode": 1}
    assert document["recent"]["attainment"]["joint"] == 1
    found = {}
    for target in json.loads(get(f"{base}/sd")):
        assert target["targets"] == [base.removeprefix("http://")]
        assert target["labels"]["namespace"] == "serving"
        found[target["labels"].get("pod")] = samples(get(base + target["labels"]["__metrics_path__"]))
    front_door = found.pop(None)
    assert set(found) == {"prefill-0", "prefill-1", "decode-0"}
    with (tmp_path / "records.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    requests = len(records)
    assert 60 < requests < 200
    assert front_door["llm_d_epp_request_total"] == requests
    assert front_door["llm_d_epp_request_ttft_seconds_count"] == requests
    assert front_door["llm_d_epp_request_ttft_seconds_sum"] == pytest.approx(
        sum(float(record["ttft_s"]) for record in records), abs=1e-3
    )
    prefilled = [found[name]["vllm:request_prompt_tokens_sum"] for name in ("prefill-0", "prefill-1")]
    assert sum(prefilled) == sum(int(record["input_tokens"]) for record in records)
    assert found["decode-0"]["vllm:request_generation_tokens_sum"] == sum(
        int(record["output_tokens"]) for record in records if record["decode_pod"]
    )
    assert {record["phase"] for record in records} == {"first", "second"}
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert out.startswith(f"{requests} requests in 2s, {requests} finished, 0 in flight\n")
    assert "second" in out
    assert "the load is over" in err
    assert "Traceback" not in err


def test_it_ends_by_itself_and_is_seeded(start: Start, tmp_path: Path) -> None:
    def records(seed: str) -> list[tuple[str, str, str]]:
        process = start(
            "--static", "1P1D", "--phases", "phases.yaml", "--duration", "700ms", "--records", "r.csv", "--seed", seed
        )
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "requests in 700ms" in out
        with (tmp_path / "r.csv").open(newline="") as file:
            rows = csv.DictReader(file)
            return sorted((row["arrival_s"], row["input_tokens"], row["ttft_s"]) for row in rows)

    first = records("1")
    assert first == records("1")
    assert first != records("2")


def test_a_trace_is_played(start: Start, tmp_path: Path) -> None:
    lines = ["arrival_s,input_tokens,output_tokens", *(f"{number / 50},{100 + number},5" for number in range(50))]
    (tmp_path / "trace.csv").write_text("\n".join(lines))
    process = start("--static", "1P1D", "--trace", "trace.csv", "--records", "r.csv")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out.startswith("50 requests in 980ms, 50 finished, 0 in flight\n")


def test_interrupting_ends_it_cleanly(start: Start) -> None:
    process = start("--static", "1P1D", "--phases", "phases.yaml")
    address(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "requests in" in out
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--static", "1P1D"], "give either --phases or --trace"),
        (["--static", "1P1D", "--phases", "phases.yaml", "--trace", "t.csv"], "give either --phases or --trace"),
        (["--static", "3", "--phases", "phases.yaml"], '--static: "3" is not a pair of replica counts'),
        (["--static", "0P1D", "--phases", "phases.yaml"], '--static: "0P1D" is not a pair'),
        (["--static", "1P1D", "--phases", "phases.yaml", "--rate-scale", "2"], "--rate-scale: is for --trace"),
        (["--static", "1P1D", "--phases", "phases.yaml", "--duration", "x"], '--duration: "x" is not a duration'),
        (["--static", "1P1D", "--phases", "phases.yaml", "--duration", "0s"], "--duration: must be above 0"),
        (["--static", "1P1D", "--phases", "phases.yaml", "--listen", "9"], '--listen: "9" is not an address'),
        (["--static", "1P1D", "--phases", "phases.yaml", "--listen", "x:²"], '--listen: "x:²" is not an address'),
        (["--static", "1P1D", "--phases", "none.yaml"], "none.yaml: cannot be read: no such file"),
        (["--static", "1P1D", "--trace", "none.csv"], "none.csv: cannot be read: no such file"),
    ],
)
def test_bad_input_is_named(
    arguments: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pdd.yaml").write_text(PDD)
    (tmp_path / "phases.yaml").write_text(PHASES)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PdscalerError) as caught:
        emulate.main(["-f", "pdd.yaml", "--listen", "127.0.0.1:0", *arguments], standalone_mode=False)
    assert str(caught.value).startswith(problem)


def test_bad_input_is_one_line_and_status_2(start: Start) -> None:
    process = start("--static", "3", "--phases", "phases.yaml")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == 'error: --static: "3" is not a pair of replica counts (write 2P3D)\n'


def test_a_cluster_that_is_not_there_is_one_line(start: Start) -> None:
    process = start("--phases", "phases.yaml", "--kubeconfig", "none")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: ")
    assert "none" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_port_that_is_taken(start: Start) -> None:
    first = start("--static", "1P1D", "--phases", "phases.yaml", "--linger")
    taken = address(first).removeprefix("http://")
    second = start("--static", "1P1D", "--phases", "phases.yaml", "--listen", taken)
    _, err = second.communicate(timeout=30)
    assert second.returncode == 2
    assert err.startswith("error: --listen: cannot listen there: ")
