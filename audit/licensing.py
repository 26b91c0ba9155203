"""Which licences what is shipped may have. Imports the standard library only."""

import re
from collections.abc import Iterable

ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "CNRI-Python",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
        "Zlib",
        # As older packages write them.
        "Apache Software License",
        "BSD License",
        "MIT License",
        "Mozilla Public License 2.0 (MPL 2.0)",
        "Python Software Foundation License",
    }
)
"""Permissive licences, and MPL-2.0, which binds its own files only."""

_SAYS_NOTHING = frozenset({"License :: DFSG approved"})


def refused(stated: Iterable[str]) -> str:
    """Say why a component may not be shipped; empty where it may.

    Of several statements each must hold. Where parts are joined by AND all of them must be allowed, where by OR one;
    an expression with parentheses is not understood, and so refused.

    Examples
    --------
    >>> refused(["MIT"]), refused(["GPL-3.0-only OR BSD-3-Clause"]), refused(["Apache-2.0 AND GPL-3.0-only"])
    ('', '', 'GPL-3.0-only is not among the licences allowed')
    >>> refused([])
    'states no licence'
    """
    statements = [statement for statement in stated if statement not in _SAYS_NOTHING]
    if not statements:
        return "states no licence"
    for statement in statements:
        missing: list[str] = []
        for choice in re.split(r"\s+OR\s+", statement):
            missing = [part for part in re.split(r"\s+AND\s+", choice) if part not in ALLOWED]
            if not missing:
                break
        if missing:
            return f"{missing[0]} is not among the licences allowed"
    return ""
