"""Importing measurements: what becomes of them, and how a bad row is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pdscaler.api.convert import to_sizing_spec
from pdscaler.api.parse import parse_pddeployment
from pdscaler.core.curves import decode_surface
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, PrefillPoint
from pdscaler.errors import InvalidInputError
from pdscaler.profiler.measured import load_measured_profile
from pdscaler.units import parse_duration
from support.documents import changed, pddeployment


def measured() -> dict[str, Any]:
    return {
        "source": "a bench of our own",
        "model": "example/Model-8B",
        "gpu": "H200",
        "gpus_prefill": 1,
        "gpus_decode": 2,
        "max_kv_tokens": 900000,
        "note": "made by hand",
        "prefill": [
            {"input_tokens": 100, "batch": 1, "latency_ms": 19.525},
            {"input_tokens": 1117, "batch": 1, "latency_ms": 38.494},
            {"input_tokens": 1117, "batch": 4, "latency_ms": 120.0},
        ],
        "decode": [
            {"batch": 1, "context_tokens": 350, "tpot_ms": 4.38, "consistent": True},
            {"batch": 263, "context_tokens": 350, "tpot_ms": 19.111, "consistent": True},
            {"batch": 1311, "context_tokens": 350, "tpot_ms": 40.964, "consistent": False},
            {"batch": 1573, "context_tokens": 350, "tpot_ms": 42.579, "consistent": False},
            {"batch": 49, "context_tokens": 2997, "tpot_ms": 9.937},
            {"batch": 1, "context_tokens": 2997, "tpot_ms": 4.427},
        ],
    }


def written(tmp_path: Path, document: object) -> Path:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_rows_become_profile_blocks(tmp_path: Path) -> None:
    profile = load_measured_profile(written(tmp_path, measured()))
    assert profile.prefill == {
        "points": [{"inputTokens": 100, "latency": "19.525ms"}, {"inputTokens": 1117, "latency": "38.494ms"}]
    }
    assert profile.decode == {
        "points": [
            {"contextTokens": 350, "batch": 1, "tpot": "4.38ms"},
            {"contextTokens": 350, "batch": 263, "tpot": "19.111ms"},
            {"contextTokens": 2997, "batch": 49, "tpot": "9.937ms"},
            {"contextTokens": 2997, "batch": 1, "tpot": "4.427ms"},
        ],
        "maxBatch": 263,
        "kvCapacityTokens": 900000,
    }
    assert profile.gpus_per_replica == PerPool(1, 2)
    assert (profile.model, profile.gpu, profile.source) == ("example/Model-8B", "H200", "a bench of our own")
    assert profile.notes == (
        "1 prefill row of a batch above 1 left out",
        "2 decode rows marked not consistent left out",
    )


def test_blocks_fit_into_a_pddeployment(tmp_path: Path) -> None:
    profile = load_measured_profile(written(tmp_path, measured()))
    document = changed(pddeployment(), {"spec.prefill.profile": profile.prefill, "spec.decode.profile": profile.decode})
    spec = to_sizing_spec(parse_pddeployment(document))
    assert spec.prefill_profile.points == (PrefillPoint(100, 0.019525), PrefillPoint(1117, 0.038494))
    assert spec.decode_profile.points[2] == DecodePoint(2997, 49, 0.009937)
    assert (spec.decode_profile.max_batch, spec.decode_profile.kv_capacity_tokens) == (263, 900000)


def test_memory_is_unlimited_where_the_file_says_nothing(tmp_path: Path) -> None:
    document = measured()
    del document["max_kv_tokens"]
    assert "kvCapacityTokens" not in load_measured_profile(written(tmp_path, document)).decode


def repeated(seed: int = 3) -> dict[str, Any]:
    """Every point measured four times with 2 % of noise, one of them disturbed; long contexts at small batches only."""
    rng = np.random.default_rng(seed)
    document = measured()
    document["prefill"] = [
        {"input_tokens": tokens, "latency_ms": 15 + tokens / 80 * float(rng.normal(1, 0.02))}
        for tokens in (100, 1000, 2000, 4000, 8000)
        for _ in range(4)
    ]
    document["prefill"][9]["latency_ms"] *= 10
    document["decode"] = [
        {
            "batch": batch,
            "context_tokens": context,
            "tpot_ms": true_tpot_ms(batch, context) * float(rng.normal(1, 0.02)),
        }
        for context, batches in ((1000, (1, 50, 100, 200)), (4000, (1, 50, 100)), (16000, (1, 8)))
        for batch in batches
        for _ in range(4)
    ]
    document["decode"][21]["tpot_ms"] /= 10
    return document


def true_tpot_ms(batch: float, context: float) -> float:
    return 4 + 0.05 * batch + 3e-5 * batch * context


def test_repeated_rows_are_fitted_and_the_notes_say_how_well(tmp_path: Path) -> None:
    profile = load_measured_profile(written(tmp_path, repeated()))
    points = [(point["inputTokens"], parse_duration(point["latency"])) for point in profile.prefill["points"]]
    assert [tokens for tokens, _ in points] == [100, 1000, 2000, 4000, 8000]
    for tokens, latency_s in points:
        assert latency_s == pytest.approx(0.015 + tokens / 80e3, rel=0.03)
    fitted, outlier, decode_fitted, decode_outlier, filled = profile.notes
    assert fitted.startswith("20 prefill rows fitted to 5 points: they lie ")
    assert outlier.startswith("prefill: 1 outlier left out: 2000 tokens: ")
    assert "417ms, 10 times the others'" in outlier
    assert decode_fitted.startswith("36 decode rows fitted to 9 points: ")
    assert decode_outlier.startswith("decode: 1 outlier left out: context 4000, batch 50: 1.")
    assert filled == "decode: corners not measured were filled in from the other contexts: context 16000 (batch 25)"
    for point in profile.decode["points"]:
        truth_s = true_tpot_ms(point["batch"], point["contextTokens"]) / 1000
        assert parse_duration(point["tpot"]) == pytest.approx(truth_s, rel=0.04)
    assert profile.decode["maxBatch"] == 200


def test_a_clean_file_with_a_missing_corner_keeps_its_rows(tmp_path: Path) -> None:
    document = measured()
    document["decode"] = [
        {"batch": batch, "context_tokens": context, "tpot_ms": true_tpot_ms(batch, context)}
        for context, batches in ((1000, (1, 50, 100, 200)), (4000, (1, 10)))
        for batch in batches
    ]
    profile = load_measured_profile(written(tmp_path, document))
    rows = [(p["contextTokens"], p["batch"], parse_duration(p["tpot"])) for p in profile.decode["points"]]
    truth = [(r["context_tokens"], r["batch"], r["tpot_ms"] / 1000) for r in document["decode"]]
    assert [row[:2] for row in rows[: len(truth)]] == [row[:2] for row in truth]
    assert [row[2] for row in rows[: len(truth)]] == pytest.approx([row[2] for row in truth])
    ((context, batch, tpot_s),) = rows[len(truth) :]
    assert (context, batch) == (4000, 50)
    assert tpot_s >= true_tpot_ms(50, 4000) / 1000 * (1 - 1e-6), "never faster than the law of the others"
    assert tpot_s == pytest.approx(true_tpot_ms(50, 4000) / 1000, rel=0.1)
    assert "context 4000 (batch 50)" in profile.notes[-1]


def test_a_context_with_one_batch_becomes_a_line(tmp_path: Path) -> None:
    document = measured()
    document["decode"].pop()
    profile = load_measured_profile(written(tmp_path, document))
    block = changed(pddeployment(), {"spec.decode.profile": profile.decode})
    surface = decode_surface(to_sizing_spec(parse_pddeployment(block)).decode_profile)
    assert surface.contexts == (350, 2997)
    assert surface.at_context(49, 2997) == pytest.approx(0.009937)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"prefill": []}, "prefill", "0 usable rows, expected at least 2 of different input_tokens"),
        ({"prefill.1.batch": 2}, "prefill", "1 usable row, expected at least 2"),
        ({"decode": [{"batch": 1, "context_tokens": 9, "tpot_ms": 1}]}, "decode", "1 usable row, expected at least 2"),
        ({"prefill.1.input_tokens": 100}, "prefill", "2 usable rows, expected at least 2 of different input_tokens"),
        ({"decode.1.batch": 1, "decode.4.batch": 1}, "decode", "have one batch"),
        ({"decode.1.tpot_ms": 0}, "decode[1].tpot_ms", "0 is too small (more than 0)"),
        ({"decode.1.tpot_ms": "19ms"}, "decode[1].tpot_ms", 'expected a number, found "19ms"'),
        ({"decode.4.batch": 1.5}, "decode[4].batch", "expected a whole number, found 1.5"),
        ({"decode.4.consistant": False}, "decode[4].consistant", "is not a known field (did you mean consistent?)"),
        ({"prefill.0.input_tokens": -1}, "prefill[0].input_tokens", "-1 is too small"),
        ({"gpus_prefill": 0}, "gpus_prefill", "0 is too small"),
        ({"decode": {"batch": 1}}, "decode", "expected a list, found a mapping"),
        ({"decode.0.tpot_ms": float("nan")}, "decode[0].tpot_ms", "expected a finite number"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, changes: dict[str, Any], field: str, words: str) -> None:
    path = written(tmp_path, changed(measured(), changes))
    with pytest.raises(InvalidInputError) as caught:
        load_measured_profile(path)
    assert caught.value.field == field
    assert words in caught.value.problem
    assert caught.value.source == str(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: is not JSON"),
        ('{"a": 1,\n"b": }', "line 2: is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "expected a mapping, found a list"),
        ("{}", "gpus_prefill: is required"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError) as caught:
        load_measured_profile(path)
    assert words in str(caught.value)


def test_binary_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    with pytest.raises(InvalidInputError, match="cannot be read: no such file"):
        load_measured_profile(path)
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InvalidInputError, match="is not JSON"):
        load_measured_profile(path)
