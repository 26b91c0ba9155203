"""One line of a trace file to one request. May import only the standard library, units and errors.

Each format is a :class:`Format`: which columns say when, how much in, how much out. Values are checked here, and an
error names the file, the line and the column as the file writes it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pdscaler.errors import InvalidInputError

MAX_TOKENS = 100_000_000
"""More tokens than any request has: what is beyond is a mistake in the file."""

Where = Callable[[], str]
"""File and line, asked for only when there is an error."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a trace."""

    arrival_s: float
    input_tokens: int
    output_tokens: int
    prefix_hit_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Format:
    """Where a format keeps what.

    Parameters
    ----------
    name
        Name for people.
    arrival, input_tokens, output_tokens, prefix_hit_tokens
        Column (or JSON key) names; the last is None where the format has none.
    absolute
        Arrivals are points of time: they count from the first request.
    seconds
        Reads an arrival.
    failed_are_zero
        Requests that failed are recorded with 0 output tokens and left out.
    """

    name: str
    arrival: str
    input_tokens: str
    output_tokens: str
    prefix_hit_tokens: str | None
    absolute: bool
    seconds: Callable[[object, str, Where], float]
    failed_are_zero: bool = False

    @property
    def columns(self) -> frozenset[str]:
        """Columns that must be there."""
        return frozenset((self.arrival, self.input_tokens, self.output_tokens))

    @property
    def read(self) -> frozenset[str]:
        """Columns that are read where they are there."""
        return self.columns if self.prefix_hit_tokens is None else self.columns | {self.prefix_hit_tokens}

    def row(self, values: Mapping[str, object], where: Where) -> Row | None:
        """Read one line; None for a failed request.

        Raises
        ------
        InvalidInputError
            If a value is not what its column holds.
        """
        arrival_s = self.seconds(values.get(self.arrival), self.arrival, where)
        input_tokens = whole_number(values.get(self.input_tokens), self.input_tokens, where)
        least = 0 if self.failed_are_zero else 1
        output_tokens = whole_number(values.get(self.output_tokens), self.output_tokens, where, least)
        if output_tokens == 0:
            return None
        hits = 0
        if self.prefix_hit_tokens is not None and self.prefix_hit_tokens in values:
            hits = whole_number(values[self.prefix_hit_tokens], self.prefix_hit_tokens, where, 0)
            if hits > input_tokens:
                raise InvalidInputError(
                    "", f"{self.prefix_hit_tokens} is {hits}, more than the {input_tokens} input tokens", where()
                )
        return Row(arrival_s, input_tokens, output_tokens, hits)


def shown(value: object) -> str:
    """Write a value for an error: as the file has it, shortened."""
    if value is None:
        return "missing"
    text = value if isinstance(value, str) else repr(value)
    return '"' + text[:40].encode("unicode_escape").decode() + '"'


def _parsed(value: object) -> float:
    """Read a number as JSON or CSV write it; NaN for anything else (``1_000`` is Python, not CSV)."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or "_" in str(value):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def whole_number(value: object, column: str, where: Where, least: int = 1) -> int:
    """Read a token count of at least ``least``; ``17.0`` is a whole number too.

    Raises
    ------
    InvalidInputError
        If the value is anything else; it names file, line and column.
    """
    number = _parsed(value)
    if not number.is_integer() or not least <= number <= MAX_TOKENS:
        hint = " (leave out requests that failed)" if number == 0 else ""
        problem = f"{column} is {shown(value)}, expected a whole number of at least {least}{hint}"
        raise InvalidInputError("", problem, where())
    return int(number)


def _number(value: object, column: str, where: Where, unit: str) -> float:
    number = _parsed(value)
    if not math.isfinite(number) or number < 0:
        raise InvalidInputError("", f"{column} is {shown(value)}, expected {unit}, at least 0", where())
    return number


def relative_seconds(value: object, column: str, where: Where) -> float:
    """Read seconds since the start of the trace."""
    return _number(value, column, where, "a number of seconds")


def relative_milliseconds(value: object, column: str, where: Where) -> float:
    """Read milliseconds since the start of the trace."""
    return _number(value, column, where, "a number of milliseconds") / 1000


def timestamp(value: object, column: str, where: Where) -> float:
    """Read a date and time (UTC where it names no zone), to seconds since the epoch.

    Fractions may have more than six digits: the Azure traces have seven.

    Raises
    ------
    InvalidInputError
        If the value is no date and time; it names file, line and column.

    Examples
    --------
    >>> timestamp("1970-01-01 00:00:01.5000000", "TIMESTAMP", lambda: "")
    1.5
    """
    text = value.strip() if isinstance(value, str) else ""
    head, dot, tail = text.partition(".")
    digits = len(tail) - len(tail.lstrip("0123456789"))
    try:
        moment = datetime.fromisoformat(head + tail[digits:] if dot else text)
        fraction = float(f"0.{tail[:digits]}") if digits else 0.0
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp() + fraction
    except (ValueError, OverflowError):
        raise InvalidInputError(
            "", f"{column} is {shown(value)}, expected a date and time such as 2023-11-16 18:15:46.6805900", where()
        ) from None


def names_zone(value: object) -> bool:
    """Return whether a point of time that :func:`timestamp` has read says its zone.

    Examples
    --------
    >>> [names_zone(text) for text in ("2023-11-16 18:15:46.68", "2023-11-16T18:15:46Z", "2023-11-16 18:15:46-08:00")]
    [False, True, True]
    """
    text = str(value).strip()
    return text[-1:] in {"Z", "z"} or any(sign in text[10:] for sign in "+-")


PLAIN = Format(
    name="CSV",
    arrival="arrival_s",
    input_tokens="input_tokens",
    output_tokens="output_tokens",
    prefix_hit_tokens="prefix_hit_tokens",
    absolute=False,
    seconds=relative_seconds,
)
AZURE = Format(
    name="Azure LLM inference trace",
    arrival="TIMESTAMP",
    input_tokens="ContextTokens",
    output_tokens="GeneratedTokens",
    prefix_hit_tokens=None,
    absolute=True,
    seconds=timestamp,
)
BURST_GPT = Format(
    name="BurstGPT",
    arrival="Timestamp",
    input_tokens="Request tokens",
    output_tokens="Response tokens",
    prefix_hit_tokens=None,
    absolute=False,
    seconds=relative_seconds,
    failed_are_zero=True,
)
MOONCAKE = Format(
    name="Mooncake",
    arrival="timestamp",
    input_tokens="input_length",
    output_tokens="output_length",
    prefix_hit_tokens=None,
    absolute=False,
    seconds=relative_milliseconds,
)
CSV_FORMATS = (PLAIN, AZURE, BURST_GPT)
