"""``pdscaler plan --trace``: every request is simulated, for the least pair over the whole trace."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pdscaler.cli.main import cli
from pdscaler.cli.traceplan import SILENT_S, Progress
from pdscaler.core.pools import Pool

RESOURCE = """
apiVersion: pdscaler.io/v1alpha1
kind: PDDeployment
metadata: {name: traced}
spec:
  model: m
  slo: {ttft: {target: 300ms, statistic: P95}, tpot: {target: 12ms, statistic: P95}}
  prefill:
    scaleTargetRef: {name: p}
    maxReplicas: 20
    profile: {points: [{inputTokens: 500, latency: 30ms}, {inputTokens: 4000, latency: 160ms}]}
  decode:
    scaleTargetRef: {name: d}
    maxReplicas: 20
    profile:
      points:
      - {contextTokens: 1000, batch: 1, tpot: 5ms}
      - {contextTokens: 1000, batch: 64, tpot: 18ms}
      maxBatch: 64
"""

CALM_THEN_BUSY = [n / 2 for n in range(600)] + [300 + n / 20 for n in range(1200)]
"""Five minutes at 2 requests/s, then one at 20."""


def plan(tmp_path: Path, *args: object, status: int = 0, resource: str = RESOURCE) -> dict[str, Any]:
    file, trace = tmp_path / "pdd.yaml", tmp_path / "trace.csv"
    file.write_text(resource, encoding="utf-8")
    rows = "".join(f"{arrival_s:.3f},{1000 + 2000 * (n % 3 == 0)},100\n" for n, arrival_s in enumerate(CALM_THEN_BUSY))
    trace.write_text("arrival_s,input_tokens,output_tokens\n" + rows, encoding="utf-8")
    command = ["plan", "-f", str(file), "--trace", str(trace), *map(str, args), "-o", "json"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == status, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def statistics(tmp_path: Path, prefill: int, decode: int) -> tuple[float, float]:
    """The P95 of both latencies over the whole trace at a pair of counts."""
    from pdscaler.api.convert import to_sizing_spec
    from pdscaler.api.parse import load_pddeployment
    from pdscaler.core.pools import PerPool
    from pdscaler.core.simulation.requests import RequestTable
    from pdscaler.core.simulation.run import deployment_of, simulate
    from pdscaler.core.slo import Statistic
    from pdscaler.core.verify_trial import one_of
    from pdscaler.simulator.traces import read_trace

    trace = read_trace(tmp_path / "trace.csv")
    requests = RequestTable(trace.arrival_s, trace.input_tokens, trace.output_tokens, trace.prefix_hit_tokens)
    spec = to_sizing_spec(load_pddeployment(tmp_path / "pdd.yaml"))
    records = simulate(deployment_of(spec), requests, PerPool(prefill, decode))
    return one_of(records.ttft_s, Statistic.P95), one_of(records.tpot_s, Statistic.P95)


def test_the_answer_is_the_least_pair_over_the_whole_trace(tmp_path: Path) -> None:
    answer = plan(tmp_path)
    prefill, decode = answer["prefill"]["replicas"], answer["decode"]["replicas"]
    assert answer["verified"] is True
    assert answer["feasible"] is True
    assert prefill > 1
    ttft_s, tpot_s = statistics(tmp_path, prefill, decode)
    assert answer["predicted"]["ttft_s"]["p95"] == pytest.approx(ttft_s)
    assert answer["predicted"]["tpot_s"]["p95"] == pytest.approx(tpot_s)
    assert ttft_s <= 0.3
    assert tpot_s <= 0.012
    assert statistics(tmp_path, prefill - 1, decode)[0] > 0.3
    assert decode == 1 or statistics(tmp_path, prefill, decode - 1)[1] > 0.012
    assert "all 1800 requests of the trace were simulated, each latency counted" in answer["warnings"]
    assert answer["simulatedRequests"] % 1800 == 0


def test_without_verification_the_busiest_minute_is_sized_by_formula(tmp_path: Path) -> None:
    answer = plan(tmp_path, "--no-verify")
    assert answer["verified"] is False
    assert answer["simulatedRequests"] == 0
    assert "sized by formula for that load: no request was replayed" in answer["warnings"]


def test_a_trace_that_no_allowed_pair_serves(tmp_path: Path) -> None:
    answer = plan(tmp_path, "--rate-scale", 40, status=3)
    assert answer["feasible"] is False
    assert (answer["prefill"]["replicas"], answer["limitedBy"]) == (20, ["MaxReplicas"])
    assert answer["infeasibleReason"]


def test_a_long_search_says_what_it_tries(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = [0.0]
    progress = Progress(lambda: now_s[0])
    progress(Pool.PREFILL, 4, 0)
    now_s[0] = SILENT_S
    progress(Pool.PREFILL, 3, 2_500_000)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "prefill: trying 3 (2.5 million requests in 1.5 s)\n"
