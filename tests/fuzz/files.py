"""Targets: files of others. Traces in every format, measured profiles."""

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.mutation import as_json, documents, mangled
from fuzz.target import Target, harmless, refusal
from pdscaler.profiler.measured import load_measured_profile
from pdscaler.simulator.traces import Trace, read_trace

_TRACES = (
    b"arrival_s,input_tokens,output_tokens,prefix_hit_tokens\n0,100,10,0\n0.5,2000,1,100\n1.25,17,300,17\n",
    b"arrival_s,input_tokens,output_tokens\n3,100,10\n1,5,5\n",
    (
        b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
        b"2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n"
    ),
    (
        b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        b"5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,Conversation log\n"
    ),
    (
        b'{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2]}\n'
        b'{"timestamp": 3000, "input_length": 7322, "output_length": 490, "hash_ids": [0, 14]}\n'
    ),
)
_LINES = [json.loads(line) for line in _TRACES[-1].splitlines()]
_PROFILE = {
    "source": "s",
    "model": "m",
    "gpu": "g",
    "note": "",
    "gpus_prefill": 1,
    "gpus_decode": 1,
    "max_kv_tokens": 945029,
    "prefill": [
        {"input_tokens": tokens, "batch": 1, "latency_ms": ms}
        for tokens, ms in ((1117, 38.5), (3151, 63.2), (6000, 99.0))
    ],
    "decode": [
        {"batch": batch, "context_tokens": context, "tpot_ms": 4.0 + batch / 10, "consistent": True}
        for batch in (1, 50, 97)
        for context in (1000, 3000)
    ],
}


def _file(data: bytes, name: str, read: Callable[[Path], None]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        return refusal(lambda: read(path))


def _is_sound(trace: Trace) -> None:
    """Whatever is read can be counted on: sorted finite times, whole token counts within bounds."""
    assert len(trace) > 0
    assert bool(np.isfinite(trace.arrival_s).all())
    assert bool((np.diff(trace.arrival_s) >= 0).all())
    assert int(trace.input_tokens.min()) >= 1
    assert int(trace.output_tokens.min()) >= 1
    assert int(trace.prefix_hit_tokens.min()) >= 0
    assert bool((trace.prefix_hit_tokens <= trace.input_tokens).all())
    for note in trace.notes:
        harmless(note)


def _trace(data: bytes) -> str:
    return _file(data, "trace.csv", lambda path: _is_sound(read_trace(path)))


def _measured(data: bytes) -> str:
    def read(path: Path) -> None:
        profile = load_measured_profile(path)
        for note in profile.notes:
            harmless(note)

    return _file(data, "measured.json", read)


def _lines(rows: list[Any]) -> bytes:
    return b"\n".join(map(as_json, rows))


TARGETS = (
    Target("traces", mangled(_TRACES), _trace),
    Target(
        "traces: JSON lines",
        documents([_LINES]).map(lambda rows: _lines(rows if isinstance(rows, list) else [rows])),
        _trace,
    ),
    Target("traces: gzip", mangled([gzip.compress(data, mtime=0) for data in _TRACES]), _trace),
    Target("measured profiles", documents([_PROFILE]).map(as_json) | mangled([as_json(_PROFILE)]), _measured),
)
