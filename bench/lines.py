"""Results as JSON lines: written as they come, taken up again where a run was cut off. Standard library only."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    """Read every whole line; a line that a cut-off run left unfinished is passed over."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def append(path: Path, line: Line) -> None:
    """Add one line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def write(path: Path, lines: Iterable[Line]) -> None:
    """Write all lines anew."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
