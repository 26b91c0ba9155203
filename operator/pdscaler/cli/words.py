"""Plain words for the stable words of a status: what limits a pool, and what binds it. May import core only."""

from collections.abc import Mapping

from pdscaler.core.decision import Binding, Limit

LIMITS: Mapping[Limit, str] = {
    Limit.MIN_REPLICAS: "minReplicas keeps it up",
    Limit.MAX_REPLICAS: "maxReplicas keeps it down",
    Limit.MAX_GPUS: "the GPU budget (constraints.maxGPUs) keeps it down",
    Limit.GPUS_NOT_FREE_YET: "it waits for GPUs of the budget that replicas still hold until they are gone",
    Limit.RATIO: "the ratio of prefill to decode (constraints.ratio) moves it",
    Limit.SERVICE_TIME_EXCEEDS_SLO: "one request alone misses the target on this engine: more replicas cannot help",
    Limit.SCALE_UP_STABILIZATION: "scale-up waits for its stabilisation window",
    Limit.SCALE_DOWN_STABILIZATION: "scale-down waits until the need has been lower for the whole stabilisation window",
    Limit.SCALE_UP_POLICY: "the scale-up policies let it grow only so fast",
    Limit.SCALE_DOWN_POLICY: "the scale-down policies let it shrink only so fast",
    Limit.TOLERANCE: "the change is within the tolerance",
    Limit.PAUSED: "paused by annotation",
    Limit.TARGET_UNKNOWN: "the target cannot be read: nothing is changed",
    Limit.TARGET_AT_ZERO: "the target is at 0 replicas: taken as a deliberate stop",
    Limit.CAPACITY_PENDING: "ordered replicas are not ready yet: no more are ordered",
    Limit.PODS_TERMINATING: "replicas of the last scale-down still terminate: no further scale-down",
    Limit.ROLLOUT: "a rollout is in progress: no scale-down",
    Limit.PODS_FAILING: "its pods fail to start: no more are ordered",
    Limit.NO_DATA: "no metrics to go by, so it holds; see MetricsAvailable",
    Limit.FALLBACK: "the metrics failed for long: the fallback decides until a full fresh window has passed",
    Limit.SLO_MISSED: "its target is missed although the model says that all is well: a step more",
    Limit.SCALE_DOWN_MARGIN: "fewer would suffice only just: it shrinks once they do with a margin",
    Limit.VERIFICATION: "fewer replicas wait until a simulation has verified them, for two evaluations at most",
    Limit.FORECAST: "fewer replicas wait until the load ahead can be forecast; see its reason",
}

BINDINGS: Mapping[Binding, str] = {
    Binding.TTFT: "the TTFT target",
    Binding.TPOT: "the TPOT target",
    Binding.KV_MEMORY: "KV memory",
    Binding.BATCH_SLOTS: "batch slots (maxBatch)",
    Binding.MIN_REPLICAS: "minReplicas",
}


def limit_words(word: str) -> str:
    """Explain what limits a pool; a word of another release stays as it is."""
    try:
        return LIMITS[Limit(word)]
    except (ValueError, KeyError):
        return word


def binding_words(word: str) -> str:
    """Name what decides a pool's required count; a word of another release stays as it is."""
    try:
        return BINDINGS[Binding(word)]
    except (ValueError, KeyError):
        return word
