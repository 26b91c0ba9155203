"""The document of a watched object, kept small. Imports the standard library only."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any


class PackedDocument(Mapping[str, Any]):
    """An object of the API server: its metadata at hand, the rest packed, and unpacked anew whenever it is asked for.

    Spec and status are read once per version of them; between those reads nested dictionaries would hold several times
    the memory of their text.

    Parameters
    ----------
    document
        The object as the API server gave it: JSON, with ``metadata``. Its ``managedFields`` are left out: they are half
        of it, and say nothing that the operator asks.
    """

    __slots__ = ("_metadata", "_packed")

    def __init__(self, document: Mapping[str, Any]) -> None:
        # The parser makes new strings for the same names in every answer.
        self._metadata = {
            sys.intern(key): value for key, value in document["metadata"].items() if key != "managedFields"
        }
        rest = {key: value for key, value in document.items() if key != "metadata"}
        self._packed = json.dumps(rest, separators=(",", ":"))

    def __getitem__(self, key: str) -> Any:
        return self._metadata if key == "metadata" else self._rest()[key]

    def __iter__(self) -> Iterator[str]:
        yield "metadata"
        yield from self._rest()

    def __len__(self) -> int:
        return 1 + len(self._rest())

    def _rest(self) -> dict[str, Any]:
        rest: dict[str, Any] = json.loads(self._packed)
        return rest
