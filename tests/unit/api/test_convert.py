"""From the resource to the core's values, and the annotations."""

from typing import Any

import pytest

from pdscaler.api.annotations import PAUSED, PAUSED_SCALE_DOWN, PAUSED_SCALE_UP, paused_of
from pdscaler.api.convert import to_scaling_spec
from pdscaler.api.parse import parse_pddeployment
from pdscaler.core.decision import Paused
from pdscaler.core.pools import PerPool
from pdscaler.core.profile import DecodePoint, MaxThroughput, Overhead, PrefillPoint
from pdscaler.core.slo import LatencyTarget, Slo, Statistic
from pdscaler.core.spec import (
    Behavior,
    Constraints,
    Fallback,
    FallbackBehavior,
    PolicyType,
    Ratio,
    ScalingPolicy,
    ScalingRules,
    ScalingSpec,
    SelectPolicy,
    SizingModel,
)
from support.documents import DELETED, changed, pddeployment


def converted(changes: dict[str, Any]) -> ScalingSpec:
    return to_scaling_spec(parse_pddeployment(changed(pddeployment(), changes)))


def test_defaults() -> None:
    spec = converted({})
    sizing = spec.sizing
    assert sizing.name == "llama"
    assert sizing.slo == Slo(LatencyTarget(0.3, Statistic.P95), LatencyTarget(0.03, Statistic.MEAN))
    assert sizing.prefill_profile.points == (PrefillPoint(1117, 0.038494), PrefillPoint(3151, 0.063215))
    assert sizing.prefill_profile.max_throughput is None
    assert sizing.prefill_profile.max_batched_tokens == 8192
    assert sizing.decode_profile.points == (DecodePoint(3000, 1, 0.0044), DecodePoint(3000, 97, 0.0155))
    assert (sizing.decode_profile.max_batch, sizing.decode_profile.kv_capacity_tokens) == (256, 945029)
    assert sizing.limits.map(lambda pool: (pool.min_replicas, pool.max_replicas)) == PerPool((1, 8), (1, 12))
    assert sizing.limits.prefill.startup_s == 180.0
    assert sizing.limits.prefill.behavior == Behavior()
    assert sizing.constraints == Constraints()
    assert (sizing.model, sizing.decode_derate) == (SizingModel.AUTO, 1.0)
    assert spec.fallback == Fallback()
    assert spec.calibrate
    assert not converted({"spec.sizing": {"calibration": "Off"}}).calibrate
    assert spec.window_s == 180.0
    assert hash(spec) == hash(converted({})), "the core caches by it"


def test_what_is_stated() -> None:
    spec = converted(
        {
            "spec.slo": {"tpot": {"target": "20ms", "statistic": "P99"}},
            "spec.prefill.profile": {
                "maxThroughput": {"inputTokens": 6144, "tokensPerSecond": 28300},
                "maxBatchedTokens": 16384,
                "overhead": {"fixed": "100ms", "perThousandTokens": "2ms"},
            },
            "spec.decode.profile.kvCapacityTokens": DELETED,
            "spec.constraints": {"maxGPUs": 16, "ratio": {"max": {"prefill": 2, "decode": 1}}},
            "spec.sizing": {"model": "PaperMM1", "decodeDerate": 0.905},
            "spec.fallback": {"behavior": "Static", "failureThreshold": 5, "replicas": {"prefill": 4, "decode": 5}},
            "spec.metrics.window": "30s",
            "spec.prefill.startup": "2m30s",
            "spec.prefill.gpusPerReplica": 1,
        }
    )
    sizing = spec.sizing
    assert sizing.slo == Slo(None, LatencyTarget(0.02, Statistic.P99))
    assert sizing.prefill_profile.points == ()
    assert sizing.prefill_profile.max_throughput == MaxThroughput(6144, 28300)
    assert sizing.prefill_profile.max_batched_tokens == 16384
    assert sizing.prefill_profile.overhead == Overhead(0.1, 0.002)
    assert sizing.decode_profile.kv_capacity_tokens is None
    assert sizing.constraints == Constraints(16, None, Ratio(2, 1))
    assert (sizing.model, sizing.decode_derate) == (SizingModel.PAPER_MM1, 0.905)
    assert sizing.limits.prefill.startup_s == 150.0
    assert spec.fallback == Fallback(FallbackBehavior.STATIC, 5, PerPool(4, 5))
    assert spec.window_s == 30.0


def test_behavior_of_a_pool_overrides_field_by_field() -> None:
    spec = converted(
        {
            "spec.behavior": {
                "scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}], "selectPolicy": "Min"},
                "scaleDown": {"stabilizationWindowSeconds": 60, "tolerance": 0.1},
            },
            "spec.decode.behavior": {
                "scaleUp": {"policies": []},
                "scaleDown": {"tolerance": 0.0, "selectPolicy": "Disabled"},
            },
        }
    )
    assert spec.sizing.limits.prefill.behavior == Behavior(
        scale_up=ScalingRules(0.0, (ScalingPolicy(PolicyType.PODS, 4, 60.0),), SelectPolicy.MIN),
        scale_down=ScalingRules(60.0, tolerance=0.1),
    )
    assert spec.sizing.limits.decode.behavior == Behavior(
        scale_up=ScalingRules(0.0, (), SelectPolicy.MIN),
        scale_down=ScalingRules(60.0, (), SelectPolicy.DISABLED, tolerance=0.0),
    )


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, Paused()),
        ({PAUSED: "true"}, Paused(scale_up=True, scale_down=True)),
        ({PAUSED: "True "}, Paused(scale_up=True, scale_down=True)),
        ({PAUSED: ""}, Paused(scale_up=True, scale_down=True)),
        ({PAUSED: "yes"}, Paused(scale_up=True, scale_down=True)),
        ({PAUSED: "false"}, Paused()),
        ({PAUSED: "0"}, Paused()),
        ({PAUSED_SCALE_UP: "true"}, Paused(scale_up=True)),
        ({PAUSED_SCALE_DOWN: "true"}, Paused(scale_down=True)),
        ({PAUSED: "false", PAUSED_SCALE_DOWN: "true"}, Paused(scale_down=True)),
        ({"example.com/paused": "true"}, Paused()),
    ],
)
def test_pause_annotations(annotations: dict[str, str], expected: Paused) -> None:
    assert paused_of(annotations) == expected
