"""Text of others, made harmless for a line of a log, a status or a terminal. Imports the standard library only.

Names, messages and labels come from users, engines and other systems. What Unicode calls not printable (line breaks,
terminal sequences, the marks that turn the direction of writing) is escaped, wherever it came from.
"""

import json


def printable(text: str) -> str:
    r"""Escape what is not printable, so that a text stays on its line and cannot steer a terminal.

    Examples
    --------
    >>> print(printable("a\nb\x1b[31m\u202e"))
    a\nb\x1b[31m\u202e
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def clipped(text: str, length: int) -> str:
    r"""Return a printable text of at most ``length`` characters.

    Examples
    --------
    >>> clipped("one\ntwo", 100), clipped("x" * 9, 4)
    ('one\\ntwo', 'xxx…')
    """
    safe = printable(text[: length + 1])
    return safe if len(safe) <= length and len(text) <= length else safe[: length - 1] + "…"


def json_safe(text: str) -> str:
    r"""Escape in JSON text what JSON allows and a terminal obeys: the same document, in other letters.

    JSON escapes what lies below U+0020; U+007F, the C1 controls and the marks of direction are left to us.

    Examples
    --------
    >>> print(json_safe('{"a": "\x9b31m\u202e"}'))
    {"a": "\u009b31m\u202e"}
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1] for character in text
    )
