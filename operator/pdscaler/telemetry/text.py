"""Foreign text in messages, and label values in PromQL. Imports the standard library only.

Label values come from whoever writes an exposition or a PDDeployment. In a message they are shortened and their
control characters escaped, so that a name cannot forge a log line or a terminal sequence.
"""

import re
from collections.abc import Iterable

LABEL_NAME = re.compile(r"(?!__)(?!(?i:inf|nan|without)\Z)[a-zA-Z_][a-zA-Z0-9_]{0,127}")
"""Label names that may stand in a grouping: no quoting, no operator, nothing internal (``__name__``).

PromQL takes ``inf``, ``nan`` and ``without`` for something else there. One query serves many PDDeployments: a name that
breaks it would blind them all.
"""

METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,255}")
"""Classic metric names."""

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quote_label_value(value: str) -> str:
    r"""Write a label value as a PromQL string.

    Everything outside printable ASCII becomes an escape of its UTF-8 bytes, so that no character of the value can end
    the string.

    Examples
    --------
    >>> print(quote_label_value('a"} or vector(1) #'))
    "a\"} or vector(1) #"
    """
    return '"' + "".join(_quoted(character) for character in value) + '"'


def _quoted(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if " " <= character <= "~":
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))


def shown(value: str, limit: int = 64) -> str:
    r"""Quote foreign text for a message: what is not printable is escaped, and no more than ``limit`` characters.

    Examples
    --------
    >>> print(shown("a\x1b[2Jb"))
    "a\x1b[2Jb"
    >>> shown("x" * 9, limit=4)
    '"xxxx…"'
    """
    cut = value if len(value) <= limit else value[:limit] + "…"
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut) + '"'


def shown_list(values: Iterable[str], limit: int = 5) -> str:
    """Quote at most ``limit`` names, sorted, and say how many more there are."""
    names = sorted(values)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown(name) for name in names[:limit]) + more
