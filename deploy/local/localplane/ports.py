"""Free ports on loopback. Imports the standard library only."""

import socket

from localplane.errors import LocalPlaneError


def free_ports(count: int) -> list[int]:
    """Return ``count`` different TCP ports that nobody listens on at 127.0.0.1.

    All of them are held open until the last one is found, so they differ from each other. Between the answer and the
    program that binds it another process could take one; the kernel hands out ephemeral ports in a way that makes
    this rare, and the start-up reports it by the program's own log.
    """
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]
    except OSError as error:
        raise LocalPlaneError(f"no free port on 127.0.0.1: {error}") from error
    finally:
        for sock in sockets:
            sock.close()


def free_port() -> int:
    """Return one free TCP port at 127.0.0.1."""
    return free_ports(1)[0]
