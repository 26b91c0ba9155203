"""Expositions: what a scraper reads, and that it is what vLLM and llm-d would say of the same requests."""

from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pdscaler.core.emulation import Admitted, Completion, Emulation, Prefilled, Request
from pdscaler.core.pools import Pool
from pdscaler.core.profile import Overhead
from pdscaler.simulator.exposition import EngineMetrics, FrontDoorMetrics
from pdscaler.simulator.histograms import VLLM_TOKENS, VLLM_TPOT_S, VLLM_TTFT_S, Histogram
from support.emulation import deployment, level, prefill, submit

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: bytes) -> tuple[dict[str, str], Series]:
    """Types of the families, and values by (sample name, labels)."""
    families = list(text_string_to_metric_families(text.decode()))
    series = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
    return {family.name: family.type for family in families}, series


def value(series: Series, name: str, labels: Mapping[str, str], **more: str) -> float:
    return series[name, tuple(sorted({**labels, **more}.items()))]


VLLM = {"model_name": "m", "engine": "0"}
EPP = {"model_name": "m", "target_model_name": "m"}


def play(capacity: float | None = 10_000) -> tuple[Emulation, dict[str, EngineMetrics], FrontDoorMetrics]:
    """Three requests through one replica of each pool: 500 ms, 10 ms a token, one decode slot."""
    emulation = deployment(prefill(overhead=Overhead(0.1)), level(0.01, max_batch=1, kv_capacity_tokens=capacity))
    engines = {name: EngineMetrics("m", capacity) for name in ("p0", "d0")}
    front_door = FrontDoorMetrics("m")
    submit(emulation, (0.0, 500, 101), (0.1, 600, 51))
    emulation.submit(Request(2, 0.2, 300, 1, prefix_hit_tokens=100))
    for request in (Request(0, 0.0, 500, 101), Request(1, 0.1, 600, 51), Request(2, 0.2, 300, 1, 100)):
        front_door.arrived(request)
    return emulation, engines, front_door


def advance(emulation: Emulation, engines: dict[str, EngineMetrics], front_door: FrontDoorMetrics, to_s: float) -> None:
    for event in emulation.advance(to_s):
        if isinstance(event, Prefilled):
            engines[event.replica].prefilled(event)
            front_door.prefilled(event)
        elif isinstance(event, Admitted):
            engines[event.replica].admitted(event)
        elif isinstance(event, Completion):
            front_door.completed(event)
            if event.decode_replica is not None:
                engines[event.decode_replica].completed(event)
    for pool in Pool:
        for state in emulation.replicas(pool):
            engines[state.name].see(state)


def test_a_prefill_engine_sees_one_token_of_each_request() -> None:
    emulation, engines, front_door = play()
    advance(emulation, engines, front_door, 20.0)
    _, series = parsed(engines["p0"].render())
    assert value(series, "vllm:request_success_total", VLLM, finished_reason="length") == 3
    assert value(series, "vllm:request_success_total", VLLM, finished_reason="stop") == 0
    assert value(series, "vllm:request_prompt_tokens_sum", VLLM) == 1400
    assert value(series, "vllm:request_prompt_tokens_count", VLLM) == 3
    assert value(series, "vllm:request_generation_tokens_sum", VLLM) == 3
    assert value(series, "vllm:generation_tokens_total", VLLM) == 3
    assert value(series, "vllm:prompt_tokens_total", VLLM) == 1400
    assert value(series, "vllm:prefix_cache_queries_total", VLLM) == 1400
    assert value(series, "vllm:prefix_cache_hits_total", VLLM) == 100
    # Passes: 0 to 0.5, then 600 + 200 to 1.3: TTFT 0.5, 1.2, 1.1 without the overhead, which is not the engine's.
    assert value(series, "vllm:time_to_first_token_seconds_sum", VLLM) == pytest.approx(2.8)
    assert value(series, "vllm:request_queue_time_seconds_sum", VLLM) == pytest.approx(0.4 + 0.3)
    assert value(series, "vllm:request_time_per_output_token_seconds_count", VLLM) == 0


def test_a_decode_engine_starts_after_prefill() -> None:
    emulation, engines, front_door = play()
    advance(emulation, engines, front_door, 20.0)
    _, series = parsed(engines["d0"].render())
    assert value(series, "vllm:request_success_total", VLLM, finished_reason="stop") == 2
    assert value(series, "vllm:request_prompt_tokens_sum", VLLM) == 1100
    assert value(series, "vllm:request_generation_tokens_sum", VLLM) == 152
    assert value(series, "vllm:generation_tokens_total", VLLM) == 152
    # The first arrives at 0.6 and runs to 1.6; the second arrives at 1.4 and waits 0.2 s for the slot.
    assert value(series, "vllm:time_to_first_token_seconds_sum", VLLM) == pytest.approx(0.2)
    assert value(series, "vllm:request_queue_time_seconds_sum", VLLM) == pytest.approx(0.2)
    assert value(series, "vllm:e2e_request_latency_seconds_sum", VLLM) == pytest.approx(1.0 + 0.7)
    assert value(series, "vllm:request_time_per_output_token_seconds_sum", VLLM) == pytest.approx(0.02)
    assert value(series, "vllm:request_time_per_output_token_seconds_count", VLLM) == 2
    assert value(series, "vllm:inter_token_latency_seconds_count", VLLM) == 150
    assert value(series, "vllm:inter_token_latency_seconds_sum", VLLM) == pytest.approx(1.5)


