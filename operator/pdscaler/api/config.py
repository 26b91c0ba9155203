"""The operator's configuration: file, environment, flags. May import only pydantic, yaml, base and problems.

The same names everywhere: ``evaluationPeriod`` in the file, ``PDSCALER_EVALUATION_PERIOD`` in the environment and
``--evaluation-period`` as a flag; flags win over the environment, which wins over the file.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from pdscaler.api.base import FROM_DOCUMENT, DurationBetween, Label, Model, ObjectName, form, invalid
from pdscaler.api.problems import to_error
from pdscaler.api.yamlfile import parse_yaml, read_yaml_documents
from pdscaler.errors import InvalidInputError
from pdscaler.units import format_duration

ENVIRONMENT_PREFIX = "PDSCALER_"
RENEW_SHARE = 0.8
"""Largest renew deadline, as a share of the lease's duration."""


class LogFormat(StrEnum):
    """Form of the log lines."""

    JSON = "json"
    TEXT = "text"


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if value and not (
        colon and port.isascii() and port.isdigit() and int(port) <= 65535 and not set(host) & set(" /@")
    ):
        raise invalid(f'"{value}" is not an address (write HOST:PORT such as 127.0.0.1:8080, or :8080; empty: none)')
    return value


PathText = Annotated[str, Field(strict=True, min_length=1, max_length=4096)]
Address = Annotated[str, Field(strict=True, max_length=261), AfterValidator(_address)]
"""``HOST:PORT``; an empty host means all interfaces; an empty text means that nothing listens."""
HttpUrl = Annotated[
    str,
    Field(
        strict=True,
        max_length=2048,
        pattern=form(r"^https?://[^\s@/?#]+[^\s@]*$", "http:// or https://, a host, no user part"),
    ),
]


class PrometheusEndpoint(Model):
    """A Prometheus that the administrator offers; files are read again when they change."""

    url: HttpUrl
    ca_file: PathText | None = None
    bearer_token_file: PathText | None = None
    client_cert_file: PathText | None = None
    client_key_file: PathText | None = None
    timeout_s: Annotated[float, DurationBetween(0.1, 120.0)] = Field(default=5.0, alias="timeout")

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if self.client_cert_file is not None and self.client_key_file is None:
            raise invalid("is required with clientCertFile", "clientKeyFile")
        if self.client_key_file is not None and self.client_cert_file is None:
            raise invalid("is required with clientKeyFile", "clientCertFile")
        return self


class PrometheusConfig(Model):
    """Where telemetry may be read."""

    endpoints: dict[Label, PrometheusEndpoint] = Field(default_factory=dict)
    allowed_urls: tuple[HttpUrl, ...] = ()


class OperatorConfig(Model):
    """Configuration of ``pdscaler run``."""

    evaluation_period_s: Annotated[float, DurationBetween(0.5, 3600.0)] = Field(default=15.0, alias="evaluationPeriod")
    namespaces: tuple[Label, ...] = Field(default=(), description="Empty: all.")
    kubeconfig: PathText | None = None
    context: Annotated[str, Field(strict=True, min_length=1, max_length=512)] | None = None
    metrics_address: Address = ":8080"
    health_address: Address = ":8081"
    leader_election: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Write only while a Lease is held: for several replicas."
    )
    lease_duration_s: Annotated[float, DurationBetween(1.0, 300.0)] = Field(default=15.0, alias="leaseDuration")
    renew_deadline_s: Annotated[float, DurationBetween(0.5, 240.0)] = Field(default=10.0, alias="renewDeadline")
    retry_period_s: Annotated[float, DurationBetween(0.1, 120.0)] = Field(default=2.0, alias="retryPeriod")
    lease_name: ObjectName = "pdscaler-leader"
    lease_namespace: Label | None = Field(default=None, description="Left out: the pod's own namespace.")
    log_format: LogFormat = LogFormat.JSON
    verify_plans: Annotated[bool, Field(strict=True)] = Field(
        default=True, description="Settle replica counts by simulation, beside the evaluations."
    )
    prometheus: PrometheusConfig = PrometheusConfig()
    presets: PathText | None = Field(default=None, description="Directory of the administrator's presets.")

    @model_validator(mode="after")
    def _lease_outlasts_its_renewal(self) -> Self:
        if self.renew_deadline_s > RENEW_SHARE * self.lease_duration_s:
            raise invalid(
                f"must be at most {RENEW_SHARE:.0%} of leaseDuration ({format_duration(self.lease_duration_s)}): the "
                "rest is what writes under way need to end",
                "renewDeadline",
            )
        if self.retry_period_s > self.renew_deadline_s / 3:
            raise invalid(
                f"must be at most a third of renewDeadline ({format_duration(self.renew_deadline_s)}): a renewal that "
                "fails must not cost the lease",
                "retryPeriod",
            )
        return self


