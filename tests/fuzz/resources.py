"""Targets: what tenants and administrators write. PDDeployments, configuration, presets, URLs, selectors."""

import json
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.util
import yaml
from hypothesis import strategies as st

from fuzz.mutation import NASTY_TEXTS, Draw, documents, mangled
from fuzz.target import READ, REFUSED, Target, harmless, refusal
from pdscaler.api.config import OperatorConfig, PrometheusConfig, load_config
from pdscaler.api.convert import to_scaling_spec
from pdscaler.api.metrics import PrometheusSpec
from pdscaler.api.parse import load_pddeployment, parse_pddeployment
from pdscaler.cluster.selectors import parse_label_selector, selector_from_spec
from pdscaler.errors import InvalidInputError
from pdscaler.telemetry.endpoints import resolve_endpoint
from pdscaler.telemetry.presets import load_presets
from support.documents import pddeployment
from support.manifests import ROOT

_SAMPLES = [path.read_bytes() for path in sorted((ROOT / "deploy/samples").glob("*.yaml"))]
_RESOURCES = [
    found for sample in _SAMPLES for found in yaml.safe_load_all(sample) if (found or {}).get("kind") == "PDDeployment"
]
_FULL: dict[str, Any] = pddeployment()
_FULL["spec"] |= {
    "mode": "RecommendOnly",
    "constraints": {"maxGPUs": 64, "ratio": {"min": {"prefill": 1, "decode": 4}, "max": {"prefill": 2, "decode": 1}}},
    "sizing": {"model": "Auto", "decodeDerate": 1.0, "calibration": "Auto"},
    "routing": {"prefill": "JoinShortestQueue"},
    "metrics": {
        "prometheus": {"endpointRef": "default"},
        "engine": "VLLM",
        "frontDoor": {"preset": "LLMD", "matchLabels": {"a": "b"}},
        "poolLabel": "role",
        "window": "3m",
        "maxStaleness": "2m",
    },
    "forecast": {"method": "Auto"},
    "behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}], "tolerance": 0.1}},
    "fallback": {"behavior": "Static", "replicas": {"prefill": 4, "decode": 5}, "failureThreshold": 3},
}
_CONFIG = {
    "evaluationPeriod": "15s",
    "namespaces": ["serving"],
    "kubeconfig": "/kubeconfig",
    "metricsAddress": "0.0.0.0:8080",
    "logFormat": "json",
    "verifyPlans": True,
    "prometheus": {
        "endpoints": {"default": {"url": "https://p.example.com:9090", "timeout": "5s", "caFile": "/ca.crt"}},
        "allowedUrls": ["https://thanos.example.com/tenants"],
    },
    "presets": "/presets",
}
_PRESETS = [yaml.safe_load(path.read_bytes()) for path in sorted((ROOT / "operator").rglob("presets/*.yaml"))]


