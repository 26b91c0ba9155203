"""Which version of the code gave a result: hashes of what it rests on. Standard library only."""

import hashlib
from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "operator" / "pdscaler"

_SIMULATION = ("core/simulation", "core/curves.py", "simulator/replay.py", "simulator/scrapes.py")
_EVERYTHING = ("core", "forecast", "simulator")
_REFERENCE = (*_SIMULATION, "simulator/oracle*.py", "simulator/bound*.py")


@lru_cache(maxsize=8)
def version(what: str) -> str:
    """Return a short hash of the code behind ``reference`` (schedule and bound), ``pdscaler`` or another policy.

    A result of another version is computed anew.
    """
    if what == "reference":
        patterns: tuple[str, ...] = _REFERENCE
    elif what == "pdscaler":
        patterns = _EVERYTHING
    else:
        patterns = (*_SIMULATION, "simulator/observation.py", "simulator/policies")
    digest = hashlib.sha256((HERE / "runs.py").read_bytes())
    for pattern in patterns:
        for found in sorted(PACKAGE.glob(pattern)):
            for path in sorted(found.rglob("*.py")) if found.is_dir() else [found]:
                digest.update(path.relative_to(PACKAGE).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
