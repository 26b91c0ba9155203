"""The two pools, and a value for each of them. Imports the standard library only."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Pool(StrEnum):
    """Role of a pool of replicas."""

    PREFILL = "prefill"
    DECODE = "decode"

    @property
    def other(self) -> "Pool":
        """The other pool."""
        return Pool.DECODE if self is Pool.PREFILL else Pool.PREFILL


@dataclass(frozen=True, slots=True)
class PerPool(Generic[T]):
    """One value for each pool."""

    prefill: T
    decode: T

    def __getitem__(self, pool: Pool) -> T:
        return self.prefill if pool is Pool.PREFILL else self.decode

    def items(self) -> Iterator[tuple[Pool, T]]:
        """Iterate over (pool, value), prefill first."""
        yield Pool.PREFILL, self.prefill
        yield Pool.DECODE, self.decode

    def map(self, function: Callable[[T], U]) -> "PerPool[U]":
        """Apply ``function`` to both values."""
        return PerPool(function(self.prefill), function(self.decode))

    def replace(self, pool: Pool, value: T) -> "PerPool[T]":
        """Return the same pair with another value for ``pool``."""
        return PerPool(value, self.decode) if pool is Pool.PREFILL else PerPool(self.prefill, value)
