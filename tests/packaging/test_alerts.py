"""Alerts and dashboard: checked by the real promtool, and against the metrics that the operator really exposes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from localplane.toolset import Tools
from pdscaler.controller.gauges import FAMILIES, ResourceGauges
from pdscaler.controller.metrics import Metrics
from support.manifests import ROOT, documents, helm_template, one, run

pytestmark = pytest.mark.e2e

ALERTS = ROOT / "deploy/alerts/pdscaler.yaml"
DASHBOARD = ROOT / "deploy/dashboards/pdscaler.json"
_NAME = re.compile(r"\bpdscaler_[a-z_]+")
_SELECTOR = re.compile(r"(pdscaler_[a-z_]+)\{([^}]*)\}")


def exposed() -> dict[str, tuple[str, ...]]:
    """Return each series name that the operator may expose, with its labels."""
    found: dict[str, tuple[str, ...]] = {family.name: ("namespace", "name", *family.labels) for family in FAMILIES}
    for collector in list(Metrics().registry._collector_to_names):
        if isinstance(collector, ResourceGauges):
            continue
        for name in _series(collector):
            found[name] = tuple(getattr(collector, "_labelnames", ()))
    return found


def _series(collector: Any) -> list[str]:
    name = collector._name
    kind = type(collector).__name__
    if kind == "Counter":
        return [f"{name}_total"]
    return [f"{name}_{suffix}" for suffix in ("bucket", "sum", "count")] if kind == "Histogram" else [name]


def expressions() -> list[str]:
    rules = [rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    variables = [
        variable["query"]["query"]
        for variable in dashboard["templating"]["list"]
        if isinstance(variable["query"], dict)
    ]
    return [*rules, *panels, *variables]


def test_every_expression_uses_metrics_and_labels_that_exist() -> None:
    series = exposed()
    used = {name for expression in expressions() for name in _NAME.findall(expression)}
    assert used <= set(series)
    for expression in expressions():
        for name, matchers in _SELECTOR.findall(expression):
            labels = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)
            assert set(labels) <= set(series[name]), expression
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} == {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in series
    }


def test_every_alert_has_a_name_of_its_own() -> None:
    names = [rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len(names) == len(set(names))


def test_every_panel_has_a_place_of_its_own_and_a_query() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & cells, panel["title"]
        cells |= covered
        assert all(target["expr"] for target in panel["targets"])


def test_the_chart_ships_the_same_rules_and_dashboard(tools: Tools) -> None:
    values = {"metrics": {"prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}}
    objects = documents(helm_template(tools, values))
    assert one(objects, "PrometheusRule")["spec"] == yaml.safe_load(ALERTS.read_text())
    board = next(found for found in objects if found["metadata"]["name"] == "pdscaler-dashboard")
    assert json.loads(board["data"]["pdscaler.json"]) == json.loads(DASHBOARD.read_text())


def series(name: str, values: str, /, **labels: str) -> dict[str, str]:
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return {"series": f"{name}{{{inside}}}" if inside else name, "values": values}


ONE = {"namespace": "serving", "name": "llama"}
RUNNING = series("pdscaler_evaluation_duration_seconds_count", "0+4x120")
WELL = [
    RUNNING,
    series("pdscaler_leader", "1x120", pod="a"),
    series("pdscaler_leader", "0x120", pod="b"),
    *(
        series("pdscaler_replicas", "3x120", **ONE, pool="prefill", kind=kind)
        for kind in ("current", "recommended", "desired")
    ),
    series("pdscaler_slo_attainable", "1x120", **ONE),
    series("pdscaler_last_plan_timestamp_seconds", "0+60x120", **ONE),
    series("pdscaler_telemetry_failures_total", "0x120", reason="NoData"),
    series("pdscaler_overtaken_evaluations_total", "0x120"),
    series("pdscaler_scale_writes_total", "0+1x120", pool="prefill", result="written"),
]


def pools(current: int, recommended: int, desired: int) -> list[dict[str, str]]:
    counts = {"current": current, "recommended": recommended, "desired": desired}
    return [series("pdscaler_replicas", f"{n}x120", **ONE, pool="decode", kind=kind) for kind, n in counts.items()]


CASES: dict[str, tuple[list[dict[str, str]], set[str]]] = {
    "all is well": (WELL, set()),
    "no operator": ([series("up", "1x120")], {"PDScalerDown"}),
    "no PDDeployment": ([series("pdscaler_evaluation_duration_seconds_count", "0x120")], set()),
    "the loop stands still": (
        [series("pdscaler_evaluation_duration_seconds_count", "7x120"), *pools(3, 3, 3)],
        {"PDScalerNotEvaluating"},
    ),
    "everybody stands by": (
        [RUNNING, *(series("pdscaler_leader", "0x120", pod=pod) for pod in ("a", "b"))],
        {"PDScalerNoLeader"},
    ),
    "no metrics": (
        [RUNNING, series("pdscaler_telemetry_failures_total", "0+4x120", reason="NoData")],
        {"PDScalerTelemetryFailing"},
    ),
    "one that is not planned any more": (
        [RUNNING, series("pdscaler_last_plan_timestamp_seconds", "0+60x30 1800x90", **ONE)],
        {"PDScalerPlanOld"},
    ),
    "rounds that the next one overtakes": (
        [RUNNING, series("pdscaler_overtaken_evaluations_total", "0+40x120")],
        {"PDScalerRoundsTooLong"},
    ),
    "a round that was overtaken once": (
        [RUNNING, series("pdscaler_overtaken_evaluations_total", "0x85 40x35")],
        set(),
    ),
    "writes refused": (
        [RUNNING, series("pdscaler_scale_writes_total", "0+1x120", pool="decode", result="failed")],
        {"PDScalerScaleWritesFailing"},
    ),
    "objectives out of reach": (
        [RUNNING, series("pdscaler_slo_attainable", "0x120", **ONE)],
        {"PDScalerSLONotAttainable"},
    ),
    "somebody else scales": ([RUNNING, *pools(2, 3, 3)], {"PDScalerReplicasNotFollowing"}),
    "a slower engine": (
        [RUNNING, series("pdscaler_calibration_drift_ratio", "0.3x120", **ONE, pool="decode")],
        {"PDScalerProfileDrift"},
    ),
    "a faster engine": (
        [RUNNING, series("pdscaler_calibration_drift_ratio", "-0.3x120", **ONE, pool="decode")],
        {"PDScalerProfileDrift"},
    ),
    "engines about as their profile": (
        [RUNNING, series("pdscaler_calibration_drift_ratio", "0.1x120", **ONE, pool="decode")],
        set(),
    ),
    "the budget binds": ([RUNNING, *pools(3, 5, 3)], {"PDScalerHeldBelowRecommended"}),
}


@pytest.mark.parametrize(("given", "firing"), CASES.values(), ids=CASES)
def test_each_alert_fires_on_its_failure_and_on_nothing_else(
    tools: Tools, tmp_path: Path, given: list[dict[str, str]], firing: set[str]
) -> None:
    """`promtool test rules` evaluates the rules on made-up series; ALERTS holds which alerts fire at the end."""
    names = [rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert firing <= set(names)
    samples = [{"labels": f'ALERTS{{alertname="{name}",alertstate="firing"}}', "value": 1} for name in sorted(firing)]
    test = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": given,
                "promql_expr_test": [
                    {
                        "expr": 'max by (__name__, alertname, alertstate) (ALERTS{alertstate="firing"})',
                        "eval_time": "90m",
                        "exp_samples": samples,
                    }
                ],
            }
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(test))
    run(tools["promtool"], "check", "rules", ALERTS)
    run(tools["promtool"], "test", "rules", file)
