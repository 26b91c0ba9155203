"""HTML whose text is escaped unless it was made here. Imports the standard library only."""

import html
import re
from collections.abc import Iterable

_VOID = frozenset(("input", "meta"))
_CLOSED = frozenset(("path",))
"""Elements of SVG without content: there an element is open until it is closed."""

_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that HTML does not allow, and halves of surrogate pairs (a file's name may hold them)."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    r"""Return text as HTML that shows it; what no page may hold is shown as ``\x1b``.

    Examples
    --------
    >>> escaped('<script>"&"')
    '&lt;script&gt;&quot;&amp;&quot;'
    """
    if isinstance(text, Markup):
        return text
    shown = _NO_TEXT.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return Markup(html.escape(shown, quote=True))


def joined(parts: Iterable[str]) -> Markup:
    """Return parts one after the other, each escaped unless it is HTML."""
    return Markup("".join(map(escaped, parts)))


def element(name: str, /, *children: str, **attributes: str | bool | None) -> Markup:
    """Return an element.

    Parameters
    ----------
    name
        Its tag.
    children
        Text and elements; text is escaped.
    attributes
        ``True`` for one without a value, None and ``False`` leave it out; ``class_`` and ``aria_label`` are ``class``
        and ``aria-label``.

    Examples
    --------
    >>> element("p", "1 < 2", element("b", "!"), class_="note", hidden=True)
    '<p class="note" hidden>1 &lt; 2<b>!</b></p>'
    """
    written = [name]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(attribute)
        elif isinstance(value, str):
            written.append(f'{attribute}="{escaped(value)}"')
    begin = f"<{' '.join(written)}>"
    if name in _CLOSED:
        return Markup(f"{begin[:-1]}/>")
    return Markup(begin if name in _VOID else f"{begin}{joined(children)}</{name}>")
