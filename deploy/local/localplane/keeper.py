"""Outlives the launcher by a moment, to end the processes that it left. Imports the standard library only.

The launcher writes ``+PID`` and ``-PID`` to this program's standard input. When that pipe closes, the launcher is
gone, however it went: SIGKILL too. What is still on the list is then ended, process group by process group: SIGTERM,
and SIGKILL after a grace. It runs in a session of its own, so Ctrl-C does not reach it.
"""

import contextlib
import os
import signal
import sys
import time

GRACE_S = 2.0


def main() -> None:
    """Keep the list until the launcher is gone, then end what is on it."""
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    kept: dict[int, None] = {}
    for line in sys.stdin:
        if line.startswith("+"):
            kept[int(line[1:])] = None
        elif line.startswith("-"):
            kept.pop(int(line[1:]), None)
    end(list(reversed(kept)))


def end(groups: list[int]) -> None:
    """End process groups, the politely asked ones after a grace."""
    for group in groups:
        send(group, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and any(send(group, 0) for group in groups):
        time.sleep(0.05)
    for group in groups:
        send(group, signal.SIGKILL)


def send(group: int, number: int) -> bool:
    """Send a signal to a process group; say whether there was one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    main()
