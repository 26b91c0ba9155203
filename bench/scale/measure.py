"""What a process and the API server did between two looks. Imports the standard library and the launcher only."""

import contextlib
import os
import re
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from localplane.audit import AuditLog

Counters = dict[str, dict[str, float]]
"""Counters of an exposition: name -> labels as written -> value."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_SAMPLE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used over a while.

    Parameters
    ----------
    seconds
        Length of the while.
    cores
        Processor time by time: 1.0 is one core, busy all the time.
    memory_mib
        Resident memory at its end.
    """

    seconds: float
    cores: float
    memory_mib: float


class Watch:
    """Measures a process and its children from now on; it must outlive the last look.

    Parameters
    ----------
    pid
        The process.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._begin = time.monotonic(), _processor_s(pid)

    def usage(self) -> Usage:
        """Return what it used since."""
        seconds = time.monotonic() - self._begin[0]
        memory = sum(memory_mib(each) for each in (self._pid, *_children(self._pid)))
        return Usage(seconds, (_processor_s(self._pid) - self._begin[1]) / seconds, memory)


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process, MiB."""
    return _status_kib(pid, "VmRSS") / 1024


def peak_mib(pid: int) -> float:
    """Return the most resident memory that a process ever had, MiB."""
    return _status_kib(pid, "VmHWM") / 1024


def requests_of(log: AuditLog, since: int, *, user: str) -> Counter[str]:
    """Return the requests of a user since a mark, by verb and resource; watches that were opened count, too."""
    return Counter(f"{each.verb} {each.resource}" for each in log.requests(user=user, since=since))


def counters(url: str, *names: str) -> Counters:
    """Return counters of an exposition."""
    found: Counters = {name: {} for name in names}
    with _DIRECT.open(url, timeout=30) as answer:
        for line in answer.read().decode().splitlines():
            match = _SAMPLE.match(line)
            if match and match[1] in found:
                found[match[1]][match[2] or ""] = float(match[3])
    return found


def _processor_s(pid: int) -> float:
    """Return the processor time of a process, of its children, and of those of them that have ended."""
    own_s = sum(int(field) for field in _stat(pid)[11:15]) / os.sysconf("SC_CLK_TCK")
    return own_s + sum(_processor_s(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if int(_stat(int(folder.name))[1]) == pid:
                found.append(int(folder.name))
    return found


def _stat(pid: int) -> list[str]:
    # The second field is the name, in brackets, with anything in it; those after it count from 0 here.
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def _status_kib(pid: int, field: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(text.split(f"{field}:")[1].split()[0])
