"""What status, explain and the live table show, from documents alone."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from pdscaler.cli.cluster import context_namespace, require_cluster
from pdscaler.cli.explain import explanation, explanation_document
from pdscaler.cli.live import Attainment, change_line, fingerprint, render
from pdscaler.cli.pause import paused_too, resumed, words
from pdscaler.cli.status import details, overview, status_document
from pdscaler.cli.view import view_of
from pdscaler.cli.words import BINDINGS, LIMITS, binding_words, limit_words
from pdscaler.core.decision import Binding, Limit, Paused
from pdscaler.core.pools import PerPool
from pdscaler.errors import InvalidInputError
from support.views import pddeployment_document, without_status

NOW_S = datetime(2026, 11, 21, 12, 2, 20, tzinfo=UTC).timestamp()


def text_of(renderable: RenderableType, width: int = 118) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"), force_terminal=False)  # noqa: PTH123, SIM115
    console.print(renderable)
    console.file.close()
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def live(*documents: dict[str, Any], **arguments: Any) -> str:
    return text_of(render([view_of(document) for document in documents], NOW_S, UTC, **arguments))


def test_the_live_table_shows_every_count_and_latency_with_its_target() -> None:
    shown = live(pddeployment_document()).splitlines()
    assert shown[0] == "serving/deepseek-v31  Auto, ScalingUp   12.5 requests/s × (6140 in + 512 out)   GPUs 64/64"
    assert " ".join(shown[1].split()) == "ready current needed recommended desired load latency now / target"
    assert " ".join(shown[2].split()) == "prefill 3 4 3.31 4 4 83 % TTFT 1.62s / 2s (mean)"
    assert " ".join(shown[3].split()) == "decode 4 4 4.12 5 4 103 % TPOT 10ms–25ms / 20ms (P95)"
    assert "  12:02:15  prefill 3→4: 12.5 requests/s need 3.31 replicas" in shown
    assert "  2026-11-20 11:41:00  decode 5→4: lower for 5m" in shown
    assert "  ! ScalingLimited=True, MaxGPUs: decode 4 instead of 5: MaxGPUs." in shown
    assert shown[-1] == "  metrics of 12:02:10, 10s ago"


def test_columns_of_several_pddeployments_align() -> None:
    small = pddeployment_document("b", prefill={"current": 1, "desired": 1}, decode={})
    lines = live(pddeployment_document("a"), small).splitlines()
    headers = [line for line in lines if "recommended" in line]
    assert len(headers) == 2
    assert headers[0] == headers[1]


def test_attainment_has_a_column_where_somebody_counts_it() -> None:
    share = {("serving", "deepseek-v31"): Attainment(PerPool(0.934, None))}
    lines = live(pddeployment_document(), attainments=share).splitlines()
    assert lines[1].endswith("SLO met")
    assert lines[2].endswith("93 %")
    assert lines[3].endswith("–")
    assert "SLO met" not in live(pddeployment_document())


def test_a_change_that_is_ordered_stands_beside_the_count() -> None:
    document = pddeployment_document(prefill={"current": 3, "ready": 3, "desired": 5})
    assert "5 (+2)" in live(document)


CALIBRATION = {
    "prefill": {
        "derate": 1.0,
        "overhead": "100ms",
        "drift": 0.03,
        "meanError": 0.02,
        "points": 7,
        "note": "as its profile",
    },
    "decode": {
        "derate": 0.803,
        "drift": 0.387,
        "offProfile": True,
        "meanError": 0.007,
        "priorError": 0.286,
        "points": 16,
        "lastFit": "2026-11-21T11:40:00Z",
        "note": "as corrected",
    },
}


def test_what_was_learnt_of_the_engines_is_said_by_status_explain_and_the_live_table() -> None:
    document = pddeployment_document(calibration=CALIBRATION)
    view = view_of(document)
    prefill = "prefill as its profile (error 2 %; 7 points); mean TTFT is 3 % above what its profile says"
    drift = "mean TPOT is 39 % above what its profile says"
    decode = f"decode at 80 % of its profile (error 0.7 %, was 29 %; 16 points); {drift}"
    off = f"profile of decode is off: {drift}"
    for shown in (text_of(details(view, NOW_S), 200), text_of(explanation(view, NOW_S, UTC), 200)):
        assert prefill in shown
        assert decode in shown
        assert off in shown
    assert f"  ! {off}" in live(document)
    assert off in status_document(document)["problems"]
    facts = explanation_document(view)["now"]["facts"]
    assert {"about": "engines", "text": decode} in facts


def test_what_cannot_be_learnt_says_why() -> None:
    unlearnt = {
        "prefill": {"derate": 1.0, "waiting": "a rollout is in progress"},
        "decode": {"derate": 1.0, "drift": 0.3, "meanError": 0.3, "points": 3, "note": "the operating points disagree"},
    }
    shown = text_of(explanation(view_of(pddeployment_document(calibration=unlearnt)), NOW_S, UTC), 200)
    assert "prefill: nothing learnt yet (a rollout is in progress)" in shown
    assert "above what its profile says; not corrected further: the operating points disagree" in shown


def test_the_live_table_is_no_wider_than_the_terminal() -> None:
    shown = text_of(render([view_of(pddeployment_document())], NOW_S, UTC), width=80)
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "recommended" in shown


def test_what_nobody_has_looked_at_says_so() -> None:
    shown = live(without_status())
    assert "NotSeenYet" in shown
    assert "does pdscaler run" in shown
    assert "recommended" not in shown


def test_unknown_is_a_dash_and_never_zero() -> None:
    document = pddeployment_document(prefill={}, decode={}, workload=None, observed=None, prediction=None, decisions=[])
    prefill = next(line for line in live(document).splitlines() if line.startswith("  prefill"))
    assert " ".join(prefill.split()) == "prefill – – – – – – TTFT – / 2s (mean)"


def test_an_invalid_spec_is_shown_with_the_field_and_the_rest_still_stands() -> None:
    document = pddeployment_document()
    document["spec"]["slo"]["ttft"]["target"] = "fast"
    shown = live(document)
    assert '! spec.slo.ttft.target: "fast" is not a duration' in shown
    assert "ScalingUp" in shown


def test_a_status_of_another_release_does_not_break_the_view() -> None:
    document = pddeployment_document(conditions="nonsense")
    assert "another release" in live(document)


def test_an_older_status_says_that_the_newest_spec_is_not_evaluated() -> None:
    document = pddeployment_document()
    document["metadata"]["generation"] = 2
    assert "the newest spec is not evaluated yet" in live(document)


def test_the_overview_has_one_aligned_line_each_and_the_troubles_below() -> None:
    lines = overview([view_of(pddeployment_document()), view_of(without_status())], with_namespace=True).splitlines()
    assert lines[0].split()[:5] == ["NAMESPACE", "NAME", "MODE", "PREFILL", "DECODE"]
    assert lines[1].index("ScalingUp") == lines[0].index("STATE") == lines[2].index("NotSeenYet")
    assert "serving/deepseek-v31: ScalingLimited=True, MaxGPUs: decode 4 instead of 5: MaxGPUs." in lines
    assert "NAMESPACE" not in overview([view_of(pddeployment_document())], with_namespace=False)


def test_details_say_which_metric_answered_and_what_limits() -> None:
    shown = text_of(details(view_of(pddeployment_document()), NOW_S))
    assert "arrivals: llm_d_epp_request_total" in shown
    assert "MaxGPUs: the GPU budget (constraints.maxGPUs) keeps it down" in shown
    assert "20.4ms predicted at the desired replicas, target 20ms (P95)" in shown
    assert "prefill 3 waiting, 4 running, KV memory 20 %; decode 0 waiting, 130 running, KV memory –" in shown


def test_what_happened_to_the_metrics_stands_once() -> None:
    trouble = 'arrivals matched nothing for model_name="deepseek-v3.1" in namespace "serving"; ' * 3
    pool = {"current": 4, "ready": 4, "desired": 4, "limitedBy": ["NoData"], "reason": f"NoData: {trouble}; holds 4"}
    verdicts = {
        "MetricsAvailable": ("False", "NoData", trouble),
        "ScalingLimited": ("Unknown", "NoRecommendation", "nothing to limit"),
        "SLOAttainable": ("Unknown", "NoRecommendation", "not known"),
    }
    conditions = [
        {
            "type": name,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": "2026-11-21T12:00:00Z",
        }
        for name, (status, reason, message) in verdicts.items()
    ]
    view = view_of(pddeployment_document(prefill=pool, decode=pool, conditions=conditions))
    for shown in (text_of(details(view, NOW_S)), text_of(explanation(view, NOW_S, UTC))):
        assert " ".join(shown.split()).count("matched nothing") == 3
        assert "no metrics to go by, so it holds; see MetricsAvailable" in shown
        assert "NoRecommendation" not in shown


@pytest.mark.parametrize("width", [60, 80, 118])
def test_long_lines_go_on_below_their_text_and_within_the_width(width: int) -> None:
    document = pddeployment_document()
    document["status"]["decisions"][0]["prefill"]["reason"] = "12.5 requests/s need 3.31 replicas " * 6
    view = view_of(document)
    shown = [text_of(renderable, width) for renderable in (render([view], NOW_S, UTC), explanation(view, NOW_S, UTC))]
    for text, column in zip(shown, (len("  12:02:15  "), len("  prefill   ")), strict=True):
        lines = text.splitlines()
        assert all(len(line) <= width for line in lines)
        starts = ("  12:02:15", "  prefill   12.5")
        first = next(index for index, line in enumerate(lines) if line.startswith(starts))
        assert lines[first + 1][:column].isspace()
        assert lines[first + 1][column] != " "


def test_the_machine_readable_status_names_the_problems() -> None:
    document = status_document(pddeployment_document())
    assert document["state"] == "ScalingUp"
    assert document["healthy"] is False
    assert document["problems"] == ["ScalingLimited=True, MaxGPUs: decode 4 instead of 5: MaxGPUs."]
    assert document["status"]["prefill"]["desired"] == 4
    assert document["slo"]["ttft"]["target"] == "2s"


def test_explain_answers_why_not_five() -> None:
    lines = text_of(explanation(view_of(pddeployment_document()), NOW_S, UTC)).splitlines()
    assert lines[0] == "serving/deepseek-v31: prefill stays 4, decode stays 4 (Auto, ScalingUp)"
    assert "  held      decode: the GPU budget (constraints.maxGPUs) keeps it down (MaxGPUs)" in lines
    assert "  allowed   prefill 1 to 16, decode 1 to 32, 64 GPUs (64 used), P:D at least 1:4" in lines
    assert "12:02:15  prefill 3 → 4, decode stays 4" in lines
    assert "2026-11-20 11:41:00  prefill 4 → 3, decode 5 → 4" in lines


def test_explain_as_a_document_has_the_same_sentences() -> None:
    document = explanation_document(view_of(pddeployment_document()))
    assert document["now"]["summary"] == "prefill stays 4, decode stays 4 (Auto, ScalingUp)"
    assert document["decisions"][0]["summary"] == "prefill 3 → 4, decode stays 4"
    assert document["decisions"][0]["prefill"] == {"from": 3, "to": 4, "reason": "12.5 requests/s need 3.31 replicas"}


def test_a_line_per_change_tells_only_the_news() -> None:
    before, after = pddeployment_document(), pddeployment_document()
    before["status"]["decisions"] = before["status"]["decisions"][1:]
    line = change_line(view_of(after), "12:02:15", view_of(before))
    assert line.startswith("12:02:15  serving/deepseek-v31  ScalingUp: prefill 4 (3 ready), decode 4; 12.5 requests/s")
    assert line.endswith("; prefill 3→4: 12.5 requests/s need 3.31 replicas")


def test_figures_that_move_by_themselves_are_no_change() -> None:
    before, after = pddeployment_document(), pddeployment_document()
    after["status"]["workload"]["arrivalRate"] = 12.6
    after["status"]["observed"]["ttft"] = "1.7s"
    assert fingerprint(view_of(before)) == fingerprint(view_of(after))
    after["status"]["prefill"]["ready"] = 4
    assert fingerprint(view_of(before)) != fingerprint(view_of(after))


def test_every_limit_and_binding_has_plain_words() -> None:
    assert set(LIMITS) == set(Limit)
    assert set(BINDINGS) == set(Binding)
    assert limit_words("OfAnotherRelease") == binding_words("OfAnotherRelease") == "OfAnotherRelease"


@pytest.mark.parametrize(
    ("up", "down", "annotations"),
    [
        (False, False, {"pdscaler.io/paused": "true"}),
        (True, True, {"pdscaler.io/paused": "true"}),
        (True, False, {"pdscaler.io/paused-scale-up": "true"}),
        (False, True, {"pdscaler.io/paused-scale-down": "true"}),
    ],
)
def test_pausing_sets_one_annotation(up: bool, down: bool, annotations: dict[str, str]) -> None:
    assert paused_too(up, down) == annotations


def test_resuming_one_direction_leaves_the_other_paused() -> None:
    both = Paused(scale_up=True, scale_down=True)
    assert resumed(both, True, False) == {
        "pdscaler.io/paused": None,
        "pdscaler.io/paused-scale-up": None,
        "pdscaler.io/paused-scale-down": "true",
    }
    assert set(resumed(both, False, False).values()) == {None}
    assert words(Paused()) == "scaling is active"


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: kind-pdscaler
contexts:
- name: kind-pdscaler
  context: {cluster: c, user: u, namespace: serving}
- name: other
  context: {cluster: c, user: u}
"""


