"""The API server as its administrator, without kubectl's start-up time. Imports the standard library and the launcher.

For what asks often (a watch, thousands of objects); it goes past any proxy that others are made to use.
"""

import io
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from localplane.plane import ControlPlane

MERGE_PATCH = "application/merge-patch+json"
_TIMEOUT_S = 60.0
_AT_ONCE = 8


class Administrator:
    """Asks the API server of a local control plane.

    Parameters
    ----------
    plane
        The control plane; it runs.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self._server = plane.server
        pki = plane.run_dir / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._context = context
        self._idle: list[HTTPSConnection] = []
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def get(self, path: str) -> dict[str, Any]:
        """Return an object or a list, over a connection that is kept: who waits asks often, and a handshake is dear.

        Raises
        ------
        OSError
            If the server does not answer, or refuses (``urllib.error.HTTPError``).
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = HTTPSConnection(urlsplit(self._server).netloc, timeout=_TIMEOUT_S, context=self._context)
        try:
            answer, body = _answer(connection, path)
        except (OSError, HTTPException):
            # A kept connection may have been ended by the server; closed, it connects anew.
            answer, body = _answer(connection, path)
        self._idle.append(connection)
        if answer.status >= 400:
            url = self._server + path
            raise urllib.error.HTTPError(url, answer.status, answer.reason, answer.headers, io.BytesIO(body))
        document: dict[str, Any] = json.loads(body)
        return document

    def lines(self, path: str) -> Iterator[bytes]:
        """Yield the lines of an answer as they come: a watch."""
        with self._opener.open(self._server + path, timeout=_TIMEOUT_S) as answer:
            yield from answer

    def send(self, method: str, path: str, body: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
        """Create, change or delete an object."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            self._server + path, json.dumps(body).encode(), {"Content-Type": kind}, method=method
        )
        with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
            document: dict[str, Any] = json.load(answer)
            return document

    def create_all(self, documents: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
        """Create many objects, several at once; return name and message of those that are refused as invalid."""

        def create(document: dict[str, Any]) -> tuple[str, str]:
            name = str(document["metadata"]["name"])
            try:
                self.send("POST", collection(document), document)
            except urllib.error.HTTPError as error:
                if error.code != 422:
                    raise
                return name, str(json.load(error).get("message", ""))
            return name, ""

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [(name, problem) for name, problem in pool.map(create, documents) if problem]


def _answer(connection: HTTPSConnection, path: str) -> tuple[HTTPResponse, bytes]:
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer, answer.read()
    except BaseException:
        connection.close()
        raise


def collection(document: dict[str, Any]) -> str:
    """Return the path of the collection that an object belongs to; for kinds whose plural is made by an ``s``."""
    version, plural = document["apiVersion"], f"{document['kind'].lower()}s"
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = document["metadata"].get("namespace")
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"
