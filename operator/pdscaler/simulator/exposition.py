"""The Prometheus metrics of emulated engines and of the front door. May import core, prometheus_client and numpy.

Names, types, labels and bucket bounds are vLLM's and the llm-d endpoint picker's. In vLLM's disaggregated serving a
prefill engine sees every request with ``max_tokens=1``, so it counts one generated token; a decode engine sees the same
prompt again and its own time to first token starts after prefill: it is the wait for a slot.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import floor

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pdscaler.core.emulation import Admitted, Completion, Prefilled, ReplicaState, Request
from pdscaler.simulator import histograms as bounds
from pdscaler.simulator.histograms import Histogram

BLOCK_SIZE_TOKENS = 16
"""vLLM's default KV block."""

_FINISHED_REASONS = ("stop", "length", "abort")


class _Families(Collector):
    """One labelled set of metrics, collected anew at every scrape, under a registry of its own."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self) -> bytes:
        """Write the exposition (text format 0.0.4)."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Yield the metric families; see the subclasses."""
        raise AssertionError("a set of metrics says what it holds")  # pragma: no cover

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(name, text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _gauge(self, name: str, text: str, value: float, **more: str) -> Metric:
        labels = {**self._labels, **more}
        family = GaugeMetricFamily(name, text, labels=list(labels))
        family.add_metric(list(labels.values()), value)
        return family

    def _histogram(self, name: str, text: str, histogram: Histogram) -> Metric:
        family = HistogramMetricFamily(name, text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), histogram.buckets(), histogram.sum)
        return family


class EngineMetrics(_Families):
    """The exposition of one emulated vLLM engine (one pod).

    Parameters
    ----------
    model
        Value of ``model_name``.
    kv_capacity_tokens
        KV memory, tokens; None where the profile says nothing, and then the KV metrics are absent.
    """

    def __init__(self, model: str, kv_capacity_tokens: float | None) -> None:
        super().__init__({"model_name": model, "engine": "0"})
        self._kv_capacity_tokens = kv_capacity_tokens
        self._state: ReplicaState | None = None
        self._prompt = Histogram(bounds.VLLM_TOKENS)
        self._generation = Histogram(bounds.VLLM_TOKENS)
        self._ttft = Histogram(bounds.VLLM_TTFT_S)
        self._tpot = Histogram(bounds.VLLM_TPOT_S)
        self._itl = Histogram(bounds.VLLM_TPOT_S)
        self._e2e = Histogram(bounds.VLLM_LATENCY_S)
        self._queue = Histogram(bounds.VLLM_LATENCY_S)
        self._success = dict.fromkeys(_FINISHED_REASONS, 0)
        self._prompt_tokens = 0
        self._finished_tokens = 0
        self._first_tokens = 0
        self._generated_tokens = 0
        self._prefix_queries = 0
        self._prefix_hits = 0

    def see(self, state: ReplicaState) -> None:
        """Take the replica's state for the gauges, and for the tokens of answers that are not finished."""
        self._state = state
        live = self._finished_tokens + self._first_tokens + floor(state.decoded_tokens)
        self._generated_tokens = max(self._generated_tokens, live)  # a counter never falls, rounding or not

    def prefilled(self, event: Prefilled) -> None:
        """Count a request whose prompt this engine has computed: to a prefill engine it is finished."""
        request = event.request
        self._seen(request, request.prefix_hit_tokens)
        self._finished_tokens += 1
        self._finish("length", request, generated=1, e2e_s=event.at_s - event.joined_s)
        self._queue.observe(event.started_s - event.joined_s)
        self._ttft.observe(event.at_s - event.joined_s)

    def admitted(self, event: Admitted) -> None:
        """Count a request that this engine starts to decode: its KV has come from prefill, its first token too."""
        self._seen(event.request, 0)
        self._first_tokens += 1
        self._queue.observe(event.at_s - event.joined_s)
        self._ttft.observe(event.at_s - event.joined_s)

    def completed(self, event: Completion) -> None:
        """Count a request whose last token this engine has decoded."""
        assert event.decode_joined_s is not None
        assert event.decode_started_s is not None
        request = event.request
        steps = request.output_tokens - 1
        step_s = (event.at_s - event.decode_started_s) / steps
        self._first_tokens -= 1
        self._finished_tokens += request.output_tokens
        self._finish("stop", request, generated=request.output_tokens, e2e_s=event.at_s - event.decode_joined_s)
        self._tpot.observe(step_s)
        self._itl.observe(step_s, steps)

    def _seen(self, request: Request, hits: int) -> None:
        self._prompt_tokens += request.input_tokens
        self._prefix_queries += request.input_tokens
        self._prefix_hits += hits

    def _finish(self, reason: str, request: Request, generated: int, e2e_s: float) -> None:
        self._success[reason] += 1
        self._prompt.observe(request.input_tokens)
        self._generation.observe(generated)
        self._e2e.observe(e2e_s)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        yield from self._scheduler()
        yield self._counter("vllm:prompt_tokens", "Number of prefill tokens processed.", self._prompt_tokens)
        yield self._counter("vllm:generation_tokens", "Number of generation tokens processed.", self._generated_tokens)
        yield self._counter(
            "vllm:prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.",
            self._prefix_queries,
        )  # fmt: skip
        yield self._counter(
            "vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", self._prefix_hits
        )
        yield self._successes()
        for name, text, histogram in (
            ("request_prompt_tokens", "Number of prefill tokens processed.", self._prompt),
            ("request_generation_tokens", "Number of generation tokens processed.", self._generation),
            ("time_to_first_token_seconds", "Histogram of time to first token in seconds.", self._ttft),
            ("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", self._itl),
            ("request_time_per_output_token_seconds", "Histogram of time per output token of a request.", self._tpot),
            ("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", self._e2e),
            ("request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", self._queue),
        ):
            yield self._histogram(f"vllm:{name}", text, histogram)

    def _scheduler(self) -> Iterator[Metric]:
        state = self._state
        if state is None:
            return
        yield self._gauge("vllm:num_requests_running", "Number of requests in model execution batches.", state.running)
        yield self._gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", state.waiting)
        if self._kv_capacity_tokens is None:
            return
        usage = min(1.0, state.kv_tokens / self._kv_capacity_tokens)
        yield self._gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", usage)
        blocks = floor(self._kv_capacity_tokens / BLOCK_SIZE_TOKENS)
        # The one vLLM metric without a model label.
        info = {"block_size": str(BLOCK_SIZE_TOKENS), "num_gpu_blocks": str(blocks), "engine": "0"}
        family = GaugeMetricFamily(
            "vllm:cache_config_info", "Information of the LLMEngine CacheConfig", labels=list(info)
        )
        family.add_metric(list(info.values()), 1)
        yield family

    def _successes(self) -> Metric:
        family = CounterMetricFamily(
            "vllm:request_success", "Count of successfully processed requests.",
            labels=[*self._labels, "finished_reason"],
        )  # fmt: skip
        for reason, count in self._success.items():
            family.add_metric([*self._labels.values(), reason], count)
        return family


