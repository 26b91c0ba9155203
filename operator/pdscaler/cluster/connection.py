"""One connection to one API server: authentication, deadlines, JSON in and out. May import cluster and errors only.

Requests carry plain dictionaries, not the client's generated models: any kind can be a target, and a cache that keeps
five fields of a pod should not build five hundred. The generated client still does what is hard: kubeconfigs, TLS,
exec plugins, tokens that rotate.
"""

import asyncio
import json
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import quote

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTClientObject

from pdscaler.cluster.credentials import load_configuration
from pdscaler.cluster.errors import (
    CONFLICT,
    MAX_MESSAGE,
    SERVER_ERROR,
    UNREACHABLE,
    ClusterError,
    ConflictError,
    one_line,
)
from pdscaler.cluster.fence import WriteGuard
from pdscaler.errors import InvalidInputError

Json: TypeAlias = dict[str, Any]
"""A JSON object as the API server speaks it."""
Query: TypeAlias = Mapping[str, str]

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
FIELD_MANAGER = "pdscaler"
"""Owner of every field we write, in the objects' managedFields."""

REQUEST_TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 10.0
RENEW_PAUSE_S = 30.0
"""Least time between two readings of refused credentials, seconds: an exec plugin may open a browser."""
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: CONFLICT, 410: "Expired"}


class Connection:
    """An authenticated connection to one API server. Made by :func:`connect`; close it, or use it as a context.

    Parameters
    ----------
    load
        Reads the configuration; called again when the server no longer accepts the credentials (they rotate).
    configuration
        What ``load`` returned first.
    request_timeout_s
        Deadline of one request, seconds; watches have their own.
    guard
        Asked right before each write is sent, and bounds its time; None: every write may be sent.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[Configuration]],
        configuration: Configuration,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        guard: WriteGuard | None = None,
    ) -> None:
        self._load = load
        self._guard = guard
        self._client = _new_client(configuration, guard)
        self._request_timeout_s = request_timeout_s
        self._renewing = asyncio.Lock()
        self._renew_after_s = -math.inf
        self._retired: ApiClient | None = None

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self._client.configuration.host)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection to the server; watches in progress end."""
        if self._retired is not None:
            await self._retired.close()  # type: ignore[no-untyped-call]
        await self._client.close()  # type: ignore[no-untyped-call]

    async def get(self, path: str, query: Query | None = None) -> Json:
        """Read one object or list.

        Parameters
        ----------
        path
            Path under the server's root, segments already quoted (see :func:`segments`).
        query
            Query parameters.

        Raises
        ------
        ClusterError
            If the server refuses, fails or does not answer in time.
        """
        return await self._request("GET", path, query)

    async def create(self, path: str, body: Json, query: Query | None = None) -> Json:
        """Create an object under a collection's path; raises as :meth:`get`."""
        return await self._request("POST", path, {"fieldManager": FIELD_MANAGER, **(query or {})}, body)

    async def patch(self, path: str, body: Json | list[Json], query: Query | None = None) -> Json:
        """Patch an object: a dictionary is a merge patch, a list is a JSON patch.

        Raises
        ------
        ConflictError
            If the patch states a resourceVersion that is no longer the object's.
        ClusterError
            As :meth:`get`.
        NotLeadingError
            If the guard forbids it: nothing was sent.
        """
        kind = JSON_PATCH if isinstance(body, list) else MERGE_PATCH
        return await self._request("PATCH", path, {"fieldManager": FIELD_MANAGER, **(query or {})}, body, kind)

    async def stream(
        self, path: str, query: Query, inactivity_timeout_s: float, opened: Callable[[], None] | None = None
    ) -> AsyncIterator[Json]:
        """Yield the events of a watch until the server ends it.

        Parameters
        ----------
        path, query
            As for :meth:`get`; ``watch=true`` is up to the caller.
        inactivity_timeout_s
            Silence after which the connection counts as broken, seconds. Bookmarks arrive every minute, so a healthy
            watch is never silent for longer.
        opened
            Called once the server has accepted the watch, before anything has happened.

        Raises
        ------
        ClusterError
            If the server refuses the watch, or the connection breaks.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=inactivity_timeout_s)
        try:
            response = await self._send("GET", path, query, timeout, self._client)
            try:
                if response.status >= 400:
                    raise _refusal(response.status, await response.read())
                if opened is not None:
                    opened()
                async for line in response.content:
                    if line.strip():
                        yield _object(line)
            finally:
                _cut(response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._broken(error) from error

    async def _request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Json | list[Json] | None = None,
        content_type: str | None = None,
    ) -> Json:
        try:
            client = self._client
            send = partial(self._send, method, path, query or {}, None, body=body, content_type=content_type)
            response = await send(client)
            if response.status == 401:
                response.release()
                response = await send(await self._renewed(client))
            async with response:
                answer = await response.read()
            if response.status >= 400:
                raise _refusal(response.status, answer)
            return _object(answer)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._broken(error) from error

    async def _send(
        self,
        method: str,
        path: str,
        query: Query,
        timeout: aiohttp.ClientTimeout | None,  # noqa: ASYNC109 - the session enforces it
        client: ApiClient,
        *,
        body: Json | list[Json] | None = None,
        content_type: str | None = None,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        _, url, headers, _, _ = await client.param_serialize(
            method, path, query_params=list(query.items()), header_params=headers, auth_settings=["BearerToken"]
        )
        # Nothing is awaited between this and the request: the guard's word is as fresh as it can be.
        limit = self._limit(method) if timeout is None else timeout
        answer = await client.rest_client.request(  # type: ignore[no-untyped-call]
            method, url, headers=headers, body=body, _request_timeout=limit
        )
        response: aiohttp.ClientResponse = answer.response
        return response

    def _limit(self, method: str) -> aiohttp.ClientTimeout:
        """Return the deadline of a request that is sent now; raises NotLeadingError where a write may not be."""
        total_s = self._request_timeout_s
        if self._guard is not None and method != "GET":
            total_s = min(total_s, self._guard.allowance_s())
        # The session rounds longer limits up to whole seconds, which would outlast what the guard allows.
        return aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_TIMEOUT_S, ceil_threshold=math.inf)

    async def _renewed(self, refused: ApiClient) -> ApiClient:
        """Return a client with fresh credentials: read once for all requests that were refused with the same ones.

        The refused client is closed one renewal later: others may still wait for answers on it.
        """
        async with self._renewing:
            now_s = asyncio.get_running_loop().time()
            if self._client is refused and now_s >= self._renew_after_s:
                self._renew_after_s = now_s + RENEW_PAUSE_S
                try:
                    fresh = _new_client(await self._load(), self._guard)
                except InvalidInputError as error:
                    raise ClusterError("Unauthorized", str(error), 401) from error
                if self._retired is not None:
                    await self._retired.close()  # type: ignore[no-untyped-call]
                self._retired, self._client = self._client, fresh
            return self._client

    def _broken(self, error: Exception) -> ClusterError:
        said = "timed out" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return ClusterError(UNREACHABLE, one_line(f"API server {self.server} did not answer: {said}"))


async def connect(
    kubeconfig: str | None = None,
    context: str | None = None,
    request_timeout_s: float = REQUEST_TIMEOUT_S,
    guard: WriteGuard | None = None,
) -> Connection:
    """Connect to the cluster that the arguments name.

    Parameters
    ----------
    kubeconfig
        Path of a kubeconfig; None: the service account where this process is a pod and ``context`` is None too, else
        ``$KUBECONFIG``, else ``~/.kube/config``.
    context
        Context of the kubeconfig; None: its current one.
    request_timeout_s
        Deadline of one request, seconds.
    guard
        Asked right before each write is sent; None: every write may be sent.

    Returns
    -------
    Connection
        Nothing has been sent yet: an unreachable server shows at the first request.

    Raises
    ------
    InvalidInputError
        If the kubeconfig is missing or cannot be used, or has no such context.
    """
    load = partial(load_configuration, kubeconfig, context)
    return Connection(load, await load(), request_timeout_s, guard)


def segments(*parts: str) -> str:
    """Join path segments, each quoted, so that no name can reach another path.

    Examples
    --------
    >>> segments("apis", "apps/v1", "namespaces")
    '/apis/apps%2Fv1/namespaces'
    """
    return "".join("/" + quote(part, safe="") for part in parts)


def group_path(api_version: str) -> str:
    """Path of an API version: ``/api/v1``, ``/apis/apps/v1``."""
    parts = api_version.split("/")
    return segments("api", *parts) if len(parts) == 1 else segments("apis", *parts)


def collection_path(api_version: str, plural: str, namespace: str | None) -> str:
    """Path of a kind's objects, in one namespace or (None) in all."""
    root = group_path(api_version)
    return root + (segments("namespaces", namespace, plural) if namespace is not None else segments(plural))