def _words(text: str) -> object:
    return [word.strip() for word in text.split(",") if word.strip()]


def _text(text: str) -> object:
    return text


def _boolean(text: str) -> object:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower(), text)


def _endpoints(text: str) -> object:
    """Read ``name=url,name=url``, or a YAML mapping as in the file."""
    if text.lstrip().startswith("{") or ":\n" in text or text.rstrip().endswith("}"):
        documents = parse_yaml(text, "")
        return documents[0] if documents else {}
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    return {name.strip(): {"url": url.strip()} for name, _, url in pairs}


_SETTINGS: Mapping[str, tuple[tuple[str, ...], Callable[[str], object]]] = {
    "evaluation_period": (("evaluationPeriod",), _text),
    "namespaces": (("namespaces",), _words),
    "kubeconfig": (("kubeconfig",), _text),
    "context": (("context",), _text),
    "metrics_address": (("metricsAddress",), _text),
    "health_address": (("healthAddress",), _text),
    "leader_election": (("leaderElection",), _boolean),
    "lease_duration": (("leaseDuration",), _text),
    "renew_deadline": (("renewDeadline",), _text),
    "retry_period": (("retryPeriod",), _text),
    "lease_name": (("leaseName",), _text),
    "lease_namespace": (("leaseNamespace",), _text),
    "log_format": (("logFormat",), _text),
    "verify_plans": (("verifyPlans",), _boolean),
    "presets": (("presets",), _text),
    "prometheus_endpoints": (("prometheus", "endpoints"), _endpoints),
    "prometheus_allowed_urls": (("prometheus", "allowedUrls"), _words),
    "prometheus_url": (("prometheus", "endpoints", "default", "url"), _text),
}
"""Name of each setting outside the file (snake case) -> its path in the file, and how its text is read."""


def load_config(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> OperatorConfig:
    """Put the configuration together: flags over environment over file over defaults.

    Parameters
    ----------
    path
        YAML file; None where there is none.
    environ
        The environment; only the known ``PDSCALER_*`` names are read (Kubernetes itself sets others).
    flags
        Flags by snake-case name; None and empty tuples count as not given.

    Raises
    ------
    InvalidInputError
        If a key is unknown or a value cannot be used; it names the file's key, the variable or the flag.
    """
    document = _file_document(path)
    written_as: dict[tuple[str, ...], str] = {}
    for name, (keys, read) in _SETTINGS.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        if environ.get(variable):
            try:
                value = read(environ[variable])
            except InvalidInputError as error:
                raise InvalidInputError(variable, error.problem) from None
            _put(document, keys, value)
            written_as[keys] = variable
    for name, value in flags.items():
        if value is None or value == ():
            continue
        if name not in _SETTINGS:
            raise InvalidInputError("--" + name.replace("_", "-"), "is not a setting of the operator")
        keys, read = _SETTINGS[name]
        _put(document, keys, read(value) if isinstance(value, str) else value)
        written_as[keys] = "--" + name.replace("_", "-")
    try:
        return OperatorConfig.model_validate(document, context=FROM_DOCUMENT, by_alias=True, by_name=False)
    except ValidationError as failure:
        raise _renamed(to_error(failure, OperatorConfig, str(path) if path else ""), written_as) from None


def _file_document(path: Path | None) -> dict[str, Any]:
    documents = read_yaml_documents(path) if path is not None else []
    if not documents:
        return {}
    if len(documents) > 1 or not isinstance(documents[0], dict):
        raise InvalidInputError("", "expected one mapping of settings", str(path))
    return documents[0]


def _put(document: dict[str, Any], keys: tuple[str, ...], value: object) -> None:
    for key in keys[:-1]:
        inner = document.get(key)
        if not isinstance(inner, dict):
            if inner is not None:
                return  # the file's own error is reported by the model
            inner = {}
        document[key] = inner
        document = inner
    document[keys[-1]] = value


def _renamed(error: InvalidInputError, written_as: Mapping[tuple[str, ...], str]) -> InvalidInputError:
    """Name the flag or variable instead of the file's key, where the value came from there."""
    for keys, name in written_as.items():
        path = ".".join(keys)
        if error.field == path or error.field.startswith((path + ".", path + "[")):
            return type(error)(name + error.field[len(path) :], error.problem)
    return error
