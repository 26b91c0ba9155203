"""``spec.constraints``: joint limits of both pools. May import only pydantic, core and base."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from pdscaler.api.base import MAX_GPUS, Model, Replicas, invalid, rule, rules
from pdscaler.core.spec import Constraints, Ratio

_ORDER = "ratio.min must not exceed ratio.max (prefill:decode)"


class RatioSpec(Model):
    """A ratio of prefill to decode replicas."""

    prefill: Replicas
    decode: Replicas


class RatioBoundsSpec(Model):
    """Bounds of the ratio of prefill to decode replicas."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.min) || !has(self.max) || "
                "self.min.prefill * self.max.decode <= self.max.prefill * self.min.decode",
                _ORDER,
            )
        )
    )

    min: RatioSpec | None = Field(default=None, description="Least prefill:decode, such as 1:4.")
    max: RatioSpec | None = Field(default=None, description="Greatest prefill:decode, such as 2:1.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if (
            self.min is not None
            and self.max is not None
            and self.min.prefill * self.max.decode > self.max.prefill * self.min.decode
        ):
            raise invalid(f"min {self.min.prefill}:{self.min.decode} is above max {self.max.prefill}:{self.max.decode}")
        return self


class ConstraintsSpec(Model):
    """Joint limits of both pools."""

    max_gpus: Annotated[int, Field(strict=True, ge=1, le=MAX_GPUS)] | None = Field(
        default=None, alias="maxGPUs", description="GPUs of both pools together, at most; left out: unlimited."
    )
    ratio: RatioBoundsSpec | None = None

    def to_constraints(self) -> Constraints:
        """Return the core's value of the same limits."""
        ratio = self.ratio or RatioBoundsSpec()
        return Constraints(self.max_gpus, min_ratio=_ratio(ratio.min), max_ratio=_ratio(ratio.max))


def _ratio(ratio: RatioSpec | None) -> Ratio | None:
    return None if ratio is None else Ratio(ratio.prefill, ratio.decode)
