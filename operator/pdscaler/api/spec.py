"""``spec`` of a PDDeployment: the blocks put together, and the rules between them. May import pydantic, core, api."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from pdscaler.api.base import Model, Replicas, Text, invalid, rule, rules
from pdscaler.api.behavior import BehaviorSpec
from pdscaler.api.constraints import ConstraintsSpec
from pdscaler.api.metrics import MetricsSpec
from pdscaler.api.pool import DecodeSpec, PoolSpec, PrefillSpec
from pdscaler.api.slo import SloSpec
from pdscaler.core.choice import Bounds, Space, cheapest_pair
from pdscaler.core.pools import PerPool
from pdscaler.core.spec import FallbackBehavior, Routing, SizingModel

_SAME_TARGET = "prefill and decode must scale different targets"
_BUDGET = "is less than the minReplicas of both pools cost"
_RATIO_IMPOSSIBLE = "no pair of replicas within the bounds of both pools has a ratio within constraints.ratio"


class Mode(StrEnum):
    """Whether the operator scales, or only says what it would do."""

    AUTO = "Auto"
    RECOMMEND_ONLY = "RecommendOnly"


class Calibration(StrEnum):
    """Whether the model is corrected by what is seen live."""

    AUTO = "Auto"
    OFF = "Off"


class ForecastMethod(StrEnum):
    """How the load is forecast."""

    AUTO = "Auto"
    LAST_VALUE = "LastValue"
    HOLT_WINTERS = "HoltWinters"
    SEASONAL = "Seasonal"
    ARIMA = "ARIMA"


def _quoted_off(value: object) -> object:
    if isinstance(value, bool):
        raise invalid('write "Off" in quotes: YAML reads a bare Off as false' if not value else 'write Auto or "Off"')
    return value


class SizingModelSpec(Model):
    """How load becomes replicas."""

    model: SizingModel = Field(default=SizingModel.AUTO, description="PaperMM1: one M/M/1 queue per prefill replica.")
    decode_derate: Annotated[float, Field(strict=True, gt=0, le=2, allow_inf_nan=False)] = Field(
        default=1.0, description="Multiplies the decode throughput that the profile promises."
    )
    calibration: Annotated[Calibration, BeforeValidator(_quoted_off)] = Field(
        default=Calibration.AUTO,
        description='Auto: overhead and throughput are corrected by what is seen live; or "Off" (quote it in YAML).',
    )


class RoutingSpec(Model):
    """How requests are spread over the replicas."""

    prefill: Routing = Routing.JOIN_SHORTEST_QUEUE


class ForecastSpec(Model):
    """How the load is forecast over the start-up time."""

    method: ForecastMethod = Field(
        default=ForecastMethod.AUTO,
        description="Auto: the method that forecast best lately. LastValue: no forecast, the load seen now counts.",
    )


class FallbackReplicas(Model):
    """Replicas of both pools."""

    prefill: Replicas
    decode: Replicas


class FallbackSpec(Model):
    """What happens when telemetry has failed for long."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.behavior == 'Hold' || has(self.replicas)",
                "replicas are needed with Static and HoldOrHigher",
                ".replicas",
            )
        )
    )

    behavior: FallbackBehavior = Field(
        default=FallbackBehavior.HOLD, description="Hold, HoldOrHigher (at least replicas) or Static (replicas)."
    )
    failure_threshold: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(
        default=3, description="Evaluations in a row without data before the fallback."
    )
    replicas: FallbackReplicas | None = None

    @model_validator(mode="after")
    def _needs_replicas(self) -> Self:
        if self.behavior is not FallbackBehavior.HOLD and self.replicas is None:
            raise invalid(
                f"is needed with behavior {self.behavior.value} (such as {{prefill: 4, decode: 5}})", "replicas"
            )
        return self


_FALLBACK_FITS = "must lie within minReplicas and maxReplicas of its pool"


