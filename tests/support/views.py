"""PDDeployments as the API server would return them, with a status, for tests of what the command line shows."""

import copy
from typing import Any

_LONG_AGO = "2026-11-21T12:00:00Z"
_CONDITIONS = [
    ("Ready", "True", "Evaluated", "The spec is valid."),
    ("Stalled", "False", "SpecValid", ""),
    ("MetricsAvailable", "True", "MetricsFound", ""),
    ("ScalingActive", "True", "ScalingEnabled", ""),
    ("AbleToScale", "True", "ReadyForNewScale", ""),
    ("ScalingLimited", "True", "MaxGPUs", "decode 4 instead of 5: MaxGPUs."),
    ("SLOAttainable", "True", "SLOAttainable", ""),
    ("FallbackActive", "False", "MetricsDecide", ""),
    ("CapacityPending", "False", "Starting", "prefill 3 of 4 ready."),
]

_SPEC: dict[str, Any] = {
    "mode": "Auto",
    "model": "deepseek-v3.1",
    "slo": {"ttft": {"target": "2s", "statistic": "Mean"}, "tpot": {"target": "20ms", "statistic": "P95"}},
    "prefill": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "p"},
        "maxReplicas": 16,
        "gpusPerReplica": 8,
        "profile": {"maxThroughput": {"inputTokens": 6144, "tokensPerSecond": 28300}},
    },
    "decode": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
        "maxReplicas": 32,
        "gpusPerReplica": 8,
        "profile": {
            "points": [
                {"contextTokens": 6400, "batch": 10, "tpot": "12.8ms"},
                {"contextTokens": 6400, "batch": 60, "tpot": "26.2ms"},
            ]
        },
    },
    "constraints": {"maxGPUs": 64, "ratio": {"min": {"prefill": 1, "decode": 4}}},
}

_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "summary": {
        "prefill": "3→4",
        "decode": "4",
        "rate": "12.5/s",
        "ttft": "1.62s/2s",
        "tpot": "10ms–25ms/20ms",
        "state": "ScalingUp",
        "limitedBy": "MaxGPUs",
        "forecast": "13.4/s",
        "gpus": "64/64",
        "lastChange": "2026-11-21T12:02:15Z",
    },
    "prefill": {
        "current": 4,
        "ready": 3,
        "required": 3.31,
        "recommended": 4,
        "desired": 4,
        "utilization": 0.83,
        "binding": "TTFT",
        "reason": "12.5 requests/s need 3.31 replicas; TTFT at 3 would be 2.3s",
    },
    "decode": {
        "current": 4,
        "ready": 4,
        "required": 4.12,
        "recommended": 5,
        "desired": 4,
        "utilization": 1.03,
        "binding": "TPOT",
        "limitedBy": ["MaxGPUs"],
        "reason": "12.5 requests/s need 4.12 replicas",
    },
    "workload": {
        "arrivalRate": 12.5,
        "arrivalSource": "FrontDoor",
        "inputTokens": {"mean": 6140, "scv": 0.9},
        "outputTokens": {"mean": 512, "scv": 0.6},
        "prefixHitRatio": 0.1,
        "window": "3m",
        "observedAt": "2026-11-21T12:02:10Z",
        "alternatives": {"arrivals": "llm_d_epp_request_total"},
    },
    "forecast": {
        "method": "HoltWinters",
        "horizon": "195s",
        "quantile": 0.98,
        "rate": 13.4,
        "expectedRate": 12.6,
        "inputTokens": {"mean": 6140, "scv": 0.9},
        "outputTokens": {"mean": 512, "scv": 0.6},
        "reason": "13.4 requests/s hold 98 % of the peaks of the next 195 s by HoltWinters",
    },
    "observed": {
        "ttft": "1.62s",
        "tpot": "10ms–25ms",
        "prefill": {"waiting": 3, "running": 4, "kvUsage": 0.2},
        "decode": {"waiting": 0, "running": 130},
    },
    "prediction": {"ttft": {"mean": "1.04s", "p95": "3.1s"}, "tpot": {"mean": "18ms", "p95": "20.4ms"}},
    "limitedBy": ["MaxGPUs"],
    "decisions": [
        {
            "time": "2026-11-21T12:02:15Z",
            "prefill": {"from": 3, "to": 4, "reason": "12.5 requests/s need 3.31 replicas"},
            "decode": {"from": 4, "to": 4, "reason": "12.5 requests/s need 4.12 replicas"},
            "arrivalRate": 12.5,
            "expectedRate": 13.4,
            "expectedBy": "2026-11-21T12:05:30Z",
            "expectedFrom": "P98, HoltWinters",
            "inputTokens": 6140,
            "outputTokens": 512,
        },
        {
            "time": "2026-11-20T11:41:00Z",
            "prefill": {"from": 4, "to": 3, "reason": "lower for 5m"},
            "decode": {"from": 5, "to": 4, "reason": "lower for 5m"},
            "arrivalRate": 11.1,
        },
    ],
}


def pddeployment_document(name: str = "deepseek-v31", **changes: Any) -> dict[str, Any]:
    """Return a PDDeployment that is scaling up; ``changes`` replace top-level parts of its status."""
    conditions = [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": _LONG_AGO,
        }
        for kind, status, reason, message in _CONDITIONS
    ]
    return {
        "apiVersion": "pdscaler.io/v1alpha1",
        "kind": "PDDeployment",
        "metadata": {"name": name, "namespace": "serving", "generation": 1, "annotations": {}},
        "spec": copy.deepcopy(_SPEC),
        "status": {**copy.deepcopy(_STATUS), "conditions": conditions, **changes},
    }


def without_status(name: str = "new") -> dict[str, Any]:
    """Return a PDDeployment that no operator has looked at."""
    document = pddeployment_document(name)
    del document["status"]
    return document
