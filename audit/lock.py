"""The locked requirements: what is shipped, and at which version. Imports the standard library only."""

import re
from pathlib import Path

_LINE = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)(?P<marker>\s*;[^\\]*)?")


def normal(name: str) -> str:
    """Return the name of a package as indexes compare it.

    Examples
    --------
    >>> normal("prometheus_api.Client")
    'prometheus-api-client'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text: str) -> dict[str, tuple[str, ...]]:
    r"""Return the versions of each package in a locked requirements file: several where Pythons need different ones.

    Examples
    --------
    >>> locked("PyYAML==6.0.3 \\\n    --hash=sha256:0\n    # via x\ntzdata==1 ; sys_platform == 'win32'\n")
    {'pyyaml': ('6.0.3',), 'tzdata': ('1',)}
    """
    versions: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        if found := _LINE.match(line):
            name = normal(found["name"])
            versions[name] = (*versions.get(name, ()), found["version"])
    return versions


def read(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the versions of each package in a locked requirements file."""
    return locked(path.read_text(encoding="utf-8"))
