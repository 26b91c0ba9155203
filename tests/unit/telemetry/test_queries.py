import pytest

from pdscaler.telemetry.presets import Quantity, load_presets
from pdscaler.telemetry.queries import Kind, build_queries, can_wait

PRESETS = load_presets(None)


def text(preset: str, quantity: Quantity, kind: Kind, *labels: str) -> str:
    queries = build_queries(PRESETS[preset], 180.0, 1000.0, labels, frozenset({Quantity.TTFT}))
    return next(query.text for query in queries if query.key == (quantity, kind))


def test_a_counter() -> None:
    assert text("VLLM", Quantity.COMPLETIONS, Kind.RATE).startswith(
        "label_replace(sum by (namespace, pod, model_name, job) (rate(vllm:request_success_total[180000ms])), "
        '"pdscaler_series", "vllm:request_success_total/rate", "", "") or label_replace('
    )


def test_a_histogram() -> None:
    mean = text("VLLM", Quantity.OSL, Kind.MEAN)
    assert "rate(vllm:request_generation_tokens_sum[180000ms])" in mean
    assert "rate(vllm:request_generation_tokens_count[180000ms])" in mean
    buckets = text("VLLM", Quantity.OSL, Kind.BUCKETS)
    assert "by (namespace, pod, model_name, job, le) (rate(vllm:request_generation_tokens_bucket[" in buckets


def test_gauges() -> None:
    assert "sum by (namespace, pod, model_name, job) (vllm:num_requests_waiting)" in text(
        "VLLM", Quantity.WAITING, Kind.NOW
    )
    assert "delta(vllm:num_requests_waiting[180000ms])" in text("VLLM", Quantity.WAITING, Kind.GROWTH)
    assert text("VLLM", Quantity.KV_USAGE, Kind.NOW).startswith("label_replace(avg by (")


def test_freshness_looks_behind_the_window() -> None:
    samples = text("LLMD", Quantity.ARRIVALS, Kind.SAMPLES)
    assert "max_over_time(timestamp(llm_d_epp_request_total)[300000ms:15000ms])" in samples
    assert "min_over_time((timestamp(llm_d_epp_request_total) >= 820.000)[180000ms:5000ms])" in samples
    assert "count_over_time(llm_d_epp_request_total[180000ms])" in samples


def test_excluded_label_values() -> None:
    assert 'llm_d_epp_request_ttft_seconds_sum{streaming!="false"}[' in text("LLMD", Quantity.TTFT, Kind.MEAN)


def test_further_labels_are_grouped_by_once() -> None:
    query = text("VLLM", Quantity.COMPLETIONS, Kind.RATE, "role", "pod", "a")
    assert "by (namespace, pod, model_name, job, a, role)" in query


@pytest.mark.parametrize("labels", [(), ("role",), ("a", "b", "c")])
def test_the_number_depends_on_the_preset_only(labels: tuple[str, ...]) -> None:
    nothing: frozenset[Quantity] = frozenset()
    assert len(build_queries(PRESETS["VLLM"], 180.0, 0.0, labels, nothing)) == 16
    both = frozenset({Quantity.TTFT, Quantity.TPOT})
    assert len(build_queries(PRESETS["VLLM"], 60.0, 0.0, labels, both)) == 18


def test_engines_behind_a_front_door_are_asked_when_they_spoke_last() -> None:
    spoken_for = PRESETS["LLMD"].said_at_front_door
    queries = build_queries(PRESETS["VLLM"], 180.0, 1000.0, (), frozenset(), spoken_for=spoken_for)
    last = {query.quantity: query.text for query in queries if query.kind is Kind.LAST}
    assert set(last) == {Quantity.COMPLETIONS, Quantity.ISL, Quantity.OSL}
    assert "timestamp(vllm:request_success_total)" in last[Quantity.COMPLETIONS]
    assert "count_over_time" not in "".join(last.values())
    waiting = {query.quantity for query in queries if can_wait(*query.key, spoken_for)}
    assert waiting == {Quantity.COMPLETIONS, Quantity.ISL, Quantity.OSL, Quantity.TTFT, Quantity.TPOT, Quantity.WAITING}


def test_queries_fit_into_an_address() -> None:
    for preset in PRESETS.values():
        for query in build_queries(preset, 180.0, 1.7e9, (), frozenset(Quantity)):
            assert len(query.text) < 4000
