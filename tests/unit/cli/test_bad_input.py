"""All that issue 4 calls bad input, by command and by Python API: one clear line, a typed error naming its field."""

import copy
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from pdscaler.api.convert import to_sizing_spec
from pdscaler.api.parse import parse_pddeployment
from pdscaler.cli.main import cli
from pdscaler.core.decision import Limit
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, DecodeProfile, MaxThroughput, Overhead, PrefillPoint, PrefillProfile
from pdscaler.core.sizing import predict, size
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import Constraints, PoolLimits, Ratio, SizingModel, SizingSpec
from pdscaler.core.workload import LengthStats, WorkloadStats
from pdscaler.errors import InvalidInputError
from support.core_cases import points_spec
from support.documents import DELETED, changed, pddeployment

LOAD = ("--arrival-rate", "20", "--input-tokens", "2000", "--output-tokens", "150")
MODELS = tuple(SizingModel)
PREFILL, DECODE = "spec.prefill.profile", "spec.decode.profile"
ONE_PREFILL = [{"inputTokens": 1117, "latency": "38ms"}]
ONE_DECODE = [{"contextTokens": 3000, "batch": 1, "tpot": "4.4ms"}]


def run(path: Path, *args: str) -> Result:
    return CliRunner().invoke(cli, ["plan", "-f", str(path), *(args or LOAD)])


def written(tmp_path: Path, changes: dict[str, Any] | None = None) -> Path:
    path = tmp_path / "pdd.yaml"
    path.write_text(yaml.safe_dump(changed(pddeployment(), changes or {})), encoding="utf-8")
    return path


