"""PDDeployment documents for tests: a valid one, and the table of what is wrong with an invalid one."""

import copy
from dataclasses import dataclass
from typing import Any

DELETED = object()
"""As a value in ``changed``: take the field away."""


def pddeployment(name: str = "llama", namespace: str = "serving") -> dict[str, Any]:
    """Return a valid PDDeployment that states little."""
    return {
        "apiVersion": "pdscaler.io/v1alpha1",
        "kind": "PDDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": "llama-3.1-8b",
            "slo": {"ttft": {"target": "300ms", "statistic": "P95"}, "tpot": {"target": "30ms"}},
            "prefill": {
                "scaleTargetRef": {"name": "llama-prefill"},
                "maxReplicas": 8,
                "profile": {
                    "points": [
                        {"inputTokens": 1117, "latency": "38.494ms"},
                        {"inputTokens": 3151, "latency": "63.215ms"},
                    ]
                },
            },
            "decode": {
                "scaleTargetRef": {"name": "llama-decode"},
                "maxReplicas": 12,
                "profile": {
                    "points": [
                        {"contextTokens": 3000, "batch": 1, "tpot": "4.4ms"},
                        {"contextTokens": 3000, "batch": 97, "tpot": "15.5ms"},
                    ],
                    "kvCapacityTokens": 945029,
                },
            },
        },
    }


