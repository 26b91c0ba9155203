"""``spec.metrics``: where telemetry is read. May import only pydantic and base.

No PromQL stands here: raw queries live in the administrator's presets, so that the namespace matcher cannot be left.
"""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from pdscaler.api.base import DurationBetween, Label, Model, form, invalid, rule, rules
from pdscaler.api.unsupported import ENGINES_AVAILABLE, UNSUPPORTED_ENGINES, refuse_value, value_rules

DEFAULT_ENDPOINT = "default"
_XOR = "endpointRef and url exclude each other: keep one"
_RESERVED_LABELS = ("namespace", "__name__")
_RESERVED = "the labels namespace and __name__ belong to the operator"
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def _built_engine(value: str) -> str:
    return refuse_value(value, UNSUPPORTED_ENGINES, ENGINES_AVAILABLE)


PresetName = Annotated[
    str,
    Field(
        strict=True,
        max_length=63,
        pattern=form(r"^[A-Za-z][A-Za-z0-9._-]*$", "a preset's name: letters, digits, ., _ and -"),
        json_schema_extra=rules(*value_rules(UNSUPPORTED_ENGINES, ENGINES_AVAILABLE)),
    ),
    AfterValidator(_built_engine),
]
"""Name of a preset: built in (VLLM, LLMD) or defined by the administrator."""


class PrometheusSpec(Model):
    """The Prometheus to ask; neither field: the administrator's endpoint ``default``."""

    model_config = ConfigDict(json_schema_extra=rules(rule("!(has(self.endpointRef) && has(self.url))", _XOR)))

    endpoint_ref: Label | None = Field(
        default=None, description='Endpoint of the operator\'s configuration; "default" where url is not given.'
    )
    url: (
        Annotated[
            str,
            Field(
                strict=True,
                max_length=2048,
                pattern=form(r"^https?://[^\s@]+$", "http:// or https://, without a user part"),
            ),
        ]
        | None
    ) = Field(default=None, description="Only where the administrator allows it (prometheus.allowedUrls).")

    @model_validator(mode="before")
    @classmethod
    def _default_endpoint(cls, data: object) -> object:
        # Not a default of the schema: the API server would then set it beside a url.
        if isinstance(data, dict) and not any(data.get(key) for key in ("endpointRef", "endpoint_ref", "url")):
            return {**data, "endpointRef": DEFAULT_ENDPOINT}
        return data

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if self.endpoint_ref is not None and self.url is not None:
            raise invalid(_XOR)
        return self


class FrontDoorSpec(Model):
    """The router or gateway before the pools: arrivals and end-to-end TTFT are read there."""

    preset: PresetName = Field(description="Preset of the front door's metrics, such as LLMD.")
    match_labels: Annotated[dict[str, Annotated[str, Field(strict=True, max_length=253)]], Field(max_length=16)] = (
        Field(
            default_factory=dict,
            description="Labels that select the front door's series.",
            json_schema_extra=rules(rule("!('namespace' in self) && !('__name__' in self)", _RESERVED)),
        )
    )

    @model_validator(mode="after")
    def _label_names(self) -> Self:
        for name in self.match_labels:
            if name in _RESERVED_LABELS:
                raise invalid(_RESERVED, "matchLabels", name)
            if len(name) > 63 or not LABEL_NAME.fullmatch(name):
                raise invalid("not a label name (letters, digits and _; at most 63)", "matchLabels", name[:63])
        return self


class MetricsSpec(Model):
    """Where and how telemetry is read."""

    prometheus: PrometheusSpec = PrometheusSpec()
    engine: PresetName = Field(default="VLLM", description="Preset of the engines' metrics; " + ENGINES_AVAILABLE + ".")
    front_door: FrontDoorSpec | None = None
    pool_label: Annotated[
        str,
        Field(
            strict=True,
            max_length=63,
            pattern=form(r"^([a-zA-Z_][a-zA-Z0-9_]*)?$", "a label name: letters, digits and _"),
        ),
    ] = Field(default="", description="Label that tells prefill from decode, where series carry no pod label.")
    window_s: Annotated[float, DurationBetween(1.0, 21600.0)] = Field(
        default=180.0, alias="window", description="Window of rates and means."
    )
    max_staleness_s: Annotated[float, DurationBetween(1.0, 3600.0)] = Field(
        default=120.0, alias="maxStaleness", description="Older samples are no data: both pools hold."
    )
