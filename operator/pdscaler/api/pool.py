"""``spec.prefill`` and ``spec.decode``: target, bounds, cost, profile of a pool. May import only pydantic and api."""

from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from pdscaler.api.base import (
    MAX_GPUS_PER_REPLICA,
    MAX_REPLICAS,
    DurationBetween,
    Model,
    ObjectName,
    Replicas,
    form,
    invalid,
    rule,
    rules,
)
from pdscaler.api.behavior import BehaviorSpec
from pdscaler.api.profile import DecodeProfileSpec, PrefillProfileSpec

_NOT_ZERO = "must be at least 1: scale to zero is not offered"
_BOUNDS = "minReplicas must not exceed maxReplicas"


def _not_zero(value: int) -> int:
    if value < 1:
        raise invalid(_NOT_ZERO)
    return value


class ScaleTargetRef(Model):
    """A workload with a scale subresource, in the same namespace."""

    api_version: Annotated[
        str,
        Field(
            strict=True,
            max_length=253,
            pattern=form(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[a-z0-9]+$", "group/version such as apps/v1"),
        ),
    ] = Field(default="apps/v1", description="Group and version, such as apps/v1.")
    kind: Annotated[
        str, Field(strict=True, max_length=63, pattern=form(r"^[A-Z][A-Za-z0-9]*$", "a kind such as Deployment"))
    ] = Field(default="Deployment", description="Kind, such as Deployment.")
    name: ObjectName

    @property
    def identity(self) -> tuple[str, str, str]:
        """Group, kind and name: two versions of one object are the same target."""
        group = self.api_version.rpartition("/")[0]
        return group, self.kind, self.name


class PoolSpec(Model):
    """What both pools have in common."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("self.minReplicas <= self.maxReplicas", _BOUNDS, ".minReplicas"))
    )

    scale_target_ref: ScaleTargetRef
    min_replicas: Annotated[int, Field(strict=True, ge=0, le=MAX_REPLICAS), AfterValidator(_not_zero)] = Field(
        default=1, json_schema_extra=rules(rule("self >= 1", _NOT_ZERO))
    )
    max_replicas: Replicas
    gpus_per_replica: Annotated[int, Field(strict=True, ge=1, le=MAX_GPUS_PER_REPLICA)] = Field(
        default=1, description="GPUs of one replica (of the whole group, where a replica spans nodes)."
    )
    startup_s: Annotated[float, DurationBetween(0.0, 86400.0)] = Field(
        default=180.0,
        alias="startup",
        description="From the order to Ready; the forecast looks at least this far ahead.",
    )
    behavior: BehaviorSpec | None = Field(default=None, description="Overrides spec.behavior, field by field.")

    @model_validator(mode="after")
    def _ordered_bounds(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise invalid(f"{self.min_replicas} is above maxReplicas {self.max_replicas}", "minReplicas")
        return self


class PrefillSpec(PoolSpec):
    """The prefill pool."""

    profile: PrefillProfileSpec


class DecodeSpec(PoolSpec):
    """The decode pool."""

    profile: DecodeProfileSpec
