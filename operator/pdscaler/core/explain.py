"""Lines for people about a sizing: what binds, what one replica fewer gives, why nothing fits. Imports core only."""

import math

from pdscaler.core.choice import Choice, Space, label
from pdscaler.core.decision import Binding, Limit
from pdscaler.core.model import Models, PoolModel
from pdscaler.core.paper import UTILIZATION_WITHOUT_TARGET, DecodeModel
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.slo import Statistic
from pdscaler.units import format_duration, format_need, format_number

LATENCY = {Pool.PREFILL: "TTFT", Pool.DECODE: "TPOT"}


def statistic_of(model: PoolModel) -> Statistic:
    """Return the statistic that a pool's target binds; the mean where there is no target."""
    return model.target.statistic if model.target is not None else Statistic.MEAN


def latency(model: PoolModel, replicas: int) -> str | None:
    """Return the latency that a count is predicted to give: ``2.07s``; None where it cannot keep up."""
    value = model.statistics(replicas).of(statistic_of(model))
    return None if value is None or math.isinf(value) else format_duration(value)


def outcome(model: PoolModel, replicas: int, name: str = "") -> str:
    """Return what a count does: ``gives 2.07s``, or ``cannot keep up``."""
    value = latency(model, replicas)
    return "cannot keep up" if value is None else f"gives {name}{value}"


def one_fewer(model: PoolModel, replicas: int) -> str:
    """Return what one replica fewer would give: ``1 fewer gives 2.07s``."""
    if replicas <= 1:
        return "1 is the least"
    return f"1 fewer {outcome(model, replicas - 1)}"


def explain(
    pool: Pool, models: Models, *, required: float, recommended: int, replicas: int, limited: tuple[Limit, ...]
) -> str:
    """Explain one pool's count in one line: ``queueing: 1 fewer gives 2.07s``."""
    model = models.pools[pool]
    if model.rate_rps == 0:
        return "nothing arrives: the minimum"
    if not model.attainable:
        return f"{alone(pool, models)}: no count meets the target; {one_fewer(model, replicas)}"
    limits = " and ".join(_LIMIT_WORDS.get(limit, limit.value) for limit in limited)
    one = len(limited) == 1
    if replicas < recommended:
        allow = "allows" if one else "allow"
        return (
            f"needs {format_need(required, recommended)}, {limits} {allow} {replicas}, which {outcome(model, replicas)}"
        )
    if replicas > recommended:
        return f"{limits} {'asks' if one else 'ask'} {replicas}: {recommended} would meet the target"
    return f"{_bound(models, pool)}: {one_fewer(model, replicas)}"


_LIMIT_WORDS = {
    Limit.MIN_REPLICAS: "minReplicas",
    Limit.MAX_REPLICAS: "maxReplicas",
    Limit.MAX_GPUS: "maxGPUs",
    Limit.RATIO: "the ratio",
}


def _bound(models: Models, pool: Pool) -> str:
    """Return what binds: ``queueing``, or ``batch 34.3 at 20ms``."""
    if pool is Pool.PREFILL:
        return "queueing" if models.prefill.target else f"no TTFT target, load at most {UTILIZATION_WITHOUT_TARGET:.0%}"
    decode = models.decode
    batch = decode.largest_batch
    text = f"batch {format_number(batch)} at {format_duration(decode.line(batch))}"
    if decode.binding is Binding.KV_MEMORY:
        return f"KV memory holds {text}"
    return f"batch limit: {text}" if decode.binding is Binding.BATCH_SLOTS else text


def alone(pool: Pool, models: Models) -> str:
    """Say what one request alone takes, for targets that no count meets."""
    if pool is Pool.DECODE:
        tpot_s = models.decode.line(1.0)
        return f"one request alone decodes at {format_duration(tpot_s, _digits(models.decode))}/token on this engine"
    prefill = models.prefill
    pass_text = f"one prompt alone takes {format_duration(prefill.service_s)}"
    if prefill.overhead_s:
        pass_text += f" and {format_duration(prefill.overhead_s)} overhead"
    statistic = statistic_of(prefill)
    return (
        pass_text if statistic is Statistic.MEAN else f"{pass_text} ({statistic} {format_duration(prefill.alone_s())})"
    )


def infeasible_reason(
    models: Models, space: Space, recommended: PerPool[int], required: PerPool[float], choice: Choice
) -> str:
    """Return one line on why the plan does not meet the objectives; empty where it does."""
    parts: list[str] = []
    for pool, model in models.pools.items():
        replicas = choice.replicas[pool]
        if not model.attainable and model.target is not None:
            digits = _digits(models.decode) if pool is Pool.DECODE else 3
            parts.append(
                f"{LATENCY[pool]} {format_duration(model.target.target_s, digits)}{_statistic(model)} cannot be met: "
                f"{alone(pool, models)}. {_instead(pool, model, replicas, recommended[pool])}"
            )
        elif recommended[pool] > space.bounds[pool].high:
            parts.append(
                f"{pool} needs {format_need(required[pool], recommended[pool])} replicas "
                f"and maxReplicas is {space.bounds[pool].high}, "
                f"which {outcome(model, replicas, LATENCY[pool] + ' ')}"
            )
    if not choice.serves_all:
        asked = PerPool(space.bounds.prefill.clamp(recommended.prefill), space.bounds.decode.clamp(recommended.decode))
        rate = models.prefill.rate_rps
        served = min(rate, *(model.capacity_rps * choice.replicas[pool] for pool, model in models.pools.items()))
        limits = {limit for _, limits in choice.limited_by.items() for limit in limits}
        blocks = " and ".join(
            text
            for limit, text in (
                (Limit.RATIO, "the ratio"),
                (Limit.MAX_GPUS, f"maxGPUs {space.constraints.max_gpus}"),
            )
            if limit in limits
        )
        enough = asked == recommended and all(model.attainable for _, model in models.pools.items())
        suits = "is needed" if enough else "comes nearest"
        parts.append(
            f"{label(asked)} with {space.cost(asked)} GPUs {suits} and {blocks} "
            f"{'forbid' if ' and ' in blocks else 'forbids'} it; "
            f"{label(choice.replicas)} serves {format_number(served)} of {format_number(rate)} requests/s "
            "within the targets"
        )
    return "; ".join(parts)


def _instead(pool: Pool, model: PoolModel, replicas: int, recommended: int) -> str:
    """Say what the chosen count gives where no count meets the target.

    Decode then runs within 2 % of the best there is. TTFT would go on falling with every further replica, and so would
    the TPOT of a pool that the constraints keep small: that is not called the best.
    """
    value = latency(model, replicas)
    counted = "1 replica" if replicas == 1 else f"{replicas} replicas"
    if value is None:
        return f"{counted} cannot keep up"
    if pool is Pool.DECODE and replicas >= recommended:
        return f"Best possible: {value}"
    return f"{counted} {'gives' if replicas == 1 else 'give'} {value}"


def _digits(model: DecodeModel) -> int:
    """Return how many digits tell an unattainable target from what one request alone takes: at least three."""
    target_s, alone_s = (0.0 if model.target is None else model.target.target_s), model.line(1.0)
    apart = (digits for digits in range(3, 9) if format_duration(target_s, digits) != format_duration(alone_s, digits))
    return next(apart, 9)


def _statistic(model: PoolModel) -> str:
    return f" ({model.target.statistic})" if model.target and model.target.statistic is not Statistic.MEAN else ""
