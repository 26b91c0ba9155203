"""The files that ``pdscaler replay`` writes: decisions.csv and the report.

May import click, core, simulator (late) and cli.
"""

import csv
import hashlib
import io
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from pdscaler import __version__
from pdscaler.cli.outfile import write_file
from pdscaler.core.pools import PerPool

if TYPE_CHECKING:
    from pdscaler.simulator.ledger import OrderMade
    from pdscaler.simulator.replayed import Replayed
    from pdscaler.simulator.report import InputFile

_MOST_SHOWN = 200_000
"""Characters of an input that the report shows."""


def write_decisions(path: Path, orders: Sequence["OrderMade"]) -> None:
    """Write the orders as CSV: ``time_s,prefill,decode``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("time_s", "prefill", "decode"))
    for order in orders:
        writer.writerow((f"{order.at_s:.15g}", order.replicas.prefill, order.replicas.decode))
    write_file("--decisions", path, text.getvalue())


def input_files(inputs: dict[str, Path]) -> tuple["InputFile", ...]:
    """Return what was read, by its role, with its hash; the texts of all but a trace."""
    from pdscaler.simulator.report import InputFile

    given = []
    for role, file in inputs.items():
        # What is no regular file (/dev/stdin) was read already, and cannot be read twice.
        content = file.read_bytes() if file.is_file() else None
        text = None if role == "trace" or content is None else content[:_MOST_SHOWN].decode("utf-8", "replace")
        given.append(InputFile(role, str(file), "" if content is None else hashlib.sha256(content).hexdigest(), text))
    return tuple(given)


def write_report(path: Path, replayed: "Replayed", given: tuple["InputFile", ...], context: click.Context) -> None:
    """Write the report: one HTML page.

    Parameters
    ----------
    path, replayed
        Where, and of what.
    given
        The files that were read.
    context
        Of the command, which the report repeats.
    """
    from pdscaler.simulator.report import Provenance, render_report

    provenance = Provenance(command_line(context), __version__, given)
    write_file("--report", path, render_report(replayed, provenance))


def command_line(context: click.Context) -> str:
    """Return the command with the options that were given, as a shell takes it."""
    words = ["pdscaler", context.command.name or ""]
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        if isinstance(parameter, click.Option) and parameter.is_flag:
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        else:
            words += [parameter.opts[0], _written(value, parameter.type.name)]
    return shlex.join(words)


def _written(value: object, kind: str) -> str:
    """Return a value as its option takes it."""
    if isinstance(value, PerPool):
        return f"{value.prefill}P{value.decode}D"
    if isinstance(value, float):
        return f"{value:.15g}{'s' if kind == 'duration' else ''}"
    return str(value)
