"""What the collector reads from a real Prometheus, scenario by scenario (see support.telemetry_scenarios)."""

import asyncio
import time

import pytest

from pdscaler.core.pools import PerPool
from pdscaler.core.slo import Statistic
from pdscaler.core.workload import ArrivalSource, NoData, NoDataReason, Telemetry
from pdscaler.telemetry.collector import Collector
from pdscaler.telemetry.presets import Preset, load_presets
from pdscaler.telemetry.subject import Subject
from support.subjects import subject

pytestmark = pytest.mark.prometheus


async def read(collector: Collector, wanted: Subject) -> Telemetry:
    found = (await collector.collect([wanted]))[wanted.key]
    assert isinstance(found, Telemetry), found
    return found


async def refused(collector: Collector, wanted: Subject) -> NoData:
    found = (await collector.collect([wanted]))[wanted.key]
    assert isinstance(found, NoData), found
    return found


async def test_rates_means_and_loads(collector: Collector, history_url: str) -> None:
    found = await read(collector, subject(history_url, "steady"))

    workload = found.workload
    assert workload.arrival_rate_rps == pytest.approx(5.0, rel=0.01)
    assert found.arrival_source is ArrivalSource.PREFILL_COMPLETIONS
    assert workload.isl is not None
    assert workload.isl.mean_tokens == pytest.approx(3000, rel=1e-6)
    # Half at 1500 and half at 4500: 0.25. The buckets (1000, 2000] and (2000, 5000] allow a little more or less.
    assert workload.isl.scv == pytest.approx(0.25, abs=0.1)
    # The prefill pods' answers of one token are not in it.
    assert workload.osl is not None
    assert workload.osl.mean_tokens == pytest.approx(400, rel=1e-6)
    assert workload.osl.scv == pytest.approx(0.5625, abs=0.2)
    assert workload.arrival_scv == 1.0
    assert workload.prefix_hit_ratio == pytest.approx(0.25, rel=1e-6)
    assert found.ttft_mean_s == pytest.approx(0.57, rel=1e-6)
    assert found.tpot_mean_s == pytest.approx(0.017, rel=1e-6)
    assert found.ttft_bucket_s is None
    assert (found.prefill.waiting_requests, found.prefill.running_requests) == (2.0, 8.0)
    assert found.decode.kv_usage_ratio == pytest.approx(0.5)
    assert dict(found.alternatives)["completions"] == "vllm:request_success_total"
    assert dict(found.alternatives)["osl"] == "vllm:request_generation_tokens"
    assert found.window_s == 180.0
    assert 0 <= time.time() - found.observed_at_s < 30


async def test_percentiles_are_intervals(collector: Collector, history_url: str) -> None:
    found = await read(collector, subject(history_url, "steady", statistic=Statistic.P95))
    assert found.ttft_bucket_s == (2.5, 5.0)
    assert found.tpot_bucket_s == (0.01, 0.025)


async def test_one_snapshot_serves_all(collector: Collector, history_url: str) -> None:
    await collector.collect([subject(history_url, "steady")])
    once = collector.queries_sent
    many = [subject(history_url, "steady" if n % 2 else "growing", name=f"llm-{n}") for n in range(50)]
    found = await collector.collect(many)

    assert collector.queries_sent == 2 * once
    assert len(found) == 50
    assert all(isinstance(reading, Telemetry) for reading in found.values())
    # Another window is another snapshot: as many queries again, but for the time, which they share.
    await collector.collect([*many, subject(history_url, "steady", name="other", window_s=60.0)])
    assert collector.queries_sent == 2 * once + 2 * once - 1


async def test_a_growing_queue_is_load(collector: Collector, history_url: str) -> None:
    found = await read(collector, subject(history_url, "growing"))
    assert found.workload.arrival_rate_rps == pytest.approx(5.5, rel=0.02)
    draining = await read(collector, subject(history_url, "draining"))
    assert draining.workload.arrival_rate_rps == pytest.approx(5.0, rel=0.02)


async def test_waiting_requests_are_not_idleness(collector: Collector, history_url: str) -> None:
    found = await refused(collector, subject(history_url, "stuck"))
    assert found.reason is NoDataReason.NO_DATA
    assert "14 requests wait" in found.message


