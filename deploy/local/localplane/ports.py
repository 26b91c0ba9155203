"""Free ports on loopback. Imports the standard library only."""

import random
import socket
from pathlib import Path

from localplane.errors import LocalPlaneError

_LOWEST = 16_000
_TRIES = 200
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_CHANCE = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Return ``count`` different TCP ports that nobody listens on at 127.0.0.1.

    All of them are held until the last one is found, so they differ from each other. Between the answer and the program
    that binds it nobody else takes one by accident: they lie below those that the kernel gives to outgoing connections,
    of which a control plane opens hundreds, and are drawn at random from thousands.
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
            return sock
    raise AssertionError("unreachable")


def _first_ephemeral() -> int:
    try:
        return int(_EPHEMERAL.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0