def one_line(result: Result) -> str:
    """The error as a user sees it; nothing else may be there."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    return result.stderr.removeprefix("error: ").removesuffix("\n")


class TestProfilesInAFile:
    @pytest.mark.parametrize(
        ("changes", "field", "words"),
        [
            ({f"{PREFILL}.points": []}, f"{PREFILL}.points", "needs at least 2 entries"),
            ({f"{PREFILL}.points": ONE_PREFILL}, f"{PREFILL}.points", "needs at least 2 entries"),
            ({f"{PREFILL}.points": DELETED}, PREFILL, "exactly one of maxThroughput, points and profileRef is needed"),
            ({f"{DECODE}.points": []}, f"{DECODE}.points", "needs at least 2 entries"),
            ({f"{DECODE}.points": ONE_DECODE}, f"{DECODE}.points", "needs at least 2 entries"),
            ({f"{DECODE}.points": DELETED}, DECODE, "exactly one of points and profileRef is needed"),
            ({f"{DECODE}.points.1.contextTokens": 9000}, f"{DECODE}.points", "has one batch only"),
            ({f"{PREFILL}.points.0.inputTokens": -5}, f"{PREFILL}.points[0].inputTokens", "-5 is too small"),
            (
                {f"{PREFILL}.points.0.inputTokens": math.nan},
                f"{PREFILL}.points[0].inputTokens",
                "expected a whole number",
            ),
            ({f"{PREFILL}.points.0.latency": "-3ms"}, f"{PREFILL}.points[0].latency", '"-3ms" is not a duration'),
            ({f"{PREFILL}.points.0.latency": math.nan}, f"{PREFILL}.points[0].latency", "nan is not a duration"),
            ({f"{PREFILL}.points.0.latency": "0ms"}, f"{PREFILL}.points[0].latency", "must be more than 0s"),
            ({f"{PREFILL}.maxBatchedTokens": 0}, f"{PREFILL}.maxBatchedTokens", "0 is too small"),
            (
                {
                    f"{PREFILL}.points": DELETED,
                    f"{PREFILL}.maxThroughput": {"inputTokens": 6144, "tokensPerSecond": math.nan},
                },
                f"{PREFILL}.maxThroughput.tokensPerSecond",
                "expected a finite number",
            ),
            ({f"{DECODE}.points.0.batch": 0}, f"{DECODE}.points[0].batch", "0 is too small (at least 1)"),
            ({f"{DECODE}.points.0.batch": -1}, f"{DECODE}.points[0].batch", "-1 is too small"),
            ({f"{DECODE}.points.0.tpot": "-1ms"}, f"{DECODE}.points[0].tpot", "is not a duration"),
            ({f"{DECODE}.points.0.tpot": math.inf}, f"{DECODE}.points[0].tpot", "is not a duration"),
            ({f"{DECODE}.maxBatch": 0}, f"{DECODE}.maxBatch", "0 is too small (at least 1)"),
            ({f"{DECODE}.kvCapacityTokens": -1}, f"{DECODE}.kvCapacityTokens", "-1 is too small"),
            ({"spec.sizing.decodeDerate": math.nan}, "spec.sizing.decodeDerate", "expected a finite number"),
            ({"spec.slo.ttft.target": "-2s"}, "spec.slo.ttft.target", "is not a duration"),
            ({"spec.slo.tpot.target": "0s"}, "spec.slo.tpot.target", "must be more than 0s"),
        ],
    )
    @pytest.mark.parametrize("model", MODELS)
    def test_one_line_names_file_and_field(
        self, tmp_path: Path, model: SizingModel, changes: dict[str, Any], field: str, words: str
    ) -> None:
        path = written(tmp_path, {"spec.sizing.model": model.value, **changes})
        line = one_line(run(path))
        assert line.startswith(f"{path}: {field}: ")
        assert words in line


class TestFiguresOnTheCommandLine:
    @pytest.mark.parametrize(
        ("option", "value", "words"),
        [
            ("--arrival-rate", "-1", "must be at least 0"),
            ("--arrival-rate", "nan", "must be at least 0"),
            ("--arrival-rate", "inf", "must be at least 0"),
            ("--input-tokens", "-100", "must be at least 1"),
            ("--input-tokens", "nan", "must be at least 1"),
            ("--output-tokens", "0", "must be at least 1"),
            ("--output-tokens", "ten", '"ten" is not a number'),
            ("--input-tokens-scv", "-0.5", "must be at least 0"),
            ("--output-tokens-scv", "nan", "must be at least 0"),
            ("--arrival-scv", "-1", "must be at least 0"),
            ("--prefix-hit-ratio", "1", "must be at least 0 and below 1"),
            ("--prefix-hit-ratio", "nan", "must be at least 0 and below 1"),
        ],
    )
    def test_one_line_names_the_option(self, tmp_path: Path, option: str, value: str, words: str) -> None:
        line = one_line(run(written(tmp_path), *LOAD, option, value))
        assert line.startswith(f"{option}: ")
        assert words in line


class TestTraces:
    HEADER = "arrival_s,input_tokens,output_tokens\n"

    @pytest.mark.parametrize(
        ("name", "lines", "where", "words"),
        [
            ("t.csv", ["0,100,10", "1,100,10", "2,abc,10", "3,100,10"], "line 4", 'input_tokens is "abc"'),
            ("t.csv", ["0,100,10", "1,100"], "line 3", "has 2 values, the header has 3"),
            ("t.csv", ["0,100,10", "soon,100,10"], "line 3", 'arrival_s is "soon"'),
            ("t.csv", ["0,100,10", "1,-7,10"], "line 3", 'input_tokens is "-7"'),
            ("t.csv", ["nan,100,10"], "line 2", 'arrival_s is "nan"'),
        ],
    )
    @pytest.mark.parametrize("scale", [None, "2"])
    def test_a_broken_line_is_named_by_its_number(
        self, tmp_path: Path, name: str, lines: list[str], where: str, words: str, scale: str | None
    ) -> None:
        trace = tmp_path / name
        trace.write_text(self.HEADER + "\n".join(lines) + "\n", encoding="utf-8")
        line = one_line(run(written(tmp_path), "--trace", str(trace), *(("--rate-scale", scale) if scale else ())))
        assert line.startswith(f"{name} {where}: ")
        assert words in line

    def test_a_broken_line_of_json(self, tmp_path: Path) -> None:
        trace = tmp_path / "mooncake.jsonl"
        good = json.dumps({"timestamp": 0, "input_length": 10, "output_length": 5, "hash_ids": []})
        trace.write_text(f"{good}\n{good[:-9]}\n{good}\n", encoding="utf-8")
        line = one_line(run(written(tmp_path), "--trace", str(trace)))
        assert line.startswith("mooncake.jsonl line 2: ")


class TestConstraints:
    @pytest.mark.parametrize(
        ("changes", "field", "words"),
        [
            (
                {"spec.constraints": {"maxGPUs": 4}, "spec.prefill.minReplicas": 2, "spec.decode.minReplicas": 3},
                "spec.constraints.maxGPUs",
                "is less than the minReplicas of both pools cost",
            ),
            (
                {"spec.constraints": {"maxGPUs": 3, "ratio": {"max": {"prefill": 1, "decode": 3}}}},
                "spec.constraints.maxGPUs",
                "3 is less than the cheapest pair within bounds and ratio costs (4 GPUs)",
            ),
            (
                {
                    # Between 2:5 and 3:7 no pair of at most 4 and 9 lies: the first is 5P12D.
                    "spec.constraints": {
                        "ratio": {"min": {"prefill": 15, "decode": 37}, "max": {"prefill": 16, "decode": 39}}
                    },
                    "spec.prefill.maxReplicas": 4,
                    "spec.decode.maxReplicas": 9,
                },
                "spec.constraints.ratio",
                "no pair of replicas within the bounds of both pools",
            ),
            (
                {
                    "spec.constraints": {
                        "ratio": {"min": {"prefill": 3, "decode": 1}, "max": {"prefill": 2, "decode": 1}}
                    }
                },
                "spec.constraints.ratio",
                "min 3:1 is above max 2:1",
            ),
        ],
    )
    def test_one_line_names_what_cannot_be(
        self, tmp_path: Path, changes: dict[str, Any], field: str, words: str
    ) -> None:
        path = written(tmp_path, changes)
        line = one_line(run(path))
        assert line.startswith(f"{path}: {field}: ")
        assert words in line


class TestTargetsBelowTheServiceTime:
    """No error: the answer is there, exit status 3 says that the objective is not met."""

    @pytest.mark.parametrize("model", MODELS)
    @pytest.mark.parametrize("statistic", list(Statistic))
    @pytest.mark.parametrize(
        ("latency", "target", "said"), [("ttft", "10ms", "TTFT 10ms"), ("tpot", "2ms", "TPOT 2ms")]
    )
    def test_it_exits_3_and_names_what_is_possible(
        self, tmp_path: Path, model: SizingModel, statistic: Statistic, latency: str, target: str, said: str
    ) -> None:
        slo = {"ttft": {"target": "2s"}, "tpot": {"target": "30ms"}}
        slo[latency] = {"target": target, "statistic": statistic.value}
        path = written(tmp_path, {"spec.slo": slo, "spec.sizing.model": model.value})
        result = run(path, *LOAD, "-o", "json")
        assert result.exit_code == 3, result.output
        assert result.stderr == ""
        answer = json.loads(result.stdout)
        assert answer["feasible"] is False
        assert "ServiceTimeExceedsSLO" in answer["limitedBy"]
        pool, other = ("prefill", "decode") if latency == "ttft" else ("decode", "prefill")
        assert "ServiceTimeExceedsSLO" in answer[pool]["limitedBy"]
        assert "ServiceTimeExceedsSLO" not in answer[other]["limitedBy"]
        assert answer[pool]["required"] is None
        assert answer["infeasibleReason"].startswith(said)
        assert "cannot be met" in answer["infeasibleReason"]
        best = answer["predicted"][f"{latency}_s"][statistic.value.lower()]
        assert best is not None
        assert best > {"10ms": 0.010, "2ms": 0.002}[target]
        table = run(path)
        assert table.exit_code == 3
        assert table.stdout.startswith(f"no plan: {said}")

    @pytest.mark.parametrize("model", MODELS)
    def test_both(self, tmp_path: Path, model: SizingModel) -> None:
        slo = {"ttft": {"target": "1ms"}, "tpot": {"target": "1ms"}}
        result = run(written(tmp_path, {"spec.slo": slo, "spec.sizing.model": model.value}), *LOAD, "-o", "json")
        assert result.exit_code == 3
        answer = json.loads(result.stdout)
        assert "TTFT 1ms" in answer["infeasibleReason"]
        assert "TPOT 1ms" in answer["infeasibleReason"]


class TestNoLoad:
    @pytest.mark.parametrize("model", MODELS)
    @pytest.mark.parametrize("constrained", [False, True])
    def test_rate_0_is_no_error_and_gives_the_minimums(
        self, tmp_path: Path, model: SizingModel, constrained: bool
    ) -> None:
        changes: dict[str, Any] = {
            "spec.sizing.model": model.value,
            "spec.prefill.minReplicas": 2,
            "spec.decode.minReplicas": 3,
        }
        if constrained:
            changes["spec.constraints"] = {"maxGPUs": 5}
        result = run(
            written(tmp_path, changes),
            "--arrival-rate",
            "0",
            "--input-tokens",
            "9",
            "--output-tokens",
            "9",
            "-o",
            "json",
        )
        assert result.exit_code == 0, result.output
        answer = json.loads(result.stdout)
        assert (answer["label"], answer["feasible"], answer["gpus"]) == ("2P3D", True, 5)
        assert answer["prefill"]["binding"] == answer["decode"]["binding"] == "MinReplicas"

    @pytest.mark.parametrize("model", MODELS)
    def test_nothing_known_of_lengths_is_fine_too(self, model: SizingModel) -> None:
        answer = size(replace(points_spec(), model=model), WorkloadStats(0.0, None, None))
        assert (answer.label, answer.feasible) == ("1P1D", True)


SPEC = points_spec()
WORKLOAD = WorkloadStats(20.0, LengthStats(3000.0, 0.5), LengthStats(150.0, 0.5))


@dataclass(frozen=True)
class Wrong:
    """A spec or a workload that cannot be, and the field that the error must name."""

    field: str
    spec: SizingSpec = SPEC
    workload: WorkloadStats = WORKLOAD


def prefill(**changes: Any) -> SizingSpec:
    return replace(SPEC, prefill_profile=replace(SPEC.prefill_profile, **changes))


def decode(**changes: Any) -> SizingSpec:
    return replace(SPEC, decode_profile=replace(SPEC.decode_profile, **changes))


def limits(**changes: Any) -> SizingSpec:
    return replace(SPEC, limits=PerPool(replace(PoolLimits(max_replicas=9), **changes), PoolLimits(max_replicas=9)))


def constraints(*values: Any, **bounds: Any) -> SizingSpec:
    return replace(limits(**bounds), constraints=Constraints(*values))


def load(**changes: Any) -> WorkloadStats:
    return replace(WORKLOAD, **changes)


NAN, INF = math.nan, math.inf
WRONG = (
    Wrong(f"{PREFILL}.points", prefill(points=())),
    Wrong(f"{PREFILL}.points", prefill(points=(PrefillPoint(100, 0.1),))),
    Wrong(f"{PREFILL}.points", prefill(points=(PrefillPoint(100, 0.1), PrefillPoint(100, 0.2)))),
    Wrong(f"{PREFILL}.points[0].inputTokens", prefill(points=(PrefillPoint(0, 0.1), PrefillPoint(100, 0.2)))),
    Wrong(f"{PREFILL}.points[1].latency", prefill(points=(PrefillPoint(50, 0.1), PrefillPoint(100, NAN)))),
    Wrong(f"{PREFILL}.points[1].latency", prefill(points=(PrefillPoint(50, 0.1), PrefillPoint(100, -0.2)))),
    Wrong(f"{PREFILL}.maxThroughput.tokensPerSecond", prefill(points=(), max_throughput=MaxThroughput(100, 0))),
    Wrong(f"{PREFILL}.maxThroughput.inputTokens", prefill(points=(), max_throughput=MaxThroughput(NAN, 9))),
    Wrong(f"{PREFILL}.maxBatchedTokens", prefill(max_batched_tokens=0)),
    Wrong(f"{PREFILL}.maxBatchedTokens", prefill(max_batched_tokens=-8192)),
    Wrong(f"{PREFILL}.overhead.fixed", prefill(overhead=Overhead(NAN))),
    Wrong(f"{PREFILL}.overhead.perThousandTokens", prefill(overhead=Overhead(0.0, -1.0))),
    Wrong(f"{DECODE}.points", replace(SPEC, decode_profile=DecodeProfile(()))),
    Wrong(f"{DECODE}.points", decode(points=(DecodePoint(1000, 1, 0.1),))),
    Wrong(f"{DECODE}.points", decode(points=(DecodePoint(1000, 1, 0.1), DecodePoint(2000, 1, 0.1)))),
    Wrong(f"{DECODE}.points[1].batch", decode(points=(DecodePoint(1000, 1, 0.1), DecodePoint(1000, 0, 0.1)))),
    Wrong(f"{DECODE}.points[0].tpot", decode(points=(DecodePoint(1000, 1, NAN), DecodePoint(1000, 2, 0.1)))),
    Wrong(f"{DECODE}.points[0].contextTokens", decode(points=(DecodePoint(-1, 1, 0.1), DecodePoint(1000, 2, 0.1)))),
    Wrong(f"{DECODE}.maxBatch", decode(max_batch=0)),
    Wrong(f"{DECODE}.maxBatch", decode(max_batch=NAN)),
    Wrong(f"{DECODE}.kvCapacityTokens", decode(kv_capacity_tokens=0.0)),
    Wrong(f"{DECODE}.kvCapacityTokens", decode(kv_capacity_tokens=INF)),
    Wrong("spec.sizing.decodeDerate", replace(SPEC, decode_derate=0.0)),
    Wrong("spec.sizing.decodeDerate", replace(SPEC, decode_derate=NAN)),
    Wrong("spec.slo", replace(SPEC, slo=Slo(None, None))),
    Wrong("spec.slo.ttft.target", replace(SPEC, slo=Slo(LatencyTarget(0.0), None))),
    Wrong("spec.slo.tpot.target", replace(SPEC, slo=Slo(None, LatencyTarget(NAN)))),
    Wrong("spec.prefill.minReplicas", limits(min_replicas=0)),
    Wrong("spec.prefill.maxReplicas", limits(min_replicas=5, max_replicas=4)),
    Wrong("spec.prefill.gpusPerReplica", limits(gpus_per_replica=0)),
    Wrong("spec.constraints.maxGPUs", constraints(1)),
    Wrong("spec.constraints.maxGPUs", constraints(3, Ratio(3, 1))),
    Wrong("spec.constraints.ratio.min", constraints(None, Ratio(0, 1))),
    Wrong("spec.constraints.ratio", constraints(None, Ratio(15, 37), Ratio(16, 39))),
    Wrong("spec.constraints.ratio", constraints(None, Ratio(3, 1), Ratio(2, 1))),
    Wrong("spec.constraints.ratio", constraints(None, Ratio(10, 1))),
    Wrong("arrivalRate", workload=load(arrival_rate_rps=-1.0)),
    Wrong("arrivalRate", workload=load(arrival_rate_rps=NAN)),
    Wrong("arrivalRate", workload=load(arrival_rate_rps=INF)),
    Wrong("arrivalScv", workload=load(arrival_scv=-1.0)),
    Wrong("arrivalScv", workload=load(arrival_scv=NAN)),
    Wrong("prefixHitRatio", workload=load(prefix_hit_ratio=1.0)),
    Wrong("prefixHitRatio", workload=load(prefix_hit_ratio=NAN)),
    Wrong("inputTokens", workload=load(isl=None)),
    Wrong("inputTokens", workload=load(isl=LengthStats(0.0))),
    Wrong("outputTokens", workload=load(osl=LengthStats(NAN))),
    Wrong("inputTokensScv", workload=load(isl=LengthStats(100.0, -0.1))),
    Wrong("outputTokensScv", workload=load(osl=LengthStats(100.0, NAN))),
    Wrong("inputTokens.atoms[1]", workload=load(isl=LengthStats(100.0, 0.0, ((100.0, 0.5), (50.0, 0.5))))),
    Wrong("outputTokens.atoms[0]", workload=load(osl=LengthStats(100.0, 0.0, ((100.0, NAN),)))),
    Wrong("inputTokens.atoms", workload=load(isl=LengthStats(100.0, 0.0, ((100.0, 0.5), (200.0, 0.4))))),
)


class TestPythonApi:
    @pytest.mark.parametrize("model", MODELS)
    @pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.field)
    def test_a_typed_error_names_the_field(self, wrong: Wrong, model: SizingModel) -> None:
        spec = replace(wrong.spec, model=model)
        with pytest.raises(InvalidInputError) as caught:
            size(spec, wrong.workload)
        assert caught.value.field == wrong.field
        assert caught.value.problem
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("replicas", [PerPool(0, 1), PerPool(1, 0), PerPool(-1, 1)])
    def test_counts_below_one(self, replicas: PerPool[int]) -> None:
        with pytest.raises(InvalidInputError) as caught:
            predict(SPEC, WORKLOAD, replicas)
        assert caught.value.field in ("prefill", "decode")

    @pytest.mark.parametrize("model", MODELS)
    @pytest.mark.parametrize(
        ("slo", "first"),
        [
            (Slo(LatencyTarget(0.005), LatencyTarget(0.02)), "TTFT 5ms cannot be met"),
            (Slo(LatencyTarget(0.5), LatencyTarget(0.001)), "TPOT 1ms cannot be met"),
        ],
    )
    def test_targets_below_the_service_time_are_answers(self, slo: Slo, first: str, model: SizingModel) -> None:
        answer = size(replace(SPEC, slo=slo, model=model), WORKLOAD)
        assert not answer.feasible
        assert Limit.SERVICE_TIME_EXCEEDS_SLO in answer.limited_by
        assert answer.infeasible_reason.startswith(first)

    def test_the_base_case_is_good(self) -> None:
        # Otherwise every case above could fail for another reason than its own.
        assert size(SPEC, WORKLOAD).feasible
        document = parse_pddeployment(copy.deepcopy(pddeployment()))
        assert size(to_sizing_spec(document), WorkloadStats(20.0, LengthStats(2000.0), LengthStats(150.0))).feasible


def test_the_prefill_profile_has_one_source() -> None:
    both = PrefillProfile(SPEC.prefill_profile.points, MaxThroughput(100, 1000))
    with pytest.raises(InvalidInputError) as caught:
        size(replace(SPEC, prefill_profile=both), WORKLOAD)
    assert caught.value.field == PREFILL
