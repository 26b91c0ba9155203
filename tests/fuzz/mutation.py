"""Cases near what is valid: documents and bytes with a few things changed, by somebody who means ill."""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Path = tuple[str | int, ...]

NASTY_TEXTS = (
    "",
    " ",
    "\x00",
    "a\nb",
    "\r\nlevel=error event=forged",
    "\x1b[2J\x1b[31m",
    "\x9b31m",
    "\u202egnp.exe",
    "\u2028",
    "\ud800",
    "é" * 70,
    "x" * 5_000,
    '"} or vector(1) #',
    "{{ 7 * 7 }}",
    "[/bold]",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "http://169.254.169.254/latest",
    "NaN",
    "1e999",
    "0x7f",
    "-1s",
    "9999999999h",
    "1_000",
    "١٢",
    "Auto",
    "P99",
    "20ms",
    "default",
    "2026-11-21T12:00:00Z",
    "9999-12-31T23:59:59+00:00",
    "0001-01-01T00:00:00+14:00",
)
NASTY_NUMBERS = (
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63) - 1,
    10**400,
    0.0,
    -0.0,
    0.5,
    5e-324,
    1e-9,
    1e18,
    1.7e308,
    float("inf"),
    float("-inf"),
    float("nan"),
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from(NASTY_NUMBERS)
    | st.sampled_from(NASTY_TEXTS)
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(NASTY_TEXTS) | st.text(max_size=8)


def paths(document: Any, prefix: Path = ()) -> list[Path]:
    """Return the path of everything within a document."""
    entries: Any = ()
    if isinstance(document, dict):
        entries = document.items()
    elif isinstance(document, list):
        entries = enumerate(document)
    found: list[Path] = []
    for key, value in entries:
        found += [(*prefix, key), *paths(value, (*prefix, key))]
    return found


def _at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


@st.composite
def documents(draw: Draw, seeds: Sequence[Any], most: int = 4) -> Any:
    """Return one of some documents with up to ``most`` things changed: replaced, moved, left out, doubled, added."""
    document = copy.deepcopy(draw(st.sampled_from(list(seeds))))
    for _ in range(draw(st.integers(0, most))):
        places = paths(document)
        if not places:
            return draw(VALUES)
        path = draw(st.sampled_from(places))
        holder, key = _at(document, path[:-1]), path[-1]
        change = draw(st.sampled_from(("scalar", "scalar", "value", "swap", "remove", "add", "wrap")))
        if change == "scalar":
            holder[key] = draw(SCALARS)
        elif change == "value":
            holder[key] = draw(VALUES)
        elif change == "swap":
            holder[key] = copy.deepcopy(_at(document, draw(st.sampled_from(places))))
        elif change == "remove":
            del holder[key]
        elif change == "wrap":
            holder[key] = [holder[key]] * draw(st.integers(1, 3))
        elif isinstance(holder, dict):
            holder[draw(KEYS)] = draw(VALUES)
        else:
            holder.insert(key, draw(VALUES))
    return document


_PIECES = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\n",
    b"\r",
    b"\x1b[31m",
    b'"',
    b",",
    b"{",
    b"]",
    b": ",
    b"&a [*a]",
    b"!!python/object/apply:os.system [true]",
    b"1e999",
    b"-1",
    b"NaN",
    b"9" * 400,
    b"[" * 3000,
)


@st.composite
def mangled(draw: Draw, seeds: Sequence[bytes], most: int = 5) -> bytes:
    """Return some bytes with up to ``most`` changes: flipped, cut, doubled, inserted, swapped."""
    data = bytearray(draw(st.sampled_from(list(seeds))))
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 40))
        change = draw(st.sampled_from(("insert", "insert", "flip", "cut", "double", "replace", "end", "random")))
        if change == "insert":
            data[at:at] = draw(st.sampled_from(_PIECES))
        elif change == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "cut":
            del data[at : at + length]
        elif change == "double":
            data[at:at] = data[at : at + length]
        elif change == "replace":
            data[at : at + length] = draw(st.sampled_from(_PIECES))
        elif change == "end":
            del data[at:]
        elif change == "random":
            data[at : at + length] = draw(st.binary(max_size=40))
    return bytes(data)


def as_json(document: Any) -> bytes:
    """Write a document as lenient JSON: NaN, infinities, lone surrogates, whole numbers of any size."""
    return json.dumps(document).encode("utf-8", "surrogatepass")