def _rules() -> dict[str, Any]:
    return rules(
        rule(
            "self.prefill.scaleTargetRef.kind != self.decode.scaleTargetRef.kind"
            " || self.prefill.scaleTargetRef.name != self.decode.scaleTargetRef.name"
            " || self.prefill.scaleTargetRef.apiVersion.split('/')[0] !="
            " self.decode.scaleTargetRef.apiVersion.split('/')[0]",
            _SAME_TARGET,
            ".decode.scaleTargetRef",
        ),
        rule(
            "!has(self.constraints.maxGPUs) || self.constraints.maxGPUs >="
            " self.prefill.minReplicas * self.prefill.gpusPerReplica +"
            " self.decode.minReplicas * self.decode.gpusPerReplica",
            "maxGPUs " + _BUDGET,
            ".constraints.maxGPUs",
        ),
        rule(
            "!has(self.constraints.ratio) || !has(self.constraints.ratio.max) || self.prefill.minReplicas *"
            " self.constraints.ratio.max.decode <= self.decode.maxReplicas * self.constraints.ratio.max.prefill",
            _RATIO_IMPOSSIBLE,
            ".constraints.ratio",
        ),
        rule(
            "!has(self.constraints.ratio) || !has(self.constraints.ratio.min) || self.prefill.maxReplicas *"
            " self.constraints.ratio.min.decode >= self.decode.minReplicas * self.constraints.ratio.min.prefill",
            _RATIO_IMPOSSIBLE,
            ".constraints.ratio",
        ),
        *(
            rule(
                f"!has(self.fallback.replicas) || (self.fallback.replicas.{pool} >= self.{pool}.minReplicas"
                f" && self.fallback.replicas.{pool} <= self.{pool}.maxReplicas)",
                _FALLBACK_FITS,
                f".fallback.replicas.{pool}",
            )
            for pool in ("prefill", "decode")
        ),
    )


class PDDeploymentSpec(Model):
    """What a PDDeployment asks for."""

    model_config = ConfigDict(json_schema_extra=_rules())

    mode: Mode = Field(default=Mode.AUTO, description="Auto scales; RecommendOnly says what it would do.")
    model: Text = Field(description="Value of the model label in the metrics.")
    slo: SloSpec
    prefill: PrefillSpec
    decode: DecodeSpec
    constraints: ConstraintsSpec = ConstraintsSpec()
    sizing: SizingModelSpec = SizingModelSpec()
    routing: RoutingSpec = RoutingSpec()
    metrics: MetricsSpec = MetricsSpec()
    forecast: ForecastSpec = ForecastSpec()
    behavior: BehaviorSpec = BehaviorSpec()
    fallback: FallbackSpec = FallbackSpec()

    @model_validator(mode="after")
    def _different_targets(self) -> Self:
        if self.prefill.scale_target_ref.identity == self.decode.scale_target_ref.identity:
            raise invalid(_SAME_TARGET, "decode", "scaleTargetRef")
        return self

    @model_validator(mode="after")
    def _joint_constraints(self) -> Self:
        budget = self.constraints.max_gpus
        least = self._gpus(self.prefill.min_replicas, self.decode.min_replicas)
        if budget is not None and budget < least:
            raise invalid(f"{budget} {_BUDGET} ({least} GPUs)", "constraints", "maxGPUs")
        pools: PerPool[PoolSpec] = PerPool(self.prefill, self.decode)
        space = Space(
            pools.map(lambda pool: Bounds(pool.min_replicas, pool.max_replicas)),
            pools.map(lambda pool: pool.gpus_per_replica),
            self.constraints.to_constraints(),
        )
        pair = cheapest_pair(space)
        if pair is None:
            raise invalid(_RATIO_IMPOSSIBLE, "constraints", "ratio")
        if not space.within_budget(pair):
            problem = f"{budget} is less than the cheapest pair within bounds and ratio costs ({space.cost(pair)} GPUs)"
            raise invalid(problem, "constraints", "maxGPUs")
        return self

    @model_validator(mode="after")
    def _fallback_fits(self) -> Self:
        replicas = self.fallback.replicas
        if replicas is None:
            return self
        for name, count, pool in (
            ("prefill", replicas.prefill, self.prefill),
            ("decode", replicas.decode, self.decode),
        ):
            if not pool.min_replicas <= count <= pool.max_replicas:
                problem = f"{count} {_FALLBACK_FITS} ({pool.min_replicas} to {pool.max_replicas})"
                raise invalid(problem, "fallback", "replicas", name)
        budget, gpus = self.constraints.max_gpus, self._gpus(replicas.prefill, replicas.decode)
        if budget is not None and gpus > budget:
            raise invalid(f"costs {gpus} GPUs, more than constraints.maxGPUs {budget}", "fallback", "replicas")
        return self

    def _gpus(self, prefill: int, decode: int) -> int:
        return prefill * self.prefill.gpus_per_replica + decode * self.decode.gpus_per_replica
