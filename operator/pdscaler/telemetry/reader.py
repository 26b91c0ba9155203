"""Asks one Prometheus one question at a time, and trusts nothing. The only module that imports prometheus_api_client.

The library waits for ever by default, retries three times, puts response bodies into its errors, and drops the warnings
by which Prometheus says that an answer is partial. It is kept, with a session of ours beneath it that ends on time,
follows no redirect, bounds the size, and reads status, warnings and result type before the library sees the answer.

An answer holds a line for each pod, or for each bucket of each pod, of the cluster: its elements are decoded one by one
as they are taken, so that all of them are never laid out at once.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import requests
from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from pdscaler.core.workload import NoDataReason
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.values import possible
from pdscaler.units import format_duration

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 256 * 1024
_END_OF_TIME_S: Final = 1e11
"""The year 5138: beyond it nobody measures, and before the last time that the library can write."""
_INFO_PREFIX: Final = "PromQL info:"
_ERROR_TYPES: Final = frozenset(
    {"timeout", "canceled", "execution", "bad_data", "internal", "unavailable", "not_found"}
)


class ReadError(Exception):
    """A question without a trustworthy answer; ``problem`` continues "endpoint X …" and holds no foreign text."""

    def __init__(self, reason: NoDataReason, problem: str) -> None:
        self.reason = reason
        self.problem = problem
        super().__init__(f"{reason.value}: {problem}")


class Sample(NamedTuple):
    """One element of an instant vector; a tuple, for there are as many as a cluster has buckets."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """One element of a range vector: (time, seconds since the epoch; value), the oldest first."""

    labels: Mapping[str, str]
    values: Sequence[tuple[float, float]]


class _Vector(msgspec.Struct, gc=False):
    """An element of an instant vector as Prometheus writes it."""

    metric: dict[str, str]
    value: tuple[float, str]


class _Matrix(msgspec.Struct, gc=False):
    """An element of a range vector as Prometheus writes it."""

    metric: dict[str, str]
    values: list[tuple[float, str]] = []


class _Data(msgspec.Struct):
    """Elements that are decoded later."""

    resultType: str  # noqa: N815 - Prometheus's name
    result: list[msgspec.Raw]


class _Document(msgspec.Struct):
    """What every answer begins with."""

    status: str = ""
    data: _Data | None = None
    warnings: list[Any] | None = None
    errorType: Any = None  # noqa: N815 - Prometheus's name


_DOCUMENT = msgspec.json.Decoder(_Document)
_VECTOR = msgspec.json.Decoder(_Vector)
_MATRIX = msgspec.json.Decoder(_Matrix)
_SCALAR = msgspec.json.Decoder(str)


class Reader:
    """One session with one endpoint; blocking, and one request at a time.

    Parameters
    ----------
    endpoint
        Where to ask; its files are read again when they change.
    max_answer_bytes
        Largest answer that is read, bytes after decompression.
    """

    def __init__(self, endpoint: Endpoint, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._endpoint = endpoint
        self._max_answer_bytes = max_answer_bytes
        self._files: tuple[float, ...] = ()
        self._session: _Session | None = None
        self._client: Any = None

    def time_s(self, timeout_s: float) -> float:
        """Ask for Prometheus's own time, seconds since the epoch."""
        answer = self._ask("time()", {}, timeout_s, "scalar")
        with _form():
            now_s = float(_SCALAR.decode(answer[1]))
        if not 0.0 < now_s < _END_OF_TIME_S:
            raise ReadError(NoDataReason.QUERY_FAILED, "gave a time that cannot be")
        return now_s

    def query(self, text: str, at_s: float, timeout_s: float) -> Iterable[Sample]:
        """Evaluate an instant query; its elements are decoded as they are taken, once.

        Parameters
        ----------
        text
            PromQL that gives an instant vector.
        at_s
            Time of the evaluation, seconds since the epoch.
        timeout_s
            Time for the whole exchange, seconds.

        Raises
        ------
        ReadError
            If there is no trustworthy answer; also while its elements are taken.
        """
        return _samples(self._ask(text, {"time": f"{at_s:.3f}"}, timeout_s, "vector"))

    def query_range(self, text: str, start_s: float, end_s: float, step_s: float, timeout_s: float) -> Iterable[Series]:
        """Evaluate a query at ``start_s``, ``start_s + step_s``, … up to ``end_s``; see :meth:`query`.

        Parameters
        ----------
        text
            PromQL that gives an instant vector.
        start_s, end_s, step_s
            Whole seconds: the library rounds the times.
        timeout_s
            Time for the whole exchange, seconds.

        Raises
        ------
        ReadError
            If there is no trustworthy answer; also while its elements are taken.
        """
        start, end = datetime.fromtimestamp(start_s, UTC), datetime.fromtimestamp(end_s, UTC)

        def send(client: Any, limits: dict[str, str], limit_s: float) -> Any:
            return client.custom_query_range(text, start, end, f"{step_s:g}s", params=limits, timeout=limit_s)

        return _series(self._exchange(send, timeout_s, "matrix"))

    def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            self._session.close()
        self._session = self._client = None

    def _ask(self, text: str, parameters: dict[str, str], timeout_s: float, result_type: str) -> Any:
        def send(client: Any, limits: dict[str, str], limit_s: float) -> Any:
            return client.custom_query(text, params={**parameters, **limits}, timeout=limit_s)

        return self._exchange(send, timeout_s, result_type)

    def _exchange(self, send: Callable[[Any, dict[str, str], float], Any], timeout_s: float, result_type: str) -> Any:
        """Send one question, and turn whatever can go wrong into a :class:`ReadError`."""
        limit_s = max(0.05, min(timeout_s, self._endpoint.timeout_s))
        session, client = self._connected()
        session.begin(limit_s)
        server_limit = {"timeout": f"{max(1, round(limit_s * 1000))}ms"}
        try:
            result = send(client, server_limit, limit_s)
        except requests.exceptions.SSLError:
            raise ReadError(NoDataReason.PROMETHEUS_UNREACHABLE, "failed the TLS handshake") from None
        except requests.exceptions.Timeout:
            waited = format_duration(limit_s)
            raise ReadError(NoDataReason.PROMETHEUS_UNREACHABLE, f"did not answer within {waited}") from None
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError):
            raise ReadError(NoDataReason.PROMETHEUS_UNREACHABLE, "cannot be reached, or cut the connection") from None
        except requests.exceptions.RequestException:
            raise ReadError(NoDataReason.QUERY_FAILED, "cannot be asked (bad URL or encoding)") from None
        except OSError:
            problem = "has certificate files that cannot be read"
            raise ReadError(NoDataReason.PROMETHEUS_UNREACHABLE, problem) from None
        if session.result_type != result_type:
            raise ReadError(NoDataReason.QUERY_FAILED, f"gave another result type than {result_type}")
        return result

    def _connected(self) -> "tuple[_Session, Any]":
        """Return the session; a new one where a certificate changed on disk."""
        endpoint = self._endpoint
        files = tuple(
            _changed_at_s(file) for file in (endpoint.ca_file, endpoint.client_cert_file, endpoint.client_key_file)
        )
        if self._session is None or files != self._files:
            self.close()
            self._files = files
            self._session = _Session(endpoint, self._max_answer_bytes)
            # read=False: a read timeout comes through as itself, not as exhausted retries.
            retry = Retry(total=0, read=False)
            self._client = PrometheusConnect(
                url=endpoint.url, session=self._session, retry=retry, timeout=endpoint.timeout_s
            )
        return self._session, self._client


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the library needs of a response."""

    document: Any
    status_code: int = 200

    def json(self) -> Any:
        return self.document


class _Session(requests.Session):
    """A session that ends on time and hands on checked answers only."""

    def __init__(self, endpoint: Endpoint, max_answer_bytes: int) -> None:
        super().__init__()
        # No proxy and no .netrc of the environment: credentials are bound to the endpoint.
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.verify = endpoint.ca_file or True
        if endpoint.client_cert_file:
            key = endpoint.client_key_file
            self.cert = (endpoint.client_cert_file, key) if key else endpoint.client_cert_file
        self._token_file = endpoint.bearer_token_file
        self._max_answer_bytes = max_answer_bytes
        self._ends_s = 0.0
        self.result_type = ""

    def begin(self, limit_s: float) -> None:
        """Start the clock of one question."""
        self._ends_s = time.monotonic() + limit_s
        self.result_type = ""

    def request(self, method: str, url: str, **options: Any) -> Any:  # type: ignore[override]  # a checked answer
        options["headers"] = {"Cache-Control": "no-cache", **self._authorization()}
        with super().request(method, url, **{**options, "allow_redirects": False, "stream": True}) as response:
            _check_status(response.status_code, lambda: self._document(response))
            document = self._document(response)
        warnings = [text for text in document.warnings or () if not str(text).startswith(_INFO_PREFIX)]
        if document.status == "success" and warnings:
            problem = f"warned that its answer may be partial ({len(warnings)} warnings)"
            raise ReadError(NoDataReason.PARTIAL_RESPONSE, problem)
        if document.status != "success" or document.data is None:
            raise ReadError(NoDataReason.QUERY_FAILED, "gave no answer in Prometheus's form")
        self.result_type = document.data.resultType
        return _Answer({"data": {"result": document.data.result}})

    def _authorization(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            token = Path(self._token_file).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            raise ReadError(NoDataReason.AUTH_FAILED, "has a bearer token file that cannot be read") from None
        if not token or not token.isprintable():
            raise ReadError(NoDataReason.AUTH_FAILED, "has a bearer token file without a usable token")
        return {"Authorization": f"Bearer {token}"}

    def _document(self, response: requests.Response) -> _Document:
        body = bytearray()
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_answer_bytes:
                size = self._max_answer_bytes // 2**20
                raise ReadError(NoDataReason.QUERY_FAILED, f"gave an answer of more than {size} MiB")
            # The library's timeout bounds each read, not their sum.
            if time.monotonic() > self._ends_s:
                raise requests.exceptions.ReadTimeout
        try:
            return _DOCUMENT.decode(body)
        except msgspec.ValidationError:
            raise ReadError(NoDataReason.QUERY_FAILED, "gave no answer in Prometheus's form") from None
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise ReadError(NoDataReason.QUERY_FAILED, "gave an answer that is no JSON") from None


def _check_status(status: int, read: Callable[[], _Document]) -> None:
    """Raise for anything but 200; of a body, only an error type that Prometheus documents is repeated."""
    if status == 200:
        return
    if status in {401, 403}:
        raise ReadError(NoDataReason.AUTH_FAILED, f"refused the credentials (HTTP {status})")
    if 300 <= status < 400:
        raise ReadError(NoDataReason.QUERY_FAILED, f"redirects (HTTP {status}), which is not followed")
    kind = ""
    try:
        named = read().errorType
        if isinstance(named, str) and named in _ERROR_TYPES:
            kind = f", {named}"
    except ReadError:
        pass
    raise ReadError(NoDataReason.QUERY_FAILED, f"answered with HTTP {status}{kind}")


@contextmanager
def _form() -> Iterator[None]:
    """Turn whatever an answer of another form makes of reading it into a :class:`ReadError`."""
    try:
        yield
    except (msgspec.DecodeError, ValueError, LookupError, RecursionError):
        raise ReadError(NoDataReason.QUERY_FAILED, "gave an answer of an unexpected form") from None


def _samples(answer: Sequence[msgspec.Raw]) -> Iterator[Sample]:
    with _form():
        for raw in answer:
            element = _VECTOR.decode(raw)
            yield Sample(element.metric, possible(float(element.value[1])))


def _series(answer: Sequence[msgspec.Raw]) -> Iterator[Series]:
    with _form():
        for raw in answer:
            element = _MATRIX.decode(raw)
            yield Series(element.metric, [(at_s, possible(float(value))) for at_s, value in element.values])


def _changed_at_s(file: str | None) -> float:
    try:
        return Path(file).stat().st_mtime if file else 0.0
    except OSError:
        return -1.0
