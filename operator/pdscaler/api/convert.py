"""From the custom resource to the values of the core and the forecast. May import only these and api."""

from zlib import crc32

from pdscaler.api.behavior import BehaviorSpec, ScalingRulesSpec
from pdscaler.api.pddeployment import PDDeployment
from pdscaler.api.pool import PoolSpec
from pdscaler.api.profile import DecodeProfileSpec, PrefillProfileSpec
from pdscaler.api.slo import LatencyTargetSpec, SloSpec
from pdscaler.api.spec import Calibration, FallbackSpec, ForecastMethod, PDDeploymentSpec
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, DecodeProfile, MaxThroughput, Overhead, PrefillPoint, PrefillProfile
from pdscaler.core.slo import LatencyTarget, Slo
from pdscaler.core.spec import (
    Behavior,
    Fallback,
    PoolLimits,
    ScalingPolicy,
    ScalingRules,
    ScalingSpec,
    SizingSpec,
)
from pdscaler.forecast.method import Method
from pdscaler.forecast.settings import FIT_EVERY_S, ForecastSettings


def to_scaling_spec(resource: PDDeployment) -> ScalingSpec:
    """Return all that :func:`pdscaler.core.plan.plan` needs of a PDDeployment."""
    spec = resource.spec
    return ScalingSpec(
        sizing=to_sizing_spec(resource),
        fallback=_fallback(spec.fallback),
        window_s=spec.metrics.window_s,
        calibrate=spec.sizing.calibration is Calibration.AUTO,
    )


def to_sizing_spec(resource: PDDeployment) -> SizingSpec:
    """Return all that sizing needs of a PDDeployment."""
    spec = resource.spec
    return SizingSpec(
        name=resource.metadata.name,
        slo=to_slo(spec.slo),
        prefill_profile=to_prefill_profile(spec.prefill.profile),
        decode_profile=to_decode_profile(spec.decode.profile),
        limits=PerPool(_limits(spec, spec.prefill), _limits(spec, spec.decode)),
        constraints=spec.constraints.to_constraints(),
        model=spec.sizing.model,
        decode_derate=spec.sizing.decode_derate,
        routing=spec.routing.prefill,
    )


def to_forecast_settings(resource: PDDeployment, evaluation_period_s: float) -> ForecastSettings | None:
    """Return how the load is forecast over the longer start-up and one period; None: the load seen now counts.

    Parameters
    ----------
    resource
        The PDDeployment.
    evaluation_period_s
        The evaluation period, seconds.
    """
    spec = resource.spec
    if spec.forecast.method is ForecastMethod.LAST_VALUE:
        return None
    name = f"{resource.metadata.namespace}/{resource.metadata.name}"
    return ForecastSettings(
        horizon_s=max(spec.prefill.startup_s, spec.decode.startup_s) + evaluation_period_s,
        method=Method(spec.forecast.method.value),
        offset_s=float(crc32(name.encode()) % int(FIT_EVERY_S)),
    )


def to_slo(slo: SloSpec) -> Slo:
    """Return the objectives."""
    return Slo(ttft=_target(slo.ttft), tpot=_target(slo.tpot))


def to_prefill_profile(profile: PrefillProfileSpec) -> PrefillProfile:
    """Return the profile of a prefill replica."""
    maximum = profile.max_throughput
    return PrefillProfile(
        points=tuple(PrefillPoint(point.input_tokens, point.latency_s) for point in profile.points or ()),
        max_throughput=None if maximum is None else MaxThroughput(maximum.input_tokens, maximum.tokens_per_second),
        max_batched_tokens=profile.max_batched_tokens,
        overhead=Overhead(profile.overhead.fixed_s, profile.overhead.per_thousand_tokens_s),
    )


def to_decode_profile(profile: DecodeProfileSpec) -> DecodeProfile:
    """Return the profile of a decode replica."""
    return DecodeProfile(
        points=tuple(DecodePoint(point.context_tokens, point.batch, point.tpot_s) for point in profile.points or ()),
        max_batch=profile.max_batch,
        kv_capacity_tokens=profile.kv_capacity_tokens,
    )


def _target(target: LatencyTargetSpec | None) -> LatencyTarget | None:
    return None if target is None else LatencyTarget(target.target_s, target.statistic)


def _limits(spec: PDDeploymentSpec, pool: PoolSpec) -> PoolLimits:
    return PoolLimits(
        min_replicas=pool.min_replicas,
        max_replicas=pool.max_replicas,
        gpus_per_replica=pool.gpus_per_replica,
        startup_s=pool.startup_s,
        behavior=_behavior(pool.behavior or BehaviorSpec(), spec.behavior),
    )


def _behavior(own: BehaviorSpec, shared: BehaviorSpec) -> Behavior:
    default = Behavior()
    return Behavior(
        scale_up=_rules(own.scale_up, shared.scale_up, default.scale_up),
        scale_down=_rules(own.scale_down, shared.scale_down, default.scale_down),
    )


def _rules(own: ScalingRulesSpec | None, shared: ScalingRulesSpec | None, default: ScalingRules) -> ScalingRules:
    """Merge field by field: the pool's own, then ``spec.behavior``, then the default."""
    result = default
    for stated in (shared, own):
        if stated is None:
            continue
        window, policies = stated.stabilization_window_seconds, stated.policies
        result = ScalingRules(
            stabilization_window_s=result.stabilization_window_s if window is None else float(window),
            policies=result.policies
            if policies is None
            else tuple(ScalingPolicy(policy.type, policy.value, float(policy.period_seconds)) for policy in policies),
            select_policy=result.select_policy if stated.select_policy is None else stated.select_policy,
            tolerance=result.tolerance if stated.tolerance is None else stated.tolerance,
        )
    return result


def _fallback(fallback: FallbackSpec) -> Fallback:
    replicas = fallback.replicas
    return Fallback(
        behavior=fallback.behavior,
        failure_threshold=fallback.failure_threshold,
        replicas=None if replicas is None else PerPool(replicas.prefill, replicas.decode),
    )
