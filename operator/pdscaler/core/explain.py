"""Lines for people about a sizing: what binds, what one replica fewer gives, why nothing fits. Imports core only."""

import math

from pdscaler.core.choice import Choice, Space, label
from pdscaler.core.decision import Binding, Limit
from pdscaler.core.need import Need, PoolModel
from pdscaler.core.paper import UTILIZATION_WITHOUT_TARGET, DecodeModel, PrefillModel
from pdscaler.core.paperpool import PaperPool
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.slo import Statistic
from pdscaler.units import format_duration, format_need, format_number

LATENCY = {Pool.PREFILL: "TTFT", Pool.DECODE: "TPOT"}


def latency(model: PoolModel, replicas: int) -> str | None:
    """Return the latency that a count is predicted to give: ``2.07s``; None where it cannot keep up."""
    value_s = model.value_s(replicas)
    return None if math.isinf(value_s) else format_duration(value_s)


def outcome(model: PoolModel, replicas: int, name: str = "") -> str:
    """Return what a count does: ``gives 2.07s``, or ``cannot keep up``."""
    value = latency(model, replicas)
    return "cannot keep up" if value is None else f"gives {name}{value}"


def one_fewer(model: PoolModel, replicas: int) -> str:
    """Return what one replica fewer would give: ``1 fewer gives 2.07s``."""
    if replicas <= 1:
        return "1 is the least"
    return f"1 fewer {outcome(model, replicas - 1)}"


def explain(pool: Pool, model: PoolModel, need: Need, replicas: int, limited: tuple[Limit, ...]) -> str:
    """Explain one pool's count in one line: ``queueing: 1 fewer gives 2.07s``."""
    if model.rate_rps == 0:
        return "nothing arrives: the minimum"
    if not model.attainable:
        return f"{alone(pool, model)}: no count meets the target; {one_fewer(model, replicas)}"
    recommended = need.recommended
    limits = " and ".join(_LIMIT_WORDS.get(limit, limit.value) for limit in limited)
    one = len(limited) == 1
    if replicas < recommended:
        needed = format_need(need.wanted, recommended)
        return f"needs {needed}, {limits} {'allows' if one else 'allow'} {replicas}, which {outcome(model, replicas)}"
    if replicas > recommended:
        return f"{limits} {'asks' if one else 'ask'} {replicas}: {recommended} would meet the target"
    return f"{_bound(pool, model, replicas)}: {one_fewer(model, replicas)}"


_LIMIT_WORDS = {
    Limit.MIN_REPLICAS: "minReplicas",
    Limit.MAX_REPLICAS: "maxReplicas",
    Limit.MAX_GPUS: "maxGPUs",
    Limit.RATIO: "the ratio",
}


_BINDING_WORDS = {
    Binding.TTFT: "queueing",
    Binding.TPOT: "decode speed",
    Binding.KV_MEMORY: "KV memory",
    Binding.BATCH_SLOTS: "batch slots",
}


def _bound(pool: Pool, model: PoolModel, replicas: int) -> str:
    """Return what binds: ``queueing``, or ``batch 34.3 at 20ms``."""
    if isinstance(model, PaperPool) and isinstance(model.model, DecodeModel):
        return _paper_batch(model.model)
    if model.target is None:
        return f"no {LATENCY[pool]} target, load at most {UTILIZATION_WITHOUT_TARGET:.0%}"
    return _BINDING_WORDS[model.binding(replicas)]


def _paper_batch(decode: DecodeModel) -> str:
    batch = decode.largest_batch
    text = f"batch {format_number(batch)} at {format_duration(decode.line(batch))}"
    if decode.binding is Binding.KV_MEMORY:
        return f"KV memory holds {text}"
    return f"batch limit: {text}" if decode.binding is Binding.BATCH_SLOTS else text


def alone(pool: Pool, model: PoolModel) -> str:
    """Say what one request alone takes, for targets that no count meets."""
    mean = model.statistic is Statistic.MEAN
    if pool is Pool.DECODE:
        per_token = format_duration(model.idle_s, _digits(model))
        paper = isinstance(model, PaperPool)  # it predicts the same for every statistic
        statistic = "" if mean or paper else f" ({model.statistic})"
        return f"one request alone decodes at {per_token}/token{statistic} on this engine"
    if not (isinstance(model, PaperPool) and isinstance(model.model, PrefillModel)):
        first = f"one request alone takes {format_duration(model.idle_s, _digits(model))} to its first token"
        return first if mean else f"{first} ({model.statistic})"
    prefill = model.model
    pass_text = f"one prompt alone takes {format_duration(prefill.service_s)}"
    if prefill.overhead_s:
        pass_text += f" and {format_duration(prefill.overhead_s)} overhead"
    return pass_text if mean else f"{pass_text} ({model.statistic} {format_duration(model.idle_s)})"


def infeasible_reason(models: PerPool[PoolModel], space: Space, needs: PerPool[Need], choice: Choice) -> str:
    """Return one line on why the plan does not meet the objectives; empty where it does."""
    parts: list[str] = []
    capped = False
    for pool, model in models.items():
        replicas, recommended = choice.replicas[pool], needs[pool].recommended
        if not model.attainable and model.target is not None:
            target = format_duration(model.target.target_s, _digits(model))
            parts.append(
                f"{LATENCY[pool]} {target}{_statistic(model)} cannot be met: "
                f"{alone(pool, model)}. {_instead(pool, model, replicas, recommended)}"
            )
        elif recommended > space.bounds[pool].high:
            capped = True
            parts.append(
                f"{pool} needs {format_need(needs[pool].required, recommended)} replicas "
                f"and maxReplicas is {space.bounds[pool].high}, "
                f"which {outcome(model, replicas, LATENCY[pool] + ' ')}"
            )
    if not choice.serves_all:
        asked = needs.map(lambda need: need.recommended)
        asked = PerPool(space.bounds.prefill.clamp(asked.prefill), space.bounds.decode.clamp(asked.decode))
        limits = {limit for _, limits in choice.limited_by.items() for limit in limits}
        blocks = " and ".join(
            text
            for limit, text in (
                (Limit.RATIO, "the ratio"),
                (Limit.MAX_GPUS, f"maxGPUs {space.constraints.max_gpus}"),
            )
            if limit in limits
        )
        enough = not capped and all(model.attainable for _, model in models.items())
        suits = "is needed" if enough else "comes nearest"
        parts.append(
            f"{label(asked)} with {space.cost(asked)} GPUs {suits} and {blocks} "
            f"{'forbid' if ' and ' in blocks else 'forbids'} it"
        )
    if capped or not choice.serves_all:
        rate = models.prefill.rate_rps
        served = min(rate, served_rps(models, choice.replicas))
        parts.append(
            f"{label(choice.replicas)} serves {format_number(served)} of {format_number(rate)} requests/s "
            "within the targets"
        )
    return "; ".join(parts)


def served_rps(models: PerPool[PoolModel], pair: PerPool[int]) -> float:
    """Return the largest load, requests/s, that a pair serves within both objectives; 0 where one cannot be met."""
    return min(model.largest_load(pair[pool]) if model.attainable else 0.0 for pool, model in models.items())


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


def _digits(model: PoolModel) -> int:
    """Return how many digits tell an unattainable target from what one request alone takes: at least three."""
    target_s, alone_s = (0.0 if model.target is None else model.target.target_s), model.idle_s
    apart = (digits for digits in range(3, 9) if format_duration(target_s, digits) != format_duration(alone_s, digits))
    return next(apart, 9)


def _statistic(model: PoolModel) -> str:
    return f" ({model.statistic})" if model.statistic is not Statistic.MEAN else ""
