"""Targets that are missing, foreign writes, kills between two writes, deletion."""

import threading
from pathlib import Path

import pytest

from localplane.waiting import wait_for
from support.apiproxy import ApiProxy, Request
from support.plane import replicas_of
from support.stage import DECODE, NAME, PREFILL, QUICK, Stage


def test_missing_target_is_reported_and_found_when_it_appears(stage: Stage) -> None:
    stage.apply_targets()
    stage.plane.kubectl("delete", "deployment", PREFILL, "-n", stage.namespace)
    stage.engines.set_load(130.0)
    stage.start_operator()
    stage.apply(metrics={"frontDoor": {"preset": "LLMD"}})
    condition = stage.wait_condition("AbleToScale", "False", "FailedGetScale")
    assert PREFILL in condition["message"]
    wait_for("decode is scaled all the same", lambda: replicas_of(stage.plane, stage.namespace, DECODE)[0] == 7)
    stage.apply_targets(decode=7)
    stage.wait_replicas(2, 7)
    stage.wait_condition("AbleToScale", "True", "ReadyForNewScale")


def test_a_foreign_write_between_read_and_write_is_not_overwritten_blindly(stage: Stage, tmp_path: Path) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    fired = threading.Event()

    def hook(request: Request) -> int | None:
        if request.writes_scale and DECODE in request.path and not fired.is_set():
            fired.set()
            stage.plane.kubectl("scale", "deployment", DECODE, "-n", stage.namespace, "--replicas=2")
        return None

    with ApiProxy(stage.kubeconfig, hook) as proxy:
        stage.start_operator(proxy.kubeconfig(tmp_path / "proxied.kubeconfig"))
        stage.apply()
        stage.wait_replicas(1, 4)
        stage.stop_operators()
    assert fired.is_set()
    codes = [request.code for request in stage.writes() if request.name == DECODE]
    assert codes[0] == 409
    assert codes[-1] == 200


def test_a_failed_second_write_is_partially_applied_until_both_agree(stage: Stage, tmp_path: Path) -> None:
    stage.apply_targets()
    stage.engines.set_load(130.0)
    refusals: list[int] = [500]

    def hook(request: Request) -> int | None:
        return refusals[0] if refusals and request.writes_scale and DECODE in request.path else None

    with ApiProxy(stage.kubeconfig, hook) as proxy:
        stage.start_operator(proxy.kubeconfig(tmp_path / "proxied.kubeconfig"))
        stage.apply(**QUICK)
        condition = stage.wait_condition("AbleToScale", "False", "PartiallyApplied")
        assert "decode" in condition["message"]
        assert stage.replicas() == (2, 1)
        refusals.clear()
        stage.wait_replicas(2, 7)
        stage.wait_condition("AbleToScale", "True", "ReadyForNewScale")
        for code, rate_rps, (prefill, decode) in ((403, 210.0, (3, 11)), (409, 270.0, (4, 14))):
            _, before = stage.replicas()
            refusals.append(code)
            stage.engines.set_load(rate_rps)
            stage.wait_replicas(prefill, before)
            stage.wait_condition("AbleToScale", "False", "PartiallyApplied")
            assert stage.replicas() == (prefill, before)
            refusals.clear()
            stage.wait_replicas(prefill, decode)
            stage.wait_condition("AbleToScale", "True", "ReadyForNewScale")
        stage.stop_operators()


@pytest.mark.parametrize("kill_at", [1, 2])
def test_killed_between_the_two_writes_is_consistent_after_a_restart(
    stage: Stage, tmp_path: Path, kill_at: int
) -> None:
    stage.apply_targets()
    stage.engines.set_load(130.0)
    # A rate that is still coming in would be followed by a second, rightful order.
    stage.wait_full_window()
    seen: list[str] = []

    def hook(request: Request) -> int | None:
        if request.writes_scale:
            seen.append(request.path)
            if len(seen) == kill_at:
                stage.operators[0].kill()
                return 500
        return None

    with ApiProxy(stage.kubeconfig, hook) as proxy:
        first = stage.start_operator(proxy.kubeconfig(tmp_path / "proxied.kubeconfig"))
        stage.apply()
        wait_for("the kill", lambda: not first.running)
    before = stage.replicas()
    assert before in {(1, 1), (2, 1), (1, 7)}
    stage.start_operator()
    stage.wait_replicas(2, 7)
    stage.never("a doubled step or a burst", lambda: stage.replicas() != (2, 7), seconds=5)
    done = [request for request in stage.writes() if request.code == 200]
    assert sorted(request.name for request in done) == [DECODE, PREFILL]


def test_deletions_leave_nothing_and_block_nothing(stage: Stage) -> None:
    stage.apply_targets()
    stage.engines.set_load(70.0)
    operator = stage.start_operator()
    stage.apply()
    stage.wait_replicas(1, 4)
    metadata = stage.get()["metadata"]
    assert "finalizers" not in metadata
    assert set(metadata.get("annotations", {})) <= {"kubectl.kubernetes.io/last-applied-configuration"}
    target = stage.plane.get("deployment", DECODE, "-n", stage.namespace)["metadata"]
    assert "finalizers" not in target
    assert not [key for key in target.get("annotations", {}) if "pdscaler" in key or "kopf" in key]

    assert operator.stop() == 0
    # With the operator gone a deletion must not wait for it.
    stage.plane.kubectl("delete", "pdd", NAME, "-n", stage.namespace, "--timeout=60s")
    stage.apply()
    stage.start_operator()
    stage.wait_condition("Ready", "True", "Evaluated")
    stage.plane.kubectl("delete", "pdd", NAME, "-n", stage.namespace, "--timeout=60s")
    stage.engines.set_load(130.0)
    stage.never("scaled after the deletion", lambda: stage.replicas() != (1, 4), seconds=6)
    left = stage.plane.kubectl("get", "all,configmaps,leases,secrets", "-n", stage.namespace, "-o", "name").stdout
    assert "pdscaler" not in left
    assert "kopf" not in left