@pytest.mark.parametrize("namespace", ["reset", "moved", "twice"])
async def test_counters_that_restart_move_or_stand_twice(
    collector: Collector, history_url: str, namespace: str
) -> None:
    found = await read(collector, subject(history_url, namespace, prefill=("p0", "p1", "p2")))
    # At a reset or a birth up to one scrape interval (5 s of 180 s) of that pod's 2 requests/s is lost.
    assert found.workload.arrival_rate_rps == pytest.approx(5.0, rel=0.025)


async def test_a_window_not_filled_yet(collector: Collector, history_url: str) -> None:
    young = await read(collector, subject(history_url, "young"))
    assert young.workload.arrival_rate_rps == pytest.approx(5.0, rel=0.1)
    newborn = await refused(collector, subject(history_url, "newborn", window_s=600.0))
    assert newborn.reason is NoDataReason.NO_DATA
    assert "waiting for 150s" in newborn.message


@pytest.mark.parametrize("namespace", ["idle", "idle-nan"])
async def test_a_confirmed_zero_is_idle(collector: Collector, history_url: str, namespace: str) -> None:
    found = await read(collector, subject(history_url, namespace))
    assert found.workload.arrival_rate_rps == 0
    assert found.workload.isl is None
    assert found.workload.osl is None
    assert found.ttft_mean_s is None


@pytest.mark.parametrize(
    ("namespace", "reason", "words"),
    [
        ("no-decode", NoDataReason.NO_DATA, ["decode pool's metrics are missing", "vllm:request_generation_tokens"]),
        ("no-prefill", NoDataReason.NO_DATA, ["prefill pool's metrics are missing", 'namespace="no-prefill"']),
        ("unfinished", NoDataReason.NO_DATA, ["osl", "5 requests/s arrive, and no answer has finished"]),
        ("nowhere", NoDataReason.NO_DATA, ["the namespace has no such series"]),
    ],
)
async def test_what_is_missing_is_named(
    collector: Collector, history_url: str, namespace: str, reason: NoDataReason, words: list[str]
) -> None:
    found = await refused(collector, subject(history_url, namespace))
    assert found.reason is reason
    assert all(word in found.message for word in words), found.message


async def test_a_mean_that_is_no_number(collector: Collector, history_url: str) -> None:
    found = await refused(collector, subject(history_url, "not-finite", decode=("d0", "d1", "d2")))
    assert found.reason is NoDataReason.NON_FINITE
    assert "osl (vllm:request_generation_tokens)" in found.message


async def test_stale_samples(collector: Collector, history_url: str) -> None:
    found = await refused(collector, subject(history_url, "stale"))
    assert found.reason is NoDataReason.STALE_DATA
    assert found.age_s is not None
    # rate() still answers over its window of 180 s; the samples say otherwise.
    assert 150 <= found.age_s < 300
    trusting = await read(collector, subject(history_url, "stale", window_s=600.0, max_staleness_s=500.0))
    assert trusting.workload.arrival_rate_rps > 0


async def test_samples_that_stopped_coming_do_not_make_the_load_sink(collector: Collector, history_url: str) -> None:
    """The end of the window is empty, and maxStaleness is not over yet: the load that was seen last counts."""
    found = await read(collector, subject(history_url, "silenced", window_s=600.0, max_staleness_s=400.0))
    # The end of an ended series is known to within a step of the search, 17 s of the 500 s that are covered.
    assert found.workload.arrival_rate_rps == pytest.approx(5.0, rel=0.08)


async def test_other_models_are_listed(collector: Collector, history_url: str) -> None:
    found = await refused(collector, subject(history_url, "models"))
    assert found.reason is NoDataReason.NO_DATA
    assert 'model_name="m"' in found.message
    assert '"llama-a"' in found.message
    assert "and 2 more" in found.message
    assert found.message.isprintable()
    assert len(found.message) < 800


async def test_the_front_door_counts_what_the_engines_hide(collector: Collector, history_url: str) -> None:
    found = await read(collector, subject(history_url, "door", front_door_preset="LLMD"))
    assert found.arrival_source is ArrivalSource.FRONT_DOOR
    assert found.workload.arrival_rate_rps == pytest.approx(8.0, rel=0.01)
    assert found.workload.isl is not None
    assert found.workload.isl.mean_tokens == pytest.approx(3200, rel=1e-6)
    assert found.workload.osl is not None
    assert found.workload.osl.mean_tokens == pytest.approx(420, rel=1e-6)
    # Answers that do not stream have no TTFT of their own; TPOT is not exposed there, so the decode pool says it.
    assert found.ttft_mean_s == pytest.approx(0.5, rel=1e-6)
    assert found.tpot_mean_s == pytest.approx(0.017, rel=1e-6)
    assert dict(found.alternatives)["arrivals"] == "llm_d_epp_request_total"
    assert dict(found.alternatives)["tpot"] == "vllm:request_time_per_output_token_seconds"


