"""``pdscaler simulate``: the JSON contract, the table, overload, traces, exit statuses and errors."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from pdscaler.core.slo import Statistic
from support.commands import answer, command, variant

SAMPLE = Path(__file__).parents[3] / "deploy/samples/deepseek-v31.yaml"
LOAD = ("--arrival-rate", "12.5", "--input-tokens", "6144", "--output-tokens", "512")
COUNTS = ("--prefill", "4", "--decode", "5")
FEW = ("--requests", "5000")
STATISTICS = [statistic.value.lower() for statistic in Statistic]


def run(*args: object) -> Result:
    return command("simulate", *args)


def simulate(*args: object, status: int = 0) -> dict[str, Any]:
    return answer("simulate", *args, status=status)


def test_the_keys_are_the_contract() -> None:
    answer = simulate("-f", SAMPLE, *COUNTS, *LOAD, *FEW)
    assert (answer["label"], answer["gpus"], answer["overloaded"]) == ("4P5D", 72, [])
    assert answer["meets"] == {"ttft": True, "tpot": True}
    for latency in ("ttft_s", "tpot_s"):
        assert list(answer[latency]) == STATISTICS
        assert sorted(answer[latency].values())[0] > 0
        assert answer[latency]["p50"] <= answer[latency]["p90"] <= answer[latency]["p95"] <= answer[latency]["p99"]
        for statistic in STATISTICS:
            low, high = answer["intervals"][latency][statistic]
            assert low <= answer[latency][statistic] <= high
    assert list(answer["attainment"]) == ["ttft", "tpot", "joint"]
    assert answer["attainment"]["joint"] <= min(answer["attainment"]["ttft"], answer["attainment"]["tpot"]) <= 1
    assert answer["goodput_rps"] == pytest.approx(answer["attainment"]["joint"] * answer["arrival_rate_rps"])
    assert answer["requests"] == 5000 > answer["counted"] + answer["run_in"] - 1
    assert 0.5 < answer["prefill"]["utilization"] < 0.9
    assert answer["decode"]["batch_mean"] == pytest.approx(12.5 * 511 * answer["tpot_s"]["mean"] / 5, rel=0.08)


def test_the_same_seed_gives_the_same_answer_and_another_one_another() -> None:
    first, same, other = (
        simulate("-f", SAMPLE, *COUNTS, *LOAD, *FEW, "--seed", seed)["ttft_s"]["mean"] for seed in (1, 1, 2)
    )
    assert first == same != other


def test_a_missed_target_is_exit_status_3() -> None:
    answer = simulate("-f", SAMPLE, "--prefill", 4, "--decode", 3, *LOAD, *FEW, status=3)
    assert answer["meets"] == {"ttft": True, "tpot": False}
    assert answer["tpot_s"]["mean"] > 0.020
    assert answer["overloaded"] == []


def test_the_table() -> None:
    result = run("-f", SAMPLE, *COUNTS, *LOAD, *FEW)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("deepseek-v31: 4P5D, 72 GPUs")
    assert "12.5 requests/s × (6144 in + 512 out)" in lines[0]
    assert lines[2].split() == ["mean", "P50", "P90", "P95", "P99", "target"]
    assert lines[3].startswith("  TTFT")
    assert lines[3].endswith("2s (mean): met")
    assert "±" in lines[3]
    assert lines[4].startswith("  TPOT")
    assert max(map(len, lines)) < 120
    for label in ("within target", "goodput", "prefill", "decode", "simulated"):
        assert sum(line.startswith(f"  {label}") for line in lines) == 1


def test_an_overloaded_prefill_pool_is_named() -> None:
    arguments = ("-f", SAMPLE, "--prefill", 2, "--decode", 5, *LOAD, "--requests", "20000")
    answer = simulate(*arguments, status=3)
    assert answer["overloaded"] == ["prefill"]
    assert answer["ttft_s"] == dict.fromkeys(STATISTICS)
    assert answer["tpot_s"] == dict.fromkeys(STATISTICS)
    assert answer["attainment"] == {"ttft": 0.0, "tpot": None, "joint": 0.0}
    assert answer["goodput_rps"] == 0
    assert answer["meets"] == {"ttft": False, "tpot": None}
    table = run(*arguments)
    assert table.exit_code == 3
    assert "2 prefill replicas cannot keep up with 12." in table.stdout
    assert "unbounded" in table.stdout


def test_an_overloaded_decode_pool_leaves_ttft_known(tmp_path: Path) -> None:
    file = variant(SAMPLE, tmp_path, ("maxBatch: 256", "maxBatch: 16"))
    answer = simulate("-f", file, "--prefill", 4, "--decode", 2, *LOAD, "--requests", "20000", status=3)
    assert answer["overloaded"] == ["decode"]
    assert answer["ttft_s"]["mean"] < 1
    assert answer["tpot_s"] == dict.fromkeys(STATISTICS)
    assert answer["attainment"]["ttft"] > 0.9
    assert answer["attainment"]["tpot"] == answer["attainment"]["joint"] == 0


def test_many_requests_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simulate("-f", SAMPLE, *COUNTS, *LOAD, "--requests", "20000")
    monkeypatch.setattr("pdscaler.cli.simulate.STREAMED", 10_000)
    answer = simulate("-f", SAMPLE, *COUNTS, *LOAD, "--requests", "20000")
    assert list(answer) == list(whole)
    assert any("histograms" in note for note in answer["warnings"])
    for latency in ("ttft_s", "tpot_s"):
        for statistic in STATISTICS:
            assert answer[latency][statistic] == pytest.approx(whole[latency][statistic], rel=0.02)


def test_a_trace_is_simulated_as_it_is(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    rows = "".join(f"{number / 10},{1000 + number % 7},{50 + number % 5}\n" for number in range(2000))
    trace.write_text("arrival_s,input_tokens,output_tokens\n" + rows)
    answer = simulate("-f", SAMPLE, *COUNTS, "--trace", trace)
    assert answer["requests"] == 2000
    assert answer["arrival_rate_rps"] == pytest.approx(10)
    assert answer["run_in"] < 200
    assert "2000 requests of the trace simulated" in answer["warnings"]
    assert not any("busiest" in note for note in answer["warnings"])
    assert simulate("-f", SAMPLE, *COUNTS, "--trace", trace, "--requests", 500)["requests"] == 500
    assert simulate("-f", SAMPLE, *COUNTS, "--trace", trace, "--rate-scale", 2)["requests"] == 4000


def test_yaml() -> None:
    result = run("-f", SAMPLE, *COUNTS, *LOAD, *FEW, "-o", "yaml")
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["label"] == "4P5D"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--prefill", "4", *LOAD), "--decode"),
        (("--prefill", "0", "--decode", "1", *LOAD), "--prefill"),
        ((*COUNTS, *LOAD, "--requests", "5"), "--requests"),
        ((*COUNTS, *LOAD, "--seed", "-1"), "--seed"),
        ((*COUNTS, *LOAD, "--trace", "x.csv"), "excludes --trace"),
        ((*COUNTS, "--arrival-rate", "0", *LOAD[2:]), "--arrival-rate: is 0: nothing arrives"),
        (COUNTS, "--arrival-rate: is required"),
    ],
)
def test_bad_input_is_one_line(args: tuple[str, ...], words: str) -> None:
    result = run("-f", SAMPLE, *args)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_help_and_errors_need_no_compiler() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from pdscaler.cli.main import cli;"
        "assert CliRunner().invoke(cli, ['simulate', '--help']).exit_code == 0;"
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
