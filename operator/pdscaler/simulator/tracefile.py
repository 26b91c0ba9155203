"""A trace file's lines, one request after the other. May import the standard library, units, errors and ``rows``.

The format is told by the content, not by the name: gzip by its first bytes, CSV dialects by the header, JSON lines by
the first character. What is no trace is told with what it seems to be, and what to do.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TextIO

from pdscaler.errors import InvalidInputError
from pdscaler.simulator.rows import CSV_FORMATS, MOONCAKE, Format, Row, names_zone, shown

HEADERS = "arrival_s,input_tokens,output_tokens or TIMESTAMP,ContextTokens,GeneratedTokens or BurstGPT's"

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"PK\x03\x04": "is compressed with zip: unpack it, or compress it with gzip",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: unpack it, or compress it with gzip",
    b"BZh": "is compressed with bzip2: unpack it, or compress it with gzip",
    b"\xfd7zXZ": "is compressed with xz: unpack it, or compress it with gzip",
    b"PAR1": "is a Parquet file: write it as CSV",
    b"\xff\xfe": "is text in UTF-16: write it in UTF-8",
    b"\xfe\xff": "is text in UTF-16: write it in UTF-8",
}
"""What a file's first bytes say, and what to do."""

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(slots=True)
class Lines:
    """The requests of a file.

    Parameters
    ----------
    layout
        The file's format.
    rows
        What its lines say, one after the other; None for a request that failed.
    zones
        Whether the points of time name a zone: both, where some do and some do not. Complete after the last row.
    """

    layout: Format
    rows: Iterator[Row | None]
    zones: set[bool] = field(default_factory=set)


def source_name(path: Path) -> str:
    """Return a file's name as a message shows it: on one line, and in any encoding."""
    name = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in path.name)
    return name.encode("utf-8", "backslashreplace").decode()


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """Open a file, plain or compressed with gzip, and tell what keeps it from being read.

    Raises
    ------
    InvalidInputError
        If it cannot be read, is damaged, or is no text; also from within the block.
    """
    name = source_name(path)
    try:
        with path.open("rb") as raw:
            first = raw.read(8)
            raw.seek(0)
            problem = next((words for begin, words in _OTHERS.items() if first.startswith(begin)), None)
            if problem is not None:
                raise InvalidInputError("", problem, name)
            stream = gzip.GzipFile(fileobj=raw) if first.startswith(_GZIP) else raw
            with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
                yield text
    except UnicodeDecodeError as error:
        raise InvalidInputError("", "is not text in UTF-8 (is it a trace?)", name) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidInputError("", f"is damaged or cut off: {error}", name) from error
    except OSError as error:
        raise InvalidInputError("", f"cannot be read: {(error.strerror or 'error').lower()}", str(path)) from error


def lines_of(text: TextIO, source: str) -> Lines:
    """Return the requests of a file.

    Raises
    ------
    InvalidInputError
        If its first line is neither a known header nor JSON; from the rows, where a line is not what it should be: it
        names the line and the column.
    """
    blank, first = 0, text.readline()
    while first and not first.strip():
        blank, first = blank + 1, text.readline()
    if not first:
        raise InvalidInputError("", f"is empty; expected a header ({HEADERS}) or JSON lines", source)
    lines = chain((first,), text)
    if first.lstrip().startswith("{"):
        return Lines(MOONCAKE, _json_rows(lines, source, blank))
    return _csv_lines(lines, source, blank)


def _csv_lines(lines: Iterator[str], source: str, blank: int) -> Lines:
    reader = csv.reader(lines)

    def where() -> str:
        return f"{source} line {reader.line_num + blank}"

    try:
        header = [name.strip() for name in next(reader)]
    except csv.Error as error:
        raise InvalidInputError("", f"is not CSV: {error}", where()) from error
    layout = next((known for known in CSV_FORMATS if known.columns <= set(header)), None)
    if layout is None:
        raise InvalidInputError("", _what_is_wrong(header), where())
    twice = next((name for name in header if name in layout.read and header.count(name) > 1), None)
    if twice is not None:
        raise InvalidInputError("", f"names the column {twice} twice; keep one of them", where())
    result = Lines(layout, iter(()))

    def rows() -> Iterator[Row | None]:
        try:
            for values in reader:
                if not values or (len(values) == 1 and not values[0].strip()):
                    continue
                if len(values) != len(header):
                    count = "1 value" if len(values) == 1 else f"{len(values)} values"
                    raise InvalidInputError("", f"has {count}, the header has {len(header)}", where())
                by_name = dict(zip(header, values, strict=True))
                yield layout.row(by_name, where)
                if layout.absolute:
                    result.zones.add(names_zone(by_name[layout.arrival]))
        except csv.Error as error:
            raise InvalidInputError("", f"is not CSV: {error}", where()) from error

    result.rows = rows()
    return result


def _what_is_wrong(header: list[str]) -> str:
    """Say what keeps a first line from being a known header, and what to do."""
    written = ",".join(header)
    if written.startswith("["):
        return "begins a JSON array; write one object on each line (JSON lines)"
    for separator, word in _SEPARATORS.items():
        columns = {name.strip() for name in written.split(separator)}
        if any(known.columns <= columns for known in CSV_FORMATS):
            return f"has its columns separated by {word}; separate them by commas"
    folded = {name.casefold() for name in header}
    nearest = max(CSV_FORMATS, key=lambda known: len(known.columns & set(header)))
    missing = sorted(nearest.columns - set(header))
    if len(missing) < len(nearest.columns):
        nearly = [name for name in missing if name.casefold() in folded]
        hint = f" (written {', '.join(nearly)})" if nearly else ""
        return f"lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}{hint}; found {shown(written)}"
    if all(_is_number(name) for name in header):
        return f"is no header, but {shown(written)}; begin the file with {HEADERS}"
    return f"unknown columns {shown(written)}; expected {HEADERS}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _json_rows(lines: Iterator[str], source: str, blank: int) -> Iterator[Row | None]:
    for number, line in enumerate(lines, start=1 + blank):

        def where(number: int = number) -> str:
            return f"{source} line {number}"

        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError("", f"is not JSON ({shown(line.strip())})", where()) from error
        if not isinstance(values, dict):
            raise InvalidInputError("", f"is {shown(values)}, expected a JSON object", where())
        yield MOONCAKE.row(values, where)