class FrontDoorMetrics(_Families):
    """The exposition of a front door with the names of llm-d's endpoint picker.

    Parameters
    ----------
    model
        Value of ``model_name`` and ``target_model_name``.
    """

    def __init__(self, model: str) -> None:
        super().__init__({"model_name": model, "target_model_name": model})
        self._requests = 0
        self._cached = Histogram(bounds.EPP_INPUT_TOKENS)
        self._input = Histogram(bounds.EPP_INPUT_TOKENS)
        self._output = Histogram(bounds.EPP_OUTPUT_TOKENS)
        self._ttft = Histogram(bounds.EPP_LATENCY_S)
        self._tpot = Histogram(bounds.EPP_TPOT_S)
        self._duration = Histogram(bounds.EPP_LATENCY_S)
        self._running = 0
        self._held = 0

    def see(self, running: int, held: int) -> None:
        """Take the gauges: requests in the pools, and requests held because no replica is ready."""
        self._running, self._held = running, held

    def arrived(self, request: Request) -> None:
        """Count a request at the instant it arrives."""
        self._requests += 1
        self._input.observe(request.input_tokens)
        self._cached.observe(request.prefix_hit_tokens)

    def prefilled(self, event: Prefilled) -> None:
        """Observe the time to first token of a request."""
        self._ttft.observe(event.ttft_s)

    def completed(self, event: Completion) -> None:
        """Observe a finished request."""
        self._output.observe(event.request.output_tokens)
        self._duration.observe(event.e2e_s)
        if event.tpot_s is not None:
            self._tpot.observe(event.tpot_s)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        yield self._counter("llm_d_epp_request", "Counter of requests for each model.", self._requests)
        for name, text, histogram in (
            ("request_input_tokens", "Input token count distribution.", self._input),
            ("request_output_tokens", "Output token count distribution.", self._output),
            ("request_cached_tokens", "Cached prompt token distribution.", self._cached),
            ("request_ttft_seconds", "Time to first token distribution in seconds.", self._ttft),
            ("request_streaming_tpot_seconds", "Time per output token distribution in seconds.", self._tpot),
            ("request_duration_seconds", "Response latency distribution in seconds.", self._duration),
        ):
            yield self._histogram(f"llm_d_epp_{name}", text, histogram)
        yield self._gauge("llm_d_epp_request_running", "Requests in progress.", self._running)
        yield self._gauge(
            "llm_d_epp_flow_control_queue_size", "Requests held in the flow control queue.", self._held,
            fairness_id="default", priority="0", inference_pool="",
        )  # fmt: skip
