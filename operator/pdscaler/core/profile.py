"""Measured engine profiles, as plain values. Imports the standard library only.

:mod:`pdscaler.core.curves` interpolates them, for every simulator and judge alike (DESIGN section 6).
"""

from dataclasses import dataclass, field


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
    """Profile of one prefill replica: ``points``, or ``max_throughput``.

    Its hash is kept: what is read off a profile is remembered by it, and looked up at every evaluation.
    """

    points: tuple[PrefillPoint, ...] = ()
    max_throughput: MaxThroughput | None = None
    max_batched_tokens: int = 8192
    overhead: Overhead = Overhead()
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = (self.points, self.max_throughput, self.max_batched_tokens, self.overhead)
        object.__setattr__(self, "_hash", hash(key))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class DecodePoint:
    """TPOT measured at a batch size and a context length."""

    context_tokens: float
    batch: float
    tpot_s: float


@dataclass(frozen=True, slots=True)
class DecodeProfile:
    """Profile of one decode replica. Its hash is kept, as a prefill profile's."""

    points: tuple[DecodePoint, ...]
    max_batch: int = 256
    kv_capacity_tokens: float | None = None
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.points, self.max_batch, self.kv_capacity_tokens)))

    def __hash__(self) -> int:
        return self._hash