def test_the_namespace_is_that_of_the_context(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(KUBECONFIG)
    assert context_namespace(str(file), None, {}) == "serving"
    assert context_namespace(None, "other", {"KUBECONFIG": str(file)}) is None
    assert context_namespace(str(tmp_path / "missing"), None, {}) is None


def test_a_missing_kubeconfig_or_context_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(KUBECONFIG)
    require_cluster(str(file), "other", {})
    with pytest.raises(InvalidInputError, match='there is no context "prod"; there: kind-pdscaler, other'):
        require_cluster(str(file), "prod", {})
    with pytest.raises(InvalidInputError, match="no cluster to ask: no kubeconfig at"):
        require_cluster(None, None, {"KUBECONFIG": str(tmp_path / "missing")})


def test_explain_and_status_say_what_load_is_expected_by_when() -> None:
    lines = text_of(explanation(view_of(pddeployment_document()), NOW_S, UTC), width=200).splitlines()
    assert (
        "  load      12.5 requests/s now, 13.4 expected by 12:05 (P98 of the forecast, HoltWinters); "
        "6140 in (scv 0.9); 512 out (scv 0.6), over 3m, counted by FrontDoor"
    ) in lines
    assert "  forecast  13.4 requests/s hold 98 % of the peaks of the next 195 s by HoltWinters" in lines
    decided = lines[lines.index("12:02:15  prefill 3 → 4, decode stays 4") + 1]
    expected = "13.4 expected by 12:05 (P98 of the forecast, HoltWinters)"
    assert decided == f"  load      12.5 requests/s now, {expected}; 6140 in, 512 out"
    facts = explanation_document(view_of(pddeployment_document()))["now"]["facts"]
    assert any("13.4 expected by 12:05" in fact["text"] for fact in facts)
    shown = text_of(details(view_of(pddeployment_document()), NOW_S), width=200)
    assert "(P98 of the forecast, HoltWinters)" in shown


def test_a_forecast_that_is_missing_says_why_and_what_waits() -> None:
    failed = {"fallback": "the forecast failed (ValueError)", "waiting": "40% of the last 5m are known"}
    shown = text_of(explanation(view_of(pddeployment_document(forecast=failed)), NOW_S, UTC))
    assert "  load      12.5 requests/s; 6140 in" in shown
    assert "  forecast  not the forecast that was asked for: the forecast failed (ValueError)" in shown
    assert "  forecast  fewer replicas wait: 40% of the last 5m are known" in shown
    odd = {"rate": 13.4, "horizon": "soon"}
    assert "12.5 requests/s now, 13.4 expected (forecast); 6140 in" in text_of(
        explanation(view_of(pddeployment_document(forecast=odd)), NOW_S, UTC)
    )
