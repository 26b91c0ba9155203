"""Free ports on loopback. Imports the standard library only."""

import os
import random
import socket
from collections import deque
from pathlib import Path

from localplane.errors import LocalPlaneError

_LOWEST = 16_000
_TRIES = 200
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_CHANCE = random.SystemRandom()
_MOST_RESERVED = 256
_reserved: deque[int] = deque()
"""UDP sockets, by file descriptor, that keep the newest ports for this process; its end closes them."""


def free_ports(count: int) -> list[int]:
    """Return ``count`` different TCP ports at 127.0.0.1 that nobody listens on and nobody else is given.

    Between the answer and the program that binds it seconds may pass. They lie below those that the kernel gives to
    outgoing connections, of which a control plane opens hundreds; and as long as this process lives it holds the UDP
    port of the same number, which nothing here uses otherwise: so no other process that draws its ports here, such as a
    second worker of the tests, takes one of them.
    """
    sockets: list[socket.socket] = []
    try:
        sockets.extend(_bound() for _ in range(count))
        return [int(sock.getsockname()[1]) for sock in sockets]
    except OSError as error:
        raise LocalPlaneError(f"no free port on 127.0.0.1: {error}") from error
    finally:
        for sock in sockets:
            sock.close()


def _reserve(port: int) -> bool:
    """Take a port's UDP sibling; whether nobody had it."""
    mark = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        mark.bind(("127.0.0.1", port))
    except OSError:
        mark.close()
        return False
    _reserved.append(mark.detach())
    if len(_reserved) > _MOST_RESERVED:
        os.close(_reserved.popleft())
    return True


def free_port() -> int:
    """Return one free TCP port at 127.0.0.1."""
    return free_ports(1)[0]


def _bound() -> socket.socket:
    """Bind a port below the ephemeral ones; any port where that fails."""
    below = _first_ephemeral()
    drawn = [_CHANCE.randrange(_LOWEST, below) for _ in range(_TRIES)] if below > _LOWEST else []
    for port in (*drawn, 0):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            sock.close()
            if port == 0:
                raise
        else:
            if port == 0 or _reserve(port):
                return sock
            sock.close()
    raise AssertionError("unreachable")


def _first_ephemeral() -> int:
    try:
        return int(_EPHEMERAL.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0
