"""The operator's configuration: precedence, and errors that name what the user wrote."""

from pathlib import Path

import pytest

from pdscaler.api.config import LogFormat, OperatorConfig, load_config
from pdscaler.errors import InvalidInputError

FULL = """
evaluationPeriod: 30s
namespaces: [serving, batch]
kubeconfig: /etc/kubeconfig
context: prod
metricsAddress: 127.0.0.1:9000
healthAddress: ""
leaderElection: true
leaseDuration: 30s
renewDeadline: 20s
retryPeriod: 5s
leaseName: pdscaler-prod
leaseNamespace: operators
verifyPlans: false
logFormat: text
presets: /etc/pdscaler/presets
prometheus:
  endpoints:
    default: {url: "http://prometheus.monitoring:9090"}
    tenant-a:
      url: https://thanos.monitoring:10902/tenant-a
      caFile: /etc/ca.crt
      bearerTokenFile: /var/run/token
      clientCertFile: /etc/tls.crt
      clientKeyFile: /etc/tls.key
      timeout: 2500ms
  allowedUrls: ["https://prometheus.monitoring:9090/team"]
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults() -> None:
    config = load_config(None, {}, {})
    assert config == OperatorConfig()
    assert config.evaluation_period_s == 15.0
    assert config.namespaces == ()
    assert (config.kubeconfig, config.context, config.presets) == (None, None, None)
    assert (config.metrics_address, config.health_address) == (":8080", ":8081")
    assert config.leader_election is False
    assert (config.lease_duration_s, config.renew_deadline_s, config.retry_period_s) == (15.0, 10.0, 2.0)
    assert (config.lease_name, config.lease_namespace) == ("pdscaler-leader", None)
    assert config.verify_plans is True
    assert config.log_format is LogFormat.JSON
    assert config.prometheus.endpoints == {}


def test_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, FULL), {}, {})
    assert config.evaluation_period_s == 30.0
    assert config.namespaces == ("serving", "batch")
    assert (config.kubeconfig, config.context) == ("/etc/kubeconfig", "prod")
    assert (config.metrics_address, config.health_address) == ("127.0.0.1:9000", "")
    assert config.leader_election is True
    assert (config.lease_duration_s, config.renew_deadline_s, config.retry_period_s) == (30.0, 20.0, 5.0)
    assert (config.lease_name, config.lease_namespace) == ("pdscaler-prod", "operators")
    assert config.log_format is LogFormat.TEXT
    assert config.verify_plans is False
    assert config.presets == "/etc/pdscaler/presets"
    endpoint = config.prometheus.endpoints["tenant-a"]
    assert endpoint.url == "https://thanos.monitoring:10902/tenant-a"
    assert endpoint.timeout_s == 2.5
    assert (endpoint.ca_file, endpoint.bearer_token_file) == ("/etc/ca.crt", "/var/run/token")
    assert (endpoint.client_cert_file, endpoint.client_key_file) == ("/etc/tls.crt", "/etc/tls.key")
    assert config.prometheus.endpoints["default"].timeout_s == 5.0
    assert config.prometheus.allowed_urls == ("https://prometheus.monitoring:9090/team",)


def test_empty_file_means_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "# nothing\n"), {}, {}) == OperatorConfig()


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    environ = {
        "PDSCALER_EVALUATION_PERIOD": "10s",
        "PDSCALER_NAMESPACES": "one, two",
        "PDSCALER_LEADER_ELECTION": "false",
        "PDSCALER_CONTEXT": "",
        "PDSCALER_SERVICE_HOST": "10.0.0.1",
        "PDSCALER_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    }
    flags = {"evaluation_period": "5s", "namespaces": (), "log_format": None, "kubeconfig": "/tmp/kc"}
    config = load_config(path, environ, flags)
    assert config.evaluation_period_s == 5.0, "the flag wins"
    assert config.namespaces == ("one", "two"), "the variable wins over the file; an empty flag is none"
    assert config.log_format is LogFormat.TEXT, "the file wins over the default"
    assert config.context == "prod", "an empty variable is none"
    assert config.kubeconfig == "/tmp/kc"


def test_endpoints_by_variable_and_flag(tmp_path: Path) -> None:
    by_pairs = load_config(None, {"PDSCALER_PROMETHEUS_ENDPOINTS": "default=http://a:9090, b=https://b"}, {})
    assert {name: entry.url for name, entry in by_pairs.prometheus.endpoints.items()} == {
        "default": "http://a:9090",
        "b": "https://b",
    }
    by_yaml = load_config(None, {"PDSCALER_PROMETHEUS_ENDPOINTS": '{default: {url: "http://a", timeout: 1s}}'}, {})
    assert by_yaml.prometheus.endpoints["default"].timeout_s == 1.0
    by_flag = load_config(write(tmp_path, FULL), {}, {"prometheus_url": "http://other:9090"})
    assert by_flag.prometheus.endpoints["default"].url == "http://other:9090"
    assert "tenant-a" in by_flag.prometheus.endpoints
    allowed = load_config(None, {"PDSCALER_PROMETHEUS_ALLOWED_URLS": "https://a:1,https://b:2"}, {})
    assert allowed.prometheus.allowed_urls == ("https://a:1", "https://b:2")


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("evaluationPeriods: 3s\n", "evaluationPeriods", "did you mean evaluationPeriod?"),
        ("evaluationPeriod: 15\n", "evaluationPeriod", "15 is not a duration"),
        ("evaluationPeriod: 0s\n", "evaluationPeriod", "must be at least 500ms and at most 1h"),
        ("namespaces: serving\n", "namespaces", 'expected a list, found "serving"'),
        ("namespaces: [Serving]\n", "namespaces[0]", "has a form that is not allowed here"),
        ("leaderElection: maybe\n", "leaderElection", "expected true or false"),
        ("logFormat: xml\n", "logFormat", '"xml" is not one of json, text'),
        ("metricsAddress: localhost\n", "metricsAddress", "is not an address (write HOST:PORT"),
        ("metricsAddress: ':99999'\n", "metricsAddress", "is not an address"),
        ("prometheus: {endpoint: {}}\n", "prometheus.endpoint", "did you mean endpoints?"),
        ("prometheus: {endpoints: {default: {}}}\n", "prometheus.endpoints.default.url", "is required"),
        (
            "prometheus: {endpoints: {default: {url: 'ftp://x'}}}\n",
            "prometheus.endpoints.default.url",
            "has a form that is not allowed here",
        ),
        (
            "prometheus: {endpoints: {default: {url: 'http://x', token: abc}}}\n",
            "prometheus.endpoints.default.token",
            "is not a known field",
        ),
        (
            "prometheus: {endpoints: {default: {url: 'http://x', clientCertFile: /c}}}\n",
            "prometheus.endpoints.default.clientKeyFile",
            "is required with clientCertFile",
        ),
        (
            "prometheus: {endpoints: {default: {url: 'http://x', clientKeyFile: /k}}}\n",
            "prometheus.endpoints.default.clientCertFile",
            "is required with clientKeyFile",
        ),
        ("prometheus: {endpoints: {Default: {url: 'http://x'}}}\n", "prometheus.endpoints.Default", "has a form"),
        ("prometheus: {allowedUrls: ['http://u:p@x']}\n", "prometheus.allowedUrls[0]", "has a form"),
        ("- a\n", "", "expected one mapping of settings"),
        ("a: 1\n---\nb: 2\n", "", "expected one mapping of settings"),
    ],
)
def test_errors_of_the_file_name_the_key(tmp_path: Path, text: str, field: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidInputError) as caught:
        load_config(path, {}, {})
    assert caught.value.field == field
    assert words in caught.value.problem
    assert caught.value.source == str(path)


@pytest.mark.parametrize(
    ("environ", "flags", "field"),
    [
        ({"PDSCALER_EVALUATION_PERIOD": "soon"}, {}, "PDSCALER_EVALUATION_PERIOD"),
        ({"PDSCALER_NAMESPACES": "a,B"}, {}, "PDSCALER_NAMESPACES[1]"),
        ({"PDSCALER_LEADER_ELECTION": "maybe"}, {}, "PDSCALER_LEADER_ELECTION"),
        ({"PDSCALER_PROMETHEUS_ENDPOINTS": "default"}, {}, "PDSCALER_PROMETHEUS_ENDPOINTS.default.url"),
        ({"PDSCALER_PROMETHEUS_ENDPOINTS": "{a: ["}, {}, "PDSCALER_PROMETHEUS_ENDPOINTS"),
        ({}, {"evaluation_period": "soon"}, "--evaluation-period"),
        ({"PDSCALER_EVALUATION_PERIOD": "1s"}, {"evaluation_period": "soon"}, "--evaluation-period"),
        ({}, {"prometheus_url": "prometheus:9090"}, "--prometheus-url"),
        ({}, {"unknown_flag": "x"}, "--unknown-flag"),
    ],
)
def test_errors_of_variables_and_flags_name_them(environ: dict[str, str], flags: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_config(None, environ, flags)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("renewDeadline: 13s\n", "renewDeadline", "at most 80% of leaseDuration (15s)"),
        ("leaseDuration: 12s\n", "renewDeadline", "at most 80% of leaseDuration (12s)"),
        ("retryPeriod: 4s\n", "retryPeriod", "at most a third of renewDeadline (10s)"),
        ("leaseDuration: 500ms\n", "leaseDuration", "at least 1s"),
        ("leaseName: Not A Name\n", "leaseName", "a Kubernetes name"),
        ("leaseNamespace: a.b\n", "leaseNamespace", "lower-case letters"),
    ],
)
def test_a_lease_must_leave_time_for_what_is_under_way(tmp_path: Path, text: str, field: str, words: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        load_config(write(tmp_path, text), {}, {})
    assert error.value.field == field
    assert words in error.value.problem


def test_the_lease_by_variables_and_flags() -> None:
    environ = {"PDSCALER_LEADER_ELECTION": "true", "PDSCALER_LEASE_DURATION": "60s"}
    config = load_config(None, environ, {"renew_deadline": "40s", "lease_name": "other"})
    assert (config.leader_election, config.lease_duration_s, config.renew_deadline_s) == (True, 60.0, 40.0)
    assert config.lease_name == "other"
