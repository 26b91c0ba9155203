"""Measured engine profiles, as plain values. Imports the standard library only.

:mod:`pdscaler.core.curves` interpolates them, for every simulator and judge alike (DESIGN section 6).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrefillPoint:
    """One pass over one prompt on an idle engine."""

    input_tokens: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class MaxThroughput:
    """The paper's profile: tokens per second at one input length, no idle time."""

    input_tokens: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Overhead:
    """Time to first token beyond queue and pass: KV transfer, network."""

    fixed_s: float = 0.0
    per_thousand_tokens_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PrefillProfile:
    """Profile of one prefill replica: ``points``, or ``max_throughput``."""

    points: tuple[PrefillPoint, ...] = ()
    max_throughput: MaxThroughput | None = None
    max_batched_tokens: int = 8192
    overhead: Overhead = Overhead()


@dataclass(frozen=True, slots=True)
class DecodePoint:
    """TPOT measured at a batch size and a context length."""

    context_tokens: float
    batch: float
    tpot_s: float


@dataclass(frozen=True, slots=True)
class DecodeProfile:
    """Profile of one decode replica."""

    points: tuple[DecodePoint, ...]
    max_batch: int = 256
    kv_capacity_tokens: float | None = None
