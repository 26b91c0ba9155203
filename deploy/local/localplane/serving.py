"""A small HTTP server that answers by a function, while its ``with`` block runs. Imports the standard library only."""

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self


class Answer(NamedTuple):
    """Body and content type of an answer."""

    body: str
    kind: str


class Serving:
    """Serves GET requests on a free port of 127.0.0.1.

    Parameters
    ----------
    answer
        Called with the path, in a thread of its own for each connection; None is a 404.
    tls
        Serve HTTPS by this context; connections are kept then, as setting one up costs more than an answer.
    """

    def __init__(self, answer: Callable[[str], Answer | None], tls: ssl.SSLContext | None = None) -> None:
        protocol = "HTTP/1.0" if tls is None else "HTTP/1.1"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answer, protocol))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(answer: Callable[[str], Answer | None], protocol: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = protocol

        def do_GET(self) -> None:
            found = answer(self.path)
            payload = b"" if found is None else found.body.encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "text/plain" if found is None else found.kind)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