def _written(read: Any, data: bytes, name: str) -> str:
    """Read a file of these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        return refusal(lambda: read(path))


def _yaml(document: Any) -> bytes:
    try:
        return yaml.safe_dump(document).encode("utf-8", "surrogatepass")
    except (ValueError, yaml.YAMLError):
        return json.dumps(document).encode()


def _environ(variables: dict[str, str]) -> str:
    return refusal(lambda: load_config(None, variables, {}))


def _presets(data: bytes) -> str:
    def read(path: Path) -> None:
        load_presets(path.parent)

    return _written(read, data, "preset.yaml")


_ALLOWED = ("https://thanos.example.com/tenants", "http://10.0.0.7:9090")
_URLS = OperatorConfig(prometheus=PrometheusConfig(allowed_urls=_ALLOWED))
_URL_PARTS = (
    "@",
    "\\",
    "/",
    "//",
    ":",
    "#",
    "?",
    "%2f",
    "%00",
    "..",
    ".",
    "[::1]",
    "127.0.0.1",
    "evil.com",
    ":443",
    "\t",
    "|",
)


@st.composite
def _urls(draw: Draw) -> str:
    url: str = draw(st.sampled_from([*_ALLOWED, "https://evil.com", "http://169.254.169.254/latest/meta-data"]))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(url)))
        url = url[:at] + draw(st.sampled_from([*_URL_PARTS, *NASTY_TEXTS[:12]]) | st.text(max_size=3)) + url[at:]
    return url


def _url(url: str) -> str:
    """Whatever is accepted goes to the allowed host, as every library that reads URLs sees it."""
    try:
        endpoint = resolve_endpoint(PrometheusSpec.model_construct(endpoint_ref=None, url=url), _URLS)
    except InvalidInputError as error:
        harmless(str(error))
        return REFUSED
    assert endpoint.bearer_token_file is None
    assert endpoint.client_cert_file is None
    asked = requests.Request("GET", f"{endpoint.url}/api/v1/query").prepare().url or ""
    hosts = {urlsplit(asked).netloc, urlsplit(url).hostname, urllib3.util.parse_url(asked).host}
    hosts |= {urllib3.util.parse_url(url).host}
    assert hosts <= {"thanos.example.com", "10.0.0.7", "10.0.0.7:9090"}, hosts
    assert urlsplit(asked).path.startswith(("/tenants/", "/api/")), asked
    return READ


def _selector(case: Any) -> str:
    if isinstance(case, str):
        return refusal(lambda: str(parse_label_selector(case).matches({"app": "x"})))
    return refusal(lambda: selector_from_spec(case).matches({"app": "x", "n": "3"}))


_SELECTORS = ("app=decode, tier in (gpu,cpu),!canary", "app!=x", "a.b/c notin (x)", "n>3", "", "app", ",,(")
_REQUIREMENTS = st.builds(
    lambda operator, values: {"matchExpressions": [{"key": "n", "operator": operator, "values": values}]},
    st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "in", "")),
    st.lists(st.sampled_from(NASTY_TEXTS) | st.text(max_size=20), max_size=3),
)
_VARIABLES = (
    "EVALUATION_PERIOD",
    "NAMESPACES",
    "PROMETHEUS_ENDPOINTS",
    "PROMETHEUS_ALLOWED_URLS",
    "LOG_FORMAT",
    "METRICS_ADDRESS",
)
_ENVIRONMENTS = st.dictionaries(
    st.sampled_from([f"PDSCALER_{name}" for name in _VARIABLES]),
    st.sampled_from([text for text in NASTY_TEXTS if "\x00" not in text])
    | st.text(max_size=20)
    | mangled([b"default=http://p:9090,b=https://q", b"{default: {url: http://p:9090, timeout: 5s}}", b"a,b"]).map(
        lambda data: data.decode("utf-8", "replace")
    ),
    max_size=3,
)

TARGETS = (
    Target(
        "PDDeployment: any document near a valid one",
        documents([*_RESOURCES, pddeployment(), _FULL]),
        lambda document: refusal(lambda: to_scaling_spec(parse_pddeployment(document, "fuzz"))),
    ),
    Target(
        "PDDeployment: any file",
        mangled(_SAMPLES),
        lambda data: _written(lambda path: to_scaling_spec(load_pddeployment(path)), data, "pdd.yaml"),
    ),
    Target(
        "configuration: file",
        documents([_CONFIG]).map(_yaml) | mangled([_yaml(_CONFIG)]),
        lambda data: _written(lambda path: load_config(path, {}, {}), data, "config.yaml"),
    ),
    Target("configuration: environment", _ENVIRONMENTS, _environ),
    Target("presets", documents(_PRESETS).map(_yaml) | mangled([*map(_yaml, _PRESETS)]), _presets),
    Target("URL of a tenant", _urls(), _url),
    Target(
        "label selectors",
        mangled([s.encode() for s in _SELECTORS]).map(lambda d: d.decode("latin-1")) | _REQUIREMENTS,
        _selector,
    ),
)
