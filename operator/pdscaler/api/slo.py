"""``spec.slo``: the latency objectives. May import only pydantic, core and base."""

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from pdscaler.api.base import Latency, Model, invalid, rule, rules
from pdscaler.core.slo import Statistic

_ONE_TARGET = "at least one of ttft and tpot is needed"


class LatencyTargetSpec(Model):
    """The value that one statistic of a latency must not exceed."""

    target_s: Latency = Field(alias="target", description="Duration such as 2s, 350ms or 6500us.")
    statistic: Statistic = Field(default=Statistic.MEAN, description="Which statistic of the latency the target binds.")


class SloSpec(Model):
    """Targets of TTFT (arrival to first token) and TPOT (time per output token); either may be left out, not both."""

    model_config = ConfigDict(json_schema_extra=rules(rule("has(self.ttft) || has(self.tpot)", _ONE_TARGET)))

    ttft: LatencyTargetSpec | None = Field(default=None, description="Arrival at the front door to first token.")
    tpot: LatencyTargetSpec | None = Field(default=None, description="(End-to-end - TTFT) / (output tokens - 1).")

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.ttft is None and self.tpot is None:
            raise invalid(_ONE_TARGET)
        return self
