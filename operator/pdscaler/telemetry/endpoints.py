"""Which Prometheus a PDDeployment may read. Imports the API's configuration and errors; no I/O.

The administrator's endpoints may be anything. A URL that a tenant wrote is used only where the administrator allows
it, never with the administrator's credentials, and never towards this host or the link-local range, where clouds keep
their metadata services.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from pdscaler.api.config import OperatorConfig
from pdscaler.api.metrics import DEFAULT_ENDPOINT, PrometheusSpec
from pdscaler.errors import InvalidInputError
from pdscaler.telemetry.text import shown, shown_list

DEFAULT_TIMEOUT_S = 5.0
_FIELD = "spec.metrics.prometheus"
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One Prometheus, and how to speak with it.

    Parameters
    ----------
    name
        What to call it in messages.
    url
        Base URL, without a trailing slash.
    ca_file, bearer_token_file, client_cert_file, client_key_file
        Files of the administrator; read again when they change.
    timeout_s
        Time for one query, seconds.
    """

    name: str
    url: str
    ca_file: str | None = None
    bearer_token_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S


def resolve_endpoint(prometheus: PrometheusSpec, config: OperatorConfig) -> Endpoint:
    """Find the Prometheus that a PDDeployment asks for.

    Parameters
    ----------
    prometheus
        ``spec.metrics.prometheus``.
    config
        The operator's configuration.

    Returns
    -------
    Endpoint
        Equal for equal answers, so that PDDeployments share one snapshot.

    Raises
    ------
    InvalidInputError
        If the endpoint is unknown, or the URL not allowed.
    """
    if prometheus.url is not None:
        return _allowed(prometheus.url, config.prometheus.allowed_urls)
    name = prometheus.endpoint_ref or DEFAULT_ENDPOINT
    known = config.prometheus.endpoints.get(name)
    if known is None:
        names = shown_list(config.prometheus.endpoints, 20) or "none"
        problem = f"no endpoint {shown(name)} in the operator's configuration (prometheus.endpoints has: {names})"
        raise InvalidInputError(f"{_FIELD}.endpointRef", problem)
    return Endpoint(
        name=name,
        url=known.url.rstrip("/"),
        ca_file=known.ca_file,
        bearer_token_file=known.bearer_token_file,
        client_cert_file=known.client_cert_file,
        client_key_file=known.client_key_file,
        timeout_s=known.timeout_s,
    )


@dataclass(frozen=True, slots=True)
class _Location:
    scheme: str
    host: str
    port: int
    path: tuple[str, ...]

    def covers(self, other: "_Location") -> bool:
        """Whether ``other`` is this location or lies below it, by whole path segments."""
        same = (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)
        return same and other.path[: len(self.path)] == self.path

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return "/".join((f"{self.scheme}://{host}{port}", *self.path))


def _allowed(url: str, allowed_urls: tuple[str, ...]) -> Endpoint:
    field = f"{_FIELD}.url"
    wanted = _location(url, field)
    if _is_local(wanted.host):
        raise InvalidInputError(
            field, f"{shown(url)} points to a loopback or link-local address, which is never allowed"
        )
    for allowed in allowed_urls:
        if _location(allowed, "prometheus.allowedUrls").covers(wanted):
            return Endpoint(name=wanted.url, url=wanted.url)
    raise InvalidInputError(
        field,
        f"{shown(url)} is not allowed by the operator's configuration (prometheus.allowedUrls); use endpointRef, or "
        "ask the administrator",
    )


def _location(url: str, field: str) -> _Location:
    """Read a URL strictly: what two parsers could read differently is refused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidInputError(field, f"{shown(url)} is not a URL") from None
    problem = _problem(url, parts)
    if problem:
        raise InvalidInputError(field, f"{shown(url)} {problem}")
    path = tuple(parts.path.strip("/").split("/")) if parts.path.strip("/") else ()
    if any(not _SEGMENT.fullmatch(segment) or segment in {".", ".."} for segment in path):
        raise InvalidInputError(field, f"{shown(url)} has a path that cannot be compared (plain segments only)")
    return _Location(parts.scheme, (parts.hostname or "").lower(), _PORTS[parts.scheme] if port is None else port, path)


def _problem(url: str, parts: SplitResult) -> str:
    if parts.scheme not in _PORTS:
        return "must begin with http:// or https://"
    if "@" in parts.netloc or parts.username is not None or parts.password is not None:
        return "must not hold a user or a password"
    if "?" in url or "#" in url:
        return "must not hold a query or a fragment"
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}%'):
        return "holds characters that a URL must not hold here"
    host = (parts.hostname or "").lower()
    if not _HOST.fullmatch(host) or ".." in host:
        return "has no host that can be compared"
    return ""


def _is_local(host: str) -> bool:
    """Whether a host names this machine or the link-local range, in any notation that a resolver understands."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # 127.1, 0x7f000001 and 2130706433 are addresses to the C library: no name ends in a numeric label.
        last = host.rsplit(".", 1)[-1]
        return bool(re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last))
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or _translated(address) or address
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that a NAT64 address (64:ff9b::/96, RFC 6052) stands for."""
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
