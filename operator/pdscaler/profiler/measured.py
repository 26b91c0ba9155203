"""Importing a file of measurements into the profile blocks of a PDDeployment. May import pydantic, api, core, errors.

The file is JSON: prefill latency at batch 1 against prompt length, and TPOT against (batch, context length)::

    {"source": "…", "model": "…", "gpu": "…", "gpus_prefill": 1, "gpus_decode": 1, "max_kv_tokens": 945029,
     "prefill": [{"input_tokens": 1117, "batch": 1, "latency_ms": 38.494}, …],
     "decode":  [{"batch": 49, "context_tokens": 2997, "tpot_ms": 9.937, "consistent": true}, …]}

A decode row that did not really run its nominal batch (a scheduler's cap) says ``"consistent": false``; it is left out.
Rows that are clean become points as they stand. Where something was measured several times, or outliers or scatter
show, the points are a robust monotone fit (:mod:`pdscaler.core.fit`), and the notes say how far the rows lie from it.
"""

import json
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

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
from pdscaler.core.curve_notes import decode_corner_notes, decode_point_notes, prefill_point_notes
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, DecodeProfile, PrefillPoint, PrefillProfile
from pdscaler.errors import InvalidInputError

if TYPE_CHECKING:
    from pdscaler.core.fit import Residuals

MAX_BYTES = 16 * 1024 * 1024
NAMED = 3
"""Outliers named in one note."""

Point = TypeVar("Point", PrefillPoint, DecodePoint)

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
        What was left out, fitted or filled in, one line each.
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
    prefill_points = _prefill_points([PrefillPoint(row.input_tokens, row.latency_ms / 1000) for row in prefill], source)
    decode_points = _decode_points(
        [DecodePoint(row.context_tokens, row.batch, row.tpot_ms / 1000) for row in decode], source
    )
    decode_block: dict[str, Any] = {
        "points": [
            {"contextTokens": int(p.context_tokens), "batch": int(p.batch), "tpot": exact_duration(p.tpot_s)}
            for p in decode_points.points
        ],
        "maxBatch": max(row.batch for row in decode),
    }
    if measured.max_kv_tokens is not None:
        decode_block["kvCapacityTokens"] = measured.max_kv_tokens
    return MeasuredProfile(
        prefill={
            "points": [
                {"inputTokens": int(p.input_tokens), "latency": exact_duration(p.latency_s)}
                for p in prefill_points.points
            ]
        },
        decode=decode_block,
        gpus_per_replica=PerPool(measured.gpus_prefill, measured.gpus_decode),
        model=measured.model,
        gpu=measured.gpu,
        source=measured.source,
        notes=(*notes, *prefill_points.notes, *decode_points.notes),
    )


@dataclass(frozen=True, slots=True)
class _Points(Generic[Point]):
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()


def _prefill_points(rows: Sequence[PrefillPoint], source: str) -> _Points[PrefillPoint]:
    different = _different("prefill", rows, lambda row: row.input_tokens, "input_tokens", source)
    if different == len(rows) <= MAX_POINTS and not prefill_point_notes(PrefillProfile(tuple(rows))):
        return _Points(tuple(rows))
    from pdscaler.core.fit import fit_prefill  # numpy and scipy: only where rows have to be fitted

    fit = fit_prefill(rows)
    return _Points(fit.points, _fit_notes("prefill", len(fit.points), fit.residuals))


def _decode_points(rows: Sequence[DecodePoint], source: str) -> _Points[DecodePoint]:
    different = _different(
        "decode", rows, lambda row: (row.batch, row.context_tokens), "batch and context_tokens", source
    )
    profile = DecodeProfile(tuple(rows))
    clean = different == len(rows) <= MAX_POINTS and not decode_point_notes(profile)
    batches = Counter(row.context_tokens for row in rows)
    if clean and min(batches.values()) > 1 and not decode_corner_notes(profile):
        return _Points(tuple(rows))
    if len({row.batch for row in rows}) < 2:
        raise InvalidInputError("decode", "all usable rows have one batch, at least two are needed", source)
    from pdscaler.core.fit import fit_decode

    fit = fit_decode(rows)
    notes = []
    if fit.filled:
        corners = [
            f"context {context:.0f} (batch {', '.join(f'{p.batch:.0f}' for p in points)})"
            for context, points in groupby(fit.filled, key=lambda point: point.context_tokens)
        ]
        notes.append(f"decode: corners not measured were filled in from the other contexts: {'; '.join(corners)}")
    if clean:
        return _Points((*rows, *fit.filled), tuple(notes))
    return _Points(fit.points, (*_fit_notes("decode", len(fit.points) - len(fit.filled), fit.residuals), *notes))


def _fit_notes(kind: str, points: int, residuals: "Residuals") -> tuple[str, ...]:
    distance = f"they lie {residuals.median:.1%} (median) and {residuals.p95:.1%} (P95) from them"
    notes = [f"{_rows(residuals.count, kind)} fitted to {points} points: {distance}"]
    outliers = residuals.outliers
    if outliers:
        more = f"; and {len(outliers) - NAMED} more" if len(outliers) > NAMED else ""
        noun = "1 outlier" if len(outliers) == 1 else f"{len(outliers)} outliers"
        notes.append(f"{kind}: {noun} left out: {'; '.join(map(str, outliers[:NAMED]))}{more}")
    return tuple(notes)


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


def _different(field: str, rows: Sequence[Point], key: Callable[[Point], Hashable], names: str, source: str) -> int:
    """Return how many different points were measured; refuse fewer than two."""
    different = len({key(row) for row in rows})
    if different < 2:
        words = f"{len(rows)} usable {'row' if len(rows) == 1 else 'rows'}"
        raise InvalidInputError(field, f"{words}, expected at least 2 of different {names}", source)
    return different


def _rows(count: int, kind: str) -> str:
    return f"{count} {kind} {'row' if count == 1 else 'rows'}"
