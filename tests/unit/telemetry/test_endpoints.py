import pytest

from pdscaler.api.config import OperatorConfig, PrometheusConfig, PrometheusEndpoint
from pdscaler.api.metrics import PrometheusSpec
from pdscaler.errors import InvalidInputError
from pdscaler.telemetry.endpoints import Endpoint, resolve_endpoint

CONFIG = OperatorConfig(
    prometheus=PrometheusConfig(
        endpoints={
            "default": PrometheusEndpoint(url="http://127.0.0.1:9090/"),
            "secure": PrometheusEndpoint(
                url="https://prometheus.monitoring:9091/prom",
                ca_file="/tls/ca.crt",
                bearer_token_file="/tls/token",
                client_cert_file="/tls/tls.crt",
                client_key_file="/tls/tls.key",
                timeout_s=2.5,
            ),
        },
        allowed_urls=("https://metrics.example.com/tenants", "http://thanos.example.com:10902"),
    )
)


def test_the_administrators_endpoints() -> None:
    assert resolve_endpoint(PrometheusSpec(), CONFIG) == Endpoint("default", "http://127.0.0.1:9090")
    found = resolve_endpoint(PrometheusSpec(endpoint_ref="secure"), CONFIG)
    assert found == Endpoint(
        "secure",
        "https://prometheus.monitoring:9091/prom",
        "/tls/ca.crt",
        "/tls/token",
        "/tls/tls.crt",
        "/tls/tls.key",
        2.5,
    )
    # Equal answers are one endpoint: they share a snapshot.
    assert len({found, resolve_endpoint(PrometheusSpec(endpoint_ref="secure"), CONFIG)}) == 1


def test_an_unknown_endpoint_names_those_there_are() -> None:
    with pytest.raises(InvalidInputError) as caught:
        resolve_endpoint(PrometheusSpec(endpoint_ref="other"), CONFIG)
    assert caught.value.field == "spec.metrics.prometheus.endpointRef"
    assert '"default", "secure"' in caught.value.problem
    with pytest.raises(InvalidInputError, match=r"prometheus\.endpoints has: none"):
        resolve_endpoint(PrometheusSpec(), OperatorConfig())


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://metrics.example.com/tenants", "https://metrics.example.com/tenants"),
        ("https://METRICS.example.com:443/tenants/a/", "https://metrics.example.com/tenants/a"),
        ("http://thanos.example.com:10902/any/path", "http://thanos.example.com:10902/any/path"),
    ],
)
def test_an_allowed_url_carries_no_credentials(url: str, endpoint: str) -> None:
    assert resolve_endpoint(PrometheusSpec(url=url), CONFIG) == Endpoint(endpoint, endpoint)


@pytest.mark.parametrize(
    "url",
    [
        "http://metrics.example.com/tenants",
        "https://metrics.example.com:8443/tenants",
        "https://metrics.example.com",
        "https://metrics.example.com/tenantsX",
        "https://metrics.example.com/tenants/../admin",
        "https://metrics.example.com/tenants/./a",
        "https://metrics.example.com/tenants/%2e%2e/admin",
        "https://metrics.example.com/tenants//a",
        "https://metrics.example.com/tenants/a?query=1",
        "https://metrics.example.com/tenants#a",
        "https://metrics.example.com.evil.com/tenants",
        "https://metrics.example.com\\@evil.com/tenants",
        "https://metrics.example.com./tenants",
        "https://evil.com/https://metrics.example.com/tenants",
        "http://thanos.example.com",
        "http://thanos.example.com:10903",
        "http://thanos.example.com:99999",
        "http://thanos.example.com:",
        "http://[::1",
        "http://thanós.example.com:10902",
        "http://prometheus.monitoring:9091/prom",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        resolve_endpoint(PrometheusSpec.model_construct(endpoint_ref=None, url=url), CONFIG)
    assert caught.value.field == "spec.metrics.prometheus.url"


def test_a_user_part_is_refused_before_anything_else() -> None:
    hidden = PrometheusSpec.model_construct(endpoint_ref=None, url="https://me:secret@metrics.example.com/tenants")
    with pytest.raises(InvalidInputError, match="must not hold a user or a password"):
        resolve_endpoint(hidden, CONFIG)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "a.localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]",
    ],
)
def test_this_host_and_link_local_are_never_allowed(host: str) -> None:
    url = f"http://{host}:9090"
    config = OperatorConfig(prometheus=PrometheusConfig(allowed_urls=(url,)))
    with pytest.raises(InvalidInputError, match="loopback or link-local"):
        resolve_endpoint(PrometheusSpec.model_construct(endpoint_ref=None, url=url), config)


def test_private_addresses_are_the_administrators_choice() -> None:
    config = OperatorConfig(prometheus=PrometheusConfig(allowed_urls=("http://10.0.0.7:9090",)))
    assert resolve_endpoint(PrometheusSpec(url="http://10.0.0.7:9090"), config).url == "http://10.0.0.7:9090"