async def test_old_and_new_names(collector: Collector, history_url: str) -> None:
    both = await read(collector, subject(history_url, "door-both", front_door_preset="LLMD"))
    assert both.workload.arrival_rate_rps == pytest.approx(8.0, rel=0.01)
    assert dict(both.alternatives)["arrivals"] == "llm_d_epp_request_total"
    mixed = await read(collector, subject(history_url, "door-mixed", front_door_preset="llmd"))
    assert mixed.workload.arrival_rate_rps == pytest.approx(8.0, rel=0.01)
    assert dict(mixed.alternatives)["arrivals"] == "llm_d_epp_request_total, inference_objective_request_total"
    # No lengths at this door: the pools say them.
    assert mixed.workload.isl is not None
    assert mixed.workload.isl.mean_tokens == pytest.approx(3000, rel=1e-6)


async def test_a_silent_front_door_is_not_replaced_by_completions(collector: Collector, history_url: str) -> None:
    found = await refused(collector, subject(history_url, "door-silent", front_door_preset="LLMD"))
    assert found.reason is NoDataReason.NO_DATA
    assert "arrivals (llm_d_epp_request_total or" in found.message
    assert 'namespace="door-silent"' in found.message


async def test_an_idle_front_door(collector: Collector, history_url: str) -> None:
    found = await read(collector, subject(history_url, "door-idle", front_door_preset="LLMD"))
    assert found.workload.arrival_rate_rps == 0
    assert found.arrival_source is ArrivalSource.FRONT_DOOR


async def test_match_labels_choose_within_the_namespace(collector: Collector, history_url: str) -> None:
    blue = subject(
        history_url, "steady", front_door_preset="LLMD", front_door_labels=(("inference_pool", "blue"),), name="blue"
    )
    found = await read(collector, blue)
    assert found.workload.arrival_rate_rps == pytest.approx(6.0, rel=0.01)
    hostile = subject(
        history_url, "steady", front_door_preset="LLMD", front_door_labels=(("tenant", '"} or vector(1) #'),)
    )
    nothing = await refused(collector, hostile)
    assert nothing.reason is NoDataReason.NO_DATA
    bad = subject(history_url, "steady", front_door_preset="LLMD", front_door_labels=(("a) or vector(1", "x"),))
    sent = collector.queries_sent
    assert "is not a label" in (await refused(collector, bad)).message
    assert collector.queries_sent == sent


async def test_only_an_administrators_preset_leaves_the_namespace(history_url: str) -> None:
    built_in = load_presets(None)
    cluster = Preset.model_validate({**built_in["LLMD"].model_dump(mode="json"), "name": "GATEWAY", "scope": "Cluster"})
    collector = Collector({**built_in, "GATEWAY": cluster}, time.time)
    tenant = (("tenant", "steady"),)
    inside = subject(history_url, "steady", front_door_preset="LLMD", front_door_labels=tenant)
    assert (await refused(collector, inside)).reason is NoDataReason.NO_DATA
    outside = subject(history_url, "steady", front_door_preset="GATEWAY", front_door_labels=tenant)
    assert (await read(collector, outside)).workload.arrival_rate_rps == pytest.approx(11.0, rel=0.01)
    await collector.close()


async def test_a_label_tells_the_pool(collector: Collector, history_url: str) -> None:
    found = await read(
        collector, subject(history_url, "labelled", (), (), pool_label="role", pods=PerPool(frozenset(), frozenset()))
    )
    assert found.workload.arrival_rate_rps == pytest.approx(5.0, rel=0.01)
    assert found.workload.osl is not None
    assert found.workload.osl.mean_tokens == pytest.approx(400, rel=1e-6)


async def test_unknown_presets(collector: Collector, history_url: str) -> None:
    found = await refused(collector, subject(history_url, "steady", engine="Nope"))
    assert 'no preset "Nope"' in found.message
    assert "LLMD" in found.message


async def test_collections_may_overlap(collector: Collector, history_url: str) -> None:
    wanted = [subject(history_url, "steady", name=f"llm-{n}") for n in range(3)]
    found = await asyncio.gather(*(collector.collect([one]) for one in wanted))
    assert all(isinstance(next(iter(one.values())), Telemetry) for one in found)
