"""Importing a file of measurements into the profile blocks of a PDDeployment. May import pydantic, api, core, errors.

The file is JSON: prefill latency at batch 1 against prompt length, and TPOT against (batch, context length)::

    {"source": "…", "model": "…", "gpu": "…", "gpus_prefill": 1, "gpus_decode": 1, "max_kv_tokens": 945029,
     "prefill": [{"input_tokens": 1117, "batch": 1, "latency_ms": 38.494}, …],
     "decode":  [{"batch": 49, "context_tokens": 2997, "tpot_ms": 9.937, "consistent": true}, …]}

A decode row that did not really run its nominal batch (a scheduler's cap) says ``"consistent": false``; it is left out.
"""

import json
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pdscaler.api.base import (
    MAX_BATCH,
    MAX_GPUS_PER_REPLICA,
    MAX_KV_TOKENS,
    MAX_POINTS,
    Tokens,
    exact_duration,
)
from pdscaler.api.problems import to_error
from pdscaler.core.pools import PerPool
from pdscaler.errors import InvalidInputError

MAX_BYTES = 16 * 1024 * 1024

_Batch = Annotated[int, Field(strict=True, ge=1, le=MAX_BATCH)]
_Milliseconds = Annotated[float, Field(strict=True, gt=0, le=3.6e6, allow_inf_nan=False)]
_Gpus = Annotated[int, Field(strict=True, ge=1, le=MAX_GPUS_PER_REPLICA)]
_Text = Annotated[str, Field(strict=True, max_length=4096)]


class _FileModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _PrefillRow(_FileModel):
    input_tokens: Tokens
    latency_ms: _Milliseconds
    batch: _Batch = 1


class _DecodeRow(_FileModel):
    batch: _Batch
    context_tokens: Tokens
    tpot_ms: _Milliseconds
    consistent: Annotated[bool, Field(strict=True)] = True


class _MeasuredFile(_FileModel):
    source: _Text = ""
    model: _Text = ""
    gpu: _Text = ""
    note: _Text = ""
    gpus_prefill: _Gpus
    gpus_decode: _Gpus
    max_kv_tokens: Annotated[int, Field(strict=True, ge=1, le=MAX_KV_TOKENS)] | None = None
    prefill: tuple[_PrefillRow, ...]
    decode: tuple[_DecodeRow, ...]


@dataclass(frozen=True, slots=True)
class MeasuredProfile:
    """Measurements as the profile blocks of a PDDeployment.

    Parameters
    ----------
    prefill, decode
        ``spec.prefill.profile`` and ``spec.decode.profile`` as plain values, ready for YAML. ``maxBatch`` is the
        largest batch that was measured: nothing beyond it is promised.
    gpus_per_replica
        GPUs that one replica of each pool had.
    model, gpu, source
        What was measured, on what, by whom.
    notes
        What was left out, one line each.
    """

    prefill: dict[str, Any]
    decode: dict[str, Any]
    gpus_per_replica: PerPool[int]
    model: str = ""
    gpu: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()


def load_measured_profile(path: Path) -> MeasuredProfile:
    """Read a file of measurements.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, a row is not what it should be, or too few rows are left; it names the row.
    """
    measured = _read(path)
    notes = []
    prefill = [row for row in measured.prefill if row.batch == 1]
    if len(prefill) < len(measured.prefill):
        notes.append(f"{_rows(len(measured.prefill) - len(prefill), 'prefill')} of a batch above 1 left out")
    decode = [row for row in measured.decode if row.consistent]
    if len(decode) < len(measured.decode):
        notes.append(f"{_rows(len(measured.decode) - len(decode), 'decode')} marked not consistent left out")
    source = str(path)
    _check("prefill", ((row.input_tokens,) for row in prefill), "input_tokens", source)
    _check("decode", ((row.batch, row.context_tokens) for row in decode), "batch, context_tokens", source)
    decode_block: dict[str, Any] = {
        "points": [
            {"contextTokens": row.context_tokens, "batch": row.batch, "tpot": exact_duration(row.tpot_ms / 1000)}
            for row in decode
        ],
        "maxBatch": max(row.batch for row in decode),
    }
    if measured.max_kv_tokens is not None:
        decode_block["kvCapacityTokens"] = measured.max_kv_tokens
    return MeasuredProfile(
        prefill={
            "points": [
                {"inputTokens": row.input_tokens, "latency": exact_duration(row.latency_ms / 1000)} for row in prefill
            ]
        },
        decode=decode_block,
        gpus_per_replica=PerPool(measured.gpus_prefill, measured.gpus_decode),
        model=measured.model,
        gpu=measured.gpu,
        source=measured.source,
        notes=tuple(notes),
    )


def _read(path: Path) -> _MeasuredFile:
    source = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError("", f"cannot be read: {(error.strerror or 'error').lower()}", source) from None
    if len(data) > MAX_BYTES:
        raise InvalidInputError("", f"is too large ({len(data)} bytes, at most {MAX_BYTES})", source)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}: " if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidInputError("", f"{where}is not JSON", source) from None
    try:
        return _MeasuredFile.model_validate(document)
    except ValidationError as failure:
        raise to_error(failure, _MeasuredFile, source) from None


def _check(field: str, keys: Iterable[tuple[Hashable, ...]], names: str, source: str) -> None:
    """Refuse too few rows, too many, and the same point twice."""
    seen: set[tuple[Hashable, ...]] = set()
    for key in keys:
        if key in seen:
            raise InvalidInputError(field, f"{names} {', '.join(map(str, key))} stands twice: keep one row", source)
        seen.add(key)
    if not 2 <= len(seen) <= MAX_POINTS:
        raise InvalidInputError(field, f"{len(seen)} usable rows, expected 2 to {MAX_POINTS}", source)


def _rows(count: int, kind: str) -> str:
    return f"{count} {kind} {'row' if count == 1 else 'rows'}"