def changed(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with other values at paths such as ``spec.prefill.profile.points.0.latency``."""
    result = copy.deepcopy(document)
    for path, value in changes.items():
        *parents, last = path.split(".")
        holder: Any = result
        for part in parents:
            holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
        if value is DELETED:
            del holder[last]
        elif isinstance(holder, list):
            holder[int(last)] = value
        else:
            holder[last] = value
    return result


@dataclass(frozen=True)
class Invalid:
    """One way to be wrong.

    Parameters
    ----------
    name
        What is wrong, in a word.
    changes
        What to change in a valid document.
    field
        Field that the error must name.
    words
        What the error must say.
    server
        What the API server must say instead of field and words; None: the same field and words; empty: it accepts the
        document, and only the operator refuses it.
    yet
        Whether it is a value that is not supported yet.
    """

    name: str
    changes: dict[str, Any]
    field: str
    words: str
    server: tuple[str, ...] | None = None
    yet: bool = False

    @property
    def document(self) -> dict[str, Any]:
        """The whole invalid document."""
        return changed(pddeployment(), self.changes)

    @property
    def server_words(self) -> tuple[str, ...]:
        """What the API server must say; empty where it accepts the document."""
        return (self.field, self.words) if self.server is None else self.server


_RATIO = {"min": {"prefill": 1, "decode": 4}, "max": {"prefill": 2, "decode": 1}}
_PREFILL = "spec.prefill"
_DECODE = "spec.decode"
_POINTS = "spec.prefill.profile.points"


def _required(path: str) -> tuple[str, ...]:
    return (path, "Required value")


def _too_large(path: str, limit: int) -> tuple[str, ...]:
    return (path, f"should be less than or equal to {limit}")


INVALID: tuple[Invalid, ...] = (
    # what must be there
    Invalid("no model", {"spec.model": DELETED}, "spec.model", "is required", _required("spec.model")),
    Invalid(
        "empty model", {"spec.model": ""}, "spec.model", "must not be empty", ("spec.model", "at least 1 chars long")
    ),
    Invalid("no slo", {"spec.slo": DELETED}, "spec.slo", "is required", _required("spec.slo")),
    Invalid("empty slo", {"spec.slo": {}}, "spec.slo", "at least one of ttft and tpot is needed"),
    Invalid("no prefill", {_PREFILL: DELETED}, _PREFILL, "is required", _required(_PREFILL)),
    Invalid(
        "no maximum",
        {"spec.decode.maxReplicas": DELETED},
        "spec.decode.maxReplicas",
        "is required",
        _required("spec.decode.maxReplicas"),
    ),
    Invalid(
        "no target name",
        {"spec.prefill.scaleTargetRef": {"kind": "Deployment"}},
        "spec.prefill.scaleTargetRef.name",
        "is required",
        _required("spec.prefill.scaleTargetRef.name"),
    ),
    # durations
    Invalid(
        "word for a duration",
        {"spec.slo.ttft.target": "fast"},
        "spec.slo.ttft.target",
        '"fast" is not a duration (write 2s, 350ms or 6500us)',
        ("spec.slo.ttft.target", 'Invalid value: "fast"'),
    ),
    Invalid(
        "zero target", {"spec.slo.tpot.target": "0s"}, "spec.slo.tpot.target", "must be more than 0s and at most 1h"
    ),
    Invalid("zero without unit", {"spec.slo.tpot.target": "0"}, "spec.slo.tpot.target", "must be more than 0s"),
    Invalid(
        "negative target",
        {"spec.slo.ttft.target": "-2s"},
        "spec.slo.ttft.target",
        '"-2s" is not a duration',
        ("spec.slo.ttft.target", 'Invalid value: "-2s"'),
    ),
    Invalid(
        "number for a duration",
        {"spec.slo.ttft.target": 2},
        "spec.slo.ttft.target",
        "2 is not a duration",
        ("spec.slo.ttft.target", "must be of type string"),
    ),
    Invalid(
        "huge target", {"spec.slo.ttft.target": "61m"}, "spec.slo.ttft.target", "must be more than 0s and at most 1h"
    ),
    Invalid("long startup", {"spec.prefill.startup": "25h"}, "spec.prefill.startup", "at least 0s and at most 24h"),
    Invalid("no window", {"spec.metrics.window": "0s"}, "spec.metrics.window", "must be at least 1s and at most 6h"),
    Invalid("no staleness", {"spec.metrics.maxStaleness": "0s"}, "spec.metrics.maxStaleness", "must be at least 1s"),
    Invalid(
        "free prefill pass",
        {f"{_POINTS}.0.latency": "0ms"},
        "spec.prefill.profile.points[0].latency",
        "must be more than 0s",
    ),
    Invalid(
        "negative overhead",
        {"spec.prefill.profile.overhead.fixed": "-1ms"},
        "spec.prefill.profile.overhead.fixed",
        '"-1ms" is not a duration',
        ("spec.prefill.profile.overhead.fixed", 'Invalid value: "-1ms"'),
    ),
    # replicas and GPUs
    Invalid(
        "scale to zero",
        {"spec.prefill.minReplicas": 0},
        "spec.prefill.minReplicas",
        "must be at least 1: scale to zero is not offered",
    ),
    Invalid(
        "minimum above maximum",
        {"spec.decode.minReplicas": 13},
        "spec.decode.minReplicas",
        "13 is above maxReplicas 12",
        ("spec.decode.minReplicas", "minReplicas must not exceed maxReplicas"),
    ),
    Invalid(
        "negative minimum",
        {"spec.decode.minReplicas": -1},
        "spec.decode.minReplicas",
        "-1 is too small",
        ("spec.decode.minReplicas", "greater than or equal to 0"),
    ),
    Invalid(
        "too many replicas",
        {"spec.decode.maxReplicas": 1001},
        "spec.decode.maxReplicas",
        "1001 is too large (at most 1000)",
        _too_large("spec.decode.maxReplicas", 1000),
    ),
    Invalid(
        "half a replica",
        {"spec.decode.maxReplicas": 2.5},
        "spec.decode.maxReplicas",
        "expected a whole number, found 2.5",
        ("spec.decode.maxReplicas", "must be of type integer"),
    ),
    Invalid(
        "text for a number",
        {"spec.decode.maxReplicas": "12"},
        "spec.decode.maxReplicas",
        'expected a whole number, found "12"',
        ("spec.decode.maxReplicas", "must be of type integer"),
    ),
    Invalid(
        "truth for a number",
        {"spec.decode.maxReplicas": True},
        "spec.decode.maxReplicas",
        "expected a whole number, found true",
        ("spec.decode.maxReplicas", "must be of type integer"),
    ),
    Invalid(
        "no GPU",
        {"spec.decode.gpusPerReplica": 0},
        "spec.decode.gpusPerReplica",
        "0 is too small (at least 1)",
        ("spec.decode.gpusPerReplica", "greater than or equal to 1"),
    ),
    Invalid(
        "budget below the minimums",
        {"spec.constraints": {"maxGPUs": 4}, "spec.prefill.minReplicas": 2, "spec.decode.minReplicas": 3},
        "spec.constraints.maxGPUs",
        "is less than the minReplicas of both pools cost",
    ),
    Invalid(
        "budget below the cheapest pair",
        {"spec.constraints": {"maxGPUs": 3, "ratio": {"max": {"prefill": 1, "decode": 3}}}},
        "spec.constraints.maxGPUs",
        "3 is less than the cheapest pair within bounds and ratio costs (4 GPUs)",
        (),
    ),
    Invalid(
        "ratio upside down",
        {"spec.constraints": {"ratio": {"min": _RATIO["max"], "max": _RATIO["min"]}}},
        "spec.constraints.ratio",
        "min 2:1 is above max 1:4",
        ("spec.constraints.ratio", "ratio.min must not exceed ratio.max"),
    ),
    Invalid(
        "ratio out of reach",
        {"spec.constraints": {"ratio": {"max": {"prefill": 1, "decode": 20}}}},
        "spec.constraints.ratio",
        "no pair of replicas within the bounds of both pools",
    ),
    Invalid(
        "ratio out of reach below",
        {"spec.constraints": {"ratio": {"min": {"prefill": 20, "decode": 1}}}},
        "spec.constraints.ratio",
        "no pair of replicas within the bounds of both pools",
    ),
    Invalid(
        "ratio between whole numbers",
        {
            "spec.constraints": {"ratio": {"min": {"prefill": 2, "decode": 5}, "max": {"prefill": 3, "decode": 7}}},
            "spec.prefill.maxReplicas": 1,
            "spec.decode.maxReplicas": 12,
        },
        "spec.constraints.ratio",
        "no pair of replicas within the bounds of both pools",
        (),
    ),
    Invalid(
        "ratio with zero",
        {"spec.constraints": {"ratio": {"min": {"prefill": 0, "decode": 1}}}},
        "spec.constraints.ratio.min.prefill",
        "0 is too small (at least 1)",
        ("spec.constraints.ratio.min.prefill", "greater than or equal to 1"),
    ),
    Invalid(
        "one target twice",
        {"spec.decode.scaleTargetRef": {"name": "llama-prefill"}},
        "spec.decode.scaleTargetRef",
        "prefill and decode must scale different targets",
    ),
    Invalid(
        "one target in two versions",
        {"spec.decode.scaleTargetRef": {"name": "llama-prefill", "apiVersion": "apps/v1beta2"}},
        "spec.decode.scaleTargetRef",
        "prefill and decode must scale different targets",
    ),
    Invalid(
        "a name that is none",
        {"spec.decode.scaleTargetRef.name": "Llama_Decode"},
        "spec.decode.scaleTargetRef.name",
        "has a form that is not allowed here",
        ("spec.decode.scaleTargetRef.name", "should match"),
    ),
    # profiles
    Invalid(
        "no profile source",
        {f"{_POINTS}": DELETED},
        "spec.prefill.profile",
        "exactly one of maxThroughput, points and profileRef is needed",
    ),
    Invalid(
        "two profile sources",
        {"spec.prefill.profile.maxThroughput": {"inputTokens": 6144, "tokensPerSecond": 28300}},
        "spec.prefill.profile",
        "exactly one of maxThroughput, points and profileRef is needed",
    ),
    Invalid(
        "throughput of zero",
        {
            f"{_POINTS}": DELETED,
            "spec.prefill.profile.maxThroughput": {"inputTokens": 6144, "tokensPerSecond": 0},
        },
        "spec.prefill.profile.maxThroughput.tokensPerSecond",
        "0 is too small (more than 0)",
        ("spec.prefill.profile.maxThroughput.tokensPerSecond", "greater than 0"),
    ),
    Invalid(
        "one point",
        {f"{_POINTS}": [{"inputTokens": 1117, "latency": "38ms"}]},
        _POINTS,
        "needs at least 2 entries",
        (_POINTS, "should have at least 2 items"),
    ),
    Invalid(
        "a point twice",
        {f"{_POINTS}.1.inputTokens": 1117},
        "spec.prefill.profile.points[1]",
        "inputTokens 1117 stands twice",
        ("spec.prefill.profile.points[1]", "Duplicate value"),
    ),
    Invalid(
        "one decode point",
        {"spec.decode.profile.points": [{"contextTokens": 3000, "batch": 1, "tpot": "4.4ms"}]},
        "spec.decode.profile.points",
        "needs at least 2 entries",
        ("spec.decode.profile.points", "should have at least 2 items"),
    ),
    Invalid(
        "a decode point twice",
        {"spec.decode.profile.points.1.batch": 1},
        "spec.decode.profile.points[1]",
        "contextTokens 3000, batch 1 stands twice",
        ("spec.decode.profile.points[1]", "Duplicate value"),
    ),
    Invalid(
        "no decode points",
        {"spec.decode.profile.points": DELETED},
        "spec.decode.profile",
        "exactly one of points and profileRef is needed",
    ),
    Invalid(
        "too many points",
        {f"{_POINTS}": [{"inputTokens": n, "latency": "1ms"} for n in range(1, 514)]},
        _POINTS,
        "has too many entries (at most 512)",
        (_POINTS, "must have at most 512 items"),
    ),
    Invalid(
        "no KV memory",
        {"spec.decode.profile.kvCapacityTokens": 0},
        "spec.decode.profile.kvCapacityTokens",
        "0 is too small (at least 1)",
        ("spec.decode.profile.kvCapacityTokens", "greater than or equal to 1"),
    ),
    # choices
    Invalid(
        "another mode",
        {"spec.mode": "DryRun"},
        "spec.mode",
        '"DryRun" is not one of Auto, RecommendOnly',
        ("spec.mode", "supported values", "RecommendOnly"),
    ),
    Invalid(
        "another statistic",
        {"spec.slo.ttft.statistic": "P42"},
        "spec.slo.ttft.statistic",
        '"P42" is not one of Mean, P50, P90, P95, P99',
        ("spec.slo.ttft.statistic", "supported values"),
    ),
    Invalid(
        "off without quotes",
        {"spec.sizing.calibration": False},
        "spec.sizing.calibration",
        'write "Off" in quotes: YAML reads a bare Off as false',
        ("spec.sizing.calibration", "must be of type string"),
    ),
    Invalid(
        "derate of zero",
        {"spec.sizing.decodeDerate": 0},
        "spec.sizing.decodeDerate",
        "0 is too small (more than 0)",
        ("spec.sizing.decodeDerate", "greater than 0"),
    ),
    # metrics
    Invalid(
        "endpoint and url",
        {"spec.metrics.prometheus": {"endpointRef": "default", "url": "http://prometheus.monitoring:9090"}},
        "spec.metrics.prometheus",
        "endpointRef and url exclude each other: keep one",
    ),
    Invalid(
        "user in the url",
        {"spec.metrics.prometheus": {"url": "http://me:secret@prometheus:9090"}},
        "spec.metrics.prometheus.url",
        "has a form that is not allowed here",
        ("spec.metrics.prometheus.url", "should match"),
    ),
    Invalid(
        "a label of the operator",
        {"spec.metrics.frontDoor": {"preset": "LLMD", "matchLabels": {"namespace": "other"}}},
        "spec.metrics.frontDoor.matchLabels.namespace",
        "the labels namespace and __name__ belong to the operator",
        ("spec.metrics.frontDoor.matchLabels", "the labels namespace and __name__ belong to the operator"),
    ),
    Invalid(
        "PromQL as a label",
        {"spec.metrics.frontDoor": {"preset": "LLMD", "matchLabels": {'a="b"} or up{x': "1"}}},
        'spec.metrics.frontDoor.matchLabels.a="b"} or up{x',
        "not a label name",
        (),
    ),
    Invalid(
        "PromQL as a pool label",
        {"spec.metrics.poolLabel": 'role="x"'},
        "spec.metrics.poolLabel",
        "has a form that is not allowed here",
        ("spec.metrics.poolLabel", "should match"),
    ),
    Invalid(
        "a line break in the model",
        {"spec.model": "a\nb"},
        "spec.model",
        "has a form that is not allowed here",
        ("spec.model", "should match"),
    ),
    # behavior
    Invalid(
        "stabilisation beyond an hour",
        {"spec.behavior": {"scaleDown": {"stabilizationWindowSeconds": 3601}}},
        "spec.behavior.scaleDown.stabilizationWindowSeconds",
        "3601 is too large (at most 3600)",
        _too_large("spec.behavior.scaleDown.stabilizationWindowSeconds", 3600),
    ),
    Invalid(
        "policy of nothing",
        {"spec.prefill.behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 60}]}}},
        "spec.prefill.behavior.scaleUp.policies[0].value",
        "0 is too small (at least 1)",
        ("spec.prefill.behavior.scaleUp.policies[0].value", "greater than or equal to 1"),
    ),
    Invalid(
        "policy over more than half an hour",
        {"spec.behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1801}]}}},
        "spec.behavior.scaleUp.policies[0].periodSeconds",
        "1801 is too large (at most 1800)",
        _too_large("spec.behavior.scaleUp.policies[0].periodSeconds", 1800),
    ),
    Invalid(
        "unknown policy",
        {"spec.behavior": {"scaleUp": {"policies": [{"type": "Nodes", "value": 1, "periodSeconds": 60}]}}},
        "spec.behavior.scaleUp.policies[0].type",
        '"Nodes" is not one of Pods, Percent',
        ("spec.behavior.scaleUp.policies[0].type", "supported values"),
    ),
    Invalid(
        "negative tolerance",
        {"spec.behavior": {"scaleUp": {"tolerance": -0.1}}},
        "spec.behavior.scaleUp.tolerance",
        "-0.1 is too small (at least 0)",
        ("spec.behavior.scaleUp.tolerance", "greater than or equal to 0"),
    ),
    # fallback
    Invalid(
        "static without replicas",
        {"spec.fallback": {"behavior": "Static"}},
        "spec.fallback.replicas",
        "is needed with behavior Static",
        ("spec.fallback.replicas", "replicas are needed with Static and HoldOrHigher"),
    ),
    Invalid(
        "fallback above the maximum",
        {"spec.fallback": {"behavior": "HoldOrHigher", "replicas": {"prefill": 9, "decode": 5}}},
        "spec.fallback.replicas.prefill",
        "must lie within minReplicas and maxReplicas of its pool",
    ),
    Invalid(
        "fallback above the budget",
        {
            "spec.constraints": {"maxGPUs": 8},
            "spec.fallback": {"behavior": "Static", "replicas": {"prefill": 4, "decode": 5}},
        },
        "spec.fallback.replicas",
        "costs 9 GPUs, more than constraints.maxGPUs 8",
        (),
    ),
    Invalid(
        "threshold of zero",
        {"spec.fallback": {"failureThreshold": 0}},
        "spec.fallback.failureThreshold",
        "0 is too small (at least 1)",
        ("spec.fallback.failureThreshold", "greater than or equal to 1"),
    ),
    # unknown fields
    Invalid(
        "unknown field",
        {"spec.prefill.maxReplica": 3},
        "spec.prefill.maxReplica",
        "is not a known field (did you mean maxReplicas?)",
        ('unknown field "spec.prefill.maxReplica"',),
    ),
    Invalid(
        "a Python name",
        {"spec.prefill.max_replicas": 3},
        "spec.prefill.max_replicas",
        "is not a known field",
        ('unknown field "spec.prefill.max_replicas"',),
    ),
    # not yet
    Invalid(
        "SGLang",
        {"spec.metrics.engine": "SGLang"},
        "spec.metrics.engine",
        "SGLang is not supported yet (available: VLLM, LLMD, or a preset that the administrator defined)",
        yet=True,
    ),
    Invalid(
        "Dynamo as a front door",
        {"spec.metrics.frontDoor": {"preset": "Dynamo"}},
        "spec.metrics.frontDoor.preset",
        "Dynamo is not supported yet (available: VLLM",
        yet=True,
    ),
    Invalid(
        "prefill profileRef",
        {f"{_POINTS}": DELETED, "spec.prefill.profile.profileRef": {"name": "h200"}},
        "spec.prefill.profile.profileRef",
        "profileRef is not supported yet (write maxThroughput or points here)",
        yet=True,
    ),
    Invalid(
        "decode profileRef",
        {"spec.decode.profile": {"profileRef": {"name": "h200"}}},
        "spec.decode.profile.profileRef",
        "profileRef is not supported yet (write points here)",
        yet=True,
    ),
)
