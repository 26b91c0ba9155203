"""A measured figure with its goal; how figures are written and shown. Imports the standard library and rich only."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: at most ``goal`` is good.

    Parameters
    ----------
    name
        Stable name, also that of the file.
    value, unit
        What was measured.
    goal
        What it must not exceed, same unit.
    peer
        The same work done by somebody else's way, same unit; None where nobody else was measured.
    """

    name: str
    value: float
    unit: str
    goal: float
    peer: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the peer's figure is ours; None without a peer."""
        return None if self.peer is None or self.value == 0 else self.peer / self.value

    def write(self, folder: Path) -> Path:
        """Write the figure as one JSON object to a file of its name."""
        path = folder / f"{self.name}.json"
        rounded = {key: _rounded(value) for key, value in (asdict(self) | {"ratio": self.ratio}).items()}
        path.write_text(json.dumps(rounded) + "\n", encoding="utf-8")
        return path


def _rounded(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the figures as one aligned table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("figure", "value", "unit", "goal", "peer", "peer/value", ""):
        table.add_column(heading, justify="left" if heading in ("figure", "unit", "") else "right", no_wrap=True)
    for figure in figures:
        table.add_row(
            figure.name,
            _text(figure.value),
            figure.unit,
            _text(figure.goal),
            _text(figure.peer),
            _text(figure.ratio),
            "" if figure.value <= figure.goal else "over the goal",
        )
    console.print(table)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
