"""``behavior``: the shape of HPA v2's behavior. May import only pydantic, core and base.

Nothing has a default here: what is left out in a pool is taken from ``spec.behavior``, and what is left out there from
the core's defaults (up: no stabilisation; down: 300 s; no rate limit; tolerance 0).
"""

from typing import Annotated

from pydantic import Field

from pdscaler.api.base import Model
from pdscaler.core.spec import PolicyType, SelectPolicy


class ScalingPolicySpec(Model):
    """At most ``value`` pods, or percent of the replicas, within ``periodSeconds``."""

    type: PolicyType
    value: Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
    period_seconds: Annotated[int, Field(strict=True, ge=1, le=1800)]


class ScalingRulesSpec(Model):
    """Rules of one direction."""

    stabilization_window_seconds: Annotated[int, Field(strict=True, ge=0, le=3600)] | None = Field(
        default=None, description="Up: the least, down: the greatest recommendation of this many seconds counts."
    )
    select_policy: SelectPolicy | None = Field(
        default=None, description="Which policy counts; Disabled: never this way."
    )
    policies: Annotated[tuple[ScalingPolicySpec, ...], Field(max_length=16)] | None = Field(
        default=None, description="Rate limits; none: no limit."
    )
    tolerance: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] | None = Field(
        default=None, description="Relative change that is left alone; 0 where left out (HPA's 0.1 fits utilisation)."
    )


class BehaviorSpec(Model):
    """Rules of both directions."""

    scale_up: ScalingRulesSpec | None = None
    scale_down: ScalingRulesSpec | None = None