def test_gauges_and_live_tokens() -> None:
    emulation, engines, front_door = play()
    advance(emulation, engines, front_door, 1.5)
    _, series = parsed(engines["d0"].render())
    assert value(series, "vllm:num_requests_running", VLLM) == 1
    assert value(series, "vllm:num_requests_waiting", VLLM) == 1
    assert value(series, "vllm:kv_cache_usage_perc", VLLM) == pytest.approx((500 + 90) / 10_000)
    assert value(series, "vllm:generation_tokens_total", VLLM) in {90, 91}  # the first token and 90 more, cut
    assert value(series, "vllm:cache_config_info", {"engine": "0", "block_size": "16", "num_gpu_blocks": "625"}) == 1


def test_tokens_never_run_backwards() -> None:
    emulation, engines, front_door = play()
    seen = []
    for tenth in range(30):
        advance(emulation, engines, front_door, tenth / 10)
        _, series = parsed(engines["d0"].render())
        seen.append(value(series, "vllm:generation_tokens_total", VLLM))
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == 152


def test_unknown_memory_is_absent() -> None:
    emulation, engines, front_door = play(capacity=None)
    advance(emulation, engines, front_door, 1.5)
    types, _ = parsed(engines["d0"].render())
    assert "vllm:kv_cache_usage_perc" not in types
    assert "vllm:cache_config_info" not in types


def test_vllm_names_and_types() -> None:
    emulation, engines, front_door = play()
    advance(emulation, engines, front_door, 1.5)
    types, _ = parsed(engines["d0"].render())
    assert types == {
        "vllm:num_requests_running": "gauge",
        "vllm:num_requests_waiting": "gauge",
        "vllm:kv_cache_usage_perc": "gauge",
        "vllm:cache_config_info": "gauge",
        "vllm:prompt_tokens": "counter",
        "vllm:generation_tokens": "counter",
        "vllm:prefix_cache_queries": "counter",
        "vllm:prefix_cache_hits": "counter",
        "vllm:request_success": "counter",
        "vllm:request_prompt_tokens": "histogram",
        "vllm:request_generation_tokens": "histogram",
        "vllm:time_to_first_token_seconds": "histogram",
        "vllm:inter_token_latency_seconds": "histogram",
        "vllm:request_time_per_output_token_seconds": "histogram",
        "vllm:e2e_request_latency_seconds": "histogram",
        "vllm:request_queue_time_seconds": "histogram",
    }
    assert b"_created" not in engines["d0"].render()


def bounds(series: Series, name: str) -> list[float]:
    found = [float(dict(labels)["le"]) for sample, labels in series if sample == f"{name}_bucket"]
    assert found == sorted(found)
    assert found[-1] == float("inf")
    return found[:-1]


def test_vllm_bucket_bounds() -> None:
    _, series = parsed(EngineMetrics("m", None).render())
    assert bounds(series, "vllm:request_prompt_tokens")[:7] == [1, 2, 5, 10, 20, 50, 100]
    assert bounds(series, "vllm:request_prompt_tokens")[-1] == 100_000
    assert bounds(series, "vllm:time_to_first_token_seconds") == list(VLLM_TTFT_S)
    assert (VLLM_TTFT_S[0], VLLM_TTFT_S[-1], len(VLLM_TTFT_S)) == (0.001, 2560.0, 22)
    assert bounds(series, "vllm:request_time_per_output_token_seconds") == list(VLLM_TPOT_S)
    assert (VLLM_TPOT_S[:3], VLLM_TPOT_S[-1], len(VLLM_TPOT_S)) == ((0.01, 0.025, 0.05), 80.0, 19)
    assert bounds(series, "vllm:request_generation_tokens") == list(VLLM_TOKENS)


def test_the_front_door_counts_at_arrival_and_end_to_end() -> None:
    emulation, engines, front_door = play()
    types, series = parsed(front_door.render())
    assert value(series, "llm_d_epp_request_total", EPP) == 3
    assert value(series, "llm_d_epp_request_input_tokens_sum", EPP) == 1400
    assert value(series, "llm_d_epp_request_cached_tokens_sum", EPP) == 100
    assert value(series, "llm_d_epp_request_output_tokens_count", EPP) == 0
    advance(emulation, engines, front_door, 20.0)
    front_door.see(running=5, held=7)
    types, series = parsed(front_door.render())
    assert value(series, "llm_d_epp_request_ttft_seconds_sum", EPP) == pytest.approx(0.6 + 1.3 + 1.2)
    # The wait for a decode slot counts in TPOT; the answer of one token has none.
    assert value(series, "llm_d_epp_request_streaming_tpot_seconds_sum", EPP) == pytest.approx(0.01 + 0.7 / 50)
    assert value(series, "llm_d_epp_request_streaming_tpot_seconds_count", EPP) == 2
    assert value(series, "llm_d_epp_request_output_tokens_sum", EPP) == 153
    assert value(series, "llm_d_epp_request_running", EPP) == 5
    held = {"fairness_id": "default", "priority": "0", "inference_pool": ""}
    assert value(series, "llm_d_epp_flow_control_queue_size", {**EPP, **held}) == 7
    assert types["llm_d_epp_request"] == "counter"
    assert types["llm_d_epp_request_ttft_seconds"] == "histogram"


def test_histogram_buckets_are_cumulative_and_closed_above() -> None:
    histogram = Histogram((1.0, 2.0, 5.0))
    for observed in (0.5, 1.0, 1.5, 2.0, 7.0):
        histogram.observe(observed)
    histogram.observe(4.0, times=10)
    assert histogram.buckets() == [("1.0", 2), ("2.0", 4), ("5.0", 14), ("+Inf", 15)]
    assert (histogram.count, histogram.sum) == (15, 52.0)


def test_model_names_are_escaped() -> None:
    _, series = parsed(EngineMetrics('a"b\\c\nd', None).render())
    assert value(series, "vllm:prompt_tokens_total", {"model_name": 'a"b\\c\nd', "engine": "0"}) == 0