class _RestClient(RESTClientObject):
    """The client's transport, whose sockets deliver nothing late.

    A request that was given up may still lie in the kernel's send buffer, and would be sent when a network that was cut
    works again: TCP_USER_TIMEOUT drops it. Reads and watches send nothing for that long.
    """

    def __init__(self, configuration: Configuration, undelivered_s: float) -> None:
        super().__init__(configuration)
        self._undelivered_ms = max(1, math.floor(undelivered_s * 1000))

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=self._socket)

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if option is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, self._undelivered_ms)
        return made


def _new_client(configuration: Configuration, guard: WriteGuard | None) -> ApiClient:
    # Every watch holds a connection: a bound would let many watches starve the requests.
    configuration.connection_pool_maxsize = 0
    # Certificates are verified, but not pickier than kubectl does: Python 3.13 refuses CAs without key identifiers.
    configuration.disable_strict_ssl_verification = True
    client = ApiClient(configuration=configuration)
    if guard is not None:
        client.rest_client = _RestClient(configuration, guard.least_allowance_s)
    client.user_agent = "pdscaler"
    return client


def _object(text: bytes) -> Json:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("the answer is not a JSON object")  # noqa: TRY004 - it is the server's, not a caller's mistake
    return value


def _refusal(status: int, body: bytes) -> ClusterError:
    """Turn an answer of 400 or more into an error, with the server's own reason and words."""
    reason, message = "", ""
    try:
        said = _object(body)
        reason, message = str(said.get("reason") or ""), str(said.get("message") or "")
    except ValueError:
        message = body[:MAX_MESSAGE].decode("utf-8", "replace")
    return refusal(status, reason, message)


def refusal(status: int, reason: str, message: str) -> ClusterError:
    """Make the error of a Kubernetes ``Status`` object."""
    message = one_line(message) or f"the API server answered {status}"
    reason = reason or _REASONS.get(status) or (SERVER_ERROR if status >= 500 else "RequestFailed")
    return ConflictError(message) if reason == CONFLICT else ClusterError(reason, message, status)


def _cut(response: aiohttp.ClientResponse) -> None:
    """End a watch at once: a TLS farewell in the background would outlive the session, which does not wait for it."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()
