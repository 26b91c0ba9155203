"""Entries of an answer by namespace and model: who looks for its own does not pass by a thousand others. Pure."""

from collections.abc import Iterator
from typing import Generic, TypeVar

E = TypeVar("E")


class Entries(Generic[E]):
    """Entries of one answer, in the order in which they were added."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, list[E]]] = {}

    def add(self, namespace: str, model: str, entry: E) -> None:
        """Add an entry; empty texts stand for labels that are missing."""
        self._groups.setdefault(namespace, {}).setdefault(model, []).append(entry)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __iter__(self) -> Iterator[E]:
        return self.of()

    def of(self, namespace: str | None = None, model: str | None = None) -> Iterator[E]:
        """Return the entries of a namespace and a model; None: of any."""
        near = self._groups.values() if namespace is None else (self._groups.get(namespace, {}),)
        for models in near:
            for entries in models.values() if model is None else (models.get(model, ()),):
                yield from entries
