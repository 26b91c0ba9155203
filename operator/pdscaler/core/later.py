"""A value that is worked out when it is first asked for. Imports the standard library only."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Later(Generic[T]):
    """Calls ``make`` at most once: an evaluation every few seconds need not write texts that nobody reads.

    Examples
    --------
    >>> word = Later(lambda: print("made") or "said")
    >>> word(), word()
    made
    ('said', 'said')
    """

    __slots__ = ("_make", "_value")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: Callable[[], T] | None = make

    def __call__(self) -> T:
        """Return the value."""
        if self._make is not None:
            self._value = self._make()
            self._make = None
        return self._value
