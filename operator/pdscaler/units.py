"""Conversion between what people write and the units used inside (seconds). Imports only ``errors``.

Inside the project every quantity has one unit, named in its identifier: ``_s`` seconds, ``_tokens``, ``_rps``
requests per second. Conversion happens here, at the edges only.
"""

import math
import re

from pdscaler.errors import InvalidInputError

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(us|µs|ms|s|m|h)", re.ASCII)
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MOST_DIGITS = 15
DURATION_PATTERN = r"^(0|(\d+(\.\d+)?(us|µs|ms|s|m|h))+)$"
"""Regular expression of a duration, for schemas: ``2s``, ``350ms``, ``6500us``, ``1h30m``, ``0``."""


def parse_duration(text: object, field: str = "") -> float:
    """Convert a duration such as ``2s``, ``350ms``, ``6500us`` or ``1m30s`` to seconds.

    Parameters
    ----------
    text
        The duration as written; at most 32 characters.
    field
        Path of the field, for the error.

    Returns
    -------
    float
        Seconds, finite and at least 0.

    Raises
    ------
    InvalidInputError
        If the text is not a duration.

    Examples
    --------
    >>> parse_duration("1m30s")
    90.0
    >>> parse_duration("6500us")
    0.0065
    """
    if not isinstance(text, str) or len(text) > 32 or not re.fullmatch(DURATION_PATTERN, text, re.ASCII):
        shown = repr(text) if not isinstance(text, str) else '"' + text[:40].encode("unicode_escape").decode() + '"'
        raise InvalidInputError(field, f"{shown} is not a duration (write 2s, 350ms or 6500us)")
    seconds = math.fsum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    # 6500 * 1e-6 is 0.006500000000000001: a duration is written in decimal, so it is kept in decimal.
    return float(f"{seconds:.12g}")


def format_duration(seconds: float | None, digits: int = 3) -> str:
    """Write seconds for people: three significant digits and the unit that fits; a dash where unknown.

    Examples
    --------
    >>> format_duration(1.6234), format_duration(0.0189), format_duration(0.00012), format_duration(None)
    ('1.62s', '18.9ms', '120us', '–')
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds == 0:
        return "0s"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if abs(seconds) >= 0.9995 * scale or unit == "us":
            return format_number(seconds / scale, digits) + unit
    raise AssertionError("unreachable")  # pragma: no cover


def format_number(value: float | None, digits: int = 3) -> str:
    """Write a number with ``digits`` significant digits, never in scientific notation; a dash where unknown.

    Examples
    --------
    >>> format_number(25075.3), format_number(3.0688), format_number(12.5), format_number(2.0)
    ('25075', '3.07', '12.5', '2')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)) + 1e-12))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_share(share: float | None) -> str:
    """Write a share as per cent; 99.996 % is not written as 100 %; a dash where unknown.

    Examples
    --------
    >>> format_share(1.0), format_share(0.99996), format_share(0.5), format_share(None)
    ('100 %', '99.996 %', '50 %', '–')
    """
    if share is None or not math.isfinite(share):
        return "–"
    digits = 4 if share < 1 else 3
    while share < 1 and digits < 16 and format_number(100 * share, digits) == "100":
        digits += 1
    return f"{format_number(100 * share, digits)} %"


def format_need(required: float | None, replicas: int | None, digits: int = 3) -> str:
    """Write a real-valued need so that it explains the whole count: 4.003, which takes 5, is not shown as 4.

    Parameters
    ----------
    required
        Replicas needed, before rounding.
    replicas
        The least whole count that suffices; None where it is not known.
    digits
        Significant digits, where so many tell it.

    Examples
    --------
    >>> format_need(4.003, 5), format_need(3.0688, 4), format_need(4.0, 4), format_need(None, None)
    ('4.003', '3.07', '4', '–')
    """
    text = format_number(required, digits)
    if required is None or replicas is None or not replicas - 1 < required < math.inf:
        return text
    for more in range(digits, _MOST_DIGITS + 1):
        text = format_number(required, more)
        if float(text) > replicas - 1:
            break
    return text
