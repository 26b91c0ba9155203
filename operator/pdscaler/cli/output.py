"""Results for people and for programs: aligned text, JSON, YAML. May import click, yaml and printable.

Programs get one document on standard output; what is not finite is null there. People get aligned columns, colours
only on a terminal and never as the only carrier of meaning. What others wrote reaches no terminal as a sequence that
it obeys: JSON and YAML escape what is not printable, and tables are made of texts that were read so.
"""

import json
import math
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from pdscaler.printable import json_safe

OUTPUTS: Final = ("table", "json", "yaml")
GAP: Final = "   "
WIDTH: Final = 119
"""Widest line, columns; a narrower terminal narrows it."""

Function = TypeVar("Function", bound=Callable[..., Any])


def output_option(function: Function) -> Function:
    """Add ``-o table|json|yaml`` to a command."""
    option = click.option(
        "-o", "--output", type=click.Choice(OUTPUTS), default="table", show_default=True, help="Form of the result."
    )
    return option(function)


def terminal_width() -> int:
    """Return the columns to write in: the terminal's, at most :data:`WIDTH`, and that where there is none."""
    if not sys.stdout.isatty():
        return WIDTH
    return max(40, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))


def finite(value: object) -> Any:
    """Return a JSON-like value in which every number that is not finite has become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return value


def emit(document: object, output: str, table: Callable[[], str] | None = None) -> None:
    """Print a result.

    Parameters
    ----------
    document
        JSON-like value.
    output
        ``table``, ``json`` or ``yaml``.
    table
        Makes the text for people; without it ``table`` prints YAML.
    """
    if output == "json":
        click.echo(json_safe(json.dumps(finite(document), indent=2, ensure_ascii=False, allow_nan=False)))
    elif output == "table" and table is not None:
        click.echo(table())
    else:
        click.echo(_yaml(finite(document)), nl=False)


def _yaml(document: object) -> str:
    """Write YAML; in plain ASCII where a character of it is not printable."""
    import yaml

    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    if text.replace("\n", "").isprintable():
        return text
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=False, width=120)


def aligned(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Return rows as lines with aligned columns; the last column is as wide as it needs.

    Examples
    --------
    >>> aligned([("", "replicas"), ("prefill", "4")], indent="")
    ['          replicas', 'prefill   4']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip() for row in rows
    ]


def strong(text: str, colour: str | None = None) -> str:
    """Return text that stands out on a terminal (click drops the codes elsewhere)."""
    return click.style(text, bold=True, fg=colour)
