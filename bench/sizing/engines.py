"""Engine profiles that the sizing benchmark draws its cases from. Imports pdscaler's core (and profiler, for files).

None of them is anybody's data file: the DeepSeek and H20 figures stand in the paper (arXiv 2603.04716); the others are
numbers of our own with the shapes that profiles have in life: a flat start and a convex end of prefill, a decode
surface in batch and context, noise that makes points fall where they should rise, little KV memory.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, DecodeProfile, MaxThroughput, Overhead, PrefillPoint, PrefillProfile
from pdscaler.units import parse_duration


@dataclass(frozen=True, slots=True)
class Engine:
    """A pair of engines, and the requests that make sense on it.

    Parameters
    ----------
    name
        Short name, for the table.
    origin
        ``measured``, ``fitted`` or ``synthetic``, and of what.
    prefill, decode
        The profiles.
    gpus
        GPUs of one replica of each pool.
    input_tokens, output_tokens
        Range of the mean lengths that cases take, tokens.
    """

    name: str
    origin: str
    prefill: PrefillProfile
    decode: DecodeProfile
    gpus: PerPool[int]
    input_tokens: tuple[float, float]
    output_tokens: tuple[float, float]


def _prefill(
    *points: tuple[float, float], budget: int = 8192, fixed_s: float = 0.0, per_k_s: float = 0.0
) -> PrefillProfile:
    return PrefillProfile(
        tuple(PrefillPoint(tokens, latency_s) for tokens, latency_s in points),
        max_batched_tokens=budget,
        overhead=Overhead(fixed_s, per_k_s),
    )


def _surface(  # noqa: PLR0917 - the two axes, then the plane's three coefficients
    contexts: Sequence[float],
    batches: Sequence[float],
    base_s: float,
    per_request_s: float,
    per_kv_token_s: float,
    knee: float = 0.0,
) -> tuple[DecodePoint, ...]:
    """Return step = base + batch · per_request + batch · context · per_kv_token, bent upwards by ``knee``.

    The bend (a share that the step has gained at the largest batch, growing with the square of the batch) is what
    compute adds once the memory bandwidth no longer hides it.
    """
    most = max(batches)
    return tuple(
        DecodePoint(
            context,
            batch,
            (base_s + batch * per_request_s + batch * context * per_kv_token_s) * (1 + knee * (batch / most) ** 2),
        )
        for context in contexts
        for batch in batches
    )


DEEPSEEK = Engine(
    "DeepSeek-V3.1, 8 x H200",
    "measured (the paper)",
    PrefillProfile(max_throughput=MaxThroughput(6144, 28_309), max_batched_tokens=8192, overhead=Overhead(0.1)),
    DecodeProfile(
        tuple(
            DecodePoint(6400, batch, tpot_ms / 1000)
            for batch, tpot_ms in ((10, 12.8), (20, 16.4), (30, 18.8), (40, 21.6), (50, 23.9), (60, 26.2))
        ),
        max_batch=256,
        kv_capacity_tokens=900_000,
    ),
    PerPool(8, 8),
    (1000, 9000),
    (64, 1000),
)

QWEN = Engine(
    "Qwen3-235B, 8 x H20",
    "fitted (prefill throughput of the paper's figure 1; decode a plane through plausible points)",
    PrefillProfile(
        max_throughput=MaxThroughput(4096, 4096 * 2.952), max_batched_tokens=12_288, overhead=Overhead(0.15, 0.004)
    ),
    DecodeProfile(
        _surface((1000, 4000, 12_000), (1, 16, 32, 64, 128), 0.019, 9e-5, 3.4e-8),
        max_batch=128,
        kv_capacity_tokens=700_000,
    ),
    PerPool(8, 8),
    (800, 8000),
    (100, 1200),
)

SMALL_FAST = Engine(
    "8B, one fast GPU",
    "synthetic: flat below 1000 tokens, a wide decode surface",
    _prefill(
        (128, 0.0172),
        (512, 0.0176),
        (1000, 0.0184),
        (2000, 0.0342),
        (4000, 0.0701),
        (6000, 0.1075),
        (8000, 0.1498),
        (12_000, 0.2431),
        (16_000, 0.3524),
    ),
    DecodeProfile(
        _surface((256, 2048, 4096, 8192, 16_384), (1, 8, 32, 64, 128, 256, 512), 0.0051, 1.9e-5, 2.6e-8, knee=0.25),
        max_batch=512,
        kv_capacity_tokens=880_000,
    ),
    PerPool(1, 1),
    (150, 8000),
    (24, 800),
)

SLOW = Engine(
    "7B, one small GPU",
    "measured-like: noise made some points fall",
    _prefill(
        (64, 0.041),
        (256, 0.092),
        (512, 0.171),
        (768, 0.262),
        (1024, 0.334),
        (1536, 0.531),
        (2048, 0.702),
        (3072, 1.113),
        (4096, 1.528),
        budget=2048,
        fixed_s=0.01,
        per_k_s=0.006,
    ),
    DecodeProfile(
        tuple(
            DecodePoint(context, batch, tpot_ms / 1000)
            for context, row in (
                (256, (31.2, 31.0, 32.4, 33.9, 37.5, 45.1)),
                (1024, (31.9, 32.6, 34.1, 38.4, 45.0, 60.3)),
                (3072, (33.1, 35.2, 39.8, 38.9, 66.7, 101.4)),
            )
            for batch, tpot_ms in zip((1, 4, 8, 16, 32, 64), row, strict=True)
        ),
        max_batch=64,
        kv_capacity_tokens=96_000,
    ),
    PerPool(1, 1),
    (100, 2000),
    (30, 400),
)

LITTLE_MEMORY = Engine(
    "70B, little KV memory",
    "synthetic: memory binds before speed; a decode replica costs twice a prefill one",
    _prefill(
        (256, 0.058),
        (1024, 0.121),
        (2048, 0.232),
        (4096, 0.468),
        (8192, 0.981),
        (16_384, 2.21),
        budget=4096,
        fixed_s=0.03,
        per_k_s=0.002,
    ),
    DecodeProfile(
        _surface((512, 2048, 8192), (1, 4, 8, 16, 32, 64, 96), 0.0185, 1.1e-4, 5.5e-8),
        max_batch=96,
        kv_capacity_tokens=110_000,
    ),
    PerPool(2, 4),
    (300, 5000),
    (50, 600),
)

ENGINES = (DEEPSEEK, QWEN, SMALL_FAST, SLOW, LITTLE_MEMORY)


def engine_of(path: Path) -> Engine:
    """Read an engine from a file of measurements (the format that `pdscaler profile import` reads)."""
    from pdscaler.profiler.measured import load_measured_profile

    measured = load_measured_profile(path)
    prefill = PrefillProfile(
        tuple(
            PrefillPoint(point["inputTokens"], parse_duration(point["latency"])) for point in measured.prefill["points"]
        )
    )
    decode = DecodeProfile(
        tuple(
            DecodePoint(point["contextTokens"], point["batch"], parse_duration(point["tpot"]))
            for point in measured.decode["points"]
        ),
        max_batch=measured.decode["maxBatch"],
        kv_capacity_tokens=measured.decode.get("kvCapacityTokens"),
    )
    longest = max(point.input_tokens for point in prefill.points)
    return Engine(
        measured.model or path.stem,
        f"measured ({path.name})",
        prefill,
        decode,
        measured.gpus_per_replica,
        (longest / 64, longest / 2),
        (24, 800),
    )


def every_decode_row(engine: Engine, path: Path) -> Engine:
    """Return the engine with all decode rows of its file, those marked not consistent included.

    NVIDIA's planner fits its regression to every row: its published counts are those of the fit with them.
    """
    rows = json.loads(path.read_text(encoding="utf-8"))["decode"]
    points = tuple(DecodePoint(row["context_tokens"], row["batch"], row["tpot_ms"] / 1000) for row in rows)
    most = max(int(row["batch"]) for row in rows)
    return replace(engine, decode=replace(engine.decode, points=points, max_batch=most))
