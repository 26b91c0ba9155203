"""Calibration in the operator: what it learns it sizes by, says, and keeps over a restart; status is untrusted."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from pdscaler.api.status import MAX_POINTS, CalibrationMemory, PDDeploymentStatus
from pdscaler.controller import calibrations
from pdscaler.controller.prepare import Preparer
from pdscaler.core.corrections import NOTHING, EngineCorrection
from pdscaler.core.decision import PoolState
from pdscaler.core.live_calibration import CalibrationState
from pdscaler.core.operating_point import Engine, PoolPoint
from pdscaler.core.pools import PerPool, Pool
from pdscaler.core.workload import Telemetry
from pdscaler.telemetry.presets import load_presets
from support.world import PERIOD_S, World, load, ready_world, resource

ON: dict[str, Any] = {"sizing": {"model": "Auto"}}
OWN = {"namespace": "serving", "name": "deepseek"}
TENTH = PerPool(EngineCorrection(), EngineCorrection(0.8))


def world_of(truth: PerPool[EngineCorrection] = TENTH, rate_rps: float = 8.0, **spec: Any) -> World:
    """Return a world whose engines differ from their profile; their latencies follow the replicas."""
    world = ready_world(4, 5, **{**ON, **spec})
    prepared = Preparer(world.config, load_presets(None), lambda: world.now_s).prepare(
        {**resource(**{**ON, **spec}), "metadata": {"name": "deepseek", "namespace": "serving"}}
    )
    sizing = prepared.spec.sizing  # type: ignore[union-attr]

    def read() -> Telemetry:
        reading = load(rate_rps, world.now_s)
        isl, osl = reading.workload.isl, reading.workload.osl
        assert isl is not None
        assert osl is not None
        latency_s = {}
        for pool in Pool:
            state = world.cluster.targets[f"deepseek-{pool.value}"]
            assert isinstance(state, PoolState)
            point = PoolPoint(world.now_s, max(1, state.ready_replicas), rate_rps, isl, osl, 0.0, 1.0)
            latency_s[pool] = Engine(point, pool, sizing).latency_s(truth[pool].derate, truth[pool].extra_s)
        return replace(reading, ttft_mean_s=latency_s[Pool.PREFILL], tpot_mean_s=latency_s[Pool.DECODE])

    world.source.default = read
    return world


async def minutes(world: World, count: float) -> None:
    """Let time pass; targets follow at once."""
    for _ in range(int(count * 60 / PERIOD_S)):
        await world.step(PERIOD_S)
        for name in ("deepseek-prefill", "deepseek-decode"):
            world.cluster.set(name, world.cluster.replicas(name))


async def test_a_slower_engine_gets_more_replicas_and_status_says_why() -> None:
    world, off = world_of(), world_of(sizing={"model": "Auto", "calibration": "Off"})
    await minutes(off, 24)
    await minutes(world, 24)
    assert "calibration" not in off.status()
    assert "calibration" not in off.status()["memory"]
    said = world.status()["calibration"]["decode"]
    assert said["derate"] == pytest.approx(0.8, rel=0.03)
    assert said["offProfile"]
    assert said["drift"] > 0.2
    assert said["meanError"] < 0.03 < said["priorError"]
    assert said["points"] >= 3
    assert said["lastFit"].startswith("2026-11-21T12:")
    assert world.status()["calibration"]["prefill"]["derate"] == 1.0
    assert world.status()["calibration"]["prefill"]["overhead"] == "100ms"
    assert world.status()["decode"]["required"] > 1.15 * off.status()["decode"]["required"]


async def test_an_engine_as_its_profile_gets_the_same_as_with_calibration_off() -> None:
    world, off = world_of(NOTHING), world_of(NOTHING, sizing={"model": "Auto", "calibration": "Off"})
    await minutes(world, 16)
    await minutes(off, 16)
    assert world.cluster.writes == off.cluster.writes
    assert world.status()["decode"] == off.status()["decode"]
    assert world.status()["calibration"]["decode"]["points"] >= 3
    assert world.status()["calibration"]["decode"]["note"] == "as its profile"
    assert "ProfileDrift" not in world.event_reasons()


async def test_drift_is_told_once_and_so_is_its_end() -> None:
    world = world_of()
    await minutes(world, 24)
    world.restart()
    await minutes(world, 20)
    assert world.event_reasons().count("ProfileDrift") == 1
    kind, message = next((kind, said) for _, kind, reason, said in world.server.events if reason == "ProfileDrift")
    assert kind == "Warning"
    assert message.startswith("decode: mean TPOT is ")
    assert "above what its profile says" in message
    profile = resource()["spec"]["decode"]
    for point in profile["profile"]["points"]:
        point["tpot"] = f"{float(point['tpot'].removesuffix('ms')) / 0.8:.4f}ms"
    world.apply(resource(**ON, decode=profile))
    await minutes(world, 20)
    assert world.event_reasons().count("ProfileHolds") == 1
    assert not world.status()["calibration"]["decode"]["offProfile"]
    assert world.status()["calibration"]["decode"]["derate"] == 1.0


async def test_metrics_show_drift_and_correction_and_end_with_the_resource() -> None:
    world = world_of()
    await minutes(world, 24)
    sample = world.metrics.registry.get_sample_value
    decode = {**OWN, "pool": "decode"}
    said = world.status()["calibration"]["decode"]
    # Status is not written for the sake of a drift that moves a little.
    assert sample("pdscaler_calibration_drift_ratio", decode) == pytest.approx(said["drift"], rel=0.1)
    assert sample("pdscaler_calibration_derate_ratio", decode) == pytest.approx(said["derate"], rel=0.01)
    assert sample("pdscaler_calibration_overhead_seconds", OWN) == 0.1
    world.apply(resource(sizing={"model": "Auto", "calibration": "Off"}))
    await world.step(PERIOD_S)
    assert sample("pdscaler_calibration_derate_ratio", decode) is None
    assert sample("pdscaler_calibration_overhead_seconds", OWN) is None
    assert "calibration" not in world.status()
    world.apply(resource(**ON))
    await world.step(PERIOD_S)
    assert world.status()["calibration"]["decode"]["derate"] == 1.0, "off and on again begins anew"
    world.delete("deepseek")
    await world.step(PERIOD_S)
    assert sample("pdscaler_calibration_derate_ratio", decode) is None


async def test_a_restart_changes_no_correction_and_no_order() -> None:
    through, again = world_of(), world_of()
    for number in range(52):
        await minutes(through, 0.5)
        if number in {13, 27, 41}:
            again.restart()
        await minutes(again, 0.5)
    assert again.status()["calibration"]["decode"]["derate"] == pytest.approx(
        through.status()["calibration"]["decode"]["derate"], rel=0.01
    )
    assert [write[2] for write in again.cluster.writes] == [write[2] for write in through.cluster.writes]
    before = again.status()["calibration"]
    again.restart()
    await again.step(PERIOD_S)
    after = again.status()["calibration"]
    for pool in ("prefill", "decode"):
        for name in ("derate", "offProfile", "points", "lastFit"):
            assert after[pool].get(name) == before[pool].get(name)


async def test_another_profile_or_model_begins_anew() -> None:
    world = world_of()
    await minutes(world, 24)
    assert world.status()["calibration"]["decode"]["derate"] < 0.85
    world.apply(resource(**ON, model="another"))
    await world.step(PERIOD_S)
    assert world.status()["calibration"]["decode"]["derate"] == 1.0


async def test_the_published_formulas_are_not_calibrated() -> None:
    world = world_of(sizing={"model": "PaperMM1"})
    await minutes(world, 20)
    assert "calibration" not in world.status()


async def test_a_calibration_that_breaks_keeps_what_was_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of()
    await minutes(world, 24)
    before = world.status()["calibration"]["decode"]["derate"]

    def breaks(*args: object, **kwargs: object) -> CalibrationState:
        raise FloatingPointError("overflow")

    monkeypatch.setattr(calibrations, "learn", breaks)
    await minutes(world, 5)
    assert world.status()["calibration"]["decode"]["derate"] == before
    assert world.condition("Ready") == ("True", "Evaluated")


def poisoned(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Memories that no operator has written."""
    pool = document["memory"]["calibration"]["decode"]
    good = pool["points"][-1]
    return [
        {**pool, "derate": 1e9},
        {**pool, "derate": -3.0, "extraOverhead": 1e12},
        {**pool, "points": [{**good, "latency": 1e300, "rate": 1e-300}]},
        {**pool, "points": [{**good, "inputTokens": {"mean": 1e300, "scv": 1e300}}] * 3},
        {**pool, "points": [{**good, "replicas": 0}, {**good, "prefixHitRatio": 7.0}, {**good, "time": "never"}]},
        {**pool, "points": [good] * 1000},
        {**pool, "changed": "yesterday"},
    ]


async def test_what_status_says_is_bounded() -> None:
    world = world_of()
    await minutes(world, 24)
    good = copy.deepcopy(world.status())
    for bad in poisoned(good):
        status = copy.deepcopy(good)
        status["memory"]["calibration"]["decode"] = bad
        memory = PDDeploymentStatus.model_validate(status).memory
        assert memory is not None
        state = calibrations.from_memory(memory.calibration)
        assert 0.5 <= state.pools.decode.correction.derate <= 2.0
        assert abs(state.pools.decode.correction.extra_s) <= 60.0
        assert len(state.pools.decode.points) <= MAX_POINTS
        key = next(iter(world.server.documents))
        world.server.documents[key] = {**world.server.documents[key], "status": status}
        world.restart()
        await minutes(world, 1)
        assert world.condition("Ready") == ("True", "Evaluated")
        assert 0.5 <= world.status()["calibration"]["decode"]["derate"] <= 2.0


def test_what_is_written_is_what_is_read() -> None:
    assert calibrations.from_memory(None) == CalibrationState()
    assert calibrations.to_memory(CalibrationState()) is None
    assert calibrations.from_memory(CalibrationMemory()) == CalibrationState()
